//! One trace: its spans, its analysis, and what sets it apart from another.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::json;

use super::{
    answer::Answer,
    asked,
    span_json::{spans_json, trace_name},
};
use crate::{
    api::{context::Edge, parameters::Parameters, problem::Problem},
    ingest::{to_jaeger_json, to_otlp_json},
    model::{AgentStatus, History, Span, Timestamp, TraceId},
    report,
    traces::{self, AnalysisError, Detector, OpenState, WaterfallOptions},
};

/// How a trace is shown.
#[derive(Clone, Copy)]
enum Form {
    Json,
    Otlp,
    Jaeger,
    Text,
}

/// Parameters of a trace.
pub(in crate::api) const SHOW_PARAMETERS: [&str; 4] = ["format", "width", "limit", "colour"];
/// Columns and lines of a drawing, at most.
const WIDTH_MAX: usize = 1_000;
const LINES_MAX: usize = 100_000;

pub(in crate::api) async fn show(
    State(edge): State<Arc<Edge>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Answer, Problem> {
    let now = edge.now();
    edge.read(move |view| answer(&*view, now, &name, &parameters))
        .await
}

pub(super) fn answer(
    history: &dyn History,
    now: Timestamp,
    name: &str,
    parameters: &Parameters,
) -> Result<Answer, Problem> {
    let words = [
        ("json", Form::Json),
        ("otlp", Form::Otlp),
        ("jaeger", Form::Jaeger),
        ("text", Form::Text),
    ];
    let form = parameters.choice("format", &words)?.unwrap_or(Form::Json);
    let default = WaterfallOptions::default();
    let options = WaterfallOptions {
        width: asked::count(parameters, "width", default.width, WIDTH_MAX)?,
        limit: asked::count(parameters, "limit", default.limit, LINES_MAX)?,
        has_colour: parameters.choice("colour", &SWITCH)?.unwrap_or(false),
    };
    let (id, spans) = known(history, name)?;
    Ok(match form {
        Form::Json => Answer::Json(json!({
            "trace_id": trace_name(&spans, id),
            "spans": spans_json(&spans, |span| open_status(history, span, now)),
        })),
        Form::Otlp => Answer::Json(to_otlp_json(&spans)),
        Form::Jaeger => Answer::Json(json!({
            "data": [to_jaeger_json(&spans)],
            "total": 0, "limit": 0, "offset": 0, "errors": null,
        })),
        Form::Text => Answer::Text(traces::waterfall(&spans, options)),
    })
}

/// Words of a switch.
const SWITCH: [(&str, bool); 2] = [("true", true), ("false", false)];
/// Forms that differ in nothing but being text.
const IS_TEXT: [(&str, bool); 2] = [("json", false), ("text", true)];

pub(in crate::api) async fn analysis(
    State(edge): State<Arc<Edge>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Answer, Problem> {
    edge.read(move |view| analysed(&*view, &name, &parameters))
        .await
}

pub(super) fn analysed(
    history: &dyn History,
    name: &str,
    parameters: &Parameters,
) -> Result<Answer, Problem> {
    let is_text = parameters.choice("format", &IS_TEXT)?.unwrap_or(false);
    let (_, spans) = known(history, name)?;
    let analysis = traces::analyse(&spans).map_err(|error| refusal(error, name))?;
    Ok(if is_text {
        Answer::Text(traces::to_text(&analysis))
    } else {
        Answer::Json(traces::to_json(&analysis))
    })
}

pub(in crate::api) async fn compare(
    State(edge): State<Arc<Edge>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Answer, Problem> {
    edge.read(move |view| compared(&*view, &name, &parameters))
        .await
}

pub(super) fn compared(
    history: &dyn History,
    name: &str,
    parameters: &Parameters,
) -> Result<Answer, Problem> {
    let Some(other) = parameters.text("with") else {
        return Err(Problem::parameter(
            "with",
            "is missing: the trace to compare with",
        ));
    };
    let is_text = parameters.choice("format", &IS_TEXT)?.unwrap_or(false);
    let (_, before) = known(history, name)?;
    let (_, after) = known(history, other)?;
    let comparison = traces::compare(&before, &after);
    Ok(if is_text {
        Answer::Text(comparison.to_text())
    } else {
        Answer::Json(comparison.to_json())
    })
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
    let state = match verdict.map(|verdict| verdict.status) {
        Some(AgentStatus::Unhealthy | AgentStatus::Stale) => OpenState::Lost,
        _ if is_stalled(view, span) => OpenState::Stalled,
        _ => OpenState::Open,
    };
    state.as_str().to_owned()
}

/// Whether the detector of stalled work has an open alert that names the span: it knows how long work of its kind takes,
/// and its settings.
fn is_stalled(view: &dyn History, span: &Span) -> bool {
    let name = Detector::SilentStall.alert_name();
    let trace = span.trace_id.to_string();
    let book = view.book();
    let mut alerts = book.open.values().flatten().filter(|alert| {
        alert.name == name && alert.labels.iter().any(|(_, value)| *value == trace)
    });
    alerts.any(|alert| {
        let evidence = view.evidence(alert).unwrap_or_default();
        let mut spans = evidence.iter().flat_map(|evidence| &evidence.spans);
        spans.any(|shown| (shown.trace_id, shown.span_id) == (span.trace_id, span.span_id))
    })
}

/// No such trace, in the words of the document that longwatch follows.
pub(super) fn unknown(name: &str) -> Problem {
    refusal(AnalysisError::UnknownTrace, name)
}

fn refusal(error: AnalysisError, name: &str) -> Problem {
    let status = match error {
        AnalysisError::UnknownTrace => StatusCode::NOT_FOUND,
        AnalysisError::NoCompletedSpan => StatusCode::CONFLICT,
    };
    Problem::new(status, format!("{error} (trace `{name}`)"))
}
