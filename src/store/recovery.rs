//! Recovery from an error of the disk, without a restart. After one the engine refuses everything, so the
//! committer gives the file another engine, in two steps: it is opened at once, so that it can be read; then writing is
//! tried, again and again with pauses. Meanwhile writers are told why, and when to come again.

use std::{
    io::ErrorKind,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use redb::ReadableDatabase;

use super::{
    Condition, OpenError, WriteError,
    committer::Committer,
    file::{self, damaged, on_untrusted_pages},
    load::{self, Loaded},
    outage::{Cause, Outage},
    pins::Pins,
    runs,
    shared::{Engine, Live},
};

/// Seconds after which a writer is told to come again when nobody has looked at the failure yet.
const RETRY_SECONDS: u32 = 1;

/// Whether the engine refuses everything after such an error.
fn is_fatal(error: &redb::Error) -> bool {
    matches!(
        error,
        redb::Error::Io(_)
            | redb::Error::Backend(_)
            | redb::Error::PreviousIo
            | redb::Error::DatabaseClosed
            | redb::Error::LockPoisoned(_)
    )
}

fn cause_of(error: &redb::Error) -> Cause {
    let full = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
    match error {
        redb::Error::Io(error) if full.contains(&error.kind()) => Cause::DiskFull,
        _ => Cause::Writing,
    }
}

/// What a writer is told of an error of the engine.
pub(super) fn write_error(error: &redb::Error) -> WriteError {
    let why = error.to_string();
    if cause_of(error) == Cause::DiskFull {
        WriteError::DiskFull {
            why,
            retry_after_seconds: RETRY_SECONDS,
        }
    } else if is_fatal(error) {
        WriteError::Unavailable {
            why,
            retry_after_seconds: RETRY_SECONDS,
        }
    } else {
        WriteError::Backend(why)
    }
}

impl Committer {
    /// Takes in that a write failed; returns what its writers are told.
    pub(super) fn give_up(&mut self, error: &redb::Error) -> WriteError {
        if !is_fatal(error) {
            return write_error(error);
        }
        let now = Instant::now();
        self.suspend(error.to_string(), cause_of(error), now);
        self.outage
            .as_ref()
            .map_or_else(|| write_error(error), |outage| outage.refusal(now))
    }

    /// Notices an engine that refuses everything since somebody's reading failed.
    pub(super) fn watch_engine(&mut self, now: Instant) {
        if self.outage.is_none() && self.shared.engine().lease.has_failed() {
            self.suspend("the disk could not be read".to_owned(), Cause::Reading, now);
        }
    }

    /// Goes on with the recovery, if one is due.
    pub(super) fn recover(&mut self, now: Instant) {
        let is_due = |outage: &Outage| outage.is_opening_due(now);
        if self.outage.as_ref().is_some_and(is_due) {
            self.reopen(now);
        }
        let room = self.reserve.room();
        let is_due = |outage: &Outage| outage.is_writing_due(now, room);
        if self.outage.as_ref().is_some_and(is_due) {
            self.resume(now);
        }
    }

    /// Lets go of an engine that refuses everything.
    fn suspend(&mut self, reason: String, cause: Cause, now: Instant) {
        let since = self.outage.take().map_or_else(
            || {
                tracing::error!(reason, "the database cannot be written; it is opened anew");
                now
            },
            |outage| outage.since,
        );
        let outage = Outage {
            since,
            reason,
            cause,
            open_at: Some(now),
            write_at: now + self.pauses.after(cause, now),
            // Asked now: what the failed write took counts.
            room: self.shared.medium.room().ok(),
        };
        let told = outage.refusal(now);
        self.outage = Some(outage);
        self.checkpoint = None;
        self.span_flush = None;
        for reply in self.checkpoint_waiters.drain(..) {
            let _ = reply.send(Err(told.clone()));
        }
        self.pins = Pins::default();
        self.shared.copy_safe_ms.store(0, Ordering::Relaxed);
        self.tell_condition();
    }

    /// Gives the file another engine and takes over what it finds, so that it can be read.
    fn reopen(&mut self, now: Instant) {
        // From here on the engine that was can do no harm, whoever still holds it.
        self.shared.engine().lease.revoke();
        let opened = self.open_again();
        let Some(outage) = &mut self.outage else {
            return;
        };
        match opened {
            Ok((engine, loaded)) => {
                outage.open_at = None;
                self.shared.metrics.reopenings.inc();
                self.take_over(engine, loaded);
            }
            Err(error) => {
                let reason = error.to_string();
                if reason != outage.reason {
                    tracing::error!(
                        reason,
                        "the database cannot be opened anew; it is tried again"
                    );
                }
                outage.reason = reason;
                outage.open_at = Some(now + self.pauses.after(Cause::Writing, now));
                self.tell_condition();
            }
        }
    }

    fn open_again(&self) -> Result<(Engine, Loaded), OpenError> {
        let shared = &self.shared;
        let path = &shared.path;
        let cache_bytes = shared.settings.cache_bytes;
        let engine = file::attach(path, &*shared.medium, &shared.counters, cache_bytes)?;
        let loaded = on_untrusted_pages(path, || {
            let facts = file::read_facts(path, &engine.database)?;
            let begun = engine.database.begin_read();
            let loaded = load::load(path, &begun.map_err(|e| damaged(path, e))?, &facts)?;
            shared.spool.reload(&facts);
            Ok(loaded)
        })?;
        Ok((engine, loaded))
    }

    /// Makes what the file holds the present: a commit that failed may be in it or not.
    fn take_over(&mut self, engine: Engine, loaded: Loaded) {
        if loaded.next_sequence < self.next_sequence {
            tracing::error!(
                "log records from {} on, which were acknowledged, are no longer in the file",
                loaded.next_sequence
            );
        }
        self.next_sequence = self.next_sequence.max(loaded.next_sequence);
        let published = self.next_sequence - 1;
        self.log_records = loaded.log_records;
        self.log_samples = loaded.heads.samples() as u64;
        self.liveness.clear();
        let found = Live {
            heads: Arc::new(loaded.heads),
            catalog: Arc::new(loaded.catalog),
            traces: loaded.traces,
            last_commit: loaded.last_commit,
            ..Live::default()
        };
        let before = self.shared.replace_engine(engine, found);
        drop(before);
        self.shared.spool.note_published(published);
        self.measure(&self.shared.live.lock());
        self.shared.registrations.send_modify(|count| *count += 1);
    }

    /// Tries to write again. What is written is the start of another run: nobody was watching in between, and no
    /// agent may be called silent for that.
    fn resume(&mut self, now: Instant) {
        let shared = Arc::clone(&self.shared);
        let (last_commit, catalog) = {
            let live = shared.live.lock();
            (live.last_commit, Arc::clone(&live.catalog))
        };
        let start = shared.clock.now();
        let database = shared.database();
        match runs::begin(&database, &shared.settings, start, last_commit, catalog) {
            Ok(catalog) => shared.live.lock().catalog = catalog,
            Err(error) => {
                drop(database);
                self.suspend(error.to_string(), cause_of(&error), now);
                return;
            }
        }
        if let Some(outage) = self.outage.take() {
            let seconds = outage.since.elapsed().as_secs_f64();
            tracing::info!("the database is written again, after {seconds:.1} s");
        }
        self.tell_condition();
    }

    /// Lets everybody know whether samples are taken.
    pub(super) fn tell_condition(&self) {
        let condition = match &self.outage {
            Some(outage) => Condition::Suspended(outage.refusal(Instant::now()).to_string()),
            None => match self.reserve.refusal() {
                Some(refusal) => Condition::DiskLow(refusal.to_string()),
                None => Condition::Sound,
            },
        };
        let is_refused = i64::from(condition != Condition::Sound);
        self.shared.metrics.writes_refused.set(is_refused);
        *self.shared.condition.lock() = condition;
    }
}
