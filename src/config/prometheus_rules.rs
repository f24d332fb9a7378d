//! Rule files of Prometheus: groups of alerting and recording rules in YAML.
//!
//! Source of what is allowed: Prometheus, `model/rulefmt/rulefmt.go`.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use serde_saphyr::{Location, Options, Spanned};

use super::{
    ConfigError, ConfigErrors, Origin,
    file::Source,
    rules::FileRule,
    yaml::{mistake, place},
};
use crate::{
    model::{Rule, RuleOrigin, StoredRule, Timestamp, parse_duration_ms},
    rules,
};

/// How such files end.
const EXTENSIONS: [&str; 2] = ["yml", "yaml"];
/// Lists, mappings and scalars of a file, those that an alias repeats included.
const NODES_MAX: usize = 500_000;
/// A file is nested 6 deep.
const DEPTH_MAX: usize = 24;
/// Bytes of all scalars, those that an alias repeats included.
const SCALAR_BYTES_MAX: usize = 32 << 20;

/// Whether a file is one of Prometheus' by its name.
pub(super) fn is_rule_file(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str());
    extension.is_some_and(|e| EXTENSIONS.contains(&e))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping with `groups`")]
struct RuleFile {
    #[serde(default)]
    groups: Option<Vec<Group>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a group with `name` and `rules`")]
struct Group {
    #[serde(default)]
    name: Option<Spanned<String>>,
    #[serde(default)]
    interval: Option<Spanned<String>>,
    #[serde(default)]
    query_offset: Option<Spanned<String>>,
    #[serde(default)]
    limit: Option<u32>,
    #[serde(default)]
    labels: Option<Texts>,
    #[serde(default)]
    rules: Option<Vec<Spanned<WrittenRule>>>,
}

type Texts = BTreeMap<String, Spanned<Option<String>>>;

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a rule with `alert` or `record`, and `expr`"
)]
struct WrittenRule {
    #[serde(default)]
    record: Option<Spanned<String>>,
    #[serde(default)]
    alert: Option<Spanned<String>>,
    #[serde(default)]
    expr: Option<Spanned<String>>,
    #[serde(default, rename = "for")]
    for_: Option<Spanned<String>>,
    #[serde(default)]
    keep_firing_for: Option<Spanned<String>>,
    #[serde(default)]
    labels: Option<Texts>,
    #[serde(default)]
    annotations: Option<Texts>,
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: NODES_MAX,
            max_events: 2 * NODES_MAX,
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_total_scalar_bytes: SCALAR_BYTES_MAX,
            max_recorded_anchor_bytes: SCALAR_BYTES_MAX,
        },
        with_snippet: false,
    }
}

/// Reads the rules of a file. As in Prometheus, the first document alone counts.
///
/// # Errors
/// Every mistake with its place; of unknown keys and wrong kinds of values the first.
pub(super) fn read(source: &Source) -> Result<Vec<FileRule>, ConfigErrors> {
    let read: Result<Vec<RuleFile>, _> =
        serde_saphyr::from_multiple_with_options(source.text(), options());
    let documents = read.map_err(|error| ConfigErrors::one(mistake(source, &error)))?;
    let groups = documents.into_iter().next().and_then(|file| file.groups);
    let mut reader = Reader {
        source,
        rules: Vec::new(),
        errors: Vec::new(),
    };
    let mut names = HashSet::new();
    for group in groups.into_iter().flatten() {
        reader.group(group, &mut names);
    }
    match ConfigErrors::of(reader.errors) {
        Some(errors) => Err(errors),
        None => Ok(reader.rules),
    }
}

struct Reader<'a> {
    source: &'a Source,
    rules: Vec<FileRule>,
    errors: Vec<ConfigError>,
}

impl Reader<'_> {
    fn report(&mut self, at: Location, key: &str, reason: impl Into<String>) {
        self.errors.push(ConfigError {
            origin: place(self.source, at),
            key: key.to_owned(),
            reason: reason.into(),
        });
    }

    fn group(&mut self, group: Group, names: &mut HashSet<String>) {
        let rules = group.rules.unwrap_or_default();
        let Some(name) = group.name.filter(|name| !name.value.is_empty()) else {
            let at = rules
                .first()
                .map_or(Location::UNKNOWN, |rule| rule.referenced);
            self.report(at, "name", "a group must have a name");
            return;
        };
        if !names.insert(name.value.clone()) {
            let why = format!("groupname: {:?} is repeated in the same file", name.value);
            self.report(name.referenced, "name", why);
        }
        let mut shared = Map::new();
        shared.insert("name".to_owned(), json!(name.value));
        for (key, text) in [
            ("interval", group.interval),
            ("query_offset", group.query_offset),
        ] {
            let Some(text) = text else { continue };
            if let Err(why) = parse_duration_ms(&text.value) {
                self.report(text.referenced, key, why.to_string());
            }
            shared.insert(key.to_owned(), json!(text.value));
        }
        if let Some(limit) = group.limit.filter(|limit| *limit > 0) {
            shared.insert("limit".to_owned(), json!(limit));
        }
        let labels = group.labels.unwrap_or_default();
        self.check_names(&labels, "labels");
        let mut taken: HashMap<String, usize> = HashMap::new();
        for (position, rule) in rules.into_iter().enumerate() {
            let mut member = shared.clone();
            member.insert("position".to_owned(), json!(position));
            self.rule(&rule.value, rule.referenced, member, &labels, &mut taken);
        }
    }

    fn rule(
        &mut self,
        rule: &WrittenRule,
        at: Location,
        member: Map<String, Value>,
        group_labels: &Texts,
        taken: &mut HashMap<String, usize>,
    ) {
        let Some((kind, title)) = self.title(rule, at) else {
            return;
        };
        let Some(expr) = rule
            .expr
            .as_ref()
            .filter(|expr| !expr.value.trim().is_empty())
        else {
            self.report(at, "expr", "field 'expr' must be set in rule");
            return;
        };
        if kind == "record" {
            self.check_record(rule, title);
        }
        let none = Texts::new();
        let labels = rule.labels.as_ref().unwrap_or(&none);
        let annotations = rule.annotations.as_ref().unwrap_or(&none);
        self.check_names(labels, "labels");
        self.check_names(annotations, "annotations");
        let all_labels: BTreeMap<&String, &str> = group_labels
            .iter()
            .chain(labels)
            .map(|(name, text)| (name, text_of(text)))
            .collect();
        let texts: BTreeMap<&String, &str> = annotations
            .iter()
            .map(|(name, text)| (name, text_of(text)))
            .collect();
        let group = member
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let mut definition = Map::new();
        let name = unique(group, &title.value, taken);
        definition.insert("name".to_owned(), json!(name));
        definition.insert(kind.to_owned(), json!(title.value));
        let condition = if kind == "record" { "record" } else { "expr" };
        definition.insert("condition_type".to_owned(), json!(condition));
        definition.insert("expr".to_owned(), json!(expr.value));
        for (key, text) in [
            ("for", &rule.for_),
            ("keep_firing_for", &rule.keep_firing_for),
        ] {
            if let Some(text) = text {
                definition.insert(key.to_owned(), json!(text.value));
            }
        }
        if !all_labels.is_empty() {
            definition.insert("labels".to_owned(), json!(all_labels));
        }
        if !texts.is_empty() {
            definition.insert("annotations".to_owned(), json!(texts));
        }
        definition.insert(crate::alerts::GROUP_KEY.to_owned(), Value::Object(member));
        match rules::check_definition(&definition) {
            Ok(rule) => self.take(rule, &definition, title.referenced),
            Err(mistakes) => {
                for mistake in mistakes {
                    let at = place_of(&mistake.key, rule, group_labels).unwrap_or(at);
                    self.report(at, &mistake.key, mistake.reason);
                }
            }
        }
    }

    fn take(&mut self, rule: Rule, definition: &Map<String, Value>, at: Location) {
        self.rules.push(FileRule {
            rule: StoredRule {
                rule,
                definition: Value::Object(definition.clone()).to_string(),
                origin: RuleOrigin::Directory,
                updated_at: Timestamp::from_millis(0),
            },
            at: place(self.source, at),
        });
    }

    /// Which kind of rule it is, and what it is called.
    fn title<'r>(
        &mut self,
        rule: &'r WrittenRule,
        at: Location,
    ) -> Option<(&'static str, &'r Spanned<String>)> {
        let given =
            |text: &'r Option<Spanned<String>>| text.as_ref().filter(|text| !text.value.is_empty());
        match (given(&rule.record), given(&rule.alert)) {
            (Some(_), Some(alert)) => {
                let why = "only one of 'record' and 'alert' must be set";
                self.report(alert.referenced, "alert", why);
                None
            }
            (None, None) => {
                self.report(at, "", "one of 'record' or 'alert' must be set");
                None
            }
            (Some(record), None) => Some(("record", record)),
            (None, Some(alert)) => Some(("alert", alert)),
        }
    }

    fn check_record(&mut self, rule: &WrittenRule, title: &Spanned<String>) {
        if title.value.contains(['{', '}']) {
            let why = format!(
                "braces present in the recording rule name; should it be in expr?: {}",
                title.value
            );
            self.report(title.referenced, "record", why);
        }
        for (key, text) in [
            ("for", &rule.for_),
            ("keep_firing_for", &rule.keep_firing_for),
        ] {
            if let Some(text) = text {
                let why = format!("invalid field '{key}' in recording rule");
                self.report(text.referenced, key, why);
            }
        }
        let first = rule
            .annotations
            .as_ref()
            .and_then(|texts| texts.values().next());
        if let Some(first) = first {
            let why = "invalid field 'annotations' in recording rule";
            self.report(first.referenced, "annotations", why);
        }
    }

    fn check_names(&mut self, texts: &Texts, key: &str) {
        for (name, text) in texts {
            if name.is_empty() || name == crate::model::NAME_LABEL {
                let what = if key == "labels" {
                    "label"
                } else {
                    "annotation"
                };
                let why = format!("invalid {what} name: {name:?}");
                self.report(text.referenced, key, why);
            }
        }
    }
}

fn text_of(text: &Spanned<Option<String>>) -> &str {
    text.value.as_deref().unwrap_or_default()
}

/// Where the value of a key stands.
fn place_of(key: &str, rule: &WrittenRule, group_labels: &Texts) -> Option<Location> {
    let of = |text: &Option<Spanned<String>>| text.as_ref().map(|text| text.referenced);
    let within = |texts: Option<&Texts>, name: &str| Some(texts?.get(name)?.referenced);
    match key.split_once('.') {
        Some(("labels", name)) => {
            within(rule.labels.as_ref(), name).or_else(|| within(Some(group_labels), name))
        }
        Some(("annotations", name)) => within(rule.annotations.as_ref(), name),
        _ => match key {
            "expr" => of(&rule.expr),
            "for" => of(&rule.for_),
            "keep_firing_for" => of(&rule.keep_firing_for),
            "name" => of(&rule.alert).or_else(|| of(&rule.record)),
            _ => None,
        },
    }
}

/// The rule's name: group and title, with a number from the second rule of the same title in the group on.
fn unique(group: &str, title: &str, taken: &mut HashMap<String, usize>) -> String {
    let count = taken.entry(title.to_owned()).or_default();
    *count += 1;
    match count {
        1 => format!("{group}/{title}"),
        count => format!("{group}/{title}#{count}"),
    }
}

/// Puts the file's name before groups of which several files have one of that name.
pub(super) fn tell_groups_apart(rules: &mut [FileRule]) {
    let file = |found: &FileRule| match &found.at {
        Origin::Place { path, .. } => path.clone(),
        _ => std::path::PathBuf::new(),
    };
    let group = |found: &FileRule| found.rule.rule.member.as_ref().map(|m| m.group.clone());
    let mut files: HashMap<String, HashSet<std::path::PathBuf>> = HashMap::new();
    for found in rules.iter() {
        if let Some(group) = group(found) {
            files.entry(group).or_default().insert(file(found));
        }
    }
    for found in rules.iter_mut() {
        let Some(group) =
            group(found).filter(|group| files.get(group).is_some_and(|f| f.len() > 1))
        else {
            continue;
        };
        let path = file(found);
        let stem = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        rename_group(
            &mut found.rule,
            &format!("{}:{group}", stem.unwrap_or_default()),
        );
    }
}

fn rename_group(stored: &mut StoredRule, group: &str) {
    let Some(member) = stored.rule.member.as_mut() else {
        return;
    };
    let rest = stored
        .rule
        .name
        .get(member.group.len()..)
        .unwrap_or_default();
    let name = format!("{group}{rest}");
    group.clone_into(&mut member.group);
    let mut definition: Value = serde_json::from_str(&stored.definition).unwrap_or_default();
    definition["name"] = json!(name);
    definition[crate::alerts::GROUP_KEY]["name"] = json!(group);
    stored.rule.name = name;
    stored.definition = definition.to_string();
}

/// Kind, name and labels of a rule.
type Said<'r> = (&'static str, &'r str, &'r [(String, String)]);

/// Rules that say the same twice: the same kind, name and labels.
pub(super) fn duplicates(rules: &[FileRule]) -> Vec<String> {
    let mut first: HashMap<Said<'_>, &Origin> = HashMap::new();
    let mut remarks = Vec::new();
    for found in rules
        .iter()
        .filter(|found| found.rule.rule.member.is_some())
    {
        let rule = &found.rule.rule;
        let key = (
            rule.condition.kind(),
            rule.alert_name(),
            rule.add_labels.as_slice(),
        );
        match first.get(&key) {
            Some(first) => remarks.push(format!(
                "{}: `{}` is a duplicate: the same name and labels as at {first}",
                found.at,
                rule.alert_name()
            )),
            None => drop(first.insert(key, &found.at)),
        }
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<FileRule>, Vec<String>> {
        let source = Source::new(Path::new("r.yml"), text.to_owned());
        read(&source).map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    const GOOD: &str = "groups:\n- name: g\n  interval: 1m\n  labels: {team: a, zone: z}\n  rules:\n  \
        - alert: Hot\n    expr: cpu > 90\n    for: 5m\n    labels: {severity: critical, zone: y}\n    \
        annotations:\n      summary: \"{{ $labels.job }} at {{ $value }}\"\n  - alert: Hot\n    expr: cpu > 80\n  \
        - record: job:cpu:avg\n    expr: avg by (job) (cpu)\n";

    #[test]
    fn rules_of_a_group_are_read_with_what_the_group_says() {
        let rules = parse(GOOD).unwrap();
        let names: Vec<&str> = rules.iter().map(|r| r.rule.rule.name.as_str()).collect();
        assert_eq!(names, ["g/Hot", "g/Hot#2", "g/job:cpu:avg"]);
        let rule = &rules[0].rule.rule;
        assert_eq!(rule.for_ms, 300_000);
        let labels: Vec<String> = rule
            .add_labels
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        assert_eq!(labels.join(" "), "severity=critical team=a zone=y");
        assert_eq!(
            rule.member.as_ref().and_then(|m| m.interval_ms),
            Some(60_000)
        );
        assert_eq!(rules[1].at.to_string(), "r.yml:12:12");
        let kept: Value = serde_json::from_str(&rules[0].rule.definition).unwrap();
        let again = crate::alerts::read_definition(kept.as_object().unwrap());
        assert_eq!(
            again.as_ref(),
            Ok(rule),
            "what is kept is read back as the same rule"
        );
    }

    #[test]
    fn every_mistake_has_its_place() {
        let text = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: sum(\n  - record: b{}\n    expr: 1\n    for: 1m\n  \
                    - expr: 1\n  - alert: C\n    record: c\n    expr: 1\n  - alert: D\n    expr: 1\n    for: 1x\n    \
                    annotations: {summary: \"{{ $label }}\"}\n- name: g\n";
        let errors = parse(text).unwrap_err();
        let expected = [
            "r.yml:5:11: expr: 1:5: parse error",
            "r.yml:6:13: record: braces present",
            "r.yml:8:10: for: invalid field 'for' in recording rule",
            "r.yml:9:5: one of 'record' or 'alert' must be set",
            "r.yml:10:12: alert: only one of",
            "r.yml:15:10: for: \"1x\" is not a duration",
            "r.yml:17:9: name: groupname: \"g\" is repeated",
        ];
        assert_eq!(errors.len(), expected.len(), "{errors:#?}");
        for (error, expected) in errors.iter().zip(expected) {
            assert!(error.starts_with(expected), "{error}");
        }
        let errors =
            parse("groups:\n- name: g\n  rules:\n  - alert: A\n    expr: 1\n    anotations: {}\n");
        let errors = errors.unwrap_err();
        assert!(
            errors[0].starts_with("r.yml:6:5:") && errors[0].contains("anotations"),
            "{errors:?}"
        );
    }

    #[test]
    fn groups_of_one_name_in_several_files_are_told_apart() {
        let mut rules = parse(GOOD).unwrap();
        let other = Source::new(Path::new("dir/other.yaml"), GOOD.to_owned());
        rules.extend(read(&other).unwrap());
        tell_groups_apart(&mut rules);
        let names: Vec<&str> = rules.iter().map(|r| r.rule.rule.name.as_str()).collect();
        assert_eq!(names[1], "r:g/Hot#2");
        assert_eq!(names[3], "other:g/Hot");
        let kept: Value = serde_json::from_str(&rules[3].rule.definition).unwrap();
        assert_eq!(
            (&kept["name"], &kept["group"]["name"]),
            (&json!("other:g/Hot"), &json!("other:g"))
        );
        assert_eq!(duplicates(&rules).len(), 3);
    }

    #[test]
    fn the_first_document_counts_and_an_empty_file_says_nothing() {
        let two = format!("{GOOD}---\ngroups: []\n");
        assert_eq!(parse(&two).unwrap().len(), 3);
        assert_eq!(parse("").unwrap().len(), 0);
        assert_eq!(parse("groups:\n").unwrap().len(), 0);
    }
}
