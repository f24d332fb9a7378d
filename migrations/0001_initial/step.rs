//! Step 0001: the first schema. See `README.md` beside this file for what it decides and why.

use redb::{TableDefinition, WriteTransaction};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const AGENTS: TableDefinition<u32, &[u8]> = TableDefinition::new("agents_v1");
const AGENT_EVENTS: TableDefinition<(u32, i64, u32), &[u8]> =
    TableDefinition::new("agent_events_v1");
const SERIES: TableDefinition<(u32, u32), &[u8]> = TableDefinition::new("series_v1");
const METRICS: TableDefinition<(u32, &str), &[u8]> = TableDefinition::new("metrics_v1");
const WAL: TableDefinition<u64, &[u8]> = TableDefinition::new("wal_v1");
const FLUSHED: TableDefinition<u32, u64> = TableDefinition::new("flushed_v1");
const BLOCKS: TableDefinition<(i32, u32, u32, i64, u64), &[u8]> = TableDefinition::new("blocks_v1");
const ALERTS: TableDefinition<(u32, i64, u64), &[u8]> = TableDefinition::new("alerts_v1");
const ALERT_EVENTS: TableDefinition<(u32, i64, u64, u32), &[u8]> =
    TableDefinition::new("alert_events_v1");
const POLICIES: TableDefinition<i64, &[u8]> = TableDefinition::new("policies_v1");
const RUNS: TableDefinition<i64, &[u8]> = TableDefinition::new("runs_v1");

/// Makes the tables and sets the version.
pub(super) fn apply(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(AGENTS)?;
    transaction.open_table(AGENT_EVENTS)?;
    transaction.open_table(SERIES)?;
    transaction.open_table(METRICS)?;
    transaction.open_table(WAL)?;
    transaction.open_table(FLUSHED)?;
    transaction.open_table(BLOCKS)?;
    transaction.open_table(ALERTS)?;
    transaction.open_table(ALERT_EVENTS)?;
    transaction.open_table(POLICIES)?;
    transaction.open_table(RUNS)?;
    let mut meta = transaction.open_table(META)?;
    meta.insert("schema_version", &1u32.to_le_bytes()[..])?;
    Ok(())
}
