//! Heads: samples that are in the write-ahead log and not yet in blocks.
//!
//! Heads are shared between the committer and every view as `Arc`s that are copied on write, so a view
//! stays what it was while commits go on, and a commit that nobody looks at copies nothing.

use std::{collections::HashMap, sync::Arc};

use super::series_table::reserve;
use crate::model::{AgentNo, Sample, Timestamp};

/// Bytes that one sample takes in a head.
pub(super) const SAMPLE_BYTES: usize = 16;

/// Samples of one series in order of arrival.
#[derive(Clone, Debug, Default)]
pub(super) struct SeriesHead {
    samples: Option<Arc<Vec<(i64, f64)>>>,
    /// Whether times are strictly increasing, so that reading needs no sorting.
    is_ordered: bool,
    first: i64,
    last: i64,
    /// Sample that is last in time since the file was opened; stays when the head is flushed.
    newest: Option<Sample>,
}

impl SeriesHead {
    fn push(&mut self, time: i64, value: f64) {
        if self.newest.is_none_or(|s| s.time.as_millis() <= time) {
            self.newest = Some(Sample {
                time: Timestamp::from_millis(time),
                value,
            });
        }
        let Some(samples) = &mut self.samples else {
            self.samples = Some(Arc::new(vec![(time, value)]));
            self.is_ordered = true;
            (self.first, self.last) = (time, time);
            return;
        };
        Arc::make_mut(samples).push((time, value));
        self.is_ordered &= time > self.last;
        self.first = self.first.min(time);
        self.last = self.last.max(time);
    }

    /// First and last time; `None` when empty.
    pub(super) fn range(&self) -> Option<(i64, i64)> {
        self.samples.as_ref().map(|_| (self.first, self.last))
    }

    /// Samples in order of arrival.
    pub(super) fn arrived(&self) -> &[(i64, f64)] {
        self.samples.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Whether the samples are in strictly increasing order of time.
    pub(super) const fn is_ordered(&self) -> bool {
        self.is_ordered
    }

    /// The sample that is last in time, if one arrived since the file was opened.
    pub(super) const fn newest(&self) -> Option<Sample> {
        self.newest
    }
}

/// Head of one agent.
#[derive(Clone, Debug, Default)]
pub(super) struct AgentHead {
    /// By the series' slot in the agent's table.
    series: Vec<SeriesHead>,
    samples: usize,
    /// Earliest time held.
    first: Option<i64>,
    /// First and last log record that has samples held here.
    sequences: Option<(u64, u64)>,
}

impl AgentHead {
    /// Adds a sample of the log record `sequence`.
    pub(super) fn push(&mut self, slot: usize, time: i64, value: f64, sequence: u64) {
        if let Some(more) = (slot + 1).checked_sub(self.series.len()) {
            reserve(&mut self.series, more);
            self.series
                .resize_with(self.series.len() + more, SeriesHead::default);
        }
        self.series[slot].push(time, value);
        self.samples += 1;
        self.first = Some(self.first.map_or(time, |first| first.min(time)));
        let first_sequence = self.sequences.map_or(sequence, |(first, _)| first);
        self.sequences = Some((first_sequence, sequence));
    }

    /// Drops the samples; what is newest stays known.
    pub(super) fn flush(&mut self) {
        for head in &mut self.series {
            head.samples = None;
        }
        self.samples = 0;
        self.first = None;
        self.sequences = None;
    }

    /// The head of those series alone that stay, by their new slots. The others have no samples here.
    fn with_slots(&self, staying: &[usize]) -> Self {
        let series = staying.iter().map(|slot| self.series.get(*slot).cloned());
        Self {
            series: series.map(Option::unwrap_or_default).collect(),
            ..*self
        }
    }

    /// A series' head; `None` for one that never had a sample here.
    pub(super) fn series(&self, slot: usize) -> Option<&SeriesHead> {
        self.series.get(slot)
    }

    /// Number of samples.
    pub(super) const fn samples(&self) -> usize {
        self.samples
    }

    /// Earliest time held.
    pub(super) const fn first(&self) -> Option<i64> {
        self.first
    }

    /// First and last log record that has samples held here.
    pub(super) const fn sequences(&self) -> Option<(u64, u64)> {
        self.sequences
    }
}

/// Heads of all agents.
#[derive(Clone, Debug, Default)]
pub(super) struct Heads {
    agents: HashMap<AgentNo, Arc<AgentHead>>,
    samples: usize,
    /// No block that the file had when it was opened has a later sample.
    blocks_end: Option<i64>,
}

/// Farthest ahead of the clock that a sample is ever taken, in milliseconds; bounds `limits.future`.
pub const FUTURE_MS_LIMIT: i64 = 3_600_000;

impl Heads {
    /// Notes that the file has blocks of commits until `last_commit`.
    pub(super) fn have_blocks_until(&mut self, last_commit: Timestamp) {
        self.blocks_end = Some(last_commit.plus_millis(FUTURE_MS_LIMIT).as_millis());
    }

    /// Whether a sample is later than all that was in blocks when the file was opened, so that the newest
    /// sample seen since then is the newest of all.
    pub(super) fn is_beyond_blocks(&self, time: Timestamp) -> bool {
        self.blocks_end.is_none_or(|end| time.as_millis() > end)
    }

    /// The head of an agent, to be changed; copied first when a view shares it.
    pub(super) fn agent_mut(&mut self, agent: AgentNo) -> &mut AgentHead {
        Arc::make_mut(self.agents.entry(agent).or_default())
    }

    /// Adds samples of one agent.
    pub(super) fn extend(
        &mut self,
        agent: AgentNo,
        sequence: u64,
        rows: impl ExactSizeIterator<Item = (usize, i64, f64)>,
    ) {
        self.samples += rows.len();
        let head = self.agent_mut(agent);
        for (slot, time, value) in rows {
            head.push(slot, time, value, sequence);
        }
    }

    /// Drops the samples of an agent.
    pub(super) fn flush(&mut self, agent: AgentNo) {
        if let Some(head) = self.agents.get_mut(&agent) {
            self.samples -= head.samples();
            Arc::make_mut(head).flush();
        }
    }

    /// Forgets newest samples of days before `day`, which the file no longer has.
    pub(super) fn forget_before(&mut self, day: i32) {
        for head in self.agents.values_mut() {
            for series in &mut Arc::make_mut(head).series {
                series.newest = series.newest.filter(|s| s.time.day() >= day);
            }
        }
    }

    /// Rearranges an agent's head to the slots of a new table, in which the series at the slots `staying` are left.
    pub(super) fn rearrange(&mut self, agent: AgentNo, staying: &[usize]) {
        if let Some(head) = self.agents.get_mut(&agent) {
            *head = Arc::new(head.with_slots(staying));
        }
    }

    /// Whether one of these series of an agent has its newest sample on a day.
    pub(super) fn has_newest_on(&self, agent: AgentNo, slots: &[usize], day: i32) -> bool {
        self.agent(agent).is_some_and(|head| {
            let mut newest = slots.iter().filter_map(|slot| head.series(*slot)?.newest);
            newest.any(|sample| sample.time.day() == day)
        })
    }

    /// Forgets newest samples of these series that lie on a day, which the file no longer has.
    pub(super) fn forget_newest_on(&mut self, agent: AgentNo, slots: &[usize], day: i32) {
        let head = self.agent_mut(agent);
        for slot in slots {
            if let Some(series) = head.series.get_mut(*slot) {
                series.newest = series.newest.filter(|s| s.time.day() != day);
            }
        }
    }

    /// The head of an agent.
    pub(super) fn agent(&self, agent: AgentNo) -> Option<&Arc<AgentHead>> {
        self.agents.get(&agent)
    }

    /// Agents that have samples, with their heads.
    pub(super) fn unflushed(&self) -> impl Iterator<Item = (AgentNo, &AgentHead)> {
        self.agents
            .iter()
            .filter(|(_, h)| h.samples() > 0)
            .map(|(no, h)| (*no, &**h))
    }

    /// Number of samples.
    pub(super) const fn samples(&self) -> usize {
        self.samples
    }

    /// Bytes that the samples take.
    pub(super) const fn bytes(&self) -> usize {
        self.samples * SAMPLE_BYTES
    }
}
