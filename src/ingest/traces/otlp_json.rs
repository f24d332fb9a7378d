//! OTLP traces in JSON: what protobuf has, with ids in hexadecimal digits.
//! <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>

use opentelemetry_proto::tonic::{
    common::v1::{InstrumentationScope, KeyValue},
    resource::v1::Resource as OtlpResource,
    trace::v1::{
        Span as OtlpSpan, Status,
        span::{Event, Link},
    },
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Received, SpanLimits,
    intake::Intake,
    json_body::JsonBody,
    json_fields::{attributes, id, kind, list, status_code, text, whole},
    otlp::{hex, refuse_nameless},
};
use crate::ingest::BodyError;

/// Reads a body of `application/json`, as [`super::parse_otlp_protobuf`] reads protobuf. Names are taken in both
/// spellings (`traceId`, `trace_id`), unknown ones are passed over.
///
/// # Errors
/// [`BodyError::Syntax`] when the body is no JSON of that form, else as [`super::parse_otlp_protobuf`].
pub fn parse_otlp_json(body: &[u8], limits: &SpanLimits) -> Result<Received, BodyError> {
    let body = JsonBody::new(body);
    let document: Traces<'_> = body.read(b'{')?;
    let mut intake = Intake::new(limits);
    for group in document.resource_spans {
        let has_resource = group.resource.is_some();
        let resource = group.resource.map(OtlpResource::from).unwrap_or_default();
        let resource = intake.resource(resource, &group.schema_url);
        let first = intake.received.spans.len();
        for scoped in group.scope_spans {
            let scope = scoped.scope.map(InstrumentationScope::from);
            let scope = intake.scope(scope.unwrap_or_default(), &scoped.schema_url);
            for part in scoped.spans {
                intake.check_count()?;
                let mut id = None;
                let span = intake.check_size(part.get().len()).and_then(|()| {
                    let told = body.part::<JsonSpan>(part, intake.keeps_reasons())?;
                    let told = OtlpSpan::from(told);
                    id = Some(hex(&told.span_id));
                    intake.otlp_span(told, &resource, &scope)
                });
                intake.take(id.filter(|_| span.is_err()), span);
            }
        }
        refuse_nameless(&mut intake, has_resource, first);
    }
    intake.finish()
}

#[derive(Deserialize)]
struct Traces<'a> {
    #[serde(borrow, default, deserialize_with = "list")]
    #[serde(rename = "resourceSpans", alias = "resource_spans")]
    resource_spans: Vec<ResourceSpans<'a>>,
}

#[derive(Deserialize)]
struct ResourceSpans<'a> {
    #[serde(default)]
    resource: Option<JsonResource>,
    #[serde(borrow, default, deserialize_with = "list")]
    #[serde(rename = "scopeSpans", alias = "scope_spans")]
    scope_spans: Vec<ScopeSpans<'a>>,
    #[serde(default, deserialize_with = "text")]
    #[serde(rename = "schemaUrl", alias = "schema_url")]
    schema_url: String,
}

#[derive(Deserialize)]
struct ScopeSpans<'a> {
    #[serde(default)]
    scope: Option<JsonScope>,
    #[serde(borrow, default, deserialize_with = "list")]
    spans: Vec<&'a RawValue>,
    #[serde(default, deserialize_with = "text")]
    #[serde(rename = "schemaUrl", alias = "schema_url")]
    schema_url: String,
}

/// What sent the data.
#[derive(Deserialize)]
pub(in crate::ingest) struct JsonResource {
    #[serde(default, deserialize_with = "attributes")]
    attributes: Vec<KeyValue>,
    #[serde(default, deserialize_with = "whole")]
    #[serde(rename = "droppedAttributesCount", alias = "dropped_attributes_count")]
    dropped_attributes_count: u32,
}

impl From<JsonResource> for OtlpResource {
    fn from(told: JsonResource) -> Self {
        Self {
            attributes: told.attributes,
            dropped_attributes_count: told.dropped_attributes_count,
            ..Self::default()
        }
    }
}

/// The library that made the data.
#[derive(Deserialize)]
pub(in crate::ingest) struct JsonScope {
    #[serde(default, deserialize_with = "text")]
    name: String,
    #[serde(default, deserialize_with = "text")]
    version: String,
    #[serde(default, deserialize_with = "attributes")]
    attributes: Vec<KeyValue>,
    #[serde(default, deserialize_with = "whole")]
    #[serde(rename = "droppedAttributesCount", alias = "dropped_attributes_count")]
    dropped_attributes_count: u32,
}

impl From<JsonScope> for InstrumentationScope {
    fn from(told: JsonScope) -> Self {
        Self {
            name: told.name,
            version: told.version,
            attributes: told.attributes,
            dropped_attributes_count: told.dropped_attributes_count,
        }
    }
}

#[derive(Deserialize)]
struct JsonSpan {
    #[serde(default, deserialize_with = "id")]
    #[serde(rename = "traceId", alias = "trace_id")]
    trace_id: Vec<u8>,
    #[serde(default, deserialize_with = "id")]
    #[serde(rename = "spanId", alias = "span_id")]
    span_id: Vec<u8>,
    #[serde(default, deserialize_with = "text")]
    #[serde(rename = "traceState", alias = "trace_state")]
    trace_state: String,
    #[serde(default, deserialize_with = "id")]
    #[serde(rename = "parentSpanId", alias = "parent_span_id")]
    parent_span_id: Vec<u8>,
    #[serde(default, deserialize_with = "whole")]
    flags: u32,
    #[serde(default, deserialize_with = "text")]
    name: String,
    #[serde(default, deserialize_with = "kind")]
    kind: i32,
    #[serde(default, deserialize_with = "whole")]
    #[serde(rename = "startTimeUnixNano", alias = "start_time_unix_nano")]
    start_time_unix_nano: u64,
    #[serde(default, deserialize_with = "whole")]
    #[serde(rename = "endTimeUnixNano", alias = "end_time_unix_nano")]
    end_time_unix_nano: u64,
    #[serde(default, deserialize_with = "attributes")]
    attributes: Vec<KeyValue>,
    #[serde(default, deserialize_with = "whole")]
    #[serde(rename = "droppedAttributesCount", alias = "dropped_attributes_count")]
    dropped_attributes_count: u32,
    #[serde(default, deserialize_with = "list")]
    events: Vec<JsonEvent>,
    #[serde(default, deserialize_with = "whole")]
    #[serde(rename = "droppedEventsCount", alias = "dropped_events_count")]
    dropped_events_count: u32,
    #[serde(default, deserialize_with = "list")]
    links: Vec<JsonLink>,
    #[serde(default, deserialize_with = "whole")]
    #[serde(rename = "droppedLinksCount", alias = "dropped_links_count")]
    dropped_links_count: u32,
    #[serde(default)]
    status: Option<JsonStatus>,
}

impl From<JsonSpan> for OtlpSpan {
    fn from(told: JsonSpan) -> Self {
        Self {
            trace_id: told.trace_id,
            span_id: told.span_id,
            trace_state: told.trace_state,
            parent_span_id: told.parent_span_id,
            flags: told.flags,
            name: told.name,
            kind: told.kind,
            start_time_unix_nano: told.start_time_unix_nano,
            end_time_unix_nano: told.end_time_unix_nano,
            attributes: told.attributes,
            dropped_attributes_count: told.dropped_attributes_count,
            events: told.events.into_iter().map(Event::from).collect(),
            dropped_events_count: told.dropped_events_count,
            links: told.links.into_iter().map(Link::from).collect(),
            dropped_links_count: told.dropped_links_count,
            status: told.status.map(|status| Status {
                message: status.message,
                code: status.code,
            }),
        }
    }
}

#[derive(Deserialize)]
struct JsonStatus {
    #[serde(default, deserialize_with = "text")]
    message: String,
    #[serde(default, deserialize_with = "status_code")]
    code: i32,
}

#[derive(Deserialize)]
struct JsonEvent {
    #[serde(default, deserialize_with = "whole")]
    #[serde(rename = "timeUnixNano", alias = "time_unix_nano")]
    time_unix_nano: u64,
    #[serde(default, deserialize_with = "text")]
    name: String,
    #[serde(default, deserialize_with = "attributes")]
    attributes: Vec<KeyValue>,
    #[serde(default, deserialize_with = "whole")]
    #[serde(rename = "droppedAttributesCount", alias = "dropped_attributes_count")]
    dropped_attributes_count: u32,
}

impl From<JsonEvent> for Event {
    fn from(told: JsonEvent) -> Self {
        Self {
            time_unix_nano: told.time_unix_nano,
            name: told.name,
            attributes: told.attributes,
            dropped_attributes_count: told.dropped_attributes_count,
        }
    }
}

#[derive(Deserialize)]
struct JsonLink {
    #[serde(default, deserialize_with = "id")]
    #[serde(rename = "traceId", alias = "trace_id")]
    trace_id: Vec<u8>,
    #[serde(default, deserialize_with = "id")]
    #[serde(rename = "spanId", alias = "span_id")]
    span_id: Vec<u8>,
    #[serde(default, deserialize_with = "text")]
    #[serde(rename = "traceState", alias = "trace_state")]
    trace_state: String,
    #[serde(default, deserialize_with = "attributes")]
    attributes: Vec<KeyValue>,
    #[serde(default, deserialize_with = "whole")]
    #[serde(rename = "droppedAttributesCount", alias = "dropped_attributes_count")]
    dropped_attributes_count: u32,
    #[serde(default, deserialize_with = "whole")]
    flags: u32,
}

impl From<JsonLink> for Link {
    fn from(told: JsonLink) -> Self {
        Self {
            trace_id: told.trace_id,
            span_id: told.span_id,
            trace_state: told.trace_state,
            attributes: told.attributes,
            dropped_attributes_count: told.dropped_attributes_count,
            flags: told.flags,
        }
    }
}
