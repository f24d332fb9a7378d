//! Checks a file that no server has open: every checksum, every block and log record decoded, and every rollup
//! held against what its day's blocks add up to.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use redb::{ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata};

use super::{
    OpenError,
    catalog::Catalog,
    copies::{COPY_CACHE_BYTES, PROGRESS_ROWS},
    file::{self, damaged, on_untrusted_pages},
    handle::QUARANTINED_SHOWN,
    load,
    merge::rollups_of_blocks,
    moment::guarded,
    pieces::open_block,
    quarantine::{Damage, Quarantined},
    rollups::{same_buckets, same_day},
    segments::day_start,
    tables::{self, BlockKey, Tier},
};
use crate::{
    codec::{
        Block, BlockError, Buckets, Corrupt, Day, SpanHeader, Statistics, TraceEntry, WalRecord,
        decode_spans,
    },
    model::{AgentId, AgentNo, ReadError},
};

/// What `db verify` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Blocks read.
    pub blocks: u64,
    /// Samples decoded, those of the write-ahead log included.
    pub samples: u64,
    /// Records of the write-ahead log.
    pub wal_records: u64,
    /// Rollups read.
    pub rollups: u64,
    /// Spans decoded, those of the write-ahead log included.
    pub spans: u64,
    /// Records of traces read.
    pub traces: u64,
    /// Each thing that is damaged: what and where.
    pub bad: Vec<String>,
}

/// Checks everything in a file. `progress` gets rows done and in all.
///
/// # Errors
/// [`OpenError`] when the file cannot be opened at all; what is damaged in it is in the report.
pub fn verify(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport, OpenError> {
    let mut copy = file::open_unchecked_copy(path, COPY_CACHE_BYTES)?;
    // What the catalog and the log say must fit together.
    let loaded = on_untrusted_pages(path, || {
        let transaction = copy.database.begin_read().map_err(|e| damaged(path, e))?;
        load::load(path, &transaction, &copy.facts)
    });
    let (catalog, loaded) = match loaded {
        Ok(loaded) => (Some(loaded.catalog), Ok(())),
        Err(error) => (None, Err(error)),
    };
    let mut report = VerifyReport::default();
    let spooled_to = copy.facts.spooled.end();
    let read = guarded(|| {
        let transaction = copy.database.begin_read().map_err(|e| unreadable(&e))?;
        let mut verifier = Verifier::new(&transaction, spooled_to, &mut report, progress)?;
        verifier.log()?;
        let broken = verifier.blocks()?;
        verifier.rollups(catalog.as_ref(), &broken)?;
        verifier.spans()?;
        verifier.traces()
    });
    if let Err(error) = read {
        report.bad.push(error.to_string());
    }
    // And every page must fit its checksum.
    for checked in [loaded, copy.check_pages(path)] {
        match checked {
            Err(newer @ OpenError::TooNew { .. }) => return Err(newer),
            Err(OpenError::Damaged { why, .. }) if !report.bad.contains(&why) => {
                report.bad.push(why);
            }
            Err(OpenError::Damaged { .. }) | Ok(()) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(report)
}

fn unreadable(error: &dyn std::fmt::Display) -> ReadError {
    ReadError::Backend(error.to_string())
}

/// `2026-11-24`
fn date(day: i32) -> String {
    day_start(day).to_rfc3339()[..10].to_owned()
}

/// Reads all rows of one snapshot.
struct Verifier<'a> {
    transaction: &'a ReadTransaction,
    /// Log records up to this sequence are there for forwarding alone.
    spooled_to: u64,
    report: &'a mut VerifyReport,
    progress: &'a mut dyn FnMut(u64, u64),
    done: u64,
    total: u64,
}

/// Days of agents that have a block which cannot be decoded.
type BrokenDays = BTreeSet<(i32, AgentNo)>;

impl<'a> Verifier<'a> {
    fn new(
        transaction: &'a ReadTransaction,
        spooled_to: u64,
        report: &'a mut VerifyReport,
        progress: &'a mut dyn FnMut(u64, u64),
    ) -> Result<Self, ReadError> {
        let length = |length: Result<u64, redb::StorageError>| length.map_err(|e| unreadable(&e));
        let table = |e: redb::TableError| unreadable(&e);
        let wal = transaction.open_table(tables::WAL).map_err(table)?;
        let blocks = transaction.open_table(tables::BLOCKS).map_err(table)?;
        let rollups = transaction.open_table(tables::ROLLUPS).map_err(table)?;
        let spans = transaction.open_table(tables::SPAN_BLOCKS).map_err(table)?;
        let traces = transaction.open_table(tables::TRACES).map_err(table)?;
        let total = length(wal.len())?
            + length(blocks.len())?
            + length(rollups.len())?
            + length(spans.len())?
            + length(traces.len())?;
        Ok(Self {
            transaction,
            spooled_to,
            report,
            progress,
            done: 0,
            total,
        })
    }

    fn step(&mut self) {
        self.done += 1;
        if self.done.is_multiple_of(PROGRESS_ROWS) || self.done == self.total {
            (self.progress)(self.done, self.total);
        }
    }

    fn log(&mut self) -> Result<(), ReadError> {
        let wal = self
            .transaction
            .open_table(tables::WAL)
            .map_err(|e| unreadable(&e))?;
        let meta = self
            .transaction
            .open_table(tables::META)
            .map_err(|e| unreadable(&e))?;
        let spooled_to = self.spooled_to;
        let packed_to = meta
            .get(tables::meta::SPANS_FLUSHED)
            .map_err(|e| unreadable(&e))?
            .and_then(|row| row.value().try_into().ok().map(u64::from_le_bytes))
            .unwrap_or(0);
        for row in wal.iter().map_err(|e| unreadable(&e))? {
            let (sequence, bytes) = row.map_err(|e| unreadable(&e))?;
            match WalRecord::decode(bytes.value()) {
                Ok(record) => {
                    // Those that are there for forwarding alone are counted where their blocks are.
                    if sequence.value() > spooled_to {
                        let samples = record.samples.iter().map(|(_, rows)| rows.len() as u64);
                        self.report.samples += samples.sum::<u64>();
                    }
                    for spans in record.spans {
                        match decode_spans(&spans.body, &AgentId::unknown()) {
                            // Those that are packed are counted where their blocks are.
                            Ok(_) if sequence.value() <= packed_to => {}
                            Ok(spans) => self.report.spans += spans.len() as u64,
                            Err(error) => self
                                .report
                                .bad
                                .push(format!("log record {}: {error}", sequence.value())),
                        }
                    }
                }
                Err(error) => self
                    .report
                    .bad
                    .push(format!("log record {}: {error}", sequence.value())),
            }
            self.report.wal_records += 1;
            self.step();
        }
        Ok(())
    }

    /// Blocks of spans and their headers.
    fn spans(&mut self) -> Result<(), ReadError> {
        let open = |table| {
            self.transaction
                .open_table(table)
                .map_err(|e| unreadable(&e))
        };
        let (blocks, headers) = (open(tables::SPAN_BLOCKS)?, open(tables::SPAN_HEADERS)?);
        for row in blocks.iter().map_err(|e| unreadable(&e))? {
            let (key, bytes) = row.map_err(|e| unreadable(&e))?;
            let header = headers.get(key.value()).map_err(|e| unreadable(&e))?;
            let told = header
                .map(|row| SpanHeader::decode(row.value()))
                .transpose();
            let checked = decode_spans(bytes.value(), &AgentId::unknown()).and_then(|spans| {
                let told = told?.ok_or(Corrupt {
                    what: "it has no header",
                })?;
                if told.spans as usize == spans.len() {
                    Ok(spans.len() as u64)
                } else {
                    Err(Corrupt {
                        what: "its header tells another number of spans",
                    })
                }
            });
            match checked {
                Ok(spans) => self.report.spans += spans,
                Err(error) => {
                    let (hour, agent, start, ..) = key.value();
                    self.report.bad.push(format!(
                        "block of spans of hour {hour}, agent number {agent}, start {start}: {error}"
                    ));
                }
            }
            self.step();
        }
        Ok(())
    }

    /// Records of traces, and that the blocks are there which they name.
    fn traces(&mut self) -> Result<(), ReadError> {
        let table = self
            .transaction
            .open_table(tables::TRACES)
            .map_err(|e| unreadable(&e))?;
        let blocks = self
            .transaction
            .open_table(tables::SPAN_BLOCKS)
            .map_err(|e| unreadable(&e))?;
        for row in table.iter().map_err(|e| unreadable(&e))? {
            let (key, bytes) = row.map_err(|e| unreadable(&e))?;
            let (hour, id) = key.value();
            let mut bad = |why: String| self.report.bad.push(format!("trace {id:032x}: {why}"));
            match TraceEntry::decode(bytes.value()) {
                Ok(entry) => {
                    for block in entry.blocks {
                        let key = (
                            hour,
                            block.agent.0,
                            block.start_ms,
                            block.sequence,
                            block.part,
                        );
                        if blocks.get(key).map_err(|e| unreadable(&e))?.is_none() {
                            bad("a block of its spans is missing".to_owned());
                        }
                    }
                }
                Err(error) => bad(error.to_string()),
            }
            self.report.traces += 1;
            self.step();
        }
        Ok(())
    }

    fn blocks(&mut self) -> Result<BrokenDays, ReadError> {
        let mut broken = BrokenDays::new();
        let blocks = self
            .transaction
            .open_table(tables::BLOCKS)
            .map_err(|e| unreadable(&e))?;
        for row in blocks.iter().map_err(|e| unreadable(&e))? {
            let (key, bytes) = row.map_err(|e| unreadable(&e))?;
            match verify_block(key.value(), bytes.value()) {
                Ok(samples) => self.report.samples += samples,
                Err(error) => {
                    let (day, agent, group, start, _) = key.value();
                    let date = date(day);
                    self.report.bad.push(format!(
                        "block of {date}, agent number {agent}, group {group}, start {start}: {error}"
                    ));
                    broken.insert((day, AgentNo(agent)));
                }
            }
            self.report.blocks += 1;
            self.step();
        }
        Ok(broken)
    }

    /// Checks rollups; those of days whose blocks are all there and whole are worked out again.
    fn rollups(&mut self, catalog: Option<&Catalog>, broken: &BrokenDays) -> Result<(), ReadError> {
        let rollups = self
            .transaction
            .open_table(tables::ROLLUPS)
            .map_err(|e| unreadable(&e))?;
        let mut days: BTreeMap<(i32, u32), Vec<Tier>> = BTreeMap::new();
        for row in rollups.iter().map_err(|e| unreadable(&e))? {
            let (tier, day, agent) = row.map_err(|e| unreadable(&e))?.0.value();
            match Tier::of_key(tier) {
                Some(tier) => days.entry((day, agent)).or_default().push(tier),
                None => self
                    .report
                    .bad
                    .push(format!("rollup of unknown tier {tier}")),
            }
        }
        for ((day, agent), tiers) in days {
            let place = (day, AgentNo(agent));
            let entry = catalog.and_then(|catalog| catalog.agent(place.1));
            let computed = entry
                .filter(|_| !broken.contains(&place))
                .map(|entry| rollups_of_blocks(self.transaction, day, place.1, entry))
                .transpose()?
                .flatten();
            for tier in tiers {
                let key = (tier.key(), day, agent);
                let Some(row) = rollups.get(key).map_err(|e| unreadable(&e))? else {
                    continue;
                };
                let same = match (tier, &computed) {
                    (_, None) => readable(tier, row.value()).map(|()| true),
                    (Tier::Day, Some(computed)) => same_day(row.value(), &computed.day),
                    (Tier::Hour, Some(computed)) => same_buckets(row.value(), &computed.hours),
                    (Tier::FiveMinutes, Some(computed)) => {
                        same_buckets(row.value(), &computed.five_minutes)
                    }
                };
                let wrong = match same {
                    Ok(true) => None,
                    Ok(false) => Some("it is not what its day's blocks add up to".to_owned()),
                    Err(error) => Some(error.to_string()),
                };
                if let Some(wrong) = wrong {
                    let (date, name) = (date(day), tier.name());
                    self.report.bad.push(format!(
                        "rollup ({name}) of {date}, agent number {agent}: {wrong}"
                    ));
                }
                self.report.rollups += 1;
                self.step();
            }
        }
        Ok(())
    }
}

/// Reads everything in a rollup.
fn readable(tier: Tier, bytes: &[u8]) -> Result<(), BlockError> {
    if tier == Tier::Day {
        return same_day(bytes, bytes).map(drop);
    }
    same_buckets(bytes, bytes).map(drop)
}

/// Decodes everything in a block and holds its statistics against its samples.
fn verify_block(key: BlockKey, bytes: &[u8]) -> Result<u64, String> {
    let mut block = match open_block(key, bytes) {
        Ok(Ok(block)) => block,
        Ok(Err(damage)) => return Err(damage.why),
        Err(newer) => return Err(newer.to_string()),
    };
    block.check_data().map_err(|e| e.to_string())?;
    let mut samples = 0;
    for entry in block.entries().to_vec() {
        let (mut times, mut values) = (Vec::new(), Vec::new());
        block
            .decode(&entry, &mut times, &mut values)
            .map_err(|e| e.to_string())?;
        if !times.is_sorted_by(|a, b| a < b) {
            return Err(format!("times of series {} do not increase", entry.no.0));
        }
        let statistics = block.statistics(&entry).map_err(|e| e.to_string())?;
        if statistics.is_some() && statistics != Statistics::of(&values) {
            return Err(format!(
                "statistics of series {} do not fit its samples",
                entry.no.0
            ));
        }
        samples += times.len() as u64;
    }
    Ok(samples)
}

/// Counts the blocks and rollups whose checksums do not hold, and names the first of them.
pub(super) fn damaged_rows(
    transaction: &ReadTransaction,
    catalog: &Catalog,
) -> Result<(u64, Vec<Quarantined>), ReadError> {
    let (mut count, mut first) = (0, Vec::new());
    let mut add = |damage: &Damage| {
        count += 1;
        if first.len() < QUARANTINED_SHOWN {
            let agent = catalog.agent(damage.row.agent());
            let id = agent.map_or_else(
                || format!("number {}", damage.row.agent().0),
                |entry| entry.id.to_string(),
            );
            first.push(damage.told(id, None));
        }
    };
    let blocks = transaction
        .open_table(tables::BLOCKS)
        .map_err(|e| unreadable(&e))?;
    for row in blocks.iter().map_err(|e| unreadable(&e))? {
        let (key, bytes) = row.map_err(|e| unreadable(&e))?;
        match open_block(key.value(), bytes.value())? {
            Ok(block) => check_data(key.value(), block).iter().for_each(&mut add),
            Err(damage) => add(&damage),
        }
    }
    let rollups = transaction
        .open_table(tables::ROLLUPS)
        .map_err(|e| unreadable(&e))?;
    for row in rollups.iter().map_err(|e| unreadable(&e))? {
        let (key, bytes) = row.map_err(|e| unreadable(&e))?;
        let (tier, day, agent) = key.value();
        let Some(tier) = Tier::of_key(tier) else {
            continue;
        };
        let opened = match tier {
            Tier::Day => Day::open(bytes.value()).map(drop),
            Tier::Hour | Tier::FiveMinutes => Buckets::open(bytes.value()).map(drop),
        };
        if let Err(error) = opened {
            let why = error.to_string();
            add(&Damage::of_rollup(tier, day, AgentNo(agent), why));
        }
    }
    Ok((count, first))
}

fn check_data(key: BlockKey, mut block: Block<'_>) -> Option<Damage> {
    let error = block.check_data().err()?;
    Some(Damage::of_data(key, &block, &error))
}
