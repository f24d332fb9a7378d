//! The rows that an expression rule yields at a moment: the one place that live evaluation, backtest and unit tests
//! share.
//!
//! Source of the behaviour: Prometheus, `rules/alerting.go` and `rules/recording.go`.

use std::{cell::Cell, collections::HashSet};

use super::compiled::Compiled;
use crate::{
    model::{Condition, LabelPairs, Labels, NAME_LABEL, Rule, Timestamp},
    query::{Answer, Expression, QueryLimits, QueryRange, Question, Source, answer, answer_parsed},
    rules::template::{Facts, Template},
};

/// The label with the alert's name.
const ALERTNAME: &str = "alertname";

/// Rows of one rule: each is an alert, or a series.
const ROWS_MAX: usize = 10_000;
/// What the expression of a rule may use. All rules are evaluated one after the other, and none may hold the others up.
const EXPRESSION_LIMITS: QueryLimits = QueryLimits {
    max_samples: 50_000_000,
    max_series: 200_000,
    max_points: 11_000,
    max_memory: 256 << 20,
    timeout_ms: 10_000,
};
/// What a `query` in a template may use, and how often one evaluation of a text may ask.
const TEMPLATE_LIMITS: QueryLimits = QueryLimits {
    max_samples: 1_000_000,
    max_series: 10_000,
    max_memory: 16 << 20,
    timeout_ms: 500,
    ..EXPRESSION_LIMITS
};
const TEMPLATE_QUERIES_MAX: u32 = 10;

/// What templates know beside the row.
#[derive(Clone, Debug, Default)]
pub(in crate::rules) struct Outside {
    /// `$externalLabels`
    pub(in crate::rules) labels: Labels,
    /// `$externalURL`
    pub(in crate::rules) url: String,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::rules) struct Row {
    /// Labels as the expression yields them.
    pub(in crate::rules) labels: Labels,
    /// What tells it from the rule's other rows. For an alert of a Prometheus rule file all of its labels; for what is
    /// recorded, those of the series.
    pub(in crate::rules) identity: Labels,
    /// Its value.
    pub(in crate::rules) value: f64,
}

/// Where and when a rule is evaluated.
pub(in crate::rules) struct Place<'a> {
    pub(in crate::rules) source: &'a dyn Source,
    pub(in crate::rules) at: Timestamp,
    pub(in crate::rules) outside: &'a Outside,
}

/// Evaluates a rule's expression.
///
/// # Errors
/// Why there is no answer: the expression's own error, two rows of one identity, too many rows.
pub(in crate::rules) fn rows(
    rule: &Rule,
    compiled: &Compiled,
    place: &Place<'_>,
) -> Result<Vec<Row>, String> {
    let offset_ms = rule.member.as_ref().map_or(0, |m| m.query_offset_ms);
    let as_of = place.at.plus_millis(-offset_ms);
    let found = instant(place.source, &compiled.expression, as_of)?;
    identified(rule, compiled, place, found)
}

/// Tells rows apart, as alerts or as what is recorded.
///
/// # Errors
/// Two rows of one identity, too many rows.
pub(in crate::rules) fn identified(
    rule: &Rule,
    compiled: &Compiled,
    place: &Place<'_>,
    found: Vec<(Labels, f64)>,
) -> Result<Vec<Row>, String> {
    if found.len() > ROWS_MAX {
        let rows = found.len();
        return Err(format!("exceeded limit of {ROWS_MAX} with {rows} rows"));
    }
    let limit = rule.member.as_ref().map_or(0, |member| member.limit) as usize;
    let mut seen = HashSet::with_capacity(found.len());
    let mut rows = Vec::with_capacity(found.len());
    for (labels, value) in found {
        let identity = match &rule.condition {
            Condition::Record { metric, .. } => recorded(rule, metric, &labels),
            _ => alert_labels(rule, compiled, place, &labels, value),
        };
        if !seen.insert(identity.clone()) {
            return Err(format!(
                "vector contains metrics with the same labelset after applying {} labels: {identity}",
                if matches!(rule.condition, Condition::Record { .. }) {
                    "rule"
                } else {
                    "alert"
                }
            ));
        }
        rows.push(Row {
            labels,
            identity,
            value,
        });
    }
    if limit > 0 && rows.len() > limit {
        let what = if matches!(rule.condition, Condition::Record { .. }) {
            "series"
        } else {
            "alerts"
        };
        return Err(format!(
            "exceeded limit of {limit} with {} {what}",
            rows.len()
        ));
    }
    Ok(rows)
}

/// Identities that rows would have as alerts, as texts.
pub(in crate::rules) fn identities(
    rule: &Rule,
    compiled: &Compiled,
    place: &Place<'_>,
    found: &[(Labels, f64)],
) -> HashSet<String> {
    let all = found.iter();
    let identity =
        |(labels, value): &(Labels, f64)| alert_labels(rule, compiled, place, labels, *value);
    all.map(|row| identity(row).to_string()).collect()
}

/// One sample of each series of an expression at a moment; a number is one without labels.
pub(in crate::rules) fn instant(
    source: &dyn Source,
    expression: &Expression,
    at: Timestamp,
) -> Result<Vec<(Labels, f64)>, String> {
    let mut question = Question::new("", QueryRange::At(at.as_millis()));
    question.limits = EXPRESSION_LIMITS;
    let answered = answer_parsed(source, expression, &question);
    vector(answered.map_err(|error| error.to_string())?.answer)
}

fn vector(answer: Answer) -> Result<Vec<(Labels, f64)>, String> {
    match answer {
        Answer::Scalar(_, value) => Ok(vec![(Labels::default(), value)]),
        Answer::Vector(series) => {
            let rows = series.into_iter().filter_map(|series| {
                let (_, value) = *series.samples.last()?;
                Some((series.labels, value))
            });
            Ok(rows.collect())
        }
        Answer::Text(..) | Answer::Matrix(_) => {
            Err("the result is not a vector or scalar".to_owned())
        }
    }
}

/// Labels of the series that a row is recorded as.
fn recorded(rule: &Rule, metric: &str, row: &Labels) -> Labels {
    let named = row.with(NAME_LABEL, metric);
    let add = |labels: Labels, (name, value): &(String, String)| labels.with(name, value);
    rule.add_labels.iter().fold(named, add)
}

fn alert_labels(
    rule: &Rule,
    compiled: &Compiled,
    place: &Place<'_>,
    row: &Labels,
    value: f64,
) -> Labels {
    let plain = row.without_name();
    if rule.member.is_none() {
        return plain;
    }
    let mut labels = plain.clone();
    for (name, value) in filled(&compiled.labels, place, &plain, value) {
        labels = labels.with(&name, &value);
    }
    labels.with(ALERTNAME, rule.alert_name())
}

/// Annotations of an alert of a Prometheus rule file.
pub(in crate::rules) fn annotations(
    compiled: &Compiled,
    place: &Place<'_>,
    row: &Row,
) -> LabelPairs {
    let plain = row.labels.without_name();
    let mut filled = filled(&compiled.annotations, place, &plain, row.value);
    filled.sort();
    filled
}

/// Fills templates in; an error is told in the text's place, as Prometheus does.
fn filled(
    templates: &[(String, Template)],
    place: &Place<'_>,
    labels: &Labels,
    value: f64,
) -> LabelPairs {
    if templates.is_empty() {
        return Vec::new();
    }
    let queries = Cell::new(0);
    let query = |text: &str| {
        queries.set(queries.get() + 1);
        if queries.get() > TEMPLATE_QUERIES_MAX {
            return Err(format!("asks more than {TEMPLATE_QUERIES_MAX} queries"));
        }
        let mut question = Question::new(text, QueryRange::At(place.at.as_millis()));
        question.limits = TEMPLATE_LIMITS;
        let answered = answer(place.source, &question);
        vector(answered.map_err(|error| error.to_string())?.answer)
    };
    let facts = Facts {
        labels,
        value,
        external_labels: &place.outside.labels,
        external_url: &place.outside.url,
        at: place.at,
        query: &query,
    };
    let fill = |(name, template): &(String, Template)| {
        let text = template
            .fill(&facts)
            .unwrap_or_else(|error| format!("<error expanding template: {error}>"));
        (name.clone(), text)
    };
    templates.iter().map(fill).collect()
}
