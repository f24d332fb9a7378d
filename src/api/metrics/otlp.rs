//! OTLP metrics over HTTP: `/v1/metrics`, as protobuf and as JSON; answers and errors come in the request's form.

use std::sync::Arc;

use axum::{
    extract::{FromRequest, Request, State},
    http::StatusCode,
    response::Response,
};

use super::record::record;
use crate::{
    api::{
        access::BoundAgent,
        body::Payload,
        context::{Edge, blocking},
        problem::Problem,
        traces::{otlp_answer, otlp_failure, otlp_format},
    },
    ingest::{
        OtlpFormat, ReceivedMetrics, otlp_metrics_response, parse_otlp_metrics_json,
        parse_otlp_metrics_protobuf,
    },
};

pub(in crate::api) async fn metrics(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Problem> {
    let format = otlp_format(request.headers())?;
    let bound = BoundAgent::of(&request);
    Ok(match take(&edge, &bound, format, request).await {
        Ok(received) => otlp_answer(
            StatusCode::OK,
            format,
            otlp_metrics_response(&received, format),
        ),
        Err(problem) => otlp_failure(problem, format),
    })
}

async fn take(
    edge: &Arc<Edge>,
    bound: &BoundAgent,
    format: OtlpFormat,
    request: Request,
) -> Result<ReceivedMetrics, Problem> {
    let payload = Payload::from_request(request, edge).await?;
    let rule = Arc::clone(&edge.settings.agent_rule);
    let limits = edge.context.limits.clone();
    let mut received = payload
        .parsed(move |body| {
            Ok(match format {
                OtlpFormat::Protobuf => parse_otlp_metrics_protobuf(body, &rule, &limits)?,
                OtlpFormat::Json => parse_otlp_metrics_json(body, &rule, &limits)?,
            })
        })
        .await?;
    let metrics = &edge.context.metrics;
    metrics.exemplars_dropped.inc_by(received.exemplars);
    if received.rejected > 0 {
        metrics.reject("malformed", received.rejected);
    }
    if !received.deltas.is_empty() {
        let (edge, bound) = (Arc::clone(edge), bound.clone());
        received = blocking(move || {
            accumulate(&edge, &bound, &mut received);
            Ok(received)
        })
        .await?;
    }
    record(edge, bound, &mut received).await?;
    Ok(received)
}

/// Increments become totals, which are kept since the start of the server.
fn accumulate(edge: &Edge, bound: &BoundAgent, received: &mut ReceivedMetrics) {
    let deltas = std::mem::take(&mut received.deltas);
    let now = edge.now();
    let mut totals = edge.totals.lock();
    for delta in deltas {
        // What may not be written must not count.
        if !bound.allows(&delta.agent) {
            let agent = &delta.agent;
            let count = delta.len() as u64;
            received.reject(count, || {
                format!("this token may not write as agent `{agent}`")
            });
            continue;
        }
        let sum = totals.add(&delta, now);
        received.rejected += sum.rejected;
        received.reasons.extend(sum.reasons);
        received.parts.push((delta.agent, sum.batch));
    }
}
