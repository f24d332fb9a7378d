//! `and`, `or`, `unless`: series of one side, depending on whether the other has some at the same step.

use std::collections::HashMap;

use super::binary::key_of;
use crate::{
    model::Labels,
    query::{
        column::{ABSENT, Column, is_absent},
        expression::{BinaryOperator, Matching},
    },
};

/// At which steps a side has series of some labels.
type Presence = HashMap<Labels, Vec<bool>>;

pub(super) fn combine(
    operator: BinaryOperator,
    matching: &Matching,
    left: Vec<Column>,
    right: Vec<Column>,
) -> Vec<Column> {
    if operator == BinaryOperator::Or {
        let presence = presence_of(matching, &left);
        let more = filter(matching, right, &presence, false);
        return left.into_iter().chain(more).collect();
    }
    let presence = presence_of(matching, &right);
    filter(matching, left, &presence, operator == BinaryOperator::And)
}

fn presence_of(matching: &Matching, columns: &[Column]) -> Presence {
    let mut presence = Presence::new();
    for column in columns {
        let steps = presence
            .entry(key_of(matching, &column.labels))
            .or_insert_with(|| vec![false; column.values.len()]);
        for (step, value) in steps.iter_mut().zip(&column.values) {
            *step |= !is_absent(*value);
        }
    }
    presence
}

/// Leaves the values at whose step the other side has a partner, or has none.
fn filter(
    matching: &Matching,
    columns: Vec<Column>,
    presence: &Presence,
    wants_partner: bool,
) -> Vec<Column> {
    let filtered = columns.into_iter().filter_map(|mut column| {
        match presence.get(&key_of(matching, &column.labels)) {
            None if wants_partner => return None,
            None => {}
            Some(steps) => {
                for (value, has_partner) in column.values.iter_mut().zip(steps) {
                    if *has_partner != wants_partner {
                        *value = ABSENT;
                    }
                }
            }
        }
        column.has_any().then_some(column)
    });
    filtered.collect()
}
