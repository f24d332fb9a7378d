//! Step 0005: tables of traces. See `README.md` beside this file for what it decides and why.

use redb::{TableDefinition, WriteTransaction};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// (hour, agent, first start in milliseconds, sequence, part).
type BlockKey = (i32, u32, i64, u64, u32);
const SPAN_BLOCKS: TableDefinition<BlockKey, &[u8]> = TableDefinition::new("span_blocks_v1");
const SPAN_HEADERS: TableDefinition<BlockKey, &[u8]> = TableDefinition::new("span_headers_v1");
/// (hour, trace).
const TRACES: TableDefinition<(i32, u128), &[u8]> = TableDefinition::new("traces_v1");
/// Hour -> how far it was swept, bytes, spans, traces, first and last start in nanoseconds.
type HourRow = (u8, u64, u64, u64, i64, i64);
const SPAN_HOURS: TableDefinition<i32, HourRow> = TableDefinition::new("span_hours_v1");
/// (agent, kind, service and name of an operation) -> last hour.
const SPAN_OPERATIONS: TableDefinition<(u32, &str), i32> =
    TableDefinition::new("span_operations_v1");
/// (trace, span).
const OPEN_SPANS: TableDefinition<(u128, u64), &[u8]> = TableDefinition::new("open_spans_v1");
/// Trace.
const TRACE_PINS: TableDefinition<u128, &[u8]> = TableDefinition::new("trace_pins_v1");

/// Makes the tables and sets the version.
pub(super) fn apply(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(SPAN_BLOCKS)?;
    transaction.open_table(SPAN_HEADERS)?;
    transaction.open_table(TRACES)?;
    transaction.open_table(SPAN_HOURS)?;
    transaction.open_table(SPAN_OPERATIONS)?;
    transaction.open_table(OPEN_SPANS)?;
    transaction.open_table(TRACE_PINS)?;
    let mut meta = transaction.open_table(META)?;
    meta.insert("schema_version", &5u32.to_le_bytes()[..])?;
    Ok(())
}
