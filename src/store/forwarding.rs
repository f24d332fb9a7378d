//! The log as a spool: records stay in it until they were forwarded, within bounds, also when recovery no longer needs
//! them. Who forwards reads on from a position that each commit makes durable, so that nothing is lost by a kill, and
//! at most what the last commits had is sent twice.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use redb::{ReadTransaction, ReadableDatabase, ReadableTable, WriteTransaction};

use super::{
    Store,
    file::FileFacts,
    moment::backend,
    tables::{self, meta},
};
use crate::{
    codec::{Corrupt, WalRecord, WalRow, varint},
    model::{AgentNo, ReadError, SeriesInfo, SeriesNo, Timestamp},
};

/// Bounds of what waits to be forwarded; beyond them the oldest is dropped. Looked at with each checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolBounds {
    /// Bytes of log records that recovery no longer needs.
    pub bytes_max: u64,
    /// Milliseconds since they were committed.
    pub age_ms_max: i64,
}

impl SpoolBounds {
    fn are_exceeded(&self, spooled: &SpooledLog, oldest: &Segment, now_ms: i64) -> bool {
        spooled.bytes() > self.bytes_max || now_ms.saturating_sub(oldest.time_ms) > self.age_ms_max
    }
}

/// In so many pieces a full spool is dropped.
const SEGMENTS_PER_SPOOL: u64 = 16;

/// Records that are read at a time, whatever they hold: some have spans alone.
const RECORDS_MAX: usize = 1_000;

/// One group commit of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRecord {
    /// Its place in the log.
    pub sequence: u64,
    /// When it was committed.
    pub time: Timestamp,
    /// Samples by agent, in order of arrival: series, milliseconds since the epoch, value.
    pub samples: Vec<(AgentNo, Vec<WalRow>)>,
}

/// Records that one checkpoint found needed by nobody but the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    /// Sequence of the last one.
    last: u64,
    records: u64,
    bytes: u64,
    /// When the newest was committed at the latest, in milliseconds since the epoch.
    time_ms: i64,
}

/// The part of the log that only the spool needs; oldest segments first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SpooledLog(VecDeque<Segment>);

impl SpooledLog {
    /// Sequence up to which recovery needs no record.
    pub(super) fn end(&self) -> u64 {
        self.0.back().map_or(0, |segment| segment.last)
    }

    pub(super) fn records(&self) -> u64 {
        self.0.iter().map(|segment| segment.records).sum()
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|segment| segment.bytes).sum()
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for Segment {
            last,
            records,
            bytes,
            time_ms,
        } in &self.0
        {
            varint::put_u64(&mut out, *last);
            varint::put_u64(&mut out, *records);
            varint::put_u64(&mut out, *bytes);
            varint::put_i64(&mut out, *time_ms);
        }
        out
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut segments = VecDeque::new();
        while !bytes.is_empty() {
            segments.push_back(Segment {
                last: varint::take_u64(&mut bytes)?,
                records: varint::take_u64(&mut bytes)?,
                bytes: varint::take_u64(&mut bytes)?,
                time_ms: varint::take_i64(&mut bytes)?,
            });
        }
        Ok(Self(segments))
    }
}

/// What a checkpoint decided about the log.
#[derive(Debug, Default)]
pub(super) struct Trimmed {
    /// Records up to here are deleted.
    pub(super) to: u64,
    /// Records beyond recovery's needs that stay.
    spooled: SpooledLog,
    /// Position below which nothing is left to be forwarded.
    position: u64,
    /// Samples that were dropped unsent.
    dropped: u64,
}

/// How far the log was forwarded, and what of it is kept for that.
#[derive(Debug)]
pub(super) struct Spool {
    /// `None` where nothing is forwarded.
    bounds: Option<SpoolBounds>,
    /// Records up to this sequence are forwarded.
    position: AtomicU64,
    /// The position that is in the file; [`UNKNOWN`] where it may be another.
    written: AtomicU64,
    /// Records up to this sequence are published: the catalog knows their series.
    published: AtomicU64,
    spooled: Mutex<SpooledLog>,
    dropped: AtomicU64,
}

/// No position.
const UNKNOWN: u64 = u64::MAX;

impl Spool {
    /// The spool of a file. Forwarding that is new to it begins with what is committed after `last_sequence`.
    pub(super) fn new(bounds: Option<SpoolBounds>, facts: &FileFacts, last_sequence: u64) -> Self {
        Self {
            bounds,
            position: AtomicU64::new(facts.forwarded.unwrap_or(last_sequence)),
            written: AtomicU64::new(UNKNOWN),
            published: AtomicU64::new(last_sequence),
            spooled: Mutex::new(facts.spooled.clone()),
            dropped: AtomicU64::new(0),
        }
    }

    /// The spool of a file that nobody forwards at the moment: it stays as it is.
    pub(super) fn at_rest(facts: &FileFacts) -> Self {
        let all = SpoolBounds {
            bytes_max: u64::MAX,
            age_ms_max: i64::MAX,
        };
        Self::new(facts.forwarded.map(|_| all), facts, 0)
    }

    /// Takes over what another engine found in the file.
    pub(super) fn reload(&self, facts: &FileFacts) {
        self.spooled.lock().clone_from(&facts.spooled);
        self.written.store(UNKNOWN, Ordering::Relaxed);
    }

    /// Notes that the catalog knows the series of the records up to a sequence.
    pub(super) fn note_published(&self, sequence: u64) {
        self.published.store(sequence, Ordering::Release);
    }

    /// Whether records that nobody needs any more are in the log, or more than the bounds allow.
    pub(super) fn is_trim_due(&self, now: Timestamp) -> bool {
        let (Some(bounds), spooled) = (self.bounds, self.spooled.lock()) else {
            return false;
        };
        let oldest = spooled.0.front();
        oldest.is_some_and(|oldest| {
            oldest.last <= self.position.load(Ordering::Acquire)
                || bounds.are_exceeded(&spooled, oldest, now.as_millis())
        })
    }

    /// The day before the first records that wait beyond recovery's needs: what series are called that have samples
    /// since must be known for longer.
    pub(super) fn waits_since(&self) -> Option<i32> {
        self.bounds?;
        let position = self.position.load(Ordering::Acquire);
        let spooled = self.spooled.lock();
        let oldest = spooled.0.iter().find(|segment| segment.last > position)?;
        Some(Timestamp::from_millis(oldest.time_ms).day() - 1)
    }

    /// Records that are in the log for the spool alone.
    pub(super) fn records(&self) -> u64 {
        self.spooled.lock().records()
    }

    /// Writes the position, if it is not in the file yet; returns it for [`Self::note_written`].
    pub(super) fn write_position(
        &self,
        transaction: &WriteTransaction,
    ) -> Result<u64, redb::Error> {
        let position = self.position.load(Ordering::Acquire);
        if position == self.written.load(Ordering::Relaxed) {
            return Ok(position);
        }
        put_position(transaction, self.bounds.map(|_| position))?;
        Ok(position)
    }

    /// Notes that the position is durable.
    pub(super) fn note_written(&self, position: u64) {
        self.written.store(position, Ordering::Relaxed);
    }

    /// Decides, within the transaction that deletes them, which records go: of those before `needed_from`, which
    /// recovery does not need, the ones that are forwarded, and the oldest beyond the bounds.
    pub(super) fn trim(
        &self,
        transaction: &WriteTransaction,
        needed_from: u64,
        now: Timestamp,
    ) -> Result<Trimmed, redb::Error> {
        let mut position = self.position.load(Ordering::Acquire);
        let mut trimmed = Trimmed {
            to: needed_from.saturating_sub(1),
            ..Trimmed::default()
        };
        if let Some(bounds) = self.bounds {
            let now_ms = now.as_millis();
            let mut spooled = self.spooled.lock().clone();
            let wal = transaction.open_table(tables::WAL)?;
            // What was sent and is in no segment goes, too.
            let mut gone = if spooled.end() <= position {
                position
            } else {
                0
            };
            let fresh = spooled.end().max(position)..trimmed.to;
            let piece_bytes = bounds.bytes_max / SEGMENTS_PER_SPOOL;
            spooled
                .0
                .extend(segments(&wal, fresh, piece_bytes, now_ms)?);
            while let Some(oldest) = spooled.0.front().copied() {
                let is_sent = oldest.last <= position;
                if !is_sent && !bounds.are_exceeded(&spooled, &oldest, now_ms) {
                    break;
                }
                trimmed.dropped += samples_after(&wal, position, oldest.last)?;
                position = position.max(oldest.last);
                gone = gone.max(oldest.last);
                spooled.0.pop_front();
            }
            if !spooled.0.is_empty() {
                trimmed.to = gone;
            }
            drop(wal);
            trimmed.spooled = spooled;
        }
        trimmed.position = position;
        put_position(transaction, self.bounds.map(|_| position))?;
        let mut meta = transaction.open_table(tables::META)?;
        meta.insert(meta::SPOOLED, trimmed.spooled.encode().as_slice())?;
        Ok(trimmed)
    }

    /// Notes that what [`Self::trim`] decided is durable; returns how many samples were dropped unsent.
    pub(super) fn note_trimmed(&self, trimmed: Trimmed) -> u64 {
        self.position.fetch_max(trimmed.position, Ordering::AcqRel);
        self.written.store(trimmed.position, Ordering::Relaxed);
        *self.spooled.lock() = trimmed.spooled;
        self.dropped.fetch_add(trimmed.dropped, Ordering::Relaxed);
        trimmed.dropped
    }
}

/// The records after `range.start` up to `range.end` as segments of some `bytes` each.
fn segments(
    wal: &impl ReadableTable<u64, &'static [u8]>,
    range: std::ops::Range<u64>,
    bytes: u64,
    time_ms: i64,
) -> Result<Vec<Segment>, redb::Error> {
    let mut segments: Vec<Segment> = Vec::new();
    for row in wal.range(range.start.saturating_add(1)..=range.end)? {
        let (sequence, record) = row?;
        if segments.last().is_none_or(|last| last.bytes >= bytes) {
            segments.push(Segment {
                last: 0,
                records: 0,
                bytes: 0,
                time_ms,
            });
        }
        if let Some(last) = segments.last_mut() {
            last.last = sequence.value();
            last.records += 1;
            last.bytes += record.value().len() as u64;
        }
    }
    // Where sequences have gaps, what is up to the end is needed by nobody, too.
    if let Some(last) = segments.last_mut() {
        last.last = range.end;
    }
    Ok(segments)
}

/// Samples of the records after `position` up to `last`. What cannot be read has none.
fn samples_after(
    wal: &impl ReadableTable<u64, &'static [u8]>,
    position: u64,
    last: u64,
) -> Result<u64, redb::Error> {
    let mut samples = 0;
    if position < last {
        for row in wal.range(position + 1..=last)? {
            let record = WalRecord::decode(row?.1.value());
            let rows = record.iter().flat_map(|record| &record.samples);
            samples += rows.map(|(_, rows)| rows.len() as u64).sum::<u64>();
        }
    }
    Ok(samples)
}

fn put_position(transaction: &WriteTransaction, position: Option<u64>) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(tables::META)?;
    match position {
        Some(position) => meta.insert(meta::FORWARDED, &position.to_le_bytes()[..])?,
        None => meta.remove(meta::FORWARDED)?,
    };
    Ok(())
}

/// How the forwarding of a file stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolStatus {
    /// Log records that wait.
    pub waiting_records: u64,
    /// Samples that were dropped unsent since the start.
    pub dropped: u64,
}

impl Store {
    /// Log records up to this sequence were forwarded before.
    pub fn forwarded_to(&self) -> u64 {
        self.shared.spool.position.load(Ordering::Acquire)
    }

    /// Notes that log records up to a sequence are forwarded; durable with the next commit.
    pub fn note_forwarded(&self, sequence: u64) {
        let position = &self.shared.spool.position;
        position.fetch_max(sequence, Ordering::AcqRel);
    }

    /// How forwarding stands; `None` where nothing is forwarded.
    pub fn spool_status(&self) -> Option<SpoolStatus> {
        let spool = &self.shared.spool;
        spool.bounds?;
        let last = spool.published.load(Ordering::Acquire);
        Some(SpoolStatus {
            waiting_records: last.saturating_sub(self.forwarded_to()),
            dropped: spool.dropped.load(Ordering::Relaxed),
        })
    }

    /// Log records after `position`, oldest first, until they have `samples_enough` samples. Those with spans alone
    /// are among them.
    ///
    /// # Errors
    /// [`ReadError`] when the log cannot be read.
    pub fn log_after(
        &self,
        position: u64,
        samples_enough: usize,
    ) -> Result<Vec<LogRecord>, ReadError> {
        let transaction = self.begin_read()?;
        let wal = open_log(&transaction)?;
        let (mut records, mut samples) = (Vec::new(), 0);
        let rows = wal.range(position + 1..).map_err(|e| backend(&e))?;
        let published = self.shared.spool.published.load(Ordering::Acquire);
        for row in rows {
            let (sequence, bytes) = row.map_err(|e| backend(&e))?;
            let sequence = sequence.value();
            if sequence > published {
                break;
            }
            // Recovery and verification speak of what is damaged; what follows it is sound.
            let record = WalRecord::decode(bytes.value()).unwrap_or_else(|why| {
                tracing::error!(sequence, %why, "a log record cannot be read and is not forwarded");
                WalRecord::empty()
            });
            let rows = record.samples.iter().map(|(_, rows)| rows.len());
            samples += rows.sum::<usize>();
            records.push(LogRecord {
                sequence,
                time: record.time,
                samples: record.samples,
            });
            if samples >= samples_enough || records.len() >= RECORDS_MAX {
                break;
            }
        }
        Ok(records)
    }

    /// What a number of the log stands for; `None` when the series has left.
    pub fn series_of(&self, agent: AgentNo, no: SeriesNo) -> Option<SeriesInfo> {
        let catalog = std::sync::Arc::clone(&self.shared.live.lock().catalog);
        let entry = catalog.agent(agent)?;
        let key = entry.series.series_key(entry.series.slot(no)?)?;
        let kind = entry.metrics.get(key.name()).map(|metric| metric.kind);
        Some(SeriesInfo {
            no,
            agent,
            key,
            kind: kind.unwrap_or_default(),
        })
    }

    fn begin_read(&self) -> Result<ReadTransaction, ReadError> {
        let transaction = self.shared.database().begin_read();
        transaction.map_err(|e| backend(&e))
    }
}

fn open_log(
    transaction: &ReadTransaction,
) -> Result<redb::ReadOnlyTable<u64, &'static [u8]>, ReadError> {
    let wal = transaction.open_table(tables::WAL);
    wal.map_err(|e| backend(&e))
}
