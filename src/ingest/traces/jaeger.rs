//! Spans out of the JSON of Jaeger's query API.

use std::{collections::HashMap, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as Told};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Received, SpanLimits,
    intake::Intake,
    json_body::JsonBody,
    json_fields::{Scalar, Text, list, whole},
    tags::{nanoseconds, pair, parent_id, shown_id, span_id, trace_id, understand_tags},
};
use crate::{
    ingest::BodyError,
    model::{Resource, Span, SpanEvent, SpanLink},
};

/// Reads traces in the form that [`super::to_jaeger_json`] writes: an answer of the API (`{"data":[...]}`) or one trace of it. References to a parent in the
/// same trace make it the parent, others become links.
///
/// # Errors
/// [`BodyError::Syntax`] when the body is no JSON of that form, [`BodyError::Refused`] when none of its spans can be
/// taken, [`BodyError::Limit`] when it has too many.
pub fn parse_jaeger_json(body: &[u8], limits: &SpanLimits) -> Result<Received, BodyError> {
    let body = JsonBody::new(body);
    let document: Document<'_> = body.read(b'{')?;
    let mut intake = Intake::new(limits);
    let bare = Trace {
        spans: document.spans,
        processes: document.processes,
    };
    for trace in document.data.into_iter().chain([bare]) {
        let processes: HashMap<String, Arc<Resource>> = trace
            .processes
            .unwrap_or_default()
            .into_iter()
            .map(|(name, told)| (name, resource(&mut intake, told)))
            .collect();
        for part in trace.spans {
            intake.check_count()?;
            let mut id = None;
            let span = intake.check_size(part.get().len()).and_then(|()| {
                let told = body.part::<JaegerSpan<'_>>(part, intake.keeps_reasons())?;
                id = Some(shown_id(&told.span_id.0));
                span(&mut intake, told, &processes)
            });
            intake.take(id.filter(|_| span.is_err()), span);
        }
    }
    intake.finish()
}

fn resource(intake: &mut Intake<'_>, told: Process<'_>) -> Arc<Resource> {
    let mut pairs: Vec<_> = told.tags.into_iter().map(KeyValue::from).collect();
    if !told.service_name.0.is_empty() {
        let name = Told::StringValue(told.service_name.0.into_owned());
        pairs.insert(0, pair("service.name", name));
    }
    let (attributes, dropped_attributes) = intake.attributes(pairs, 0);
    intake.shared_resource(Resource {
        attributes,
        dropped_attributes,
        ..Resource::default()
    })
}

fn span(
    intake: &mut Intake<'_>,
    told: JaegerSpan<'_>,
    processes: &HashMap<String, Arc<Resource>>,
) -> Result<Span, String> {
    let mut ids = (
        trace_id(&told.trace_id.0)?,
        span_id(&told.span_id.0)?,
        parent_id(&told.parent_span_id.0)?,
    );
    let (mut links, mut dropped_links) = (Vec::new(), 0);
    for reference in &told.references {
        let other =
            trace_id(&reference.trace_id.0).and_then(|t| Ok((t, span_id(&reference.span_id.0)?)));
        match other {
            Ok((trace, span))
                if trace == ids.0
                    && ids.2.is_none_or(|parent| parent == span)
                    && reference.kind.0.eq_ignore_ascii_case("CHILD_OF") =>
            {
                ids.2 = Some(span);
            }
            Ok((trace_id, span_id)) if links.len() < intake.limits.links => links.push(SpanLink {
                trace_id,
                span_id,
                ..SpanLink::default()
            }),
            _ => dropped_links += 1,
        }
    }
    let start = nanoseconds("start", told.start_time)?;
    let end = nanoseconds("end", told.start_time.saturating_add(told.duration))?;
    let mut span = intake.span(ids, &told.operation_name.0, (start, end))?;
    (span.links, span.dropped_links) = (links, dropped_links);
    span.flags = told.flags;
    let pairs = told.tags.into_iter().map(KeyValue::from).collect();
    (span.attributes, span.dropped_attributes) = intake.attributes(pairs, 0);
    for log in told.logs {
        let time_ns = nanoseconds("event", log.timestamp);
        let time_ns = time_ns.ok().and_then(|time| i64::try_from(time).ok());
        let Some(time_ns) = time_ns.filter(|_| span.events.len() < intake.limits.events) else {
            span.dropped_events = span.dropped_events.saturating_add(1);
            continue;
        };
        let pairs = log.fields.into_iter().map(KeyValue::from).collect();
        let (mut attributes, dropped_attributes) = intake.attributes(pairs, 0);
        let name = attributes.text("event").map(|name| intake.name(name));
        if name.is_some() {
            attributes.remove("event");
        }
        span.events.push(SpanEvent {
            time_ns,
            name: name.unwrap_or_default(),
            attributes,
            dropped_attributes,
        });
    }
    span.resource = match (told.process, processes.get(&*told.process_id.0)) {
        (Some(process), _) => resource(intake, process),
        (None, Some(resource)) => Arc::clone(resource),
        (None, None) => Arc::default(),
    };
    understand_tags(&mut span);
    Intake::understand(span)
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow, default, deserialize_with = "list")]
    data: Vec<Trace<'a>>,
    #[serde(borrow, default, deserialize_with = "list")]
    spans: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    processes: Option<HashMap<String, Process<'a>>>,
}

#[derive(Deserialize)]
struct Trace<'a> {
    #[serde(borrow, default, deserialize_with = "list")]
    spans: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    processes: Option<HashMap<String, Process<'a>>>,
}

#[derive(Deserialize)]
struct Process<'a> {
    #[serde(borrow, default, rename = "serviceName")]
    service_name: Text<'a>,
    #[serde(borrow, default, deserialize_with = "list")]
    tags: Vec<Tag<'a>>,
}

#[derive(Deserialize)]
struct JaegerSpan<'a> {
    #[serde(borrow, default, rename = "traceID")]
    trace_id: Text<'a>,
    #[serde(borrow, default, rename = "spanID")]
    span_id: Text<'a>,
    #[serde(borrow, default, rename = "parentSpanID")]
    parent_span_id: Text<'a>,
    #[serde(borrow, default, rename = "operationName")]
    operation_name: Text<'a>,
    #[serde(borrow, default, deserialize_with = "list")]
    references: Vec<Reference<'a>>,
    #[serde(default, deserialize_with = "whole")]
    flags: u32,
    /// Microseconds, as all times are.
    #[serde(default, deserialize_with = "whole", rename = "startTime")]
    start_time: u64,
    #[serde(default, deserialize_with = "whole")]
    duration: u64,
    #[serde(borrow, default, deserialize_with = "list")]
    tags: Vec<Tag<'a>>,
    #[serde(borrow, default, deserialize_with = "list")]
    logs: Vec<Log<'a>>,
    #[serde(borrow, default, rename = "processID")]
    process_id: Text<'a>,
    #[serde(borrow, default)]
    process: Option<Process<'a>>,
}

#[derive(Deserialize)]
struct Reference<'a> {
    #[serde(borrow, default, rename = "refType")]
    kind: Text<'a>,
    #[serde(borrow, default, rename = "traceID")]
    trace_id: Text<'a>,
    #[serde(borrow, default, rename = "spanID")]
    span_id: Text<'a>,
}

#[derive(Deserialize)]
struct Log<'a> {
    #[serde(default, deserialize_with = "whole")]
    timestamp: u64,
    #[serde(borrow, default, deserialize_with = "list")]
    fields: Vec<Tag<'a>>,
}

#[derive(Deserialize)]
struct Tag<'a> {
    #[serde(borrow, default)]
    key: Text<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(default)]
    value: Scalar,
}

impl From<Tag<'_>> for KeyValue {
    /// The value in the type that the tag names, as it stands where it is none.
    fn from(tag: Tag<'_>) -> Self {
        let value = tag.value.0.unwrap_or(Told::StringValue(String::new()));
        let value = match (&*tag.kind.0, value) {
            ("int64", Told::StringValue(text)) => {
                text.parse().map_or(Told::StringValue(text), Told::IntValue)
            }
            ("float64", Told::StringValue(text)) => text
                .parse()
                .map_or(Told::StringValue(text), Told::DoubleValue),
            ("float64", Told::IntValue(number)) => Told::DoubleValue(number as f64),
            ("bool", Told::StringValue(text)) => text
                .parse()
                .map_or(Told::StringValue(text), Told::BoolValue),
            ("binary", Told::StringValue(text)) => BASE64
                .decode(&text)
                .map_or(Told::StringValue(text), Told::BytesValue),
            (_, value) => value,
        };
        pair(tag.key.0, value)
    }
}
