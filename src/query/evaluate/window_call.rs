//! Calls of functions over windows: which samples each step sees.

use super::{
    Evaluator, Sink,
    resets::{Resets, resets_of},
    windows::{Samples, of_window},
};
use crate::{
    model::{Labels, is_stale_marker},
    query::{
        budget::{Budget, Held},
        column::{ABSENT, present},
        error::QueryError,
        expression::{Expression, Node, Place},
        function::{Function, FunctionId},
        steps::Steps,
    },
};

/// Samples of windows between two looks at the time and at whether somebody still waits.
const CHECK_EVERY: usize = 1 << 20;

/// How a function over windows is asked.
struct Windows<'w> {
    id: FunctionId,
    range_ms: i64,
    /// Ends of the windows; one where `@` names it, else one for each step.
    ends: Steps,
    steps: Steps,
    /// The function's scalars, for each step.
    parameters: &'w [Vec<f64>],
    budget: &'w Budget,
}

impl Evaluator<'_> {
    /// Columns of a call such as `rate(x[5m])`.
    pub(super) fn each_window_call(
        &self,
        function: &'static Function,
        arguments: &[Expression],
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let mut parameters = Vec::new();
        let mut matrix = None;
        for argument in arguments {
            match argument.node.matrix() {
                Some(node) => matrix = Some((node, argument.place)),
                None => parameters.push(self.scalar(argument, steps)?),
            }
        }
        let Some((matrix, place)) = matrix else {
            return Err(super::unexpected("range vector"));
        };
        self.check_parameters(function.id, arguments, &parameters)?;
        let keeps_name = matches!(
            function.id,
            FunctionId::LastOverTime | FunctionId::FirstOverTime
        );
        let mut windows = Windows {
            id: function.id,
            range_ms: 0,
            ends: steps,
            steps,
            parameters: &parameters,
            budget: self.budget,
        };
        let mut take = |labels: Labels, dropped: bool, values: (Vec<f64>, Held)| {
            self.note_counter(function.id, &labels, place);
            sink(self.spread_column(labels, dropped || !keeps_name, values, steps)?)
        };
        match matrix {
            Node::Matrix(selector, range_ms) => {
                windows.range_ms = *range_ms;
                windows.ends = windows.ends_for(self.moments(selector.moment, steps));
                let (window, points) = (windows.ends.window(*range_ms), windows.ends.len());
                let make = |times: &[i64], values: &[f64]| windows.column(times, values);
                self.each_series(selector, window, points, &make, &mut |labels, values| {
                    take(labels, false, values)
                })
            }
            Node::Subquery(subquery) => {
                windows.range_ms = subquery.range_ms;
                windows.ends = windows.ends_for(self.moments(subquery.moment, steps));
                for series in self.subquery(subquery, windows.ends)? {
                    let held = self.budget.hold(windows.ends.len())?;
                    if let Some(values) = windows.column(&series.times, &series.values)? {
                        take(series.labels, series.drop_name, (values, held))?;
                    }
                }
                Ok(())
            }
            _ => Err(super::unexpected("range vector")),
        }
    }

    fn check_parameters(
        &self,
        id: FunctionId,
        arguments: &[Expression],
        parameters: &[Vec<f64>],
    ) -> Result<(), QueryError> {
        let numbers = |at: usize| parameters.get(at).into_iter().flatten().copied();
        match id {
            FunctionId::QuantileOverTime => {
                let place = arguments.first().map(|a| a.place).unwrap_or_default();
                self.check_quantiles(numbers(0), place);
            }
            FunctionId::DoubleExponentialSmoothing => {
                for (at, what) in [(0, "smoothing"), (1, "trend")] {
                    if let Some(bad) = numbers(at).find(|factor| !(*factor > 0.0 && *factor < 1.0))
                    {
                        return Err(QueryError::Execution(format!(
                            "invalid {what} factor. Expected: 0 < {} < 1, got: {bad}",
                            if at == 0 { "sf" } else { "tf" },
                        )));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn check_quantiles(&self, quantiles: impl Iterator<Item = f64>, place: Place) {
        let mut bad = quantiles.filter(|q| !(0.0..=1.0).contains(q));
        if let Some(q) = bad.next() {
            let text = format!(
                "quantile value should be between 0 and 1, got {}",
                crate::query::show_number(q)
            );
            self.notes.warn(text, place);
        }
    }

    /// Tells of a rate of what is no counter by its name.
    fn note_counter(&self, id: FunctionId, labels: &Labels, place: Place) {
        if !matches!(id, FunctionId::Rate | FunctionId::Increase) {
            return;
        }
        let name = labels.name();
        let endings = ["_total", "_sum", "_count", "_bucket"];
        if !name.is_empty() && !endings.iter().any(|ending| name.ends_with(ending)) {
            let text = format!(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {name:?}"
            );
            self.notes.info(text, place);
        }
    }
}

impl Windows<'_> {
    /// Ends of the windows. What depends on the step, as a prediction does or a parameter that changes, is worked out for
    /// each of them even where `@` fixes the window.
    fn ends_for(&self, ends: Steps) -> Steps {
        let differs = |numbers: &Vec<f64>| {
            numbers
                .windows(2)
                .any(|pair| pair[0].to_bits() != pair[1].to_bits())
        };
        let depends = self.id == FunctionId::PredictLinear || self.parameters.iter().any(differs);
        if ends.len() == 1 && self.steps.len() > 1 && depends {
            return Steps::fixed(ends.first(), self.steps.len());
        }
        ends
    }

    /// What the function makes of each step's window; nothing where no step has a value.
    fn column(&self, times: &[i64], values: &[f64]) -> Result<Option<Vec<f64>>, QueryError> {
        if values.iter().any(|value| is_stale_marker(*value)) {
            let kept = times.iter().copied().zip(values.iter().copied());
            let (times, values): (Vec<i64>, Vec<f64>) =
                kept.filter(|(_, value)| !is_stale_marker(*value)).unzip();
            return self.column_of_samples(&times, &values);
        }
        self.column_of_samples(times, values)
    }

    fn column_of_samples(
        &self,
        times: &[i64],
        values: &[f64],
    ) -> Result<Option<Vec<f64>>, QueryError> {
        let needs_resets = matches!(
            self.id,
            FunctionId::Rate | FunctionId::Increase | FunctionId::Resets
        );
        let resets = if needs_resets {
            resets_of(values)
        } else {
            Vec::new()
        };
        let mut column = vec![ABSENT; self.ends.len()];
        let mut has_any = false;
        let (mut start, mut end) = (0, 0);
        let mut visited = 0;
        for (at, (place, moment)) in column.iter_mut().zip(self.ends.iter()).enumerate() {
            while times.get(end).is_some_and(|time| *time <= moment) {
                end += 1;
            }
            let from = moment.saturating_sub(self.range_ms);
            while start < end && times.get(start).is_some_and(|time| *time <= from) {
                start += 1;
            }
            let parameter = |index: usize| {
                let numbers = self.parameters.get(index);
                numbers
                    .and_then(|numbers| numbers.get(at))
                    .copied()
                    .unwrap_or(f64::NAN)
            };
            let (Some(seen_times), Some(seen)) = (times.get(start..end), values.get(start..end))
            else {
                continue;
            };
            visited += seen.len();
            if visited > CHECK_EVERY {
                visited = 0;
                self.budget.check()?;
            }
            let samples = Samples {
                times: seen_times,
                values: seen,
                resets: Resets::within(&resets, start, end),
                range_ms: self.range_ms,
                end_ms: moment,
                step_ms: self.steps.at(at),
                parameters: [parameter(0), parameter(1)],
            };
            if let Some(value) = of_window(self.id, &samples) {
                *place = present(value);
                has_any = true;
            }
        }
        Ok(has_any.then_some(column))
    }
}
