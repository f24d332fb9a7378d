//! Runs one test.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write,
};

use super::{
    guard::Guard,
    histogram::Histogram,
    series::{self, Given},
};
use crate::{
    alerts::{Finding, Life},
    model::{
        Condition, LabelPairs, Labels, NAME_LABEL, Rule, STALE_MARKER, Timestamp,
        format_duration_ms,
    },
    query::{self, show_number},
    rules::expression::{
        Compiled, Instances, Memory, Outside, Overlay, Place, Row, annotations, instant, rows,
    },
};

/// Evaluations that one test may take.
const EVALUATIONS_MAX: i64 = 5_000_000;

/// A test.
#[derive(Clone, Debug)]
pub struct UnitTest {
    /// What it is called; may be empty.
    pub name: String,
    /// Time between two samples, milliseconds.
    pub interval_ms: i64,
    /// Time between two evaluations of the rules, milliseconds.
    pub evaluation_interval_ms: i64,
    /// When it begins.
    pub start: Timestamp,
    /// Series and their values, as they are written.
    pub series: Vec<(String, String)>,
    /// What is expected of alerts.
    pub alerts: Vec<AlertTest>,
    /// What is expected of expressions.
    pub expressions: Vec<ExpressionTest>,
    /// `$externalLabels` of templates.
    pub external_labels: LabelPairs,
    /// `$externalURL` of templates.
    pub external_url: String,
    /// Whether neighbouring numbers count as equal.
    pub fuzzy_compare: bool,
}

/// Which alerts of a name fire at a moment.
#[derive(Clone, Debug, Default)]
pub struct AlertTest {
    /// The moment, in milliseconds after the start.
    pub eval_time_ms: i64,
    /// The name.
    pub alertname: String,
    /// All that fire.
    pub expected: Vec<ExpectedAlert>,
}

/// An alert that is expected to fire.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExpectedAlert {
    /// Its labels, but for its name.
    pub labels: LabelPairs,
    /// Its annotations.
    pub annotations: LabelPairs,
}

/// What an expression yields at a moment.
#[derive(Clone, Debug, Default)]
pub struct ExpressionTest {
    /// The expression.
    pub expr: String,
    /// The moment, in milliseconds after the start.
    pub eval_time_ms: i64,
    /// All that it yields.
    pub expected: Vec<ExpectedSample>,
}

/// A sample that is expected.
#[derive(Clone, Debug, Default)]
pub struct ExpectedSample {
    /// Labels, as they are written.
    pub labels: String,
    /// Its value.
    pub value: f64,
    /// A native histogram in its place, as it is written.
    pub histogram: Option<String>,
}

/// Runs a test with rules that are evaluated in their order. Returns what does not hold; nothing if all does.
pub fn run_unit_test(test: &UnitTest, rules: &[Rule]) -> Vec<String> {
    let mut failures = Vec::new();
    let mut run = match Run::new(test, rules) {
        Ok(run) => run,
        Err(error) => return vec![error],
    };
    run.evaluate(&mut failures);
    run.expressions(&mut failures);
    failures
}

struct Tested<'r> {
    rule: &'r Rule,
    compiled: Compiled,
    instances: Instances,
    /// Series that its last evaluation wrote.
    written: HashSet<Labels>,
}

struct Run<'r> {
    test: &'r UnitTest,
    memory: Memory,
    /// Histograms of the series below; in memory stand their places in this.
    histograms: Vec<Histogram>,
    of_histograms: HashSet<Labels>,
    rules: Vec<Tested<'r>>,
    outside: Outside,
}

impl<'r> Run<'r> {
    fn new(test: &'r UnitTest, rules: &'r [Rule]) -> Result<Self, String> {
        if test.interval_ms <= 0 || test.evaluation_interval_ms <= 0 {
            return Err("intervals must be above 0".to_owned());
        }
        let mut memory = Memory::default();
        let (mut histograms, mut of_histograms) = (Vec::new(), HashSet::new());
        let mut left = series::SAMPLES_MAX;
        for (name, values) in &test.series {
            let labels = series::labels(name).map_err(|e| format!("series {name:?}: {e}"))?;
            let values = series::values(values).map_err(|e| format!("series {name:?}: {e}"))?;
            left = left.checked_sub(values.len()).ok_or("too many samples")?;
            for (at, value) in values.into_iter().enumerate() {
                let time = test.start.as_millis() + at as i64 * test.interval_ms;
                match value {
                    Some(Given::Number(value)) => memory.push(&labels, time, value),
                    Some(Given::Histogram(histogram)) => {
                        memory.push(&labels, time, histograms.len() as f64);
                        histograms.push(histogram);
                        of_histograms.insert(labels.clone());
                    }
                    None => {}
                }
            }
        }
        let tested = |rule: &'r Rule| {
            if rule.condition.expression().is_none() {
                return Err(format!(
                    "rule `{}` has no expression to be tested",
                    rule.name
                ));
            }
            let compiled = Compiled::new(rule);
            Ok(Tested {
                rule,
                compiled: compiled.map_err(|e| format!("rule `{}`: {}", rule.name, e.reason))?,
                instances: Instances::default(),
                written: HashSet::new(),
            })
        };
        Ok(Self {
            test,
            memory,
            histograms,
            of_histograms,
            rules: rules.iter().map(tested).collect::<Result<_, _>>()?,
            outside: Outside {
                labels: Labels::new(
                    test.external_labels
                        .iter()
                        .map(|(k, v)| (k.as_str(), v.as_str())),
                ),
                url: test.external_url.clone(),
            },
        })
    }

    /// Evaluates the rules up to the last moment that is asked about, and compares alerts on the way.
    fn evaluate(&mut self, failures: &mut Vec<String>) {
        let test = self.test;
        let asked = test.alerts.iter().map(|t| t.eval_time_ms);
        let asked = asked.chain(test.expressions.iter().map(|t| t.eval_time_ms));
        let last = asked.max().unwrap_or(0);
        let step = test.evaluation_interval_ms;
        if last / step > EVALUATIONS_MAX {
            failures.push(format!("more than {EVALUATIONS_MAX} evaluations"));
            return;
        }
        let mut told: HashSet<String> = HashSet::new();
        for after in (0..=last).step_by(usize::try_from(step).unwrap_or(1)) {
            let at = test.start.plus_millis(after);
            for place in 0..self.rules.len() {
                if let Err((rule, error)) = self.evaluate_rule(place, at)
                    && told.insert(rule.clone())
                {
                    let after = format_duration_ms(after);
                    failures.push(format!("rule: {rule}, time: {after}, err: {error}"));
                }
            }
            let due = test
                .alerts
                .iter()
                .filter(|t| (after..after + step).contains(&t.eval_time_ms));
            for alert in due {
                failures.extend(self.compare_alerts(alert, at));
            }
        }
    }

    fn evaluate_rule(&mut self, place: usize, at: Timestamp) -> Result<(), (String, String)> {
        let Some(tested) = self.rules.get_mut(place) else {
            return Ok(());
        };
        let overlay = Overlay {
            memory: &self.memory,
            below: None,
        };
        let guard = Guard::new(&overlay, &self.of_histograms);
        let here = Place {
            source: &guard,
            at,
            outside: &self.outside,
        };
        let found = rows(tested.rule, &tested.compiled, &here);
        let found = guard.check().and(found);
        let found = found.map_err(|error| (tested.rule.alert_name().to_owned(), error))?;
        let offset_ms = tested.rule.member.as_ref().map_or(0, |m| m.query_offset_ms);
        let time = at.as_millis() - offset_ms;
        let samples: Vec<(Labels, f64)> = if let Condition::Record { .. } = tested.rule.condition {
            found
                .into_iter()
                .map(|row| (row.identity, row.value))
                .collect()
        } else {
            let ends = |_: &Row| Finding::Ends;
            tested
                .instances
                .take(tested.rule, found, at, &ends, &|_, _| 0);
            let open = tested.instances.open();
            open.flat_map(|open| told_as_series(tested.rule, &open.row, &open.life))
                .collect()
        };
        let mut written = HashSet::with_capacity(samples.len());
        for (labels, value) in samples {
            self.memory.push(&labels, time, value);
            written.insert(labels);
        }
        let before = std::mem::replace(&mut tested.written, written);
        for ended in before.difference(&tested.written) {
            self.memory.push(ended, time, STALE_MARKER);
        }
        Ok(())
    }

    fn compare_alerts(&self, expected: &AlertTest, at: Timestamp) -> Option<String> {
        let overlay = Overlay {
            memory: &self.memory,
            below: None,
        };
        let here = Place {
            source: &overlay,
            at,
            outside: &self.outside,
        };
        let mut found: Vec<ExpectedAlert> = Vec::new();
        let named = |tested: &&Tested<'_>| {
            matches!(tested.rule.condition, Condition::Expr { .. })
                && tested.rule.alert_name() == expected.alertname
        };
        for tested in self.rules.iter().filter(named) {
            let firing = tested
                .instances
                .open()
                .filter(|open| open.life.fired_at.is_some());
            found.extend(firing.map(|open| {
                ExpectedAlert {
                    labels: alert_labels(tested.rule, &open.row)
                        .iter()
                        .filter(|(name, _)| *name != "alertname")
                        .map(|(k, v)| (k.to_owned(), v.to_owned()))
                        .collect(),
                    annotations: annotations(&tested.compiled, &here, &open.row),
                }
            }));
        }
        let mut wanted = expected.expected.clone();
        for alert in &mut wanted {
            alert
                .labels
                .retain(|(name, value)| name != "alertname" && !value.is_empty());
            alert.labels.sort();
            alert.annotations.sort();
        }
        wanted.sort();
        found.sort();
        if wanted == found {
            return None;
        }
        let time = format_duration_ms(expected.eval_time_ms);
        Some(format!(
            "alertname: {}, time: {time},\n  exp: {}\n  got: {}",
            expected.alertname,
            shown_alerts(&wanted),
            shown_alerts(&found)
        ))
    }

    fn expressions(&self, failures: &mut Vec<String>) {
        for asked in &self.test.expressions {
            let time = format_duration_ms(asked.eval_time_ms);
            let head = format!("expr: {:?}, time: {time}", asked.expr);
            match self.compare(asked) {
                Ok(None) => {}
                Ok(Some((wanted, found))) => {
                    failures.push(format!("{head},\n  exp: {wanted}\n  got: {found}"));
                }
                Err(error) => failures.push(format!("{head}, err: {error}")),
            }
        }
    }

    /// What was wanted and what was found, where they differ.
    fn compare(&self, asked: &ExpressionTest) -> Result<Option<(String, String)>, String> {
        let expression = query::parse(&asked.expr).map_err(|error| error.to_string())?;
        let overlay = Overlay {
            memory: &self.memory,
            below: None,
        };
        let at = self.test.start.plus_millis(asked.eval_time_ms);
        // A selector alone computes nothing.
        let mut found = if query::parse_metric_selector(&asked.expr).is_ok() {
            let found = instant(&overlay, &expression, at)?.into_iter();
            found
                .map(|(labels, value)| self.sample(labels, value))
                .collect()
        } else {
            let guard = Guard::new(&overlay, &self.of_histograms);
            let found = instant(&guard, &expression, at)?.into_iter();
            guard.check()?;
            found
                .map(|(labels, value)| (labels, Given::Number(value)))
                .collect::<Vec<_>>()
        };
        let mut wanted = Vec::with_capacity(asked.expected.len());
        for sample in &asked.expected {
            let value = match &sample.histogram {
                Some(text) => {
                    let inner = text
                        .trim()
                        .strip_prefix("{{")
                        .and_then(|t| t.strip_suffix("}}"));
                    Given::Histogram(Histogram::parse(inner.unwrap_or(text))?)
                }
                None => Given::Number(sample.value),
            };
            wanted.push((series::labels(&sample.labels)?, value));
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        wanted.sort_by(|a, b| a.0.cmp(&b.0));
        let same = |(a, b): (&(Labels, Given), &(Labels, Given))| {
            a.0 == b.0 && equal(&a.1, &b.1, self.test.fuzzy_compare)
        };
        if wanted.len() == found.len() && wanted.iter().zip(&found).all(same) {
            return Ok(None);
        }
        Ok(Some((shown_samples(&wanted), shown_samples(&found))))
    }

    /// A sample as it was given.
    fn sample(&self, labels: Labels, value: f64) -> (Labels, Given) {
        let histogram = self
            .of_histograms
            .contains(&labels)
            .then(|| self.histograms.get(value as usize));
        match histogram.flatten() {
            Some(histogram) => (labels, Given::Histogram(histogram.clone())),
            None => (labels, Given::Number(value)),
        }
    }
}

/// Whether samples are the same or, if that is enough, neighbouring numbers.
fn equal(a: &Given, b: &Given, is_fuzzy: bool) -> bool {
    match (a, b) {
        (Given::Number(a), Given::Number(b)) => {
            a == b
                || (a.is_nan() && b.is_nan())
                || (is_fuzzy && (a.next_up() == *b || a.next_down() == *b))
        }
        (a, b) => a == b,
    }
}

/// Labels of an alert as Prometheus has them; longwatch's own rules have their name as well.
fn alert_labels(rule: &Rule, row: &Row) -> Labels {
    if rule.member.is_some() {
        return row.identity.clone();
    }
    let pairs = crate::rules::expression::labels_of(rule, "", row);
    Labels::new(pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())))
}

/// `ALERTS` and `ALERTS_FOR_STATE` of an open alert.
fn told_as_series(rule: &Rule, row: &Row, life: &Life) -> [(Labels, f64); 2] {
    let labels = alert_labels(rule, row);
    let state = if life.fired_at.is_some() {
        "firing"
    } else {
        "pending"
    };
    [
        (
            labels.with("alertstate", state).with(NAME_LABEL, "ALERTS"),
            1.0,
        ),
        (
            labels.with(NAME_LABEL, "ALERTS_FOR_STATE"),
            life.active_at.as_seconds(),
        ),
    ]
}

fn shown_alerts(alerts: &[ExpectedAlert]) -> String {
    let pairs = |pairs: &LabelPairs| {
        let sorted: BTreeMap<&String, &String> = pairs.iter().map(|(k, v)| (k, v)).collect();
        let shown: Vec<String> = sorted.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
        format!("{{{}}}", shown.join(", "))
    };
    let mut out = String::from("[");
    for (at, alert) in alerts.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        let (labels, annotations) = (pairs(&alert.labels), pairs(&alert.annotations));
        let _ = write!(out, "{comma}Labels:{labels} Annotations:{annotations}");
    }
    out + "]"
}

fn shown_samples(samples: &[(Labels, Given)]) -> String {
    let shown: Vec<String> = samples
        .iter()
        .map(|(labels, value)| match value {
            Given::Number(value) => format!("{labels} {}", show_number(*value)),
            Given::Histogram(histogram) => format!("{labels} {histogram}"),
        })
        .collect();
    if shown.is_empty() {
        "nil".to_owned()
    } else {
        shown.join(", ")
    }
}
