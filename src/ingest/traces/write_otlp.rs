//! Spans as OTLP, in JSON and protobuf.

use std::{collections::HashMap, fmt::Debug, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use opentelemetry_proto::tonic::{
    common::v1::{
        AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
        any_value::Value as Told,
    },
    resource::v1::Resource as OtlpResource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span as OtlpSpan, Status, TracesData,
        span::{Event, Link},
    },
};
use prost::Message;
use serde_json::{Map, Value, json};

use super::otlp::hex;
use crate::model::{
    AgentOrigin, AttributeValue, Attributes, Resource, Scope, Span, SpanStatus, genai,
    own_attributes,
};

/// Spans as a `TracesData` of OTLP in protobuf. What OTLP has no field for is kept in attributes that
/// [`super::parse_otlp_protobuf`] reads back: see [`own_attributes`]. Usage is not written: it follows from the
/// attributes.
pub fn to_otlp_protobuf(spans: &[Span]) -> Vec<u8> {
    traces_data(spans).encode_to_vec()
}

/// The same as [`to_otlp_protobuf`] in the JSON of OTLP: ids in hexadecimal digits, 64-bit numbers as texts.
pub fn to_otlp_json(spans: &[Span]) -> Value {
    let data = traces_data(spans);
    json!({ "resourceSpans": data.resource_spans.iter().map(resource_json).collect::<Vec<_>>() })
}

/// Values that many spans share, each once, in the order met. They are compared by what they hold, and that only once
/// for each place in memory.
pub(super) struct Distinct<T> {
    places: HashMap<*const T, usize>,
    seen: HashMap<String, usize>,
}

impl<T: Debug> Distinct<T> {
    pub(super) fn new() -> Self {
        Self {
            places: HashMap::new(),
            seen: HashMap::new(),
        }
    }

    /// The number of a value, from 0; the second says whether it is new.
    pub(super) fn number(&mut self, value: &Arc<T>) -> (usize, bool) {
        let place = Arc::as_ptr(value);
        if let Some(number) = self.places.get(&place) {
            return (*number, false);
        }
        let next = self.seen.len();
        let number = *self.seen.entry(format!("{value:?}")).or_insert(next);
        self.places.insert(place, number);
        (number, number == next)
    }
}

fn traces_data(spans: &[Span]) -> TracesData {
    let mut data = TracesData::default();
    let (mut resources, mut scopes) = (Distinct::new(), HashMap::new());
    for span in spans {
        let (at, is_new) = resources.number(&span.resource);
        if is_new {
            data.resource_spans.push(ResourceSpans {
                resource: otlp_resource(&span.resource),
                scope_spans: Vec::new(),
                schema_url: span.resource.schema_url.to_string(),
            });
        }
        let Some(group) = data.resource_spans.get_mut(at) else {
            continue;
        };
        let scopes = scopes.entry(at).or_insert_with(Distinct::new);
        let (at, is_new) = scopes.number(&span.scope);
        if is_new {
            group.scope_spans.push(ScopeSpans {
                scope: otlp_scope(&span.scope),
                spans: Vec::new(),
                schema_url: span.scope.schema_url.to_string(),
            });
        }
        if let Some(scoped) = group.scope_spans.get_mut(at) {
            scoped.spans.push(otlp_span(span));
        }
    }
    data
}

/// A resource that says nothing is left out: that none is known is what OTLP says so.
fn otlp_resource(resource: &Resource) -> Option<OtlpResource> {
    let is_told = !resource.attributes.is_empty() || resource.dropped_attributes > 0;
    is_told.then(|| OtlpResource {
        attributes: pairs(&resource.attributes),
        dropped_attributes_count: resource.dropped_attributes,
        ..OtlpResource::default()
    })
}

fn otlp_scope(scope: &Scope) -> Option<InstrumentationScope> {
    let scope = InstrumentationScope {
        name: scope.name.to_string(),
        version: scope.version.to_string(),
        attributes: pairs(&scope.attributes),
        dropped_attributes_count: scope.dropped_attributes,
    };
    (scope != InstrumentationScope::default()).then_some(scope)
}

/// Times before the epoch, which OTLP does not have, are written as 0.
fn nanoseconds(time_ns: i64) -> u64 {
    u64::try_from(time_ns).unwrap_or_default()
}

fn otlp_span(span: &Span) -> OtlpSpan {
    let parent = span.parent_id.map(|id| id.as_u64().to_be_bytes().to_vec());
    OtlpSpan {
        trace_id: span.trace_id.as_u128().to_be_bytes().to_vec(),
        span_id: span.span_id.as_u64().to_be_bytes().to_vec(),
        trace_state: span.trace_state.to_string(),
        parent_span_id: parent.unwrap_or_default(),
        flags: span.flags,
        name: span.name.to_string(),
        kind: span.kind.number().into(),
        start_time_unix_nano: nanoseconds(span.start_ns),
        end_time_unix_nano: span.end_ns.map_or(0, |end| nanoseconds(end).max(1)),
        attributes: span_attributes(span),
        dropped_attributes_count: span.dropped_attributes,
        events: span
            .events
            .iter()
            .map(|event| Event {
                time_unix_nano: nanoseconds(event.time_ns),
                name: event.name.to_string(),
                attributes: pairs(&event.attributes),
                dropped_attributes_count: event.dropped_attributes,
            })
            .collect(),
        dropped_events_count: span.dropped_events,
        links: span
            .links
            .iter()
            .map(|link| Link {
                trace_id: link.trace_id.as_u128().to_be_bytes().to_vec(),
                span_id: link.span_id.as_u64().to_be_bytes().to_vec(),
                trace_state: link.trace_state.to_string(),
                attributes: pairs(&link.attributes),
                dropped_attributes_count: link.dropped_attributes,
                flags: link.flags,
            })
            .collect(),
        dropped_links_count: span.dropped_links,
        status: status(span),
    }
}

fn status(span: &Span) -> Option<Status> {
    let code = match span.status {
        SpanStatus::Unset | SpanStatus::Other(_) => 0,
        SpanStatus::Ok => 1,
        SpanStatus::Error => 2,
    };
    (code != 0 || !span.status_message.is_empty()).then(|| Status {
        message: span.status_message.to_string(),
        code,
    })
}

fn span_attributes(span: &Span) -> Vec<KeyValue> {
    let mut told = pairs(&span.attributes);
    let mut add = |key: &str, value| {
        told.push(KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        });
    };
    if span.is_shared {
        add(own_attributes::SHARED, Told::BoolValue(true));
    }
    if let SpanStatus::Other(word) = &span.status {
        add(own_attributes::STATUS, Told::StringValue(word.to_string()));
    }
    let agent = span.agent.as_str();
    if span.agent_origin == AgentOrigin::Own && genai::agent_of(span) != Some(agent) {
        add(own_attributes::AGENT, Told::StringValue(agent.to_owned()));
    }
    told
}

fn pairs(attributes: &Attributes) -> Vec<KeyValue> {
    let pairs = attributes.iter().map(|(key, value)| KeyValue {
        key: key.to_string(),
        value: Some(any_value(value)),
        ..KeyValue::default()
    });
    pairs.collect()
}

/// Recurses as deep as values are ever stored: see [`super::NESTING_MAX`].
fn any_value(value: &AttributeValue) -> AnyValue {
    let value = match value {
        AttributeValue::Empty => None,
        AttributeValue::Text(text) => Some(Told::StringValue(text.to_string())),
        AttributeValue::Bool(is) => Some(Told::BoolValue(*is)),
        AttributeValue::Int(number) => Some(Told::IntValue(*number)),
        AttributeValue::Float(number) => Some(Told::DoubleValue(*number)),
        AttributeValue::Bytes(bytes) => Some(Told::BytesValue(bytes.to_vec())),
        AttributeValue::List(values) => Some(Told::ArrayValue(ArrayValue {
            values: values.iter().map(any_value).collect(),
        })),
        AttributeValue::Map(map) => Some(Told::KvlistValue(KeyValueList { values: pairs(map) })),
    };
    AnyValue { value }
}

/// An object without what is at its default, as JSON of protobuf is written.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn value(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }

    fn text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.value(key, text.into());
        }
    }

    fn number(&mut self, key: &str, number: impl Into<i64>) {
        let number = number.into();
        if number != 0 {
            self.value(key, number.into());
        }
    }

    fn list<T>(&mut self, key: &str, values: &[T], write: impl Fn(&T) -> Value) {
        if !values.is_empty() {
            self.value(key, values.iter().map(write).collect());
        }
    }

    fn attributes(&mut self, attributes: &[KeyValue], dropped: u32) {
        self.list("attributes", attributes, pair_json);
        self.number("droppedAttributesCount", dropped);
    }
}

fn resource_json(group: &ResourceSpans) -> Value {
    let mut object = Object::default();
    if let Some(told) = &group.resource {
        let mut resource = Object::default();
        resource.attributes(&told.attributes, told.dropped_attributes_count);
        object.value("resource", Value::Object(resource.0));
    }
    object.list("scopeSpans", &group.scope_spans, scope_json);
    object.text("schemaUrl", &group.schema_url);
    Value::Object(object.0)
}

fn scope_json(scoped: &ScopeSpans) -> Value {
    let mut object = Object::default();
    if let Some(told) = &scoped.scope {
        let mut scope = Object::default();
        scope.text("name", &told.name);
        scope.text("version", &told.version);
        scope.attributes(&told.attributes, told.dropped_attributes_count);
        object.value("scope", Value::Object(scope.0));
    }
    object.list("spans", &scoped.spans, span_json);
    object.text("schemaUrl", &scoped.schema_url);
    Value::Object(object.0)
}

fn span_json(span: &OtlpSpan) -> Value {
    let mut object = Object::default();
    object.text("traceId", &hex(&span.trace_id));
    object.text("spanId", &hex(&span.span_id));
    object.text("traceState", &span.trace_state);
    object.text("parentSpanId", &hex(&span.parent_span_id));
    object.number("flags", span.flags);
    object.text("name", &span.name);
    object.number("kind", span.kind);
    object.text("startTimeUnixNano", &span.start_time_unix_nano.to_string());
    if span.end_time_unix_nano != 0 {
        object.text("endTimeUnixNano", &span.end_time_unix_nano.to_string());
    }
    object.attributes(&span.attributes, span.dropped_attributes_count);
    object.list("events", &span.events, |event| {
        let mut object = Object::default();
        object.text("timeUnixNano", &event.time_unix_nano.to_string());
        object.text("name", &event.name);
        object.attributes(&event.attributes, event.dropped_attributes_count);
        Value::Object(object.0)
    });
    object.number("droppedEventsCount", span.dropped_events_count);
    object.list("links", &span.links, |link| {
        let mut object = Object::default();
        object.text("traceId", &hex(&link.trace_id));
        object.text("spanId", &hex(&link.span_id));
        object.text("traceState", &link.trace_state);
        object.attributes(&link.attributes, link.dropped_attributes_count);
        object.number("flags", link.flags);
        Value::Object(object.0)
    });
    object.number("droppedLinksCount", span.dropped_links_count);
    let mut status = Object::default();
    if let Some(told) = &span.status {
        status.text("message", &told.message);
        status.number("code", told.code);
    }
    object.value("status", Value::Object(status.0));
    Value::Object(object.0)
}

fn pair_json(pair: &KeyValue) -> Value {
    let value = pair.value.as_ref().map_or_else(|| json!({}), value_json);
    json!({"key": pair.key, "value": value})
}

fn value_json(value: &AnyValue) -> Value {
    match &value.value {
        None | Some(Told::StringValueStrindex(_)) => json!({}),
        Some(Told::StringValue(text)) => json!({ "stringValue": text }),
        Some(Told::BoolValue(is)) => json!({ "boolValue": is }),
        Some(Told::IntValue(number)) => json!({"intValue": number.to_string()}),
        Some(Told::DoubleValue(number)) => {
            let name = match *number {
                number if number.is_nan() => "NaN",
                f64::INFINITY => "Infinity",
                f64::NEG_INFINITY => "-Infinity",
                number => return json!({ "doubleValue": number }),
            };
            json!({ "doubleValue": name })
        }
        Some(Told::BytesValue(bytes)) => json!({"bytesValue": BASE64.encode(bytes)}),
        Some(Told::ArrayValue(list)) => {
            json!({"arrayValue": {"values": list.values.iter().map(value_json).collect::<Vec<_>>()}})
        }
        Some(Told::KvlistValue(map)) => {
            json!({"kvlistValue": {"values": map.values.iter().map(pair_json).collect::<Vec<_>>()}})
        }
    }
}
