//! Aggregations that pick series: `topk`, `bottomk`, `limitk`, `limit_ratio`.

use super::{
    Evaluator,
    aggregate::parameter_of,
    grouping::{Grouping, Groups},
};
use crate::{
    model::Labels,
    query::{
        column::{ABSENT, Column, is_absent},
        error::QueryError,
        expression::{Aggregate, AggregateOperator, Place},
        show_number,
        steps::Steps,
    },
};

impl Evaluator<'_> {
    pub(super) fn ranked(
        &self,
        aggregate: &Aggregate,
        place: Place,
        steps: Steps,
    ) -> Result<Vec<Column>, QueryError> {
        let parameters = self.scalar(parameter_of(aggregate)?, steps)?;
        let operator = aggregate.operator;
        let limits = self.limits_of(operator, &parameters, place)?;
        let columns = self.vector(&aggregate.inner, steps)?;
        let grouping = Grouping::of(aggregate);
        let mut groups: Groups<Vec<usize>> = Groups::new();
        for (at, column) in columns.iter().enumerate() {
            let labels = grouping.labels_of(&column.labels);
            groups.group(labels, false, Vec::new).push(at);
        }
        let mut picked = Vec::with_capacity(columns.len());
        for _ in &columns {
            let held = self.budget.hold(steps.len())?;
            picked.push(Some((vec![ABSENT; steps.len()], held)));
        }
        // Series in the order of their rank at the last step, which an instant query shows.
        let mut order = Vec::with_capacity(columns.len());
        for group in groups.into_groups() {
            let mut ranked = Vec::new();
            for (step, limit) in limits.iter().enumerate() {
                self.budget.check()?;
                let value = |at: &usize| columns[*at].values.get(step).copied().unwrap_or(ABSENT);
                let of_step = group.members.iter().map(|at| (*at, value(at)));
                ranked = of_step.filter(|(_, value)| !is_absent(*value)).collect();
                limit.pick(operator, &mut ranked, |at| &columns[at].labels);
                for (at, value) in &ranked {
                    if let Some((values, _)) = &mut picked[*at] {
                        values[step] = *value;
                    }
                }
            }
            order.extend(ranked.iter().map(|(at, _)| *at));
        }
        if steps.len() != 1 {
            order = (0..columns.len()).collect();
        }
        let result = order.into_iter().filter_map(|at| {
            let (values, held) = picked[at].take()?;
            let column = &columns[at];
            Some(Column::new(
                column.labels.clone(),
                column.drop_name,
                values,
                held,
            ))
        });
        Ok(result.filter(Column::has_any).collect())
    }

    fn limits_of(
        &self,
        operator: AggregateOperator,
        parameters: &[f64],
        place: Place,
    ) -> Result<Vec<Limit>, QueryError> {
        let mut limits = Vec::with_capacity(parameters.len());
        for parameter in parameters {
            if parameter.is_nan() {
                return Err(QueryError::Execution(format!(
                    "{} value is NaN",
                    if operator == AggregateOperator::LimitRatio {
                        "Ratio"
                    } else {
                        "Parameter"
                    }
                )));
            }
            if operator == AggregateOperator::LimitRatio {
                let ratio = parameter.clamp(-1.0, 1.0);
                if ratio != *parameter {
                    let text = format!(
                        "ratio value should be between -1 and 1, got {}, capping to {}",
                        show_number(*parameter),
                        show_number(ratio)
                    );
                    self.notes.warn(text, place);
                }
                limits.push(Limit::Ratio(ratio));
            } else if parameter.abs() >= i64::MAX as f64 {
                return Err(QueryError::Execution(format!(
                    "Scalar value {} overflows int64",
                    show_number(*parameter)
                )));
            } else {
                limits.push(Limit::Count(parameter.max(0.0) as usize));
            }
        }
        Ok(limits)
    }
}

/// How many series are picked at a step.
enum Limit {
    Count(usize),
    Ratio(f64),
}

impl Limit {
    fn pick<'l>(
        &self,
        operator: AggregateOperator,
        ranked: &mut Vec<(usize, f64)>,
        labels: impl Fn(usize) -> &'l Labels,
    ) {
        match self {
            Self::Ratio(ratio) => ranked.retain(|(at, _)| is_in_ratio(*ratio, labels(*at))),
            Self::Count(count) => {
                // NaN is the last to be picked.
                match operator {
                    AggregateOperator::Topk => ranked
                        .sort_by(|(_, a), (_, b)| a.is_nan().cmp(&b.is_nan()).then(b.total_cmp(a))),
                    AggregateOperator::Bottomk => ranked
                        .sort_by(|(_, a), (_, b)| a.is_nan().cmp(&b.is_nan()).then(a.total_cmp(b))),
                    _ => {}
                }
                ranked.truncate(*count);
            }
        }
    }
}

/// Whether a share of all series holds this one: always the same ones, and with a negative ratio those that the
/// positive one leaves out.
fn is_in_ratio(ratio: f64, labels: &Labels) -> bool {
    let place = place_of(labels);
    if ratio >= 0.0 {
        place < ratio
    } else {
        place >= 1.0 + ratio
    }
}

/// A number in `[0, 1)` that depends on the labels alone (FNV-1a, mixed).
fn place_of(labels: &Labels) -> f64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for (name, value) in labels.iter() {
        for byte in name.bytes().chain([0]).chain(value.bytes()).chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    ((hash ^ (hash >> 32)) >> 11) as f64 / (1_u64 << 53) as f64
}
