//! `GET /api/v1/agent-graph`: who calls whom.

use std::sync::Arc;

use axum::extract::State;
use serde_json::json;

use super::{
    answer::{Answer, answered},
    asked,
};
use crate::{
    api::{context::Edge, parameters::Parameters, problem::Problem},
    model::{History, SpanFilter, Timestamp, Window},
    traces::AgentGraph,
};

/// Traces that one answer looks at.
const TRACES_MAX: usize = 50_000;
/// What is looked at when the question names no beginning.
const WINDOW_MS: i64 = 24 * 3_600_000;

pub(in crate::api) const GRAPH_PARAMETERS: [&str; 4] = ["from", "to", "at", "limit"];

pub(in crate::api) async fn agent_graph(
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
    let traces_max = asked::count(parameters, "limit", TRACES_MAX, TRACES_MAX)?;
    let mut graph = AgentGraph::default();
    let mut traces = 0;
    history.each_trace(window, &SpanFilter::default(), &mut |_, spans| {
        graph.add(&spans);
        traces += 1;
        traces < traces_max
    })?;
    let mut answer = graph.to_json();
    answer["from"] = window.from.to_rfc3339().into();
    answer["to"] = window.to.to_rfc3339().into();
    answer["traces"] = json!(traces);
    answer["complete"] = json!(traces < traces_max);
    Ok(Answer::Json(answer))
}
