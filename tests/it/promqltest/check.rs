//! Whether the engine's answer is the expected one.

use longwatch::{
    model::Labels,
    query::{Answer, AnswerSeries, QueryRange, Question, Told, answer},
};

use super::{
    memory::Memory,
    notation::Point,
    script::{Eval, Expected},
};

/// Answers the query; why the answer is not the expected one.
pub(crate) fn check(memory: &Memory, eval: &Eval) -> Result<(), String> {
    let range = if eval.step_ms == 0 {
        QueryRange::At(eval.start_ms)
    } else {
        QueryRange::Steps {
            start_ms: eval.start_ms,
            end_ms: eval.end_ms,
            step_ms: eval.step_ms,
        }
    };
    let answered = match answer(memory, &Question::new(&eval.query, range)) {
        Ok(_) if eval.expected.fails => return Err("it should fail".to_owned()),
        Ok(answered) => answered,
        Err(_) if eval.expected.fails => return Ok(()),
        Err(error) => return Err(format!("it fails: {error}")),
    };
    compare(eval, &answered.answer)?;
    notes(&eval.expected, &answered.told)
}

fn compare(eval: &Eval, answer: &Answer) -> Result<(), String> {
    let expected = &eval.expected;
    let (start_ms, step_ms) = expected.matrix.unwrap_or((eval.start_ms, eval.step_ms));
    match answer {
        Answer::Scalar(_, value) => match expected.scalar {
            Some(wanted) if agree(wanted, *value) => Ok(()),
            wanted => Err(format!("{value} in place of {wanted:?}")),
        },
        Answer::Text(_, text) => match &expected.text {
            Some(wanted) if wanted == text => Ok(()),
            wanted => Err(format!("{text:?} in place of {wanted:?}")),
        },
        Answer::Vector(found) | Answer::Matrix(found) => {
            if let Some(wanted) = expected.scalar {
                let [only] = found.as_slice() else {
                    return Err(format!("{} series in place of a number", found.len()));
                };
                return points(&[Some(wanted)], start_ms, step_ms, only);
            }
            series(expected, start_ms, step_ms, found)
        }
    }
}

fn series(
    expected: &Expected,
    start_ms: i64,
    step_ms: i64,
    found: &[AnswerSeries],
) -> Result<(), String> {
    let has_points = |(_, points): &&(Labels, Vec<Point>)| points.iter().any(Option::is_some);
    let wanted: Vec<_> = expected.series.iter().filter(has_points).collect();
    if wanted.len() != found.len() {
        return Err(format!(
            "{} series in place of {}: {found:?}",
            found.len(),
            wanted.len()
        ));
    }
    for (at, (labels, wanted_points)) in wanted.iter().enumerate() {
        let place = found.iter().position(|series| series.labels == *labels);
        let Some(place) = place else {
            return Err(format!("{labels} is missing in {found:?}"));
        };
        if expected.ordered && place != at {
            return Err(format!("{labels} is at place {place} in place of {at}"));
        }
        points(wanted_points, start_ms, step_ms, &found[place])?;
    }
    Ok(())
}

fn points(
    wanted: &[Point],
    start_ms: i64,
    step_ms: i64,
    found: &AnswerSeries,
) -> Result<(), String> {
    let places = wanted.iter().enumerate();
    let wanted = places.filter_map(|(at, point)| Some((start_ms + at as i64 * step_ms, (*point)?)));
    let wanted: Vec<(i64, f64)> = wanted.collect();
    let is_same = wanted.len() == found.samples.len()
        && wanted
            .iter()
            .zip(&found.samples)
            .all(|((t, v), (time, value))| t == time && agree(*v, *value));
    if is_same {
        return Ok(());
    }
    Err(format!(
        "{}: {:?} in place of {wanted:?}",
        found.labels, found.samples
    ))
}

fn notes(expected: &Expected, told: &Told) -> Result<(), String> {
    for (kind, text) in &expected.notes {
        let of_kind = if kind.ends_with("warn") {
            &told.warnings
        } else {
            &told.infos
        };
        if kind.starts_with("no_") {
            if !of_kind.is_empty() {
                return Err(format!("{kind}, but {of_kind:?}"));
            }
        } else if of_kind.is_empty() {
            return Err(format!("no {kind}"));
        } else if let Some(text) = text
            && !of_kind.contains(text)
        {
            return Err(format!("{of_kind:?} in place of {text:?}"));
        }
    }
    Ok(())
}

/// As Prometheus compares: relative difference below 1e-6.
fn agree(a: f64, b: f64) -> bool {
    if a.is_nan() || b.is_nan() || a == b {
        return a == b || (a.is_nan() && b.is_nan());
    }
    if a == 0.0 || b == 0.0 {
        return false;
    }
    (a - b).abs() / (a.abs() + b.abs()).min(f64::MAX) < 1e-6
}
