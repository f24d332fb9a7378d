//! `GET /api/v1/traces` and `GET /api/v1/spans/open`.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{
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
    model::TraceQuery,
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

pub(in crate::api) async fn list(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    let now = edge.now();
    let query = TraceQuery {
        window: asked::window(&parameters, now)?,
        filter: asked::filter(&parameters)?,
        after: asked::cursor(&parameters)?,
        limit: asked::count(&parameters, "limit", LIMIT, LIMIT_MAX)?,
    };
    edge.read(move |view| {
        let page = view.find_traces(&query)?;
        Ok(Json(json!({
            "traces": page.traces.iter().map(summary_json).collect::<Vec<_>>(),
            "next": page.next.map(asked::cursor_text),
        })))
    })
    .await
}

pub(in crate::api) async fn open_spans(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    let now = edge.now();
    let filter = asked::filter(&parameters)?;
    edge.read(move |view| {
        let spans = view.open_spans();
        let fitting = spans.iter().filter(|span| filter.fits(span));
        let told = fitting.map(|span| span_json(span, &open_status(&*view, span, now)));
        Ok(Json(json!({ "spans": told.collect::<Vec<_>>() })))
    })
    .await
}
