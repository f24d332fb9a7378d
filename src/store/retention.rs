//! Deletes what is older than its retention, whole UTC days at a time, and the oldest days when the file may not
//! take more. What rules keep for a shorter time is the merger's (`sweep.rs`).

use std::{collections::BTreeMap, sync::Arc};

use redb::{Database, ReadableDatabase, ReadableTable};

use super::{
    Settings,
    committer::begin,
    departure,
    expiry::trusted_now,
    quarantine::RowKey,
    segments::days_of,
    shared::Shared,
    tables::{self, BYTES_OF_BLOCKS, BYTES_OF_ROLLUPS, Tier},
};
use crate::model::AgentNo;

/// Deletes days of blocks and rollups that lie wholly before their retention, days beyond the limit on bytes,
/// and alerts that resolved before their retention. Tells whether samples were deleted.
pub(super) fn apply(shared: &Shared) -> Result<bool, redb::Error> {
    apply_with(shared, &shared.settings)
}

/// The same by other settings than the store's own.
pub(super) fn apply_with(shared: &Shared, settings: &Settings) -> Result<bool, redb::Error> {
    let Some(now) = trusted_now(shared) else {
        return Ok(false);
    };
    let oldest_day = |retention_ms: i64| now.plus_millis(-retention_ms).day();
    let by_size = days_beyond_the_limit(shared, settings.retention_bytes, now.day())?;
    let before = oldest_day(settings.retention_ms).max(by_size.blocks_before);
    let deleted = delete_days_before(shared, before)?;
    let before = oldest_day(settings.rollup_retention_ms).max(by_size.rollups_before);
    delete_rollups_before(shared, before)?;
    let before = now.plus_millis(-settings.alert_retention_ms);
    let mut live = shared.live.lock();
    let mut catalog = Arc::clone(&live.catalog);
    let gone = Arc::make_mut(&mut catalog).forget_alerts(now, before);
    let silences = Arc::make_mut(&mut catalog).forget_silences(before);
    if gone.is_empty() && silences.is_empty() {
        return Ok(deleted);
    }
    let transaction = begin(&shared.database())?;
    {
        let mut alerts = transaction.open_table(tables::ALERTS)?;
        let mut events = transaction.open_table(tables::ALERT_EVENTS)?;
        let mut evidence = transaction.open_table(tables::ALERT_EVIDENCE)?;
        let mut kept = transaction.open_table(tables::SILENCES)?;
        for id in silences {
            kept.remove(id.as_str())?;
        }
        for alert in gone {
            let (agent, began) = (alert.agent.0, alert.active_at.as_millis());
            alerts.remove((agent, began, alert.occurrence.0))?;
            let no = alert.occurrence.0;
            let of_alert = (no, i64::MIN, 0)..=(no, i64::MAX, u32::MAX);
            events.retain_in(of_alert, |_, _| false)?;
            let of_alert = (alert.occurrence.0, 0)..=(alert.occurrence.0, u32::MAX);
            evidence.retain_in(of_alert, |_, _| false)?;
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

/// Days that have to go for the limit on bytes to be kept.
struct BeyondTheLimit {
    blocks_before: i32,
    rollups_before: i32,
}

/// Samples go first, the oldest day first, then rollups. The day under way stays, whatever it takes.
fn days_beyond_the_limit(
    shared: &Shared,
    limit: u64,
    today: i32,
) -> Result<BeyondTheLimit, redb::Error> {
    let mut beyond = BeyondTheLimit {
        blocks_before: i32::MIN,
        rollups_before: i32::MIN,
    };
    if limit == 0 {
        return Ok(beyond);
    }
    let table = shared
        .database()
        .begin_read()?
        .open_table(tables::DAY_BYTES)?;
    let days = |kind: u8| -> Result<BTreeMap<i32, u64>, redb::Error> {
        let mut days = BTreeMap::new();
        for row in table.range((kind, i32::MIN)..=(kind, i32::MAX))? {
            let (key, bytes) = row?;
            days.insert(key.value().1, bytes.value());
        }
        Ok(days)
    };
    let (blocks, rollups) = (days(BYTES_OF_BLOCKS)?, days(BYTES_OF_ROLLUPS)?);
    let mut total: u64 = blocks.values().chain(rollups.values()).sum();
    for (days, before) in [
        (&blocks, &mut beyond.blocks_before),
        (&rollups, &mut beyond.rollups_before),
    ] {
        for (day, bytes) in days {
            if total <= limit || *day >= today {
                break;
            }
            total -= bytes;
            *before = day.saturating_add(1);
        }
    }
    Ok(beyond)
}

/// Deletes rollups of days before `day`. Those of days that still have samples stay, since they hold.
fn delete_rollups_before(shared: &Shared, day: i32) -> Result<(), redb::Error> {
    let (first_rollups, first_blocks) = {
        let transaction = shared.database().begin_read()?;
        let blocks = transaction.open_table(tables::BLOCKS)?;
        let first_blocks = blocks.first()?.map_or(i32::MAX, |(key, _)| key.value().0);
        let rollups = transaction.open_table(tables::ROLLUPS)?;
        (days_of(&rollups, Tier::Day)?, first_blocks)
    };
    let day = day.min(first_blocks);
    if first_rollups.is_none_or(|(first, _)| first >= day) {
        return Ok(());
    }
    let transaction = begin(&shared.database())?;
    {
        let mut rollups = transaction.open_table(tables::ROLLUPS)?;
        for tier in Tier::ALL {
            let range = tables::rollups_of_tier(tier, day.saturating_sub(1));
            rollups.retain_in(range, |_, _| false)?;
        }
        let mut bytes = transaction.open_table(tables::DAY_BYTES)?;
        bytes.retain_in(
            (BYTES_OF_ROLLUPS, i32::MIN)..(BYTES_OF_ROLLUPS, day),
            |_, _| false,
        )?;
        departure::forget_names(&transaction, day)?;
    }
    transaction.commit()?;
    let mut live = shared.live.lock();
    live.block_epoch += 1;
    shared.inventory().forget_before(day);
    let is_gone = |row| matches!(row, RowKey::Rollup { day: of, .. } if of < day);
    shared.quarantine.forget(is_gone);
    Ok(())
}

/// Deletes all blocks of days before `day`, a day per transaction; tells whether there were any.
fn delete_days_before(shared: &Shared, day: i32) -> Result<bool, redb::Error> {
    let mut deleted = false;
    while let Some(gone) = delete_oldest_day(&shared.database(), day)? {
        let mut live = shared.live.lock();
        live.block_epoch += 1;
        for agent in gone.agents {
            shared.inventory().change(agent, gone.day, live.block_epoch);
        }
        shared.inventory().forget_before(day);
        let is_gone = |row| matches!(row, RowKey::Block(key) if key.0 < day);
        shared.quarantine.forget(is_gone);
        Arc::make_mut(&mut live.heads).forget_before(day);
        deleted = true;
    }
    Ok(deleted)
}

/// A day whose blocks were deleted.
pub(super) struct DeletedDay {
    day: i32,
    agents: Vec<AgentNo>,
}

/// Deletes the blocks of the oldest day, if that lies before `day`.
pub(super) fn delete_oldest_day(
    database: &Database,
    day: i32,
) -> Result<Option<DeletedDay>, redb::Error> {
    let transaction = begin(database)?;
    let mut agents: Vec<AgentNo> = Vec::new();
    let mut blocks = transaction.open_table(tables::BLOCKS)?;
    let oldest = blocks.first()?.map(|(key, _)| key.value().0);
    let Some(oldest) = oldest.filter(|oldest| *oldest < day) else {
        drop(blocks);
        transaction.abort()?;
        return Ok(None);
    };
    blocks.retain_in(tables::blocks_until_day(oldest), |key, _| {
        agents.push(AgentNo(key.1));
        false
    })?;
    drop(blocks);
    transaction
        .open_table(tables::UNSETTLED)?
        .retain_in(..(oldest.saturating_add(1), 0), |_, _| false)?;
    transaction.open_table(tables::DAY_BYTES)?.retain_in(
        (BYTES_OF_BLOCKS, i32::MIN)..=(BYTES_OF_BLOCKS, oldest),
        |_, _| false,
    )?;
    transaction.commit()?;
    agents.dedup();
    Ok(Some(DeletedDay {
        day: oldest,
        agents,
    }))
}
