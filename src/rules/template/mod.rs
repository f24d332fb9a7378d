//! Go's text templates with Prometheus' functions, for labels and annotations of Prometheus rule files.
//!
//! Sources: Go, `text/template`; Prometheus, `template/template.go`.

mod calls;
mod functions;
mod humanize;
mod lex;
mod number;
mod parse;
mod printf;
mod run;
mod time;
mod value;

use std::fmt;

use crate::model::{Labels, Timestamp};

use parse::Piece;
use value::Value;

/// Longest text that a template may make, in bytes.
const TEXT_BYTES_MAX: usize = 65_536;
/// Bytes of a value that a template computes with, such as the rows of a query.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// Pieces, calls and rounds of loops that one filling may take.
const STEPS_MAX: usize = 100_000;

/// Answers `query` in a template.
pub(in crate::rules) type Query<'a> = dyn Fn(&str) -> Result<Vec<(Labels, f64)>, String> + 'a;

/// What a template of a rule knows.
pub(in crate::rules) struct Facts<'a> {
    /// `$labels`: of the row, without the name.
    pub(in crate::rules) labels: &'a Labels,
    /// `$value`
    pub(in crate::rules) value: f64,
    /// `$externalLabels`
    pub(in crate::rules) external_labels: &'a Labels,
    /// `$externalURL`
    pub(in crate::rules) external_url: &'a str,
    /// `now`
    pub(in crate::rules) at: Timestamp,
    /// `query`
    pub(in crate::rules) query: &'a Query<'a>,
}

/// Why a text is no template, or cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rules) struct TemplateError(String);

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn error<T>(reason: impl Into<String>) -> Result<T, TemplateError> {
    Err(TemplateError(reason.into()))
}

/// A template that was parsed.
#[derive(Debug)]
pub(in crate::rules) struct Template {
    pieces: Vec<Piece>,
}

/// Variables that Prometheus sets before every template of a rule.
const GIVEN: [&str; 4] = ["$labels", "$externalLabels", "$externalURL", "$value"];

impl Template {
    /// Parses a text. Unknown functions and variables are errors already here.
    ///
    /// # Errors
    /// What is wrong, with its line.
    pub(in crate::rules) fn parse(text: &str) -> Result<Self, TemplateError> {
        let pieces = parse::parse(text, &GIVEN)?;
        Ok(Self { pieces })
    }

    /// Fills it in.
    ///
    /// # Errors
    /// What a function or a field refused.
    pub(in crate::rules) fn fill(&self, facts: &Facts<'_>) -> Result<String, TemplateError> {
        let labels = Value::labels(facts.labels);
        let external = Value::labels(facts.external_labels);
        let url = Value::Text(facts.external_url.to_owned());
        let value = Value::Float(facts.value);
        let dot = Value::object([
            ("Labels", labels.clone()),
            ("ExternalLabels", external.clone()),
            ("ExternalURL", url.clone()),
            ("Value", value.clone()),
        ]);
        let given = GIVEN.into_iter().zip([labels, external, url, value]);
        run::run(&self.pieces, &dot, given, facts)
    }
}

#[cfg(test)]
mod tests;
