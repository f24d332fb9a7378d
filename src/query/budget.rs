//! What one query may use, and what it has used.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::error::QueryError;
use crate::model::format_duration_ms;

/// Bounds of one query. The settings' names are those of the fields, in `[query]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryLimits {
    /// Samples that are read, those of subqueries too.
    pub max_samples: u64,
    /// Series that all selectors find together.
    pub max_series: usize,
    /// Steps of a range query and of a subquery.
    pub max_points: usize,
    /// Bytes of values that are held at a time.
    pub max_memory: usize,
    /// How long it may take, milliseconds.
    pub timeout_ms: u64,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            max_samples: 200_000_000,
            max_series: 500_000,
            max_points: 11_000,
            max_memory: 512 << 20,
            timeout_ms: 120_000,
        }
    }
}

/// Tells a running query that nobody waits any more.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Stops the query at its next look.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Bytes that a step of a subquery takes at least: values of both sides of an operator, and of its result.
const SUBQUERY_POINT_BYTES: usize = 32;

/// Room for values that a query holds.
#[derive(Debug)]
pub(super) struct Held {
    bytes: Arc<AtomicUsize>,
    amount: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

/// What a query has used so far; its threads share it.
#[derive(Debug)]
pub(super) struct Budget {
    limits: QueryLimits,
    deadline: Instant,
    cancel: Cancel,
    samples: AtomicU64,
    series: AtomicUsize,
    bytes: Arc<AtomicUsize>,
}

impl Budget {
    pub(super) fn new(limits: QueryLimits, cancel: Cancel) -> Self {
        Self {
            deadline: Instant::now() + Duration::from_millis(limits.timeout_ms),
            limits,
            cancel,
            samples: AtomicU64::new(0),
            series: AtomicUsize::new(0),
            bytes: Arc::default(),
        }
    }

    pub(super) fn samples_read(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    /// Whether the query may go on.
    pub(super) fn check(&self) -> Result<(), QueryError> {
        if self.cancel.0.load(Ordering::Relaxed) {
            return Err(QueryError::Cancelled);
        }
        if Instant::now() > self.deadline {
            let limit = i64::try_from(self.limits.timeout_ms).unwrap_or(i64::MAX);
            return Err(QueryError::TimedOut(format_duration_ms(limit)));
        }
        Ok(())
    }

    pub(super) fn add_samples(&self, count: usize) -> Result<(), QueryError> {
        let max = self.limits.max_samples;
        let before = self.samples.fetch_add(count as u64, Ordering::Relaxed);
        if before + count as u64 > max {
            return Err(QueryError::Limit {
                name: "query.max_samples",
                limit: max.to_string(),
                advice: "ask for fewer series or a shorter time",
            });
        }
        self.check()
    }

    pub(super) fn add_series(&self, count: usize) -> Result<(), QueryError> {
        let max = self.limits.max_series;
        if self.series.fetch_add(count, Ordering::Relaxed) + count > max {
            return Err(QueryError::Limit {
                name: "query.max_series",
                limit: max.to_string(),
                advice: "name more labels in its selectors",
            });
        }
        self.check()
    }

    /// Takes room for so many values; it is given back when the answer is dropped.
    pub(super) fn hold(&self, values: usize) -> Result<Held, QueryError> {
        let held = Held {
            bytes: Arc::clone(&self.bytes),
            amount: values.saturating_mul(size_of::<f64>()),
        };
        let before = self.bytes.fetch_add(held.amount, Ordering::Relaxed);
        let max = self.limits.max_memory;
        if before.saturating_add(held.amount) > max {
            return Err(QueryError::Limit {
                name: "query.max_memory",
                limit: format!("{max} bytes"),
                advice: "ask for fewer series, or with a larger step",
            });
        }
        self.check()?;
        Ok(held)
    }

    /// Whether a subquery may have so many steps, which the answer does not show: a few numbers for each must find room.
    pub(super) fn check_subquery_points(&self, points: usize) -> Result<(), QueryError> {
        let max = self.limits.max_memory;
        if points.saturating_mul(SUBQUERY_POINT_BYTES) > max {
            return Err(QueryError::Limit {
                name: "query.max_memory",
                limit: format!("{max} bytes"),
                advice: "give the subquery a larger step or a shorter range",
            });
        }
        self.check()
    }

    /// Whether so many steps are allowed.
    pub(super) fn check_points(&self, points: usize) -> Result<(), QueryError> {
        let max = self.limits.max_points;
        if points > max {
            return Err(QueryError::Bad(format!(
                "exceeded maximum resolution of {max} points per timeseries (`query.max_points`). Try decreasing the query resolution (?step=XX)"
            )));
        }
        Ok(())
    }
}
