//! Bytes <-> model: columns, blocks, log records and table records. Knows no file and no table.

mod alerting;
mod bits;
mod block;
mod buckets;
mod corrupt;
mod day;
mod decimal;
mod effort;
mod entropy;
mod integers;
mod record;
mod runs;
mod sealed;
mod spans;
pub mod times;
pub mod values;
pub mod varint;
mod wal;

pub use alerting::{
    RuleRecord, decode_alert, decode_alert_event, decode_delivery, decode_evidence, decode_group,
    decode_silence, encode_alert, encode_alert_event, encode_delivery, encode_evidence,
    encode_group, encode_silence,
};
pub use block::{
    Block, BlockError, Entry, SERIES_SAMPLES_MAX, STATISTICS_SAMPLES_MIN, SeriesColumns,
    Statistics, encode_block,
};
pub use buckets::{
    BucketRow, Buckets, CounterBorders, SUM_PARTS_MAX, SeriesBuckets, encode_buckets,
};
pub use corrupt::Corrupt;
pub use day::{
    CountsAt, DISTINCT_VALUES_MAX, Day, DayEntry, DaySeries, NumberStatistics, ValueCounts,
    encode_day, sum_parts,
};
pub use effort::Effort;
pub use record::{
    AgentEvent, AgentRecord, MetricRecord, RecordError, RunRecord, SeriesRecord, decode_policy,
    encode_policy,
};
pub use spans::{
    BlockRef, FilterTerms, SpanBlock, SpanHeader, Terms, TraceEntry, TracePart, decode_spans,
    encode_spans, terms_of_filter,
};
pub use wal::{WalError, WalRecord, WalRow, WalSpans, WalWriter};
