//! Aggregations over series. Those that only add up hold one number for each group and step.

use super::{
    Evaluator,
    grouping::{Grouping, Groups},
    kahan::{Deviation, Mean, Sum, quantile},
    windows::{greater, lesser},
};
use crate::query::{
    budget::Held,
    column::{ABSENT, Column, is_absent, present},
    error::QueryError,
    expression::{Aggregate, AggregateOperator, Expression, Place},
    show_number,
    steps::Steps,
};

impl Evaluator<'_> {
    /// One column for each group; of `topk` and the like, some of the columns that there are.
    pub(super) fn aggregate(
        &self,
        aggregate: &Aggregate,
        place: Place,
        steps: Steps,
    ) -> Result<Vec<Column>, QueryError> {
        match aggregate.operator {
            AggregateOperator::Sum => self.fold::<Total>(aggregate, steps),
            AggregateOperator::Avg => self.fold::<Average>(aggregate, steps),
            AggregateOperator::Min => self.fold::<Least>(aggregate, steps),
            AggregateOperator::Max => self.fold::<Most>(aggregate, steps),
            AggregateOperator::Count => self.fold::<Count>(aggregate, steps),
            AggregateOperator::Group => self.fold::<Presence>(aggregate, steps),
            AggregateOperator::Stddev => self.fold::<StandardDeviation>(aggregate, steps),
            AggregateOperator::Stdvar => self.fold::<Variance>(aggregate, steps),
            AggregateOperator::Quantile => self.quantiles(aggregate, steps),
            AggregateOperator::CountValues => self.value_counts(aggregate, steps),
            AggregateOperator::Topk
            | AggregateOperator::Bottomk
            | AggregateOperator::Limitk
            | AggregateOperator::LimitRatio => self.ranked(aggregate, place, steps),
        }
    }

    fn fold<F: Fold>(
        &self,
        aggregate: &Aggregate,
        steps: Steps,
    ) -> Result<Vec<Column>, QueryError> {
        let grouping = Grouping::of(aggregate);
        let mut groups: Groups<Vec<F>> = Groups::new();
        let mut held = Vec::new();
        let words = steps
            .len()
            .saturating_mul(size_of::<F>().div_ceil(size_of::<f64>()));
        self.each_column(&aggregate.inner, steps, &mut |column| {
            let labels = grouping.labels_of(&column.labels);
            if !groups.has(&labels) {
                held.push(self.budget.hold(words)?);
            }
            let folds = groups.group(labels, column.drop_name, || vec![F::default(); steps.len()]);
            for (fold, value) in folds.iter_mut().zip(&column.values) {
                if !is_absent(*value) {
                    fold.add(*value);
                }
            }
            Ok(())
        })?;
        let mut columns = Vec::new();
        for group in groups.into_groups() {
            let held = self.budget.hold(steps.len())?;
            let value = |fold: &F| fold.value().map_or(ABSENT, present);
            columns.push(group.column(group.members.iter().map(value).collect(), held));
        }
        columns.retain(Column::has_any);
        Ok(columns)
    }

    fn quantiles(&self, aggregate: &Aggregate, steps: Steps) -> Result<Vec<Column>, QueryError> {
        let parameter = parameter_of(aggregate)?;
        let quantiles = self.scalar(parameter, steps)?;
        self.check_quantiles(quantiles.iter().copied(), parameter.place);
        let grouping = Grouping::of(aggregate);
        let mut groups: Groups<Vec<Column>> = Groups::new();
        self.each_column(&aggregate.inner, steps, &mut |column| {
            let labels = grouping.labels_of(&column.labels);
            groups
                .group(labels, column.drop_name, Vec::new)
                .push(column);
            Ok(())
        })?;
        let mut columns = Vec::new();
        for group in groups.into_groups() {
            let held = self.budget.hold(steps.len())?;
            let mut values = Vec::with_capacity(steps.len());
            for (step, q) in quantiles.iter().enumerate() {
                self.budget.check()?;
                let there = group
                    .members
                    .iter()
                    .filter_map(|column| column.values.get(step));
                let mut there: Vec<f64> = there.copied().filter(|v| !is_absent(*v)).collect();
                values.push(if there.is_empty() {
                    ABSENT
                } else {
                    present(quantile(*q, &mut there))
                });
            }
            columns.push(group.column(values, held));
        }
        columns.retain(Column::has_any);
        Ok(columns)
    }

    fn value_counts(&self, aggregate: &Aggregate, steps: Steps) -> Result<Vec<Column>, QueryError> {
        let parameter = parameter_of(aggregate)?;
        let label = parameter.text().unwrap_or_default();
        if label.is_empty() {
            return Err(QueryError::Execution(format!(
                "invalid label name {label:?}"
            )));
        }
        let grouping = Grouping::of(aggregate).and(label);
        let mut groups: Groups<(Vec<f64>, Held)> = Groups::new();
        self.each_column(&aggregate.inner, steps, &mut |column| {
            for (at, value) in column.values.iter().enumerate() {
                if is_absent(*value) {
                    continue;
                }
                let counted = column.labels.with(label, &show_number(*value));
                let labels = grouping.labels_of(&counted);
                if !groups.has(&labels) {
                    let held = self.budget.hold(steps.len())?;
                    let counts = vec![ABSENT; steps.len()];
                    groups.group(labels.clone(), column.drop_name, || (counts, held));
                }
                let counts = groups
                    .known(&labels)
                    .and_then(|(counts, _)| counts.get_mut(at));
                if let Some(count) = counts {
                    *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
                }
            }
            Ok(())
        })?;
        let groups = groups.into_groups().into_iter();
        let columns = groups.map(|group| {
            let (values, held) = group.members;
            Column::new(group.labels, group.drop_name, values, held)
        });
        Ok(columns.collect())
    }
}

/// The parameter that the parser saw to.
pub(super) fn parameter_of(aggregate: &Aggregate) -> Result<&Expression, QueryError> {
    let parameter = aggregate.parameter.as_ref();
    parameter.ok_or_else(|| super::unexpected("a parameter"))
}

/// What an aggregation keeps of the values of one group at one step.
trait Fold: Clone + Default {
    fn add(&mut self, value: f64);
    /// Nothing before the first value.
    fn value(&self) -> Option<f64>;
}

#[derive(Clone, Default)]
struct Total(Option<Sum>);

impl Fold for Total {
    fn add(&mut self, value: f64) {
        match &mut self.0 {
            Some(sum) => sum.add(value),
            None => self.0 = Some(Sum::of(value)),
        }
    }

    fn value(&self) -> Option<f64> {
        self.0.map(Sum::total)
    }
}

#[derive(Clone, Default)]
struct Average(Option<Mean>);

impl Fold for Average {
    fn add(&mut self, value: f64) {
        self.0.get_or_insert_default().add(value);
    }

    fn value(&self) -> Option<f64> {
        self.0.map(Mean::mean)
    }
}

#[derive(Clone, Default)]
struct Least(Option<f64>);

impl Fold for Least {
    fn add(&mut self, value: f64) {
        self.0 = Some(self.0.map_or(value, |least| lesser(least, value)));
    }

    fn value(&self) -> Option<f64> {
        self.0
    }
}

#[derive(Clone, Default)]
struct Most(Option<f64>);

impl Fold for Most {
    fn add(&mut self, value: f64) {
        self.0 = Some(self.0.map_or(value, |most| greater(most, value)));
    }

    fn value(&self) -> Option<f64> {
        self.0
    }
}

#[derive(Clone, Default)]
struct Count(u64);

impl Fold for Count {
    fn add(&mut self, _: f64) {
        self.0 += 1;
    }

    fn value(&self) -> Option<f64> {
        (self.0 > 0).then_some(self.0 as f64)
    }
}

#[derive(Clone, Default)]
struct Presence(bool);

impl Fold for Presence {
    fn add(&mut self, _: f64) {
        self.0 = true;
    }

    fn value(&self) -> Option<f64> {
        self.0.then_some(1.0)
    }
}

#[derive(Clone, Default)]
struct Variance(Option<Deviation>);

impl Fold for Variance {
    fn add(&mut self, value: f64) {
        self.0.get_or_insert_default().add(value);
    }

    fn value(&self) -> Option<f64> {
        self.0.map(Deviation::variance)
    }
}

#[derive(Clone, Default)]
struct StandardDeviation(Variance);

impl Fold for StandardDeviation {
    fn add(&mut self, value: f64) {
        self.0.add(value);
    }

    fn value(&self) -> Option<f64> {
        self.0.value().map(f64::sqrt)
    }
}
