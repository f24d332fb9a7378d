//! Values of one series at every step.

use super::budget::Held;
use crate::model::{Labels, STALE_MARKER, is_stale_marker};

/// No value at a step. Selectors never yield the stale marker, so that its bits are free to say this.
pub(super) const ABSENT: f64 = STALE_MARKER;

/// Whether there is no value.
pub(super) const fn is_absent(value: f64) -> bool {
    is_stale_marker(value)
}

/// A number that arithmetic yielded, as a value that is there: NaNs of an absent operand never get here, and a NaN
/// that looks like [`ABSENT`] by accident becomes an ordinary one.
pub(super) fn present(value: f64) -> f64 {
    if is_absent(value) { f64::NAN } else { value }
}

/// Values of one series, one for each step.
#[derive(Debug)]
pub(super) struct Column {
    /// Labels, the metric's name among them even where it no longer applies.
    pub(super) labels: Labels,
    /// Whether the name goes at the end of the evaluation.
    pub(super) drop_name: bool,
    pub(super) values: Vec<f64>,
    /// The room that the values take.
    _held: Held,
}

impl Column {
    /// A column whose values have been given room.
    pub(super) const fn new(labels: Labels, drop_name: bool, values: Vec<f64>, held: Held) -> Self {
        Self {
            labels,
            drop_name,
            values,
            _held: held,
        }
    }

    /// Whether it has a value at some step.
    pub(super) fn has_any(&self) -> bool {
        self.values.iter().any(|value| !is_absent(*value))
    }

    /// Changes every value that is there.
    pub(super) fn map(mut self, change: impl Fn(f64) -> f64) -> Self {
        for value in &mut self.values {
            if !is_absent(*value) {
                *value = present(change(*value));
            }
        }
        self
    }
}

/// What a part of an expression is worth at every step.
#[derive(Debug)]
pub(super) enum Values {
    /// One number for each step.
    Scalar(Vec<f64>),
    Text(String),
    Vector(Vec<Column>),
}
