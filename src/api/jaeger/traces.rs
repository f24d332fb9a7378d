//! Traces in the JSON of Jaeger's user interface.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::{Value, json};

use super::{
    answer::{V1, answer},
    question::Question,
};
use crate::{
    api::{
        context::Edge,
        parameters::Parameters,
        problem::Problem,
        trace_search::{WholeTraces, trace_id_of, whole_trace},
    },
    ingest::to_jaeger_json,
};

/// Of `/traces/{id}`; all that is kept of the trace is told, whatever they say.
pub(in crate::api) const TRACE_PARAMETERS: [&str; 4] = ["prettyPrint", "raw", "start", "end"];

/// Traces that one question may name.
const IDS_MAX: usize = 1_000;

pub(super) const NOT_FOUND: &str = "trace not found";

pub(super) fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, NOT_FOUND)
}

pub(in crate::api) async fn search(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Json<Value>, V1> {
    let ids: Vec<String> = parameters.all("traceID").map(str::to_owned).collect();
    if !ids.is_empty() {
        return Ok(by_ids(&edge, ids).await?);
    }
    let question = Question::read(&parameters, edge.now())?;
    let data = edge
        .read(move |view| {
            let mut found = WholeTraces::search(&*view, &question.query)?;
            let is_asked = |start| question.is_asked(start);
            found
                .traces
                .retain(|spans| spans.first().is_some_and(|span| is_asked(span.start_ns)));
            let traces = found.traces.iter().map(|spans| to_jaeger_json(spans));
            Ok(traces.collect::<Vec<_>>())
        })
        .await?;
    Ok(answer(data, 0))
}

/// The traces of these ids, and an error for each that is not there.
async fn by_ids(edge: &Edge, texts: Vec<String>) -> Result<Json<Value>, Problem> {
    if texts.len() > IDS_MAX {
        let what = format!("is given more than {IDS_MAX} times");
        return Err(Problem::parameter("traceID", what));
    }
    let mut ids = Vec::new();
    for text in texts {
        let id = trace_id_of(&text).map_err(|why| Problem::parameter("traceID", why.detail))?;
        if !ids.iter().any(|(_, known)| *known == id) {
            ids.push((text, id));
        }
    }
    edge.read(move |view| {
        let (mut found, mut errors) = (WholeTraces::default(), Vec::new());
        for (text, id) in ids {
            match whole_trace(&*view, id)? {
                Some(spans) => found.add(spans)?,
                None => errors.push(json!({"code": 404, "msg": NOT_FOUND, "traceID": text})),
            }
        }
        let traces = found.traces.iter().map(|spans| to_jaeger_json(spans));
        let Json(mut told) = answer(traces.collect::<Vec<_>>(), 0);
        if !errors.is_empty() {
            told["errors"] = errors.into();
        }
        Ok(Json(told))
    })
    .await
}

pub(in crate::api) async fn show(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, V1> {
    let id = trace_id_of(&id)?;
    let trace = edge
        .read(move |view| {
            let spans = whole_trace(&*view, id)?.ok_or_else(not_found)?;
            Ok(to_jaeger_json(&spans))
        })
        .await?;
    Ok(answer(vec![trace], 0))
}
