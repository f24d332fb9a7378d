//! From what a format says to spans of the model, within the limits.

use std::sync::Arc;

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource as OtlpResource,
    trace::v1::{
        Span as OtlpSpan,
        span::{Event, Link},
    },
};

use super::{
    Received, SPAN_ERRORS_MAX,
    limits::{NESTING_MAX, SpanLimits},
    words::{Words, cut},
};
use crate::{
    ingest::BodyError,
    model::{
        AgentId, AgentOrigin, AttributeValue, Attributes, Resource, Scope, Span, SpanEvent, SpanId,
        SpanKind, SpanLink, SpanStatus, TraceId, genai, own_attributes,
    },
};

/// Attributes that become fields of a span, and no attributes.
const OWN_ATTRIBUTES: [&str; 3] = [
    own_attributes::SHARED,
    own_attributes::STATUS,
    own_attributes::AGENT,
];

/// A body on its way to spans.
pub(super) struct Intake<'l> {
    pub(super) limits: &'l SpanLimits,
    pub(super) received: Received,
    words: Words,
    unknown: AgentId,
    /// Spans met so far, rejected ones included.
    met: usize,
    /// The resource met last: exporters repeat it.
    resource: Arc<Resource>,
}

impl<'l> Intake<'l> {
    pub(super) fn new(limits: &'l SpanLimits) -> Self {
        Self {
            limits,
            received: Received::default(),
            words: Words::default(),
            unknown: AgentId::unknown(),
            met: 0,
            resource: Arc::default(),
        }
    }

    /// Takes one span, or why there is none.
    pub(super) fn take(&mut self, id: Option<String>, span: Result<Span, String>) {
        let at = self.met;
        self.met += 1;
        match span {
            Ok(span) => self.received.spans.push(span),
            Err(reason) => {
                let what = match id {
                    Some(id) if !id.is_empty() => format!("span {at} ({id})"),
                    _ => format!("span {at}"),
                };
                self.received.reject(&what, &reason);
            }
        }
    }

    /// Whether the reason of one more rejection is kept. Where in the body it stands is costly to say.
    pub(super) fn keeps_reasons(&self) -> bool {
        self.received.errors.len() < SPAN_ERRORS_MAX
    }

    /// Whether the body may have one span more.
    pub(super) fn check_count(&self) -> Result<(), BodyError> {
        if self.met < self.limits.spans {
            return Ok(());
        }
        Err(BodyError::Limit(format!(
            "the body has more than {} spans; send them in parts",
            self.limits.spans
        )))
    }

    /// Why a span of this size is rejected, if it is.
    pub(super) fn check_size(&self, bytes: usize) -> Result<(), String> {
        if bytes <= self.limits.span_bytes {
            return Ok(());
        }
        Err(format!(
            "it has {bytes} bytes, at most {} are taken",
            self.limits.span_bytes
        ))
    }

    /// What came of the body; a body of which no span could be taken is refused as a whole.
    pub(super) fn finish(self) -> Result<Received, BodyError> {
        if self.received.spans.is_empty() && self.received.rejected > 0 {
            return Err(BodyError::Refused(format!(
                "no span of the body can be taken: {}",
                self.received.message()
            )));
        }
        Ok(self.received)
    }

    /// A text that is kept whole up to so many bytes.
    pub(super) fn text(&mut self, text: &str, bytes_max: usize) -> Arc<str> {
        let kept = cut(text, bytes_max);
        self.received.cut += usize::from(kept.len() < text.len());
        self.words.share(kept)
    }

    pub(super) fn name(&mut self, text: &str) -> Arc<str> {
        self.text(text, self.limits.name_bytes)
    }

    /// A span without anything but what each must have. `end_ns` 0 says that it has not ended.
    pub(super) fn span(
        &mut self,
        ids: (TraceId, SpanId, Option<SpanId>),
        name: &str,
        (start_ns, end_ns): (u64, u64),
    ) -> Result<Span, String> {
        if start_ns == 0 {
            return Err("it has no start time".to_owned());
        }
        let start_ns = i64::try_from(start_ns)
            .map_err(|_| format!("its start time {start_ns} lies beyond what 64 bits hold"))?;
        let end_ns = i64::try_from(end_ns)
            .map_err(|_| format!("its end time {end_ns} lies beyond what 64 bits hold"))?;
        let mut span = Span::new(ids.0, ids.1, self.unknown.clone(), "", start_ns);
        span.agent_origin = AgentOrigin::Unknown;
        span.name = self.name(name);
        span.parent_id = ids.2;
        span.end_ns = (end_ns != 0).then_some(end_ns);
        Ok(span)
    }

    /// A span of OTLP.
    pub(super) fn otlp_span(
        &mut self,
        told: OtlpSpan,
        resource: &Arc<Resource>,
        scope: &Arc<Scope>,
    ) -> Result<Span, String> {
        let ids = (
            trace_id(&told.trace_id)?,
            span_id(&told.span_id)?,
            parent_id(&told.parent_span_id)?,
        );
        let times = (told.start_time_unix_nano, told.end_time_unix_nano);
        let mut span = self.span(ids, &told.name, times)?;
        let kind = u8::try_from(told.kind).ok().and_then(SpanKind::of_number);
        span.kind = kind.unwrap_or_default();
        (span.attributes, span.dropped_attributes) =
            self.attributes(told.attributes, told.dropped_attributes_count);
        if let Some(status) = told.status {
            span.status = match status.code {
                1 => SpanStatus::Ok,
                2 => SpanStatus::Error,
                _ => SpanStatus::Unset,
            };
            span.status_message = self.text(&status.message, self.limits.value_bytes);
        }
        span.dropped_events = told.dropped_events_count;
        span.events = Vec::with_capacity(told.events.len().min(self.limits.events));
        for event in told.events {
            match self.event(event, span.events.len()) {
                Some(event) => span.events.push(event),
                None => span.dropped_events = span.dropped_events.saturating_add(1),
            }
        }
        span.dropped_links = told.dropped_links_count;
        for link in told.links {
            match self.link(link, span.links.len()) {
                Some(link) => span.links.push(link),
                None => span.dropped_links = span.dropped_links.saturating_add(1),
            }
        }
        span.trace_state = self.name(&told.trace_state);
        span.flags = told.flags;
        span.resource = Arc::clone(resource);
        span.scope = Arc::clone(scope);
        Self::understand(span)
    }

    /// Understands what clients, and longwatch itself, say by attributes. Every format ends here.
    pub(super) fn understand(mut span: Span) -> Result<Span, String> {
        if span.attributes.text("logfire.span_type") == Some("pending_span") {
            span = pending(span)?;
        }
        if let Some(AttributeValue::Bool(is_shared)) = span.attributes.get(own_attributes::SHARED) {
            span.is_shared = *is_shared;
            span.attributes.remove(own_attributes::SHARED);
        }
        if let Some(word) = span.attributes.text(own_attributes::STATUS) {
            span.status = SpanStatus::Other(word.into());
            span.attributes.remove(own_attributes::STATUS);
        }
        let agent = span.attributes.text(own_attributes::AGENT);
        if let Some(agent) = agent.and_then(AgentId::of_text) {
            span.agent = agent;
            span.agent_origin = AgentOrigin::Own;
            span.attributes.remove(own_attributes::AGENT);
        }
        span.usage = genai::token_usage(&span);
        Ok(span)
    }

    fn event(&mut self, told: Event, before: usize) -> Option<SpanEvent> {
        if before >= self.limits.events {
            return None;
        }
        let time_ns = i64::try_from(told.time_unix_nano).ok()?;
        let (attributes, dropped_attributes) =
            self.attributes(told.attributes, told.dropped_attributes_count);
        Some(SpanEvent {
            time_ns,
            name: self.name(&told.name),
            attributes,
            dropped_attributes,
        })
    }

    fn link(&mut self, told: Link, before: usize) -> Option<SpanLink> {
        if before >= self.limits.links {
            return None;
        }
        let (trace_id, span_id) = (trace_id(&told.trace_id).ok()?, span_id(&told.span_id).ok()?);
        let (attributes, dropped_attributes) =
            self.attributes(told.attributes, told.dropped_attributes_count);
        Some(SpanLink {
            trace_id,
            span_id,
            trace_state: self.name(&told.trace_state),
            attributes,
            dropped_attributes,
            flags: told.flags,
        })
    }

    /// What sent the spans.
    pub(super) fn resource(&mut self, told: OtlpResource, schema_url: &str) -> Arc<Resource> {
        let (attributes, dropped_attributes) =
            self.attributes(told.attributes, told.dropped_attributes_count);
        let schema_url = self.name(schema_url);
        self.shared_resource(Resource {
            attributes,
            dropped_attributes,
            schema_url,
        })
    }

    /// The resource, shared with the one before if it is the same.
    pub(super) fn shared_resource(&mut self, resource: Resource) -> Arc<Resource> {
        if *self.resource != resource {
            self.resource = Arc::new(resource);
        }
        Arc::clone(&self.resource)
    }

    /// The library that made the spans.
    pub(super) fn scope(&mut self, told: InstrumentationScope, schema_url: &str) -> Arc<Scope> {
        let (attributes, dropped_attributes) =
            self.attributes(told.attributes, told.dropped_attributes_count);
        Arc::new(Scope {
            name: self.name(&told.name),
            version: self.name(&told.version),
            attributes,
            dropped_attributes,
            schema_url: self.name(schema_url),
        })
    }

    /// Attributes, and how many were left out by the client and here.
    pub(super) fn attributes(&mut self, told: Vec<KeyValue>, dropped: u32) -> (Attributes, u32) {
        let (mut attributes, mut dropped) = (Attributes::default(), dropped);
        for KeyValue { key, value, .. } in told {
            let mut room = Room {
                bytes: self.limits.value_bytes,
                dropped: 0,
            };
            // What longwatch itself wrote comes on top of what the client sent.
            let is_counted = !OWN_ATTRIBUTES.contains(&key.as_str());
            let is_taken = (!is_counted || attributes.len() < self.limits.attributes)
                && !key.is_empty()
                && key.len() <= self.limits.name_bytes;
            if is_taken && let Some(value) = self.value(value.unwrap_or_default(), 0, &mut room) {
                attributes.push(self.words.share(&key), value);
            } else {
                room.dropped += u32::from(room.dropped == 0);
            }
            dropped = dropped.saturating_add(room.dropped);
        }
        (attributes, dropped)
    }

    /// A value, `None` where there is no room for it. Recurses [`NESTING_MAX`] levels at most.
    fn value(&mut self, told: AnyValue, level: usize, room: &mut Room) -> Option<AttributeValue> {
        if level > self.limits.nesting.min(NESTING_MAX) || (level > 0 && room.bytes == 0) {
            room.dropped = room.dropped.saturating_add(1);
            return None;
        }
        Some(match told.value {
            None | Some(Value::StringValueStrindex(_)) => AttributeValue::Empty,
            Some(Value::StringValue(text)) => {
                let text = self.text(&text, room.bytes);
                room.spend(text.len());
                AttributeValue::Text(text)
            }
            Some(Value::BoolValue(is)) => AttributeValue::Bool(is),
            Some(Value::IntValue(number)) => AttributeValue::Int(number),
            Some(Value::DoubleValue(number)) => AttributeValue::Float(number),
            Some(Value::BytesValue(bytes)) => {
                let kept = &bytes[..bytes.len().min(room.bytes)];
                self.received.cut += usize::from(kept.len() < bytes.len());
                room.spend(kept.len());
                AttributeValue::Bytes(kept.into())
            }
            Some(Value::ArrayValue(list)) => {
                let values = list.values.into_iter().filter_map(|value| {
                    room.spend(1);
                    self.value(value, level + 1, room)
                });
                AttributeValue::List(values.collect())
            }
            Some(Value::KvlistValue(map)) => {
                let pairs = map.values.into_iter().filter_map(|pair| {
                    room.spend(pair.key.len() + 1);
                    let value = self.value(pair.value.unwrap_or_default(), level + 1, room)?;
                    Some((self.words.share(&pair.key), value))
                });
                AttributeValue::Map(pairs.collect())
            }
        })
    }
}

/// What is left for the value of an attribute.
struct Room {
    bytes: usize,
    /// Parts that were left out.
    dropped: u32,
}

impl Room {
    const fn spend(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Logfire tells that a span has begun by another one: a span of no duration with an id of its own, whose parent is the
/// real one. <https://logfire.pydantic.dev/>
fn pending(mut span: Span) -> Result<Span, String> {
    span.span_id = span
        .parent_id
        .ok_or("it is a `pending_span` without the span that it announces")?;
    let parent = span.attributes.remove("logfire.pending_parent_id");
    span.parent_id = parent.and_then(|parent| SpanId::from_hex(parent.as_text()?));
    span.attributes.remove("logfire.span_type");
    span.end_ns = None;
    Ok(span)
}

fn trace_id(bytes: &[u8]) -> Result<TraceId, String> {
    if bytes.len() != 16 {
        return Err(format!(
            "its trace id has {} bytes, expected 16",
            bytes.len()
        ));
    }
    TraceId::from_bytes(bytes).ok_or_else(|| "its trace id is all zero".to_owned())
}

fn span_id(bytes: &[u8]) -> Result<SpanId, String> {
    if bytes.len() != 8 {
        return Err(format!("its span id has {} bytes, expected 8", bytes.len()));
    }
    SpanId::from_bytes(bytes).ok_or_else(|| "its span id is all zero".to_owned())
}

/// The parent, `None` where it is absent or all zero.
fn parent_id(bytes: &[u8]) -> Result<Option<SpanId>, String> {
    match bytes.len() {
        0 => Ok(None),
        8 => Ok(SpanId::from_bytes(bytes)),
        other => Err(format!(
            "its parent's span id has {other} bytes, expected 8"
        )),
    }
}
