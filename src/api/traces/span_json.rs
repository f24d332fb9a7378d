//! A span as the native API shows it.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};

use crate::model::{
    Attributes, Span, SpanEvent, SpanId, SpanLink, TokenUsage, TraceId, TraceSummary, genai,
    own_attributes,
};

/// A span; `status` is the word of its status, or of the state that it is in while it is open.
pub(super) fn span_json(span: &Span, status: &str) -> Value {
    json!({
        "trace_id": span.attributes.text(own_attributes::TRACE_NAME)
            .map_or_else(|| span.trace_id.to_string(), str::to_owned),
        "span_id": span.shown_id(),
        "parent_span_id": span.parent_id.map(|id| id.to_string()),
        "agent_id": span.agent.as_str(),
        "operation": &*span.name,
        "kind": span.kind.name(),
        "status": status,
        "status_message": (!span.status_message.is_empty()).then_some(&*span.status_message),
        "start_time": time_text(span.start_ns),
        "end_time": span.end_ns.map(time_text),
        "duration_ms": span.duration_ns().map(milliseconds),
        "metadata": without_names(&span.attributes),
        "logs": span.events.iter().map(event_json).collect::<Vec<_>>(),
        "links": span.links.iter().map(link_json).collect::<Vec<_>>(),
        "resource": span.resource.attributes.to_json(),
        "scope": (!span.scope.name.is_empty()).then(|| json!({
            "name": &*span.scope.name,
            "version": &*span.scope.version,
        })),
        "incarnation": genai::incarnation(span),
        "usage": span.usage.map(|usage| usage_json(&usage)),
    })
}

/// Spans of one trace, each with its status; parents are called as the client calls them.
pub(super) fn spans_json(spans: &[Span], status: impl Fn(&Span) -> String) -> Vec<Value> {
    let mut answer: Vec<Value> = spans.iter().map(|s| span_json(s, &status(s))).collect();
    let named = spans.iter().filter_map(|span| {
        let name = span.attributes.text(own_attributes::SPAN_NAME)?;
        Some((span.span_id, name))
    });
    let named: HashMap<SpanId, &str> = named.collect();
    for (span, told) in spans.iter().zip(&mut answer) {
        if let Some(name) = span.parent_id.and_then(|id| named.get(&id)) {
            told["parent_span_id"] = (*name).into();
        }
    }
    answer
}

/// What a list says of a trace.
pub(super) fn summary_json(summary: &TraceSummary) -> Value {
    let agents: Map<String, Value> = summary
        .agents
        .iter()
        .map(|(agent, spans)| (agent.to_string(), json!(spans)))
        .collect();
    let duration_ns = summary.end_ns.saturating_sub(summary.start_ns).max(0);
    json!({
        "trace_id": summary.name.as_deref()
            .map_or_else(|| summary.trace_id.to_string(), str::to_owned),
        "agent_id": summary.root_agent.as_str(),
        "operation": &*summary.root_operation,
        "has_root": summary.has_root,
        "start_time": time_text(summary.start_ns),
        "end_time": time_text(summary.end_ns),
        "duration_ms": milliseconds(duration_ns),
        "status": if summary.failed_spans > 0 { "failed" } else if summary.open_spans > 0 { "open" } else { "completed" },
        "total_spans": summary.spans,
        "failed_spans": summary.failed_spans,
        "unfinished_spans": summary.open_spans,
        "agents": agents,
        "tokens": summary.tokens,
        "cost": summary.cost,
        "pinned": summary.is_pinned,
    })
}

/// What a client calls a trace: the text it gave, else the id.
pub(super) fn trace_name(spans: &[Span], id: TraceId) -> String {
    let named = spans
        .iter()
        .find_map(|span| span.attributes.text(own_attributes::TRACE_NAME));
    named.map_or_else(|| id.to_string(), str::to_owned)
}

fn without_names(attributes: &Attributes) -> Value {
    let own = [own_attributes::TRACE_NAME, own_attributes::SPAN_NAME];
    let pairs = attributes.iter().filter(|(key, _)| !own.contains(&&***key));
    pairs
        .map(|(key, value)| (Arc::clone(key), value.clone()))
        .collect::<Attributes>()
        .to_json()
}

fn event_json(event: &SpanEvent) -> Value {
    json!({
        "timestamp": time_text(event.time_ns),
        "message": &*event.name,
        "fields": event.attributes.to_json(),
    })
}

fn link_json(link: &SpanLink) -> Value {
    json!({
        "trace_id": link.trace_id.to_string(),
        "span_id": link.span_id.to_string(),
        "attributes": link.attributes.to_json(),
    })
}

fn usage_json(usage: &TokenUsage) -> Value {
    json!({
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation_input_tokens": usage.cache_creation,
        "reasoning_output_tokens": usage.reasoning,
        "cost": usage.cost,
    })
}

/// RFC 3339 in UTC, to the nanosecond where there are any.
pub(super) fn time_text(ns: i64) -> String {
    DateTime::from_timestamp_nanos(ns).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

pub(super) fn milliseconds(ns: i64) -> f64 {
    ns as f64 / 1e6
}
