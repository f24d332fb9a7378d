//! OTLP traces in protobuf: an `ExportTraceServiceRequest`, or a `TracesData`, which looks the same.

use std::sync::Arc;

use opentelemetry_proto::tonic::{
    common::v1::InstrumentationScope, resource::v1::Resource as OtlpResource,
    trace::v1::Span as OtlpSpan,
};
use prost::Message;

use super::{Received, SpanLimits, intake::Intake, wire::Fields};
use crate::{
    ingest::BodyError,
    model::{AgentOrigin, Resource, Scope, Span, genai},
};

/// Reads a body of `application/x-protobuf`. Spans that cannot be taken are counted and the others kept; see
/// [`Received`]. Duplicates are kept.
///
/// # Errors
/// [`BodyError::Refused`] when the body is no such message or none of its spans can be taken, [`BodyError::Limit`]
/// when it has too many.
pub fn parse_otlp_protobuf(body: &[u8], limits: &SpanLimits) -> Result<Received, BodyError> {
    let mut intake = Intake::new(limits);
    each_group(body, |group| {
        if group.scoped.is_empty() {
            return Ok(());
        }
        let first = intake.received.spans.len();
        let resource = intake.resource(
            group.resource.clone().unwrap_or_default(),
            &group.schema_url,
        );
        for scoped in &group.scoped {
            let scoped = Scoped::read(scoped)?;
            let scope = intake.scope(scoped.scope, &scoped.schema_url);
            for bytes in scoped.items {
                intake.check_count()?;
                protobuf_span(&mut intake, bytes, &resource, &scope);
            }
        }
        refuse_nameless(&mut intake, group.resource.is_some(), first);
        Ok(())
    })?;
    intake.finish()
}

fn protobuf_span(
    intake: &mut Intake<'_>,
    bytes: &[u8],
    resource: &Arc<Resource>,
    scope: &Arc<Scope>,
) {
    let mut id = None;
    let span = intake.check_size(bytes.len()).and_then(|()| {
        let told = OtlpSpan::decode(bytes).map_err(|error| error.to_string())?;
        id = Some(hex(&told.span_id));
        intake.otlp_span(told, resource, scope)
    });
    intake.take(id.filter(|_| span.is_err()), span);
}

/// The first bytes of an id in hexadecimal digits, for messages.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().take(16).map(|byte| format!("{byte:02x}"));
    digits.collect()
}

/// Rejects the spans from `first` on if their sender says who it is, and says nothing.
///
/// A message without a resource says that none is known, which OTLP allows. A resource without any attribute lacks
/// `service.name`, which every one must have; unless the spans name their agents, nothing tells whose they are.
pub(super) fn refuse_nameless(intake: &mut Intake<'_>, has_resource: bool, first: usize) {
    let spans = &mut intake.received.spans;
    let Some(group) = spans.get(first..).filter(|group| !group.is_empty()) else {
        return;
    };
    let is_nameless = |span: &Span| {
        span.resource.attributes.is_empty()
            && span.resource.dropped_attributes == 0
            && span.agent_origin == AgentOrigin::Unknown
            && genai::agent_of(span).is_none()
    };
    if !has_resource || !group.iter().all(is_nameless) {
        return;
    }
    let refused: Vec<_> = spans.drain(first..).collect();
    for span in refused {
        let what = format!("span {}", span.span_id);
        let reason = "its resource has no `service.name` and nothing names its agent";
        intake.received.reject(&what, reason);
    }
}

/// What one resource sent.
pub(super) struct Group<'a> {
    pub(super) resource: Option<OtlpResource>,
    pub(super) scoped: Vec<&'a [u8]>,
    pub(super) schema_url: String,
}

/// What one library made: spans or log records, still in bytes.
pub(super) struct Scoped<'a> {
    pub(super) scope: InstrumentationScope,
    pub(super) items: Vec<&'a [u8]>,
    pub(super) schema_url: String,
}

/// Calls for each `ResourceSpans` of a request; `ResourceLogs` look the same.
pub(super) fn each_group<'a>(
    body: &'a [u8],
    mut each: impl FnMut(Group<'a>) -> Result<(), BodyError>,
) -> Result<(), BodyError> {
    for field in Fields(body) {
        let (1, bytes) = field.map_err(damaged)? else {
            continue;
        };
        let mut group = Group {
            resource: None,
            scoped: Vec::new(),
            schema_url: String::new(),
        };
        for field in Fields(bytes) {
            match field.map_err(damaged)? {
                (1, bytes) => group
                    .resource
                    .get_or_insert_default()
                    .merge(bytes)
                    .map_err(damaged)?,
                (2, bytes) => group.scoped.push(bytes),
                (3, bytes) => group.schema_url = text(bytes)?,
                _ => {}
            }
        }
        each(group)?;
    }
    Ok(())
}

impl<'a> Scoped<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, BodyError> {
        let mut scoped = Self {
            scope: InstrumentationScope::default(),
            items: Vec::new(),
            schema_url: String::new(),
        };
        for field in Fields(bytes) {
            match field.map_err(damaged)? {
                (1, bytes) => scoped.scope.merge(bytes).map_err(damaged)?,
                (2, bytes) => scoped.items.push(bytes),
                (3, bytes) => scoped.schema_url = text(bytes)?,
                _ => {}
            }
        }
        Ok(scoped)
    }
}

fn text(bytes: &[u8]) -> Result<String, BodyError> {
    String::from_utf8(bytes.to_vec()).map_err(damaged)
}

fn damaged(error: impl std::fmt::Display) -> BodyError {
    BodyError::Refused(format!("the body is no OTLP in protobuf: {error}"))
}
