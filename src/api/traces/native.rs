//! Native calls: a span begins, something happens in it, it ends; traces are kept.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::{Map, Value, json};

use super::{
    intake::{OPEN_AHEAD_MS, contacts_of},
    span_json::{span_json, trace_name},
};
use crate::{
    api::{
        access::BoundAgent,
        body::Payload,
        context::Edge,
        problem::{InputError, Problem},
        texts::Texts,
    },
    ingest::NESTING_MAX,
    model::{
        AgentId, AttributeValue, Attributes, Span, SpanEvent, SpanId, SpanKind, SpanLink,
        SpanStatus, Timestamp, TraceId, own_attributes,
    },
    store::{SpanChange, SpanChanged, TracePin},
    traces::ToldSpan,
};

/// Bytes of an id, an operation, a status.
const NAME_BYTES_MAX: usize = 1_024;
/// Bytes of a message or comment.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// Bytes of the metadata of a span, or of the fields of a log, as JSON.
const ATTRIBUTES_BYTES_MAX: usize = 256 << 10;
/// Links of one span.
const LINKS_MAX: usize = 128;

const START_KEYS: [&str; 8] = [
    "operation",
    "agent_id",
    "parent_span_id",
    "metadata",
    "start_time",
    "span_id",
    "kind",
    "links",
];

pub(in crate::api) async fn start(
    State(edge): State<Arc<Edge>>,
    bound: BoundAgent,
    Path(trace): Path<String>,
    payload: Payload,
) -> Result<(StatusCode, Json<Value>), Problem> {
    check_name("trace_id", &trace)?;
    let body = payload.json().await?;
    let span = read_start(&trace, &body, edge.now())?;
    if !bound.allows(&span.agent) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            format!("this token may not write as agent `{}`", span.agent),
        ));
    }
    let shown = span.shown_id();
    let contacts = contacts_of(&edge.context, std::slice::from_ref(&span), edge.now());
    let told = ToldSpan::from(&span);
    let change = SpanChange::Start(Box::new(span));
    let changed = edge.context.store.change_spans(change, contacts).await?;
    if changed == SpanChanged::Exists {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            format!("span `{shown}` of trace `{trace}` is open already"),
        ));
    }
    edge.context.span_tap.pass(vec![told]);
    let answer = json!({ "trace_id": trace, "span_id": shown });
    Ok((StatusCode::CREATED, Json(answer)))
}

fn read_start(trace: &str, body: &Value, now: Timestamp) -> Result<Span, Problem> {
    let mut texts = Texts::of(body)?;
    texts.only(&START_KEYS);
    let operation = texts.required("operation", NAME_BYTES_MAX);
    let agent = texts.required("agent_id", NAME_BYTES_MAX);
    let agent = agent.map(|text| AgentId::new(&text));
    if let Some(Err(why)) = &agent {
        texts.fault("agent_id", why.to_string());
    }
    let parent = texts.optional("parent_span_id", NAME_BYTES_MAX);
    let own_id = texts.optional("span_id", NAME_BYTES_MAX);
    let start_ns = texts.nanoseconds("start_time", now);
    let kind = texts
        .optional("kind", NAME_BYTES_MAX)
        .map(|word| (SpanKind::of_name(&word), word));
    if let Some((None, word)) = &kind {
        let known = SpanKind::ALL.map(SpanKind::name).join(", ");
        texts.fault("kind", format!("`{word}` is none of {known}"));
    }
    let metadata = attributes(&mut texts, "metadata");
    let links = links(&mut texts);
    texts.finish()?;
    let (Some(operation), Some(Ok(agent))) = (operation, agent) else {
        return Err(Problem::internal("the body could not be read"));
    };
    let (trace_id, is_id) = TraceId::of_text(trace);
    let (span_id, own_name) = match own_id {
        Some(text) => {
            let (id, is_id) = SpanId::of_text(&text);
            (id, (!is_id).then_some(text))
        }
        None => (random_id(), None),
    };
    let start_ns = start_ns.unwrap_or_else(|| now_ns(now));
    if start_ns > now_ns(now.plus_millis(OPEN_AHEAD_MS)) {
        return Err(Problem::invalid_body(vec![InputError {
            pointer: "#/start_time".to_owned(),
            detail: "lies ahead of the server's clock".to_owned(),
        }]));
    }
    let mut span = Span::new(trace_id, span_id, agent, &operation, start_ns);
    span.parent_id = parent.map(|text| SpanId::of_text(&text).0);
    span.kind = kind.and_then(|(kind, _)| kind).unwrap_or_default();
    span.attributes = metadata;
    span.links = links;
    if !is_id {
        let name = AttributeValue::Text(trace.into());
        span.attributes.set(own_attributes::TRACE_NAME, name);
    }
    if let Some(name) = own_name {
        let name = AttributeValue::Text(name.into());
        span.attributes.set(own_attributes::SPAN_NAME, name);
    }
    Ok(span)
}

pub(in crate::api) async fn finish(
    State(edge): State<Arc<Edge>>,
    bound: BoundAgent,
    Path((trace, span)): Path<(String, String)>,
    payload: Payload,
) -> Result<Json<Value>, Problem> {
    let body = payload.json_or_nothing().await?;
    let mut texts = Texts::of(&body)?;
    texts.only(&["status", "metadata", "end_time", "message"]);
    let status = texts.optional("status", NAME_BYTES_MAX);
    if status.as_deref() == Some("") || status.as_deref() == Some("open") {
        texts.fault("status", "must say how the span ended");
    }
    let message = texts.optional("message", TEXT_BYTES_MAX);
    let attributes = attributes(&mut texts, "metadata");
    let end_ns = texts.nanoseconds("end_time", edge.now());
    texts.finish()?;
    let (trace_id, span_id) = (TraceId::of_text(&trace).0, SpanId::of_text(&span).0);
    check_bound(&edge, &bound, trace_id, span_id)?;
    let change = SpanChange::Finish {
        trace_id,
        span_id,
        end_ns,
        status: status.map_or(SpanStatus::Ok, |word| SpanStatus::of_word(&word)),
        message: message.unwrap_or_default(),
        attributes,
        prices: Arc::clone(&edge.context.traces.prices),
    };
    match edge.context.store.change_spans(change, Vec::new()).await? {
        SpanChanged::Span(span) => {
            edge.context.span_tap.tell(std::slice::from_ref(&span));
            Ok(Json(span_json(&span, span.status_word())))
        }
        _ => Err(not_open(&edge, trace, span).await?),
    }
}

pub(in crate::api) async fn log(
    State(edge): State<Arc<Edge>>,
    bound: BoundAgent,
    Path((trace, span)): Path<(String, String)>,
    payload: Payload,
) -> Result<StatusCode, Problem> {
    let body = payload.json().await?;
    let mut texts = Texts::of(&body)?;
    texts.only(&["message", "fields", "timestamp"]);
    let message = texts.required("message", TEXT_BYTES_MAX);
    let fields = attributes(&mut texts, "fields");
    let time_ns = texts.nanoseconds("timestamp", edge.now());
    texts.finish()?;
    let (trace_id, span_id) = (TraceId::of_text(&trace).0, SpanId::of_text(&span).0);
    check_bound(&edge, &bound, trace_id, span_id)?;
    let event = SpanEvent {
        time_ns: time_ns.unwrap_or_else(|| now_ns(edge.now())),
        name: message.unwrap_or_default().into(),
        attributes: fields,
        dropped_attributes: 0,
    };
    let change = SpanChange::Log {
        trace_id,
        span_id,
        event,
    };
    match edge.context.store.change_spans(change, Vec::new()).await? {
        SpanChanged::Span(_) => Ok(StatusCode::NO_CONTENT),
        _ => Err(not_open(&edge, trace, span).await?),
    }
}

pub(in crate::api) async fn pin(
    State(edge): State<Arc<Edge>>,
    Path(trace): Path<String>,
    payload: Payload,
) -> Result<StatusCode, Problem> {
    let body = payload.json_or_nothing().await?;
    let mut texts = Texts::of(&body)?;
    texts.only(&["by", "comment"]);
    let by = texts.optional("by", NAME_BYTES_MAX).unwrap_or_default();
    let comment = texts
        .optional("comment", TEXT_BYTES_MAX)
        .unwrap_or_default();
    texts.finish()?;
    let id = TraceId::of_text(&trace).0;
    let is_known = edge
        .read(move |view| Ok(!view.trace(id)?.is_empty()))
        .await?;
    if !is_known {
        return Err(super::show::unknown(&trace));
    }
    let pin = TracePin {
        by,
        comment,
        at: edge.now(),
    };
    let change = SpanChange::Pin(id, Some(pin));
    edge.context.store.change_spans(change, Vec::new()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(in crate::api) async fn unpin(
    State(edge): State<Arc<Edge>>,
    Path(trace): Path<String>,
) -> Result<StatusCode, Problem> {
    let change = SpanChange::Pin(TraceId::of_text(&trace).0, None);
    match edge.context.store.change_spans(change, Vec::new()).await? {
        SpanChanged::Done(0) => Err(Problem::new(
            StatusCode::NOT_FOUND,
            format!("trace `{trace}` is not pinned"),
        )),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

/// Why a span cannot be changed: it has ended, or nobody knows it.
async fn not_open(edge: &Edge, trace: String, span: String) -> Result<Problem, Problem> {
    let (trace_id, span_id) = (TraceId::of_text(&trace).0, SpanId::of_text(&span).0);
    edge.read(move |view| {
        let spans = view.trace(trace_id)?;
        let known = spans.iter().find(|known| known.span_id == span_id);
        Ok(match known {
            Some(known) => Problem::new(
                StatusCode::CONFLICT,
                format!(
                    "span `{span}` of trace `{}` has ended ({})",
                    trace_name(&spans, trace_id),
                    known.status_word()
                ),
            ),
            None if spans.is_empty() => super::show::unknown(&trace),
            None => Problem::new(
                StatusCode::NOT_FOUND,
                format!("trace `{trace}` has no span `{span}`"),
            ),
        })
    })
    .await
}

/// A token that is bound to an agent changes that agent's spans only.
fn check_bound(
    edge: &Edge,
    bound: &BoundAgent,
    trace_id: TraceId,
    span_id: SpanId,
) -> Result<(), Problem> {
    if bound.is_free() {
        return Ok(());
    }
    let open = edge.context.store.view().open_spans();
    let known = open
        .iter()
        .find(|span| span.trace_id == trace_id && span.span_id == span_id);
    match known {
        Some(span) if !bound.allows(&span.agent) => Err(Problem::new(
            StatusCode::FORBIDDEN,
            format!("this token may not write as agent `{}`", span.agent),
        )),
        _ => Ok(()),
    }
}

fn check_name(pointer: &str, text: &str) -> Result<(), Problem> {
    if text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(Problem::parameter(
            pointer,
            format!("must have at most {NAME_BYTES_MAX} bytes and no control characters"),
        ));
    }
    Ok(())
}

fn attributes(texts: &mut Texts<'_>, key: &'static str) -> Attributes {
    let Some((_, value)) = texts.any(&[key]) else {
        return Attributes::default();
    };
    let Some(object) = value.as_object() else {
        texts.fault(key, "must be an object");
        return Attributes::default();
    };
    let bytes = value.to_string().len();
    if bytes > ATTRIBUTES_BYTES_MAX {
        texts.fault(
            key,
            format!("has {bytes} bytes, at most {ATTRIBUTES_BYTES_MAX} are allowed"),
        );
        return Attributes::default();
    }
    if depth(object) > NESTING_MAX {
        texts.fault(key, format!("is nested deeper than {NESTING_MAX}"));
        return Attributes::default();
    }
    let pairs = object.iter();
    pairs
        .map(|(key, value)| (Arc::from(key.as_str()), AttributeValue::of_json(value)))
        .collect()
}

/// How deep values lie within each other.
fn depth(object: &Map<String, Value>) -> usize {
    let mut deepest = 0;
    let mut left: Vec<(&Value, usize)> = object.values().map(|value| (value, 1)).collect();
    while let Some((value, depth)) = left.pop() {
        deepest = deepest.max(depth);
        match value {
            Value::Array(values) => left.extend(values.iter().map(|value| (value, depth + 1))),
            Value::Object(map) => left.extend(map.values().map(|value| (value, depth + 1))),
            _ => {}
        }
    }
    deepest
}

/// `[{"trace_id", "span_id"}]`
fn links(texts: &mut Texts<'_>) -> Vec<SpanLink> {
    let Some((_, value)) = texts.any(&["links"]) else {
        return Vec::new();
    };
    let list = value.as_array().filter(|list| list.len() <= LINKS_MAX);
    let read = list.and_then(|list| {
        let link = |link: &Value| {
            let text = |key: &str| link.get(key)?.as_str().filter(|text| !text.is_empty());
            Some(SpanLink {
                trace_id: TraceId::of_text(text("trace_id")?).0,
                span_id: SpanId::of_text(text("span_id")?).0,
                ..SpanLink::default()
            })
        };
        list.iter().map(link).collect::<Option<Vec<_>>>()
    });
    read.unwrap_or_else(|| {
        texts.fault(
            "links",
            format!("must be a list of at most {LINKS_MAX} objects with `trace_id` and `span_id`"),
        );
        Vec::new()
    })
}

const fn now_ns(now: Timestamp) -> i64 {
    now.as_millis().saturating_mul(1_000_000)
}

/// An id that no other span has, but for one chance in 2^64.
fn random_id() -> SpanId {
    // The standard library's keys come from the system's random numbers.
    loop {
        if let Some(id) = SpanId::new(RandomState::new().hash_one(0)) {
            return id;
        }
    }
}
