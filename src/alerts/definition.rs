//! Reads alert rules. The form is the JSON object of the API; TOML is brought into it by `config` and `rules`,
//! which know where each key stands.

use serde_json::{Map, Value};

use super::template::check_template;
use crate::model::{
    Aggregate, Condition, DAY_MS, FlapDamping, Glob, LabelPairs, Limit, MatchOperator, Matcher,
    NoData, Operator, Quorum, Rule, Season, SeriesFilter, Severity, format_duration_ms,
    parse_duration_ms,
};

/// What is said when one of the three is missing, in the words of the document that rules come from.
pub const MISSING: &str = "Alert rule must contain: ['name', 'description', 'condition_type']";

/// Keys that every rule must have.
const REQUIRED: [&str; 3] = ["name", "description", "condition_type"];
/// Every key of a rule: what a value looks like, what it does.
pub const RULE_KEYS: [(&str, &str, &str); 27] = [
    (
        "name",
        "text",
        "What the rule is called; required, and unique.",
    ),
    (
        "description",
        "template",
        "What its alerts say; required. Placeholders: docs/alerting.md.",
    ),
    (
        "condition_type",
        "`threshold`, `rate_of_change`, `absent`, `anomaly`, `forecast`",
        "When it holds; required.",
    ),
    (
        "metric_name",
        "text, `*` for any run",
        "The metric; every one of the agent's own unless set, and the agent as a whole in a rule of type absent.",
    ),
    (
        "agent_id",
        "text, `*` for any run",
        "The agents; all unless set.",
    ),
    (
        "labels",
        "table, or list of matchers",
        "Labels of the series: exact values, or values that begin with `=~`, `!~`, `!=`.",
    ),
    (
        "severity",
        "`info`, `warning`, `critical`, `emergency`",
        "How bad it is; warning unless set.",
    ),
    (
        "operator",
        "`>`, `<`, `>=`, `<=`, `==`, `!=`",
        "How the value is compared; `>` unless set. In a rule of type anomaly `>` or `<` takes one side only.",
    ),
    (
        "threshold",
        "number",
        "With what; 0 unless set. For an anomaly the score, 3.5 unless set.",
    ),
    (
        "rate_threshold",
        "number",
        "The same for a rate, per second.",
    ),
    (
        "resolve_threshold",
        "number",
        "An alert that fires ends only when the value no longer compares so with this.",
    ),
    (
        "window",
        "duration",
        "What is looked at: how old the newest sample may be; the window of an aggregate, a rate, a forecast, of silence; how much past an anomaly is compared with.",
    ),
    (
        "aggregate",
        "`last`, `avg`, `min`, `max`, `sum`, `count`",
        "What is made of the window's samples; `last` unless set.",
    ),
    (
        "breaches",
        "text such as \"3 of 5\"",
        "So many of the last samples must breach.",
    ),
    (
        "within",
        "duration",
        "How far ahead a forecast looks; 4h unless set.",
    ),
    (
        "season",
        "`none`, `hour_of_week`",
        "What an anomaly is compared with: all of the past, or the same hour of the week.",
    ),
    (
        "known_for",
        "duration",
        "A rule of type absent is about what was seen within this; 7d unless set.",
    ),
    (
        "for",
        "duration, up to 30d",
        "The condition must hold so long before the alert fires.",
    ),
    (
        "keep_firing_for",
        "duration, up to 30d",
        "The alert fires on for so long after the condition ended.",
    ),
    (
        "no_data",
        "`unknown`, `keep`, `alert`, `resolve`",
        "What it means when there is no data; unknown unless set, which never resolves.",
    ),
    (
        "min_samples",
        "number",
        "Fewer samples in the window are no data; 1 unless set, 30 for an anomaly, 3 for a forecast.",
    ),
    (
        "flap_damping",
        "table: `firings`, `within`",
        "An alert that fired so often within this time is held until the condition has been gone for as long.",
    ),
    ("flap_damping.firings", "number, 2 to 1000", "So often."),
    ("flap_damping.within", "duration", "Within this."),
    (
        "add_labels",
        "table of templates",
        "Labels that its alerts get beside their own.",
    ),
    ("annotations", "table of templates", "More to be said."),
    (
        "annotations.NAME",
        "template",
        "One of them; `summary` and `runbook_url` are customary.",
    ),
];

/// Keys that every rule may have.
const COMMON: [&str; 15] = [
    "name",
    "description",
    "condition_type",
    "metric_name",
    "agent_id",
    "labels",
    "severity",
    "for",
    "keep_firing_for",
    "no_data",
    "min_samples",
    "flap_damping",
    "add_labels",
    "annotations",
    "window",
];
/// Kinds of conditions with the keys of their own.
const KINDS: [(&str, &[&str]); 5] = [
    (
        "threshold",
        &[
            "operator",
            "threshold",
            "resolve_threshold",
            "aggregate",
            "breaches",
        ],
    ),
    (
        "rate_of_change",
        &[
            "operator",
            "rate_threshold",
            "threshold",
            "resolve_threshold",
        ],
    ),
    ("absent", &["known_for"]),
    (
        "anomaly",
        &["operator", "threshold", "resolve_threshold", "season"],
    ),
    (
        "forecast",
        &["operator", "threshold", "resolve_threshold", "within"],
    ),
];

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Longest `for`, `keep_firing_for` and flap damping.
const HOLD_MS_MAX: i64 = 30 * DAY_MS;
/// Longest window.
const WINDOW_MS_MAX: i64 = 400 * DAY_MS;
/// Labels, annotations or matchers of one rule.
const PAIRS_MAX: usize = 32;
/// Longest name, and longest value of a short text; bytes.
const NAME_BYTES_MAX: usize = 256;

/// A mistake in a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key, with `.` before keys within it; empty for the whole rule.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Reads a rule.
///
/// # Errors
/// Every mistake in it.
pub fn read_rule(object: &Map<String, Value>) -> Result<Rule, Vec<Mistake>> {
    let mut reader = Reader {
        object,
        mistakes: Vec::new(),
    };
    let rule = reader.rule();
    match rule {
        Some(rule) if reader.mistakes.is_empty() => Ok(rule),
        _ => Err(reader.mistakes),
    }
}

/// Checks the name of a rule.
///
/// # Errors
/// Why it is none.
pub fn check_rule_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(format!(
            "a rule's name has 1 to {NAME_BYTES_MAX} bytes, this one has {}",
            name.len()
        ));
    }
    if name.chars().any(char::is_control) {
        return Err("a rule's name must not hold control characters".to_owned());
    }
    if name == "." || name == ".." {
        return Err("a rule's name must not be `.` or `..`".to_owned());
    }
    Ok(())
}

struct Reader<'a> {
    object: &'a Map<String, Value>,
    mistakes: Vec<Mistake>,
}

impl<'a> Reader<'a> {
    fn report(&mut self, key: &str, reason: impl Into<String>) {
        self.mistakes.push(Mistake {
            key: key.to_owned(),
            reason: reason.into(),
        });
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    fn rule(&mut self) -> Option<Rule> {
        let missing: Vec<&str> = REQUIRED
            .into_iter()
            .filter(|key| self.get(key).is_none())
            .collect();
        for key in &missing {
            self.report(key, format!("is missing. {MISSING}"));
        }
        let kind = self.text("condition_type");
        let kind = kind.and_then(|kind| {
            let known = KINDS.into_iter().find(|(name, _)| *name == kind);
            if known.is_none() {
                let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
                let reason = format!(
                    "unknown condition type `{kind}`: expected one of {}",
                    names.join(", ")
                );
                self.report("condition_type", reason);
            }
            known
        });
        self.check_keys(kind);
        let name = self.text("name").unwrap_or_default();
        if !name.is_empty()
            && let Err(reason) = check_rule_name(&name)
        {
            self.report("name", reason);
        }
        let description = self.template("description", self.get("description"));
        let severity = self.choice("severity", &Severity::ALL.map(|s| (s.as_str(), s)));
        let filter = self.filter();
        let for_ms = self.duration("for", 0..=HOLD_MS_MAX).unwrap_or(0);
        let keep = self.duration("keep_firing_for", 0..=HOLD_MS_MAX);
        let no_data = self.choice("no_data", &NoData::ALL.map(|n| (n.as_str(), n)));
        let least = match kind {
            Some(("anomaly", _)) => 30,
            Some(("forecast", _)) => 3,
            _ => 1,
        };
        let min_samples = self.count("min_samples", 1..=1_000_000).unwrap_or(least);
        let flap_damping = self.flap_damping();
        let add_labels = self.pairs("add_labels");
        let annotations = self.pairs("annotations");
        let condition = self.condition(kind?.0);
        Some(Rule {
            name,
            description,
            severity: severity.unwrap_or(Severity::Warning),
            filter,
            condition,
            for_ms,
            keep_firing_for_ms: keep.unwrap_or(0),
            no_data: no_data.unwrap_or(NoData::Unknown),
            min_samples,
            flap_damping,
            add_labels,
            annotations,
        })
    }

    fn check_keys(&mut self, kind: Option<(&str, &[&str])>) {
        for key in self.object.keys() {
            if COMMON.contains(&key.as_str()) {
                continue;
            }
            let owners: Vec<&str> = KINDS
                .iter()
                .filter(|(_, keys)| keys.contains(&key.as_str()))
                .map(|(name, _)| *name)
                .collect();
            match kind {
                Some((_, keys)) if keys.contains(&key.as_str()) => {}
                None if !owners.is_empty() => {}
                Some((kind, _)) if !owners.is_empty() => {
                    let reason = format!(
                        "has no meaning in a rule of type {kind}, only in {}",
                        owners.join(", ")
                    );
                    self.report(key, reason);
                }
                _ => self.report(key, "unknown key"),
            }
        }
    }

    fn filter(&mut self) -> SeriesFilter {
        SeriesFilter {
            metric: self.text("metric_name").map(Glob::new),
            agent: self.text("agent_id").map(Glob::new),
            labels: self.matchers(),
        }
    }

    /// `labels`: a table of exact values, where a value that begins with an operator is compared by it; or a list
    /// of matchers in Alertmanager's form.
    fn matchers(&mut self) -> Vec<Matcher> {
        let read: Vec<(String, Result<Matcher, String>)> = match self.get("labels") {
            None => return Vec::new(),
            Some(Value::Object(table)) => table
                .iter()
                .map(|(name, value)| {
                    let matcher = match value {
                        Value::String(text) => matcher_of(name, text),
                        other => Err(expected("a text", other)),
                    };
                    (format!("labels.{name}"), matcher)
                })
                .collect(),
            Some(Value::Array(list)) => list
                .iter()
                .map(|value| {
                    let matcher = match value {
                        Value::String(text) => Matcher::parse(text).map_err(|e| e.to_string()),
                        other => Err(expected("a matcher such as \"path=~/api.*\"", other)),
                    };
                    ("labels".to_owned(), matcher)
                })
                .collect(),
            Some(other) => {
                let reason = expected("a table of labels, or a list of matchers", other);
                self.report("labels", reason);
                return Vec::new();
            }
        };
        if read.len() > PAIRS_MAX {
            self.report(
                "labels",
                format!(
                    "has {} entries, at most {PAIRS_MAX} are allowed",
                    read.len()
                ),
            );
        }
        let mut matchers = Vec::new();
        for (key, matcher) in read {
            match matcher {
                Ok(matcher) => matchers.push(matcher),
                Err(reason) => self.report(&key, reason),
            }
        }
        matchers
    }

    fn condition(&mut self, kind: &str) -> Condition {
        let window = 1_000..=WINDOW_MS_MAX;
        let window_ms = self.duration("window", window);
        let condition = match kind {
            "threshold" => Condition::Threshold {
                limit: self.limit("threshold"),
                aggregate: self
                    .choice("aggregate", &Aggregate::ALL.map(|a| (a.as_str(), a)))
                    .unwrap_or(Aggregate::Last),
                window_ms,
                quorum: self.quorum(),
            },
            "rate_of_change" => {
                if self.get("rate_threshold").is_some() && self.get("threshold").is_some() {
                    self.report(
                        "threshold",
                        "is the same as `rate_threshold`: give one of them",
                    );
                }
                let key = if self.get("rate_threshold").is_some() {
                    "rate_threshold"
                } else {
                    "threshold"
                };
                Condition::RateOfChange {
                    limit: self.limit(key),
                    window_ms,
                }
            }
            "absent" => Condition::Absent {
                window_ms: window_ms.unwrap_or(5 * MINUTE_MS),
                known_for_ms: self
                    .duration("known_for", HOUR_MS..=WINDOW_MS_MAX)
                    .unwrap_or(7 * DAY_MS),
            },
            "anomaly" => self.anomaly(window_ms),
            _ => Condition::Forecast {
                limit: self.limit("threshold"),
                window_ms: window_ms.unwrap_or(HOUR_MS),
                within_ms: self
                    .duration("within", 1_000..=WINDOW_MS_MAX)
                    .unwrap_or(4 * HOUR_MS),
            },
        };
        self.check_together(&condition);
        condition
    }

    fn anomaly(&mut self, window_ms: Option<i64>) -> Condition {
        let operator = self.operator();
        let side = operator.filter(|o| matches!(o, Operator::Greater | Operator::Less));
        if operator != side {
            self.report(
                "operator",
                "an anomaly is above (>), below (<) or, without an operator, either",
            );
        }
        let threshold = self.number("threshold").unwrap_or(3.5);
        let resolve_threshold = self.number("resolve_threshold");
        if threshold <= 0.0 {
            self.report("threshold", "a score's threshold must be above 0");
        }
        if resolve_threshold.is_some_and(|r| r > threshold || r < 0.0) {
            self.report("resolve_threshold", "must lie between 0 and the threshold");
        }
        let season = self.choice(
            "season",
            &[("none", Season::None), ("hour_of_week", Season::HourOfWeek)],
        );
        let season = season.unwrap_or(Season::None);
        let usual = match season {
            Season::None => DAY_MS,
            Season::HourOfWeek => 28 * DAY_MS,
        };
        let history_ms = window_ms.unwrap_or(usual);
        let least = match season {
            Season::None => HOUR_MS,
            Season::HourOfWeek => 7 * DAY_MS,
        };
        if history_ms < least {
            let reason = format!(
                "must be at least {} to compare with",
                format_duration_ms(least)
            );
            self.report("window", reason);
        }
        Condition::Anomaly {
            threshold,
            side,
            resolve_threshold,
            history_ms,
            season,
        }
    }

    fn limit(&mut self, key: &str) -> Limit {
        let operator = self.operator().unwrap_or(Operator::Greater);
        let threshold = self.number(key).unwrap_or(0.0);
        let resolve_threshold = self.number("resolve_threshold");
        if let Some(resolve) = resolve_threshold {
            let is_sound = if operator.points_up() {
                resolve <= threshold
            } else if operator.points_down() {
                resolve >= threshold
            } else {
                resolve == threshold
            };
            if !is_sound {
                let reason = format!(
                    "an alert begins when the value is {operator} {threshold} and could never end properly by {resolve}: \
                     it must lie on the other side of the threshold"
                );
                self.report("resolve_threshold", reason);
            }
        }
        Limit {
            operator,
            threshold,
            resolve_threshold,
        }
    }

    fn check_together(&mut self, condition: &Condition) {
        if let Condition::Threshold {
            aggregate,
            window_ms,
            quorum,
            ..
        } = condition
        {
            if *aggregate != Aggregate::Last && window_ms.is_none() {
                self.report("window", "is needed for an aggregate");
            }
            if *aggregate != Aggregate::Last && quorum.is_some() {
                self.report(
                    "breaches",
                    "counts single samples: it has no meaning with an aggregate",
                );
            }
        }
        if matches!(condition, Condition::Absent { .. }) && self.get("no_data").is_some() {
            self.report("no_data", "has no meaning in a rule of type absent");
        }
    }

    fn quorum(&mut self) -> Option<Quorum> {
        let value = self.get("breaches")?;
        let read = value.as_str().and_then(|text| {
            let (breaches, of) = text.split_once("of")?;
            Some(Quorum {
                breaches: breaches.trim().parse().ok()?,
                of: of.trim().parse().ok()?,
            })
        });
        match read {
            Some(quorum) if (1..=quorum.of).contains(&quorum.breaches) && quorum.of <= 1_000 => {
                Some(quorum)
            }
            _ => {
                self.report(
                    "breaches",
                    "expected a text such as \"3 of 5\", of at most 1000",
                );
                None
            }
        }
    }

    fn flap_damping(&mut self) -> Option<FlapDamping> {
        let value = self.get("flap_damping")?;
        let Value::Object(table) = value else {
            let reason = expected("a table with `firings` and `within`", value);
            self.report("flap_damping", reason);
            return None;
        };
        let mut inner = Reader {
            object: table,
            mistakes: Vec::new(),
        };
        let firings = inner.count("firings", 2..=1_000);
        let within = inner.duration("within", MINUTE_MS..=HOLD_MS_MAX);
        for key in table
            .keys()
            .filter(|k| !["firings", "within"].contains(&k.as_str()))
        {
            inner.report(key, "unknown key");
        }
        for key in ["firings", "within"] {
            if inner.get(key).is_none() {
                inner.report(key, "is missing");
            }
        }
        let mistakes = std::mem::take(&mut inner.mistakes);
        self.mistakes.extend(mistakes.into_iter().map(|m| Mistake {
            key: format!("flap_damping.{}", m.key),
            reason: m.reason,
        }));
        Some(FlapDamping {
            firings: firings?,
            within_ms: within?,
        })
    }

    fn pairs(&mut self, key: &str) -> LabelPairs {
        let table = match self.get(key) {
            None => return Vec::new(),
            Some(Value::Object(table)) => table,
            Some(other) => {
                let reason = expected("a table of texts", other);
                self.report(key, reason);
                return Vec::new();
            }
        };
        if table.len() > PAIRS_MAX {
            self.report(
                key,
                format!(
                    "has {} entries, at most {PAIRS_MAX} are allowed",
                    table.len()
                ),
            );
        }
        let mut pairs: LabelPairs = table
            .iter()
            .map(|(name, value)| {
                let at = format!("{key}.{name}");
                if name.is_empty() || name.len() > NAME_BYTES_MAX {
                    self.report(&at, format!("a name has 1 to {NAME_BYTES_MAX} bytes"));
                }
                if key == "add_labels"
                    && ["alertname", "agent_id", "metric_name"].contains(&name.as_str())
                {
                    self.report(&at, "is set by longwatch");
                }
                (name.clone(), self.template(&at, Some(value)))
            })
            .collect();
        pairs.sort();
        pairs
    }

    fn template(&mut self, key: &str, value: Option<&Value>) -> String {
        match value {
            None => String::new(),
            Some(Value::String(text)) => {
                if let Err(error) = check_template(text) {
                    self.report(key, error.to_string());
                }
                text.clone()
            }
            Some(other) => {
                self.report(key, expected("a text", other));
                String::new()
            }
        }
    }

    /// A short text that is not empty.
    fn text(&mut self, key: &str) -> Option<String> {
        match self.get(key)? {
            Value::String(text) if text.is_empty() => self.report(key, "must not be empty"),
            Value::String(text) if text.len() > NAME_BYTES_MAX => {
                self.report(
                    key,
                    format!(
                        "has {} bytes, at most {NAME_BYTES_MAX} are allowed",
                        text.len()
                    ),
                );
            }
            Value::String(text) => return Some(text.clone()),
            other => self.report(key, expected("a text", other)),
        }
        None
    }

    fn operator(&mut self) -> Option<Operator> {
        self.choice("operator", &Operator::ALL.map(|o| (o.as_str(), o)))
    }

    fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = choices.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            self.report(key, format!("`{text}` is none of {}", names.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    /// A finite number; a text that is one will do.
    fn number(&mut self, key: &str) -> Option<f64> {
        let value = self.get(key)?;
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            other => {
                self.report(key, expected("a number", other));
                return None;
            }
        };
        let number = number.filter(|n| n.is_finite());
        if number.is_none() {
            self.report(key, format!("{value} is not a finite number"));
        }
        number
    }

    fn count(&mut self, key: &str, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
        let value = self.get(key)?;
        let count = value.as_u64().and_then(|n| u32::try_from(n).ok());
        let count = count.filter(|n| range.contains(n));
        if count.is_none() {
            let reason = format!(
                "expected a whole number from {} to {}",
                range.start(),
                range.end()
            );
            self.report(key, reason);
        }
        count
    }

    /// A duration such as `5m`, or a number of seconds; in milliseconds.
    fn duration(&mut self, key: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let ms = match self.get(key)? {
            Value::String(text) => parse_duration_ms(text).map_err(|e| e.to_string()),
            Value::Number(seconds) => {
                let ms = seconds.as_f64().unwrap_or(f64::NAN) * 1000.0;
                if ms.is_finite() {
                    Ok(ms as i64)
                } else {
                    Err("not a duration".to_owned())
                }
            }
            other => Err(expected("a duration such as \"5m\"", other)),
        };
        match ms {
            Ok(ms) if range.contains(&ms) => Some(ms),
            Ok(ms) => {
                let reason = format!(
                    "{} is out of range: from {} to {}",
                    format_duration_ms(ms),
                    format_duration_ms(*range.start()),
                    format_duration_ms(*range.end())
                );
                self.report(key, reason);
                None
            }
            Err(reason) => {
                self.report(key, reason);
                None
            }
        }
    }
}

fn matcher_of(name: &str, text: &str) -> Result<Matcher, String> {
    let operators = [
        ("=~", MatchOperator::Regex),
        ("!~", MatchOperator::NotRegex),
        ("!=", MatchOperator::NotEqual),
    ];
    let found = operators
        .into_iter()
        .find_map(|(sign, operator)| Some((operator, text.strip_prefix(sign)?)));
    let (operator, value) = found.unwrap_or((MatchOperator::Equal, text));
    Matcher::new(name, operator, value).map_err(|e| e.to_string())
}

fn expected(what: &str, found: &Value) -> String {
    let found = match found {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    };
    format!("expected {what}, found {found}")
}
