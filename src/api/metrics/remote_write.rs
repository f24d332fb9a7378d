//! Remote write 1.0 and 2.0.
//!
//! Source: Prometheus Remote-Write Specifications 1.0 and 2.0.

use std::sync::Arc;

use axum::{
    extract::{FromRequest, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::record::record;
use crate::{
    api::{access::BoundAgent, body::Payload, context::Edge, problem::Problem},
    ingest::{
        BadRemoteWrite, BadSnappy, REMOTE_WRITE_BYTES_MAX, ReceivedMetrics, RemoteWriteVersion,
        parse_remote_write, unsnappy,
    },
    model::{AgentId, Batch},
};

/// Headers of version 2 that say what was written.
const WRITTEN: [&str; 3] = [
    "x-prometheus-remote-write-samples-written",
    "x-prometheus-remote-write-histograms-written",
    "x-prometheus-remote-write-exemplars-written",
];

pub(in crate::api) async fn write(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Problem> {
    let version = version_of(request.headers())?;
    let bound = BoundAgent::of(&request);
    let payload = Payload::from_request(request, &edge).await?;
    let rule = Arc::clone(&edge.settings.agent_rule);
    let limits = edge.context.limits.clone();
    let mut received = payload
        .as_sent(move |packed| {
            let body = unsnappy(packed, REMOTE_WRITE_BYTES_MAX)
                .map_err(|why| Problem::new(status_of(&why), why.to_string()))?;
            parse_remote_write(version, &body, &rule, &limits).map_err(refused)
        })
        .await?;
    let metrics = &edge.context.metrics;
    metrics.exemplars_dropped.inc_by(received.exemplars);
    if received.rejected > 0 {
        metrics.reject("malformed", received.rejected);
    }
    describe(&mut received);
    let is_others = record(&edge, &bound, &mut received).await?;
    let mut response = if received.rejected == 0 {
        StatusCode::NO_CONTENT.into_response()
    } else {
        // Never to be sent again: what is wrong with these samples will not change.
        let status = if is_others {
            StatusCode::FORBIDDEN
        } else {
            StatusCode::BAD_REQUEST
        };
        Problem::new(status, received.message()).into_response()
    };
    let written = [received.samples, received.histograms, 0];
    for (name, count) in WRITTEN.into_iter().zip(written) {
        let name = HeaderName::from_static(name);
        response
            .headers_mut()
            .insert(name, HeaderValue::from(count));
    }
    Ok(response)
}

/// The message that a body is, by its type and encoding.
fn version_of(headers: &HeaderMap) -> Result<RemoteWriteVersion, Problem> {
    let unsupported = |text: String| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
    let text = |name| {
        headers
            .get(name)
            .map(|value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()))
    };
    if let Some(encoding) = text(header::CONTENT_ENCODING)
        && !encoding.eq_ignore_ascii_case("snappy")
    {
        return Err(unsupported(format!("encoding `{encoding}` is not snappy")));
    }
    let Some(kind) = text(header::CONTENT_TYPE) else {
        return Ok(RemoteWriteVersion::V1);
    };
    let mut parts = kind.split(';').map(str::trim);
    if !parts
        .next()
        .is_some_and(|essence| essence.eq_ignore_ascii_case("application/x-protobuf"))
    {
        return Err(unsupported(format!(
            "`{kind}` is not application/x-protobuf"
        )));
    }
    let message = parts.find_map(|part| part.strip_prefix("proto="));
    match message.map(|name| name.trim_matches('"')) {
        None | Some("prometheus.WriteRequest") => Ok(RemoteWriteVersion::V1),
        Some("io.prometheus.write.v2.Request") => Ok(RemoteWriteVersion::V2),
        Some(other) => Err(unsupported(format!("message `{other}` is not known"))),
    }
}

fn status_of(why: &BadSnappy) -> StatusCode {
    match why {
        BadSnappy::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        BadSnappy::Damaged(_) => StatusCode::BAD_REQUEST,
    }
}

fn refused(error: BadRemoteWrite) -> Problem {
    let status = match error {
        BadRemoteWrite::Damaged { .. } => StatusCode::BAD_REQUEST,
        BadRemoteWrite::Limit(_) => StatusCode::PAYLOAD_TOO_LARGE,
    };
    Problem::new(status, error.to_string())
}

/// Metadata of version 1 name no series: they go to every agent of the body, or, as senders tell them apart from
/// samples, to the agent `remote`.
fn describe(received: &mut ReceivedMetrics) {
    let metadata = std::mem::take(&mut received.metadata);
    if metadata.is_empty() {
        return;
    }
    if received.parts.is_empty()
        && let Ok(agent) = AgentId::new("remote")
    {
        received.parts.push((agent, Batch::new()));
    }
    for (_, batch) in &mut received.parts {
        batch.metadata.extend(metadata.iter().cloned());
    }
}
