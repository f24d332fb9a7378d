//! Step 0004: tables of alerting. See `README.md` beside this file for what it decides and why.

use redb::{ReadableTable, TableDefinition, WriteTransaction};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// (agent, time, occurrence, ordinal), of the schemas before.
const EVENTS_BEFORE: TableDefinition<(u32, i64, u64, u32), &[u8]> =
    TableDefinition::new("alert_events_v1");
/// (occurrence, time, ordinal).
const EVENTS: TableDefinition<(u64, i64, u32), &[u8]> = TableDefinition::new("alert_events_v2");
const ALERT_EVIDENCE: TableDefinition<(u64, u32), &[u8]> =
    TableDefinition::new("alert_evidence_v1");
const RULES: TableDefinition<&str, &[u8]> = TableDefinition::new("rules_v1");
const SILENCES: TableDefinition<&str, &[u8]> = TableDefinition::new("silences_v1");
const NOTIFY_GROUPS: TableDefinition<&str, &[u8]> = TableDefinition::new("notify_groups_v1");
const OUTBOX: TableDefinition<u64, &[u8]> = TableDefinition::new("outbox_v1");

/// Makes the tables, puts the events of alerts under the alert's number, and sets the version.
pub(super) fn apply(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(ALERT_EVIDENCE)?;
    transaction.open_table(RULES)?;
    transaction.open_table(SILENCES)?;
    transaction.open_table(NOTIFY_GROUPS)?;
    transaction.open_table(OUTBOX)?;
    {
        let before = transaction.open_table(EVENTS_BEFORE)?;
        let mut events = transaction.open_table(EVENTS)?;
        for row in before.iter()? {
            let (key, value) = row?;
            let (_, time, occurrence, ordinal) = key.value();
            events.insert((occurrence, time, ordinal), value.value())?;
        }
    }
    transaction.delete_table(EVENTS_BEFORE)?;
    let mut meta = transaction.open_table(META)?;
    meta.insert("schema_version", &4u32.to_le_bytes()[..])?;
    Ok(())
}
