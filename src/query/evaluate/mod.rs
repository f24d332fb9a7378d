//! Evaluation: every part of an expression is worked out for all steps at once, series after series.
//!
//! Source of the semantics: Prometheus, `promql/engine.go`, `promql/functions.go`.

mod aggregate;
mod binary;
mod calendar;
mod call;
mod grouping;
mod histogram;
mod histogram_call;
mod kahan;
mod label_call;
mod ranked;
mod reading;
mod resets;
mod set;
mod subquery;
mod window_call;
mod windows;

use crate::model::Labels;

use super::{
    budget::{Budget, Held},
    column::{Column, Values},
    error::QueryError,
    expression::{At, Expression, Moment, Node},
    notes::Notes,
    source::Source,
    steps::Steps,
};

pub(super) use label_call::merge_equal;
pub(super) use reading::raw_matrix;

/// Takes the columns of a vector one after the other.
type Sink<'s> = dyn FnMut(Column) -> Result<(), QueryError> + 's;

/// One query under evaluation.
pub(super) struct Evaluator<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) budget: &'a Budget,
    pub(super) notes: &'a Notes,
    /// First and last moment of the query, which `start()` and `end()` name.
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    /// The query's step; 0 of an instant query.
    pub(super) step_ms: i64,
    /// How far back an instant selector looks.
    pub(super) lookback_ms: i64,
    /// Step of subqueries that name none.
    pub(super) subquery_step_ms: i64,
}

impl Evaluator<'_> {
    /// What an expression is worth at every step.
    pub(super) fn values(&self, asked: &Expression, steps: Steps) -> Result<Values, QueryError> {
        self.budget.check()?;
        match &asked.node {
            Node::Number(number) => Ok(Values::Scalar(vec![*number; steps.len()])),
            Node::Text(text) => Ok(Values::Text(text.clone())),
            Node::Vector(_) | Node::Aggregate(_) => Ok(Values::Vector(self.gather(asked, steps)?)),
            Node::Call(function, arguments) => self.call(function, arguments, asked.place, steps),
            Node::Binary(binary) => self.binary(binary, steps),
            Node::Negate(inner) => Ok(match self.values(inner, steps)? {
                Values::Scalar(numbers) => {
                    Values::Scalar(numbers.into_iter().map(|number| -number).collect())
                }
                Values::Vector(columns) => {
                    Values::Vector(columns.into_iter().map(negated).collect())
                }
                text @ Values::Text(_) => text,
            }),
            Node::Group(inner, _) => self.values(inner, steps),
            Node::Matrix(..) | Node::Subquery(_) => Err(QueryError::Bad(
                "a range vector has no value at a single step; put it into a function such as rate()".to_owned(),
            )),
        }
    }

    /// The columns of an expression of type vector.
    fn vector(&self, asked: &Expression, steps: Steps) -> Result<Vec<Column>, QueryError> {
        match self.values(asked, steps)? {
            Values::Vector(columns) => Ok(columns),
            Values::Scalar(_) | Values::Text(_) => Err(unexpected("instant vector")),
        }
    }

    /// The columns of a vector, or a scalar as one column without labels.
    fn columns_of_any(&self, asked: &Expression, steps: Steps) -> Result<Vec<Column>, QueryError> {
        match self.values(asked, steps)? {
            Values::Vector(columns) => Ok(columns),
            Values::Scalar(values) => Ok(vec![self.column(Labels::default(), false, values)?]),
            Values::Text(_) => Err(unexpected("instant vector")),
        }
    }

    /// The numbers of an expression of type scalar.
    fn scalar(&self, asked: &Expression, steps: Steps) -> Result<Vec<f64>, QueryError> {
        match self.values(asked, steps)? {
            Values::Scalar(numbers) => Ok(numbers),
            Values::Vector(_) | Values::Text(_) => Err(unexpected("scalar")),
        }
    }

    /// A column with room for its values.
    fn column(
        &self,
        labels: Labels,
        drop_name: bool,
        values: Vec<f64>,
    ) -> Result<Column, QueryError> {
        let held = self.budget.hold(values.len())?;
        Ok(Column::new(labels, drop_name, values, held))
    }

    /// A column out of values that hold for every step, or of one that holds for all.
    fn spread_column(
        &self,
        labels: Labels,
        drop_name: bool,
        (values, held): (Vec<f64>, Held),
        steps: Steps,
    ) -> Result<Column, QueryError> {
        match values.as_slice() {
            [one] if steps.len() != 1 => {
                let held = self.budget.hold(steps.len())?;
                Ok(Column::new(
                    labels,
                    drop_name,
                    vec![*one; steps.len()],
                    held,
                ))
            }
            _ => Ok(Column::new(labels, drop_name, values, held)),
        }
    }

    fn gather(&self, asked: &Expression, steps: Steps) -> Result<Vec<Column>, QueryError> {
        let mut columns = Vec::new();
        self.each_column(asked, steps, &mut |column| {
            columns.push(column);
            Ok(())
        })?;
        Ok(columns)
    }

    /// Hands the columns of a vector over one by one, so that what only adds them up never holds all of them.
    fn each_column(
        &self,
        asked: &Expression,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        match &asked.node {
            Node::Vector(selector) => self.each_instant(selector, steps, sink),
            Node::Aggregate(aggregate) => {
                let columns = self.aggregate(aggregate, asked.place, steps)?;
                columns.into_iter().try_for_each(sink)
            }
            Node::Group(inner, _) => self.each_column(inner, steps, sink),
            Node::Negate(inner) => {
                self.each_column(inner, steps, &mut |column| sink(negated(column)))
            }
            Node::Call(function, arguments) if function.is_over_windows() => {
                self.each_window_call(function, arguments, steps, sink)
            }
            _ => self.vector(asked, steps)?.into_iter().try_for_each(sink),
        }
    }

    /// The moments that a selector looks at: one for each step, or a single one where `@` names it.
    fn moments(&self, moment: Moment, steps: Steps) -> Steps {
        let at = match moment.at {
            None => return steps.shifted(moment.offset_ms.saturating_neg()),
            Some(At::Time(ms)) => ms,
            Some(At::Start) => self.start_ms,
            Some(At::End) => self.end_ms,
        };
        Steps::one(at.saturating_sub(moment.offset_ms))
    }
}

fn negated(column: Column) -> Column {
    let mut column = column.map(|value| -value);
    column.drop_name = true;
    column
}

/// The parser checks types; this is for what should not happen.
fn unexpected(wanted: &str) -> QueryError {
    QueryError::Bad(format!("expected type {wanted}"))
}
