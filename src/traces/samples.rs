//! Spans for tests.

use crate::model::{AgentId, Span, SpanId, SpanKind, SpanStatus, TraceId};

/// Nanoseconds of a millisecond.
pub(super) const MS: i64 = 1_000_000;

/// 2024-01-01T00:00:00Z.
pub(super) const START: i64 = 1_704_067_200_000_000_000;

pub(super) fn id(no: u64) -> SpanId {
    SpanId::new(no).unwrap()
}

pub(super) fn agent(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

/// An ended span of trace 1, in milliseconds after [`START`].
pub(super) fn span(no: u64, parent: u64, label: &str, from: i64, to: i64) -> Span {
    let (agent_name, name) = label.split_once(':').unwrap();
    let start = START + from * MS;
    let trace = TraceId::new(1).unwrap();
    let mut span = Span::new(trace, id(no), agent(agent_name), name, start);
    span.parent_id = SpanId::new(parent);
    span.end_ns = Some(START + to * MS);
    span
}

pub(super) fn failed(mut span: Span, message: &str) -> Span {
    span.status = SpanStatus::Error;
    span.status_message = message.into();
    span
}

pub(super) fn kind(mut span: Span, kind: SpanKind) -> Span {
    span.kind = kind;
    span
}

pub(super) fn open(mut span: Span) -> Span {
    span.end_ns = None;
    span
}
