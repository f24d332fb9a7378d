//! Merges blocks: a checkpoint's small ones within the day, and all of an agent's day once it is over.
//!
//! Tiers as in a log-structured merge tree, so that each sample is rewritten at most twice: when many small blocks
//! have gathered in a day that is under way, those are merged ([`Extent::Recent`]); when the day is over, everything
//! of it is ([`Extent::Day`]), and its rollups are worked out. A merge reads a snapshot of the engine on a thread of
//! its own; the committer writes the outcome, if the day is still as it was read.

use std::collections::HashMap;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, WriteTransaction};

use super::{
    catalog::AgentEntry,
    moment::guarded,
    packing::{SeriesRun, pack_into_pages},
    pieces::{Columns, Guard, Pieces, Wanted, open_block, range_of},
    quarantine::{Damage, RowKey},
    rollups::{DayRollups, EncodedRollups},
    tables::{
        self, BLOCKS, BYTES_OF_BLOCKS, BYTES_OF_ROLLUPS, BlockKey, ByteCount, ROLLUPS, Tier,
        UNSETTLED, UnsettledRow,
    },
};
use crate::model::{AgentNo, DAY_MS, ReadError, SeriesNo, Timestamp, Window, names};

/// Samples that a merge of one group holds in memory, 16 bytes each. A group with more keeps its blocks, which are
/// large enough then.
const SAMPLES_MAX: usize = 4_000_000;

/// Metrics whose percentiles reports tell: how often each value occurs is kept with their days.
const METRICS_WITH_COUNTS: [&str; 2] = [names::SYSTEM_CPU_USAGE, names::SYSTEM_MEMORY_USAGE];

/// Notes that `small` small blocks were written into a day, up to `sequence`; its rollups no longer hold.
pub(super) fn unsettle(
    transaction: &WriteTransaction,
    day: i32,
    agent: AgentNo,
    small: u32,
    sequence: u64,
) -> Result<(), redb::Error> {
    let mut unsettled = transaction.open_table(UNSETTLED)?;
    let (before, merged_to) = unsettled
        .get((day, agent.0))?
        .map_or((0, 0), |row| (row.value().0, row.value().2));
    unsettled.insert((day, agent.0), (before + small, sequence, merged_to))?;
    let mut rollups = transaction.open_table(ROLLUPS)?;
    let mut bytes = ByteCount::default();
    for tier in Tier::ALL {
        if let Some(row) = rollups.remove((tier.key(), day, agent.0))? {
            bytes.remove(row.value().len());
        }
    }
    bytes.write(transaction, BYTES_OF_ROLLUPS, day)
}

/// Unsettles a day one of whose rollups is damaged, so that they are worked out anew. Tells whether there are samples
/// to work them out from; else they stay.
pub(super) fn rebuild_rollups(
    transaction: &WriteTransaction,
    day: i32,
    agent: AgentNo,
) -> Result<bool, redb::Error> {
    let blocks = transaction.open_table(BLOCKS)?;
    let mut newest = None;
    for row in blocks.range(tables::blocks_of_day(day, agent))? {
        newest = newest.max(Some(row?.0.value().4));
    }
    if let Some(sequence) = newest {
        unsettle(transaction, day, agent, 0, sequence)?;
    }
    Ok(newest.is_some())
}

/// How much of a day is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Blocks that came since the last merge, and what overlaps them.
    Recent,
    /// All blocks; the day is settled by it.
    Day,
}

/// A merge to make: of which agent's day, and how it stood when that was decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    pub(super) day: i32,
    pub(super) agent: AgentNo,
    pub(super) extent: Extent,
    pub(super) basis: UnsettledRow,
}

/// The outcome of a merge, to be written.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) task: Task,
    removed: Vec<BlockKey>,
    blocks: Vec<(BlockKey, Vec<u8>)>,
    rollups: Option<EncodedRollups>,
    /// Blocks that cannot be read. They and what overlaps them stay as they are, and the day gets no rollups: they
    /// would say less than the samples that are there after a repair.
    pub(super) damaged: Vec<Damage>,
}

/// Blocks of one group, ascending by key.
struct Group {
    no: u32,
    guards: Vec<Guard>,
}

/// Merges the blocks of a task in memory.
///
/// # Errors
/// [`ReadError`] when the engine cannot read, or a block is of a newer format; nothing is merged then.
pub(super) fn merge(
    transaction: &ReadTransaction,
    task: Task,
    agent: &AgentEntry,
) -> Result<Merged, ReadError> {
    guarded(|| {
        let backend = |e: redb::Error| ReadError::Backend(e.to_string());
        let table = transaction
            .open_table(BLOCKS)
            .map_err(|e| backend(e.into()))?;
        let mut merged = Merged {
            task,
            removed: Vec::new(),
            blocks: Vec::new(),
            rollups: None,
            damaged: Vec::new(),
        };
        let mut rollups = (task.extent == Extent::Day).then(DayRollups::default);
        for group in groups_of_day(&table, task.day, task.agent).map_err(backend)? {
            merge_group(&group, agent, &mut merged, rollups.as_mut())?;
            // Of a day that is not whole there are none.
            rollups = rollups.filter(|_| merged.damaged.is_empty());
        }
        merged.rollups = rollups.map(DayRollups::encode);
        Ok(merged)
    })
}

/// Works out the rollups of an agent's day from its blocks. `None` when there are none, or one is damaged.
///
/// # Errors
/// [`ReadError`] when the engine cannot read, or a block is of a newer format.
pub(super) fn rollups_of_blocks(
    transaction: &ReadTransaction,
    day: i32,
    agent: AgentNo,
    entry: &AgentEntry,
) -> Result<Option<EncodedRollups>, ReadError> {
    guarded(|| {
        let backend = |e: redb::Error| ReadError::Backend(e.to_string());
        let table = transaction
            .open_table(BLOCKS)
            .map_err(|e| backend(e.into()))?;
        let groups = groups_of_day(&table, day, agent).map_err(backend)?;
        let mut rollups = DayRollups::default();
        for group in &groups {
            let guards = &group.guards;
            let mut pieces =
                Pieces::gather(guards, None, std::iter::empty(), Wanted::All, whole_time())?;
            each_series(&mut pieces, |no, columns| {
                rollups.add(no, columns, has_counts(entry, no));
            });
            if !pieces.left_out.is_empty() {
                return Ok(None);
            }
        }
        Ok((!groups.is_empty()).then(|| rollups.encode()))
    })
}

/// Hands over each series with all its samples.
fn each_series(pieces: &mut Pieces<'_>, mut visit: impl FnMut(SeriesNo, &mut Columns)) {
    let mut columns = Columns::default();
    let mut at = 0;
    while at < pieces.all.len() {
        let no = pieces.all[at].no;
        columns.clear();
        while pieces.all.get(at).is_some_and(|piece| piece.no == no) {
            let cluster = at..at + pieces.cluster(at);
            at = cluster.end;
            pieces.decode(cluster, &mut columns);
        }
        visit(no, &mut columns);
    }
}

fn groups_of_day(
    table: &ReadOnlyTable<BlockKey, &'static [u8]>,
    day: i32,
    agent: AgentNo,
) -> Result<Vec<Group>, redb::Error> {
    let mut groups: Vec<Group> = Vec::new();
    for row in table.range(tables::blocks_of_day(day, agent))? {
        let (key, value) = row?;
        let guard = (key.value(), value);
        match groups.last_mut() {
            Some(group) if group.no == guard.0.2 => group.guards.push(guard),
            _ => groups.push(Group {
                no: guard.0.2,
                guards: vec![guard],
            }),
        }
    }
    Ok(groups)
}

/// Merges a group in sets of blocks. That a block is damaged may show only when it is decoded: then the sets are
/// made again without it.
fn merge_group(
    group: &Group,
    agent: &AgentEntry,
    merged: &mut Merged,
    mut rollups: Option<&mut DayRollups>,
) -> Result<(), ReadError> {
    let mut damaged = Vec::new();
    let mut ranges = Vec::with_capacity(group.guards.len());
    for (key, value) in &group.guards {
        ranges.push(match open_block(*key, value.value())? {
            Ok(block) => range_of(*key, &block),
            Err(damage) => {
                let range = (damage.first, damage.last);
                damaged.push(damage);
                range
            }
        });
    }
    loop {
        let mut found = Vec::new();
        let mut outcomes = Vec::new();
        for set in sets(group, &ranges, merged.task, &damaged) {
            let rollups = rollups.as_deref_mut().filter(|_| damaged.is_empty());
            match merge_set(&set, agent, rollups)? {
                SetOutcome::Kept => {}
                SetOutcome::Repacked { removed, blocks } => outcomes.push((removed, blocks)),
                SetOutcome::Damaged(damages) => found.extend(damages),
            }
        }
        if found.is_empty() {
            for (removed, blocks) in outcomes {
                merged.removed.extend(removed);
                merged.blocks.extend(blocks);
            }
            merged.damaged.extend(damaged);
            return Ok(());
        }
        damaged.extend(found);
    }
}

/// The sets of blocks of a group that are merged with each other. Each is closed under overlap, so that merging it
/// cannot change which sample wins: blocks that overlap, directly or through others, are a *run* and stay together.
/// A run that holds a damaged block is left as it is, and no set reaches over it. Within a day that is under way only
/// runs with a block written since the last merge are taken.
fn sets<'a>(
    group: &'a Group,
    ranges: &[(i64, i64)],
    task: Task,
    damaged: &[Damage],
) -> Vec<Vec<&'a Guard>> {
    let is_damaged = |key: &BlockKey| damaged.iter().any(|d| d.row == RowKey::Block(*key));
    let (extent, merged_to) = (task.extent, task.basis.2);
    let mut sets = vec![Vec::new()];
    let mut start = 0;
    while start < ranges.len() {
        // Keys ascend by start, so that the blocks of a run are neighbours.
        let mut end = start + 1;
        let mut until = ranges[start].1;
        while end < ranges.len() && ranges[end].0 <= until {
            until = until.max(ranges[end].1);
            end += 1;
        }
        let run = &group.guards[start..end];
        if run.iter().any(|(key, _)| is_damaged(key)) {
            sets.push(Vec::new());
        } else if extent == Extent::Day || run.iter().any(|(key, _)| key.4 > merged_to) {
            // There is always a last one.
            if let Some(set) = sets.last_mut() {
                set.extend(run);
            }
        }
        start = end;
    }
    sets
}

/// What becomes of a set of blocks.
enum SetOutcome {
    /// They stay as they are.
    Kept,
    /// Others take their place.
    Repacked {
        removed: Vec<BlockKey>,
        blocks: Vec<(BlockKey, Vec<u8>)>,
    },
    /// Some of them are damaged.
    Damaged(Vec<Damage>),
}

/// Merges blocks of one group.
fn merge_set(
    set: &[&Guard],
    agent: &AgentEntry,
    mut rollups: Option<&mut DayRollups>,
) -> Result<SetOutcome, ReadError> {
    let Some(newest) = set.iter().map(|(key, _)| *key).max_by_key(|key| key.4) else {
        return Ok(SetOutcome::Kept);
    };
    let guards = set.iter().copied();
    let mut pieces = Pieces::gather(guards, None, std::iter::empty(), Wanted::All, whole_time())?;
    let counts = pieces.samples_of_blocks();
    let repacks = counts <= SAMPLES_MAX && set.len() > 1;
    if !repacks && rollups.is_none() {
        return Ok(SetOutcome::Kept);
    }
    let mut runs: Vec<SeriesRun> = Vec::new();
    each_series(&mut pieces, |no, columns| {
        if let Some(rollups) = &mut rollups {
            rollups.add(no, columns, has_counts(agent, no));
        }
        if repacks {
            runs.push(SeriesRun {
                no,
                times: std::mem::take(&mut columns.times),
                values: std::mem::take(&mut columns.values),
            });
        }
    });
    if !pieces.left_out.is_empty() {
        return Ok(SetOutcome::Damaged(pieces.left_out));
    }
    if !repacks {
        return Ok(SetOutcome::Kept);
    }
    let bytes: usize = set.iter().map(|(_, value)| value.value().len()).sum();
    let packed = pack_into_pages(&runs, bytes as f64 / counts.max(1) as f64);
    let (day, agent, group, _, sequence) = newest;
    let key = |start| (day, agent, group, start, sequence);
    Ok(SetOutcome::Repacked {
        removed: set.iter().map(|(key, _)| *key).collect(),
        blocks: packed
            .into_iter()
            .map(|p| (key(p.start), p.bytes))
            .collect(),
    })
}

/// Blocks lie within one day already.
const fn whole_time() -> Window {
    Window::new(
        Timestamp::from_millis(i64::MIN),
        Timestamp::from_millis(i64::MAX),
    )
}

fn has_counts(agent: &AgentEntry, no: SeriesNo) -> bool {
    let series = agent
        .series
        .slot(no)
        .and_then(|slot| agent.series.get(slot));
    series.is_some_and(|series| METRICS_WITH_COUNTS.contains(&series.key.name()))
}

/// What writing merges did.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Days of agents whose blocks changed.
    pub(super) days: Vec<(AgentNo, i32)>,
    /// Bytes of blocks and rollups.
    pub(super) bytes: u64,
    /// Days whose rollups are to be worked out anew.
    pub(super) rebuilt: Vec<(i32, AgentNo)>,
}

impl Merged {
    /// Bytes that writing it takes.
    pub(super) fn bytes(&self) -> usize {
        let rollups = self
            .rollups
            .as_ref()
            .map_or(0, |r| r.day.len() + r.hours.len() + r.five_minutes.len());
        self.blocks.iter().map(|(_, b)| b.len()).sum::<usize>() + rollups
    }

    /// Writes the merge, unless the day has changed since it was read.
    pub(super) fn write(
        &self,
        transaction: &WriteTransaction,
        applied: &mut Applied,
    ) -> Result<(), redb::Error> {
        let Task {
            day,
            agent,
            extent,
            basis,
        } = self.task;
        let place = (day, agent.0);
        let mut unsettled = transaction.open_table(UNSETTLED)?;
        if unsettled.get(place)?.map(|row| row.value()) != Some(basis) {
            return Ok(());
        }
        match extent {
            Extent::Day => drop(unsettled.remove(place)?),
            Extent::Recent => drop(unsettled.insert(place, (0, basis.1, basis.1))?),
        }
        let mut blocks = transaction.open_table(BLOCKS)?;
        let mut bytes_of_blocks = ByteCount::default();
        for key in &self.removed {
            if let Some(block) = blocks.remove(*key)? {
                bytes_of_blocks.remove(block.value().len());
            }
        }
        for (key, bytes) in &self.blocks {
            blocks.insert(*key, bytes.as_slice())?;
            bytes_of_blocks.add(bytes.len());
        }
        bytes_of_blocks.write(transaction, BYTES_OF_BLOCKS, day)?;
        if let Some(rollups) = &self.rollups {
            let mut table = transaction.open_table(ROLLUPS)?;
            let mut bytes_of_rollups = ByteCount::default();
            for (tier, bytes) in [
                (Tier::Day, &rollups.day),
                (Tier::Hour, &rollups.hours),
                (Tier::FiveMinutes, &rollups.five_minutes),
            ] {
                if let Some(old) = table.insert((tier.key(), day, agent.0), bytes.as_slice())? {
                    bytes_of_rollups.remove(old.value().len());
                }
                bytes_of_rollups.add(bytes.len());
            }
            bytes_of_rollups.write(transaction, BYTES_OF_ROLLUPS, day)?;
        }
        applied.bytes += self.bytes() as u64;
        applied.days.push((agent, day));
        Ok(())
    }
}

/// Days of agents that have unmerged blocks, as they stand.
pub(super) fn unsettled(
    transaction: &ReadTransaction,
) -> Result<HashMap<(i32, AgentNo), UnsettledRow>, redb::Error> {
    let table = transaction.open_table(UNSETTLED)?;
    let mut days = HashMap::new();
    for row in table.iter()? {
        let (key, value) = row?;
        let (day, agent) = key.value();
        days.insert((day, AgentNo(agent)), value.value());
    }
    Ok(days)
}

/// Whether a day is over for good: nothing that belongs to it is expected any more.
pub(super) fn is_over(day: i32, now: Timestamp, late_ms: i64) -> bool {
    let end = (i64::from(day) + 1) * DAY_MS;
    now.as_millis() >= end.saturating_add(late_ms)
}
