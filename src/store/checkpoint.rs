//! Moves samples from heads to blocks: agent by agent, in slices that leave the committer free for
//! commits in between.

use std::collections::BTreeMap;

use redb::ReadableTable;

use super::{
    catalog::Catalog,
    forwarding::{Spool, Trimmed},
    head::{AgentHead, Heads},
    merge::unsettle,
    packing::{Packed, SeriesRun, is_small, pack_quickly},
    pieces::ordered,
    series_table::SeriesTable,
    tables::{self, BYTES_OF_BLOCKS, BlockKey, ByteCount, meta},
};
use crate::model::{AgentNo, Timestamp};

/// Samples that one slice moves; some ten milliseconds of work.
const SLICE_SAMPLES_MAX: usize = 50_000;

/// A checkpoint under way: agents that are still to be flushed.
#[derive(Debug)]
pub(super) struct Checkpoint {
    left: Vec<AgentNo>,
    is_trimmed: bool,
}

/// How the log stands.
#[derive(Debug)]
pub(super) struct Log<'a> {
    /// Sequence of the newest record.
    pub(super) last_sequence: u64,
    /// Sequence of the first record with spans that are not in blocks.
    pub(super) spans_from: Option<u64>,
    pub(super) last_commit: Option<Timestamp>,
    /// What forwarding still needs.
    pub(super) spool: &'a Spool,
    /// The moment as of which what waits may be too old.
    pub(super) now: Timestamp,
}

/// What one slice wrote.
#[derive(Debug, Default)]
pub(super) struct Slice {
    pub(super) flushed: Vec<AgentNo>,
    pub(super) changed_days: Vec<(AgentNo, i32)>,
    /// Series that have blocks on a later day than before, by agent: slot and day.
    pub(super) last_days: Vec<(AgentNo, Vec<(usize, i32)>)>,
    pub(super) blocks: u64,
    pub(super) block_bytes: u64,
    /// What became of the log, when this was the last slice.
    pub(super) trimmed: Option<Trimmed>,
}

impl Checkpoint {
    /// Begins a checkpoint of all agents that have samples in their heads.
    pub(super) fn begin(heads: &Heads) -> Self {
        let mut left: Vec<AgentNo> = heads.unflushed().map(|(no, _)| no).collect();
        left.sort_unstable();
        left.reverse();
        Self {
            left,
            is_trimmed: false,
        }
    }

    /// Whether nothing is left to do.
    pub(super) const fn is_done(&self) -> bool {
        self.is_trimmed
    }

    /// Whether the next slice, the last one, deletes what the log no longer needs.
    pub(super) fn is_last(&self) -> bool {
        self.left.is_empty() && !self.is_trimmed
    }

    /// Writes the next agents' blocks or, when there are no more, deletes the log records that nobody needs any more.
    pub(super) fn write_slice(
        &mut self,
        heads: &Heads,
        catalog: &Catalog,
        log: &Log<'_>,
        transaction: &redb::WriteTransaction,
    ) -> Result<Slice, redb::Error> {
        let mut slice = Slice::default();
        if self.is_last() {
            let samples_from = heads
                .unflushed()
                .filter_map(|(_, head)| head.sequences())
                .map(|(first, _)| first);
            let still_needed = samples_from.chain(log.spans_from).min();
            let needed_from = still_needed.unwrap_or(log.last_sequence + 1);
            let trimmed = log.spool.trim(transaction, needed_from, log.now)?;
            trim_log(transaction, trimmed.to, log.last_commit)?;
            slice.trimmed = Some(trimmed);
            self.is_trimmed = true;
            return Ok(slice);
        }
        let mut samples = 0;
        let mut blocks = transaction.open_table(tables::BLOCKS)?;
        let mut flushed = transaction.open_table(tables::FLUSHED)?;
        let mut days = transaction.open_table(tables::SERIES_DAYS)?;
        while samples < SLICE_SAMPLES_MAX {
            let Some(agent) = self.left.pop() else { break };
            let (Some(head), Some(entry)) = (heads.agent(agent), catalog.agent(agent)) else {
                continue;
            };
            samples += head.samples();
            let raised = raised_days(head, &entry.series);
            for (slot, day) in &raised {
                if let Some(no) = entry.series.no(*slot) {
                    days.insert((agent.0, no.0), *day)?;
                }
            }
            slice.last_days.push((agent, raised));
            let groups = groups_of(head, &entry.series);
            let mut small: BTreeMap<i32, u32> = BTreeMap::new();
            for ((day, group), series) in groups {
                let of_day = small.entry(day).or_default();
                let mut bytes_of_day = ByteCount::default();
                for Packed { start, bytes } in pack_quickly(&series) {
                    let key: BlockKey = (day, agent.0, group, start, log.last_sequence);
                    blocks.insert(key, bytes.as_slice())?;
                    slice.blocks += 1;
                    slice.block_bytes += bytes.len() as u64;
                    *of_day += u32::from(is_small(bytes.len()));
                    bytes_of_day.add(bytes.len());
                }
                bytes_of_day.write(transaction, BYTES_OF_BLOCKS, day)?;
            }
            for (day, small) in small {
                unsettle(transaction, day, agent, small, log.last_sequence)?;
                slice.changed_days.push((agent, day));
            }
            flushed.insert(agent.0, log.last_sequence)?;
            slice.flushed.push(agent);
        }
        Ok(slice)
    }
}

/// Deletes log records up to and including `trim_to`; what they alone told is kept in `meta`.
fn trim_log(
    transaction: &redb::WriteTransaction,
    trim_to: u64,
    last_commit: Option<Timestamp>,
) -> Result<(), redb::Error> {
    let mut wal = transaction.open_table(tables::WAL)?;
    wal.retain_in(..=trim_to, |_, _| false)?;
    let next = wal.last()?.map_or(trim_to + 1, |(key, _)| key.value() + 1);
    let mut meta = transaction.open_table(tables::META)?;
    meta.insert(meta::NEXT_SEQUENCE, &next.to_le_bytes()[..])?;
    if let Some(time) = last_commit {
        meta.insert(meta::LAST_COMMIT, &time.as_millis().to_le_bytes()[..])?;
    }
    Ok(())
}

/// Series whose samples reach into a later day than their blocks did, with that day.
fn raised_days(head: &AgentHead, table: &SeriesTable) -> Vec<(usize, i32)> {
    let slots = 0..table.len();
    slots
        .filter_map(|slot| {
            let (_, last) = head.series(slot)?.range()?;
            let day = Timestamp::from_millis(last).day();
            (day > table.last_day(slot)).then_some((slot, day))
        })
        .collect()
}

/// Samples of a head by UTC day and group, each series ordered by time; series ascending by number.
fn groups_of(head: &AgentHead, table: &SeriesTable) -> BTreeMap<(i32, u32), Vec<SeriesRun>> {
    let mut groups: BTreeMap<(i32, u32), Vec<SeriesRun>> = BTreeMap::new();
    for (slot, no) in table.by_number() {
        let (Some(series), Some(group)) = (head.series(slot), table.group(slot)) else {
            continue;
        };
        let sorted;
        let samples = if series.is_ordered() {
            series.arrived()
        } else {
            sorted = ordered(series.arrived());
            &sorted
        };
        let day_of = |sample: &(i64, f64)| Timestamp::from_millis(sample.0).day();
        for of_day in samples.chunk_by(|a, b| day_of(a) == day_of(b)) {
            let (times, values) = of_day.iter().copied().unzip();
            groups
                .entry((day_of(&of_day[0]), group))
                .or_default()
                .push(SeriesRun { no, times, values });
        }
    }
    groups
}
