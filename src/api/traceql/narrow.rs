//! What one span of every trace that a query finds must be like, so that most blocks need not be opened.

use super::{
    expression::{Comparison, Condition, Field, Literal, Query, SpanSet},
    postfix,
};
use crate::model::{SpanFilter, SpanKind, SpanStatus};

/// Beyond it, whole numbers and others that are equal are not written alike.
const EXACT_MAX: u64 = 1 << 53;

impl Query {
    /// A filter that every trace which the query finds fits; the query itself decides.
    pub(in crate::api) fn narrow(&self) -> SpanFilter {
        // With `&&` both sides must be found: the narrower will do. With `||` nothing is sure.
        postfix::evaluate(
            &self.0,
            SpanFilter::default(),
            of_set,
            |left, right| {
                if words(&right) > words(&left) {
                    right
                } else {
                    left
                }
            },
            |_, _| SpanFilter::default(),
            |filter| filter,
        )
    }
}

/// How much a filter asks for.
fn words(filter: &SpanFilter) -> usize {
    let texts = [&filter.operation, &filter.service];
    let durations = [filter.min_duration_ns, filter.max_duration_ns];
    // Durations tell blocks apart less than words do.
    2 * (filter.attributes.len() + texts.into_iter().flatten().count())
        + durations.into_iter().flatten().count()
}

fn of_set(set: &SpanSet) -> SpanFilter {
    let needed: Vec<&Condition> = postfix::evaluate(
        set,
        Vec::new(),
        |condition| vec![condition],
        |mut left, right| {
            left.extend(right);
            left
        },
        |_, _| Vec::new(),
        |_| Vec::new(),
    );
    let mut filter = SpanFilter::default();
    let mut of_root = SpanFilter::default();
    for condition in needed {
        let Condition::Compare(field, comparison, literal) = condition else {
            continue;
        };
        match (field, comparison, literal) {
            (Field::Name, Comparison::Equal, Literal::Text(name)) => {
                filter.operation = Some(name.clone());
            }
            (Field::Service, Comparison::Equal, Literal::Text(name)) => {
                filter.service = Some(name.clone());
            }
            (Field::RootName, Comparison::Equal, Literal::Text(name)) => {
                of_root.operation = Some(name.clone());
            }
            (Field::RootService, Comparison::Equal, Literal::Text(name)) => {
                of_root.service = Some(name.clone());
            }
            (Field::Status, Comparison::Equal, Literal::Status(SpanStatus::Error)) => {
                let failed = ("error".to_owned(), "true".to_owned());
                filter.attributes.push(failed);
            }
            (Field::Kind, Comparison::Equal, Literal::Kind(kind))
                if *kind != SpanKind::Unspecified =>
            {
                let kind = ("span.kind".to_owned(), kind.name().to_owned());
                filter.attributes.push(kind);
            }
            (Field::Attribute(_, key), Comparison::Equal, literal) => {
                let text = shown(literal).map(|text| (key.clone(), text));
                filter.attributes.extend(text);
            }
            (Field::Duration, comparison, Literal::Duration(ns)) => {
                bound(&mut filter, *comparison, *ns);
            }
            _ => {}
        }
    }
    // The root need not be the span that fits the rest.
    if filter == SpanFilter::default() {
        of_root
    } else {
        filter
    }
}

fn bound(filter: &mut SpanFilter, comparison: Comparison, ns: i64) {
    use Comparison::{AtLeast, AtMost, Equal, Greater, Less};
    if matches!(comparison, Equal | Greater | AtLeast) {
        let min = filter.min_duration_ns.map_or(ns, |min| min.max(ns));
        filter.min_duration_ns = Some(min);
    }
    if matches!(comparison, Equal | Less | AtMost) {
        let max = filter.max_duration_ns.map_or(ns, |max| max.min(ns));
        filter.max_duration_ns = Some(max);
    }
}

/// The one text that every value equal to the literal is compared by in searches; `None` where there are several.
fn shown(literal: &Literal) -> Option<String> {
    match literal {
        Literal::Text(text) => Some(text.clone()),
        Literal::Bool(is) => Some(is.to_string()),
        Literal::Int(number) if *number != 0 && number.unsigned_abs() < EXACT_MAX => {
            Some(number.to_string())
        }
        Literal::Float(number) if *number != 0.0 && number.abs() < EXACT_MAX as f64 => {
            Some(number.to_string())
        }
        _ => None,
    }
}
