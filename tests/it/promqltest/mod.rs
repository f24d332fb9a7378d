//! Prometheus' own tests of its engine (`../shared/conformance/promqltest`), against ours.
//!
//! What does not pass is listed in `skipped.txt` with its reason. The list is exact: a case that fails without standing
//! there fails the test, and so does one that stands there and passes. `UPDATE_PROMQLTEST=1` writes it anew; look
//! at what changed.

mod check;
pub(crate) mod memory;
mod notation;
mod script;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use memory::Memory;
use script::{Command, Eval};

const DATA: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../shared/conformance/promqltest"
);
const SKIPPED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/it/promqltest/skipped.txt"
);

/// Cases of our own, in the same notation.
const FOUND: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/it/promqltest/found.test"
);

/// A case that does not pass: where it stands, and why.
type Failures = BTreeMap<(String, usize), (Eval, String)>;

#[test]
fn the_engine_answers_as_that_of_prometheus() {
    let Ok(files) = std::fs::read_dir(DATA) else {
        eprintln!("skipped: {DATA} is not here");
        return;
    };
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "test"));
    paths.sort();
    assert!(paths.len() > 10, "{paths:?}");
    let mut failures = Failures::new();
    let mut passed = 0;
    for path in &paths {
        passed += run(path, &mut failures);
    }
    println!("{passed} cases pass, {} do not", failures.len());
    if std::env::var_os("UPDATE_PROMQLTEST").is_some() {
        std::fs::write(SKIPPED, listed(&failures)).unwrap();
    }
    let skipped = std::fs::read_to_string(SKIPPED).unwrap();
    let mut wrong = String::new();
    let mut known: Vec<(String, usize)> = Vec::new();
    for line in skipped.lines().filter(|line| !line.starts_with('#')) {
        let (place, _) = line.split_once(' ').unwrap();
        let (file, number) = place.split_once(':').unwrap();
        let place = (file.to_owned(), number.parse().unwrap());
        if !failures.contains_key(&place) {
            let _ = writeln!(wrong, "{line}\n    is skipped, but it passes");
        }
        known.push(place);
    }
    for ((file, line), (eval, reason)) in &failures {
        if !known.contains(&(file.clone(), *line)) {
            let _ = writeln!(wrong, "{file}:{line} {}\n    {reason}", eval.query);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn what_was_found_later_stays_right() {
    let mut failures = Failures::new();
    let passed = run(Path::new(FOUND), &mut failures);
    let failures: Vec<String> = failures
        .iter()
        .map(|((_, line), (eval, reason))| format!("line {line}: {}\n    {reason}", eval.query))
        .collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    assert!(passed > 0);
}

fn run(path: &Path, failures: &mut Failures) -> usize {
    let file = path.file_name().unwrap().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(path).unwrap();
    let mut memory = Memory::default();
    let mut passed = 0;
    for (line, command) in script::commands(&text) {
        match command {
            Command::Clear => memory = Memory::default(),
            Command::Load(series) => memory.load(series),
            Command::Eval(mut eval) => {
                eval.is_native |= memory.has_native;
                match check::check(&memory, &eval) {
                    Ok(()) => passed += 1,
                    Err(reason) => {
                        failures.insert((file.clone(), line), (eval, reason));
                    }
                }
            }
        }
    }
    passed
}

fn listed(failures: &Failures) -> String {
    let mut out = String::from(
        "# Cases of ../shared/conformance/promqltest that longwatch does not answer as Prometheus does: file:line, reason, query.\n",
    );
    for ((file, line), (eval, reason)) in failures {
        let query = eval.query.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = writeln!(out, "{file}:{line} {}: {query}", kind(file, eval, reason));
    }
    out
}

/// Why we do not do it.
fn kind(file: &str, eval: &Eval, reason: &str) -> String {
    if file == "info.test" {
        "experimental function info()".to_owned()
    } else if eval.is_native || file == "native_histograms.test" {
        "native histograms".to_owned()
    } else {
        format!("UNEXPLAINED ({reason})")
    }
}
