//! Puts the samples of the log that are not in blocks yet into heads, on all processors: whoever starts a server after
//! a kill waits for it.

use std::{collections::HashMap, panic::resume_unwind, path::Path, thread};

use redb::{ReadTransaction, ReadableTable};

use super::{Loaded, too_new};
use crate::{
    codec::{WalError, WalRecord},
    model::{AgentNo, Timestamp},
    store::{OpenError, catalog::Catalog, file::damaged, head::Heads, tables},
};

/// Bytes of records that are taken at once; decoded they are two to three times as many. Tests have several batches
/// with less.
const BATCH_BYTES: usize = if cfg!(test) { 1 << 10 } else { 4 << 20 };
/// Threads that are worth starting.
const THREADS_MAX: usize = 4;

/// A record with its sequence.
type Numbered = (u64, WalRecord);

/// Reads the log into the heads, and what it tells of commits.
pub(super) fn replay(
    path: &Path,
    transaction: &ReadTransaction,
    loaded: &mut Loaded,
) -> Result<(), OpenError> {
    let mut flushed = HashMap::new();
    let marks = transaction.open_table(tables::FLUSHED);
    let marks = marks.map_err(|e| damaged(path, e))?;
    for row in marks.iter().map_err(|e| damaged(path, e))? {
        let (agent, sequence) = row.map_err(|e| damaged(path, e))?;
        flushed.insert(AgentNo(agent.value()), sequence.value());
        loaded.next_sequence = loaded.next_sequence.max(sequence.value() + 1);
    }
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut parts = vec![Heads::default(); threads.min(THREADS_MAX)];
    let log = transaction.open_table(tables::WAL);
    let log = log.map_err(|e| damaged(path, e))?;
    let mut rows = log.iter().map_err(|e| damaged(path, e))?;
    loop {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for row in rows.by_ref() {
            let (sequence, record) = row.map_err(|e| damaged(path, e))?;
            bytes += record.value().len();
            batch.push((sequence.value(), record));
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        if batch.is_empty() {
            break;
        }
        let bytes: Vec<(u64, &[u8])> = batch.iter().map(|(no, r)| (*no, r.value())).collect();
        let records = decode(path, &bytes, parts.len())?;
        for (sequence, record) in &records {
            loaded.last_commit = loaded.last_commit.max(Some(record.time));
            loaded.next_sequence = loaded.next_sequence.max(sequence + 1);
            loaded.log_records += 1;
        }
        insert(&records, &loaded.catalog, &flushed, &mut parts).map_err(|sequence| {
            damaged(
                path,
                format!("log record {sequence} names an unknown series"),
            )
        })?;
    }
    for part in parts {
        loaded.heads.absorb(part);
    }
    if !flushed.is_empty() {
        loaded
            .heads
            .have_blocks_until(loaded.last_commit.unwrap_or(Timestamp::MAX));
    }
    Ok(())
}

/// Decodes records, a stretch of them on each thread.
///
/// # Errors
/// The first in the order of the log.
fn decode(path: &Path, batch: &[(u64, &[u8])], threads: usize) -> Result<Vec<Numbered>, OpenError> {
    let one = |(sequence, bytes): &(u64, &[u8])| match WalRecord::decode(bytes) {
        Ok(record) => Ok((*sequence, record)),
        Err(WalError::Corrupt(corrupt)) => {
            Err(damaged(path, format!("log record {sequence}: {corrupt}")))
        }
        Err(newer @ WalError::Newer { .. }) => Err(too_new(path, newer.to_string())),
    };
    let length = batch.len().div_ceil(threads);
    let work = |stretch: &[(u64, &[u8])]| stretch.iter().map(one).collect::<Result<Vec<_>, _>>();
    let decoded = each_on_a_thread(batch.chunks(length), work);
    let decoded: Vec<Vec<Numbered>> = decoded.into_iter().collect::<Result<_, _>>()?;
    Ok(decoded.into_iter().flatten().collect())
}

/// Puts the samples of records into heads, in the order of the log; each part gets the agents whose number leaves its
/// place as the remainder, on a thread of its own.
///
/// # Errors
/// The sequence of a record that names a series that is not known, the lowest one.
fn insert(
    records: &[Numbered],
    catalog: &Catalog,
    flushed: &HashMap<AgentNo, u64>,
    parts: &mut [Heads],
) -> Result<(), u64> {
    let count = parts.len();
    let work = |(place, heads): (usize, &mut Heads)| {
        for (sequence, record) in records {
            for (agent, rows) in &record.samples {
                let is_flushed = flushed.get(agent).is_some_and(|mark| mark >= sequence);
                if is_flushed || agent.0 as usize % count != place {
                    continue;
                }
                let series = catalog.agent(*agent).map(|a| &a.series).ok_or(*sequence)?;
                let mut next_slot = 0;
                let slots = rows.iter().map(|(no, time, value)| {
                    let slot = series.slot_near(next_slot, *no)?;
                    next_slot = slot + 1;
                    Some((slot, *time, *value))
                });
                let slots: Vec<_> = slots.collect::<Option<_>>().ok_or(*sequence)?;
                heads.extend(*agent, *sequence, slots.into_iter());
            }
        }
        Ok(())
    };
    let outcomes = each_on_a_thread(parts.iter_mut().enumerate(), work);
    let failed = outcomes.into_iter().filter_map(Result::err).min();
    failed.map_or(Ok(()), Err)
}

/// Does the work of each item, the first one's on the calling thread and that of the others on threads of their own.
/// Outcomes come in the order of the items.
fn each_on_a_thread<I: Send, T: Send>(
    items: impl IntoIterator<Item = I>,
    work: impl Fn(I) -> T + Sync,
) -> Vec<T> {
    let work = &work;
    let mut items = items.into_iter();
    let Some(first) = items.next() else {
        return Vec::new();
    };
    thread::scope(|scope| {
        let others: Vec<_> = items.map(|item| scope.spawn(move || work(item))).collect();
        let mut outcomes = vec![work(first)];
        for other in others {
            outcomes.push(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        outcomes
    })
}
