//! The import table of `src/lib.rs`, checked against the sources.

use std::{fs, path::Path};

const FLOORS: &[(&str, u8)] = &[
    ("cli", 9),
    ("app", 8),
    ("config", 7),
    ("api", 6),
    ("collect", 5),
    ("forward", 5),
    ("report", 5),
    ("rules", 5),
    ("ingest", 4),
    ("notify", 4),
    ("query", 4),
    ("traces", 4),
    ("store", 3),
    ("codec", 2),
    ("alerts", 2),
    ("net", 2),
    ("model", 1),
    ("telemetry", 1),
];

/// Crates that only the named rooms may use.
const RESERVED: &[(&str, &[&str])] = &[
    ("redb", &["store"]),
    ("axum", &["api", "app"]),
    ("bincode", &["codec"]),
    ("pco", &["codec"]),
    ("sysinfo", &["collect"]),
    ("lettre", &["notify"]),
];

fn sources(dir: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push((
                path.display().to_string(),
                fs::read_to_string(&path).unwrap(),
            ));
        }
    }
}

/// Code without its comments and without what only tests see.
fn code_of(text: &str) -> String {
    let shipped = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text);
    shipped
        .lines()
        .map(|l| l.split("//").next().unwrap_or(l))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Rooms named after `crate::`, in paths and in grouped imports (`use crate::{a::B, c}`).
fn rooms_used(code: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            rooms.push(
                rest.chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect(),
            );
            continue;
        };
        let mut depth = 0;
        let mut word = String::new();
        let mut at_start = true;
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => at_start = true,
                c if depth == 0 && at_start && (c.is_alphanumeric() || c == '_') => word.push(c),
                _ => {}
            }
            let ends = !(c.is_alphanumeric() || c == '_');
            if ends && !word.is_empty() {
                rooms.push(std::mem::take(&mut word));
                at_start = c == ',';
            }
        }
        if !word.is_empty() {
            rooms.push(word);
        }
    }
    rooms
}

#[test]
fn grouped_imports_are_understood() {
    let code = "use crate::{codec::{self, Block}, model::Sample, net};";
    assert_eq!(rooms_used(code), ["codec", "model", "net"]);
}

#[test]
fn arrows_point_down_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let floor = |room: &str| {
        FLOORS
            .iter()
            .find(|(name, _)| *name == room)
            .map(|(_, floor)| *floor)
    };
    let mut wrong = Vec::new();
    for room in fs::read_dir(&src)
        .unwrap()
        .map(Result::unwrap)
        .filter(|e| e.path().is_dir())
    {
        let name = room.file_name().into_string().unwrap();
        let own = floor(&name).unwrap_or_else(|| panic!("room `{name}` is not in the table"));
        let mut files = Vec::new();
        sources(&room.path(), &mut files);
        for (path, text) in files {
            let code = code_of(&text);
            for used in rooms_used(&code) {
                match floor(&used) {
                    Some(theirs) if used != name && theirs >= own => {
                        wrong.push(format!(
                            "{path}: `{name}` (floor {own}) imports `{used}` (floor {theirs})"
                        ));
                    }
                    _ => {}
                }
            }
            for (crate_name, rooms) in RESERVED {
                let uses = code.contains(&format!("{crate_name}::"))
                    || code.contains(&format!("use {crate_name}"));
                if uses && !rooms.contains(&name.as_str()) {
                    wrong.push(format!("{path}: only {rooms:?} may use `{crate_name}`"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
