//! `GET /api/v1/runs`: traces that belong together, by links and sessions.

use std::sync::Arc;

use axum::extract::State;
use serde_json::{Value, json};

use super::{
    answer::{Answer, answered},
    asked,
    span_json::{milliseconds, time_text},
};
use crate::{
    api::{context::Edge, parameters::Parameters, problem::Problem},
    model::{AgentId, History, SpanFilter, Timestamp, TraceId, Window},
    traces::{Run, Runs, SESSION_KEYS},
};

/// Traces that one answer looks at.
const TRACES_MAX: usize = 50_000;
/// Runs of an answer, unless said otherwise, and at most.
const LIMIT: usize = 20;
const LIMIT_MAX: usize = 1_000;
/// What is looked at when the question names no beginning.
const WINDOW_MS: i64 = 24 * 3_600_000;

pub(in crate::api) const RUN_PARAMETERS: [&str; 5] = ["agent_id", "from", "to", "at", "limit"];

pub(in crate::api) async fn runs(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Answer, Problem> {
    answered(&edge, parameters, answer).await
}

pub(super) fn answer(
    history: &dyn History,
    now: Timestamp,
    parameters: &Parameters,
) -> Result<Answer, Problem> {
    let last_day = |to| Window::ending_at(to, WINDOW_MS);
    let window = parameters.closed_window(now, last_day)?;
    let agent = asked::filter(parameters)?.agent;
    let limit = asked::count(parameters, "limit", LIMIT, LIMIT_MAX)?;
    let mut runs = Runs::new(&SESSION_KEYS);
    let mut traces = 0;
    history.each_trace(window, &SpanFilter::default(), &mut |_, spans| {
        runs.add(&spans);
        traces += 1;
        traces < TRACES_MAX
    })?;
    let mut runs = runs.finish();
    runs.retain(|run| {
        agent
            .as_ref()
            .is_none_or(|agent| run.agents.contains(agent))
    });
    runs.sort_by_key(|run| std::cmp::Reverse((run.start_ns, run.traces.first().copied())));
    Ok(Answer::Json(json!({
        "runs": runs.iter().take(limit).map(run_json).collect::<Vec<_>>(),
        "from": window.from.to_rfc3339(),
        "to": window.to.to_rfc3339(),
        "traces": traces,
        "complete": traces < TRACES_MAX && runs.len() <= limit,
    })))
}

fn run_json(run: &Run) -> Value {
    json!({
        "traces": run.traces.iter().map(TraceId::to_string).collect::<Vec<_>>(),
        "sessions": run.sessions,
        "agents": run.agents.iter().map(AgentId::as_str).collect::<Vec<_>>(),
        "spans": run.spans,
        "links": run.links,
        "start_time": time_text(run.start_ns),
        "end_time": time_text(run.end_ns),
        "duration_ms": milliseconds(run.end_ns.saturating_sub(run.start_ns)),
    })
}
