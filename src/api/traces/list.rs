//! `GET /api/v1/traces` and `GET /api/v1/spans/open`.

use std::sync::Arc;

use axum::extract::State;
use serde_json::json;

use super::{
    answer::{Answer, answered},
    asked,
    show::open_status,
    span_json::{span_json, summary_json},
};
use crate::{
    api::{
        context::Edge,
        parameters::{ANY_ATTRIBUTE, Parameters},
        problem::Problem,
    },
    model::{History, Timestamp, TraceQuery},
};

/// Traces of one page, unless said otherwise, and at most.
const LIMIT: usize = 20;
const LIMIT_MAX: usize = 1_000;

pub(in crate::api) const LIST_PARAMETERS: [&str; 13] = [
    "agent_id",
    "service",
    "operation",
    "status",
    "min_duration",
    "max_duration",
    "error",
    ANY_ATTRIBUTE,
    "from",
    "to",
    "at",
    "limit",
    "cursor",
];

/// Parameters of the list of open spans.
pub(in crate::api) const OPEN_PARAMETERS: [&str; 4] =
    ["agent_id", "service", "operation", ANY_ATTRIBUTE];

pub(in crate::api) async fn list(
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
    let query = TraceQuery {
        window: asked::window(parameters, now)?,
        filter: asked::filter(parameters)?,
        after: asked::cursor(parameters)?,
        limit: asked::count(parameters, "limit", LIMIT, LIMIT_MAX)?,
    };
    let page = history.find_traces(&query)?;
    Ok(Answer::Json(json!({
        "traces": page.traces.iter().map(summary_json).collect::<Vec<_>>(),
        "next": page.next.map(asked::cursor_text),
    })))
}

pub(in crate::api) async fn open_spans(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Answer, Problem> {
    answered(&edge, parameters, open).await
}

pub(super) fn open(
    history: &dyn History,
    now: Timestamp,
    parameters: &Parameters,
) -> Result<Answer, Problem> {
    let filter = asked::filter(parameters)?;
    let spans = history.open_spans();
    let fitting = spans.iter().filter(|span| filter.fits(span));
    let told = fitting.map(|span| span_json(span, &open_status(history, span, now)));
    Ok(Answer::Json(json!({ "spans": told.collect::<Vec<_>>() })))
}
