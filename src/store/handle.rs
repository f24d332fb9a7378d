//! The handle that other rooms hold: queue writes, take views.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Seek},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use redb::{ReadableDatabase, ReadableTableMetadata};
use tokio::sync::{oneshot, watch};

use super::{
    Change, Changed, Condition, OpenError, Settings, WriteError,
    command::{Command, Reply},
    committer::Committer,
    copies,
    draft::{Prepared, PreparedRow},
    expiry,
    file::{self, Opened, damaged},
    forwarding::Spool,
    head::FUTURE_MS_LIMIT,
    liveness::Sign,
    load,
    merger::Merger,
    quarantine::Quarantined,
    queue::{Entrance, queue},
    recovery::write_error,
    reserve, runs,
    shared::{Live, Parts, Shared},
    tables,
    traces::{self, PreparedChange, SpanAppend, SpanChange, SpanChanged, SpansAppended},
};
use crate::{
    alerts::Routing,
    model::{
        AgentId, AgentNo, Batch, Clock, Contact, History, Registration, RetentionRule, Timestamp,
        format_duration_ms,
    },
    telemetry::OwnMetrics,
};

/// How soon an append must be committed, and in whose queue it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody waits for the acknowledgement: a push.
    Prompt,
    /// Nobody waits, but it says something new, which is worth a commit.
    News,
    /// Nobody waits: may share a commit for some seconds.
    Relaxed,
}

/// Samples of one agent to be made durable. An agent that is not registered is registered by it.
#[derive(Debug)]
pub struct Append {
    /// Whose.
    pub agent: AgentId,
    /// What.
    pub batch: Batch,
    /// The contact that it is, if it is one; decides the agent's health alert in the same commit.
    pub contact: Option<Contact>,
    /// How soon.
    pub urgency: Urgency,
}

/// A sample that was not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Index of the row in the batch.
    pub row: usize,
    /// Why, naming the offender.
    pub reason: String,
}

/// What became of an append, once it is durable and visible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Samples taken.
    pub accepted: usize,
    /// Samples refused; the others are not affected.
    pub rejected: Vec<Rejected>,
    /// Series seen for the first time.
    pub new_series: usize,
}

/// What a registration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// The agent was not registered before.
    Created,
    /// Its registration changed.
    Updated,
    /// It said the same already; nothing was written.
    Unchanged,
}

/// Damaged blocks that [`StoreStatus`] names.
pub(super) const QUARANTINED_SHOWN: usize = 20;

/// Sizes and settings, for `/api/v1/status` and `db info`.
#[derive(Clone, Debug, Default)]
pub struct StoreStatus {
    /// Schema version of the file.
    pub schema_version: u32,
    /// Random id of the file, as hexadecimal text.
    pub file_id: String,
    /// Milliseconds since the epoch when the file was made.
    pub created_ms: i64,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// Series known.
    pub series: u64,
    /// Agents registered now.
    pub agents: u64,
    /// Samples in memory that the next checkpoint moves to blocks.
    pub head_samples: u64,
    /// Bytes of them in memory.
    pub head_bytes: u64,
    /// Records in the write-ahead log.
    pub wal_records: u64,
    /// Blocks.
    pub blocks: u64,
    /// Blocks and rollups that are known to be damaged.
    pub quarantined: u64,
    /// The first of them.
    pub quarantined_first: Vec<Quarantined>,
    /// Retention of samples in milliseconds.
    pub retention_ms: i64,
    /// Series that are kept for a shorter time; the first rule that a series fits counts.
    pub retention_rules: Vec<RetentionRule>,
    /// Time of the last commit in milliseconds since the epoch.
    pub last_commit_ms: Option<i64>,
    /// Seconds for which a plain copy that begins now is safe.
    pub copy_safe_seconds: f64,
    /// Commits since the start.
    pub commits: u64,
    /// Bytes written to the file since the start.
    pub bytes_written: u64,
    /// Whether samples are taken.
    pub condition: Condition,
    /// Bytes free on the file's disk; `None` when that is not known.
    pub disk_available_bytes: Option<u64>,
    /// Bytes of it that are kept free of new samples.
    pub disk_reserve_bytes: Option<u64>,
}

/// The file, open for reading and writing. Clones share it; [`Store::close`] ends it in order.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) shared: Arc<Shared>,
    queue: Arc<Entrance>,
    facts: Arc<file::FileFacts>,
}

/// Spans that wait to be made durable.
#[derive(Debug)]
pub struct SpanTicket(oneshot::Receiver<Result<SpansAppended, WriteError>>);

impl SpanTicket {
    /// Waits until they are on disk and visible to every later view.
    ///
    /// # Errors
    /// [`WriteError`]: no span was taken. Single spans that are refused are in the answer.
    pub async fn done(self) -> Result<SpansAppended, WriteError> {
        self.0.await.map_err(|_| WriteError::Closing)?
    }
}

/// One immutable moment of the file.
pub type View = Arc<dyn History>;

impl Store {
    /// Opens the file, making it when it is missing; recovers what a kill left.
    ///
    /// # Errors
    /// [`OpenError`] says which way the file cannot be used.
    pub fn open(
        path: &Path,
        settings: Settings,
        clock: Arc<dyn Clock>,
        metrics: Arc<OwnMetrics>,
    ) -> Result<Self, OpenError> {
        let opened = file::open_for_writing(
            path,
            settings.cache_bytes,
            clock.now().as_millis(),
            settings.is_spool,
        )?;
        Self::start(path, opened, settings, clock, metrics)
    }

    /// Rebuilds what the file knows and starts the committer.
    pub(super) fn start(
        path: &Path,
        opened: Opened,
        settings: Settings,
        clock: Arc<dyn Clock>,
        metrics: Arc<OwnMetrics>,
    ) -> Result<Self, OpenError> {
        let now = clock.now();
        let Opened {
            engine,
            facts,
            medium,
            counters,
        } = opened;
        let loaded = file::on_untrusted_pages(path, || {
            let transaction = engine.database.begin_read().map_err(|e| damaged(path, e))?;
            load::load(path, &transaction, &facts)
        })?;
        let (last_commit, catalog) = (loaded.last_commit, Arc::new(loaded.catalog));
        let catalog = runs::begin(&engine.database, &settings, now, last_commit, catalog)
            .map_err(|e| file::write_error(path, e))?;
        let live = Live {
            heads: Arc::new(loaded.heads),
            catalog,
            traces: loaded.traces,
            last_commit,
            block_epoch: 0,
        };
        let shared = Arc::new(Shared::new(Parts {
            path: path.to_owned(),
            medium,
            engine,
            live,
            counters,
            spool: Spool::new(
                settings.spool,
                &facts,
                loaded.next_sequence.saturating_sub(1),
            ),
            settings,
            clock,
            metrics,
        }));
        let failed = shared.failed.clone();
        let io = |source| OpenError::Io {
            path: path.to_owned(),
            source,
        };
        let merger = Merger::start(Arc::clone(&shared)).map_err(io)?;
        let (entrance, exit) = queue(&shared.settings, Arc::clone(&shared.metrics));
        let committer = Committer::new(
            Arc::clone(&shared),
            exit,
            loaded.next_sequence,
            loaded.log_records,
            merger,
        );
        std::thread::Builder::new()
            .name("committer".to_owned())
            .spawn(move || {
                // A panic of the engine must not leave a server behind that answers and keeps nothing.
                if catch_unwind(AssertUnwindSafe(|| committer.run())).is_err() {
                    tracing::error!("the committer ended by a panic; nothing more can be written");
                    failed.send_replace(true);
                }
            })
            .map_err(io)?;
        Ok(Self {
            shared,
            queue: Arc::new(entrance),
            facts: Arc::new(facts),
        })
    }

    /// The present moment of the file.
    pub fn view(&self) -> View {
        Arc::new(self.shared.moment())
    }

    /// Makes samples durable; returns when they are on disk and visible to every later view.
    ///
    /// # Errors
    /// [`WriteError`]: nothing of the append was taken. Single rows that are refused are in the answer.
    pub async fn append(&self, append: Append) -> Result<Appended, WriteError> {
        let answer = self.enqueue_append(append)?;
        answer.await.map_err(|_| WriteError::Closing)?
    }

    /// The same for threads outside of the runtime.
    pub fn append_blocking(&self, append: Append) -> Result<Appended, WriteError> {
        let answer = self.enqueue_append(append)?;
        answer.blocking_recv().map_err(|_| WriteError::Closing)?
    }

    fn enqueue_append(
        &self,
        append: Append,
    ) -> Result<oneshot::Receiver<Result<Appended, WriteError>>, WriteError> {
        let prepared = self.prepare(append);
        let rows = prepared.rows.len() as u64;
        let (reply, answer) = oneshot::channel();
        self.queue
            .put(Command::Append(prepared, reply))
            .inspect_err(|error| {
                if matches!(error, WriteError::Busy { .. }) {
                    self.shared.metrics.reject("queue_full", rows);
                }
            })?;
        Ok(answer)
    }

    /// Encodes ended spans, which takes the processor for some microseconds each, and queues them to be made durable.
    ///
    /// # Errors
    /// [`WriteError`]: no span was taken.
    pub fn submit_spans(&self, mut append: SpanAppend) -> Result<SpanTicket, WriteError> {
        let contacts = std::mem::take(&mut append.contacts).into_iter();
        let contacts = contacts.map(|contact| self.prepare(contact)).collect();
        let prepared = traces::prepare(&self.shared, append, contacts);
        let spans = prepared.spans() as u64;
        let (reply, answer) = oneshot::channel();
        self.queue
            .put(Command::Spans(prepared, reply))
            .inspect_err(|error| {
                if matches!(error, WriteError::Busy { .. }) {
                    self.shared.metrics.reject_spans("queue_full", spans);
                }
            })?;
        Ok(SpanTicket(answer))
    }

    /// Makes ended spans durable, for threads outside of the runtime.
    ///
    /// # Errors
    /// [`WriteError`]: no span was taken. Single spans that are refused are in the answer.
    pub fn append_spans_blocking(&self, append: SpanAppend) -> Result<SpansAppended, WriteError> {
        let SpanTicket(answer) = self.submit_spans(append)?;
        answer.blocking_recv().map_err(|_| WriteError::Closing)?
    }

    /// Changes spans that have not ended, or what is kept of traces; `contacts` are those of the agents.
    ///
    /// # Errors
    /// [`WriteError`]: nothing was changed. What cannot be for other reasons is in the answer.
    pub async fn change_spans(
        &self,
        change: SpanChange,
        contacts: Vec<Append>,
    ) -> Result<SpanChanged, WriteError> {
        let contacts = contacts.into_iter().map(|contact| self.prepare(contact));
        let change = PreparedChange {
            hours: traces::known_hours(&self.shared, change.spans().iter()),
            contacts: contacts.collect(),
            change,
        };
        self.ask(|reply| Command::ChangeSpans(change, reply)).await
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.queue.put(command(reply))?;
        answer.await.map_err(|_| WriteError::Closing)?
    }

    /// Looks series up and checks times on the caller's thread, so that the committer only commits.
    fn prepare(&self, append: Append) -> Prepared {
        let catalog = Arc::clone(&self.shared.live.lock().catalog);
        let settings = &self.shared.settings;
        let now = self.shared.clock.now();
        let latest = now.plus_millis(settings.future_ms_max.min(FUTURE_MS_LIMIT));
        let earliest = now.plus_millis(-settings.retention_ms);
        let agent = catalog
            .number(&append.agent)
            .and_then(|no| catalog.agent(no));
        let mut rows = Vec::with_capacity(append.batch.len());
        let mut rejected = Vec::new();
        for (index, row) in append.batch.rows().iter().enumerate() {
            let refused = if row.time > latest {
                Some((
                    "too_far_ahead",
                    format!(
                        "timestamp {} is more than {} ahead of the server's clock ({now})",
                        row.time,
                        format_duration_ms(latest.since(now))
                    ),
                ))
            } else if row.time < earliest {
                Some((
                    "older_than_retention",
                    format!(
                        "timestamp {} is older than the retention, which begins at {earliest}",
                        row.time
                    ),
                ))
            } else {
                let rules = &settings.retention_rules;
                let key = append.batch.key(row);
                expiry::refusal(rules, &append.agent, key, row.time, now)
                    .map(|why| ("older_than_retention", why))
            };
            if let Some((reason, message)) = refused {
                self.shared.metrics.reject(reason, 1);
                rejected.push(Rejected {
                    row: index,
                    reason: message,
                });
                continue;
            }
            let key = append.batch.key(row);
            let series = agent.and_then(|a| {
                let slot = a.series.find(key)?;
                Some((a.series.no(slot)?, slot as u32))
            });
            rows.push(PreparedRow {
                row: index as u32,
                series,
                sign: Sign::of_key(key),
                time: row.time.as_millis(),
                value: row.value,
            });
        }
        Prepared {
            append,
            rows,
            rejected,
        }
    }

    /// Registers or updates an agent.
    ///
    /// # Errors
    /// [`WriteError::Owned`] for an agent of the configuration, unless `registration` comes from there.
    pub async fn register(
        &self,
        id: AgentId,
        registration: Registration,
    ) -> Result<Registered, WriteError> {
        self.ask(|reply| Command::Register(id, registration, reply))
            .await
    }

    /// Ends a registration; the history stays. `false` when there was none.
    ///
    /// # Errors
    /// [`WriteError::Owned`] for an agent of the configuration.
    pub async fn deregister(&self, id: AgentId) -> Result<bool, WriteError> {
        self.ask(|reply| Command::Deregister {
            id,
            by_owner: false,
            reply,
        })
        .await
    }

    /// Ends a registration that the configuration owned and no longer has.
    pub async fn deregister_owned(&self, id: AgentId) -> Result<bool, WriteError> {
        self.ask(|reply| Command::Deregister {
            id,
            by_owner: true,
            reply,
        })
        .await
    }

    /// Raises or resolves health alerts that time alone decides (stale agents). Called every few seconds; waits like
    /// [`Urgency::Relaxed`] samples, whose commit it shares, and costs none of its own when no alert changes.
    pub async fn judge_stale(&self) -> Result<(), WriteError> {
        self.ask(Command::JudgeStale).await
    }

    /// Changes something of alerting.
    ///
    /// # Errors
    /// [`WriteError`]: nothing was changed. What cannot be for other reasons is in the answer.
    pub async fn alerting(&self, change: Change) -> Result<Changed, WriteError> {
        self.ask(|reply| Command::Alerting(change, reply)).await
    }

    /// Counts up whenever rules, alerts, groups or deliveries change.
    pub fn alerting_changed(&self) -> watch::Receiver<u64> {
        self.shared.alerting.subscribe()
    }

    /// Counts up with every commit.
    pub fn arrivals(&self) -> watch::Receiver<u64> {
        self.shared.arrivals.subscribe()
    }

    /// Agents that samples came of since this was asked last.
    pub fn take_touched(&self) -> HashSet<AgentNo> {
        std::mem::take(&mut *self.shared.touched.lock())
    }

    /// Settings of routing, as the store was opened with.
    pub fn routing(&self) -> &Routing {
        &self.shared.settings.routing
    }

    /// Moves all samples from memory and log to blocks now.
    pub async fn checkpoint(&self) -> Result<(), WriteError> {
        let (reply, answer) = oneshot::channel();
        self.queue.ask_checkpoint(reply)?;
        answer.await.map_err(|_| WriteError::Closing)?
    }

    /// [`Store::checkpoint`] for threads outside of the runtime.
    pub fn checkpoint_blocking(&self) -> Result<(), WriteError> {
        let (reply, answer) = oneshot::channel();
        self.queue.ask_checkpoint(reply)?;
        answer.blocking_recv().map_err(|_| WriteError::Closing)?
    }

    /// Moves everything to blocks and merges the blocks of each agent and day, also of days that are not over:
    /// what otherwise happens by and by once a day is over. Takes some milliseconds per agent and day.
    ///
    /// # Errors
    /// [`WriteError`] when the checkpoint before it failed. Blocks that cannot be read stay as they are.
    pub async fn settle(&self) -> Result<(), WriteError> {
        self.checkpoint().await?;
        let (reply, answer) = oneshot::channel();
        self.queue.ask_to_settle(reply)?;
        answer.await.map_err(|_| WriteError::Closing)?
    }

    /// [`Store::settle`] for threads outside of the runtime.
    pub fn settle_blocking(&self) -> Result<(), WriteError> {
        self.checkpoint_blocking()?;
        let (reply, answer) = oneshot::channel();
        self.queue.ask_to_settle(reply)?;
        answer.blocking_recv().map_err(|_| WriteError::Closing)?
    }

    /// Commits what waits, notes the end of this run and stops the committer. Later writes get
    /// [`WriteError::Closing`].
    pub async fn close(&self) -> Result<(), WriteError> {
        let (reply, answer) = oneshot::channel();
        self.queue.ask_close(reply)?;
        answer.await.map_err(|_| WriteError::Closing)?
    }

    /// The same for threads outside of the runtime.
    pub fn close_blocking(&self) -> Result<(), WriteError> {
        let (reply, answer) = oneshot::channel();
        self.queue.ask_close(reply)?;
        answer.blocking_recv().map_err(|_| WriteError::Closing)?
    }

    /// [`Store::register`] for threads outside of the runtime.
    pub fn register_blocking(
        &self,
        id: AgentId,
        registration: Registration,
    ) -> Result<Registered, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.queue.put(Command::Register(id, registration, reply))?;
        answer.blocking_recv().map_err(|_| WriteError::Closing)?
    }

    /// Whether samples are taken now, and if not, why.
    pub fn condition(&self) -> Condition {
        self.shared.condition.lock().clone()
    }

    /// Turns true when nothing can be written any more and the process should end.
    pub fn failed(&self) -> watch::Receiver<bool> {
        self.shared.failed.subscribe()
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Counts up whenever registrations change.
    pub fn registrations_changed(&self) -> watch::Receiver<u64> {
        self.shared.registrations.subscribe()
    }

    /// Sizes and settings.
    pub fn status(&self) -> StoreStatus {
        let shared = &self.shared;
        let table_lengths = || -> Result<(u64, u64), redb::Error> {
            let transaction = shared.database().begin_read()?;
            let blocks = transaction.open_table(tables::BLOCKS)?.len()?;
            Ok((blocks, transaction.open_table(tables::WAL)?.len()?))
        };
        // After an I/O error the engine refuses to answer; the other figures still help.
        let (blocks, wal_records) = table_lengths().unwrap_or_default();
        let disk = *shared.disk.lock();
        let (quarantined, quarantined_first) = shared.quarantine.list(QUARANTINED_SHOWN);
        let live = shared.live.lock();
        StoreStatus {
            schema_version: self.facts.schema_version,
            file_id: copies::hexadecimal(self.facts.file_id),
            created_ms: self.facts.created_ms,
            file_bytes: shared.counters.length(),
            series: live.catalog.series_total() as u64,
            agents: live.catalog.registered_total() as u64,
            head_samples: live.heads.samples() as u64,
            head_bytes: live.heads.bytes() as u64,
            wal_records,
            blocks,
            quarantined,
            quarantined_first,
            retention_ms: shared.settings.retention_ms,
            retention_rules: shared.settings.retention_rules.clone(),
            last_commit_ms: live.last_commit.map(Timestamp::as_millis),
            copy_safe_seconds: shared.copy_safe_ms.load(Ordering::Relaxed) as f64 / 1000.0,
            commits: shared.commits.load(Ordering::Relaxed),
            bytes_written: shared.counters.bytes_written(),
            condition: self.condition(),
            disk_available_bytes: disk.map(|disk| disk.available),
            disk_reserve_bytes: disk.map(|disk| disk.reserve),
        }
    }

    /// Writes a consistent, cleanly closed copy into a file without a name, on the database's disk; commits
    /// go on. It takes its room with it when it is dropped, also by a kill.
    ///
    /// # Errors
    /// [`WriteError::DiskFull`] when it would take what is kept in reserve; [`WriteError::Unavailable`] or
    /// [`WriteError::Backend`] with the disk's or the engine's reason.
    pub async fn snapshot(&self) -> Result<File, WriteError> {
        let shared = Arc::clone(&self.shared);
        let work = tokio::task::spawn_blocking(move || write_snapshot(&shared));
        work.await.map_err(|e| WriteError::Backend(e.to_string()))?
    }
}

fn write_snapshot(shared: &Shared) -> Result<File, WriteError> {
    let failed = |error: io::Error| write_error(&error.into());
    let directory = match shared.path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::tempfile_in(directory).map_err(failed)?;
    let begun = shared.database().begin_read();
    let transaction = begun.map_err(|e| write_error(&e.into()))?;
    let handle = file.try_clone().map_err(failed)?;
    let mut spare_reserve = |pending: u64| {
        let room = shared.medium.room()?;
        // A value takes a page of up to twice its size.
        let left = room.available.saturating_sub(2 * pending);
        if left < reserve::size(shared.settings.disk_reserve, room) {
            let why = "the copy would take what is kept in reserve (storage.disk_reserve)";
            return Err(io::Error::new(io::ErrorKind::StorageFull, why));
        }
        Ok(())
    };
    copies::write_snapshot(&transaction, handle, &mut spare_reserve, &mut |_, _| {})
        .map_err(|e| write_error(&e))?;
    file.rewind().map_err(failed)?;
    Ok(file)
}
