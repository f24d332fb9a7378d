//! Deletes what is older than its retention, whole UTC days at a time.

use std::sync::Arc;

use redb::ReadableTable;

use super::{committer::begin, shared::Shared, tables};
use crate::model::{AgentNo, DAY_MS, Timestamp};

/// Deletes days of blocks that lie wholly before the retention, and alerts that resolved before theirs.
/// Tells whether samples were deleted.
///
/// A clock that is far ahead of the file's last commit is not trusted: a wrong date at boot must not delete
/// history before anybody can set it right.
pub(super) fn apply(shared: &Shared) -> Result<bool, redb::Error> {
    let Some(last_commit) = shared.live.lock().last_commit else {
        return Ok(false);
    };
    let now = shared.clock.now().min(last_commit.plus_millis(DAY_MS));
    let deleted = delete_days_before(shared, now.plus_millis(-shared.settings.retention_ms).day())?;
    let before = now.plus_millis(-shared.settings.alert_retention_ms);
    let mut live = shared.live.lock();
    let mut catalog = Arc::clone(&live.catalog);
    let gone = Arc::make_mut(&mut catalog).forget_alerts(before);
    if gone.is_empty() {
        return Ok(deleted);
    }
    let transaction = begin(&shared.database())?;
    {
        let mut alerts = transaction.open_table(tables::ALERTS)?;
        let mut events = transaction.open_table(tables::ALERT_EVENTS)?;
        for alert in gone {
            let (agent, fired) = (alert.agent.0, alert.fired_at.as_millis());
            alerts.remove((agent, fired, alert.occurrence.0))?;
            let resolved = alert.resolved_at.map_or(fired, Timestamp::as_millis);
            let range = (agent, fired, 0, 0)..=(agent, resolved, u64::MAX, u32::MAX);
            events.retain_in(range, |key, _| key.2 != alert.occurrence.0)?;
        }
    }
    // Numbers are never given twice, even when the alert that had the highest is gone.
    transaction.open_table(tables::META)?.insert(
        tables::meta::NEXT_OCCURRENCE,
        &catalog.next_occurrence.to_le_bytes()[..],
    )?;
    transaction.commit()?;
    live.catalog = catalog;
    Ok(deleted)
}

/// Deletes all blocks of days before `day`, a day per transaction; tells whether there were any.
fn delete_days_before(shared: &Shared, day: i32) -> Result<bool, redb::Error> {
    let mut deleted = false;
    loop {
        let transaction = begin(&shared.database())?;
        let mut agents: Vec<AgentNo> = Vec::new();
        let oldest;
        {
            let mut blocks = transaction.open_table(tables::BLOCKS)?;
            oldest = blocks
                .first()?
                .map(|(key, _)| key.value().0)
                .filter(|first| *first < day);
            let Some(oldest) = oldest else {
                drop(blocks);
                transaction.abort()?;
                return Ok(deleted);
            };
            blocks.retain_in(tables::blocks_until_day(oldest), |key, _| {
                agents.push(AgentNo(key.1));
                false
            })?;
        }
        transaction.commit()?;
        agents.dedup();
        let mut live = shared.live.lock();
        live.block_epoch += 1;
        for agent in agents {
            shared
                .inventory()
                .change(agent, oldest.unwrap_or(day), live.block_epoch);
        }
        shared.inventory().forget_before(day);
        Arc::make_mut(&mut live.heads).forget_before(day);
        deleted = true;
    }
}
