//! The tables, and the ranges of keys that questions use. Bytes are drawn in `migrations/FORMAT.md`.

use std::ops::RangeInclusive;

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use crate::model::{AgentNo, Timestamp};

/// Facts about the file, by name.
pub(super) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// Agent number -> [`crate::codec::AgentRecord`].
pub(super) const AGENTS: TableDefinition<u32, &[u8]> = TableDefinition::new("agents_v1");
/// (agent, time, ordinal) -> [`crate::codec::AgentEvent`].
pub(super) const AGENT_EVENTS: TableDefinition<(u32, i64, u32), &[u8]> =
    TableDefinition::new("agent_events_v1");
/// (agent, series) -> [`crate::codec::SeriesRecord`].
pub(super) const SERIES: TableDefinition<(u32, u32), &[u8]> = TableDefinition::new("series_v1");
/// (agent, series) -> last day on which the series has blocks.
pub(super) const SERIES_DAYS: TableDefinition<(u32, u32), i32> =
    TableDefinition::new("series_days_v1");
/// (agent, canonical key) -> a series that has left: number, last day, first appearance in milliseconds since the epoch.
/// There while rollups may hold the number.
pub(super) const EXPIRED_SERIES: TableDefinition<(u32, &[u8]), (u32, i32, i64)> =
    TableDefinition::new("expired_series_v1");
/// (agent, metric name) -> [`crate::codec::MetricRecord`].
pub(super) const METRICS: TableDefinition<(u32, &str), &[u8]> = TableDefinition::new("metrics_v1");
/// Sequence -> one group commit ([`crate::codec::WalRecord`]).
pub(super) const WAL: TableDefinition<u64, &[u8]> = TableDefinition::new("wal_v1");
/// Agent -> sequence of the last group commit whose samples are all in blocks.
pub(super) const FLUSHED: TableDefinition<u32, u64> = TableDefinition::new("flushed_v1");
/// Key of a block: day, agent, group, start in milliseconds, sequence.
pub(super) type BlockKey = (i32, u32, u32, i64, u64);
/// Block key -> [`crate::codec::Block`].
pub(super) const BLOCKS: TableDefinition<BlockKey, &[u8]> = TableDefinition::new("blocks_v1");
/// (day, agent) -> blocks that no merge has taken in: how many small ones, the newest one's sequence, the
/// sequence up to which they were merged within the day. A settled day has no row.
pub(super) const UNSETTLED: TableDefinition<(i32, u32), UnsettledRow> =
    TableDefinition::new("unsettled_v1");
/// Value of [`UNSETTLED`].
pub(super) type UnsettledRow = (u32, u64, u64);
/// ([`Tier`], day, agent) -> [`crate::codec::Day`] or [`crate::codec::Buckets`]. There only while it holds.
pub(super) const ROLLUPS: TableDefinition<(u8, i32, u32), &[u8]> =
    TableDefinition::new("rollups_v1");
/// (0 for blocks, 1 for rollups, day) -> bytes of the engine's pages that they take ([`page_bytes`]).
pub(super) const DAY_BYTES: TableDefinition<(u8, i32), u64> = TableDefinition::new("day_bytes_v1");
/// First of the key of [`DAY_BYTES`]: blocks.
pub(super) const BYTES_OF_BLOCKS: u8 = 0;
/// First of the key of [`DAY_BYTES`]: rollups.
pub(super) const BYTES_OF_ROLLUPS: u8 = 1;
/// (agent, time fired, occurrence) -> alert.
pub(super) const ALERTS: TableDefinition<(u32, i64, u64), &[u8]> =
    TableDefinition::new("alerts_v1");
/// (occurrence, time, ordinal) -> alert event.
pub(super) const ALERT_EVENTS: TableDefinition<(u64, i64, u32), &[u8]> =
    TableDefinition::new("alert_events_v2");
/// (occurrence, ordinal) -> what an alert rested on at a change of state.
pub(super) const ALERT_EVIDENCE: TableDefinition<(u64, u32), &[u8]> =
    TableDefinition::new("alert_evidence_v1");
/// Name -> rule in force ([`crate::codec::RuleRecord`]).
pub(super) const RULES: TableDefinition<&str, &[u8]> = TableDefinition::new("rules_v1");
/// Id -> silence.
pub(super) const SILENCES: TableDefinition<&str, &[u8]> = TableDefinition::new("silences_v1");
/// Key of a group -> what it was last told and when it is looked at next.
pub(super) const NOTIFY_GROUPS: TableDefinition<&str, &[u8]> =
    TableDefinition::new("notify_groups_v1");
/// Sequence -> delivery that is not done.
pub(super) const OUTBOX: TableDefinition<u64, &[u8]> = TableDefinition::new("outbox_v1");
/// Key of a block of spans: hour, agent, first start in milliseconds, sequence, part.
pub(super) type SpanKey = (i32, u32, i64, u64, u32);
/// Key of a block of spans -> its spans ([`crate::codec::decode_spans`]).
pub(super) const SPAN_BLOCKS: TableDefinition<SpanKey, &[u8]> =
    TableDefinition::new("span_blocks_v1");
/// The same key -> [`crate::codec::SpanHeader`].
pub(super) const SPAN_HEADERS: TableDefinition<SpanKey, &[u8]> =
    TableDefinition::new("span_headers_v1");
/// (hour, trace) -> [`crate::codec::TraceEntry`].
pub(super) const TRACES: TableDefinition<(i32, u128), &[u8]> = TableDefinition::new("traces_v1");
/// Hour -> how far it was swept; the bytes, spans and traces of it; the first and the last start of its spans.
pub(super) const SPAN_HOURS: TableDefinition<i32, SpanHourRow> =
    TableDefinition::new("span_hours_v1");
/// Value of [`SPAN_HOURS`].
pub(super) type SpanHourRow = (u8, u64, u64, u64, i64, i64);
/// (agent, operation as [`crate::store::traces`] writes it) -> the last hour that has a span of it.
pub(super) const SPAN_OPERATIONS: TableDefinition<(u32, &str), i32> =
    TableDefinition::new("span_operations_v1");
/// (trace, span) -> a span that has not ended.
pub(super) const OPEN_SPANS: TableDefinition<(u128, u64), &[u8]> =
    TableDefinition::new("open_spans_v1");
/// Trace -> why it is kept.
pub(super) const TRACE_PINS: TableDefinition<u128, &[u8]> = TableDefinition::new("trace_pins_v1");
/// Time -> settings that hold from then on.
pub(super) const POLICIES: TableDefinition<i64, &[u8]> = TableDefinition::new("policies_v1");
/// Start -> one life of a server ([`crate::codec::RunRecord`]).
pub(super) const RUNS: TableDefinition<i64, &[u8]> = TableDefinition::new("runs_v1");

/// Names in [`META`].
pub(super) mod meta {
    /// u32: version of the schema.
    pub(in crate::store) const SCHEMA_VERSION: &str = "schema_version";
    /// Text: what kind of file it is.
    pub(in crate::store) const KIND: &str = "kind";
    /// 16 random bytes that name the file.
    pub(in crate::store) const FILE_ID: &str = "file_id";
    /// i64: milliseconds since the epoch when the file was made.
    pub(in crate::store) const CREATED: &str = "created";
    /// i64: time of the last commit whose log record was deleted.
    pub(in crate::store) const LAST_COMMIT: &str = "last_commit";
    /// u64: sequence that the next log record gets at least.
    pub(in crate::store) const NEXT_SEQUENCE: &str = "next_sequence";
    /// u64: number that the next occurrence of an alert gets at least; alerts that had higher ones are gone.
    pub(in crate::store) const NEXT_OCCURRENCE: &str = "next_occurrence";
    /// u64: place in the outbox that the next delivery gets at least; those that had higher ones are delivered.
    pub(in crate::store) const NEXT_DELIVERY: &str = "next_delivery";
    /// u32: number that the next series gets at least; series that had higher ones have left.
    pub(in crate::store) const NEXT_SERIES: &str = "next_series";
    /// Text: how far rules of retention have been applied ([`crate::store::expiry::Marks`]).
    pub(in crate::store) const RETENTION_MARKS: &str = "retention_marks";
    /// u64: sequence of the last group commit whose spans are all in blocks.
    pub(in crate::store) const SPANS_FLUSHED: &str = "spans_flushed";
    /// u64: sequence up to which the log was forwarded; there while samples are forwarded.
    pub(in crate::store) const FORWARDED: &str = "forwarded";
    /// What of the log is there for forwarding alone ([`crate::store::forwarding::SpooledLog`]).
    pub(in crate::store) const SPOOLED: &str = "spooled";
    /// [`KIND`] of a database.
    pub(in crate::store) const KIND_DATABASE: &[u8] = b"database";
    /// [`KIND`] of the spool of an agent on another host: the same tables, but what was forwarded is soon deleted.
    pub(in crate::store) const KIND_SPOOL: &[u8] = b"spool";
}

/// How coarse a rollup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tier {
    /// The whole day.
    Day,
    /// An hour.
    Hour,
    /// Five minutes.
    FiveMinutes,
}

impl Tier {
    /// All tiers, coarsest first.
    pub(super) const ALL: [Self; 3] = [Self::Day, Self::Hour, Self::FiveMinutes];

    /// As it stands in keys.
    pub(super) const fn key(self) -> u8 {
        match self {
            Self::Day => 0,
            Self::Hour => 1,
            Self::FiveMinutes => 2,
        }
    }

    /// The tier that stands so in a key, if this binary knows it.
    pub(super) fn of_key(key: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.key() == key)
    }

    /// For people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Hour => "hours",
            Self::FiveMinutes => "five minutes",
        }
    }
}

/// The engine's pages are this times a power of two.
pub(super) const PAGE_BYTES: usize = 4_096;
/// Bytes of a page that are not the value's: header, offsets, key.
pub(super) const PAGE_OVERHEAD: usize = 64;

/// What a value takes of the engine's pages: a large one has a page to itself, small ones share.
pub(super) const fn page_bytes(length: usize) -> u64 {
    let bytes = length + PAGE_OVERHEAD;
    if bytes <= PAGE_BYTES / 2 {
        return bytes as u64;
    }
    let page = bytes.next_power_of_two();
    if page > PAGE_BYTES {
        page as u64
    } else {
        PAGE_BYTES as u64
    }
}

/// Counts what was put into and taken out of a day's pages, and writes it when it is done.
#[derive(Debug, Default)]
pub(super) struct ByteCount {
    added: u64,
    removed: u64,
}

impl ByteCount {
    /// A value of so many bytes was written.
    pub(super) const fn add(&mut self, length: usize) {
        self.added += page_bytes(length);
    }

    /// A value of so many bytes was deleted.
    pub(super) const fn remove(&mut self, length: usize) {
        self.removed += page_bytes(length);
    }

    /// Brings the day's row up to date; `kind` is that of [`DAY_BYTES`].
    pub(super) fn write(
        &self,
        transaction: &WriteTransaction,
        kind: u8,
        day: i32,
    ) -> Result<(), redb::Error> {
        if self.added == 0 && self.removed == 0 {
            return Ok(());
        }
        let mut table = transaction.open_table(DAY_BYTES)?;
        let before = table.get((kind, day))?.map_or(0, |row| row.value());
        let bytes = (before + self.added).saturating_sub(self.removed);
        if bytes == 0 {
            table.remove((kind, day))?;
        } else {
            table.insert((kind, day), bytes)?;
        }
        Ok(())
    }
}

/// Rollups of a tier up to and including a day.
pub(super) fn rollups_of_tier(tier: Tier, to: i32) -> RangeInclusive<(u8, i32, u32)> {
    (tier.key(), i32::MIN, 0)..=(tier.key(), to, u32::MAX)
}

/// Blocks of one agent on one day.
pub(super) fn blocks_of_day(day: i32, agent: AgentNo) -> RangeInclusive<BlockKey> {
    (day, agent.0, 0, i64::MIN, 0)..=(day, agent.0, u32::MAX, i64::MAX, u64::MAX)
}

/// Blocks of one group of an agent on one day that begin at or before `to`.
pub(super) fn blocks_of_group(
    day: i32,
    agent: AgentNo,
    group: u32,
    to: Timestamp,
) -> RangeInclusive<BlockKey> {
    (day, agent.0, group, i64::MIN, 0)..=(day, agent.0, group, to.as_millis(), u64::MAX)
}

/// Blocks of spans of one agent in one hour.
pub(super) fn spans_of_agent(hour: i32, agent: AgentNo) -> RangeInclusive<SpanKey> {
    (hour, agent.0, i64::MIN, 0, 0)..=(hour, agent.0, i64::MAX, u64::MAX, u32::MAX)
}

/// Blocks of spans of one hour.
pub(super) fn spans_of_hour(hour: i32) -> RangeInclusive<SpanKey> {
    (hour, 0, i64::MIN, 0, 0)..=(hour, u32::MAX, i64::MAX, u64::MAX, u32::MAX)
}

/// Blocks of all agents up to and including a day.
pub(super) fn blocks_until_day(day: i32) -> RangeInclusive<BlockKey> {
    (i32::MIN, 0, 0, i64::MIN, 0)..=(day, u32::MAX, u32::MAX, i64::MAX, u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_exactly_their_keys() {
        let range = blocks_of_group(5, AgentNo(7), 2, Timestamp::from_millis(100));
        assert!(range.contains(&(5, 7, 2, i64::MIN, 0)));
        assert!(range.contains(&(5, 7, 2, 100, u64::MAX)));
        assert!(!range.contains(&(5, 7, 2, 101, 0)));
        assert!(!range.contains(&(5, 7, 1, 9, 3)));
        assert!(!range.contains(&(5, 6, 2, 9, 3)));
        assert!(!range.contains(&(6, 7, 2, 9, 3)));
        assert!(blocks_until_day(-1).contains(&(-1, 9, 9, 9, 9)));
        assert!(!blocks_until_day(-1).contains(&(0, 0, 0, i64::MIN, 0)));
    }
}
