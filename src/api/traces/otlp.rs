//! OTLP over HTTP: `/v1/traces` and `/v1/logs`, as protobuf and as JSON; answers and errors come in the request's form.
//! Source: OpenTelemetry Protocol Specification 1.9, "OTLP/HTTP".

use std::{collections::HashSet, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::intake::{Refused, open_of_others, take};
use crate::{
    api::{access::BoundAgent, body::Payload, context::Edge, problem::Problem},
    ingest::{
        self, OtlpFormat, PartialEvent, Received, ReceivedLogs, otlp_error, otlp_logs_response,
        otlp_response,
    },
    store::SpanChange,
};

/// Numbers of `google.rpc.Code`.
mod code {
    pub(super) const INVALID_ARGUMENT: i32 = 3;
    pub(super) const PERMISSION_DENIED: i32 = 7;
    pub(super) const RESOURCE_EXHAUSTED: i32 = 8;
    pub(super) const INTERNAL: i32 = 13;
    pub(super) const UNAVAILABLE: i32 = 14;
}

pub(in crate::api) async fn traces(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Problem> {
    let format = format_of(request.headers())?;
    let bound = BoundAgent::of(&request);
    Ok(match take_traces(&edge, &bound, format, request).await {
        Ok(received) => answer(StatusCode::OK, format, otlp_response(&received, format)),
        Err(problem) => failure(problem, format),
    })
}

async fn take_traces(
    edge: &Arc<Edge>,
    bound: &BoundAgent,
    format: OtlpFormat,
    request: Request,
) -> Result<Received, Problem> {
    let payload = Payload::from_request(request, edge).await?;
    take_payload(edge, bound, format, payload).await
}

/// The same of a message that gRPC brought.
pub(super) async fn take_protobuf(
    edge: &Arc<Edge>,
    bound: &BoundAgent,
    message: Bytes,
) -> Result<Received, Problem> {
    let payload = Payload::plain(message, edge);
    take_payload(edge, bound, OtlpFormat::Protobuf, payload).await
}

async fn take_payload(
    edge: &Arc<Edge>,
    bound: &BoundAgent,
    format: OtlpFormat,
    payload: Payload,
) -> Result<Received, Problem> {
    let limits = edge.context.traces.limits.clone();
    let mut received = payload
        .parsed(move |body| {
            Ok(match format {
                OtlpFormat::Protobuf => ingest::parse_otlp_protobuf(body, &limits)?,
                OtlpFormat::Json => ingest::parse_otlp_json(body, &limits)?,
            })
        })
        .await?;
    if received.rejected > 0 {
        let metrics = &edge.context.metrics;
        metrics.reject_spans("malformed", received.rejected as u64);
    }
    let refused = take(edge, bound, std::mem::take(&mut received.spans)).await?;
    add(&mut received, refused);
    Ok(received)
}

/// Puts spans that were refused later beside those that could not be read.
pub(super) fn add(received: &mut Received, refused: Refused) {
    received.rejected += refused.count;
    received.errors.extend(refused.reasons);
}

pub(in crate::api) async fn logs(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Problem> {
    let format = format_of(request.headers())?;
    let bound = BoundAgent::of(&request);
    Ok(match take_logs(&edge, &bound, format, request).await {
        Ok(received) => answer(
            StatusCode::OK,
            format,
            otlp_logs_response(&received, format),
        ),
        Err(problem) => failure(problem, format),
    })
}

async fn take_logs(
    edge: &Arc<Edge>,
    bound: &BoundAgent,
    format: OtlpFormat,
    request: Request,
) -> Result<ReceivedLogs, Problem> {
    let payload = Payload::from_request(request, edge).await?;
    take_records(edge, bound, format, payload).await
}

/// The same of a message that gRPC brought.
pub(super) async fn take_log_records(
    edge: &Arc<Edge>,
    bound: &BoundAgent,
    message: Bytes,
) -> Result<ReceivedLogs, Problem> {
    let payload = Payload::plain(message, edge);
    take_records(edge, bound, OtlpFormat::Protobuf, payload).await
}

async fn take_records(
    edge: &Arc<Edge>,
    bound: &BoundAgent,
    format: OtlpFormat,
    payload: Payload,
) -> Result<ReceivedLogs, Problem> {
    let limits = edge.context.traces.limits.clone();
    let mut received = payload
        .parsed(move |body| {
            Ok(match format {
                OtlpFormat::Protobuf => ingest::parse_otlp_logs_protobuf(body, &limits)?,
                OtlpFormat::Json => ingest::parse_otlp_logs_json(body, &limits)?,
            })
        })
        .await?;
    let mut open = Vec::new();
    let mut stopped = Vec::new();
    for event in std::mem::take(&mut received.events) {
        match event {
            PartialEvent::Open(span) => open.push(*span),
            PartialEvent::Stopped(trace_id, span_id) => stopped.push((trace_id, span_id)),
        }
    }
    // A span that is told and stopped in one body is not open after it.
    let keys: HashSet<_> = stopped.iter().copied().collect();
    open.retain(|span| !keys.contains(&(span.trace_id, span.span_id)));
    let others = open_of_others(&edge.context, bound);
    stopped.retain(|key| !others.contains_key(key));
    let refused = take(edge, bound, open).await?;
    received.rejected += refused.count;
    received.errors.extend(refused.reasons);
    if !stopped.is_empty() {
        let change = SpanChange::Forget(stopped);
        edge.context.store.change_spans(change, Vec::new()).await?;
    }
    Ok(received)
}

/// The form of a body; without a type it is taken for protobuf, which is what the specification begins with.
pub(in crate::api) fn format_of(headers: &HeaderMap) -> Result<OtlpFormat, Problem> {
    let given = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok());
    let essence = given.map(|text| {
        text.split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
    });
    match essence.as_deref() {
        None | Some("application/x-protobuf" | "application/protobuf") => Ok(OtlpFormat::Protobuf),
        Some("application/json") => Ok(OtlpFormat::Json),
        Some(other) => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("`{other}` is neither application/x-protobuf nor application/json"),
        )),
    }
}

pub(in crate::api) fn answer(status: StatusCode, format: OtlpFormat, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let media_type = HeaderValue::from_static(format.media_type());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, media_type);
    response
}

/// A problem as a `google.rpc.Status`, with the status and headers that it has elsewhere. A full disk is 503 here,
/// since clients give spans up at a status that they do not know as passing.
pub(in crate::api) fn failure(problem: Problem, format: OtlpFormat) -> Response {
    let status = match problem.status {
        StatusCode::INSUFFICIENT_STORAGE => StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        status => status,
    };
    let number = match status {
        StatusCode::SERVICE_UNAVAILABLE => code::UNAVAILABLE,
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => code::PERMISSION_DENIED,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS => code::RESOURCE_EXHAUSTED,
        status if status.is_client_error() => code::INVALID_ARGUMENT,
        _ => code::INTERNAL,
    };
    let body = otlp_error(format, number, &problem.detail);
    let told = problem.into_response();
    let mut response = answer(status, format, body);
    for name in [header::RETRY_AFTER, header::CONNECTION] {
        if let Some(value) = told.headers().get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}
