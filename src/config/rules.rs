//! Alert rules in TOML: `[[rule]]` of the configuration and of the files of the rules directory.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use serde_json::{Map, Number, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    ConfigError, ConfigErrors, Origin,
    file::{Source, entries},
    prometheus_rules,
    suggest::nearest,
    value::kind_of,
};
use crate::{
    model::{RuleOrigin, StoredRule, Timestamp},
    rules::read_rule,
    store::RULES_MAX,
};

/// Name of the section.
pub(super) const SECTION: &str = "rule";
/// Longest file of rules, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// How a file of rules ends.
const EXTENSION: &str = "toml";

/// A rule of a file, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct FileRule {
    /// The rule.
    pub rule: StoredRule,
    /// Where its name stands.
    pub at: Origin,
}

/// Rules that were found, and what is wrong.
#[derive(Default)]
pub(super) struct Found {
    pub(super) rules: Vec<FileRule>,
    pub(super) errors: Vec<ConfigError>,
}

/// Reads the section of a document.
pub(super) fn read(source: &Source, section: &Spanned<DeValue<'_>>, origin: RuleOrigin) -> Found {
    let mut found = Found::default();
    let at = section.span().start;
    let DeValue::Array(tables) = section.get_ref() else {
        let reason = format!(
            "expected sections [[rule]], found {}",
            kind_of(section.get_ref())
        );
        found
            .errors
            .push(source.error(at, SECTION.to_owned(), reason));
        return found;
    };
    for table in tables {
        let at = table.span().start;
        match table.get_ref() {
            DeValue::Table(entries) => read_one(source, entries, at, origin, &mut found),
            other => {
                let reason = format!("expected a table, found {}", kind_of(other));
                found
                    .errors
                    .push(source.error(at, SECTION.to_owned(), reason));
            }
        }
    }
    check_unique(&found.rules, &mut found.errors);
    if tables.len() > RULES_MAX {
        let reason = format!("{} rules are more than {RULES_MAX}", tables.len());
        found
            .errors
            .push(source.error(at, SECTION.to_owned(), reason));
    }
    found
}

fn read_one(
    source: &Source,
    table: &DeTable<'_>,
    at: usize,
    origin: RuleOrigin,
    found: &mut Found,
) {
    let mut places = HashMap::new();
    let object = to_object(table, "", &mut places);
    match read_rule(&object) {
        Ok(rule) => {
            let name_at = places.get("name").map_or(at, |place: &Place| place.value);
            found.rules.push(FileRule {
                rule: StoredRule {
                    rule,
                    definition: Value::Object(object).to_string(),
                    origin,
                    updated_at: Timestamp::from_millis(0),
                },
                at: source.place(name_at),
            });
        }
        Err(mistakes) => {
            for mistake in mistakes {
                let is_unknown = mistake.reason == "unknown key";
                let place = places.get(mistake.key.as_str());
                let at = place.map_or(at, |p| if is_unknown { p.key } else { p.value });
                let hint = if is_unknown {
                    hint(&mistake.key)
                } else {
                    String::new()
                };
                let key = if mistake.key.is_empty() {
                    SECTION.to_owned()
                } else {
                    format!("{SECTION}.{}", mistake.key)
                };
                let reason = format!("{}{hint}", mistake.reason);
                found.errors.push(source.error(at, key, reason));
            }
        }
    }
}

fn hint(key: &str) -> String {
    let known = crate::alerts::RULE_KEYS.iter().map(|(key, _, _)| *key);
    nearest(key, known).map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// Where a key and its value stand; offsets.
struct Place {
    key: usize,
    value: usize,
}

/// Brings a table into the form of the API.
fn to_object(
    table: &DeTable<'_>,
    prefix: &str,
    places: &mut HashMap<String, Place>,
) -> Map<String, Value> {
    let mut object = Map::new();
    for entry in entries(table) {
        let path = format!("{prefix}{}", entry.key);
        let value = match entry.value {
            DeValue::Table(inner) => Value::Object(to_object(inner, &format!("{path}."), places)),
            other => to_value(other),
        };
        let place = Place {
            key: entry.key_span.start,
            value: entry.value_span.start,
        };
        places.insert(path, place);
        object.insert(entry.key.to_owned(), value);
    }
    object
}

fn to_value(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(on) => Value::Bool(*on),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::from(number),
            Err(_) => Value::String(number.to_string()),
        },
        // `inf` and `nan`, which JSON lacks, become texts that are refused as numbers.
        DeValue::Float(number) => {
            let finite = number.as_str().parse().ok().and_then(Number::from_f64);
            finite.map_or_else(|| Value::String(number.to_string()), Value::Number)
        }
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(values) => values.iter().map(|v| to_value(v.get_ref())).collect(),
        DeValue::Table(table) => Value::Object(to_object(table, "", &mut HashMap::new())),
    }
}

/// Reports names that are given twice.
fn check_unique(rules: &[FileRule], errors: &mut Vec<ConfigError>) {
    let mut first_at: BTreeMap<&str, &Origin> = BTreeMap::new();
    for FileRule { rule, at } in rules {
        let name = rule.rule.name.as_str();
        if let Some(first) = first_at.get(name) {
            errors.push(ConfigError {
                origin: at.clone(),
                key: format!("{SECTION}.name"),
                reason: format!("rule `{name}` is defined twice, first at {first}"),
            });
        } else {
            first_at.insert(name, at);
        }
    }
}

/// Reads a file of rules: TOML with sections `[[rule]]` alone or, by its name (`.yml`, `.yaml`), a rule file of
/// Prometheus.
///
/// # Errors
/// Every mistake, each with its place.
pub fn read_rule_file(path: &Path) -> Result<Vec<FileRule>, ConfigErrors> {
    let source = Source::read(path, FILE_BYTES_MAX).map_err(ConfigErrors::one)?;
    read_any(&source)
}

fn read_any(source: &Source) -> Result<Vec<FileRule>, ConfigErrors> {
    if prometheus_rules::is_rule_file(source.path()) {
        let rules = prometheus_rules::read(source)?;
        let mut errors = Vec::new();
        check_unique(&rules, &mut errors);
        return ConfigErrors::of(errors).map_or(Ok(rules), Err);
    }
    read_source(source)
}

/// What is worth knowing of rules that are no mistake: the same rule twice in Prometheus rule files.
pub fn rule_remarks(rules: &[FileRule]) -> Vec<String> {
    prometheus_rules::duplicates(rules)
}

/// Reads the text of a file of rules.
///
/// # Errors
/// Every mistake, each with its place.
pub fn parse_rules(path: &Path, text: &str) -> Result<Vec<FileRule>, ConfigErrors> {
    read_any(&Source::new(path, text.to_owned()))
}

fn read_source(source: &Source) -> Result<Vec<FileRule>, ConfigErrors> {
    let (document, mut errors) = source.parse();
    let is_torn = !errors.is_empty();
    let table = document.get_ref();
    for entry in entries(table).filter(|entry| entry.key != SECTION) {
        let reason = "a file of rules holds sections [[rule]] only".to_owned();
        errors.push(source.error(entry.key_span.start, entry.key.to_owned(), reason));
    }
    let mut found = Found::default();
    if let Some((_, section)) = table.get_key_value(SECTION) {
        found = read(source, section, RuleOrigin::Directory);
    }
    // What a line of broken syntax left over is no mistake of its own.
    if !is_torn {
        errors.append(&mut found.errors);
    }
    match ConfigErrors::of(errors) {
        Some(errors) => Err(errors),
        None => Ok(found.rules),
    }
}

/// Reads all files of a rules directory: those that end in `.toml`, `.yml` or `.yaml`, in the order of their names; hidden ones are left
/// out. The rules count together or not at all.
///
/// # Errors
/// Every mistake, each with its place.
pub fn read_rule_directory(directory: &Path) -> Result<Vec<FileRule>, ConfigErrors> {
    let mut rules = Vec::new();
    let mut errors = Vec::new();
    for path in rule_files(directory)? {
        match read_rule_file(&path) {
            Ok(found) => rules.extend(found),
            Err(found) => errors.extend(found.iter().cloned()),
        }
    }
    if errors.is_empty() {
        prometheus_rules::tell_groups_apart(&mut rules);
        check_unique(&rules, &mut errors);
    }
    match ConfigErrors::of(errors) {
        Some(errors) => Err(errors),
        None => Ok(rules),
    }
}

fn rule_files(directory: &Path) -> Result<Vec<PathBuf>, ConfigErrors> {
    let unreadable = |error: std::io::Error| {
        ConfigErrors::one(ConfigError {
            origin: Origin::File {
                path: directory.to_owned(),
            },
            key: String::new(),
            reason: format!("the rules directory cannot be listed: {error}"),
        })
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_hidden = path
            .file_name()
            .is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        let is_rules = path.extension().is_some_and(|e| e == EXTENSION)
            || prometheus_rules::is_rule_file(&path);
        if is_rules && !is_hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        let source = Source::new(Path::new("r.toml"), text.to_owned());
        let (document, errors) = source.parse();
        assert!(errors.is_empty());
        let (_, section) = document.get_ref().get_key_value(SECTION).unwrap();
        let found = read(&source, section, RuleOrigin::Directory);
        found.errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_mistake_has_its_place_and_its_key() {
        let text = "[[rule]]\nname = \"hot\"\ncondition_type = \"threshold\"\nthreshold = nan\nfor = \"1y\"\n\
                    operatr = \">\"\nlabels = { path = \"=~(\" }\n";
        assert_eq!(
            mistakes(text),
            [
                "r.toml:1:1: rule.description: is missing. Alert rule must contain: ['name', 'description', 'condition_type']",
                "r.toml:6:1: rule.operatr: unknown key; did you mean `operator`?",
                "r.toml:7:19: rule.labels.path: `(` is no regular expression: unclosed group",
                "r.toml:5:7: rule.for: 365d is out of range: from 0s to 30d",
                "r.toml:4:13: rule.threshold: \"nan\" is not a finite number",
            ]
        );
    }

    #[test]
    fn a_name_is_given_once() {
        let rule = "[[rule]]\nname = \"a\"\ndescription = \"d\"\ncondition_type = \"absent\"\n";
        let errors = mistakes(&format!("{rule}{rule}"));
        assert_eq!(
            errors,
            ["r.toml:6:8: rule.name: rule `a` is defined twice, first at r.toml:2:8"]
        );
    }

    #[test]
    fn toml_says_the_same_as_json() {
        let text = "[[rule]]\nname = \"a\"\ndescription = \"d\"\ncondition_type = \"threshold\"\nthreshold = 0x10\n\
                    labels.path = \"/x\"\nflap_damping = { firings = 3, within = \"10m\" }\n";
        let source = Source::new(Path::new("r.toml"), text.to_owned());
        let (document, _) = source.parse();
        let (_, section) = document.get_ref().get_key_value(SECTION).unwrap();
        let found = read(&source, section, RuleOrigin::Config);
        let rule = &found.rules[0].rule;
        let definition: Value = serde_json::from_str(&rule.definition).unwrap();
        assert_eq!(
            definition,
            serde_json::json!({"name": "a", "description": "d", "condition_type": "threshold", "threshold": 16,
                "labels": {"path": "/x"}, "flap_damping": {"firings": 3, "within": "10m"}})
        );
        assert_eq!(rule.rule.condition.threshold(), Some(16.0));
    }
}
