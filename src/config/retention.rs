//! `[[storage.retention_rules]]`: series that are kept for a shorter time than others.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    ConfigError, Origin,
    file::{Entry, Source, entries},
    suggest::nearest,
    value::{Given, kind_of},
};
use crate::model::{DAY_MS, Glob, RetentionRule, SeriesKey, format_duration_ms, is_contact};

/// Name of the section.
pub(super) const SECTION: &str = "storage.retention_rules";
/// The section that it belongs to, and its key there.
pub(super) const PLACE: (&str, &str) = ("storage", "retention_rules");

/// Rules of one file.
const RULES_MAX: usize = 100;

/// Shortest and longest time that a rule keeps samples, in milliseconds.
const KEEP_MS: std::ops::RangeInclusive<i64> = 3_600_000..=36_500 * DAY_MS;

/// A key of `[[storage.retention_rules]]`, as documents show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionRuleKey {
    /// The key.
    pub key: &'static str,
    /// What a value looks like.
    pub form: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

/// Every key of `[[storage.retention_rules]]`.
pub const RETENTION_RULE_KEYS: [RetentionRuleKey; 4] = [
    RetentionRuleKey {
        key: "metric",
        form: "pattern",
        meaning: "The metric's name.",
    },
    RetentionRuleKey {
        key: "agent_id",
        form: "pattern",
        meaning: "The agent's id.",
    },
    RetentionRuleKey {
        key: "labels",
        form: "table of patterns",
        meaning: "Labels of the series itself, each with its value; a series that lacks one of them does not fit.",
    },
    RetentionRuleKey {
        key: "keep",
        form: "duration, 1h to 36500d",
        meaning: "For how long samples of these series are kept; required, and no longer than `storage.retention`.",
    },
];

/// Rules that were found, each with the place of its `keep`, and what is wrong.
#[derive(Default)]
pub(super) struct Found {
    /// Rules without a mistake.
    pub(super) rules: Vec<(RetentionRule, Origin)>,
    /// Mistakes of the others.
    pub(super) errors: Vec<ConfigError>,
}

/// Reads the section. Of a file whose syntax is broken (`is_torn`), a missing key is no mistake: it
/// may be what could not be read.
pub(super) fn read(source: &Source, section: &Spanned<DeValue<'_>>, is_torn: bool) -> Found {
    let mut found = Found::default();
    let at = section.span().start;
    let DeValue::Array(tables) = section.get_ref() else {
        let reason = format!(
            "expected sections [[{SECTION}]], found {}",
            kind_of(section.get_ref())
        );
        let error = source.error(at, SECTION.to_owned(), reason);
        found.errors.push(error);
        return found;
    };
    if tables.len() > RULES_MAX {
        let reason = format!("{} rules are more than {RULES_MAX}", tables.len());
        let error = source.error(at, SECTION.to_owned(), reason);
        found.errors.push(error);
        return found;
    }
    for table in tables {
        let DeValue::Table(entries) = table.get_ref() else {
            let reason = format!("expected a table, found {}", kind_of(table.get_ref()));
            let error = source.error(table.span().start, SECTION.to_owned(), reason);
            found.errors.push(error);
            continue;
        };
        let mut reader = RuleReader::new(source);
        reader.take_table(entries);
        if !is_torn {
            reader.check_whole(entries, table.span().start);
        }
        match (reader.keep_at, reader.errors.is_empty()) {
            (Some(at), true) => found.rules.push((reader.rule, at)),
            _ => found.errors.append(&mut reader.errors),
        }
    }
    found
}

/// Why a rule cannot hold beside the retention of everything else; `None` when it can.
pub(super) fn longer_than(rule: &RetentionRule, retention_ms: i64) -> Option<String> {
    (rule.keep_ms > retention_ms).then(|| {
        format!(
            "{} is longer than storage.retention ({}), which a rule can only shorten",
            format_duration_ms(rule.keep_ms),
            format_duration_ms(retention_ms)
        )
    })
}

struct RuleReader<'a> {
    source: &'a Source,
    rule: RetentionRule,
    keep_at: Option<Origin>,
    errors: Vec<ConfigError>,
}

impl<'a> RuleReader<'a> {
    const fn new(source: &'a Source) -> Self {
        Self {
            source,
            rule: RetentionRule {
                metric: None,
                agent_id: None,
                labels: Vec::new(),
                keep_ms: 0,
            },
            keep_at: None,
            errors: Vec::new(),
        }
    }

    fn report(&mut self, at: usize, key: &str, reason: String) {
        let error = self.source.error(at, format!("{SECTION}.{key}"), reason);
        self.errors.push(error);
    }

    fn take_table(&mut self, table: &DeTable<'_>) {
        for entry in entries(table) {
            if let ("labels", DeValue::Table(labels)) = (entry.key, entry.value) {
                self.take_labels(labels);
            } else if let Err((at, reason)) = self.take_key(&entry) {
                self.report(at, entry.key, reason);
            }
        }
    }

    /// Takes a key with a single value; the error says where it is.
    fn take_key(&mut self, entry: &Entry<'_>) -> Result<(), (usize, String)> {
        let at = entry.value_span.start;
        let given = Given::Toml(entry.value);
        let wrong = |reason: String| (at, reason);
        match entry.key {
            "metric" => {
                let text = given.text("a metric's name").map_err(wrong)?;
                self.rule.metric = Some(Glob::new(text));
            }
            "agent_id" => {
                let text = given.text("an agent id").map_err(wrong)?;
                self.rule.agent_id = Some(Glob::new(text));
            }
            "keep" => {
                let ms = given.duration_ms().map_err(wrong)?;
                if !KEEP_MS.contains(&ms) {
                    let [least, most, given] =
                        [*KEEP_MS.start(), *KEEP_MS.end(), ms].map(format_duration_ms);
                    return Err(wrong(format!(
                        "must be between {least} and {most}, not {given}"
                    )));
                }
                self.rule.keep_ms = ms;
                self.keep_at = Some(self.source.place(at));
            }
            "labels" => {
                return Err(wrong(format!(
                    "expected a table, found {}",
                    kind_of(entry.value)
                )));
            }
            unknown => {
                let hint = nearest(unknown, RETENTION_RULE_KEYS.iter().map(|k| k.key))
                    .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                return Err((entry.key_span.start, format!("unknown key{hint}")));
            }
        }
        Ok(())
    }

    fn take_labels(&mut self, table: &DeTable<'_>) {
        for entry in entries(table) {
            match Given::Toml(entry.value).text("a label's value") {
                Ok(text) => self
                    .rule
                    .labels
                    .push((entry.key.to_owned(), Glob::new(text))),
                Err(reason) => self.report(
                    entry.value_span.start,
                    &format!("labels.{}", entry.key),
                    reason,
                ),
            }
        }
        self.rule.labels.sort_by(|a, b| a.0.cmp(&b.0));
    }

    /// What only the whole rule shows.
    fn check_whole(&mut self, table: &DeTable<'_>, at: usize) {
        if !table.contains_key("keep") {
            self.report(at, "keep", "is missing".to_owned());
        }
        let has_labels = match table.get("labels").map(Spanned::get_ref) {
            Some(DeValue::Table(labels)) => !labels.is_empty(),
            other => other.is_some(),
        };
        if !(has_labels || table.contains_key("metric") || table.contains_key("agent_id")) {
            let reason = "says of no series: give `metric`, `agent_id` or `labels`".to_owned();
            let error = self.source.error(at, SECTION.to_owned(), reason);
            self.errors.push(error);
        }
        let named = self.rule.metric.as_ref().map(Glob::as_str);
        let series = named.and_then(|name| SeriesKey::new(name, &[]).ok());
        if !has_labels && series.is_some_and(|series| is_contact(&series)) {
            let reason = "says when agents were reached: it is kept for storage.retention, so that the past does not look like silence";
            let at = table.get("metric").map_or(at, |value| value.span().start);
            self.report(at, "metric", reason.to_owned());
        }
    }
}
