//! What of traces a request asks for.

use crate::{
    api::{parameters::Parameters, problem::Problem},
    model::{AgentId, SpanFilter, Timestamp, TraceCursor, TraceId, Window},
};

/// What one span must be like.
pub(super) fn filter(parameters: &Parameters) -> Result<SpanFilter, Problem> {
    let agent = parameters.text("agent_id").map(AgentId::new).transpose();
    let duration_ns = |name: &str| -> Result<Option<i64>, Problem> {
        let ms = parameters.duration_ms(name)?;
        Ok(ms.map(|ms| ms.saturating_mul(1_000_000)))
    };
    let filter = SpanFilter {
        agent: agent.map_err(|why| Problem::parameter("agent_id", why.to_string()))?,
        service: parameters.text("service").map(str::to_owned),
        operation: parameters.text("operation").map(str::to_owned),
        status: parameters.text("status").map(str::to_owned),
        min_duration_ns: duration_ns("min_duration")?,
        max_duration_ns: duration_ns("max_duration")?,
        attributes: parameters
            .attributes()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        error_text: parameters.text("error").map(str::to_owned),
    };
    if let (Some(min), Some(max)) = (filter.min_duration_ns, filter.max_duration_ns)
        && min > max
    {
        return Err(Problem::parameter(
            "min_duration",
            "is longer than `max_duration`",
        ));
    }
    Ok(filter)
}

/// The window that traces begin in, both ends included; all that is kept unless `from` says otherwise.
pub(super) fn window(parameters: &Parameters, now: Timestamp) -> Result<Window, Problem> {
    parameters.closed_window(now, |to| Window::closed(Timestamp::MIN, to))
}

/// A number from 1 to `most`.
pub(super) fn count(
    parameters: &Parameters,
    name: &str,
    default: usize,
    most: usize,
) -> Result<usize, Problem> {
    let Some(text) = parameters.text(name) else {
        return Ok(default);
    };
    let count = text.parse().ok().filter(|count| (1..=most).contains(count));
    count.ok_or_else(|| Problem::parameter(name, format!("must be a number from 1 to {most}")))
}

/// The place that a page before ended at, as [`cursor_text`] writes it.
pub(super) fn cursor(parameters: &Parameters) -> Result<Option<TraceCursor>, Problem> {
    let Some(text) = parameters.text("cursor") else {
        return Ok(None);
    };
    let read = text.split_once('-').and_then(|(start, id)| {
        Some(TraceCursor {
            start_ns: start.parse().ok()?,
            trace_id: TraceId::from_hex(id)?,
        })
    });
    let read = read.ok_or_else(|| Problem::parameter("cursor", "is none that `next` told"));
    read.map(Some)
}

pub(super) fn cursor_text(cursor: TraceCursor) -> String {
    format!("{}-{}", cursor.start_ns, cursor.trace_id)
}
