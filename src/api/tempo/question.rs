//! Parts of questions that all of Tempo's API shares.

use crate::{
    api::{parameters::Parameters, problem::Problem, traceql::parse_go_duration},
    model::{DAY_MS, Timestamp, Window},
};

/// A parameter that is there and not empty: forms send all their fields.
pub(super) fn given<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    parameters.text(name).filter(|text| !text.is_empty())
}

/// A whole number up to `max`.
pub(super) fn number(
    parameters: &Parameters,
    name: &str,
    max: usize,
) -> Result<Option<usize>, Problem> {
    let read = |text: &str| {
        let number = text.parse().ok().filter(|number| *number <= max);
        number.ok_or_else(|| {
            Problem::parameter(name, format!("`{text}` is no number from 0 to {max}"))
        })
    };
    given(parameters, name).map(read).transpose()
}

/// A duration as Go writes it, in nanoseconds.
pub(super) fn duration_ns(parameters: &Parameters, name: &str) -> Result<Option<i64>, Problem> {
    let read = |text: &str| {
        parse_go_duration(text).ok_or_else(|| {
            Problem::parameter(
                name,
                format!("`{text}` is no duration such as 1.2s or 100ms"),
            )
        })
    };
    given(parameters, name).map(read).transpose()
}

/// From `start` to `end`, unix seconds; all that is kept, where they are not given.
pub(super) fn window(parameters: &Parameters, now: Timestamp) -> Result<Window, Problem> {
    let seconds = |name| {
        let read = |text: &str| {
            let seconds: Option<i64> = text.parse().ok();
            let ms = seconds.and_then(|seconds| seconds.checked_mul(1_000));
            ms.map(Timestamp::from_millis)
                .ok_or_else(|| Problem::parameter(name, format!("`{text}` is no unix second")))
        };
        given(parameters, name).map(read).transpose()
    };
    // Clocks of agents may be ahead.
    let to = seconds("end")?.unwrap_or(now.plus_millis(DAY_MS));
    let from = seconds("start")?.unwrap_or(Timestamp::from_millis(i64::MIN));
    if from > to {
        return Err(Problem::parameter("start", "lies after `end`"));
    }
    Ok(Window::new(from, to))
}
