//! The merger: the thread that finds days to merge and merges them, so that the committer only has to write the
//! outcome; also those that hold what rules of retention no longer keep (`sweep.rs`). It reads snapshots, holds no state
//! that matters, and stops when the committer does.

use std::{
    collections::{HashMap, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use redb::{ReadableDatabase, WriteTransaction};

use super::{
    Condition,
    catalog::AgentEntry,
    command::Reply,
    expiry::{Cuts, Marks, trusted_now},
    merge::{Applied, Extent, Merged, Task, is_over, merge, rebuild_rollups, unsettled},
    shared::Shared,
    tables::UnsettledRow,
};
use crate::model::{AgentNo, DAY_MS, ReadError, Timestamp};

/// Small blocks of a day under way that are merged together.
const RECENT_BLOCKS: u32 = 32;
/// A day is settled so long after its end at the earliest, since samples come late; milliseconds.
const LATE_MS: i64 = 15 * 60_000;
/// A day is settled when no block was added to it for so long, so that a backfill is merged once.
const QUIET: Duration = Duration::from_mins(10);
/// How often it is looked whether there is something to merge.
const INTERVAL: Duration = Duration::from_secs(5);
/// A day that the disk did not let be read is tried again after this; its trouble may have passed.
pub(super) const RETRY: Duration = Duration::from_hours(1);
/// Merges up to so many bytes are written by one transaction.
pub(super) const BATCH_BYTES: usize = 1 << 20;

/// What the merger wants written.
#[derive(Debug)]
pub(super) enum Change {
    /// Blocks and rollups of a day.
    Merge(Merged),
    /// A damaged rollup makes its day unsettled.
    Rebuild(i32, AgentNo),
    /// How far rules of retention have been applied.
    Marks(Marks),
}

impl Change {
    /// Bytes that writing it takes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Merge(merged) => merged.bytes(),
            Self::Rebuild(..) | Self::Marks(_) => 0,
        }
    }

    /// Writes it, unless the file has changed since it was worked out.
    pub(super) fn write(
        &self,
        transaction: &WriteTransaction,
        applied: &mut Applied,
    ) -> Result<(), redb::Error> {
        match self {
            Self::Merge(merged) => merged.write(transaction, applied),
            Self::Rebuild(day, agent) => {
                if rebuild_rollups(transaction, *day, *agent)? {
                    applied.rebuilt.push((*day, *agent));
                }
                Ok(())
            }
            Self::Marks(marks) => marks.write(transaction),
        }
    }
}

/// Changes that wait to be written, and where to say that they are.
pub(super) struct Batch {
    pub(super) changes: Vec<Change>,
    /// Gets whether they were written.
    pub(super) written: mpsc::SyncSender<bool>,
}

/// The committer's end of the merger.
#[derive(Debug)]
pub(super) struct Merger {
    orders: Option<mpsc::Sender<Reply<()>>>,
    batches: Option<mpsc::Receiver<Batch>>,
    /// Whether batches are being made.
    is_busy: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Merger {
    /// Starts the thread.
    pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<Self> {
        let (orders, ordered) = mpsc::channel();
        let (sender, batches) = mpsc::sync_channel(1);
        let is_busy = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            shared,
            orders: ordered,
            batches: sender,
            is_busy: Arc::clone(&is_busy),
            seen: HashMap::new(),
            rebuilt: HashSet::new(),
            sweep_failed: None,
        };
        let thread = std::thread::Builder::new()
            .name("merger".to_owned())
            .spawn(move || {
                // Reading goes on without merges, and so does writing.
                if catch_unwind(AssertUnwindSafe(|| worker.run())).is_err() {
                    tracing::error!("the merger ended by a panic; blocks stay as they are");
                }
            })?;
        Ok(Self {
            orders: Some(orders),
            batches: Some(batches),
            is_busy,
            thread: Some(thread),
        })
    }

    /// Merges everything now, also days that are not over; the reply comes when all of it is written.
    pub(super) fn settle(&self, reply: Reply<()>) {
        self.is_busy.store(true, Ordering::Relaxed);
        if let Some(orders) = &self.orders {
            // Without a merger the reply is dropped, which says that the store closes.
            let _ = orders.send(reply);
        }
    }

    /// Whether merges are under way, so that the committer looks for them often.
    pub(super) fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Relaxed)
    }

    /// The next merges to write, if there are any.
    pub(super) fn next(&self) -> Option<Batch> {
        self.batches.as_ref()?.try_recv().ok()
    }

    /// Ends the thread; it holds the file open until then.
    pub(super) fn stop(&mut self) {
        self.orders = None;
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // Its panics were caught.
            let _ = thread.join();
        }
    }
}

/// A day as it was seen, and since when.
#[derive(Clone, Copy, Debug)]
struct Seen {
    row: UnsettledRow,
    since: Instant,
    /// When it could not be merged as it is, and whether it is damaged.
    failed: Option<(Instant, bool)>,
}

/// The thread's state.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    orders: mpsc::Receiver<Reply<()>>,
    batches: mpsc::SyncSender<Batch>,
    pub(super) is_busy: Arc<AtomicBool>,
    seen: HashMap<(i32, AgentNo), Seen>,
    /// Days whose rollups were given a try.
    rebuilt: HashSet<(i32, AgentNo)>,
    /// When rules of retention could not be applied for what the disk did.
    pub(super) sweep_failed: Option<Instant>,
}

/// The committer has gone.
pub(super) struct Ended;

impl Worker {
    fn run(mut self) {
        loop {
            let order = match self.orders.recv_timeout(INTERVAL) {
                Ok(reply) => Some(reply),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            let worked = self.round(order.is_some());
            self.is_busy.store(false, Ordering::Relaxed);
            if worked.is_err() {
                return;
            }
            if let Some(reply) = order {
                let _ = reply.send(Ok(()));
            }
        }
    }

    /// Merges what is due; with `all`, everything, without pauses.
    fn round(&mut self, all: bool) -> Result<(), Ended> {
        // While the file is being recovered, nothing can be read and nothing written.
        if matches!(*self.shared.condition.lock(), Condition::Suspended(_)) {
            return Ok(());
        }
        // First: what is merged from here on is merged by these rules.
        if !self.hold_marks(all)? {
            return Ok(());
        }
        let mut batch = self.days_to_rebuild();
        for task in self.tasks(all) {
            self.is_busy.store(true, Ordering::Relaxed);
            batch.extend(self.merge(task).map(Change::Merge));
            if batch.iter().map(Change::bytes).sum::<usize>() >= BATCH_BYTES {
                self.hand_over(std::mem::take(&mut batch), all)?;
            }
        }
        if !batch.is_empty() {
            self.hand_over(batch, all)?;
        }
        self.sweep(all)
    }

    /// Days whose rollups are damaged: they are derived, so they can be worked out anew. Once each, so that a disk that
    /// damages everything is not written to for ever.
    fn days_to_rebuild(&mut self) -> Vec<Change> {
        let days = self.shared.quarantine.days_with_rollups();
        let fresh = days.into_iter().filter(|day| self.rebuilt.insert(*day));
        fresh
            .map(|(day, agent)| Change::Rebuild(day, agent))
            .collect()
    }

    /// What is to be merged, oldest days first.
    fn tasks(&mut self, all: bool) -> Vec<Task> {
        let transaction = match self.shared.database().begin_read() {
            Ok(transaction) => transaction,
            Err(error) => {
                tracing::debug!(%error, "the merger cannot read");
                return Vec::new();
            }
        };
        let days = match unsettled(&transaction) {
            Ok(days) => days,
            Err(error) => {
                tracing::warn!(%error, "days to merge cannot be read");
                return Vec::new();
            }
        };
        let now = Instant::now();
        self.seen.retain(|place, _| days.contains_key(place));
        for (place, row) in &days {
            let seen = self.seen.entry(*place).or_insert(Seen {
                row: *row,
                since: now,
                failed: None,
            });
            if seen.row != *row {
                *seen = Seen {
                    row: *row,
                    since: now,
                    failed: None,
                };
            }
        }
        let mut tasks: Vec<Task> = self
            .seen
            .iter()
            .filter_map(|((day, agent), seen)| {
                let extent = if all {
                    Some(Extent::Day)
                } else {
                    self.due(*day, *agent, seen, now)
                };
                Some(Task {
                    day: *day,
                    agent: *agent,
                    extent: extent?,
                    basis: Some(seen.row),
                })
            })
            .collect();
        tasks.sort_by_key(|task| (task.day, task.agent));
        tasks
    }

    fn due(&self, day: i32, agent: AgentNo, seen: &Seen, now: Instant) -> Option<Extent> {
        let is_hopeless = |(at, is_damaged): (Instant, bool)| {
            is_damaged || now.saturating_duration_since(at) < RETRY
        };
        if seen.failed.is_some_and(is_hopeless) {
            return None;
        }
        let clock = self.shared.clock.now();
        let is_quiet = now.saturating_duration_since(seen.since) >= QUIET;
        if is_over(day, clock, LATE_MS) && is_quiet && !self.has_heads_until(day, agent) {
            return Some(Extent::Day);
        }
        (seen.row.0 >= RECENT_BLOCKS).then_some(Extent::Recent)
    }

    /// Whether samples of the day or before are still in memory: a checkpoint would unsettle the day again.
    fn has_heads_until(&self, day: i32, agent: AgentNo) -> bool {
        let heads = Arc::clone(&self.shared.live.lock().heads);
        let first = heads.agent(agent).and_then(|head| head.first());
        let end = (i64::from(day) + 1) * DAY_MS;
        first.is_some_and(|first| first < end)
    }

    fn merge(&mut self, task: Task) -> Option<Merged> {
        let transaction = self.shared.database().begin_read().ok()?;
        let catalog = Arc::clone(&self.shared.live.lock().catalog);
        let agent = catalog.agent(task.agent)?;
        let expired = trusted_now(&self.shared).map_or_else(Vec::new, |now| {
            Cuts::new(&self.shared.settings.retention_rules, now).expired(agent, task.day)
        });
        match merge(&transaction, task, agent, expired) {
            Ok(merged) => {
                self.note_damage(&merged, agent);
                Some(merged)
            }
            Err(error) => {
                let day = Timestamp::from_millis(i64::from(task.day) * DAY_MS);
                tracing::warn!(agent = %agent.id, day = &day.to_rfc3339()[..10], %error, "a day cannot be merged");
                if let Some(seen) = self.seen.get_mut(&(task.day, task.agent)) {
                    let is_damaged = matches!(error, ReadError::Damaged(_));
                    seen.failed = Some((Instant::now(), is_damaged));
                }
                None
            }
        }
    }

    pub(super) fn note_damage(&self, merged: &Merged, agent: &AgentEntry) {
        for damage in &merged.damaged {
            self.shared.quarantine.note(damage, agent.id.as_str());
        }
    }

    /// Has changes written, then pauses for as long as they take of the budget. Tells whether they were written.
    pub(super) fn hand_over(&self, changes: Vec<Change>, in_haste: bool) -> Result<bool, Ended> {
        let bytes: usize = changes.iter().map(Change::bytes).sum();
        let (written, done) = mpsc::sync_channel(1);
        self.batches
            .send(Batch { changes, written })
            .map_err(|_| Ended)?;
        // An error says that the committer dropped it.
        let is_written = done.recv().map_err(|_| Ended)?;
        if !in_haste {
            let budget = self.shared.settings.merge_write_budget.max(1);
            std::thread::sleep(Duration::from_secs_f64(
                (bytes as f64 / budget as f64).min(1.0),
            ));
        }
        Ok(is_written)
    }
}
