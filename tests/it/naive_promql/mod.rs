//! The engine against a naive evaluator, on random data and expressions.
//!
//! The naive one is written from what Prometheus documents, and shares nothing with the engine: it works on a tree of its own, of
//! which the engine sees the text. Where rounding, or an order that nothing specifies, decides about an answer, nothing is compared.
//! `PROPTEST_CASES=200000` asks more.

mod aggregate;
mod evaluate;
mod number;
mod operator;
mod strategy;
mod tree;
mod window;

use std::collections::BTreeMap;

use longwatch::{
    model::Labels,
    query::{Answer, AnswerSeries, QueryRange, Question, answer},
};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::promqltest::memory::Memory;
use evaluate::{Naive, Names, Stored, Tags};
use number::{Num, Trouble};
use strategy::Moments;
use tree::{Expr, Ms};

/// Samples of each series.
type Found<V> = BTreeMap<Tags, Vec<(Ms, V)>>;

/// How an answer was compared.
#[derive(Clone, Copy)]
enum Outcome {
    /// Both have the same samples, at least one.
    Same,
    /// Both have none.
    BothEmpty,
    BothFail,
    Undecided,
}

fn by_engine(data: &[Stored], query: &str, moments: Moments) -> Result<Found<f64>, String> {
    let mut memory = Memory::default();
    let series = data.iter().map(|stored| {
        let tags = stored.tags.iter();
        let labels = Labels::new(tags.map(|(label, value)| (label.as_str(), value.as_str())));
        ((labels, stored.samples.clone()), false)
    });
    memory.load(series.collect());
    let start_ms = moments.start;
    let range = match moments.count {
        0 => QueryRange::At(start_ms),
        count => QueryRange::Steps {
            start_ms,
            end_ms: start_ms + (count - 1) * moments.step,
            step_ms: moments.step,
        },
    };
    let answered = answer(&memory, &Question::new(query, range)).map_err(|error| {
        // What is asked for must at least be understood.
        assert!(
            !matches!(error, longwatch::query::QueryError::Parse(_)),
            "{query}: {error}"
        );
        error.to_string()
    })?;
    Ok(match answered.answer {
        Answer::Scalar(time, value) => Found::from([(Tags::new(), vec![(time, value)])]),
        Answer::Text(..) => Found::new(),
        Answer::Vector(all) | Answer::Matrix(all) => all.into_iter().map(tagged).collect(),
    })
}

fn tagged(series: AnswerSeries) -> (Tags, Vec<(Ms, f64)>) {
    let pairs = series.labels.iter();
    let tags = pairs.map(|(label, value)| (label.to_owned(), value.to_owned()));
    (tags.collect(), series.samples)
}

fn by_naive(data: &[Stored], expr: &Expr, moments: Moments) -> Result<Found<Num>, Trouble> {
    let steps = moments.count.max(1);
    let end = moments.start + (steps - 1) * moments.step;
    let naive = Naive {
        data,
        start: moments.start,
        end,
        reach: (moments.start, end),
        names: &Names::default(),
    };
    let mut found: Found<Num> = Found::new();
    for at in 0..steps {
        let step = moments.start + at * moments.step;
        if expr.is_scalar() {
            let value = naive.scalar(expr, step)?;
            found.entry(Tags::new()).or_default().push((step, value));
            continue;
        }
        for row in naive.vector(expr, step)? {
            let samples = found.entry(row.shown()).or_default();
            if samples.last().is_some_and(|(time, _)| *time == step) {
                return Err(Trouble::Fails("the same labels twice"));
            }
            samples.push((step, row.value));
        }
    }
    Ok(found)
}

/// Why the answers differ, or how they are the same.
fn compare(data: &[Stored], expr: &Expr, moments: Moments) -> Result<Outcome, String> {
    let wanted = by_naive(data, expr, moments);
    if matches!(wanted, Err(Trouble::Undecided)) {
        return Ok(Outcome::Undecided);
    }
    let query = expr.to_string();
    let found = by_engine(data, &query, moments);
    let differ = || format!("{query}\n  engine: {found:?}\n  naive: {wanted:?}");
    let (wanted, found) = match (&wanted, &found) {
        (Err(_), Err(_)) => return Ok(Outcome::BothFail),
        (Ok(wanted), Ok(found)) => (wanted, found),
        _ => return Err(differ()),
    };
    if !wanted.keys().eq(found.keys()) {
        return Err(differ());
    }
    let mut outcome = Outcome::Same;
    for (samples, seen) in wanted.values().zip(found.values()) {
        let times = samples.iter().map(|(time, _)| time);
        if !times.eq(seen.iter().map(|(time, _)| time)) {
            return Err(differ());
        }
        for ((_, value), (_, seen)) in samples.iter().zip(seen) {
            match value.agrees(*seen) {
                Ok(true) => {}
                Ok(false) => return Err(differ()),
                Err(_) => outcome = Outcome::Undecided,
            }
        }
    }
    if found.is_empty() {
        outcome = Outcome::BothEmpty;
    }
    Ok(outcome)
}

proptest! {
    #[test]
    fn the_engine_answers_as_a_naive_evaluator_does(
        data in strategy::data(),
        expr in strategy::expression(),
        moments in strategy::moments(),
    ) {
        if let Err(why) = compare(&data, &expr, moments) {
            prop_assert!(false, "{}", why);
        }
    }
}

/// A comparison is worth something only where there is something to compare.
#[test]
fn most_random_questions_have_answers() {
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    );
    let questions = (
        strategy::data(),
        strategy::expression(),
        strategy::moments(),
    );
    let mut counts = [0; 4];
    for _ in 0..600 {
        let (data, expr, moments) = questions.new_tree(&mut runner).unwrap().current();
        counts[compare(&data, &expr, moments).unwrap() as usize] += 1;
    }
    let [same, empty, fail, undecided] = counts;
    let seen = format!("{same} the same, {empty} empty, {fail} fail, {undecided} undecided");
    assert!(same > 250 && fail > 10 && undecided < 60, "{seen}");
}
