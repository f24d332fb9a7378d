//! Reads alert rules. The form is the JSON object of the API; TOML is brought into it by `config` and `rules`,
//! which know where each key stands.

mod keys;
mod prometheus;
mod reader;

use serde_json::{Map, Value};

use keys::{COMMON, KINDS, NOT_OF_EXPR};
use reader::{NAME_BYTES_MAX, Reader, expected};

pub use keys::RULE_KEYS;
pub use prometheus::{GROUP_KEY, read_definition};

use crate::model::{
    Aggregate, Condition, DAY_MS, FlapDamping, Glob, LabelPairs, Limit, MatchOperator, Matcher,
    NoData, Operator, Quorum, Rule, Season, SeriesFilter, Severity, format_duration_ms,
};

/// What is said when one of the three is missing, in the words of the document that rules come from.
pub const MISSING: &str = "Alert rule must contain: ['name', 'description', 'condition_type']";

/// Keys that every rule must have.
const REQUIRED: [&str; 3] = ["name", "description", "condition_type"];
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Longest `for`, `keep_firing_for` and flap damping.
const HOLD_MS_MAX: i64 = 30 * DAY_MS;
/// Longest window.
const WINDOW_MS_MAX: i64 = 400 * DAY_MS;
/// Labels, annotations or matchers of one rule.
const PAIRS_MAX: usize = 32;

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

impl Reader<'_> {
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
        let is_expr = kind.is_some_and(|(name, _)| name == "expr");
        let filter = if is_expr {
            SeriesFilter {
                agent: self.text("agent_id").map(Glob::new),
                ..SeriesFilter::default()
            }
        } else {
            self.filter()
        };
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
        let mut add_labels = self.pairs("add_labels");
        if is_expr {
            let same = self.pairs("labels");
            if !same.is_empty() && !add_labels.is_empty() {
                self.report(
                    "labels",
                    "is the same as `add_labels` here: give one of them",
                );
            }
            add_labels.extend(same);
        }
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
            member: None,
        })
    }

    fn check_keys(&mut self, kind: Option<(&str, &[&str])>) {
        for key in self.object.keys() {
            let is_expr = kind.is_some_and(|(name, _)| name == "expr");
            if is_expr && NOT_OF_EXPR.contains(&key.as_str()) {
                self.report(
                    key,
                    "has no meaning in a rule of type expr: the expression says it",
                );
                continue;
            }
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
            "expr" => Condition::Expr {
                expr: self.expression(),
            },
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

    /// The text of an expression; whether it is PromQL is looked at where PromQL is known.
    fn expression(&mut self) -> String {
        match self.get("expr") {
            None => self.report("expr", "is missing"),
            Some(Value::String(text)) if text.trim().is_empty() => {
                self.report("expr", "must not be empty");
            }
            Some(Value::String(text)) => return text.clone(),
            Some(other) => self.report("expr", expected("a text", other)),
        }
        String::new()
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
                if (key == "add_labels" || key == "labels")
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
