//! Compacting a file that no server has open: everything into merged blocks, and the engine's free pages given back.

use std::{path::Path, sync::Arc};

use redb::{Database, ReadableDatabase, ReadableTableMetadata};

use super::{
    OpenError,
    checkpoint::Checkpoint,
    committer::begin,
    file::{self, FileFacts, damaged, on_untrusted_pages, write_error},
    head::Heads,
    load::{self, Loaded},
    merge::{Applied, Extent, Merged, Task, merge, unsettled},
    tables,
};

/// Page cache while compacting.
const CACHE_BYTES: usize = 64 << 20;
/// Bytes of merges that one transaction writes.
const BATCH_BYTES: usize = 4 << 20;

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
}

/// Compacts a file in place. Each step is a transaction, so that a kill at any moment leaves a whole file. `progress`
/// gets days of agents merged and in all.
///
/// # Errors
/// [`OpenError`] for a file that is missing, foreign, newer, damaged or open in a server, and when it cannot be written.
pub fn compact(
    path: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<CompactReport, OpenError> {
    if !path.try_exists().unwrap_or(true) {
        return Err(OpenError::Missing {
            path: path.to_owned(),
        });
    }
    let opened = file::open_for_writing(path, CACHE_BYTES, 0)?;
    let bytes_before = opened.counters.length();
    let mut database = opened.engine.database;
    let report = compact_opened(path, &mut database, &opened.facts, progress)?;
    Ok(CompactReport {
        bytes_before,
        bytes_after: opened.counters.length(),
        ..report
    })
}

/// Compacts a file that is open and that nobody reads; lengths are left to the caller.
pub(super) fn compact_opened(
    path: &Path,
    database: &mut Arc<Database>,
    facts: &FileFacts,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<CompactReport, OpenError> {
    let loaded = on_untrusted_pages(path, || {
        let transaction = database.begin_read().map_err(|e| damaged(path, e))?;
        load::load(path, &transaction, facts)
    })?;
    let engine = |e: redb::Error| write_error(path, e);
    let mut report = CompactReport::default();
    flush(database, &loaded).map_err(engine)?;
    report.blocks_before = blocks(database).map_err(engine)?;
    settle(database, &loaded, &mut report, progress).map_err(engine)?;
    report.blocks_after = blocks(database).map_err(engine)?;
    // The engine moves pages to the front a part at a time, and says whether it did.
    while let Some(database) = Arc::get_mut(database) {
        if !database.compact().map_err(|e| engine(e.into()))? {
            break;
        }
    }
    Ok(report)
}

fn blocks(database: &Database) -> Result<u64, redb::Error> {
    Ok(database.begin_read()?.open_table(tables::BLOCKS)?.len()?)
}

/// Moves what is in the write-ahead log alone to blocks.
fn flush(database: &Database, loaded: &Loaded) -> Result<(), redb::Error> {
    let heads: &Heads = &loaded.heads;
    let mut checkpoint = Checkpoint::begin(heads);
    let last_sequence = loaded.next_sequence.saturating_sub(1);
    while !checkpoint.is_done() {
        let transaction = begin(database)?;
        checkpoint.write_slice(
            heads,
            &loaded.catalog,
            last_sequence,
            loaded.last_commit,
            &transaction,
        )?;
        transaction.commit()?;
    }
    Ok(())
}

/// Merges all days that no merge has taken in.
fn settle(
    database: &Database,
    loaded: &Loaded,
    report: &mut CompactReport,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), redb::Error> {
    let days = unsettled(&database.begin_read()?)?;
    let mut tasks: Vec<Task> = days
        .into_iter()
        .map(|((day, agent), basis)| Task {
            day,
            agent,
            extent: Extent::Day,
            basis,
        })
        .collect();
    tasks.sort_by_key(|task| (task.day, task.agent));
    let total = tasks.len() as u64;
    let mut batch: Vec<Merged> = Vec::new();
    for (done, task) in (1..).zip(tasks) {
        let Some(agent) = loaded.catalog.agent(task.agent) else {
            continue;
        };
        match merge(&database.begin_read()?, task, agent) {
            Ok(merged) => batch.push(merged),
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
