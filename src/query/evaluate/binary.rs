//! Operators with two sides.
//!
//! Source: Prometheus, `promql/engine.go`, `VectorBinop`, `VectorscalarBinop`.

use std::collections::HashMap;

use super::{Evaluator, label_call::merge_equal, unexpected};
use crate::{
    model::{Labels, NAME_LABEL},
    query::{
        column::{ABSENT, Column, Values, is_absent, present},
        error::QueryError,
        expression::{Binary, BinaryOperator, Cardinality, Matching},
        steps::Steps,
    },
};

impl Evaluator<'_> {
    pub(super) fn binary(&self, binary: &Binary, steps: Steps) -> Result<Values, QueryError> {
        let left = self.values(&binary.left, steps)?;
        let right = self.values(&binary.right, steps)?;
        let operator = binary.operator;
        Ok(match (left, right) {
            (Values::Scalar(left), Values::Scalar(right)) => {
                let pairs = left.into_iter().zip(right);
                Values::Scalar(pairs.map(|(l, r)| of_scalars(operator, l, r)).collect())
            }
            (Values::Vector(columns), Values::Scalar(numbers)) => {
                Values::Vector(with_scalar(binary, columns, &numbers, false))
            }
            (Values::Scalar(numbers), Values::Vector(columns)) => {
                Values::Vector(with_scalar(binary, columns, &numbers, true))
            }
            (Values::Vector(left), Values::Vector(right)) => Values::Vector(if operator.is_set() {
                super::set::combine(operator, &binary.matching, left, right)
            } else {
                self.matched(binary, left, right)?
            }),
            _ => return Err(unexpected("scalar or instant vector")),
        })
    }

    /// Two vectors whose series find each other by their labels.
    fn matched(
        &self,
        binary: &Binary,
        left: Vec<Column>,
        right: Vec<Column>,
    ) -> Result<Vec<Column>, QueryError> {
        let matching = &binary.matching;
        let is_swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if is_swapped {
            (right, left)
        } else {
            (left, right)
        };
        let mut ones: HashMap<Labels, Vec<&Column>> = HashMap::with_capacity(one.len());
        for column in &one {
            let key = key_of(matching, &column.labels);
            ones.entry(key).or_default().push(column);
        }
        let mut asked = vec![false; steps_of(&one)];
        for column in &many {
            for (asked, value) in asked.iter_mut().zip(&column.values) {
                *asked |= !is_absent(*value);
            }
        }
        for columns in ones.values().filter(|columns| columns.len() > 1) {
            check_one_side(matching, columns, is_swapped, &asked)?;
        }
        let is_one_to_one = matching.cardinality == Cardinality::OneToOne;
        let mut results = Vec::with_capacity(many.len());
        // At which steps a match group has yielded a result already; of a side of many, one of the same labels.
        let mut met: HashMap<(Labels, Labels), Vec<bool>> = HashMap::new();
        for column in &many {
            let key = key_of(matching, &column.labels);
            let Some(partners) = ones.get(&key) else {
                continue;
            };
            for partner in partners {
                let labels = labels_of_result(binary, &column.labels, &partner.labels);
                let told_apart = if is_one_to_one {
                    Labels::default()
                } else {
                    labels.clone()
                };
                let met = met
                    .entry((key.clone(), told_apart))
                    .or_insert_with(|| vec![false; column.values.len()]);
                meet(met, column, partner, is_one_to_one)?;
                let result = self.column(
                    labels,
                    binary.returns_bool || column.drop_name,
                    paired(binary, column, partner, is_swapped),
                )?;
                if result.has_any() {
                    results.push(result);
                }
            }
        }
        merge_equal(results, |column| column.labels.clone()).map_err(|_| not_unique())
    }
}

/// Notes the steps at which a series meets its partner, and refuses a second one, even if a comparison drops it.
fn meet(
    met: &mut [bool],
    column: &Column,
    partner: &Column,
    is_one_to_one: bool,
) -> Result<(), QueryError> {
    let pairs = column.values.iter().zip(&partner.values);
    for (met, (value, other)) in met.iter_mut().zip(pairs) {
        if is_absent(*value) || is_absent(*other) {
            continue;
        }
        if *met {
            return Err(if is_one_to_one {
                QueryError::Execution("multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)".to_owned())
            } else {
                not_unique()
            });
        }
        *met = true;
    }
    Ok(())
}

fn not_unique() -> QueryError {
    let text = "multiple matches for labels: grouping labels must ensure unique matches";
    QueryError::Execution(text.to_owned())
}

/// Values of a series of the side of many with those of its partner.
fn paired(binary: &Binary, many: &Column, one: &Column, is_swapped: bool) -> Vec<f64> {
    let pairs = many.values.iter().zip(&one.values);
    let value = |(many, one): (&f64, &f64)| {
        if is_absent(*many) || is_absent(*one) {
            return ABSENT;
        }
        let (left, right) = if is_swapped {
            (*one, *many)
        } else {
            (*many, *one)
        };
        filtered(binary, left, right, left)
    };
    pairs.map(value).collect()
}

fn steps_of(columns: &[Column]) -> usize {
    columns.first().map_or(0, |column| column.values.len())
}

/// Several series of the side of one must not have a value at the same step, unless the other side has none at all then.
fn check_one_side(
    matching: &Matching,
    columns: &[&Column],
    is_swapped: bool,
    asked: &[bool],
) -> Result<(), QueryError> {
    let steps = asked.iter().enumerate().filter(|(_, asked)| **asked);
    for (step, _) in steps {
        let has_value = |column: &&&Column| {
            column
                .values
                .get(step)
                .is_some_and(|value| !is_absent(*value))
        };
        let mut there = columns.iter().filter(has_value);
        let (Some(first), Some(second)) = (there.next(), there.next()) else {
            continue;
        };
        let side = if is_swapped { "left" } else { "right" };
        let group = first.labels.keep(|name| is_matched(matching, name));
        return Err(QueryError::Execution(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
            second.labels, first.labels
        )));
    }
    Ok(())
}

/// Whether a label takes part in matching.
fn is_matched(matching: &Matching, name: &str) -> bool {
    let is_named = matching.labels.iter().any(|label| label == name);
    if matching.on {
        is_named
    } else {
        !is_named && name != NAME_LABEL
    }
}

/// The labels by which series find each other.
pub(super) fn key_of(matching: &Matching, labels: &Labels) -> Labels {
    labels.keep(|name| is_matched(matching, name))
}

fn labels_of_result(binary: &Binary, many: &Labels, one: &Labels) -> Labels {
    let matching = &binary.matching;
    let drops_name = !binary.operator.is_comparison();
    let mut labels = many.keep(|name| {
        if name == NAME_LABEL && drops_name {
            return false;
        }
        let is_named = matching.labels.iter().any(|label| label == name);
        match (matching.cardinality, matching.on) {
            (Cardinality::OneToOne, true) => is_named,
            (Cardinality::OneToOne, false) => !is_named,
            _ => true,
        }
    });
    for label in &matching.include {
        labels = labels.with(label, one.get(label));
    }
    labels
}

fn with_scalar(
    binary: &Binary,
    columns: Vec<Column>,
    numbers: &[f64],
    scalar_is_left: bool,
) -> Vec<Column> {
    let drops_name = binary.returns_bool || !binary.operator.is_comparison();
    let changed = columns.into_iter().map(|mut column| {
        column.drop_name |= drops_name;
        for (value, number) in column.values.iter_mut().zip(numbers) {
            if !is_absent(*value) {
                let (left, right) = if scalar_is_left {
                    (*number, *value)
                } else {
                    (*value, *number)
                };
                *value = filtered(binary, left, right, *value);
            }
        }
        column
    });
    changed.filter(Column::has_any).collect()
}

/// The result for two values; a comparison that does not hold leaves nothing, and else what is `kept`.
fn filtered(binary: &Binary, left: f64, right: f64, kept: f64) -> f64 {
    let operator = binary.operator;
    if !operator.is_comparison() {
        return present(arithmetic(operator, left, right));
    }
    match (compare(operator, left, right), binary.returns_bool) {
        (holds, true) => f64::from(u8::from(holds)),
        (true, false) => kept,
        (false, false) => ABSENT,
    }
}

fn of_scalars(operator: BinaryOperator, left: f64, right: f64) -> f64 {
    if operator.is_comparison() {
        f64::from(u8::from(compare(operator, left, right)))
    } else {
        arithmetic(operator, left, right)
    }
}

fn compare(operator: BinaryOperator, left: f64, right: f64) -> bool {
    match operator {
        BinaryOperator::Equal => left == right,
        BinaryOperator::NotEqual => left != right,
        BinaryOperator::Greater => left > right,
        BinaryOperator::Less => left < right,
        BinaryOperator::GreaterEqual => left >= right,
        _ => left <= right,
    }
}

fn arithmetic(operator: BinaryOperator, left: f64, right: f64) -> f64 {
    match operator {
        BinaryOperator::Add => left + right,
        BinaryOperator::Sub => left - right,
        BinaryOperator::Mul => left * right,
        BinaryOperator::Div => left / right,
        BinaryOperator::Mod => left % right,
        BinaryOperator::Pow => left.powf(right),
        _ => left.atan2(right),
    }
}
