//! Copies: reading them offline, making them.

use std::{fs::File, io, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc};

use redb::{
    Builder, Database, Key, ReadTransaction, ReadableDatabase, ReadableTable,
    ReadableTableMetadata, TableDefinition, Value,
};

use super::{
    OpenError, StoreStatus, View,
    backend::DiskBackend,
    file::{self, OpenedCopy, damaged, on_untrusted_pages},
    inventory::Inventory,
    load::{self, Loaded},
    moment::Moment,
    quarantine::LeftOut,
    tables,
    verification::damaged_rows,
};
use crate::model::Timestamp;

/// Page cache for a copy that is read once.
pub(super) const COPY_CACHE_BYTES: usize = 64 << 20;
/// Rows between two reports of progress.
pub(super) const PROGRESS_ROWS: u64 = 256;
/// Bytes of a row copy between two questions whether it may write on.
const ASK_BYTES: usize = 1 << 20;
/// Bytes that one transaction of a row copy writes.
const ROW_COPY_BYTES: usize = 16 << 20;

/// Opens a copy of a database for reading: one taken by `cp` from a live server, one left by a kill, a
/// snapshot. The file is never written to. An older schema is migrated in memory.
///
/// # Errors
/// [`OpenError`] for a file that is missing, foreign, newer, damaged or open in a server.
pub fn open_copy(path: &Path) -> Result<View, OpenError> {
    let (copy, loaded) = open_and_load(path)?;
    let database = Arc::new(copy.database);
    Ok(Arc::new(Moment {
        transaction: database.begin_read().map_err(|e| e.to_string()),
        _database: database,
        heads: Arc::new(loaded.heads),
        catalog: Arc::new(loaded.catalog),
        traces: loaded.traces,
        last_commit: loaded.last_commit,
        block_epoch: 0,
        inventory: Arc::new(Inventory::default()),
        quarantine: None,
        left_out: LeftOut::default(),
    }))
}

fn open_and_load(path: &Path) -> Result<(OpenedCopy, Loaded), OpenError> {
    let copy = file::open_copy(path, COPY_CACHE_BYTES)?;
    let loaded = on_untrusted_pages(path, || {
        let transaction = copy.database.begin_read().map_err(|e| damaged(path, e))?;
        load::load(path, &transaction, &copy.facts)
    })?;
    Ok((copy, loaded))
}

/// Sizes and facts of a file that no server has open.
pub fn inspect(path: &Path) -> Result<StoreStatus, OpenError> {
    let (copy, loaded) = open_and_load(path)?;
    on_untrusted_pages(path, || {
        let transaction = copy.database.begin_read().map_err(|e| damaged(path, e))?;
        let blocks = transaction
            .open_table(tables::BLOCKS)
            .map_err(|e| damaged(path, e))?
            .len()
            .map_err(|e| damaged(path, e))?;
        let (quarantined, quarantined_first) =
            damaged_rows(&transaction, &loaded.catalog).map_err(|e| damaged(path, e))?;
        Ok(StoreStatus {
            schema_version: copy.facts.schema_version,
            file_id: hexadecimal(copy.facts.file_id),
            created_ms: copy.facts.created_ms,
            file_bytes: copy.file_bytes,
            series: loaded.catalog.series_total() as u64,
            agents: loaded.catalog.registered_total() as u64,
            head_samples: loaded.heads.samples() as u64,
            head_bytes: loaded.heads.bytes() as u64,
            wal_records: loaded.log_records,
            blocks,
            quarantined,
            quarantined_first,
            last_commit_ms: loaded.last_commit.map(Timestamp::as_millis),
            ..StoreStatus::default()
        })
    })
}

pub(super) fn hexadecimal(id: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(id))
}

/// Writes a consistent, cleanly closed copy of a file that no server has open. Returns its bytes.
///
/// # Errors
/// [`OpenError`]; `to` must not exist.
pub fn snapshot_file(
    from: &Path,
    to: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, OpenError> {
    let (copy, _) = open_and_load(from)?;
    // A copy holds what the original holds, so it is as private as a new database.
    let target = File::options()
        .mode(0o600)
        .read(true)
        .write(true)
        .create_new(true)
        .open(to)
        .map_err(|source| OpenError::Io {
            path: to.to_owned(),
            source,
        })?;
    let written = on_untrusted_pages(from, || {
        let transaction = copy.database.begin_read().map_err(|e| damaged(from, e))?;
        write_snapshot(&transaction, target, &mut |_| Ok(()), progress)
            .map_err(|e| damaged(from, e))
    });
    if written.is_err() {
        // A half-written copy must not look like one.
        let _ = std::fs::remove_file(to);
    }
    written
}

/// Asked again and again whether so many bytes may still be written; an error ends the work.
type MayWrite<'a> = dyn FnMut(u64) -> io::Result<()> + 'a;

/// Copies all rows of a snapshot of the engine into a fresh file and closes it. Returns its bytes.
pub(super) fn write_snapshot(
    from: &ReadTransaction,
    file: File,
    may_write: &mut MayWrite<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, redb::Error> {
    let handle = file.try_clone().map_err(redb::Error::Io)?;
    let to = Builder::new()
        .set_cache_size(COPY_CACHE_BYTES)
        .create_with_backend(DiskBackend(file))?;
    let mut copier = RowCopier {
        from,
        to,
        done: 0,
        total: count_rows(from)?,
        may_write,
        progress,
    };
    copier.table(tables::META)?;
    copier.table(tables::AGENTS)?;
    copier.table(tables::AGENT_EVENTS)?;
    copier.table(tables::SERIES)?;
    copier.table(tables::SERIES_DAYS)?;
    copier.table(tables::EXPIRED_SERIES)?;
    copier.table(tables::METRICS)?;
    copier.table(tables::WAL)?;
    copier.table(tables::FLUSHED)?;
    copier.table(tables::BLOCKS)?;
    copier.table(tables::UNSETTLED)?;
    copier.table(tables::ROLLUPS)?;
    copier.table(tables::DAY_BYTES)?;
    copier.table(tables::ALERTS)?;
    copier.table(tables::ALERT_EVENTS)?;
    copier.table(tables::ALERT_EVIDENCE)?;
    copier.table(tables::RULES)?;
    copier.table(tables::SILENCES)?;
    copier.table(tables::NOTIFY_GROUPS)?;
    copier.table(tables::OUTBOX)?;
    copier.table(tables::SPAN_BLOCKS)?;
    copier.table(tables::SPAN_HEADERS)?;
    copier.table(tables::TRACES)?;
    copier.table(tables::SPAN_HOURS)?;
    copier.table(tables::SPAN_OPERATIONS)?;
    copier.table(tables::OPEN_SPANS)?;
    copier.table(tables::TRACE_PINS)?;
    copier.table(tables::POLICIES)?;
    copier.table(tables::RUNS)?;
    let RowCopier { mut to, .. } = copier;
    // The copy's file has grown in powers of two; giving back what it does not need is cheap here.
    to.compact()?;
    drop(to);
    handle.sync_all().map_err(redb::Error::Io)?;
    Ok(handle.metadata().map_err(redb::Error::Io)?.len())
}

fn count_rows(from: &ReadTransaction) -> Result<u64, redb::Error> {
    Ok(from.open_table(tables::BLOCKS)?.len()?
        + from.open_table(tables::WAL)?.len()?
        + from.open_table(tables::SPAN_BLOCKS)?.len()?
        + from.open_table(tables::TRACES)?.len()?
        + from.open_table(tables::SERIES)?.len()?)
}

struct RowCopier<'a> {
    from: &'a ReadTransaction,
    to: Database,
    done: u64,
    total: u64,
    may_write: &'a mut MayWrite<'a>,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl RowCopier<'_> {
    fn table<K: Key + 'static, V: Value + 'static>(
        &mut self,
        definition: TableDefinition<'static, K, V>,
    ) -> Result<(), redb::Error> {
        let source = self.from.open_table(definition)?;
        let mut rows = source.iter()?;
        loop {
            let mut transaction = self.to.begin_write()?;
            transaction.set_durability(redb::Durability::Immediate)?;
            let mut bytes = 0;
            let mut asked_at = 0;
            let mut is_done = true;
            (self.may_write)(0)?;
            {
                let mut target = transaction.open_table(definition)?;
                for row in rows.by_ref() {
                    let (key, value) = row?;
                    bytes += K::as_bytes(&key.value()).as_ref().len()
                        + V::as_bytes(&value.value()).as_ref().len()
                        + 64;
                    if bytes - asked_at >= ASK_BYTES {
                        asked_at = bytes;
                        // They are written at the latest when the transaction is committed.
                        (self.may_write)(bytes as u64)?;
                    }
                    target.insert(key.value(), value.value())?;
                    self.done += 1;
                    if self.done.is_multiple_of(PROGRESS_ROWS) {
                        (self.progress)(self.done.min(self.total), self.total);
                    }
                    if bytes >= ROW_COPY_BYTES {
                        is_done = false;
                        break;
                    }
                }
            }
            transaction.commit()?;
            if is_done {
                return Ok(());
            }
        }
    }
}
