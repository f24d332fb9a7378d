//! Subqueries: an expression evaluated at steps of its own, whose values are then samples.

use super::{Evaluator, label_call::merge_equal};
use crate::{
    model::Labels,
    query::{
        budget::Held, column::is_absent, error::QueryError, expression::Subquery, steps::Steps,
    },
};

/// Samples that a subquery yields for one series.
pub(in crate::query) struct SubquerySeries {
    pub(in crate::query) labels: Labels,
    pub(in crate::query) drop_name: bool,
    pub(in crate::query) times: Vec<i64>,
    pub(in crate::query) values: Vec<f64>,
    _held: Held,
}

impl Evaluator<'_> {
    /// Samples that windows need which end at `ends`.
    ///
    /// The steps are multiples of the step since the epoch, the first one after the first window's beginning.
    pub(in crate::query) fn subquery(
        &self,
        subquery: &Subquery,
        ends: Steps,
    ) -> Result<Vec<SubquerySeries>, QueryError> {
        let step_ms = subquery.step_ms.unwrap_or(self.subquery_step_ms).max(1);
        let from = ends.first().saturating_sub(subquery.range_ms);
        let first = from
            .div_euclid(step_ms)
            .saturating_add(1)
            .saturating_mul(step_ms);
        let steps = Steps::range(first, ends.last(), step_ms);
        self.budget.check_subquery_points(steps.len())?;
        let mut found = Vec::new();
        if steps.len() == 0 {
            return Ok(found);
        }
        let columns = self.columns_of_any(&subquery.inner, steps)?;
        // `a or b` may yield one series in two parts.
        for column in merge_equal(columns, |column| column.labels.clone())? {
            let samples = steps.iter().zip(&column.values);
            let samples = samples.filter(|(_, value)| !is_absent(**value));
            let (times, values): (Vec<i64>, Vec<f64>) = samples.map(|(t, v)| (t, *v)).unzip();
            self.budget.add_samples(values.len())?;
            let held = self.budget.hold(values.len().saturating_mul(2))?;
            found.push(SubquerySeries {
                labels: column.labels,
                drop_name: column.drop_name,
                times,
                values,
                _held: held,
            });
        }
        Ok(found)
    }

    /// The samples of a subquery as they are, of one moment.
    pub(in crate::query) fn subquery_at(
        &self,
        subquery: &Subquery,
        at_ms: i64,
    ) -> Result<Vec<SubquerySeries>, QueryError> {
        self.subquery(subquery, self.moments(subquery.moment, Steps::one(at_ms)))
    }
}
