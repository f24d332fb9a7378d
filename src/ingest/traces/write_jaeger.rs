//! Spans in the JSON of Jaeger's query API, which its user interface reads.

use std::collections::HashMap;

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use serde_json::{Map, Value, json};

use super::{tags::names, write_otlp::Distinct};
use crate::model::{
    AttributeValue, Attributes, Resource, Span, SpanKind, SpanStatus, own_attributes,
};

/// Largest number that JavaScript holds exactly; beyond it Jaeger writes texts.
const SAFE_INTEGER: i64 = (1 << 53) - 1;

/// The spans of one trace as an object of `data` in Jaeger's answers: times in microseconds, lists and maps as JSON in
/// texts. Where nothing names the service, the agent stands for it. What an open span lacks, and a span that ends before
/// it begins, is said in `warnings`; their duration is 0.
pub fn to_jaeger_json(spans: &[Span]) -> Value {
    let mut processes = Map::new();
    // By service and tags: without a service, the agent tells processes apart.
    let mut resources = Distinct::new();
    let mut numbers: HashMap<(usize, &str), String> = HashMap::new();
    let written: Vec<_> = spans
        .iter()
        .map(|span| {
            let (number, _) = resources.number(&span.resource);
            let service = span.resource.service();
            let service = service.unwrap_or_else(|| span.agent.as_str());
            let next = numbers.len() + 1;
            let process = numbers.entry((number, service)).or_insert_with(|| {
                let name = format!("p{next}");
                processes.insert(name.clone(), process(&span.resource, service));
                name
            });
            span_json(span, process)
        })
        .collect();
    let trace_id = spans.first().map(|span| span.trace_id.to_string());
    json!({
        "traceID": trace_id.unwrap_or_default(),
        "spans": written,
        "processes": processes,
        "warnings": null,
    })
}

fn process(resource: &Resource, service: &str) -> Value {
    let tags = resource.attributes.iter();
    let tags = tags.filter(|(key, _)| &***key != "service.name");
    let tags: Vec<_> = tags.map(|(key, value)| tag(key, value)).collect();
    json!({"serviceName": service, "tags": tags})
}

fn span_json(span: &Span, process: &str) -> Value {
    let reference = |kind: &str, trace: String, span: String| json!({"refType": kind, "traceID": trace, "spanID": span});
    let trace_id = span.trace_id.to_string();
    let mut references = Vec::new();
    if let Some(parent) = span.parent_id {
        references.push(reference("CHILD_OF", trace_id.clone(), parent.to_string()));
    }
    for link in &span.links {
        let (trace, span) = (link.trace_id.to_string(), link.span_id.to_string());
        references.push(reference("FOLLOWS_FROM", trace, span));
    }
    let logs = span.events.iter().map(|event| {
        let mut fields = Vec::new();
        if !event.name.is_empty() && event.attributes.get("event").is_none() {
            fields.push(text_tag("event", &event.name));
        }
        fields.extend(tags(&event.attributes));
        json!({"timestamp": event.time_ns / 1000, "fields": fields})
    });
    let mut warnings = Vec::new();
    match span.end_ns {
        None => warnings.push("the span has not ended"),
        Some(end) if end < span.start_ns => warnings.push("the span ends before it begins"),
        Some(_) => {}
    }
    json!({
        "traceID": trace_id,
        "spanID": span.span_id.to_string(),
        "operationName": &*span.name,
        "references": references,
        "startTime": span.start_ns / 1000,
        "duration": span.duration_ns().unwrap_or(0) / 1000,
        "tags": span_tags(span),
        "logs": logs.collect::<Vec<_>>(),
        "processID": process,
        "warnings": if warnings.is_empty() { Value::Null } else { warnings.into() },
    })
}

/// In the order that Jaeger gives them: scope, attributes, kind, status, `tracestate`.
fn span_tags(span: &Span) -> Vec<Value> {
    let mut written = Vec::new();
    let mut add = |key: &str, text: &str| {
        if !text.is_empty() {
            written.push(text_tag(key, text));
        }
    };
    add(names::SCOPE_NAME, &span.scope.name);
    add(names::SCOPE_VERSION, &span.scope.version);
    written.extend(tags(&span.attributes));
    if span.kind != SpanKind::Unspecified {
        written.push(text_tag(names::KIND, span.kind.name()));
    }
    match &span.status {
        SpanStatus::Unset => {}
        SpanStatus::Ok => written.push(text_tag(names::STATUS_CODE, "OK")),
        SpanStatus::Error => {
            written.push(text_tag(names::STATUS_CODE, "ERROR"));
            if span.attributes.get(names::ERROR).is_none() {
                written.push(tag(names::ERROR, &AttributeValue::Bool(true)));
            }
        }
        SpanStatus::Other(word) => written.push(text_tag(own_attributes::STATUS, word)),
    }
    if !span.status_message.is_empty() {
        written.push(text_tag(names::STATUS_DESCRIPTION, &span.status_message));
    }
    if !span.trace_state.is_empty() {
        written.push(text_tag(names::TRACE_STATE, &span.trace_state));
    }
    written
}

fn tags(attributes: &Attributes) -> impl Iterator<Item = Value> {
    attributes.iter().map(|(key, value)| tag(key, value))
}

fn text_tag(key: &str, text: &str) -> Value {
    json!({"key": key, "type": "string", "value": text})
}

fn tag(key: &str, value: &AttributeValue) -> Value {
    let (kind, value) = match value {
        AttributeValue::Bool(is) => ("bool", Value::from(*is)),
        AttributeValue::Int(number) if (-SAFE_INTEGER..=SAFE_INTEGER).contains(number) => {
            ("int64", Value::from(*number))
        }
        AttributeValue::Int(number) => ("int64", Value::from(number.to_string())),
        AttributeValue::Float(_) => ("float64", value.to_json()),
        AttributeValue::Bytes(bytes) => ("binary", Value::from(BASE64.encode(bytes))),
        other => ("string", Value::from(other.to_string())),
    };
    json!({"key": key, "type": kind, "value": value})
}
