//! `GET /api/v1/agent-graph`: who calls whom.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::asked;
use crate::{
    api::{context::Edge, parameters::Parameters, problem::Problem},
    model::{SpanFilter, Window},
    traces::AgentGraph,
};

/// Traces that one answer looks at.
const TRACES_MAX: usize = 50_000;
/// What is looked at when the question names no beginning.
const WINDOW_MS: i64 = 24 * 3_600_000;

pub(in crate::api) async fn agent_graph(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    let last_day = |to| Window::ending_at(to, WINDOW_MS);
    let window = parameters.closed_window(edge.now(), last_day)?;
    let traces_max = asked::count(&parameters, "limit", TRACES_MAX, TRACES_MAX)?;
    edge.read(move |view| {
        let mut graph = AgentGraph::default();
        let mut traces = 0;
        view.each_trace(window, &SpanFilter::default(), &mut |_, spans| {
            graph.add(&spans);
            traces += 1;
            traces < traces_max
        })?;
        let mut answer = graph.to_json();
        answer["from"] = window.from.to_rfc3339().into();
        answer["to"] = window.to.to_rfc3339().into();
        answer["traces"] = json!(traces);
        answer["complete"] = json!(traces < traces_max);
        Ok(Json(answer))
    })
    .await
}
