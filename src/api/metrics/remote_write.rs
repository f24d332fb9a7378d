//! Remote write 1.0 and 2.0.
//!
//! Source: Prometheus Remote-Write Specifications 1.0 and 2.0.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

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
    model::{AgentId, Batch, History, MetricMetadata, SeriesKey},
};

/// Headers of version 2 that say what was written.
const WRITTEN: [&str; 3] = [
    "x-prometheus-remote-write-samples-written",
    "x-prometheus-remote-write-histograms-written",
    "x-prometheus-remote-write-exemplars-written",
];

/// Bytes of metadata that the agents of one body get.
const DESCRIBED_BYTES_MAX: usize = 8 << 20;

/// What the series of a histogram or summary have behind the metric's name.
const PARTS: [&str; 3] = ["_bucket", "_count", "_sum"];

pub(in crate::api) async fn write(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Problem> {
    let version = version_of(request.headers())?;
    let bound = BoundAgent::of(&request);
    let payload = Payload::from_request(request, &edge).await?;
    let rule = Arc::clone(&edge.settings.agent_rule);
    let limits = edge.context.limits.clone();
    let cache = Arc::clone(&edge.named_series);
    let writer = bound.clone();
    let mut received = payload
        .sent(move |packed| {
            let body = unsnappy(packed, REMOTE_WRITE_BYTES_MAX)
                .map_err(|why| Problem::new(status_of(&why), why.to_string()))?;
            let mut received = parse_remote_write(version, &body, &rule, &limits, &cache)
                .map_err(|error| refused(&error))?;
            describe_parts(&mut received, &writer);
            Ok(received)
        })
        .await?;
    let metrics = &edge.context.metrics;
    metrics.exemplars_dropped.inc_by(received.exemplars);
    if received.rejected > 0 {
        metrics.reject("malformed", received.rejected);
    }
    describe(&edge, &bound, &mut received).await?;
    record(&edge, &bound, &mut received).await?;
    let mut response = if received.rejected == 0 {
        StatusCode::NO_CONTENT.into_response()
    } else {
        // Never to be sent again: what is wrong with these samples will not change. Nor will whose they are: 403 would
        // have senders wait for better credentials.
        Problem::new(StatusCode::BAD_REQUEST, received.message()).into_response()
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

fn refused(error: &BadRemoteWrite) -> Problem {
    let status = match error {
        BadRemoteWrite::Damaged { .. } => StatusCode::BAD_REQUEST,
        BadRemoteWrite::Limit(_) => StatusCode::PAYLOAD_TOO_LARGE,
    };
    Problem::new(status, error.to_string())
}

/// Takes metadata of version 1, which name no series and come apart from samples: each goes to the first agent that has
/// such a metric from a sender like this. What nobody has is left out; senders repeat it every minute.
async fn describe(
    edge: &Arc<Edge>,
    bound: &BoundAgent,
    received: &mut ReceivedMetrics,
) -> Result<(), Problem> {
    let metadata = std::mem::take(&mut received.metadata);
    if metadata.is_empty() {
        return Ok(());
    }
    let bound = bound.clone();
    let told = edge
        .read(move |view| Ok(owners(&*view, &bound, metadata)))
        .await?;
    for (agent, metadata) in told {
        let known = received.parts.iter_mut().find(|(known, _)| *known == agent);
        if let Some((_, batch)) = known {
            batch.metadata.extend(metadata);
            continue;
        }
        let mut batch = Batch::new();
        batch.metadata = metadata;
        received.parts.push((agent, batch));
    }
    Ok(())
}

/// Gives metadata to the agents whose series of such a metric are in the same body; what nobody there has stays.
fn describe_parts(received: &mut ReceivedMetrics, bound: &BoundAgent) {
    let metadata = std::mem::take(&mut received.metadata);
    if metadata.is_empty() {
        return;
    }
    let wanted: HashMap<String, MetricMetadata> = metadata
        .into_iter()
        .map(|told| (told.name.clone(), told))
        .collect();
    let mut found: HashSet<&str> = HashSet::new();
    let mut bytes_left = DESCRIBED_BYTES_MAX;
    let parts = received.parts.iter_mut();
    for (_, batch) in parts.filter(|(agent, _)| bound.allows(agent)) {
        let mut of_part: HashSet<&str> = HashSet::new();
        for row in batch.rows() {
            let key = SeriesKey::from_bytes(batch.key(row));
            let Some(key) = key else { continue };
            let name = key.name();
            let family = PARTS.iter().find_map(|part| name.strip_suffix(part));
            let names = [Some(name), family].into_iter().flatten();
            of_part.extend(names.filter_map(|name| Some(wanted.get_key_value(name)?.0.as_str())));
        }
        for told in of_part.iter().filter_map(|name| wanted.get(*name)) {
            let bytes = size_of::<MetricMetadata>() + told.help.len() + told.unit.len();
            // Senders repeat it.
            let Some(left) = bytes_left.checked_sub(bytes) else {
                break;
            };
            bytes_left = left;
            batch.metadata.push(told.clone());
        }
        found.extend(of_part);
    }
    let left = wanted
        .values()
        .filter(|told| !found.contains(told.name.as_str()));
    received.metadata = left.cloned().collect();
}

fn owners(
    history: &dyn History,
    bound: &BoundAgent,
    metadata: Vec<MetricMetadata>,
) -> Vec<(AgentId, Vec<MetricMetadata>)> {
    let mut wanted: HashMap<String, MetricMetadata> = metadata
        .into_iter()
        .map(|told| (told.name.clone(), told))
        .collect();
    let mut told = Vec::new();
    for agent in history.known_agents() {
        if wanted.is_empty() {
            break;
        }
        let Some(id) = history.agent_id(agent).filter(|id| bound.allows(id)) else {
            continue;
        };
        let mut of_agent = Vec::new();
        for series in history
            .series(agent, None)
            .iter()
            .filter(|s| s.key.is_exact())
        {
            let name = series.key.name();
            let family = PARTS.iter().find_map(|part| name.strip_suffix(part));
            let names = [Some(name), family].into_iter().flatten();
            of_agent.extend(names.filter_map(|name| wanted.remove(name)));
        }
        if !of_agent.is_empty() {
            // What is known already is no reason for a commit.
            let known = history.metadata(agent);
            of_agent.retain(|new| !known.contains(new));
            told.push((id, of_agent));
        }
    }
    told.retain(|(_, metadata)| !metadata.is_empty());
    told
}
