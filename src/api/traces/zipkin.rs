//! Zipkin v2: `POST /api/v2/spans`.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};

use super::{intake::take, otlp::add};
use crate::{
    api::{access::BoundAgent, body::Payload, context::Edge, problem::Problem},
    ingest,
};

/// Takes spans; 202 as Zipkin has it. Spans that are refused are told of in an answer of 400 once the others are kept,
/// since Zipkin has no partial success.
pub(in crate::api) async fn spans(
    State(edge): State<Arc<Edge>>,
    bound: BoundAgent,
    payload: Payload,
) -> Result<StatusCode, Problem> {
    let limits = edge.context.traces.limits.clone();
    let mut received = payload
        .parsed(move |body| Ok(ingest::parse_zipkin(body, &limits)?))
        .await?;
    if received.rejected > 0 {
        let metrics = &edge.context.metrics;
        metrics.reject_spans("malformed", received.rejected as u64);
    }
    let refused = take(&edge, &bound, std::mem::take(&mut received.spans)).await?;
    add(&mut received, refused);
    if received.rejected == 0 {
        return Ok(StatusCode::ACCEPTED);
    }
    Err(Problem::new(
        StatusCode::BAD_REQUEST,
        format!(
            "{} spans were refused, the others are kept: {}",
            received.rejected,
            received.message()
        ),
    ))
}
