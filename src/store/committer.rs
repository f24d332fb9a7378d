//! The committer: the one thread that writes. It drains the queue into one log record per commit,
//! acknowledges after the fsync, and does the upkeep (checkpoints, pins, retention) in between.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTableMetadata, WriteTransaction};
use tokio::sync::oneshot;

use super::{
    Appended, Registered, Urgency, WriteError,
    checkpoint::Checkpoint,
    draft::{Draft, Prepared, Times},
    liveness::Liveness,
    pins::Pins,
    ration::Ration,
    retention,
    shared::{Live, Shared},
    tables,
};
use crate::{
    codec::RunRecord,
    model::{AgentId, AgentNo, Registration, Timestamp},
};

/// Rows that one commit takes; more wait for the next one.
const COMMIT_ROWS_MAX: usize = 200_000;
/// Log records that start a checkpoint, however few samples they hold.
const LOG_RECORDS_MAX: u64 = 50_000;
/// Upkeep is looked after at least so often.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Old data is looked for so often.
const RETENTION_INTERVAL: Duration = Duration::from_mins(10);

pub(super) type Reply<T> = oneshot::Sender<Result<T, WriteError>>;

/// What is asked of the committer.
#[derive(Debug)]
pub(super) enum Command {
    Append(Prepared, Reply<Appended>),
    Register(AgentId, Registration, Reply<Registered>),
    Deregister {
        id: AgentId,
        by_owner: bool,
        reply: Reply<bool>,
    },
    JudgeStale(Reply<()>),
    Checkpoint(Reply<()>),
    Close(Reply<()>),
}

/// A command whose outcome is known once the commit is done.
enum Outcome {
    Appended(Reply<Appended>, Result<Appended, WriteError>),
    Registered(Reply<Registered>, Result<Registered, WriteError>),
    Deregistered(Reply<bool>, Result<bool, WriteError>),
    Done(Reply<()>),
}

impl Outcome {
    /// Tells whoever waits; a commit that failed overrules what was worked out.
    fn tell(self, committed: &Result<(), WriteError>) {
        // Whoever went away does not want the answer.
        match self {
            Self::Appended(reply, result) => {
                let _ = reply.send(committed.clone().and(result));
            }
            Self::Registered(reply, result) => {
                let _ = reply.send(committed.clone().and(result));
            }
            Self::Deregistered(reply, result) => {
                let _ = reply.send(committed.clone().and(result));
            }
            Self::Done(reply) => {
                let _ = reply.send(committed.clone());
            }
        }
    }
}

/// The thread's state.
pub(super) struct Committer {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Command>,
    waiting: Vec<Command>,
    waiting_rows: usize,
    waiting_since: Option<Instant>,
    has_prompt: bool,
    closing: Vec<Reply<()>>,
    checkpoint_replies: Vec<Reply<()>>,
    next_sequence: u64,
    /// Samples in the log that are not in blocks yet.
    log_samples: u64,
    log_records: u64,
    liveness: HashMap<AgentNo, Liveness>,
    ration: Ration,
    pins: Pins<ReadTransaction>,
    checkpoint: Option<Checkpoint>,
    /// Who waits for the checkpoint that is under way.
    checkpoint_waiters: Vec<Reply<()>>,
    checkpointed_at: Instant,
    retention_at: Option<Instant>,
}

/// Begins a write whose commit is durable and leaves the file quick to open after a kill.
pub(super) fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

impl Committer {
    pub(super) fn new(
        shared: Arc<Shared>,
        queue: mpsc::Receiver<Command>,
        next_sequence: u64,
        log_records: u64,
    ) -> Self {
        let now = Instant::now();
        let ration = Ration::new(shared.settings.commit_write_budget, now);
        let log_samples = shared.live.lock().heads.samples() as u64;
        Self {
            shared,
            queue,
            waiting: Vec::new(),
            waiting_rows: 0,
            waiting_since: None,
            has_prompt: false,
            closing: Vec::new(),
            checkpoint_replies: Vec::new(),
            next_sequence,
            log_samples,
            log_records,
            liveness: HashMap::new(),
            ration,
            pins: Pins::default(),
            checkpoint: None,
            checkpoint_waiters: Vec::new(),
            checkpointed_at: now,
            retention_at: None,
        }
    }

    /// Runs until the store is closed or all its handles are gone.
    pub(super) fn run(mut self) {
        loop {
            let wait = self.time_to_wait();
            match self.queue.recv_timeout(wait) {
                Ok(command) => self.take(command),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            while self.waiting_rows < COMMIT_ROWS_MAX {
                let Ok(command) = self.queue.try_recv() else {
                    break;
                };
                self.take(command);
            }
            if self.is_time_to_commit() {
                self.commit_waiting();
            }
            if !self.closing.is_empty() && self.waiting.is_empty() {
                break;
            }
            self.upkeep();
        }
        self.commit_waiting();
        let closed = self.write_run_end();
        let closing = std::mem::take(&mut self.closing);
        // This thread lets go of the file before anybody is told: once their handles and views are gone, too,
        // it can be opened again.
        drop(self);
        for reply in closing {
            let _ = reply.send(closed.clone());
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Close(reply) => self.closing.push(reply),
            Command::Checkpoint(reply) => self.checkpoint_replies.push(reply),
            command => {
                self.waiting_since.get_or_insert_with(Instant::now);
                if let Command::Append(prepared, _) = &command {
                    self.waiting_rows += prepared.rows.len();
                    self.has_prompt |= prepared.append.urgency == Urgency::Prompt;
                } else {
                    self.has_prompt = true;
                }
                self.waiting.push(command);
                self.shared
                    .metrics
                    .queue_length
                    .set(self.waiting.len() as i64);
            }
        }
    }

    fn is_full(&self) -> bool {
        self.waiting_rows >= COMMIT_ROWS_MAX
    }

    /// When the commands that wait are due, budget aside.
    fn due_at(&self) -> Option<Instant> {
        let since = self.waiting_since?;
        let delay =
            Duration::from_millis(self.shared.settings.scrape_commit_delay_ms.max(0) as u64);
        Some(if self.has_prompt || self.is_full() {
            since
        } else {
            since + delay
        })
    }

    fn is_time_to_commit(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self.due_at().is_some_and(|due| due <= now);
        is_due && (!self.closing.is_empty() || self.is_full() || self.ration.wait(now).is_zero())
            || !self.closing.is_empty() && !self.waiting.is_empty()
    }

    fn time_to_wait(&mut self) -> Duration {
        if self.checkpoint.is_some()
            || !self.closing.is_empty()
            || !self.checkpoint_replies.is_empty()
        {
            return Duration::ZERO;
        }
        let now = Instant::now();
        let budget = self.ration.wait(now);
        self.due_at().map_or(UPKEEP_INTERVAL, |due| {
            due.saturating_duration_since(now)
                .max(budget)
                .min(UPKEEP_INTERVAL)
        })
    }

    fn commit_waiting(&mut self) {
        let commands = std::mem::take(&mut self.waiting);
        let rows = std::mem::take(&mut self.waiting_rows);
        self.waiting_since = None;
        self.has_prompt = false;
        if commands.is_empty() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let moment = shared.moment();
        let clock = shared.clock.now();
        let now = clock.max(moment.last_commit.unwrap_or(Timestamp::MIN));
        let remembered = &self.liveness;
        let mut known = |agent: AgentNo| {
            remembered.get(&agent).cloned().unwrap_or_else(|| {
                Liveness::read(&moment, agent, now).unwrap_or_else(|error| {
                    tracing::warn!(%error, "an agent's last contacts cannot be read");
                    Liveness::default()
                })
            })
        };
        let catalog = Arc::clone(&moment.catalog);
        let times = Times { commit: now, clock };
        let mut draft = Draft::new(&shared.settings, &shared.metrics, times, catalog);
        let outcomes: Vec<Outcome> = commands
            .into_iter()
            .map(|c| outline(c, &mut draft, &mut known))
            .collect();
        drop(moment);
        let committed = if draft.is_empty() {
            Ok(())
        } else {
            self.commit(&draft, now)
        };
        if committed.is_ok() {
            self.liveness.extend(std::mem::take(&mut draft.liveness));
        }
        self.shared.queued_rows.fetch_sub(rows, Ordering::Relaxed);
        self.shared.metrics.queue_length.set(0);
        for outcome in outcomes {
            outcome.tell(&committed);
        }
    }

    fn commit(&mut self, draft: &Draft<'_>, now: Timestamp) -> Result<(), WriteError> {
        let started = Instant::now();
        let sequence = self.next_sequence;
        let written_before = self.shared.counters.bytes_written();
        let payload = write_draft(&self.shared.database(), draft, sequence)
            .map_err(|error| WriteError::Backend(error.to_string()))?;
        let written = self.shared.counters.bytes_written() - written_before;
        self.ration.spend(written, payload, Instant::now());
        self.next_sequence += 1;
        self.log_records += 1;
        self.log_samples += draft.rows() as u64;
        {
            let mut live = self.shared.live.lock();
            draft.publish(sequence, Arc::make_mut(&mut live.heads));
            live.catalog = Arc::clone(&draft.catalog);
            live.last_commit = Some(now);
            self.measure(&live);
        }
        self.shared.commits.fetch_add(1, Ordering::Relaxed);
        self.shared.metrics.commits.inc();
        draft.tell_alerts();
        self.shared
            .metrics
            .commit_seconds
            .observe(started.elapsed().as_secs_f64());
        self.shared
            .metrics
            .samples_appended
            .inc_by(draft.rows() as u64);
        if draft.changes_registrations() {
            self.shared.registrations.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    /// Brings the gauges up to date.
    fn measure(&self, live: &Live) {
        let metrics = &self.shared.metrics;
        metrics.series.set(live.catalog.series_total() as i64);
        metrics.agents.set(live.catalog.registered_total() as i64);
        metrics.head_bytes.set(live.heads.bytes() as i64);
        let counters = &self.shared.counters;
        metrics.file_bytes.set(counters.length() as i64);
        let behind = |now: u64, then: u64| now.saturating_sub(then);
        metrics.file_bytes_written.inc_by(behind(
            counters.bytes_written(),
            metrics.file_bytes_written.get(),
        ));
        metrics
            .file_syncs
            .inc_by(behind(counters.syncs(), metrics.file_syncs.get()));
    }

    fn upkeep(&mut self) {
        let now = Instant::now();
        self.rotate_pins(now);
        if self.checkpoint.is_none() && self.is_checkpoint_due(now) {
            if !self.checkpoint_replies.is_empty() {
                self.commit_waiting();
            }
            self.checkpoint_waiters = std::mem::take(&mut self.checkpoint_replies);
            self.checkpoint = Some(Checkpoint::begin(&self.shared.live.lock().heads));
        }
        if let Some(checkpoint) = self.checkpoint.take() {
            match self.checkpoint_slice(checkpoint) {
                Ok(checkpoint) => self.checkpoint = checkpoint,
                Err(error) => {
                    tracing::error!(%error, "a checkpoint failed; its samples stay in the write-ahead log");
                    self.checkpointed_at = now;
                    let failed = Err(WriteError::Backend(error.to_string()));
                    self.checkpoint_waiters.drain(..).for_each(|reply| {
                        let _ = reply.send(failed.clone());
                    });
                }
            }
        }
        if self.retention_at.is_none_or(|at| at <= now) {
            self.retention_at = Some(now + RETENTION_INTERVAL);
            match retention::apply(&self.shared) {
                // What is remembered of contacts may rest on what is gone.
                Ok(true) => self.liveness.clear(),
                Ok(false) => {}
                Err(error) => tracing::error!(%error, "old data cannot be deleted"),
            }
        }
    }

    fn rotate_pins(&mut self, now: Instant) {
        let counters = &self.shared.counters;
        let (written, length) = (counters.bytes_written(), counters.length());
        let database = self.shared.database();
        self.pins
            .rotate(now, written, length, || database.begin_read().ok());
        let safe = self.pins.safe_for(now, written, length);
        self.shared
            .copy_safe_ms
            .store(safe.as_millis() as u64, Ordering::Relaxed);
        self.shared
            .metrics
            .copy_safe_seconds
            .set(safe.as_secs_f64());
    }

    fn is_checkpoint_due(&self, now: Instant) -> bool {
        let settings = &self.shared.settings;
        let heads = Arc::clone(&self.shared.live.lock().heads);
        let is_old = now
            .saturating_duration_since(self.checkpointed_at)
            .as_millis()
            >= settings.checkpoint_interval_ms.max(0) as u128;
        !self.checkpoint_replies.is_empty()
            || heads.bytes() >= settings.head_bytes_max
            || self.log_samples >= settings.wal_samples_max
            || self.log_records >= LOG_RECORDS_MAX
            || (is_old && self.log_records > 0)
    }

    /// Writes one slice; returns what is left of the checkpoint.
    fn checkpoint_slice(
        &mut self,
        mut checkpoint: Checkpoint,
    ) -> Result<Option<Checkpoint>, redb::Error> {
        let (heads, catalog, last_commit) = {
            let live = self.shared.live.lock();
            (
                Arc::clone(&live.heads),
                Arc::clone(&live.catalog),
                live.last_commit,
            )
        };
        let last_sequence = self.next_sequence - 1;
        let transaction = begin(&self.shared.database())?;
        let slice =
            checkpoint.write_slice(&heads, &catalog, last_sequence, last_commit, &transaction)?;
        transaction.commit()?;
        drop(heads);
        {
            let mut live = self.shared.live.lock();
            live.block_epoch += 1;
            let epoch = live.block_epoch;
            for (agent, day) in &slice.changed_days {
                self.shared.inventory().change(*agent, *day, epoch);
            }
            let heads = Arc::make_mut(&mut live.heads);
            slice.flushed.iter().for_each(|agent| heads.flush(*agent));
            self.measure(&live);
        }
        let metrics = &self.shared.metrics;
        metrics.blocks_written.inc_by(slice.blocks);
        metrics.block_bytes_written.inc_by(slice.block_bytes);
        if !checkpoint.is_done() {
            return Ok(Some(checkpoint));
        }
        metrics.checkpoints.inc();
        self.checkpointed_at = Instant::now();
        // What was committed while the slices ran is still in heads and log.
        self.log_samples = self.shared.live.lock().heads.samples() as u64;
        self.log_records = count_log(&self.shared.database())?;
        for reply in self.checkpoint_waiters.drain(..) {
            let _ = reply.send(Ok(()));
        }
        Ok(None)
    }

    /// Notes that this run of the server ended in order.
    fn write_run_end(&self) -> Result<(), WriteError> {
        let write = || -> Result<(), redb::Error> {
            let (start, last_commit) = {
                let live = self.shared.live.lock();
                (live.catalog.open_run, live.last_commit)
            };
            let Some(start) = start else { return Ok(()) };
            let end = self
                .shared
                .clock
                .now()
                .max(last_commit.unwrap_or(start))
                .max(start);
            let record = RunRecord {
                end_ms: Some(end.as_millis()),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            };
            let transaction = begin(&self.shared.database())?;
            transaction
                .open_table(tables::RUNS)?
                .insert(start.as_millis(), record.encode().as_slice())?;
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|error| WriteError::Backend(error.to_string()))
    }
}

/// Works a command into the draft.
fn outline(
    command: Command,
    draft: &mut Draft<'_>,
    known: &mut dyn FnMut(AgentNo) -> Liveness,
) -> Outcome {
    match command {
        Command::Append(prepared, reply) => Outcome::Appended(reply, draft.append(prepared, known)),
        Command::Register(id, registration, reply) => {
            Outcome::Registered(reply, draft.register(&id, registration))
        }
        Command::Deregister {
            id,
            by_owner,
            reply,
        } => Outcome::Deregistered(reply, draft.deregister(&id, by_owner, known)),
        Command::JudgeStale(reply) => {
            let registered: Vec<AgentNo> = draft
                .catalog
                .agents()
                .filter(|(_, entry)| entry.registration().is_some())
                .map(|(no, _)| no)
                .collect();
            for agent in registered {
                draft.judge(agent, known);
            }
            Outcome::Done(reply)
        }
        Command::Checkpoint(reply) | Command::Close(reply) => Outcome::Done(reply),
    }
}

fn write_draft(database: &Database, draft: &Draft<'_>, sequence: u64) -> Result<u64, redb::Error> {
    let transaction = begin(database)?;
    let payload = draft.write(sequence, &transaction)?;
    transaction.commit()?;
    Ok(payload)
}

fn count_log(database: &Database) -> Result<u64, redb::Error> {
    Ok(database.begin_read()?.open_table(tables::WAL)?.len()?)
}
