//! The committer: the one thread that writes. It drains the queue into one log record per commit,
//! acknowledges after the fsync, and does the upkeep (checkpoints, pins, retention) in between.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTableMetadata, WriteTransaction};

use super::{
    Appended, Changed, Registered, WriteError,
    checkpoint::{Checkpoint, Log},
    command::{Command, Reply},
    departure,
    draft::{Draft, Past, Times},
    liveness::Liveness,
    merge::Applied,
    merger::{self, Merger},
    moment::{backend, guarded},
    outage::{Outage, Pauses},
    pins::Pins,
    quarantine::RowKey,
    queue::{Exit, Portion},
    ration::Ration,
    reserve::{Change, Reserve},
    retention, runs,
    shared::{Live, Shared},
    tables,
    traces::{self, SpanChanged, SpanDraft, SpanFlush, SpansAppended, write_packed},
};
use crate::model::{AgentNo, Timestamp};

/// A commit is put together for at most so long; what is left waits for the next one.
const DRAFT_TIME_MAX: Duration = Duration::from_millis(100);
/// Log records that start a checkpoint, however few samples they hold.
const LOG_RECORDS_MAX: u64 = 50_000;
/// Upkeep is looked after at least so often.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);
/// The same while the merger has something to write.
const MERGING_INTERVAL: Duration = Duration::from_millis(5);
/// What was forwarded leaves the log so often, if there is nothing else to do.
const TRIM_INTERVAL: Duration = Duration::from_mins(1);
/// Old data is looked for so often.
const RETENTION_INTERVAL: Duration = Duration::from_mins(10);

/// A command whose outcome is known once the commit is done.
enum Outcome {
    Appended(Reply<Appended>, Result<Appended, WriteError>),
    Registered(Reply<Registered>, Result<Registered, WriteError>),
    Deregistered(Reply<bool>, Result<bool, WriteError>),
    Judged(Reply<()>),
    Alerting(Reply<Changed>, Result<Changed, WriteError>),
    Spans(Reply<SpansAppended>, Result<SpansAppended, WriteError>),
    ChangedSpans(Reply<SpanChanged>, Result<SpanChanged, WriteError>),
}

impl Outcome {
    /// Tells whoever waits; a commit that failed overrules what was worked out. Returns the samples and spans that were
    /// to be written.
    fn tell(self, committed: &Result<(), WriteError>) -> usize {
        // Whoever went away does not want the answer.
        match self {
            Self::Appended(reply, result) => {
                let rows = result.as_ref().map_or(0, |appended| appended.accepted);
                let _ = reply.send(committed.clone().and(result));
                return rows;
            }
            Self::Registered(reply, result) => {
                let _ = reply.send(committed.clone().and(result));
            }
            Self::Deregistered(reply, result) => {
                let _ = reply.send(committed.clone().and(result));
            }
            Self::Judged(reply) => {
                let _ = reply.send(committed.clone());
            }
            Self::Alerting(reply, result) => {
                let _ = reply.send(committed.clone().and(result));
            }
            Self::Spans(reply, result) => {
                let spans = result.as_ref().map_or(0, |appended| appended.accepted);
                let _ = reply.send(committed.clone().and(result));
                return spans;
            }
            Self::ChangedSpans(reply, result) => {
                let _ = reply.send(committed.clone().and(result));
            }
        }
        0
    }
}

/// The thread's state.
pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    queue: Exit,
    /// Who waits for the end.
    closing: Vec<Reply<()>>,
    /// Who waits for a checkpoint that has not begun.
    checkpoint_replies: Vec<Reply<()>>,
    pub(super) next_sequence: u64,
    /// Samples in the log that are not in blocks yet.
    pub(super) log_samples: u64,
    pub(super) log_records: u64,
    pub(super) liveness: HashMap<AgentNo, Liveness>,
    ration: Ration,
    /// When the last commit was done.
    committed_at: Instant,
    pub(super) pins: Pins<ReadTransaction>,
    pub(super) checkpoint: Option<Checkpoint>,
    /// Who waits for the checkpoint that is under way.
    pub(super) checkpoint_waiters: Vec<Reply<()>>,
    checkpointed_at: Instant,
    retention_at: Option<Instant>,
    merger: Merger,
    /// Spans that are being packed.
    pub(super) span_flush: Option<SpanFlush>,
    pub(super) reserve: Reserve,
    /// While the file cannot be written.
    pub(super) outage: Option<Outage>,
    pub(super) pauses: Pauses,
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
        queue: Exit,
        next_sequence: u64,
        log_records: u64,
        merger: Merger,
    ) -> Self {
        let now = Instant::now();
        let settings = &shared.settings;
        let ration = Ration::new(settings.commit_write_budget, now);
        let reserve = Reserve::new(settings.disk_reserve);
        let pauses = Pauses::new(Duration::from_millis(settings.retry_pause_ms.max(0) as u64));
        let log_samples = shared.live.lock().heads.samples() as u64;
        Self {
            shared,
            queue,
            closing: Vec::new(),
            checkpoint_replies: Vec::new(),
            next_sequence,
            log_samples,
            log_records,
            liveness: HashMap::new(),
            ration,
            committed_at: now,
            pins: Pins::default(),
            checkpoint: None,
            checkpoint_waiters: Vec::new(),
            checkpointed_at: now,
            retention_at: None,
            merger,
            span_flush: None,
            reserve,
            outage: None,
            pauses,
        }
    }

    /// Runs until the store is closed or all its handles are gone, and what waited then is committed.
    pub(super) fn run(mut self) {
        loop {
            let wait = self.time_to_wait();
            self.queue.wait(wait);
            self.checkpoint_replies.extend(self.queue.checkpoints());
            self.closing.extend(self.queue.closing());
            for reply in self.queue.settlements() {
                self.merger.settle(reply);
            }
            let now = Instant::now();
            self.watch_disk(now);
            self.watch_engine(now);
            self.recover(now);
            if self.outage.is_some() {
                self.refuse_waiting();
            } else if self.is_time_to_commit() {
                self.commit_waiting();
            }
            if self.queue.is_over() && self.queue.is_empty() {
                break;
            }
            if self.outage.is_none() {
                self.upkeep();
            }
        }
        self.merger.stop();
        let closed = self.write_run_end();
        let mut closing = std::mem::take(&mut self.closing);
        closing.extend(self.queue.closing());
        // This thread lets go of the file before anybody is told: once their handles and views are gone, too,
        // it can be opened again.
        drop(self);
        for reply in closing {
            let _ = reply.send(closed.clone());
        }
    }

    /// When the commands that wait are due, budget aside.
    fn due_at(&self) -> Option<Instant> {
        let delay = self.shared.settings.scrape_commit_delay_ms.max(0) as u64;
        self.queue.due(Duration::from_millis(delay))
    }

    fn is_time_to_commit(&mut self) -> bool {
        if self.queue.is_over() {
            return !self.queue.is_empty();
        }
        let now = Instant::now();
        self.due_at().is_some_and(|due| due <= now)
            && (self.queue.has_plenty() || self.ration.wait(now).is_zero())
    }

    fn time_to_wait(&mut self) -> Duration {
        let now = Instant::now();
        if let Some(outage) = &self.outage {
            return if self.queue.is_over() {
                Duration::ZERO
            } else {
                outage
                    .next_try()
                    .saturating_duration_since(now)
                    .min(UPKEEP_INTERVAL)
            };
        }
        let is_packing = self.span_flush.is_some();
        let has_slice = self
            .checkpoint
            .as_ref()
            .is_some_and(|checkpoint| !(checkpoint.is_last() && is_packing));
        if has_slice || self.queue.is_over() || !self.checkpoint_replies.is_empty() {
            return Duration::ZERO;
        }
        let budget = if self.queue.has_plenty() {
            Duration::ZERO
        } else {
            self.ration.wait(now)
        };
        let longest = if self.merger.is_busy() || is_packing {
            MERGING_INTERVAL
        } else {
            UPKEEP_INTERVAL
        };
        self.due_at().map_or(longest, |due| {
            due.saturating_duration_since(now).max(budget).min(longest)
        })
    }

    /// Commits what waits, as much as one commit takes.
    fn commit_waiting(&mut self) {
        let Some(due) = self.due_at() else { return };
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
        let refusal = self.reserve.refusal();
        let spans = SpanDraft::new(moment.traces.clone(), &shared.recent_traces, now);
        let mut draft = Draft::new(
            &shared.settings,
            &shared.metrics,
            times,
            catalog,
            spans,
            refusal,
        );
        let mut portion = Portion::default();
        let names = moment.expired_series();
        let returning = |agent: AgentNo, key: &[u8]| {
            let names = names.as_ref().ok()?;
            let found =
                guarded(|| departure::returning(names, agent, key).map_err(|e| backend(&e)));
            found.unwrap_or_else(|error| {
                tracing::warn!(%error, "names of series that have left cannot be read");
                None
            })
        };
        let mut past = Past {
            liveness: &mut known,
            returning: &returning,
        };
        let outcomes = draw_up(&self.queue, &mut portion, &mut draft, &mut past);
        drop(names);
        drop(moment);
        let committed = if draft.is_empty() {
            Ok(())
        } else {
            self.commit(&draft, now).map_err(|e| self.give_up(&e))
        };
        if committed.is_ok() {
            self.liveness.extend(std::mem::take(&mut draft.liveness));
        }
        let end = Instant::now();
        let began = due.max(self.committed_at).min(end);
        self.queue.note_pace(portion.total(), end - began);
        self.committed_at = end;
        let rows: usize = outcomes.into_iter().map(|o| o.tell(&committed)).sum();
        if committed.is_err() {
            shared.metrics.reject("not_written", rows as u64);
        }
    }

    /// Answers everybody who waits with the reason why nothing can be written.
    fn refuse_waiting(&mut self) {
        let Some(outage) = &self.outage else { return };
        let error = outage.refusal(Instant::now());
        let mut rows = 0;
        loop {
            let mut portion = Portion::default();
            while let Some(command) = self.queue.take(&mut portion) {
                command.refuse(error.clone());
            }
            if portion.total().commands == 0 {
                break;
            }
            rows += portion.total().rows;
        }
        self.shared.metrics.reject("not_written", rows as u64);
        for reply in self.checkpoint_replies.drain(..) {
            let _ = reply.send(Err(error.clone()));
        }
    }

    fn commit(&mut self, draft: &Draft<'_>, now: Timestamp) -> Result<(), redb::Error> {
        let started = Instant::now();
        let sequence = self.next_sequence;
        let written_before = self.shared.counters.bytes_written();
        let payload = self.write_draft(draft, sequence)?;
        let written = self.shared.counters.bytes_written() - written_before;
        self.ration.spend(written, payload, Instant::now());
        self.next_sequence += 1;
        self.log_records += 1;
        self.log_samples += draft.rows() as u64;
        {
            let mut live = self.shared.live.lock();
            let live = &mut *live;
            draft.publish(sequence, Arc::make_mut(&mut live.heads), &mut live.traces);
            live.catalog = Arc::clone(&draft.catalog);
            live.last_commit = Some(now);
            self.measure(live);
        }
        self.shared.spool.note_published(sequence);
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
        self.shared
            .metrics
            .spans_appended
            .inc_by(draft.spans.spans() as u64);
        draft.touched_agents(&mut self.shared.touched.lock());
        self.shared.arrivals.send_modify(|count| *count += 1);
        if draft.changes_alerting() {
            self.shared.alerting.send_modify(|count| *count += 1);
        }
        if draft.changes_registrations() {
            self.shared.registrations.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    /// Returns the bytes of the log record.
    fn write_draft(&self, draft: &Draft<'_>, sequence: u64) -> Result<u64, redb::Error> {
        let transaction = begin(&self.shared.database())?;
        let payload = draft.write(sequence, &transaction)?;
        let spool = &self.shared.spool;
        let position = spool.write_position(&transaction)?;
        transaction.commit()?;
        spool.note_written(position);
        Ok(payload)
    }

    /// Brings the gauges up to date.
    pub(super) fn measure(&self, live: &Live) {
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
        self.advance_span_flush();
        self.advance_checkpoint(now);
        if self.outage.is_none() {
            self.write_merges();
        }
        self.apply_retention(now);
    }

    /// Begins a checkpoint that is due, and writes the next slice of one that is under way.
    fn advance_checkpoint(&mut self, now: Instant) {
        if self.checkpoint.is_none() && self.is_checkpoint_due(now) {
            if !self.checkpoint_replies.is_empty() {
                self.commit_waiting();
            }
            if self.outage.is_some() {
                return;
            }
            self.checkpoint_waiters = std::mem::take(&mut self.checkpoint_replies);
            self.begin_span_flush();
            self.checkpoint = Some(Checkpoint::begin(&self.shared.live.lock().heads));
        }
        let Some(checkpoint) = self.checkpoint.take() else {
            return;
        };
        // The log goes with the last slice, which needs spans to be in blocks, too.
        if checkpoint.is_last() && self.span_flush.is_some() {
            self.checkpoint = Some(checkpoint);
            return;
        }
        match self.checkpoint_slice(checkpoint) {
            Ok(checkpoint) => self.checkpoint = checkpoint,
            Err(error) => {
                tracing::error!(%error, "a checkpoint failed; its samples stay in the write-ahead log");
                self.checkpointed_at = now;
                let failed = self.give_up(&error);
                self.checkpoint_waiters.drain(..).for_each(|reply| {
                    let _ = reply.send(Err(failed.clone()));
                });
            }
        }
    }

    /// Begins to pack the spans of the log, unless that is under way.
    fn begin_span_flush(&mut self) {
        if self.span_flush.is_none() {
            let live = self.shared.live.lock();
            self.span_flush = SpanFlush::begin(&live.traces.heads, &live.catalog);
        }
    }

    /// Begins to pack spans when there are many, and writes what was packed.
    fn advance_span_flush(&mut self) {
        let Some(flush) = &self.span_flush else {
            let kept = &self.shared.settings.traces;
            let is_full = {
                let heads = &self.shared.live.lock().traces.heads;
                heads.spans() >= kept.head_spans_max || heads.bytes() >= kept.head_bytes_max
            };
            if is_full {
                self.begin_span_flush();
            }
            return;
        };
        let packed = match flush.poll() {
            Ok(None) => return,
            Ok(Some(packed)) => packed,
            Err(_) => {
                tracing::error!("spans could not be packed; they stay in the write-ahead log");
                self.span_flush = None;
                return;
            }
        };
        self.span_flush = None;
        let written = begin(&self.shared.database()).and_then(|transaction| {
            write_packed(&packed, &transaction)?;
            transaction.commit()?;
            Ok(())
        });
        if let Err(error) = written {
            tracing::error!(%error, "blocks of spans cannot be written; their spans stay in the write-ahead log");
            self.give_up(&error);
            return;
        }
        self.shared
            .metrics
            .span_block_bytes_written
            .inc_by(packed.bytes());
        self.shared
            .live
            .lock()
            .traces
            .heads
            .forget_until(packed.up_to());
    }

    fn apply_retention(&mut self, now: Instant) {
        if self.outage.is_some() || self.retention_at.is_some_and(|at| at > now) {
            return;
        }
        self.retention_at = Some(now + RETENTION_INTERVAL);
        match retention::apply(&self.shared) {
            Ok(true) => {
                // What is remembered of contacts may rest on what is gone.
                self.liveness.clear();
                self.reserve.note_deletion();
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, "old data cannot be deleted");
                self.give_up(&error);
                return;
            }
        }
        match traces::apply_retention(&self.shared) {
            Ok(true) => {
                self.reserve.note_deletion();
                self.retention_at = Some(now + UPKEEP_INTERVAL);
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, "old traces cannot be deleted");
                self.give_up(&error);
                return;
            }
        }
        match departure::let_go(&self.shared, &self.shared.settings) {
            Ok(true) => self.retention_at = Some(now + UPKEEP_INTERVAL),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, "series without samples cannot be forgotten");
                self.give_up(&error);
            }
        }
    }

    /// Writes what the merger made of blocks.
    fn write_merges(&mut self) {
        let Some(batch) = self.merger.next() else {
            return;
        };
        let written = self.write_batch(&batch.changes);
        match &written {
            Ok(true) => self.reserve.note_deletion(),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, "merged blocks cannot be written; they stay as they are");
                self.give_up(error);
            }
        }
        // The merger may have ended meanwhile.
        let _ = batch.written.try_send(written.is_ok());
    }

    /// Tells whether samples were deleted by it.
    fn write_batch(&self, batch: &[merger::Change]) -> Result<bool, redb::Error> {
        let mut applied = Applied::default();
        let transaction = begin(&self.shared.database())?;
        for change in batch {
            change.write(&transaction, &mut applied)?;
        }
        transaction.commit()?;
        let mut live = self.shared.live.lock();
        live.block_epoch += 1;
        let inventory = self.shared.inventory();
        for (agent, day) in &applied.days {
            inventory.change(*agent, *day, live.block_epoch);
        }
        let catalog = Arc::clone(&live.catalog);
        for (agent, day, series) in &applied.expired {
            let slots = catalog.agent(*agent).map(|entry| {
                let slots = series.iter().filter_map(|no| entry.series.slot(*no));
                slots.collect::<Vec<usize>>()
            });
            let slots = slots.unwrap_or_default();
            if live.heads.has_newest_on(*agent, &slots, *day) {
                Arc::make_mut(&mut live.heads).forget_newest_on(*agent, &slots, *day);
            }
        }
        drop(live);
        let is_rebuilt = |row: RowKey| matches!(row, RowKey::Rollup { day, agent, .. } if applied.rebuilt.contains(&(day, agent)));
        self.shared.quarantine.forget(is_rebuilt);
        let metrics = &self.shared.metrics;
        metrics.merges.inc_by(applied.days.len() as u64);
        metrics.merged_bytes_written.inc_by(applied.bytes);
        Ok(applied.has_freed)
    }

    /// Looks at the room on the disk, and decides whether samples are taken.
    fn watch_disk(&mut self, now: Instant) {
        let written = self.shared.counters.bytes_written();
        if !self.reserve.is_look_due(now, written) {
            return;
        }
        let change = match self.shared.medium.room() {
            Ok(room) => self.reserve.look(room, now, written),
            Err(error) => {
                tracing::debug!(%error, "the disk does not tell its room");
                self.reserve.look_failed(now, written);
                return;
            }
        };
        let disk = self.reserve.disk();
        *self.shared.disk.lock() = disk;
        if let Some(disk) = disk {
            let metrics = &self.shared.metrics;
            metrics.disk_available.set(disk.available as i64);
            metrics.disk_reserve.set(disk.reserve as i64);
        }
        match change {
            Some(Change::Entered) => {
                let why = self.reserve.refusal().map(|e| e.to_string());
                let why = why.unwrap_or_default();
                tracing::error!("{why}; new samples are refused until there is room");
                // Freed pages must be reused at once; and what is too old already is not worth the room.
                self.pins = Pins::default();
                self.retention_at = None;
            }
            Some(Change::Left) => {
                tracing::info!(
                    "there is room on the disk of the database again; samples are taken"
                );
            }
            None => {}
        }
        self.tell_condition();
    }

    fn rotate_pins(&mut self, now: Instant) {
        let counters = &self.shared.counters;
        let (written, length) = (counters.bytes_written(), counters.length());
        let database = self.shared.database();
        // Pins keep pages from being reused, so that the file grows; not on the last of the room.
        let take = || {
            database
                .begin_read()
                .ok()
                .filter(|_| !self.reserve.is_short())
        };
        self.pins.rotate(now, written, length, take);
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
        let is_old_enough_to_trim =
            now.saturating_duration_since(self.checkpointed_at) >= TRIM_INTERVAL;
        !self.checkpoint_replies.is_empty()
            || heads.bytes() >= settings.head_bytes_max
            || self.log_samples >= settings.wal_samples_max
            || self.log_records >= LOG_RECORDS_MAX
            || (is_old && self.log_records > 0)
            || (is_old_enough_to_trim && self.shared.spool.is_trim_due(self.spool_now()))
    }

    /// The moment as of which what waits may be too old. A clock that is ahead for a moment must not make all old, but on
    /// a disk without room nothing is committed, and age must count.
    fn spool_now(&self) -> Timestamp {
        let now = self.shared.clock.now();
        let last_commit = self.shared.live.lock().last_commit;
        match last_commit {
            Some(last) if !self.reserve.is_short() => now.min(last),
            _ => now,
        }
    }

    /// Writes one slice; returns what is left of the checkpoint.
    fn checkpoint_slice(
        &mut self,
        mut checkpoint: Checkpoint,
    ) -> Result<Option<Checkpoint>, redb::Error> {
        let (heads, catalog, spans_from, last_commit) = {
            let live = self.shared.live.lock();
            (
                Arc::clone(&live.heads),
                Arc::clone(&live.catalog),
                live.traces.heads.sequences().map(|(first, _)| first),
                live.last_commit,
            )
        };
        let last_sequence = self.next_sequence - 1;
        let transaction = begin(&self.shared.database())?;
        let log = Log {
            last_sequence,
            spans_from,
            last_commit,
            spool: &self.shared.spool,
            now: self.spool_now(),
        };
        let slice = checkpoint.write_slice(&heads, &catalog, &log, &transaction)?;
        transaction.commit()?;
        drop(heads);
        if let Some(trimmed) = slice.trimmed {
            // What was deleted may be room for new samples.
            self.reserve.note_deletion();
            let dropped = self.shared.spool.note_trimmed(trimmed);
            if dropped > 0 {
                self.shared.metrics.forward_dropped("spool_full", dropped);
                tracing::warn!(
                    samples = dropped,
                    "the spool is full or its samples are too old: the oldest are dropped unsent"
                );
            }
        }
        {
            let mut live = self.shared.live.lock();
            live.block_epoch += 1;
            let epoch = live.block_epoch;
            for (agent, day) in &slice.changed_days {
                self.shared.inventory().change(*agent, *day, epoch);
            }
            let raised = slice.last_days.iter().filter(|(_, days)| !days.is_empty());
            for (agent, days) in raised {
                if let Some(entry) = Arc::make_mut(&mut live.catalog).agent_mut(*agent) {
                    let table = &mut entry.series;
                    days.iter()
                        .for_each(|(slot, day)| table.raise_last_day(*slot, *day));
                }
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
        let spooled = self.shared.spool.records();
        self.log_records = count_log(&self.shared.database())?.saturating_sub(spooled);
        for reply in self.checkpoint_waiters.drain(..) {
            let _ = reply.send(Ok(()));
        }
        Ok(None)
    }

    /// Notes that this run of the server ended in order.
    fn write_run_end(&mut self) -> Result<(), WriteError> {
        if let Some(outage) = &self.outage {
            return Err(outage.refusal(Instant::now()));
        }
        let (start, last_commit) = {
            let live = self.shared.live.lock();
            (live.catalog.open_run, live.last_commit)
        };
        let Some(start) = start else { return Ok(()) };
        let now = self.shared.clock.now();
        let end = now.max(last_commit.unwrap_or(start)).max(start);
        runs::end(&self.shared.database(), &self.shared.spool, start, end)
            .map_err(|error| super::recovery::write_error(&error))
    }
}

/// Works commands of the queue into the draft, as many as one commit takes.
fn draw_up(
    queue: &Exit,
    portion: &mut Portion,
    draft: &mut Draft<'_>,
    past: &mut Past<'_>,
) -> Vec<Outcome> {
    let began = Instant::now();
    let mut outcomes = Vec::new();
    let mut is_to_judge = false;
    while let Some(command) = queue.take(portion) {
        outcomes.push(match command {
            Command::Append(prepared, reply) => {
                let appended = draft.append(prepared, past);
                Outcome::Appended(reply, appended)
            }
            Command::Register(id, registration, reply) => {
                Outcome::Registered(reply, draft.register(&id, registration))
            }
            Command::Deregister {
                id,
                by_owner,
                reply,
            } => Outcome::Deregistered(reply, draft.deregister(&id, by_owner, past.liveness)),
            Command::Spans(prepared, reply) => {
                let appended = draft.append_spans(prepared, past);
                Outcome::Spans(reply, appended)
            }
            Command::ChangeSpans(change, reply) => {
                let changed = draft.change_spans(change, past);
                Outcome::ChangedSpans(reply, changed)
            }
            Command::Alerting(change, reply) => {
                Outcome::Alerting(reply, draft.change_alerting(change))
            }
            Command::JudgeStale(reply) => {
                is_to_judge = true;
                Outcome::Judged(reply)
            }
        });
        portion.is_late = began.elapsed() >= DRAFT_TIME_MAX;
    }
    // Last, so that no agent is called silent whose contact is in this very commit, or in what is left for the next.
    if is_to_judge {
        draft.judge_all(&queue.agents_heard(), past.liveness);
    }
    outcomes
}

fn count_log(database: &Database) -> Result<u64, redb::Error> {
    Ok(database.begin_read()?.open_table(tables::WAL)?.len()?)
}
