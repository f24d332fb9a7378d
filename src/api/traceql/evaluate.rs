//! Which spans of a trace a query finds.

use std::cmp::Ordering;

use super::{
    expression::{Comparison, Condition, Field, Literal, Query, Scope, SpanSet},
    postfix,
};
use crate::model::{AttributeValue, Span, SpanKind, SpanStatus, TraceSummary};

/// What a field of a span is.
enum Value<'a> {
    Text(&'a str),
    Duration(i64),
    Status(&'a SpanStatus),
    Kind(SpanKind),
    Attribute(&'a AttributeValue),
}

impl Query {
    /// Spans of the trace that it finds, by their places, ascending; none where the trace as a whole does not fit.
    pub(in crate::api) fn find(&self, summary: &TraceSummary, spans: &[Span]) -> Vec<usize> {
        let of_set = |set: &SpanSet| -> Vec<usize> {
            (0..spans.len())
                .filter(|place| holds(set, summary, &spans[*place]))
                .collect()
        };
        postfix::evaluate(
            &self.0,
            Vec::new(),
            of_set,
            |left, right| {
                if left.is_empty() || right.is_empty() {
                    Vec::new()
                } else {
                    united(left, right)
                }
            },
            united,
            |found| found,
        )
    }
}

fn united(mut left: Vec<usize>, right: Vec<usize>) -> Vec<usize> {
    left.extend(right);
    left.sort_unstable();
    left.dedup();
    left
}

fn holds(set: &SpanSet, summary: &TraceSummary, span: &Span) -> bool {
    postfix::evaluate(
        set,
        true,
        |condition| fits(condition, summary, span),
        |left, right| left && right,
        |left, right| left || right,
        |is| !is,
    )
}

fn fits(condition: &Condition, summary: &TraceSummary, span: &Span) -> bool {
    match condition {
        Condition::Constant(is) => *is,
        Condition::Exists(field, is) => value_of(field, summary, span).is_some() == *is,
        Condition::Matches(field, regex, is) => match value_of(field, summary, span) {
            Some(Value::Text(text)) => regex.is_match(text) == *is,
            Some(Value::Attribute(AttributeValue::Text(text))) => regex.is_match(text) == *is,
            _ => false,
        },
        Condition::Compare(field, comparison, literal) => {
            let value = value_of(field, summary, span);
            let order = value.and_then(|value| order_of(&value, literal));
            order.is_some_and(|order| match comparison {
                Comparison::Equal => order.is_eq(),
                Comparison::NotEqual => order.is_ne(),
                Comparison::Less => order.is_lt(),
                Comparison::AtMost => order.is_le(),
                Comparison::Greater => order.is_gt(),
                Comparison::AtLeast => order.is_ge(),
                Comparison::Matches | Comparison::NotMatches => false,
            })
        }
    }
}

fn value_of<'a>(field: &Field, summary: &'a TraceSummary, span: &'a Span) -> Option<Value<'a>> {
    Some(match field {
        Field::Name => Value::Text(&span.name),
        Field::Status => Value::Status(&span.status),
        Field::StatusMessage => Value::Text(&span.status_message),
        Field::Kind => Value::Kind(span.kind),
        Field::Duration => Value::Duration(span.duration_ns()?),
        Field::TraceDuration => {
            Value::Duration(summary.end_ns.saturating_sub(summary.start_ns).max(0))
        }
        Field::RootName => Value::Text(&summary.root_operation),
        Field::RootService => Value::Text(root_service(summary)),
        Field::Service => Value::Text(span.service()),
        Field::Attribute(scope, key) => Value::Attribute(attribute(span, *scope, key)?),
    })
}

/// The service of a trace's root, else its agent.
pub(in crate::api) fn root_service(summary: &TraceSummary) -> &str {
    let service = summary.root_service.as_deref();
    service.unwrap_or_else(|| summary.root_agent.as_str())
}

/// An attribute where a query looks for it.
pub(in crate::api) fn attribute<'a>(
    span: &'a Span,
    scope: Scope,
    key: &str,
) -> Option<&'a AttributeValue> {
    let (own, resource) = (&span.attributes, &span.resource.attributes);
    match scope {
        Scope::Span => own.get(key),
        Scope::Resource => resource.get(key),
        Scope::Either => own.get(key).or_else(|| resource.get(key)),
    }
}

/// How a value stands to a literal; `None` where they are of different kinds. What has no order is only told to be equal
/// or not.
fn order_of(value: &Value<'_>, literal: &Literal) -> Option<Ordering> {
    let same = |is: bool| {
        Some(if is {
            Ordering::Equal
        } else {
            Ordering::Greater
        })
    };
    match (value, literal) {
        (Value::Text(text), Literal::Text(other)) => Some((*text).cmp(other.as_str())),
        (Value::Duration(ns), Literal::Duration(other)) => Some(ns.cmp(other)),
        (Value::Status(status), Literal::Status(other)) => same(*status == other),
        (Value::Kind(kind), Literal::Kind(other)) => same(kind == other),
        (Value::Attribute(value), literal) => match (value, literal) {
            (AttributeValue::Text(text), Literal::Text(other)) => Some((**text).cmp(other)),
            (AttributeValue::Bool(is), Literal::Bool(other)) => same(is == other),
            (AttributeValue::Int(number), Literal::Int(other)) => Some(number.cmp(other)),
            (AttributeValue::Int(number), Literal::Float(other)) => {
                (*number as f64).partial_cmp(other)
            }
            (AttributeValue::Float(number), Literal::Int(other)) => {
                number.partial_cmp(&(*other as f64))
            }
            (AttributeValue::Float(number), Literal::Float(other)) => number.partial_cmp(other),
            _ => None,
        },
        _ => None,
    }
}
