//! `longwatch rules test`

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use clap::Args;
use regex::Regex;
use serde_json::{Value, json};

use super::{
    check::Answer,
    command::usage,
    failure::{Failure, Status},
    output::{self, printable},
};
use crate::{config, rules};

/// Run unit tests of rules, in promtool's file format.
///
/// Series are given, the rules evaluated step by step as the server does, and the alerts that fire and what
/// expressions yield compared with what is expected. Exit status 1 when something does not hold or a file has a
/// mistake, 2 when there is no such file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  longwatch rules test tests.yml\n  \
    longwatch rules test tests.yml --run 'InstanceDown.*' --format json")]
pub(super) struct RuleTest {
    /// Files of tests (YAML)
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Only tests whose name matches; may be given several times
    #[arg(long = "run", value_name = "REGEXP")]
    only: Vec<String>,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value = "text")]
    format: Answer,
}

/// What became of a file's tests.
struct Tested {
    /// Tests that were run.
    run: usize,
    /// What does not hold, with the name of its test.
    failures: Vec<(String, String)>,
}

impl RuleTest {
    /// Runs the tests of all files.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let only: Vec<Regex> = self
            .only
            .iter()
            .map(|text| Regex::new(text).map_err(|why| usage(format!("--run: `{text}`: {why}"))))
            .collect::<Result<_, _>>()?;
        if let Some(missing) = self.files.iter().find(|file| !file.exists()) {
            return Err(config::read_rule_file(missing).err().map_or_else(
                || usage(format!("{}: no such file", missing.display())),
                Failure::from,
            ));
        }
        let tested: Vec<(&Path, Tested)> = self
            .files
            .iter()
            .map(|file| (file.as_path(), test(file, &only)))
            .collect();
        let text = match self.format {
            Answer::Json => output::pretty(&answer(&tested)),
            Answer::Text => tested
                .iter()
                .map(|(file, tested)| shown(file, tested))
                .collect(),
        };
        output::print(text.as_bytes())?;
        if tested.iter().all(|(_, tested)| tested.failures.is_empty()) {
            Ok(())
        } else {
            Err(Failure::told(Status::NotHeld))
        }
    }
}

fn test(file: &Path, only: &[Regex]) -> Tested {
    let found = match config::read_rule_tests(file) {
        Ok(found) => found,
        Err(errors) => {
            return Tested {
                run: 0,
                failures: errors
                    .iter()
                    .map(|error| (String::new(), error.to_string()))
                    .collect(),
            };
        }
    };
    let is_wanted = |name: &str| only.is_empty() || only.iter().any(|regex| regex.is_match(name));
    let mut tested = Tested {
        run: 0,
        failures: Vec::new(),
    };
    for test in found.tests.iter().filter(|test| is_wanted(&test.name)) {
        tested.run += 1;
        let failures = rules::run_unit_test(test, &found.rules).into_iter();
        tested
            .failures
            .extend(failures.map(|failure| (test.name.clone(), failure)));
    }
    tested
}

fn shown(file: &Path, tested: &Tested) -> String {
    let mut out = format!("Unit Testing:  {}\n", file.display());
    if tested.failures.is_empty() {
        return out + "  SUCCESS\n\n";
    }
    out.push_str("  FAILED:\n");
    for (name, failure) in &tested.failures {
        if !name.is_empty() {
            let _ = writeln!(out, "    name: {},", printable(name));
        }
        for line in failure.lines() {
            let _ = writeln!(out, "    {}", printable(line));
        }
    }
    out + "\n"
}

fn answer(tested: &[(&Path, Tested)]) -> Value {
    let files = tested.iter().map(|(file, tested)| {
        let failures = tested
            .failures
            .iter()
            .map(|(name, reason)| json!({"test": name, "reason": reason}));
        json!({
            "file": file.display().to_string(),
            "tests": tested.run,
            "holds": tested.failures.is_empty(),
            "failures": failures.collect::<Vec<_>>(),
        })
    });
    json!({ "files": files.collect::<Vec<_>>() })
}
