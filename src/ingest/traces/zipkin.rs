//! Spans of Zipkin v2 in JSON. <https://zipkin.io/zipkin-api/#/default/post_spans>

use std::sync::Arc;

use hashbrown::HashMap;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Received, SpanLimits,
    intake::Intake,
    json_body::JsonBody,
    json_fields::{Tags, Text, list, whole},
    tags::{nanoseconds, pair, parent_id, shown_id, span_id, trace_id, understand_tags},
};
use crate::{
    ingest::BodyError,
    model::{AttributeValue, Resource, Span, SpanEvent, SpanKind},
};

/// Reads a list of Zipkin's spans.
///
/// The local endpoint becomes the resource (`service.name`, `host.ip`), the remote one `peer.service` and
/// `net.peer.ip|port`, annotations become events, tags attributes, `error` the status. A span without a timestamp
/// begins with its first annotation; without one of those it is rejected. A span without a duration ends with its
/// last annotation, else where it begins: Zipkin sends such for what has no end of its own, as one-way messages, so it
/// is not open. Both halves of a shared span are kept.
///
/// # Errors
/// [`BodyError::Syntax`] when the body is no list in JSON, [`BodyError::Refused`] when none of its spans can be taken,
/// [`BodyError::Limit`] when it has too many.
pub fn parse_zipkin(body: &[u8], limits: &SpanLimits) -> Result<Received, BodyError> {
    let body = JsonBody::new(body);
    let parts: Vec<&RawValue> = body.read(b'[')?;
    let mut intake = Intake::new(limits);
    let mut resources = HashMap::new();
    for part in parts {
        intake.check_count()?;
        let mut id = None;
        let span = intake.check_size(part.get().len()).and_then(|()| {
            let told = body.part::<ZipkinSpan<'_>>(part, intake.keeps_reasons())?;
            id = Some(shown_id(&told.id.0));
            span(&mut intake, told, &mut resources)
        });
        intake.take(id.filter(|_| span.is_err()), span);
    }
    intake.finish()
}

/// Resources by service and address: spans of several services come mixed.
type Resources = HashMap<(String, String), Arc<Resource>>;

fn span(
    intake: &mut Intake<'_>,
    told: ZipkinSpan<'_>,
    resources: &mut Resources,
) -> Result<Span, String> {
    let ids = (
        trace_id(&told.trace_id.0)?,
        span_id(&told.id.0)?,
        parent_id(&told.parent_id.0)?,
    );
    let annotated = || {
        told.annotations
            .iter()
            .map(|annotation| annotation.timestamp)
    };
    let start = match told.timestamp {
        0 => annotated().filter(|time| *time > 0).min().unwrap_or(0),
        start => start,
    };
    let end = match told.duration {
        0 => annotated().max().unwrap_or(0).max(start),
        duration => start.saturating_add(duration),
    };
    let times = (nanoseconds("start", start)?, nanoseconds("end", end)?);
    let mut span = intake.span(ids, &told.name.0, times)?;
    span.kind = SpanKind::of_name(&told.kind.0).unwrap_or_default();
    span.is_shared = told.shared == Some(true);
    let mut pairs = told.tags.0;
    let remote = told.remote_endpoint.unwrap_or_default();
    let mut add = |key: &str, value: Value| {
        if pairs.iter().all(|pair| pair.key != key) {
            pairs.push(pair(key, value));
        }
    };
    for (key, text) in [
        ("peer.service", &remote.service_name),
        ("net.peer.ip", remote.address()),
    ] {
        if !text.0.is_empty() {
            add(key, Value::StringValue(text.0.to_string()));
        }
    }
    if remote.port > 0 {
        add("net.peer.port", Value::IntValue(remote.port.into()));
    }
    if told.debug == Some(true) {
        add("zipkin.debug", Value::BoolValue(true));
    }
    (span.attributes, span.dropped_attributes) = intake.attributes(pairs, 0);
    for annotation in told.annotations {
        let time_ns = nanoseconds("annotation's time", annotation.timestamp);
        let time_ns = time_ns.ok().and_then(|time| i64::try_from(time).ok());
        match time_ns.filter(|_| span.events.len() < intake.limits.events) {
            Some(time_ns) => span.events.push(SpanEvent {
                time_ns,
                name: intake.name(&annotation.value.0),
                ..SpanEvent::default()
            }),
            None => span.dropped_events = span.dropped_events.saturating_add(1),
        }
    }
    span.resource = resource(intake, told.local_endpoint.unwrap_or_default(), resources);
    understand_tags(&mut span);
    Intake::understand(span)
}

fn resource(
    intake: &mut Intake<'_>,
    local: Endpoint<'_>,
    resources: &mut Resources,
) -> Arc<Resource> {
    let address = local.address().0.to_string();
    let key = (local.service_name.0.into_owned(), address);
    if let Some(resource) = resources.get(&key) {
        return Arc::clone(resource);
    }
    let mut resource = Resource::default();
    for (name, text) in [("service.name", &key.0), ("host.ip", &key.1)] {
        if !text.is_empty() {
            let text = intake.text(text, intake.limits.value_bytes);
            resource.attributes.set(name, AttributeValue::Text(text));
        }
    }
    let resource = Arc::new(resource);
    resources.insert(key, Arc::clone(&resource));
    resource
}

#[derive(Deserialize)]
struct ZipkinSpan<'a> {
    #[serde(borrow, default, rename = "traceId")]
    trace_id: Text<'a>,
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow, default, rename = "parentId")]
    parent_id: Text<'a>,
    #[serde(borrow, default)]
    kind: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    /// Microseconds, as all times are.
    #[serde(default, deserialize_with = "whole")]
    timestamp: u64,
    #[serde(default, deserialize_with = "whole")]
    duration: u64,
    #[serde(borrow, default, rename = "localEndpoint")]
    local_endpoint: Option<Endpoint<'a>>,
    #[serde(borrow, default, rename = "remoteEndpoint")]
    remote_endpoint: Option<Endpoint<'a>>,
    #[serde(borrow, default, deserialize_with = "list")]
    annotations: Vec<Annotation<'a>>,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    shared: Option<bool>,
    #[serde(default)]
    debug: Option<bool>,
}

#[derive(Default, Deserialize)]
struct Endpoint<'a> {
    #[serde(borrow, default, rename = "serviceName")]
    service_name: Text<'a>,
    #[serde(borrow, default)]
    ipv4: Text<'a>,
    #[serde(borrow, default)]
    ipv6: Text<'a>,
    #[serde(default, deserialize_with = "whole")]
    port: u16,
}

impl<'a> Endpoint<'a> {
    fn address(&self) -> &Text<'a> {
        if self.ipv4.0.is_empty() {
            &self.ipv6
        } else {
            &self.ipv4
        }
    }
}

#[derive(Deserialize)]
struct Annotation<'a> {
    #[serde(default, deserialize_with = "whole")]
    timestamp: u64,
    #[serde(borrow, default)]
    value: Text<'a>,
}
