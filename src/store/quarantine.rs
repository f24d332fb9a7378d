//! Rows that cannot be read: blocks and rollups that fail a checksum or cannot be decoded.
//!
//! One bad row must not cost the rest of the file. Answers leave it out and say so: each view keeps what its own
//! answers left out ([`LeftOut`]), and the store keeps what it met since it was opened ([`Quarantine`]), for
//! people. Neither decides what is read: the next question tries the row again and finds the same.

use std::{collections::BTreeMap, fmt, sync::Arc};

use parking_lot::Mutex;

use super::{
    pieces::range_of,
    segments::{day_end, day_start},
    tables::{BlockKey, Tier},
};
use crate::{
    codec::{Block, BlockError},
    model::{AgentNo, Clock, Timestamp, Unreadable, Window},
    telemetry::OwnMetrics,
};

/// Rows that one view tells of; of more it says only that there are more.
const LEFT_OUT_MAX: usize = 1_000;
/// Rows that the store keeps in mind.
const QUARANTINED_MAX: usize = 10_000;

/// Which row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RowKey {
    /// Of the table of blocks.
    Block(BlockKey),
    /// A rollup of an agent's day.
    Rollup {
        day: i32,
        agent: AgentNo,
        tier: Tier,
    },
}

impl RowKey {
    pub(super) const fn day(self) -> i32 {
        match self {
            Self::Block(key) => key.0,
            Self::Rollup { day, .. } => day,
        }
    }

    pub(super) const fn agent(self) -> AgentNo {
        match self {
            Self::Block(key) => AgentNo(key.1),
            Self::Rollup { agent, .. } => agent,
        }
    }
}

/// Day and agent are left to whoever tells of it.
impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block((_, _, group, start, sequence)) => {
                write!(
                    f,
                    "block (group {group}, start {start}, sequence {sequence})"
                )
            }
            Self::Rollup { tier, .. } => write!(f, "rollup ({})", tier.name()),
        }
    }
}

/// A row that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) row: RowKey,
    /// First moment that it covers, milliseconds since the epoch.
    pub(super) first: i64,
    /// Last moment that it covers, or may cover: without its directory, the end of its day.
    pub(super) last: i64,
    pub(super) why: String,
}

impl Damage {
    /// A rollup of a whole day.
    pub(super) fn of_rollup(tier: Tier, day: i32, agent: AgentNo, why: String) -> Self {
        Self {
            row: RowKey::Rollup { day, agent, tier },
            first: day_start(day).as_millis(),
            last: day_end(day).as_millis(),
            why,
        }
    }

    /// A block whose directory holds and whose data does not.
    pub(super) fn of_data(key: BlockKey, block: &Block<'_>, error: &BlockError) -> Self {
        let (first, last) = range_of(key, block);
        Self {
            row: RowKey::Block(key),
            first,
            last,
            why: error.to_string(),
        }
    }

    /// As people are told of it.
    pub(super) fn told(&self, agent_id: String, seen: Option<Timestamp>) -> Quarantined {
        let Unreadable {
            first,
            last,
            reason,
        } = self.to_unreadable();
        Quarantined {
            agent_id,
            first,
            last,
            reason,
            seen,
        }
    }

    fn to_unreadable(&self) -> Unreadable {
        Unreadable {
            first: Timestamp::from_millis(self.first),
            last: Timestamp::from_millis(self.last),
            reason: format!("{}: {}", self.row, self.why),
        }
    }
}

/// What the answers of one view left out.
#[derive(Debug, Default)]
pub(super) struct LeftOut(Mutex<LeftOutRows>);

#[derive(Debug, Default)]
struct LeftOutRows {
    rows: BTreeMap<RowKey, Damage>,
    /// First and last moment of the rows beyond [`LEFT_OUT_MAX`], whosever they are.
    beyond: Option<(i64, i64)>,
}

impl LeftOut {
    /// Notes that an answer lacks a row.
    pub(super) fn add(&self, damage: &Damage) {
        let mut all = self.0.lock();
        if all.rows.len() < LEFT_OUT_MAX || all.rows.contains_key(&damage.row) {
            all.rows.insert(damage.row, damage.clone());
        } else {
            let (first, last) = all.beyond.unwrap_or((damage.first, damage.last));
            all.beyond = Some((first.min(damage.first), last.max(damage.last)));
        }
    }

    /// What answers about an agent lack of a window, oldest first.
    pub(super) fn of(&self, agent: AgentNo, window: Window) -> Vec<Unreadable> {
        let all = self.0.lock();
        let beyond = all.beyond.map(|(first, last)| Unreadable {
            first: Timestamp::from_millis(first),
            last: Timestamp::from_millis(last),
            reason: format!("more than {LEFT_OUT_MAX} blocks cannot be read"),
        });
        let own = all
            .rows
            .values()
            .filter(|damage| damage.row.agent() == agent);
        let mut found: Vec<Unreadable> = own
            .map(Damage::to_unreadable)
            .chain(beyond)
            .filter(|lack| window.touches(lack.first, lack.last))
            .collect();
        found.sort_by_key(|lack| (lack.first, lack.last));
        found
    }
}

/// A row in quarantine, as people are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Whose.
    pub agent_id: String,
    /// First moment that it covers.
    pub first: Timestamp,
    /// Last moment that it covers or may cover.
    pub last: Timestamp,
    /// Which row, and why it cannot be read.
    pub reason: String,
    /// When it was met first; `None` for a file that no server has open.
    pub seen: Option<Timestamp>,
}

/// What a store met since it was opened.
#[derive(Debug)]
pub(super) struct Quarantine {
    clock: Arc<dyn Clock>,
    metrics: Arc<OwnMetrics>,
    rows: Mutex<BTreeMap<RowKey, Quarantined>>,
}

impl Quarantine {
    pub(super) fn new(clock: Arc<dyn Clock>, metrics: Arc<OwnMetrics>) -> Self {
        Self {
            clock,
            metrics,
            rows: Mutex::default(),
        }
    }

    /// Notes a row; the log is told of it once.
    pub(super) fn note(&self, damage: &Damage, agent_id: &str) {
        let mut rows = self.rows.lock();
        if rows.contains_key(&damage.row) || rows.len() >= QUARANTINED_MAX {
            return;
        }
        let told = damage.told(agent_id.to_owned(), Some(self.clock.now()));
        tracing::warn!(agent = agent_id, from = %told.first, to = %told.last, reason = told.reason, "damaged, and left out of answers");
        rows.insert(damage.row, told);
        self.count(&rows);
    }

    /// How many rows there are, and the first of them by kind and day.
    pub(super) fn list(&self, most: usize) -> (u64, Vec<Quarantined>) {
        let rows = self.rows.lock();
        (
            rows.len() as u64,
            rows.values().take(most).cloned().collect(),
        )
    }

    /// Days of agents that have a rollup in quarantine.
    pub(super) fn days_with_rollups(&self) -> Vec<(i32, AgentNo)> {
        let rows = self.rows.lock();
        let rollups = rows
            .keys()
            .filter(|row| matches!(row, RowKey::Rollup { .. }));
        let mut days: Vec<_> = rollups.map(|row| (row.day(), row.agent())).collect();
        days.dedup();
        days
    }

    /// Forgets rows that the file no longer has.
    pub(super) fn forget(&self, is_gone: impl Fn(RowKey) -> bool) {
        let mut rows = self.rows.lock();
        rows.retain(|row, _| !is_gone(*row));
        self.count(&rows);
    }

    fn count(&self, rows: &BTreeMap<RowKey, Quarantined>) {
        self.metrics.blocks_quarantined.set(rows.len() as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DAY_MS, ManualClock};

    fn damage(n: i64) -> Damage {
        Damage {
            row: RowKey::Block((0, 7, 0, n, 1)),
            first: n,
            last: n + 9,
            why: "for a test".to_owned(),
        }
    }

    #[test]
    fn a_view_tells_of_its_own_agent_and_window_and_never_too_little() {
        let left_out = LeftOut::default();
        let at = Timestamp::from_millis;
        for n in 0..LEFT_OUT_MAX as i64 {
            left_out.add(&damage(n * 10));
        }
        left_out.add(&damage(0));
        let within = Window::new(at(99), at(110));
        assert_eq!(left_out.of(AgentNo(7), within).len(), 2);
        assert_eq!(left_out.of(AgentNo(8), within), []);
        // What is not listed any more is still told, of everybody.
        left_out.add(&damage(DAY_MS));
        assert_eq!(left_out.of(AgentNo(7), within).len(), 2);
        let late = Window::new(at(DAY_MS), at(DAY_MS + 1));
        assert_eq!(left_out.of(AgentNo(8), late).len(), 1);
    }

    #[test]
    fn the_store_keeps_the_first_it_met() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(5)));
        let metrics = Arc::new(OwnMetrics::default());
        let quarantine = Quarantine::new(clock, Arc::clone(&metrics));
        for n in 0..QUARANTINED_MAX as i64 + 5 {
            quarantine.note(&damage(n), "a");
            quarantine.note(&damage(n), "a");
        }
        let (count, first) = quarantine.list(2);
        assert_eq!((count, first.len()), (QUARANTINED_MAX as u64, 2));
        assert_eq!(first[0].seen, Some(Timestamp::from_millis(5)));
        assert_eq!(metrics.blocks_quarantined.get(), count as i64);
        quarantine.forget(|row| row.day() < 1);
        assert_eq!(quarantine.list(2), (0, vec![]));
        assert_eq!(metrics.blocks_quarantined.get(), 0);
    }
}
