//! Functions over classic histograms: buckets found by their label `le`.

use super::{
    Evaluator,
    grouping::Groups,
    histogram::{self, Bucket},
};
use crate::query::{
    column::{ABSENT, Column, is_absent, present},
    error::QueryError,
    expression::{Expression, Place},
    show_number,
    steps::Steps,
};

/// The label of a bucket's bound.
const BOUND_LABEL: &str = "le";

/// The buckets of one histogram: bounds and counts at every step.
type Buckets = Vec<(f64, Column)>;

impl Evaluator<'_> {
    pub(super) fn histogram_quantile(
        &self,
        quantile: &Expression,
        vector: &Expression,
        steps: Steps,
    ) -> Result<Vec<Column>, QueryError> {
        let quantiles = self.scalar(quantile, steps)?;
        self.check_quantiles(quantiles.iter().copied(), quantile.place);
        self.each_histogram(vector, steps, |name, step, buckets| {
            let q = quantiles.get(step).copied().unwrap_or(f64::NAN);
            self.quantile_of(q, buckets, name, vector.place)
        })
    }

    /// Several quantiles of each histogram, told apart by a label.
    pub(super) fn histogram_quantiles(
        &self,
        vector: &Expression,
        label: &Expression,
        quantiles: &[Expression],
        steps: Steps,
    ) -> Result<Vec<Column>, QueryError> {
        let label = label.text().unwrap_or_default();
        if label.is_empty() {
            return Err(QueryError::Execution(format!(
                "invalid label name {label:?}"
            )));
        }
        let mut columns = Vec::new();
        for quantile in quantiles {
            let of_quantile = self.histogram_quantile(quantile, vector, steps)?;
            let first = self.scalar(quantile, steps)?.first().copied();
            let shown = show_with_point(first.unwrap_or(f64::NAN));
            columns.extend(of_quantile.into_iter().map(|mut column| {
                column.labels = column.labels.with(label, &shown);
                column
            }));
        }
        Ok(columns)
    }

    fn quantile_of(&self, q: f64, buckets: Vec<Bucket>, name: &str, place: Place) -> f64 {
        let (value, is_mended) = histogram::quantile(q, buckets);
        if is_mended {
            let text = format!(
                "input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile) for metric name {name:?}"
            );
            self.notes.info(text, place);
        }
        value
    }

    pub(super) fn histogram_fraction(
        &self,
        lower: &Expression,
        upper: &Expression,
        vector: &Expression,
        steps: Steps,
    ) -> Result<Vec<Column>, QueryError> {
        let lowers = self.scalar(lower, steps)?;
        let uppers = self.scalar(upper, steps)?;
        self.each_histogram(vector, steps, |_, step, buckets| {
            let at = |numbers: &[f64]| numbers.get(step).copied().unwrap_or(f64::NAN);
            histogram::fraction(at(&lowers), at(&uppers), buckets)
        })
    }

    /// What is made of the buckets of each histogram at each step that has some.
    fn each_histogram(
        &self,
        vector: &Expression,
        steps: Steps,
        value_of: impl Fn(&str, usize, Vec<Bucket>) -> f64,
    ) -> Result<Vec<Column>, QueryError> {
        let mut histograms: Groups<Buckets> = Groups::new();
        for column in self.vector(vector, steps)? {
            let Some(bound) = self.bound_of(&column, vector.place) else {
                continue;
            };
            let labels = column.labels.with(BOUND_LABEL, "");
            let buckets = histograms.group(labels, true, Vec::new);
            buckets.push((bound, column));
        }
        let mut columns = Vec::new();
        for histogram in histograms.into_groups() {
            let held = self.budget.hold(steps.len())?;
            let mut values = Vec::with_capacity(steps.len());
            for step in 0..steps.len() {
                self.budget.check()?;
                let buckets = histogram.members.iter().map(|(bound, column)| Bucket {
                    bound: *bound,
                    count: column.values.get(step).copied().unwrap_or(ABSENT),
                });
                let buckets: Vec<Bucket> = buckets.filter(|b| !is_absent(b.count)).collect();
                values.push(if buckets.is_empty() {
                    ABSENT
                } else {
                    present(value_of(histogram.labels.name(), step, buckets))
                });
            }
            columns.push(histogram.column(values, held));
        }
        columns.retain(Column::has_any);
        Ok(columns)
    }

    fn bound_of(&self, column: &Column, place: Place) -> Option<f64> {
        let text = column.labels.get(BOUND_LABEL);
        let bound = text.parse().ok();
        if bound.is_none() {
            let name = column.labels.name();
            let text = format!(
                "bucket label \"le\" is missing or has a malformed value of {text:?} for metric name {name:?}"
            );
            self.notes.warn(text, place);
        }
        bound
    }
}

/// As OpenMetrics writes a number in a label: whole ones with `.0`.
fn show_with_point(number: f64) -> String {
    let shown = show_number(number);
    if shown
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'-')
    {
        return format!("{shown}.0");
    }
    shown
}
