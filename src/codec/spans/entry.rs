//! What is known of a trace without reading its spans, and where they are.
//!
//! ```text
//! format: u8 = 1 | first start: zigzag | last end - first start: zigzag
//! | flags: u8 (1 root is there, 2 name, 4 cost, 8 service) | start of the first span or root: zigzag from first start
//! | agent of it: varint | operation of it: bytes | service: bytes | name: bytes
//! | failed: varint | tokens: varint | cost: f64
//! | agents: varint | each: number: varint, spans: varint
//! | blocks: varint | each: agent: varint, first start in ms: zigzag from the one before, sequence: varint, part: varint
//! | CRC32C of all before: u32
//! ```

use std::sync::Arc;

use super::{FORMAT, header::checked};
use crate::{
    codec::{Corrupt, varint},
    model::{AgentNo, Span, own_attributes},
};

/// A block of the trace's partition, by the rest of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockRef {
    /// Agent of its spans.
    pub agent: AgentNo,
    /// Milliseconds since the epoch of its first start.
    pub start_ms: i64,
    /// Log record up to which it was written.
    pub sequence: u64,
    /// Its number among those that were written with it.
    pub part: u32,
}

/// What spans of one trace add up to.
#[derive(Clone, Debug, PartialEq)]
pub struct TracePart {
    /// The first start, nanoseconds since the epoch.
    pub start_ns: i64,
    /// The last end, or start of an open span.
    pub end_ns: i64,
    /// Whether a span without a parent is among them.
    pub has_root: bool,
    /// Start of that span, or of the first one while there is none.
    pub told_start_ns: i64,
    /// Its agent.
    pub told_agent: AgentNo,
    /// Its operation.
    pub told_operation: Arc<str>,
    /// Its `service.name`.
    pub told_service: Option<Arc<str>>,
    /// What a client called the trace.
    pub name: Option<Arc<str>>,
    /// Spans that failed.
    pub failed: u32,
    /// Tokens of inferences.
    pub tokens: u64,
    /// Their cost, where it is known.
    pub cost: Option<f64>,
    /// Agents with their spans, by number.
    pub agents: Vec<(AgentNo, u32)>,
}

impl TracePart {
    /// Of one span of `agent`.
    pub fn of(span: &Span, agent: AgentNo) -> Self {
        Self {
            start_ns: span.start_ns,
            end_ns: span.end_ns.unwrap_or(span.start_ns).max(span.start_ns),
            has_root: span.parent_id.is_none(),
            told_start_ns: span.start_ns,
            told_agent: agent,
            told_operation: Arc::clone(&span.name),
            told_service: span.resource.service().map(Arc::from),
            name: span
                .attributes
                .text(own_attributes::TRACE_NAME)
                .map(Arc::from),
            failed: u32::from(span.is_failed()),
            tokens: span.usage.map_or(0, |usage| usage.total()),
            cost: span.usage.and_then(|usage| usage.cost),
            agents: vec![(agent, 1)],
        }
    }

    /// Spans.
    pub fn spans(&self) -> u32 {
        self.agents.iter().map(|(_, spans)| spans).sum()
    }

    /// Adds what other spans of the same trace add up to; the order does not matter.
    pub fn add(&mut self, other: &Self) {
        self.start_ns = self.start_ns.min(other.start_ns);
        self.end_ns = self.end_ns.max(other.end_ns);
        // The root tells; of several, and without one, the first, by place and then by name.
        let rank = |part: &Self| {
            (
                !part.has_root,
                part.told_start_ns,
                Arc::clone(&part.told_operation),
                part.told_agent,
            )
        };
        if rank(other) < rank(self) {
            self.has_root = other.has_root;
            self.told_start_ns = other.told_start_ns;
            self.told_agent = other.told_agent;
            self.told_operation = Arc::clone(&other.told_operation);
            self.told_service.clone_from(&other.told_service);
        }
        if self.name.is_none() {
            self.name.clone_from(&other.name);
        }
        self.failed = self.failed.saturating_add(other.failed);
        self.tokens = self.tokens.saturating_add(other.tokens);
        if let Some(cost) = other.cost {
            *self.cost.get_or_insert(0.0) += cost;
        }
        for (agent, spans) in &other.agents {
            match self.agents.binary_search_by_key(agent, |(no, _)| *no) {
                Ok(place) => self.agents[place].1 = self.agents[place].1.saturating_add(*spans),
                Err(place) => self.agents.insert(place, (*agent, *spans)),
            }
        }
    }
}

/// A trace, or its part within one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceEntry {
    /// What its spans add up to.
    pub part: TracePart,
    /// Where they are.
    pub blocks: Vec<BlockRef>,
}

mod bit {
    pub(super) const ROOT: u8 = 1;
    pub(super) const NAME: u8 = 2;
    pub(super) const COST: u8 = 4;
    pub(super) const SERVICE: u8 = 8;
}

impl TraceEntry {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let part = &self.part;
        let mut out = vec![FORMAT];
        varint::put_i64(&mut out, part.start_ns);
        varint::put_i64(&mut out, part.end_ns.wrapping_sub(part.start_ns));
        let mut flags = 0;
        for (is, bit) in [
            (part.has_root, bit::ROOT),
            (part.name.is_some(), bit::NAME),
            (part.cost.is_some(), bit::COST),
            (part.told_service.is_some(), bit::SERVICE),
        ] {
            if is {
                flags |= bit;
            }
        }
        out.push(flags);
        varint::put_i64(&mut out, part.told_start_ns.wrapping_sub(part.start_ns));
        varint::put_u64(&mut out, u64::from(part.told_agent.0));
        varint::put_bytes(&mut out, part.told_operation.as_bytes());
        for text in [&part.told_service, &part.name].into_iter().flatten() {
            varint::put_bytes(&mut out, text.as_bytes());
        }
        varint::put_u64(&mut out, u64::from(part.failed));
        varint::put_u64(&mut out, part.tokens);
        if let Some(cost) = part.cost {
            out.extend(cost.to_bits().to_le_bytes());
        }
        varint::put_u64(&mut out, part.agents.len() as u64);
        for (agent, spans) in &part.agents {
            varint::put_u64(&mut out, u64::from(agent.0));
            varint::put_u64(&mut out, u64::from(*spans));
        }
        varint::put_u64(&mut out, self.blocks.len() as u64);
        let mut before = 0i64;
        for block in &self.blocks {
            varint::put_u64(&mut out, u64::from(block.agent.0));
            varint::put_i64(&mut out, block.start_ms.wrapping_sub(before));
            before = block.start_ms;
            varint::put_u64(&mut out, block.sequence);
            varint::put_u64(&mut out, u64::from(block.part));
        }
        let checksum = crc32c::crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads it.
    ///
    /// # Errors
    /// The bytes are damaged, or written by a newer longwatch.
    pub fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut rest = checked(bytes)?;
        let rest = &mut rest;
        let start_ns = varint::take_i64(rest)?;
        let end_ns = start_ns.wrapping_add(varint::take_i64(rest)?);
        let (flags, after) = rest.split_first().ok_or(CUT_OFF)?;
        *rest = after;
        let has = |bit: u8| flags & bit != 0;
        let told_start_ns = start_ns.wrapping_add(varint::take_i64(rest)?);
        let told_agent = take_agent(rest)?;
        let told_operation = take_text(rest)?;
        let told_service = has(bit::SERVICE).then(|| take_text(rest)).transpose()?;
        let name = has(bit::NAME).then(|| take_text(rest)).transpose()?;
        let failed = take_u32(rest)?;
        let tokens = varint::take_u64(rest)?;
        let cost = if has(bit::COST) {
            let (bits, after) = rest.split_first_chunk::<8>().ok_or(CUT_OFF)?;
            *rest = after;
            Some(f64::from_bits(u64::from_le_bytes(*bits)))
        } else {
            None
        };
        let mut agents = Vec::new();
        for _ in 0..varint::take_u64(rest)? {
            agents.push((take_agent(rest)?, take_u32(rest)?));
        }
        let mut blocks = Vec::new();
        let mut before = 0i64;
        for _ in 0..varint::take_u64(rest)? {
            let agent = take_agent(rest)?;
            before = before.wrapping_add(varint::take_i64(rest)?);
            blocks.push(BlockRef {
                agent,
                start_ms: before,
                sequence: varint::take_u64(rest)?,
                part: take_u32(rest)?,
            });
        }
        if !rest.is_empty() {
            return Err(Corrupt::new("the record of a trace has bytes left over"));
        }
        Ok(Self {
            part: TracePart {
                start_ns,
                end_ns,
                has_root: has(bit::ROOT),
                told_start_ns,
                told_agent,
                told_operation,
                told_service,
                name,
                failed,
                tokens,
                cost,
                agents,
            },
            blocks,
        })
    }
}

const CUT_OFF: Corrupt = Corrupt::new("the record of a trace is cut off");

fn take_u32(rest: &mut &[u8]) -> Result<u32, Corrupt> {
    u32::try_from(varint::take_u64(rest)?)
        .map_err(|_| Corrupt::new("a count in the record of a trace is too large"))
}

fn take_agent(rest: &mut &[u8]) -> Result<AgentNo, Corrupt> {
    take_u32(rest).map(AgentNo)
}

fn take_text(rest: &mut &[u8]) -> Result<Arc<str>, Corrupt> {
    let text = str::from_utf8(varint::take_bytes(rest)?);
    text.map(Arc::from)
        .map_err(|_| Corrupt::new("the record of a trace has a text that is no UTF-8"))
}
