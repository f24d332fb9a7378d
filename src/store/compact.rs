//! Compacting a file that no server has open: everything into merged blocks, and the engine's free pages given back.

use std::{
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use redb::{Database, ReadableDatabase, ReadableTableMetadata};

use super::{
    OpenError,
    checkpoint::{Checkpoint, Log},
    committer::begin,
    expiry::Marks,
    file::{self, FileFacts, damaged, on_untrusted_pages, write_error},
    forwarding::Spool,
    load::{self, Loaded},
    merge::{Applied, Extent, Merged, Task, merge, unsettled},
    retention::delete_oldest_day,
    tables,
    traces::{pack_now, write_packed},
};
use crate::model::Timestamp;

/// Page cache while compacting.
const CACHE_BYTES: usize = 64 << 20;
/// Bytes of merges that one transaction writes.
const BATCH_BYTES: usize = 4 << 20;

/// How often progress is told while the engine works.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// What compacting a file did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompactReport {
    /// Length of the file before, in bytes.
    pub bytes_before: u64,
    /// Length of the file after.
    pub bytes_after: u64,
    /// Blocks before, those that the write-ahead log became included.
    pub blocks_before: u64,
    /// Blocks after.
    pub blocks_after: u64,
    /// Days of agents that were merged.
    pub merged_days: u64,
    /// Days of agents that could not be merged as they are: which, and why.
    pub left: Vec<String>,
    /// Days whose samples were deleted for their age.
    pub deleted_days: u64,
    /// Damaged blocks, which stay as they are.
    pub damaged_blocks: u64,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompactStep {
    /// Days of agents are merged.
    Merging {
        /// Done.
        done: u64,
        /// In all.
        total: u64,
    },
    /// The engine moves pages together. How much there is to move cannot be told.
    Moving {
        /// Bytes written for it so far.
        bytes: u64,
    },
}

/// Compacts a file in place. Each step is a transaction, so that a kill at any moment leaves a whole file. With
/// `retention_ms`, samples of days that lie wholly so long before the last commit are deleted.
///
/// A file whose pages are damaged is refused: a page that is moved gets a checksum that holds.
///
/// # Errors
/// [`OpenError`] for a file that is missing, foreign, newer, damaged or open in a server, and when it cannot be written.
pub fn compact(
    path: &Path,
    retention_ms: Option<i64>,
    progress: &mut dyn FnMut(CompactStep),
) -> Result<CompactReport, OpenError> {
    drop(file::open_copy(path, CACHE_BYTES)?);
    let opened = file::open_existing(path, CACHE_BYTES)?;
    let counters = opened.counters;
    let bytes_before = counters.length();
    let mut database = opened.engine.database;
    let mut merging = |done, total| progress(CompactStep::Merging { done, total });
    let report = settle_opened(path, &database, &opened.facts, retention_ms, &mut merging)?;
    let written = counters.bytes_written();
    // The engine tells nothing meanwhile.
    thread::scope(|scope| {
        let (is_done, ended) = mpsc::channel::<()>();
        let work = scope.spawn(move || {
            let moved = on_untrusted_pages(path, || move_together(path, &mut database));
            drop((database, is_done));
            moved
        });
        while ended.recv_timeout(PROGRESS_INTERVAL) == Err(mpsc::RecvTimeoutError::Timeout) {
            let bytes = counters.bytes_written() - written;
            progress(CompactStep::Moving { bytes });
        }
        // Its panics were caught.
        work.join()
            .unwrap_or_else(|_| Err(damaged(path, "the engine gave up")))
    })?;
    Ok(CompactReport {
        bytes_before,
        bytes_after: counters.length(),
        ..report
    })
}

/// Brings a file that is open and that nobody reads into its settled form; lengths are left to the caller.
pub(super) fn settle_opened(
    path: &Path,
    database: &Database,
    facts: &FileFacts,
    retention_ms: Option<i64>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<CompactReport, OpenError> {
    on_untrusted_pages(path, || {
        let transaction = database.begin_read().map_err(|e| damaged(path, e))?;
        let mut loaded = load::load(path, &transaction, facts)?;
        drop(transaction);
        let engine = |e: redb::Error| write_error(path, e);
        let mut report = CompactReport::default();
        flush(database, &Spool::at_rest(facts), &mut loaded).map_err(engine)?;
        report.blocks_before = blocks(database).map_err(engine)?;
        settle(database, &loaded, &mut report, progress).map_err(engine)?;
        let before = retention_ms
            .zip(loaded.last_commit)
            .map(|(retention_ms, last)| last.plus_millis(-retention_ms).day());
        if let Some(day) = before {
            while delete_oldest_day(database, day).map_err(engine)?.is_some() {
                report.deleted_days += 1;
            }
        }
        report.blocks_after = blocks(database).map_err(engine)?;
        Ok(report)
    })
}

/// Has the engine move its pages to the front, a part at a time, and cut the file off behind them.
pub(super) fn move_together(path: &Path, database: &mut Arc<Database>) -> Result<(), OpenError> {
    while let Some(database) = Arc::get_mut(database) {
        let moved = database.compact();
        if !moved.map_err(|e| write_error(path, e.into()))? {
            break;
        }
    }
    Ok(())
}

fn blocks(database: &Database) -> Result<u64, redb::Error> {
    Ok(database.begin_read()?.open_table(tables::BLOCKS)?.len()?)
}

/// Moves what is in the write-ahead log alone to blocks.
fn flush(database: &Database, spool: &Spool, loaded: &mut Loaded) -> Result<(), redb::Error> {
    if loaded.log_records == 0 {
        return Ok(());
    }
    if let Some(packed) = pack_now(&loaded.traces.heads, &loaded.catalog) {
        let transaction = begin(database)?;
        write_packed(&packed, &transaction)?;
        transaction.commit()?;
        loaded.traces.heads.forget_until(packed.up_to());
    }
    let mut checkpoint = Checkpoint::begin(&loaded.heads);
    let last_sequence = loaded.next_sequence.saturating_sub(1);
    loop {
        let transaction = begin(database)?;
        let log = Log {
            last_sequence,
            spans_from: None,
            last_commit: loaded.last_commit,
            spool,
            now: loaded.last_commit.unwrap_or(Timestamp::MIN),
        };
        let slice = checkpoint.write_slice(&loaded.heads, &loaded.catalog, &log, &transaction)?;
        transaction.commit()?;
        for agent in slice.flushed {
            loaded.heads.flush(agent);
        }
        if checkpoint.is_done() {
            return Ok(());
        }
    }
}

/// Merges all days that no merge has taken in.
fn settle(
    database: &Database,
    loaded: &Loaded,
    report: &mut CompactReport,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), redb::Error> {
    let transaction = database.begin_read()?;
    let days = unsettled(&transaction)?;
    let marks = Marks::read(&transaction)?;
    drop(transaction);
    // Rules of retention are the server's; it looks through what is settled here without them.
    if let Some(first) = days.keys().map(|(day, _)| *day).min() {
        let transaction = begin(database)?;
        marks.lowered(first).write(&transaction)?;
        transaction.commit()?;
    }
    let mut tasks: Vec<Task> = days
        .into_iter()
        .map(|((day, agent), basis)| Task {
            day,
            agent,
            extent: Extent::Day,
            basis: Some(basis),
        })
        .collect();
    tasks.sort_by_key(|task| (task.day, task.agent));
    let total = tasks.len() as u64;
    let mut batch: Vec<Merged> = Vec::new();
    for (done, task) in (1..).zip(tasks) {
        let Some(agent) = loaded.catalog.agent(task.agent) else {
            continue;
        };
        match merge(&database.begin_read()?, task, agent, Vec::new()) {
            Ok(merged) => {
                report.damaged_blocks += merged.damaged.len() as u64;
                batch.push(merged);
            }
            Err(why) => report.left.push(format!("agent `{}`: {why}", agent.id)),
        }
        if batch.iter().map(Merged::bytes).sum::<usize>() >= BATCH_BYTES || done == total {
            report.merged_days += write(database, &std::mem::take(&mut batch))?;
        }
        progress(done, total);
    }
    Ok(())
}

fn write(database: &Database, batch: &[Merged]) -> Result<u64, redb::Error> {
    let mut applied = Applied::default();
    let transaction = begin(database)?;
    for merged in batch {
        merged.write(&transaction, &mut applied)?;
    }
    transaction.commit()?;
    Ok(applied.days.len() as u64)
}
