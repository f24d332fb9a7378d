//! One trace as OTLP, and what Grafana asks before it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use prost::Message;
use serde_json::{Value, json};

use crate::{
    api::{
        context::Edge,
        problem::Problem,
        trace_search::{trace_id_of, whole_trace},
    },
    ingest::{to_otlp_json, to_otlp_protobuf},
    model::Span,
};

/// Of a trace: all that is kept of it is told, whatever they say.
pub(in crate::api) const PARAMETERS: [&str; 4] = ["start", "end", "mode", "rf1After"];

const PROTOBUF: &str = "application/protobuf";

pub(in crate::api) async fn echo() -> &'static str {
    "echo"
}

/// longwatch's own version: Grafana asks for nothing that newer versions of Tempo brought.
pub(in crate::api) async fn build_info() -> Json<Value> {
    Json(
        json!({"version": env!("CARGO_PKG_VERSION"), "revision": "", "branch": "", "buildUser": "",
        "buildDate": "", "goVersion": ""}),
    )
}

/// Tempo's answer of version 2: the trace as bytes, which are those of a `TracesData` of OTLP.
#[derive(Clone, PartialEq, Message)]
struct TraceByIdResponse {
    #[prost(bytes = "vec", tag = "1")]
    trace: Vec<u8>,
}

pub(in crate::api) async fn trace(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let batches = |spans: &[Span]| {
        let mut told = to_otlp_json(spans);
        json!({"batches": told["resourceSpans"].take()})
    };
    answer(&edge, &id, &headers, to_otlp_protobuf, batches).await
}

pub(in crate::api) async fn trace_v2(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wrapped = |spans: &[Span]| {
        let trace = to_otlp_protobuf(spans);
        TraceByIdResponse { trace }.encode_to_vec()
    };
    let json = |spans: &[Span]| json!({"trace": to_otlp_json(spans)});
    answer(&edge, &id, &headers, wrapped, json).await
}

async fn answer(
    edge: &Edge,
    id: &str,
    headers: &HeaderMap,
    protobuf: impl FnOnce(&[Span]) -> Vec<u8> + Send + 'static,
    json: impl FnOnce(&[Span]) -> Value + Send + 'static,
) -> Result<Response, Problem> {
    let id = trace_id_of(id)?;
    let accepted = headers.get_all(header::ACCEPT).iter();
    let wants_protobuf = accepted
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains(PROTOBUF));
    edge.read(move |view| {
        let spans = whole_trace(&*view, id)?;
        let spans = spans.ok_or_else(|| {
            Problem::new(StatusCode::NOT_FOUND, format!("there is no trace {id}"))
        })?;
        if !wants_protobuf {
            return Ok(Json(json(&spans)).into_response());
        }
        let mut response = protobuf(&spans).into_response();
        let kind = HeaderValue::from_static(PROTOBUF);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok(response)
    })
    .await
}
