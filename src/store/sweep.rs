//! Applies rules of retention to days that are settled: finds those that hold what a rule no longer keeps, day by day
//! from where it stopped, and has them written anew without it.
//!
//! Days that are not settled need no search: when they are, their merge leaves out what has expired. So a day that was
//! swept stays so, and what comes late unsettles it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use redb::{ReadTransaction, ReadableDatabase, ReadableTable, WriteTransaction};

use super::{
    catalog::AgentEntry,
    departure::each_expired,
    expiry::{Cuts, Marks, expired_on, trusted_now},
    merge::{Extent, Merged, Task, basis_of, merge},
    merger::{BATCH_BYTES, Change, Ended, RETRY, Worker},
    segments::day_start,
    shared::Shared,
    tables::{self, Tier},
};
use crate::model::{AgentNo, ReadError, SeriesNo};

impl Marks {
    /// As the file has them.
    pub(super) fn read(transaction: &ReadTransaction) -> Result<Self, redb::Error> {
        let meta = transaction.open_table(tables::META)?;
        let row = meta.get(tables::meta::RETENTION_MARKS)?;
        Ok(row.map_or_else(Self::default, |row| Self::decode(row.value())))
    }

    /// Puts them into the file.
    pub(super) fn write(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let mut meta = transaction.open_table(tables::META)?;
        if self.is_empty() {
            meta.remove(tables::meta::RETENTION_MARKS)?;
        } else {
            meta.insert(tables::meta::RETENTION_MARKS, &self.encode()[..])?;
        }
        Ok(())
    }
}

/// An agent that rules hold for, and the first day of each such series that is kept.
struct Ruled {
    no: AgentNo,
    entry: Arc<AgentEntry>,
    first_kept: Vec<(SeriesNo, i32)>,
}

/// Why a sweep does not go on for now.
enum Stop {
    /// The committer has gone.
    Ended,
    /// The committer could not write; the next round begins where the file's marks are.
    NotWritten,
    /// The disk does not let be read.
    Unreadable(String),
}

impl<E: Into<redb::Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Unreadable(error.into().to_string())
    }
}

impl Worker {
    /// Brings the file's marks in line with the rules and the clock, before anything is merged by them. Tells whether
    /// they are.
    pub(super) fn hold_marks(&self, in_haste: bool) -> Result<bool, Ended> {
        let Some(now) = trusted_now(&self.shared) else {
            return Ok(true);
        };
        let cuts = Cuts::new(&self.shared.settings.retention_rules, now);
        let Some(marks) = self.marks() else {
            return Ok(false);
        };
        let held = marks.held_for(&cuts);
        if held == marks {
            return Ok(true);
        }
        self.hand_over(vec![Change::Marks(held)], in_haste)
    }

    /// Looks through days that rules have passed since the last time.
    pub(super) fn sweep(&mut self, in_haste: bool) -> Result<(), Ended> {
        let waits = |failed: Instant| failed.elapsed() < RETRY && !in_haste;
        if self.sweep_failed.is_some_and(waits) {
            return Ok(());
        }
        match self.sweep_days(in_haste) {
            Ok(()) | Err(Stop::NotWritten) => Ok(()),
            Err(Stop::Unreadable(error)) => {
                tracing::warn!(error, "rules of retention cannot be applied now");
                self.sweep_failed = Some(Instant::now());
                Ok(())
            }
            Err(Stop::Ended) => Err(Ended),
        }
    }

    fn sweep_days(&self, in_haste: bool) -> Result<(), Stop> {
        let shared = Arc::clone(&self.shared);
        let (Some(now), Some(marks)) = (trusted_now(&shared), self.marks()) else {
            return Ok(());
        };
        let cuts = Cuts::new(&shared.settings.retention_rules, now);
        let Some(mut from) = marks.next(&cuts) else {
            return Ok(());
        };
        self.is_busy.store(true, Ordering::Relaxed);
        let ruled = ruled(&shared, &cuts, from)?;
        while let Some(day) = next_day(&shared, from)?.filter(|day| *day < cuts.end()) {
            from = day.saturating_add(1);
            let mut batch = Vec::new();
            for agent in &ruled {
                batch.extend(self.without_expired(day, agent)?.map(Change::Merge));
                if batch.iter().map(Change::bytes).sum::<usize>() >= BATCH_BYTES {
                    self.have_written(std::mem::take(&mut batch), in_haste)?;
                }
            }
            batch.push(Change::Marks(marks.until(&cuts, from)));
            self.have_written(batch, in_haste)?;
        }
        let done = marks.until(&cuts, i32::MAX);
        self.have_written(vec![Change::Marks(done)], in_haste)
    }

    /// Marks must not get ahead of what they tell of.
    fn have_written(&self, changes: Vec<Change>, in_haste: bool) -> Result<(), Stop> {
        match self.hand_over(changes, in_haste) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Stop::NotWritten),
            Err(Ended) => Err(Stop::Ended),
        }
    }

    fn marks(&self) -> Option<Marks> {
        let transaction = self.shared.database().begin_read().ok()?;
        let read = Marks::read(&transaction);
        read.inspect_err(
            |error| tracing::debug!(%error, "how far rules of retention are cannot be read"),
        )
        .ok()
    }

    /// An agent's day without what has expired of it; `None` where nothing has. What can never be read is left as it
    /// is.
    fn without_expired(&self, day: i32, agent: &Ruled) -> Result<Option<Merged>, Stop> {
        let expired = expired_on(&agent.first_kept, day);
        if expired.is_empty() {
            return Ok(None);
        }
        let transaction = self.shared.database().begin_read()?;
        let task = Task {
            day,
            agent: agent.no,
            extent: Extent::Expired,
            basis: basis_of(&transaction, day, agent.no)?,
        };
        match merge(&transaction, task, &agent.entry, expired) {
            Ok(merged) => {
                self.note_damage(&merged, &agent.entry);
                Ok((!merged.is_idle()).then_some(merged))
            }
            Err(ReadError::Backend(error)) => Err(Stop::Unreadable(error)),
            Err(error) => {
                let date = day_start(day).to_rfc3339();
                tracing::warn!(agent = %agent.entry.id, day = &date[..10], %error, "a day keeps what rules of retention no longer keep");
                Ok(None)
            }
        }
    }
}

/// Agents that rules hold for. Series that have left count where days before the first block are looked through.
fn ruled(shared: &Shared, cuts: &Cuts<'_>, from: i32) -> Result<Vec<Ruled>, redb::Error> {
    let catalog = Arc::clone(&shared.live.lock().catalog);
    let transaction = shared.database().begin_read()?;
    let blocks = transaction.open_table(tables::BLOCKS)?;
    let first_block_day = blocks.first()?.map_or(i32::MAX, |(key, _)| key.value().0);
    let expired = transaction.open_table(tables::EXPIRED_SERIES)?;
    let mut ruled = Vec::new();
    for (no, entry) in catalog.agents() {
        let mut first_kept = cuts.of_agent(entry);
        if from < first_block_day {
            each_expired(&expired, no, None, |key, series, _| {
                first_kept.extend(cuts.first_kept_of(entry, &key).map(|day| (series, day)));
            })?;
            first_kept.sort_unstable();
        }
        if !first_kept.is_empty() {
            ruled.push(Ruled {
                no,
                entry: Arc::clone(entry),
                first_kept,
            });
        }
    }
    Ok(ruled)
}

/// The first day from `from` on that has blocks or rollups.
fn next_day(shared: &Shared, from: i32) -> Result<Option<i32>, redb::Error> {
    let transaction = shared.database().begin_read()?;
    let mut days = Vec::new();
    let blocks = transaction.open_table(tables::BLOCKS)?;
    if let Some(row) = blocks.range((from, 0, 0, i64::MIN, 0)..)?.next() {
        days.push(row?.0.value().0);
    }
    let rollups = transaction.open_table(tables::ROLLUPS)?;
    for tier in Tier::ALL {
        let range = (tier.key(), from, 0)..=(tier.key(), i32::MAX, u32::MAX);
        if let Some(row) = rollups.range(range)?.next() {
            days.push(row?.0.value().1);
        }
    }
    Ok(days.into_iter().min())
}
