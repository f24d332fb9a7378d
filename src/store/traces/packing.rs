//! Moves spans from log and memory to blocks: packed by a thread of its own, written by the committer in one
//! transaction together with the mark up to which that is done.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, mpsc},
};

use redb::{ReadableTable, WriteTransaction};

use super::{
    BLOCK_LEVEL, SpanHeads,
    chunk::pieces,
    heads::HeadChunk,
    operations::{self, AgentOperations},
};
use crate::{
    codec::{BlockRef, SpanHeader, TraceEntry, TracePart, decode_spans, encode_spans},
    model::{AgentId, AgentNo, Span, TraceId},
    store::{
        catalog::Catalog,
        tables::{self, SpanHourRow, SpanKey, meta, page_bytes},
    },
};

/// A block to be written.
struct PackedBlock {
    key: SpanKey,
    header: Vec<u8>,
    body: Vec<u8>,
    told: SpanHeader,
}

/// Spans of the log up to a record, as blocks and entries of the index.
#[derive(Default)]
pub(in crate::store) struct Packed {
    up_to: u64,
    blocks: Vec<PackedBlock>,
    entries: BTreeMap<(i32, TraceId), TraceEntry>,
    operations: BTreeMap<AgentNo, AgentOperations>,
}

impl Packed {
    /// Log record up to which spans are in it.
    pub(in crate::store) const fn up_to(&self) -> u64 {
        self.up_to
    }

    /// Bytes of its blocks.
    pub(in crate::store) fn bytes(&self) -> u64 {
        let blocks = self.blocks.iter();
        blocks
            .map(|block| (block.header.len() + block.body.len()) as u64)
            .sum()
    }
}

/// Spans that are being packed.
#[derive(Debug)]
pub(in crate::store) struct SpanFlush {
    packed: mpsc::Receiver<Packed>,
}

impl SpanFlush {
    /// Begins with the spans that are in the heads now; `None` when there are none.
    pub(in crate::store) fn begin(heads: &SpanHeads, catalog: &Arc<Catalog>) -> Option<Self> {
        let (_, up_to) = heads.sequences()?;
        let chunks: Vec<Arc<HeadChunk>> = heads.chunks().cloned().collect();
        let catalog = Arc::clone(catalog);
        let (sender, packed) = mpsc::sync_channel(1);
        let spawned = std::thread::Builder::new()
            .name("span packer".to_owned())
            .spawn(move || {
                // The committer may have given up meanwhile.
                let _ = sender.send(pack(&chunks, up_to, &catalog));
            });
        if let Err(error) = spawned {
            tracing::error!(%error, "spans cannot be packed; they stay in the write-ahead log");
            return None;
        }
        Some(Self { packed })
    }

    /// What was packed: `Ok(None)` while it is not done.
    ///
    /// # Errors
    /// The thread ended without it.
    pub(in crate::store) fn poll(&self) -> Result<Option<Packed>, mpsc::RecvError> {
        match self.packed.try_recv() {
            Ok(packed) => Ok(Some(packed)),
            Err(mpsc::TryRecvError::Empty) => Ok(None),
            Err(mpsc::TryRecvError::Disconnected) => Err(mpsc::RecvError),
        }
    }
}

/// Packs on this thread; `None` when there is nothing to pack.
pub(in crate::store) fn pack_now(heads: &SpanHeads, catalog: &Catalog) -> Option<Packed> {
    let (_, up_to) = heads.sequences()?;
    let chunks: Vec<Arc<HeadChunk>> = heads.chunks().cloned().collect();
    Some(pack(&chunks, up_to, catalog))
}

fn pack(chunks: &[Arc<HeadChunk>], up_to: u64, catalog: &Catalog) -> Packed {
    let mut packed = Packed {
        up_to,
        ..Packed::default()
    };
    let mut by_agent: BTreeMap<AgentNo, Vec<&Arc<HeadChunk>>> = BTreeMap::new();
    for head in chunks {
        by_agent.entry(head.chunk.agent).or_default().push(head);
    }
    for (agent, chunks) in by_agent {
        let Some(id) = catalog.agent(agent).map(|entry| entry.id.clone()) else {
            continue;
        };
        let mut by_hour: BTreeMap<i32, Vec<Span>> = BTreeMap::new();
        for head in chunks {
            for (hour, span) in spans_of(head, &id) {
                by_hour.entry(hour).or_default().push(span);
            }
        }
        for (hour, spans) in by_hour {
            packed.add(hour, agent, spans);
        }
    }
    packed
}

/// Spans of a chunk with the hours of their traces.
fn spans_of(head: &HeadChunk, agent: &AgentId) -> Vec<(i32, Span)> {
    let spans = match decode_spans(&head.chunk.body, agent) {
        Ok(spans) => spans,
        Err(error) => {
            tracing::error!(%error, sequence = head.sequence, "spans of the log cannot be read; they are lost");
            return Vec::new();
        }
    };
    let with_hour = |span: Span| {
        head.chunk
            .trace(span.trace_id)
            .map(|(hour, _)| (hour, span))
    };
    spans.into_iter().filter_map(with_hour).collect()
}

impl Packed {
    /// Adds spans of one agent and hour.
    fn add(&mut self, hour: i32, agent: AgentNo, mut spans: Vec<Span>) {
        spans.sort_by_key(|span| (span.start_ns, span.trace_id, span.span_id));
        let told = self.operations.entry(agent).or_default();
        for span in &spans {
            let last = told.entry(operations::key_of(span)).or_insert(hour);
            *last = (*last).max(hour);
        }
        let spans: Vec<&Span> = spans.iter().collect();
        for (part, piece) in pieces(&spans).into_iter().enumerate() {
            let (header, body) = encode_spans(piece, BLOCK_LEVEL);
            let block = BlockRef {
                agent,
                start_ms: header.first_start_ns.div_euclid(1_000_000),
                sequence: self.up_to,
                part: part as u32,
            };
            self.blocks.push(PackedBlock {
                key: key_of(hour, block),
                header: header.encode(),
                told: header,
                body,
            });
            let mut parts: HashMap<TraceId, TracePart> = HashMap::new();
            for span in piece {
                let part = TracePart::of(span, agent);
                parts
                    .entry(span.trace_id)
                    .and_modify(|sum| sum.add(&part))
                    .or_insert(part);
            }
            for (id, part) in parts {
                self.entries
                    .entry((hour, id))
                    .and_modify(|entry| {
                        entry.part.add(&part);
                        entry.blocks.push(block);
                    })
                    .or_insert_with(|| TraceEntry {
                        part,
                        blocks: vec![block],
                    });
            }
        }
    }
}

/// What is added to an hour.
#[derive(Debug, Default)]
pub(super) struct HourSum {
    pub(super) bytes: u64,
    /// Bytes of what was there before in its place.
    pub(super) replaced: u64,
    pub(super) spans: u64,
    pub(super) traces: u64,
    pub(super) starts: Option<(i64, i64)>,
}

impl HourSum {
    /// Counts the spans of a block.
    pub(super) fn add_block(&mut self, header: &SpanHeader) {
        self.spans += u64::from(header.spans);
        let (first, last) = (header.first_start_ns, header.last_start_ns);
        let starts = self.starts.unwrap_or((first, last));
        self.starts = Some((starts.0.min(first), starts.1.max(last)));
    }

    /// The hour's row, with what it said before.
    pub(super) fn row(&self, before: Option<SpanHourRow>) -> SpanHourRow {
        let (first, last) = self.starts.unwrap_or((i64::MAX, i64::MIN));
        let (swept, bytes, spans, traces, known_first, known_last) =
            before.unwrap_or((0, 0, 0, 0, i64::MAX, i64::MIN));
        (
            swept,
            (bytes + self.bytes).saturating_sub(self.replaced),
            spans + self.spans,
            traces + self.traces,
            known_first.min(first),
            known_last.max(last),
        )
    }
}

/// Key of a block of an hour.
pub(super) const fn key_of(hour: i32, block: BlockRef) -> SpanKey {
    (
        hour,
        block.agent.0,
        block.start_ms,
        block.sequence,
        block.part,
    )
}

/// Writes what was packed; a trace that has spans in the file already keeps them.
pub(in crate::store) fn write_packed(
    packed: &Packed,
    transaction: &WriteTransaction,
) -> Result<(), redb::Error> {
    let mut added: BTreeMap<i32, HourSum> = BTreeMap::new();
    {
        let mut blocks = transaction.open_table(tables::SPAN_BLOCKS)?;
        let mut headers = transaction.open_table(tables::SPAN_HEADERS)?;
        for block in &packed.blocks {
            blocks.insert(block.key, block.body.as_slice())?;
            headers.insert(block.key, block.header.as_slice())?;
            let hour = added.entry(block.key.0).or_default();
            hour.bytes += page_bytes(block.body.len()) + page_bytes(block.header.len());
            hour.add_block(&block.told);
        }
    }
    let mut traces = transaction.open_table(tables::TRACES)?;
    for ((hour, id), entry) in &packed.entries {
        let key = (*hour, id.as_u128());
        let before = traces
            .get(key)?
            .map(|row| (row.value().len(), TraceEntry::decode(row.value())));
        let told = added.entry(*hour).or_default();
        let bytes = match before {
            None => {
                told.traces += 1;
                entry.encode()
            }
            Some((length, Ok(mut known))) => {
                told.replaced += page_bytes(length);
                known.part.add(&entry.part);
                known.blocks.extend(&entry.blocks);
                known.encode()
            }
            Some((length, Err(error))) => {
                told.replaced += page_bytes(length);
                tracing::error!(%error, trace = %id, "the index of a trace cannot be read; it is begun anew");
                entry.encode()
            }
        };
        told.bytes += page_bytes(bytes.len());
        traces.insert(key, bytes.as_slice())?;
    }
    let mut hours = transaction.open_table(tables::SPAN_HOURS)?;
    for (hour, told) in added {
        let row = hours.get(hour)?.map(|row| row.value());
        hours.insert(hour, told.row(row))?;
    }
    operations::note(transaction, &packed.operations)?;
    transaction
        .open_table(tables::META)?
        .insert(meta::SPANS_FLUSHED, &packed.up_to.to_le_bytes()[..])?;
    Ok(())
}
