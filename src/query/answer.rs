//! A query from its text to its answer.

use std::thread;

use super::{
    budget::{Budget, Cancel, QueryLimits},
    column::{Column, Values, is_absent},
    error::QueryError,
    evaluate::{Evaluator, raw_matrix},
    expression::{AggregateOperator, Expression, Node},
    function::FunctionId,
    notes::{Notes, Told},
    source::Source,
    steps::Steps,
    syntax::parse,
};
use crate::model::Labels;

/// How far back an instant selector looks unless it is said otherwise, milliseconds.
pub const LOOKBACK_MS: i64 = 300_000;
/// Step of a subquery that names none, milliseconds: the default interval between evaluations of rules.
pub const SUBQUERY_STEP_MS: i64 = 60_000;

/// Deeper expressions are evaluated on a thread with a larger stack.
const SHALLOW_DEPTH: usize = 24;
/// It is for the depth that the parser allows, with a debug build's large frames.
const DEEP_STACK_BYTES: usize = 32 << 20;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question<'q> {
    /// PromQL.
    pub query: &'q str,
    /// When.
    pub range: QueryRange,
    /// How far back an instant selector looks, milliseconds.
    pub lookback_ms: i64,
    /// What it may use.
    pub limits: QueryLimits,
    /// Stops it.
    pub cancel: Cancel,
}

impl<'q> Question<'q> {
    /// A question with the default look-back and limits.
    pub fn new(query: &'q str, range: QueryRange) -> Self {
        Self {
            query,
            range,
            lookback_ms: LOOKBACK_MS,
            limits: QueryLimits::default(),
            cancel: Cancel::default(),
        }
    }
}

/// The moments that a query is about, milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryRange {
    /// One moment.
    At(i64),
    /// Every `step_ms` from the first to the last, both included.
    Steps {
        /// First moment.
        start_ms: i64,
        /// Last moment.
        end_ms: i64,
        /// Time between two, above 0.
        step_ms: i64,
    },
}

/// One series of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerSeries {
    /// Its labels.
    pub labels: Labels,
    /// Milliseconds since the epoch, and values.
    pub samples: Vec<(i64, f64)>,
}

/// What an expression is worth.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A number as of a moment.
    Scalar(i64, f64),
    /// A text as of a moment.
    Text(i64, String),
    /// One sample of each series.
    Vector(Vec<AnswerSeries>),
    /// Samples of each series, by labels.
    Matrix(Vec<AnswerSeries>),
}

/// An answer with what is to be told beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// The answer.
    pub answer: Answer,
    /// Warnings and infos.
    pub told: Told,
    /// Samples that were read for it.
    pub samples_read: u64,
}

/// Answers a question.
///
/// # Errors
/// [`QueryError`]
pub fn answer(source: &dyn Source, question: &Question<'_>) -> Result<Answered, QueryError> {
    let expression = parse(question.query)?;
    answer_parsed(source, &expression, question)
}

/// The same for an expression that was parsed before, such as that of a rule.
///
/// # Errors
/// [`QueryError`]
pub fn answer_parsed(
    source: &dyn Source,
    expression: &Expression,
    question: &Question<'_>,
) -> Result<Answered, QueryError> {
    if expression.depth() <= SHALLOW_DEPTH {
        return evaluate(source, expression, question);
    }
    // The evaluator descends as deep as the expression goes.
    let thread = thread::Builder::new().stack_size(DEEP_STACK_BYTES);
    thread::scope(|scope| {
        let running = thread.spawn_scoped(scope, || evaluate(source, expression, question));
        let running = running.map_err(|error| {
            QueryError::Execution(format!("no thread for a deep expression: {error}"))
        })?;
        let answer = running.join();
        answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn evaluate(
    source: &dyn Source,
    expression: &Expression,
    question: &Question<'_>,
) -> Result<Answered, QueryError> {
    let budget = Budget::new(question.limits.clone(), question.cancel.clone());
    let notes = Notes::default();
    let (start_ms, end_ms, step_ms) = match question.range {
        QueryRange::At(at_ms) => (at_ms, at_ms, 0),
        QueryRange::Steps {
            start_ms,
            end_ms,
            step_ms,
        } => (start_ms, end_ms, step_ms),
    };
    let evaluator = Evaluator {
        source,
        budget: &budget,
        notes: &notes,
        start_ms,
        end_ms,
        step_ms,
        lookback_ms: question.lookback_ms,
        subquery_step_ms: SUBQUERY_STEP_MS,
    };
    let answer = match question.range {
        QueryRange::At(at_ms) => instant(&evaluator, expression, at_ms)?,
        QueryRange::Steps {
            start_ms,
            end_ms,
            step_ms,
        } => {
            if step_ms <= 0 {
                return Err(QueryError::Bad("the step must be above 0".to_owned()));
            }
            let steps = Steps::range(start_ms, end_ms, step_ms);
            budget.check_points(steps.len())?;
            range(&evaluator, expression, steps)?
        }
    };
    let samples_read = budget.samples_read();
    Ok(Answered {
        answer,
        told: notes.told(question.query),
        samples_read,
    })
}

fn instant(
    evaluator: &Evaluator<'_>,
    expression: &Expression,
    at_ms: i64,
) -> Result<Answer, QueryError> {
    let one = |value: f64| vec![(at_ms, value)];
    match expression.node.matrix() {
        Some(Node::Matrix(selector, range_ms)) => {
            let found = raw_matrix(evaluator, selector, *range_ms, at_ms)?;
            let series = found.into_iter();
            return matrix(
                series
                    .map(|(labels, samples)| AnswerSeries { labels, samples })
                    .collect(),
            );
        }
        Some(Node::Subquery(subquery)) => {
            let found = evaluator.subquery_at(subquery, at_ms)?.into_iter();
            let series = found.map(|series| AnswerSeries {
                labels: shown(&series.labels, series.drop_name),
                samples: series.times.into_iter().zip(series.values).collect(),
            });
            return matrix(series.collect());
        }
        _ => {}
    }
    match evaluator.values(expression, Steps::one(at_ms))? {
        Values::Scalar(numbers) => Ok(Answer::Scalar(
            at_ms,
            numbers.first().copied().unwrap_or(f64::NAN),
        )),
        Values::Text(text) => Ok(Answer::Text(at_ms, text)),
        Values::Vector(columns) => {
            let there = columns.into_iter().filter_map(|column| {
                let value = column.values.first().copied().filter(|v| !is_absent(*v))?;
                Some(AnswerSeries {
                    labels: shown(&column.labels, column.drop_name),
                    samples: one(value),
                })
            });
            let mut series: Vec<AnswerSeries> = there.collect();
            check_unique(&series)?;
            if !is_ordered(expression) {
                series.sort_by(|a, b| a.labels.cmp(&b.labels));
            }
            Ok(Answer::Vector(series))
        }
    }
}

fn range(
    evaluator: &Evaluator<'_>,
    expression: &Expression,
    steps: Steps,
) -> Result<Answer, QueryError> {
    let columns = match evaluator.values(expression, steps)? {
        Values::Scalar(values) => {
            return Ok(Answer::Matrix(vec![AnswerSeries {
                labels: Labels::default(),
                samples: steps.iter().zip(values).collect(),
            }]));
        }
        Values::Text(_) => {
            return Err(QueryError::Bad(
                "invalid expression type \"string\" for range query, must be Scalar or instant Vector".to_owned(),
            ));
        }
        Values::Vector(columns) => columns,
    };
    let columns = one_of_each(columns)?;
    let series = columns.into_iter().map(|column| {
        let samples = steps.iter().zip(column.values);
        AnswerSeries {
            labels: column.labels,
            samples: samples.filter(|(_, value)| !is_absent(*value)).collect(),
        }
    });
    matrix(series.collect())
}

/// Columns with the labels that are shown; those that have become equal are one where their steps differ.
fn one_of_each(columns: Vec<Column>) -> Result<Vec<Column>, QueryError> {
    super::evaluate::merge_equal(columns, |column| shown(&column.labels, column.drop_name))
}

fn matrix(mut series: Vec<AnswerSeries>) -> Result<Answer, QueryError> {
    series.retain(|series| !series.samples.is_empty());
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    check_unique(&series)?;
    Ok(Answer::Matrix(series))
}

fn shown(labels: &Labels, drop_name: bool) -> Labels {
    if drop_name {
        labels.without_name()
    } else {
        labels.clone()
    }
}

fn check_unique(series: &[AnswerSeries]) -> Result<(), QueryError> {
    let mut seen = std::collections::HashSet::with_capacity(series.len());
    if series.iter().all(|series| seen.insert(&series.labels)) {
        return Ok(());
    }
    Err(QueryError::Execution(
        "vector cannot contain metrics with the same labelset".to_owned(),
    ))
}

/// Whether the expression puts its series into an order of its own.
fn is_ordered(expression: &Expression) -> bool {
    match &expression.node {
        Node::Group(inner, _) => is_ordered(inner),
        Node::Call(function, _) => matches!(
            function.id,
            FunctionId::Sort
                | FunctionId::SortDesc
                | FunctionId::SortByLabel
                | FunctionId::SortByLabelDesc
        ),
        Node::Aggregate(aggregate) => matches!(
            aggregate.operator,
            AggregateOperator::Topk | AggregateOperator::Bottomk
        ),
        _ => false,
    }
}

/// A number as Prometheus writes it in answers and labels: shortest decimal digits, `NaN`, `+Inf`, `-Inf`.
pub fn show_number(number: f64) -> String {
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        format!("{number}")
    }
}
