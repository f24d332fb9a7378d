//! Spans of one agent that came together: encoded once, for the log and for memory.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, OnceLock},
};

use super::{
    BLOCK_SPANS_MAX, BLOCK_TEXT_BYTES_MAX, LOG_LEVEL,
    operations::{self, AgentOperations},
};
use crate::{
    codec::{Corrupt, SpanHeader, TracePart, WalSpans, decode_spans, encode_spans},
    model::{AgentId, AgentNo, AttributeValue, Attributes, Span, SpanId, TraceId},
};

/// Memory of one trace within a chunk, beside its texts.
const TRACE_BYTES: usize = 240;

/// Spans of one agent as a block, with what is known of their traces.
#[derive(Clone, Debug)]
pub(in crate::store) struct SpanChunk {
    pub(super) agent: AgentNo,
    pub(super) header: SpanHeader,
    pub(super) body: Vec<u8>,
    /// Traces, ascending; the hour of each; what its spans in the chunk add up to.
    pub(super) traces: Vec<(TraceId, i32, TracePart)>,
    /// Its operations, once somebody asked.
    operations: OnceLock<AgentOperations>,
}

impl SpanChunk {
    /// Of spans of one agent, of which there is at least one. The agent's number and the hours are not known yet.
    pub(super) fn of(spans: &[&Span]) -> Self {
        let (header, body) = encode_spans(spans, LOG_LEVEL);
        let mut traces: BTreeMap<TraceId, TracePart> = BTreeMap::new();
        for span in spans {
            let part = TracePart::of(span, AgentNo::NONE);
            if let Some(sum) = traces.get_mut(&span.trace_id) {
                sum.add(&part);
            } else {
                traces.insert(span.trace_id, part);
            }
        }
        let traces = traces.into_iter();
        Self {
            agent: AgentNo::NONE,
            header,
            body,
            traces: traces.map(|(id, part)| (id, 0, part)).collect(),
            operations: OnceLock::new(),
        }
    }

    /// Of a section of the log.
    pub(super) fn of_log(spans: WalSpans) -> Result<Self, Corrupt> {
        Ok(Self {
            agent: spans.agent,
            header: SpanHeader::decode(&spans.header)?,
            body: spans.body,
            traces: spans.traces,
            operations: OnceLock::new(),
        })
    }

    /// Gives the agent its number.
    pub(super) fn set_agent(&mut self, agent: AgentNo) {
        self.agent = agent;
        for (_, _, part) in &mut self.traces {
            part.told_agent = agent;
            part.agents.iter_mut().for_each(|(no, _)| *no = agent);
        }
    }

    /// The hour and sum of a trace that is in it.
    pub(super) fn trace(&self, id: TraceId) -> Option<(i32, &TracePart)> {
        let place = self
            .traces
            .binary_search_by_key(&id, |(id, _, _)| *id)
            .ok()?;
        let (_, hour, part) = &self.traces[place];
        Some((*hour, part))
    }

    /// Its operations with the last hour of each. They are looked for once, since a chunk never changes.
    pub(super) fn operations(&self, agent: &AgentId) -> Result<&AgentOperations, Corrupt> {
        if let Some(known) = self.operations.get() {
            return Ok(known);
        }
        let mut found = AgentOperations::new();
        for span in decode_spans(&self.body, agent)? {
            if let Some((hour, _)) = self.trace(span.trace_id) {
                let last = found.entry(operations::key_of(&span)).or_insert(hour);
                *last = (*last).max(hour);
            }
        }
        Ok(self.operations.get_or_init(|| found))
    }

    /// Spans.
    pub(super) const fn spans(&self) -> usize {
        self.header.spans as usize
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.body.len() + self.traces.len() * TRACE_BYTES + 512
    }
}

/// Spans of one agent with their ids, before they are committed.
#[derive(Debug)]
pub(in crate::store) struct AgentSpans {
    pub(super) agent: AgentId,
    pub(super) chunks: Vec<SpanChunk>,
    /// Every span in them.
    pub(super) ids: Vec<(TraceId, SpanId)>,
}

/// Cuts spans into chunks by agent, each in order of start.
pub(super) fn by_agent(spans: &[Span]) -> Vec<AgentSpans> {
    let mut agents: BTreeMap<&AgentId, Vec<&Span>> = BTreeMap::new();
    for span in spans {
        agents.entry(&span.agent).or_default().push(span);
    }
    let cut = |(agent, mut spans): (&AgentId, Vec<&Span>)| {
        spans.sort_by_key(|span| span.start_ns);
        AgentSpans {
            agent: agent.clone(),
            chunks: pieces(&spans).into_iter().map(SpanChunk::of).collect(),
            ids: spans
                .iter()
                .map(|span| (span.trace_id, span.span_id))
                .collect(),
        }
    };
    agents.into_iter().map(cut).collect()
}

/// Cuts spans where a block is full.
pub(super) fn pieces<'a, 's>(mut spans: &'a [&'s Span]) -> Vec<&'a [&'s Span]> {
    let mut pieces = Vec::new();
    while !spans.is_empty() {
        let mut bytes = 0;
        let mut end = 0;
        let mut shared: HashSet<*const ()> = HashSet::new();
        while end < spans.len() && end < BLOCK_SPANS_MAX && bytes < BLOCK_TEXT_BYTES_MAX {
            let span = spans[end];
            bytes += text_bytes(span);
            if shared.insert(Arc::as_ptr(&span.resource).cast()) {
                bytes += of_attributes(&span.resource.attributes);
            }
            if shared.insert(Arc::as_ptr(&span.scope).cast()) {
                bytes += of_attributes(&span.scope.attributes);
            }
            end += 1;
        }
        let (piece, rest) = spans.split_at(end);
        pieces.push(piece);
        spans = rest;
    }
    pieces
}

/// Bytes of the texts of a span, about, but for what it shares with others.
pub(super) fn text_bytes(span: &Span) -> usize {
    let events = span
        .events
        .iter()
        .map(|event| of_attributes(&event.attributes) + event.name.len() + 32);
    let links = span
        .links
        .iter()
        .map(|link| of_attributes(&link.attributes) + link.trace_state.len() + 32);
    of_attributes(&span.attributes)
        + span.name.len()
        + span.status_message.len()
        + span.trace_state.len()
        + events.sum::<usize>()
        + links.sum::<usize>()
        + 64
}

fn of_attributes(attributes: &Attributes) -> usize {
    attributes
        .iter()
        .map(|(key, value)| key.len() + of_value(value))
        .sum()
}

fn of_value(value: &AttributeValue) -> usize {
    // Lists and maps within each other are walked without recursion: they come from outside.
    let mut bytes = 0;
    let mut left = vec![value];
    while let Some(value) = left.pop() {
        bytes += match value {
            AttributeValue::Text(text) => text.len(),
            AttributeValue::Bytes(bytes) => bytes.len(),
            AttributeValue::List(values) => {
                left.extend(values);
                8
            }
            AttributeValue::Map(map) => {
                left.extend(map.iter().map(|(_, value)| value));
                map.iter().map(|(key, _)| key.len()).sum::<usize>() + 8
            }
            _ => 8,
        };
    }
    bytes
}
