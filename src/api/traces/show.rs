//! One trace: its spans, its analysis, and what sets it apart from another.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::span_json::{spans_json, trace_name};
use crate::{
    api::{context::Edge, parameters::Parameters, problem::Problem},
    ingest::{to_jaeger_json, to_otlp_json},
    model::{AgentStatus, History, Span, Timestamp, TraceId},
    report,
    traces::{self, AnalysisError, WaterfallOptions},
};

/// How a trace is shown.
#[derive(Clone, Copy)]
enum Form {
    Json,
    Otlp,
    Jaeger,
    Text,
}

pub(in crate::api) async fn show(
    State(edge): State<Arc<Edge>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let words = [
        ("json", Form::Json),
        ("otlp", Form::Otlp),
        ("jaeger", Form::Jaeger),
        ("text", Form::Text),
    ];
    let form = parameters.choice("format", &words)?.unwrap_or(Form::Json);
    let now = edge.now();
    edge.read(move |view| {
        let (id, spans) = known(&*view, &name)?;
        Ok(match form {
            Form::Json => Json(json!({
                "trace_id": trace_name(&spans, id),
                "spans": spans_json(&spans, |span| open_status(&*view, span, now)),
            }))
            .into_response(),
            Form::Otlp => Json(to_otlp_json(&spans)).into_response(),
            Form::Jaeger => Json(json!({
                "data": [to_jaeger_json(&spans)],
                "total": 0, "limit": 0, "offset": 0, "errors": null,
            }))
            .into_response(),
            Form::Text => text(traces::waterfall(&spans, WaterfallOptions::default())),
        })
    })
    .await
}

pub(in crate::api) async fn analysis(
    State(edge): State<Arc<Edge>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let as_text = parameters
        .choice("format", &[("json", false), ("text", true)])?
        .unwrap_or(false);
    edge.read(move |view| {
        let (_, spans) = known(&*view, &name)?;
        let analysis = traces::analyse(&spans).map_err(|error| refusal(&error, &name))?;
        Ok(if as_text {
            text(traces::to_text(&analysis))
        } else {
            Json(traces::to_json(&analysis)).into_response()
        })
    })
    .await
}

pub(in crate::api) async fn compare(
    State(edge): State<Arc<Edge>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let Some(other) = parameters.text("with").map(str::to_owned) else {
        return Err(Problem::parameter(
            "with",
            "is missing: the trace to compare with",
        ));
    };
    let as_text = parameters
        .choice("format", &[("json", false), ("text", true)])?
        .unwrap_or(false);
    edge.read(move |view| {
        let (_, before) = known(&*view, &name)?;
        let (_, after) = known(&*view, &other)?;
        let comparison = traces::compare(&before, &after);
        Ok(if as_text {
            text(comparison.to_text())
        } else {
            Json(comparison.to_json()).into_response()
        })
    })
    .await
}

/// A trace by the name that a client gave it, or by its id.
pub(super) fn known(view: &dyn History, name: &str) -> Result<(TraceId, Vec<Span>), Problem> {
    let id = TraceId::of_text(name).0;
    let spans = view.trace(id)?;
    if spans.is_empty() {
        return Err(unknown(name));
    }
    Ok((id, spans))
}

/// The status of a span, or the state that an open one is in.
pub(super) fn open_status(view: &dyn History, span: &Span, now: Timestamp) -> String {
    if !span.is_open() {
        return span.status_word().to_owned();
    }
    let agent = view.agent(&span.agent, now);
    let verdict = agent.and_then(|agent| report::agent_status(view, &agent, now).ok());
    match verdict.map(|verdict| verdict.status) {
        Some(AgentStatus::Unhealthy | AgentStatus::Stale) => "lost".to_owned(),
        _ => "open".to_owned(),
    }
}

/// No such trace, in the words of the document that longwatch follows.
pub(super) fn unknown(name: &str) -> Problem {
    refusal(&AnalysisError::UnknownTrace, name)
}

fn refusal(error: &AnalysisError, name: &str) -> Problem {
    let status = match error {
        AnalysisError::UnknownTrace => StatusCode::NOT_FOUND,
        AnalysisError::NoCompletedSpan => StatusCode::CONFLICT,
    };
    Problem::new(status, format!("{error} (trace `{name}`)"))
}

pub(super) fn text(body: String) -> Response {
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    ([(header::CONTENT_TYPE, plain)], body).into_response()
}
