//! The moments at which an expression is evaluated.

use crate::model::{Timestamp, Window};

/// Moments from the first to the last, both included, milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    first_ms: i64,
    step_ms: i64,
    count: usize,
}

impl Steps {
    /// One moment.
    pub(super) const fn one(at_ms: i64) -> Self {
        Self {
            first_ms: at_ms,
            step_ms: 1,
            count: 1,
        }
    }

    /// Moments `step_ms` (above 0) apart, from the first on, none later than `last_ms`; none where that is earlier.
    pub(super) fn range(first_ms: i64, last_ms: i64, step_ms: i64) -> Self {
        let step_ms = step_ms.max(1);
        let count = if last_ms < first_ms {
            0
        } else {
            last_ms.saturating_sub(first_ms) / step_ms + 1
        };
        Self {
            first_ms,
            step_ms,
            count: usize::try_from(count).unwrap_or(usize::MAX),
        }
    }

    /// One moment over and over.
    pub(super) const fn fixed(at_ms: i64, count: usize) -> Self {
        Self {
            first_ms: at_ms,
            step_ms: 0,
            count,
        }
    }

    /// How many.
    pub(super) const fn len(self) -> usize {
        self.count
    }

    /// The first one.
    pub(super) const fn first(self) -> i64 {
        self.first_ms
    }

    /// The last one; the first where there is none.
    pub(super) const fn last(self) -> i64 {
        self.at(self.count.saturating_sub(1))
    }

    /// The moment at an index.
    pub(super) const fn at(self, index: usize) -> i64 {
        self.first_ms
            .saturating_add((index as i64).saturating_mul(self.step_ms))
    }

    /// All of them.
    pub(super) fn iter(self) -> impl ExactSizeIterator<Item = i64> {
        (0..self.count).map(move |index| self.at(index))
    }

    /// The same number of moments, `ms` later.
    pub(super) const fn shifted(self, ms: i64) -> Self {
        Self {
            first_ms: self.first_ms.saturating_add(ms),
            ..self
        }
    }

    /// Everything that windows of a length see that end at these moments.
    pub(super) const fn window(self, length_ms: i64) -> Window {
        Window::new(
            Timestamp::from_millis(self.first_ms.saturating_sub(length_ms)),
            Timestamp::from_millis(self.last()),
        )
    }
}
