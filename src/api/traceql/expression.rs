//! What a query is made of.

use regex::Regex;

use super::postfix::Step;
use crate::model::{SpanKind, SpanStatus};

/// Why a query is refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {what}")]
pub(in crate::api) struct QueryError {
    /// Counted in characters from 1.
    pub(super) column: usize,
    pub(super) what: String,
}

impl QueryError {
    pub(super) fn new(column: usize, what: impl Into<String>) -> Self {
        Self {
            column,
            what: what.into(),
        }
    }
}

/// Where an attribute is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) enum Scope {
    /// Of the span.
    Span,
    /// Of what sent it.
    Resource,
    /// Of the span, else of what sent it.
    Either,
}

/// What a condition is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::api) enum Field {
    Name,
    Status,
    StatusMessage,
    Kind,
    Duration,
    TraceDuration,
    RootName,
    RootService,
    /// `service.name` of what sent it, else its agent.
    Service,
    Attribute(Scope, String),
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Matches,
    NotMatches,
}

impl Comparison {
    /// The same comparison with its sides exchanged; `None` where that makes no sense.
    pub(super) const fn flipped(self) -> Option<Self> {
        Some(match self {
            Self::Equal => Self::Equal,
            Self::NotEqual => Self::NotEqual,
            Self::Less => Self::Greater,
            Self::AtMost => Self::AtLeast,
            Self::Greater => Self::Less,
            Self::AtLeast => Self::AtMost,
            Self::Matches | Self::NotMatches => return None,
        })
    }

    /// Whether it asks for an order.
    pub(super) const fn orders(self) -> bool {
        matches!(
            self,
            Self::Less | Self::AtMost | Self::Greater | Self::AtLeast
        )
    }
}

/// A value that a query names.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// Nanoseconds.
    Duration(i64),
    Status(SpanStatus),
    Kind(SpanKind),
}

/// One condition on a span.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    /// The same for all spans.
    Constant(bool),
    Compare(Field, Comparison, Literal),
    /// A regular expression fits the whole text, or does not.
    Matches(Field, Box<Regex>, bool),
    /// The field is there, or is not.
    Exists(Field, bool),
}

impl Condition {
    fn field(&self) -> Option<&Field> {
        match self {
            Self::Constant(_) => None,
            Self::Compare(field, ..) | Self::Matches(field, ..) | Self::Exists(field, _) => {
                Some(field)
            }
        }
    }
}

/// Spans by conditions; without any, all.
pub(super) type SpanSet = Vec<Step<Condition>>;

/// A query that was understood: sets of spans, joined.
#[derive(Clone, Debug)]
pub(in crate::api) struct Query(pub(super) Vec<Step<SpanSet>>);

impl Query {
    /// Attributes that it asks about, each once.
    pub(in crate::api) fn attributes(&self) -> Vec<(Scope, &str)> {
        let sets = self.0.iter().filter_map(Step::operand);
        let conditions = sets.flatten().filter_map(Step::operand);
        let mut found = Vec::new();
        for field in conditions.filter_map(Condition::field) {
            let named = match field {
                Field::Attribute(scope, key) => (*scope, key.as_str()),
                Field::Service => (Scope::Resource, "service.name"),
                _ => continue,
            };
            if !found.contains(&named) && found.len() < ATTRIBUTES_MAX {
                found.push(named);
            }
        }
        found
    }
}

/// Attributes that an answer shows of each span.
const ATTRIBUTES_MAX: usize = 32;
