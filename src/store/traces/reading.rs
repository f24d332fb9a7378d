//! Traces of a moment: from blocks, from spans that wait in memory, and from those that have not ended.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use redb::{AccessGuard, ReadOnlyTable, ReadableTable};

use super::{heads::HeadChunk, nanoseconds, packing::key_of};
use crate::{
    codec::{TraceEntry, TracePart, decode_spans},
    model::{
        AgentId, AgentNo, ReadError, Span, SpanFilter, SpanOperation, Timestamp, TraceHistory,
        TraceId, TracePage, TraceQuery, TraceSummary, TraceVisit, Window,
    },
    store::{
        moment::{Moment, backend, guarded},
        tables::{self, SpanKey, meta},
    },
};

/// Spans that a trace is reckoned with.
const SPANS_OF_TRACE: u64 = 20;
/// Spans that [`TraceHistory::each_trace`] has in memory at once, about.
const SPANS_AT_ONCE: u64 = 100_000;

pub(super) type Blocks = ReadOnlyTable<SpanKey, &'static [u8]>;

impl TraceHistory for Moment {
    fn trace(&self, id: TraceId) -> Result<Vec<Span>, ReadError> {
        let mut spans = guarded(|| self.spans_in_blocks(id))?;
        let flushed = self.spans_flushed()?;
        for head in self
            .traces
            .heads
            .of_trace(id)
            .filter(|head| head.sequence > flushed)
        {
            let of_chunk = self.spans_of_head(head)?;
            spans.extend(of_chunk.into_iter().filter(|span| span.trace_id == id));
        }
        spans.extend(self.traces.open_of(id).map(|open| Span::clone(&open.span)));
        spans.sort_by_key(|span| (span.start_ns, span.span_id));
        Ok(spans)
    }

    fn trace_spans(&self, id: TraceId) -> Result<u64, ReadError> {
        let summary = self.summary(id, self.spans_flushed()?)?;
        Ok(summary.map_or(0, |summary| u64::from(summary.spans)))
    }

    fn find_traces(&self, query: &TraceQuery) -> Result<TracePage, ReadError> {
        let (page, work) = self.search(query)?;
        tracing::debug!(
            work.opened,
            work.decoded,
            work.summed,
            "blocks of spans looked at in a search"
        );
        Ok(page)
    }

    fn each_trace(
        &self,
        window: Window,
        filter: &SpanFilter,
        visit: &mut TraceVisit<'_>,
    ) -> Result<(), ReadError> {
        for hour in self.hours_of(window)? {
            if !self.each_of_hour(hour, window, filter, visit)? {
                break;
            }
        }
        Ok(())
    }

    fn operations(&self, from: Timestamp) -> Result<Vec<SpanOperation>, ReadError> {
        self.known_operations(from)
    }

    fn open_spans(&self) -> Vec<Arc<Span>> {
        let mut spans: Vec<_> = self
            .traces
            .open
            .values()
            .map(|open| Arc::clone(&open.span))
            .collect();
        spans.sort_by_key(|span| span.start_ns);
        spans
    }
}

impl Moment {
    /// Log record up to which the blocks of this moment have all spans.
    pub(super) fn spans_flushed(&self) -> Result<u64, ReadError> {
        guarded(|| {
            let table = self.table(tables::META)?;
            let row = table.get(meta::SPANS_FLUSHED).map_err(|e| backend(&e))?;
            let bytes = row.and_then(|row| row.value().try_into().ok());
            Ok(bytes.map_or(0, u64::from_le_bytes))
        })
    }

    pub(super) fn agent_name(&self, agent: AgentNo) -> Result<AgentId, ReadError> {
        self.catalog
            .agent(agent)
            .map(|entry| entry.id.clone())
            .ok_or_else(|| {
                ReadError::Damaged(format!(
                    "spans of agent number {}, which there is not",
                    agent.0
                ))
            })
    }

    pub(super) fn spans_of_head(&self, head: &HeadChunk) -> Result<Vec<Span>, ReadError> {
        let agent = self.agent_name(head.chunk.agent)?;
        decode_spans(&head.chunk.body, &agent).map_err(|e| ReadError::Damaged(e.to_string()))
    }

    pub(super) fn spans_of_block(
        &self,
        blocks: &Blocks,
        key: SpanKey,
    ) -> Result<Vec<Span>, ReadError> {
        let agent = self.agent_name(AgentNo(key.1))?;
        let row = self.block(blocks, key)?;
        decode_spans(row.value(), &agent).map_err(|e| ReadError::Damaged(e.to_string()))
    }

    /// The bytes of a block.
    pub(super) fn block(
        &self,
        blocks: &Blocks,
        key: SpanKey,
    ) -> Result<AccessGuard<'static, &'static [u8]>, ReadError> {
        let row = blocks.get(key).map_err(|e| backend(&e))?;
        row.ok_or_else(|| match self.agent_name(AgentNo(key.1)) {
            Ok(agent) => {
                ReadError::Damaged(format!("a block of spans of agent `{agent}` is missing"))
            }
            Err(error) => error,
        })
    }

    /// Hours that have spans in blocks, ascending.
    pub(super) fn hours_in_file(&self) -> Result<Vec<(i32, tables::SpanHourRow)>, ReadError> {
        guarded(|| {
            let table = self.table(tables::SPAN_HOURS)?;
            let rows = table.iter().map_err(|e| backend(&e))?;
            rows.map(|row| {
                let (hour, told) = row.map_err(|e| backend(&e))?;
                Ok((hour.value(), told.value()))
            })
            .collect()
        })
    }

    fn spans_in_blocks(&self, id: TraceId) -> Result<Vec<Span>, ReadError> {
        let entries = self.entries_of(id)?;
        let blocks = self.table(tables::SPAN_BLOCKS)?;
        let mut spans = Vec::new();
        for (hour, entry) in entries {
            let refs: BTreeSet<_> = entry.blocks.into_iter().collect();
            for block in refs {
                let of_block = self.spans_of_block(&blocks, key_of(hour, block))?;
                spans.extend(of_block.into_iter().filter(|span| span.trace_id == id));
            }
        }
        Ok(spans)
    }

    /// Entries of a trace by hour; mostly one.
    fn entries_of(&self, id: TraceId) -> Result<Vec<(i32, TraceEntry)>, ReadError> {
        let table = self.table(tables::TRACES)?;
        let mut entries = Vec::new();
        for (hour, _) in self.hours_in_file()? {
            if let Some(row) = table.get((hour, id.as_u128())).map_err(|e| backend(&e))? {
                let entry = TraceEntry::decode(row.value());
                entries.push((hour, entry.map_err(|e| ReadError::Damaged(e.to_string()))?));
            }
        }
        Ok(entries)
    }

    /// What the spans of a trace add up to, those in the file and those in memory.
    pub(super) fn summary(
        &self,
        id: TraceId,
        flushed: u64,
    ) -> Result<Option<TraceSummary>, ReadError> {
        let mut sum: Option<TracePart> = None;
        let mut add = |part: &TracePart| match &mut sum {
            Some(sum) => sum.add(part),
            None => sum = Some(part.clone()),
        };
        for (_, entry) in guarded(|| self.entries_of(id))? {
            add(&entry.part);
        }
        for head in self
            .traces
            .heads
            .of_trace(id)
            .filter(|head| head.sequence > flushed)
        {
            if let Some((_, part)) = head.chunk.trace(id) {
                add(part);
            }
        }
        let mut open_spans = 0;
        for open in self.traces.open_of(id) {
            open_spans += 1;
            let agent = self
                .catalog
                .number(&open.span.agent)
                .unwrap_or(AgentNo::NONE);
            add(&TracePart::of(&open.span, agent));
        }
        Ok(sum.map(|part| self.tell(id, part, open_spans)))
    }

    fn tell(&self, id: TraceId, part: TracePart, open_spans: u32) -> TraceSummary {
        let name = |no: AgentNo| {
            let entry = self.catalog.agent(no);
            entry.map_or_else(AgentId::unknown, |entry| entry.id.clone())
        };
        let mut agents: Vec<_> = part
            .agents
            .iter()
            .map(|(no, spans)| (name(*no), *spans))
            .collect();
        agents.sort();
        TraceSummary {
            trace_id: id,
            start_ns: part.start_ns,
            end_ns: part.end_ns,
            root_agent: name(part.told_agent),
            has_root: part.has_root,
            spans: part.spans(),
            failed_spans: part.failed,
            open_spans,
            agents,
            tokens: part.tokens,
            cost: part.cost,
            is_pinned: self.traces.pins.contains_key(&id),
            name: part.name,
            root_operation: part.told_operation,
            root_service: part.told_service,
        }
    }

    /// No trace of an hour of the file begins before; `row` is what the file tells of the hour. Traces of it may have
    /// earlier spans in memory.
    pub(super) fn first_start(&self, hour: i32, row: tables::SpanHourRow) -> i64 {
        let heads = self.traces.heads.first_start();
        let open = self.traces.open.values().filter(|open| open.hour == hour);
        let open = open.map(|open| open.span.start_ns).min();
        [heads, open].into_iter().flatten().fold(row.4, i64::min)
    }

    /// Hours in which traces of the window may be, ascending. The hour of a trace says when it came, not when it was.
    pub(super) fn hours_of(&self, window: Window) -> Result<Vec<i32>, ReadError> {
        let from_ns = nanoseconds(window.from);
        let to_ns = nanoseconds(window.to).saturating_add(1_000_000);
        let in_file = self.hours_in_file()?.into_iter();
        let mut hours: BTreeSet<i32> = in_file
            .filter(|(hour, row)| row.5 >= from_ns && self.first_start(*hour, *row) < to_ns)
            .map(|(hour, _)| hour)
            .collect();
        let heads = self.traces.heads.chunks();
        hours.extend(heads.flat_map(|head| head.chunk.traces.iter().map(|(_, hour, _)| *hour)));
        hours.extend(self.traces.open.values().map(|open| open.hour));
        Ok(hours.into_iter().collect())
    }

    /// Blocks that have spans of these traces of an hour.
    fn blocks_of(&self, hour: i32, ids: &HashSet<TraceId>) -> Result<BTreeSet<SpanKey>, ReadError> {
        let table = self.table(tables::TRACES)?;
        let mut keys = BTreeSet::new();
        for id in ids {
            let row = table.get((hour, id.as_u128())).map_err(|e| backend(&e))?;
            if let Some(row) = row {
                let entry = TraceEntry::decode(row.value());
                let entry = entry.map_err(|e| ReadError::Damaged(e.to_string()))?;
                keys.extend(entry.blocks.into_iter().map(|block| key_of(hour, block)));
            }
        }
        Ok(keys)
    }

    /// Hands over the traces of an hour, in as many rounds as memory takes.
    fn each_of_hour(
        &self,
        hour: i32,
        window: Window,
        filter: &SpanFilter,
        visit: &mut TraceVisit<'_>,
    ) -> Result<bool, ReadError> {
        let flushed = self.spans_flushed()?;
        let fitting = self.fitting_traces(hour, filter, flushed)?;
        if fitting.as_ref().is_some_and(HashSet::is_empty) {
            return Ok(true);
        }
        let is_fitting = |id: TraceId| fitting.as_ref().is_none_or(|ids| ids.contains(&id));
        let spans = if let Some(ids) = &fitting {
            // A trace has some spans only, mostly; a wrong guess costs memory, not the answer.
            ids.len() as u64 * SPANS_OF_TRACE
        } else {
            let mut hours = self.hours_in_file()?.into_iter();
            let in_file = hours.find(|(of, _)| *of == hour);
            in_file.map_or(0, |(_, row)| row.2) + self.traces.heads.spans() as u64
        };
        let rounds = u128::from(spans / SPANS_AT_ONCE + 1);
        let (from_ns, to_ns) = (nanoseconds(window.from), nanoseconds(window.to));
        for round in 0..rounds {
            let is_in_round =
                |span: &Span| mixed(span.trace_id) % rounds == round && is_fitting(span.trace_id);
            let mut traces: BTreeMap<TraceId, Vec<Span>> = BTreeMap::new();
            let mut take = |spans: Vec<Span>| {
                for span in spans.into_iter().filter(is_in_round) {
                    traces.entry(span.trace_id).or_default().push(span);
                }
            };
            guarded(|| {
                let blocks = self.table(tables::SPAN_BLOCKS)?;
                if let Some(ids) = &fitting {
                    for key in self.blocks_of(hour, ids)? {
                        take(self.spans_of_block(&blocks, key)?);
                    }
                    return Ok(());
                }
                for row in blocks
                    .range(tables::spans_of_hour(hour))
                    .map_err(|e| backend(&e))?
                {
                    let (key, bytes) = row.map_err(|e| backend(&e))?;
                    let agent = self.agent_name(AgentNo(key.value().1))?;
                    let spans = decode_spans(bytes.value(), &agent);
                    take(spans.map_err(|e| ReadError::Damaged(e.to_string()))?);
                }
                Ok(())
            })?;
            for head in self
                .traces
                .heads
                .chunks()
                .filter(|head| head.sequence > flushed)
            {
                if head.chunk.traces.iter().any(|(_, of, _)| *of == hour) {
                    let mut spans = self.spans_of_head(head)?;
                    spans.retain(|span| {
                        head.chunk
                            .trace(span.trace_id)
                            .is_some_and(|(of, _)| of == hour)
                    });
                    take(spans);
                }
            }
            let open = self.traces.open.values().filter(|open| open.hour == hour);
            take(open.map(|open| Span::clone(&open.span)).collect());
            for (id, mut spans) in traces {
                spans.sort_by_key(|span| (span.start_ns, span.span_id));
                let began = spans.first().map_or(i64::MIN, |span| span.start_ns);
                let is_asked = began >= from_ns
                    && began <= to_ns
                    && spans.iter().any(|span| filter.fits(span));
                if is_asked && !visit(id, spans) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// Spreads ids over rounds, also such that count up in their upper half.
const fn mixed(id: TraceId) -> u128 {
    let id = id.as_u128();
    (id ^ (id >> 64)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}
