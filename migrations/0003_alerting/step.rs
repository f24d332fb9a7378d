//! Step 0003: tables of alerting. See `README.md` beside this file for what it decides and why.

use redb::{TableDefinition, WriteTransaction};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const ALERT_EVIDENCE: TableDefinition<(u64, u32), &[u8]> =
    TableDefinition::new("alert_evidence_v1");
const RULES: TableDefinition<&str, &[u8]> = TableDefinition::new("rules_v1");
const SILENCES: TableDefinition<&str, &[u8]> = TableDefinition::new("silences_v1");
const NOTIFY_GROUPS: TableDefinition<&str, &[u8]> = TableDefinition::new("notify_groups_v1");
const OUTBOX: TableDefinition<u64, &[u8]> = TableDefinition::new("outbox_v1");

/// Makes the tables and sets the version.
pub(super) fn apply(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(ALERT_EVIDENCE)?;
    transaction.open_table(RULES)?;
    transaction.open_table(SILENCES)?;
    transaction.open_table(NOTIFY_GROUPS)?;
    transaction.open_table(OUTBOX)?;
    let mut meta = transaction.open_table(META)?;
    meta.insert("schema_version", &3u32.to_le_bytes()[..])?;
    Ok(())
}
