//! Merges blocks: a checkpoint's small ones within the day, and all of an agent's day once it is over.
//!
//! Tiers as in a log-structured merge tree, so that each sample is rewritten at most twice: when many small blocks
//! have gathered in a day that is under way, those are merged ([`Extent::Recent`]); when the day is over, everything
//! of it is ([`Extent::Day`]), and its rollups are worked out. Series that have expired by a rule are left out on the
//! way; where a settled day still holds them, the blocks that do are packed anew ([`Extent::Expired`]). A merge reads a
//! snapshot of the engine on a thread of its own; the committer writes the outcome, if the day is still as it was read.

use std::{collections::HashMap, ops::Range};

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, WriteTransaction};

use super::{
    catalog::AgentEntry,
    moment::guarded,
    packing::{SeriesRun, pack_into_pages},
    pieces::{Columns, Guard, Pieces, Wanted, open_block, range_of},
    quarantine::{Damage, RowKey},
    rollups::{DayRollups, EncodedRollups, without},
    tables::{
        self, BLOCKS, BYTES_OF_BLOCKS, BYTES_OF_ROLLUPS, BlockKey, ByteCount, ROLLUPS, Tier,
        UNSETTLED, UnsettledRow,
    },
};
use crate::model::{AgentNo, DAY_MS, ReadError, SeriesNo, Timestamp, Window, names};

/// Samples that a merge of one group holds in memory, 16 bytes each. A group with more keeps its blocks, which are
/// large enough then; what has expired is taken out of it in parts. Tests reach it.
const SAMPLES_MAX: usize = if cfg!(test) { 20_000 } else { 4_000_000 };

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
    /// Blocks that hold series which have expired, with their neighbours. Rollups lose these series.
    Expired,
}

/// A merge to make: of which agent's day, and how it stood when that was decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    pub(super) day: i32,
    pub(super) agent: AgentNo,
    pub(super) extent: Extent,
    /// The day's row; a settled day has none.
    pub(super) basis: Option<UnsettledRow>,
}

/// The outcome of a merge, to be written.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) task: Task,
    removed: Vec<BlockKey>,
    blocks: Vec<(BlockKey, Vec<u8>)>,
    /// Rows of rollups to be put; empty ones are removed instead.
    rollups: Vec<(Tier, Vec<u8>)>,
    /// Series that the day no longer has, ascending.
    expired: Vec<SeriesNo>,
    /// Blocks that cannot be read. They and what overlaps them stay as they are, and the day gets no rollups: they
    /// would say less than the samples that are there after a repair.
    pub(super) damaged: Vec<Damage>,
}

/// Blocks of one group, ascending by key.
struct Group {
    no: u32,
    guards: Vec<Guard>,
}

/// Merges the blocks of a task in memory, without the series that have `expired` (ascending).
///
/// # Errors
/// [`ReadError`] when the engine cannot read, or a block is of a newer format; nothing is merged then.
pub(super) fn merge(
    transaction: &ReadTransaction,
    task: Task,
    agent: &AgentEntry,
    expired: Vec<SeriesNo>,
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
            rollups: Vec::new(),
            expired,
            damaged: Vec::new(),
        };
        let mut rollups = (task.extent == Extent::Day).then(DayRollups::default);
        for group in groups_of_day(&table, task.day, task.agent).map_err(backend)? {
            merge_group(&group, agent, &mut merged, rollups.as_mut())?;
            // Of a day that is not whole there are none.
            rollups = rollups.filter(|_| merged.damaged.is_empty());
        }
        merged.rollups = match rollups {
            Some(none) if none.is_empty() && !merged.expired.is_empty() => Vec::new(),
            Some(rollups) => rollups.encode().into_rows(),
            None if task.extent == Extent::Expired => {
                rollups_without(transaction, &merged).map_err(backend)?
            }
            None => Vec::new(),
        };
        Ok(merged)
    })
}

/// The day's rows of rollups that hold expired series, without them. One that cannot be read stays: answers do
/// not come from it, and it is worked out anew once somebody meets it.
fn rollups_without(
    transaction: &ReadTransaction,
    merged: &Merged,
) -> Result<Vec<(Tier, Vec<u8>)>, redb::Error> {
    let table = transaction.open_table(ROLLUPS)?;
    let Task { day, agent, .. } = merged.task;
    let mut rows = Vec::new();
    for tier in Tier::ALL {
        if let Some(row) = table.get((tier.key(), day, agent.0))?
            && let Ok(Some(rest)) = without(tier, row.value(), &merged.expired)
        {
            rows.push((tier, rest));
        }
    }
    Ok(rows)
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
            match merge_set(&set, agent, merged, rollups)? {
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
    let merged_to = task.basis.map_or(0, |row| row.2);
    let mut sets = vec![Vec::new()];
    for run in runs(ranges) {
        let run = &group.guards[run];
        if run.iter().any(|(key, _)| is_damaged(key)) {
            sets.push(Vec::new());
        } else if task.extent != Extent::Recent || run.iter().any(|(key, _)| key.4 > merged_to) {
            // There is always a last one.
            if let Some(set) = sets.last_mut() {
                set.extend(run);
            }
        }
    }
    sets
}

/// Cuts blocks that ascend by start, of which first and last times are given, into runs: as many neighbours as
/// overlap, directly or through others.
fn runs(ranges: &[(i64, i64)]) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut start = 0;
    while start < ranges.len() {
        let mut end = start + 1;
        let mut until = ranges[start].1;
        while end < ranges.len() && ranges[end].0 <= until {
            until = until.max(ranges[end].1);
            end += 1;
        }
        runs.push(start..end);
        start = end;
    }
    runs
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
    merged: &Merged,
    mut rollups: Option<&mut DayRollups>,
) -> Result<SetOutcome, ReadError> {
    let Some(newest) = set.iter().map(|(key, _)| *key).max_by_key(|key| key.4) else {
        return Ok(SetOutcome::Kept);
    };
    let expired = &merged.expired;
    let guards = set.iter().copied();
    let wanted = Wanted::Without(expired);
    let mut pieces = Pieces::gather(guards, None, std::iter::empty(), wanted, whole_time())?;
    let samples = pieces.samples();
    let has_expired = pieces.have_any(expired);
    let parts = if has_expired && samples > SAMPLES_MAX {
        parts(set)?
    } else {
        Vec::new()
    };
    let is_for_space =
        merged.task.extent != Extent::Expired && samples <= SAMPLES_MAX && set.len() > 1;
    let repacks = parts.len() < 2 && (has_expired || is_for_space);
    if !repacks && rollups.is_none() && parts.is_empty() {
        return Ok(SetOutcome::Kept);
    }
    let mut series: Vec<SeriesRun> = Vec::new();
    if repacks || rollups.is_some() {
        each_series(&mut pieces, |no, columns| {
            if let Some(rollups) = &mut rollups {
                rollups.add(no, columns, has_counts(agent, no));
            }
            if repacks {
                series.push(SeriesRun {
                    no,
                    times: std::mem::take(&mut columns.times),
                    values: std::mem::take(&mut columns.values),
                });
            }
        });
    }
    if !pieces.left_out.is_empty() {
        return Ok(SetOutcome::Damaged(pieces.left_out));
    }
    if !repacks {
        return merge_parts(&parts, agent, merged);
    }
    let bytes: usize = set.iter().map(|(_, value)| value.value().len()).sum();
    let rate = bytes as f64 / pieces.samples_of_blocks().max(1) as f64;
    let packed = pack_into_pages(&series, rate);
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

/// Merges each part of a set that is too large to be held in memory, as far as it has expired series.
fn merge_parts(
    parts: &[Vec<&Guard>],
    agent: &AgentEntry,
    merged: &Merged,
) -> Result<SetOutcome, ReadError> {
    let (mut all_removed, mut all_blocks) = (Vec::new(), Vec::new());
    for part in parts {
        match merge_set(part, agent, merged, None)? {
            SetOutcome::Kept => {}
            SetOutcome::Repacked { removed, blocks } => {
                all_removed.extend(removed);
                all_blocks.extend(blocks);
            }
            damaged @ SetOutcome::Damaged(_) => return Ok(damaged),
        }
    }
    if all_removed.is_empty() {
        return Ok(SetOutcome::Kept);
    }
    Ok(SetOutcome::Repacked {
        removed: all_removed,
        blocks: all_blocks,
    })
}

/// Cuts a set between its runs into parts of at most [`SAMPLES_MAX`] samples, or of one run.
fn parts<'a>(set: &[&'a Guard]) -> Result<Vec<Vec<&'a Guard>>, ReadError> {
    let mut ranges = Vec::with_capacity(set.len());
    let mut samples = Vec::with_capacity(set.len());
    for (key, value) in set {
        // One that is damaged is not in a set.
        let (range, count) =
            open_block(*key, value.value())?.map_or(((key.3, key.3), 0), |block| {
                let count: usize = block.entries().iter().map(|entry| entry.count).sum();
                (range_of(*key, &block), count)
            });
        ranges.push(range);
        samples.push(count);
    }
    let mut parts: Vec<Vec<&Guard>> = Vec::new();
    let mut room = 0;
    for run in runs(&ranges) {
        let count: usize = samples[run.clone()].iter().sum();
        match parts.last_mut() {
            Some(part) if count <= room => {
                part.extend(&set[run]);
                room -= count;
            }
            _ => {
                parts.push(set[run].to_vec());
                room = SAMPLES_MAX.saturating_sub(count);
            }
        }
    }
    Ok(parts)
}

/// Blocks lie within one day already.
const fn whole_time() -> Window {
    Window::new(
        Timestamp::from_millis(i64::MIN),
        Timestamp::from_millis(i64::MAX),
    )
}

fn has_counts(agent: &AgentEntry, no: SeriesNo) -> bool {
    let slot = agent.series.slot(no);
    let key = slot.and_then(|slot| agent.series.series_key(slot));
    key.is_some_and(|key| METRICS_WITH_COUNTS.contains(&key.name()))
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
    /// Days of agents with the series that they no longer have.
    pub(super) expired: Vec<(AgentNo, i32, Vec<SeriesNo>)>,
    /// Whether samples were taken out of settled days, so that their room can be used again.
    pub(super) has_freed: bool,
}

impl Merged {
    /// Bytes that writing it takes.
    pub(super) fn bytes(&self) -> usize {
        let blocks = self.blocks.iter().map(|(_, bytes)| bytes.len());
        let rollups = self.rollups.iter().map(|(_, bytes)| bytes.len());
        blocks.chain(rollups).sum()
    }

    /// Whether the day stays as it is.
    pub(super) fn is_idle(&self) -> bool {
        self.task.extent == Extent::Expired && self.removed.is_empty() && self.rollups.is_empty()
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
        let mut blocks = transaction.open_table(BLOCKS)?;
        if unsettled.get(place)?.map(|row| row.value()) != basis {
            return Ok(());
        }
        // A settled day has no row to tell by that it was deleted.
        for key in &self.removed {
            if blocks.get(*key)?.is_none() {
                return Ok(());
            }
        }
        match (extent, basis) {
            (Extent::Day, _) => drop(unsettled.remove(place)?),
            (Extent::Recent, Some(basis)) => {
                drop(unsettled.insert(place, (0, basis.1, basis.1))?);
            }
            (Extent::Recent, None) | (Extent::Expired, _) => {}
        }
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
        self.write_rollups(transaction)?;
        applied.bytes += self.bytes() as u64;
        applied.days.push((agent, day));
        applied.has_freed |= extent == Extent::Expired && !self.removed.is_empty();
        if !self.expired.is_empty() {
            applied.expired.push((agent, day, self.expired.clone()));
        }
        Ok(())
    }

    fn write_rollups(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let Task {
            day, agent, extent, ..
        } = self.task;
        let mut table = transaction.open_table(ROLLUPS)?;
        let mut bytes_of_rollups = ByteCount::default();
        for (tier, bytes) in &self.rollups {
            let key = (tier.key(), day, agent.0);
            let old = table.remove(key)?.map(|row| row.value().len());
            if let Some(old) = old {
                bytes_of_rollups.remove(old);
            }
            // What was deleted since it was read does not come back.
            let is_gone = extent == Extent::Expired && old.is_none();
            if !bytes.is_empty() && !is_gone {
                table.insert(key, bytes.as_slice())?;
                bytes_of_rollups.add(bytes.len());
            }
        }
        bytes_of_rollups.write(transaction, BYTES_OF_ROLLUPS, day)
    }
}

/// The day's row, as the merge of a day that may be settled takes it.
pub(super) fn basis_of(
    transaction: &ReadTransaction,
    day: i32,
    agent: AgentNo,
) -> Result<Option<UnsettledRow>, redb::Error> {
    let table = transaction.open_table(UNSETTLED)?;
    Ok(table.get((day, agent.0))?.map(|row| row.value()))
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
