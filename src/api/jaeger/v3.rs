//! Version 3 of the API: traces as OTLP.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};

use super::{
    answer::V3,
    question::Question,
    services::{asked, listed, names, of_service},
    traces::not_found,
};
use crate::{
    api::{
        context::Edge,
        parameters::Parameters,
        trace_search::{WholeTraces, trace_id_of, whole_trace},
    },
    ingest::to_otlp_json,
};

/// Of `/operations`.
pub(in crate::api) const OPERATION_PARAMETERS: [&str; 2] = ["service", "span_kind"];
/// Of `/traces/{id}`; all that is kept of the trace is told, whatever they say.
pub(in crate::api) const TRACE_PARAMETERS: [&str; 3] = ["start_time", "end_time", "raw_traces"];

pub(in crate::api) async fn services(State(edge): State<Arc<Edge>>) -> Result<Json<Value>, V3> {
    let names = names(&edge).await?;
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    Ok(Json(json!({"services": names})))
}

pub(in crate::api) async fn operations(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Json<Value>, V3> {
    let (service, kind) = asked(&parameters, "span_kind")?;
    let operations = of_service(&edge, service, kind).await?;
    Ok(Json(json!({"operations": listed(&operations)})))
}

pub(in crate::api) async fn search(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Json<Value>, V3> {
    let question = Question::read_v3(&parameters, edge.now())?;
    let told = edge
        .read(move |view| {
            let found = WholeTraces::search(&*view, &question.query)?;
            Ok(to_otlp_json(&found.traces.concat()))
        })
        .await?;
    Ok(Json(json!({"result": told})))
}

pub(in crate::api) async fn show(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, V3> {
    let id = trace_id_of(&id)?;
    let told = edge
        .read(move |view| {
            let spans = whole_trace(&*view, id)?.ok_or_else(not_found)?;
            Ok(to_otlp_json(&spans))
        })
        .await?;
    Ok(Json(json!({"result": told})))
}
