//! Functions that change labels.

use std::collections::HashSet;

use regex::{Captures, Regex};

use super::Evaluator;
use crate::{
    model::{Labels, NAME_LABEL},
    query::{
        column::{Column, is_absent},
        error::QueryError,
        expression::Expression,
        steps::Steps,
    },
};

impl Evaluator<'_> {
    pub(super) fn label_replace(
        &self,
        arguments: &[Expression],
        steps: Steps,
    ) -> Result<Vec<Column>, QueryError> {
        let [vector, target, replacement, source, expression] = arguments else {
            return Err(super::unexpected("five arguments"));
        };
        let text = |argument: &Expression| argument.text().unwrap_or_default().to_owned();
        let (target, replacement, source) = (text(target), text(replacement), text(source));
        let expression = text(expression);
        let regex = Regex::new(&format!("^(?s:{expression})$")).map_err(|_| {
            QueryError::Execution(format!(
                "invalid regular expression in label_replace(): {expression}"
            ))
        })?;
        check_target(&target, "label_replace")?;
        let mut columns = self.vector(vector, steps)?;
        for column in &mut columns {
            let Some(found) = regex.captures(column.labels.get(&source)) else {
                continue;
            };
            let value = expanded(&replacement, &found);
            column.labels = column.labels.with(&target, &value);
            column.drop_name &= target != NAME_LABEL;
        }
        one_of_each(columns)
    }

    pub(super) fn label_join(
        &self,
        arguments: &[Expression],
        steps: Steps,
    ) -> Result<Vec<Column>, QueryError> {
        let [vector, target, separator, sources @ ..] = arguments else {
            return Err(super::unexpected("at least three arguments"));
        };
        let target = target.text().unwrap_or_default();
        let separator = separator.text().unwrap_or_default();
        let sources: Vec<&str> = sources.iter().filter_map(Expression::text).collect();
        check_target(target, "label_join")?;
        let mut columns = self.vector(vector, steps)?;
        for column in &mut columns {
            let values: Vec<&str> = sources.iter().map(|name| column.labels.get(name)).collect();
            column.labels = column.labels.with(target, &values.join(separator));
            column.drop_name &= target != NAME_LABEL;
        }
        one_of_each(columns)
    }
}

/// A label that is made has a name that needs no quotes, as Prometheus had it before version 3 and as its compliance
/// suite asks: a typo must not make a label that nobody finds again.
fn check_target(name: &str, function: &str) -> Result<(), QueryError> {
    let is_plain = |(at, byte): (usize, u8)| {
        byte == b'_' || byte.is_ascii_alphabetic() || at > 0 && byte.is_ascii_digit()
    };
    if !name.is_empty() && name.bytes().enumerate().all(is_plain) {
        return Ok(());
    }
    Err(QueryError::Execution(format!(
        "invalid destination label name in {function}(): {name}"
    )))
}

/// Fills `$1`, `${1}`, `$name` and `$$` in, as Go's `Regexp.Expand` does.
fn expanded(template: &str, found: &Captures<'_>) -> String {
    let mut out = String::new();
    found.expand(template, &mut out);
    out
}

/// Columns of which no two have the same labels at the same step.
fn one_of_each(columns: Vec<Column>) -> Result<Vec<Column>, QueryError> {
    let mut seen: HashSet<&Labels> = HashSet::with_capacity(columns.len());
    let is_unique = columns.iter().all(|column| seen.insert(&column.labels));
    if is_unique {
        return Ok(columns);
    }
    merge_equal(columns, |column| column.labels.clone())
}

/// Joins columns whose labels have become equal; two values at one step are an error.
pub(in crate::query) fn merge_equal(
    columns: Vec<Column>,
    labels_of: impl Fn(&Column) -> Labels,
) -> Result<Vec<Column>, QueryError> {
    let mut at = std::collections::HashMap::new();
    let mut merged: Vec<Column> = Vec::with_capacity(columns.len());
    for mut column in columns {
        column.labels = labels_of(&column);
        let place = *at.entry(column.labels.clone()).or_insert(merged.len());
        let Some(known) = merged.get_mut(place) else {
            merged.push(column);
            continue;
        };
        for (held, value) in known.values.iter_mut().zip(column.values) {
            if is_absent(value) {
                continue;
            }
            if !is_absent(*held) {
                return Err(QueryError::Execution(
                    "vector cannot contain metrics with the same labelset".to_owned(),
                ));
            }
            *held = value;
        }
        known.drop_name &= column.drop_name;
    }
    Ok(merged)
}
