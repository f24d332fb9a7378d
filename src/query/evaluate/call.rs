//! Calls of functions over instant vectors and scalars.

use super::{Evaluator, calendar, unexpected};
use crate::{
    model::{Labels, MatchOperator, Matcher, NAME_LABEL},
    query::{
        column::{ABSENT, Column, Values, is_absent, present},
        error::QueryError,
        expression::{Expression, Node, Place, ValueType},
        function::{Function, FunctionId},
        steps::Steps,
    },
};

impl Evaluator<'_> {
    pub(super) fn call(
        &self,
        function: &'static Function,
        arguments: &[Expression],
        place: Place,
        steps: Steps,
    ) -> Result<Values, QueryError> {
        if function.returns == ValueType::Scalar {
            return Ok(Values::Scalar(self.scalar_call(
                function.id,
                arguments,
                steps,
            )?));
        }
        if function.is_over_windows() {
            let mut columns = Vec::new();
            self.each_window_call(function, arguments, steps, &mut |column| {
                columns.push(column);
                Ok(())
            })?;
            return Ok(Values::Vector(columns));
        }
        let columns = match (function.id, arguments) {
            (FunctionId::VectorOf, [scalar]) => {
                let values = self.scalar(scalar, steps)?;
                let values = values.into_iter().map(present).collect();
                vec![self.column(Labels::default(), false, values)?]
            }
            (FunctionId::Absent, [vector]) => {
                let columns = self.vector(vector, steps)?;
                self.absent(&columns, labels_of_absent(vector), steps)?
            }
            (FunctionId::AbsentOverTime, [matrix]) => self.absent_over_time(matrix, steps)?,
            (FunctionId::Timestamp, [vector]) => self.timestamps(vector, steps)?,
            (id, _) if calendar::is_of_calendar(id) => {
                let columns = match arguments {
                    [vector] => self.vector(vector, steps)?,
                    _ => vec![self.column(Labels::default(), false, seconds(steps))?],
                };
                mapped(columns, |value| calendar::of_seconds(id, value))
            }
            (
                FunctionId::Clamp | FunctionId::ClampMin | FunctionId::ClampMax,
                [vector, bounds @ ..],
            ) => self.clamped(function.id, vector, bounds, steps)?,
            (FunctionId::Round, [vector, rest @ ..]) => {
                self.rounded(vector, rest.first(), steps)?
            }
            (FunctionId::LabelReplace, _) => self.label_replace(arguments, steps)?,
            (FunctionId::LabelJoin, _) => self.label_join(arguments, steps)?,
            (FunctionId::Sort | FunctionId::SortDesc, [vector]) => {
                self.sorted_by_value(function.id, vector, place, steps)?
            }
            (FunctionId::SortByLabel | FunctionId::SortByLabelDesc, [vector, labels @ ..]) => {
                self.sorted_by_label(function.id, vector, labels, place, steps)?
            }
            (FunctionId::HistogramQuantile, [quantile, vector]) => {
                self.histogram_quantile(quantile, vector, steps)?
            }
            (FunctionId::HistogramQuantiles, [vector, label, quantiles @ ..]) => {
                self.histogram_quantiles(vector, label, quantiles, steps)?
            }
            (FunctionId::HistogramFraction, [lower, upper, vector]) => {
                self.histogram_fraction(lower, upper, vector, steps)?
            }
            // These read native histograms, which are stored as their classic series.
            (
                FunctionId::HistogramAvg
                | FunctionId::HistogramCount
                | FunctionId::HistogramStddev
                | FunctionId::HistogramStdvar
                | FunctionId::HistogramSum,
                [vector],
            ) => {
                self.vector(vector, steps)?;
                Vec::new()
            }
            (FunctionId::Info, _) => {
                return Err(QueryError::Bad(
                    "info() is an experimental function that is not supported".to_owned(),
                ));
            }
            (id, [vector]) => {
                let change = number_function(id).ok_or_else(|| unexpected("a known function"))?;
                mapped(self.vector(vector, steps)?, change)
            }
            _ => return Err(unexpected("other arguments")),
        };
        Ok(Values::Vector(columns))
    }

    /// Calls that yield a number.
    fn scalar_call(
        &self,
        id: FunctionId,
        arguments: &[Expression],
        steps: Steps,
    ) -> Result<Vec<f64>, QueryError> {
        let everywhere = |value: f64| vec![value; steps.len()];
        let of_query = |ms: i64| everywhere(ms as f64 / 1000.0);
        Ok(match (id, arguments) {
            (FunctionId::Pi, _) => everywhere(std::f64::consts::PI),
            (FunctionId::Time, _) => seconds(steps),
            (FunctionId::Start, _) => of_query(self.start_ms),
            (FunctionId::End, _) => of_query(self.end_ms),
            (FunctionId::Range, _) => of_query(self.end_ms.saturating_sub(self.start_ms)),
            (FunctionId::Step, _) => of_query(self.step_ms),
            (FunctionId::MinOf | FunctionId::MaxOf, [a, b]) => {
                let (a, b) = (self.scalar(a, steps)?, self.scalar(b, steps)?);
                let picks_first = |a: f64, b: f64| {
                    a.is_nan() || ((a < b) == (id == FunctionId::MinOf) && !b.is_nan())
                };
                let pairs = a.into_iter().zip(b);
                pairs
                    .map(|(a, b)| if picks_first(a, b) { a } else { b })
                    .collect()
            }
            (FunctionId::ScalarOf, [vector]) => self.scalar_of(vector, steps)?,
            _ => return Err(unexpected("other arguments")),
        })
    }

    /// The value of the only series at each step, else NaN.
    fn scalar_of(&self, vector: &Expression, steps: Steps) -> Result<Vec<f64>, QueryError> {
        let columns = self.vector(vector, steps)?;
        let at_step = |step: usize| {
            let values = columns.iter().filter_map(|column| column.values.get(step));
            let mut values = values.filter(|value| !is_absent(**value));
            match (values.next(), values.next()) {
                (Some(value), None) => *value,
                _ => f64::NAN,
            }
        };
        Ok((0..steps.len()).map(at_step).collect())
    }

    /// When the samples of a selector were taken; of anything else, the step.
    fn timestamps(&self, vector: &Expression, steps: Steps) -> Result<Vec<Column>, QueryError> {
        let Some(selector) = vector.node.selector() else {
            let mut columns = self.vector(vector, steps)?;
            for column in &mut columns {
                column.drop_name = true;
                for (value, ms) in column.values.iter_mut().zip(steps.iter()) {
                    if !is_absent(*value) {
                        *value = ms as f64 / 1000.0;
                    }
                }
            }
            return Ok(columns);
        };
        let mut columns = Vec::new();
        let tell = |time: i64, _: f64| time as f64 / 1000.0;
        self.each_newest(selector, steps, &tell, true, &mut |column| {
            columns.push(column);
            Ok(())
        })?;
        Ok(columns)
    }

    /// One at the steps at which no column has a value.
    fn absent(
        &self,
        columns: &[Column],
        labels: Labels,
        steps: Steps,
    ) -> Result<Vec<Column>, QueryError> {
        let mut values = vec![1.0; steps.len()];
        for column in columns {
            for (value, found) in values.iter_mut().zip(&column.values) {
                if !is_absent(*found) {
                    *value = ABSENT;
                }
            }
        }
        let column = self.column(labels, false, values)?;
        Ok(if column.has_any() {
            vec![column]
        } else {
            Vec::new()
        })
    }

    fn absent_over_time(
        &self,
        matrix: &Expression,
        steps: Steps,
    ) -> Result<Vec<Column>, QueryError> {
        let function = super::super::function::function("present_over_time")
            .ok_or_else(|| unexpected("a known function"))?;
        let mut columns = Vec::new();
        let arguments = std::slice::from_ref(matrix);
        self.each_window_call(function, arguments, steps, &mut |column| {
            columns.push(column);
            Ok(())
        })?;
        self.absent(&columns, labels_of_absent(matrix), steps)
    }

    fn clamped(
        &self,
        id: FunctionId,
        vector: &Expression,
        bounds: &[Expression],
        steps: Steps,
    ) -> Result<Vec<Column>, QueryError> {
        let unbounded = |bound: f64| vec![bound; steps.len()];
        let (least, most) = match (id, bounds) {
            (FunctionId::ClampMin, [least]) => {
                (self.scalar(least, steps)?, unbounded(f64::INFINITY))
            }
            (FunctionId::ClampMax, [most]) => {
                (unbounded(f64::NEG_INFINITY), self.scalar(most, steps)?)
            }
            (_, [least, most]) => (self.scalar(least, steps)?, self.scalar(most, steps)?),
            _ => return Err(unexpected("bounds")),
        };
        let mut columns = self.vector(vector, steps)?;
        for column in &mut columns {
            column.drop_name = true;
            let bounds = least.iter().zip(&most);
            for (value, (least, most)) in column.values.iter_mut().zip(bounds) {
                if is_absent(*value) {
                    continue;
                }
                *value = if id == FunctionId::Clamp && least > most {
                    ABSENT
                } else if least.is_nan() || most.is_nan() || value.is_nan() {
                    f64::NAN
                } else {
                    value.min(*most).max(*least)
                };
            }
        }
        columns.retain(Column::has_any);
        Ok(columns)
    }

    fn rounded(
        &self,
        vector: &Expression,
        to_nearest: Option<&Expression>,
        steps: Steps,
    ) -> Result<Vec<Column>, QueryError> {
        let to_nearest = match to_nearest {
            Some(scalar) => self.scalar(scalar, steps)?,
            None => vec![1.0; steps.len()],
        };
        let mut columns = self.vector(vector, steps)?;
        for column in &mut columns {
            column.drop_name = true;
            for (value, nearest) in column.values.iter_mut().zip(&to_nearest) {
                if !is_absent(*value) {
                    // Dividing by the inverse, as Prometheus does, keeps 0.1 exact.
                    let inverse = 1.0 / nearest;
                    *value = present((*value * inverse + 0.5).floor() / inverse);
                }
            }
        }
        Ok(columns)
    }

    fn sorted_by_value(
        &self,
        id: FunctionId,
        vector: &Expression,
        place: Place,
        steps: Steps,
    ) -> Result<Vec<Column>, QueryError> {
        let mut columns = self.vector(vector, steps)?;
        if self.is_unsorted(steps, place) {
            return Ok(columns);
        }
        // NaN is last either way.
        let value = |column: &Column| column.values.first().copied().unwrap_or(f64::NAN);
        columns.sort_by(|a, b| {
            let (a, b) = (value(a), value(b));
            let order = a.is_nan().cmp(&b.is_nan());
            order.then(if id == FunctionId::Sort {
                a.total_cmp(&b)
            } else {
                b.total_cmp(&a)
            })
        });
        Ok(columns)
    }

    fn sorted_by_label(
        &self,
        id: FunctionId,
        vector: &Expression,
        labels: &[Expression],
        place: Place,
        steps: Steps,
    ) -> Result<Vec<Column>, QueryError> {
        let mut columns = self.vector(vector, steps)?;
        if self.is_unsorted(steps, place) {
            return Ok(columns);
        }
        let labels: Vec<&str> = labels.iter().filter_map(Expression::text).collect();
        columns.sort_by(|a, b| {
            let by_label = labels
                .iter()
                .map(|label| natural_order(a.labels.get(label), b.labels.get(label)));
            let mut by_label = by_label.filter(|order| order.is_ne());
            let order = by_label.next().unwrap_or_else(|| a.labels.cmp(&b.labels));
            if id == FunctionId::SortByLabel {
                order
            } else {
                order.reverse()
            }
        });
        Ok(columns)
    }

    /// Answers of range queries are in the order of their labels.
    fn is_unsorted(&self, steps: Steps, place: Place) -> bool {
        let is_range = self.start_ms != self.end_ms;
        if is_range {
            let text =
                "sort is ineffective for range queries since results are always ordered by labels";
            self.notes.warn(text.to_owned(), place);
        }
        is_range || steps.len() != 1
    }
}

/// The steps in unix seconds.
fn seconds(steps: Steps) -> Vec<f64> {
    steps.iter().map(|ms| ms as f64 / 1000.0).collect()
}

fn mapped(columns: Vec<Column>, change: impl Fn(f64) -> f64) -> Vec<Column> {
    let changed = columns.into_iter().map(|mut column| {
        column.drop_name = true;
        column.map(&change)
    });
    changed.collect()
}

/// Labels that a missing series would have: those that the selector gives exactly and once.
fn labels_of_absent(asked: &Expression) -> Labels {
    let selector = match asked.node.matrix() {
        Some(Node::Matrix(selector, _)) => Some(selector),
        _ => asked.node.selector(),
    };
    let Some(selector) = selector else {
        return Labels::default();
    };
    let is_given_once = |matcher: &&Matcher| {
        let of_name = selector
            .matchers
            .iter()
            .filter(|m| m.name() == matcher.name());
        matcher.operator() == MatchOperator::Equal
            && matcher.name() != NAME_LABEL
            && of_name.count() == 1
    };
    let given = selector.matchers.iter().filter(is_given_once);
    Labels::new(given.map(|matcher| (matcher.name(), matcher.value())))
}

/// Functions of one number.
fn number_function(id: FunctionId) -> Option<fn(f64) -> f64> {
    Some(match id {
        FunctionId::Abs => f64::abs,
        FunctionId::Acos => f64::acos,
        FunctionId::Acosh => f64::acosh,
        FunctionId::Asin => f64::asin,
        FunctionId::Asinh => f64::asinh,
        FunctionId::Atan => f64::atan,
        FunctionId::Atanh => f64::atanh,
        FunctionId::Ceil => f64::ceil,
        FunctionId::Cos => f64::cos,
        FunctionId::Cosh => f64::cosh,
        FunctionId::Deg => |value| value * 180.0 / std::f64::consts::PI,
        FunctionId::Exp => f64::exp,
        FunctionId::Floor => f64::floor,
        FunctionId::Ln => f64::ln,
        FunctionId::Log10 => f64::log10,
        FunctionId::Log2 => f64::log2,
        FunctionId::Rad => |value| value * std::f64::consts::PI / 180.0,
        FunctionId::Sgn => |value| {
            if value == 0.0 || value.is_nan() {
                value
            } else {
                value.signum()
            }
        },
        FunctionId::Sin => f64::sin,
        FunctionId::Sinh => f64::sinh,
        FunctionId::Sqrt => f64::sqrt,
        FunctionId::Tan => f64::tan,
        FunctionId::Tanh => f64::tanh,
        _ => return None,
    })
}

/// Runs of digits by their number, as people sort names: `a2` before `a10`.
fn natural_order(a: &str, b: &str) -> std::cmp::Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (of_a, of_b) = (digits(a), digits(b));
        if of_a > 0 && of_b > 0 {
            let number = |text: &[u8], length: usize| {
                let zeros = text
                    .iter()
                    .take(length)
                    .take_while(|byte| **byte == b'0')
                    .count();
                text.get(zeros..length).unwrap_or_default().to_vec()
            };
            let (x, y) = (number(a, of_a), number(b, of_b));
            let order = x.len().cmp(&y.len()).then(x.cmp(&y));
            if order.is_ne() {
                return order;
            }
            (a, b) = (
                a.get(of_a..).unwrap_or_default(),
                b.get(of_b..).unwrap_or_default(),
            );
            continue;
        }
        match (a.split_first(), b.split_first()) {
            (Some((x, rest_a)), Some((y, rest_b))) if x == y => (a, b) = (rest_a, rest_b),
            (x, y) => return x.map(|(byte, _)| byte).cmp(&y.map(|(byte, _)| byte)),
        }
    }
}
