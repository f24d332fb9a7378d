//! Retention of traces: whole traces, an hour of them at a time. Of an hour that is too old, traces with errors and
//! pinned ones may stay longer.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use redb::{ReadableDatabase, ReadableTable};

use super::{
    BLOCK_LEVEL, HOUR_NS, LiveTraces,
    chunk::pieces,
    operations,
    packing::{HourSum, key_of},
};
use crate::{
    codec::{BlockRef, TraceEntry, decode_spans, encode_spans},
    model::{AgentNo, Span, Timestamp, TraceId},
    store::{
        catalog::Catalog,
        committer::begin,
        expiry::trusted_now,
        shared::Shared,
        tables::{self, SpanHourRow, page_bytes},
    },
};

/// How traces are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Traces are kept so long after they came; milliseconds (`traces.retention`, 7 d).
    pub retention_ms: i64,
    /// Traces with a failed span are kept so long, if that is longer; milliseconds (`traces.keep_errors`, 0).
    pub errors_ms: i64,
    /// Spans may take so many bytes of the file; beyond it the oldest hours go early, but for pinned traces; 0 for no
    /// limit (`traces.retention_size`, 0).
    pub bytes: u64,
    /// Spans in memory and log that are packed into blocks (100,000).
    pub head_spans_max: usize,
    /// Bytes of them (`traces.head_size`, 32 MB).
    pub head_bytes_max: usize,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            retention_ms: 7 * crate::model::DAY_MS,
            errors_ms: 0,
            bytes: 0,
            head_spans_max: 100_000,
            head_bytes_max: 32_000_000,
        }
    }
}

/// What of an hour stays; also how far it was swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stay {
    All = 0,
    Failed = 1,
    Pinned = 2,
}

impl Stay {
    const fn of_row(row: SpanHourRow) -> Self {
        match row.0 {
            0 => Self::All,
            1 => Self::Failed,
            _ => Self::Pinned,
        }
    }
}

/// Sweeps the oldest hour that is due, if one is; tells whether it did. The others wait, so that commits come in between.
pub(in crate::store) fn apply_retention(shared: &Shared) -> Result<bool, redb::Error> {
    let Some(now) = trusted_now(shared) else {
        return Ok(false);
    };
    let kept = &shared.settings.traces;
    let hours: Vec<(i32, SpanHourRow)> = {
        let table = shared
            .database()
            .begin_read()?
            .open_table(tables::SPAN_HOURS)?;
        let rows = table.iter()?;
        rows.map(|row| row.map(|(hour, told)| (hour.value(), told.value())))
            .collect::<Result<_, _>>()?
    };
    let mut total: u64 = hours.iter().map(|(_, row)| row.1).sum();
    for (hour, row) in hours {
        let end_ms = (i64::from(hour) + 1) * (HOUR_NS / 1_000_000);
        let age_ms = now.since(Timestamp::from_millis(end_ms));
        let mut stay = if age_ms <= kept.retention_ms {
            Stay::All
        } else if age_ms <= kept.errors_ms {
            Stay::Failed
        } else {
            Stay::Pinned
        };
        // The hour under way stays, whatever it takes.
        if kept.bytes != 0 && total > kept.bytes && age_ms > 0 {
            stay = Stay::Pinned;
        }
        let swept = Stay::of_row(row);
        if stay > swept || (stay == Stay::Pinned && has_unpinned(shared, hour)?) {
            sweep(shared, hour, stay)?;
            let transaction = begin(&shared.database())?;
            operations::forget(&transaction)?;
            transaction.commit()?;
            return Ok(true);
        }
        if swept == Stay::Pinned {
            // What is pinned of it takes room that nothing else can make.
            total = total.saturating_sub(row.1);
        }
    }
    Ok(false)
}

/// Whether an hour that was swept to pinned traces has one that is no longer pinned.
fn has_unpinned(shared: &Shared, hour: i32) -> Result<bool, redb::Error> {
    let traces = shared.live.lock().traces.clone();
    let table = shared.database().begin_read()?.open_table(tables::TRACES)?;
    for row in table.range((hour, 0)..=(hour, u128::MAX))? {
        let id = TraceId::new(row?.0.value().1);
        if id.is_none_or(|id| !traces.pins.contains_key(&id)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Deletes of an hour what does not stay.
fn sweep(shared: &Shared, hour: i32, stay: Stay) -> Result<(), redb::Error> {
    let (live, catalog) = {
        let live = shared.live.lock();
        (live.traces.clone(), std::sync::Arc::clone(&live.catalog))
    };
    let transaction = begin(&shared.database())?;
    {
        let mut traces = transaction.open_table(tables::TRACES)?;
        let mut blocks = transaction.open_table(tables::SPAN_BLOCKS)?;
        let mut headers = transaction.open_table(tables::SPAN_HEADERS)?;
        let mut hours = transaction.open_table(tables::SPAN_HOURS)?;
        let mut staying: BTreeMap<TraceId, TraceEntry> = BTreeMap::new();
        for row in traces.range((hour, 0)..=(hour, u128::MAX))? {
            let (key, value) = row?;
            let (Some(id), Ok(entry)) = (
                TraceId::new(key.value().1),
                TraceEntry::decode(value.value()),
            ) else {
                continue;
            };
            if stays(&live, id, &entry, stay) {
                staying.insert(id, entry);
            }
        }
        let spans = staying_spans(&blocks, hour, &staying, &catalog)?;
        blocks.retain_in(tables::spans_of_hour(hour), |_, _| false)?;
        headers.retain_in(tables::spans_of_hour(hour), |_, _| false)?;
        traces.retain_in((hour, 0)..=(hour, u128::MAX), |_, _| false)?;
        let mut told = HourSum {
            traces: staying.len() as u64,
            ..HourSum::default()
        };
        staying.values_mut().for_each(|entry| entry.blocks.clear());
        for (agent, spans) in spans {
            let spans: Vec<&Span> = spans.iter().collect();
            for (part, piece) in pieces(&spans).into_iter().enumerate() {
                let (header, body) = encode_spans(piece, BLOCK_LEVEL);
                let block = BlockRef {
                    agent,
                    start_ms: header.first_start_ns.div_euclid(1_000_000),
                    // Nothing that comes later has it.
                    sequence: 0,
                    part: part as u32,
                };
                told.add_block(&header);
                let header = header.encode();
                told.bytes += page_bytes(body.len()) + page_bytes(header.len());
                blocks.insert(key_of(hour, block), body.as_slice())?;
                headers.insert(key_of(hour, block), header.as_slice())?;
                let ids: BTreeSet<TraceId> = piece.iter().map(|span| span.trace_id).collect();
                for id in ids {
                    if let Some(entry) = staying.get_mut(&id) {
                        entry.blocks.push(block);
                    }
                }
            }
        }
        for (id, entry) in &staying {
            let bytes = entry.encode();
            told.bytes += page_bytes(bytes.len());
            traces.insert((hour, id.as_u128()), bytes.as_slice())?;
        }
        if staying.is_empty() {
            hours.remove(hour)?;
        } else {
            let mut row = told.row(None);
            row.0 = stay as u8;
            hours.insert(hour, row)?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn stays(live: &LiveTraces, id: TraceId, entry: &TraceEntry, stay: Stay) -> bool {
    live.pins.contains_key(&id)
        || match stay {
            Stay::All => true,
            Stay::Failed => entry.part.failed > 0,
            Stay::Pinned => false,
        }
}

/// Spans of the traces that stay, by agent and in order of start.
fn staying_spans(
    blocks: &impl ReadableTable<tables::SpanKey, &'static [u8]>,
    hour: i32,
    staying: &BTreeMap<TraceId, TraceEntry>,
    catalog: &Catalog,
) -> Result<HashMap<AgentNo, Vec<Span>>, redb::Error> {
    let refs: HashSet<BlockRef> = staying
        .values()
        .flat_map(|entry| entry.blocks.iter().copied())
        .collect();
    let mut spans: HashMap<AgentNo, Vec<Span>> = HashMap::new();
    for block in refs {
        let Some(agent) = catalog.agent(block.agent) else {
            continue;
        };
        let Some(row) = blocks.get(key_of(hour, block))? else {
            continue;
        };
        match decode_spans(row.value(), &agent.id) {
            Ok(of_block) => {
                let staying = of_block
                    .into_iter()
                    .filter(|span| staying.contains_key(&span.trace_id));
                spans.entry(block.agent).or_default().extend(staying);
            }
            Err(error) => {
                tracing::error!(%error, agent = %agent.id, "spans that were to be kept cannot be read");
            }
        }
    }
    for of_agent in spans.values_mut() {
        of_agent.sort_by_key(|span| (span.start_ns, span.trace_id, span.span_id));
    }
    Ok(spans)
}
