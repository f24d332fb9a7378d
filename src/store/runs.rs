//! Runs: from when to when a server wrote this file. A run ends in order, or by its last commit.

use std::sync::Arc;

use redb::Database;

use super::{
    Settings, catalog::Catalog, committer::begin as begin_write, forwarding::Spool, tables,
};
use crate::{
    codec::{RunRecord, encode_policy},
    model::{Run, Timestamp},
};

/// Notes the start of a run, the end of one that was cut off, and settings that changed. Returns the catalog that
/// knows of it.
pub(super) fn begin(
    database: &Database,
    settings: &Settings,
    now: Timestamp,
    last_commit: Option<Timestamp>,
    mut shared: Arc<Catalog>,
) -> Result<Arc<Catalog>, redb::Error> {
    let catalog = Arc::make_mut(&mut shared);
    // Times in the file never run backwards, whatever the clock does.
    let known = [
        last_commit,
        catalog.open_run,
        catalog.past_runs.last().map(|run| run.end),
        catalog.policies.last().map(|(time, _)| *time),
    ];
    let now = known.into_iter().flatten().fold(now, Timestamp::max);
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let transaction = begin_write(database)?;
    {
        let mut runs = transaction.open_table(tables::RUNS)?;
        if let Some(start) = catalog.open_run.take().filter(|start| *start < now) {
            // It was cut off: it lived at least until its last commit.
            let end = last_commit.unwrap_or(start).max(start);
            let record = RunRecord {
                end_ms: Some(end.as_millis()),
                version: std::mem::take(&mut catalog.open_run_version),
            };
            runs.insert(start.as_millis(), record.encode().as_slice())?;
            let mut past = catalog.past_runs.to_vec();
            past.push(Run { start, end });
            catalog.past_runs = past.into();
        }
        let record = RunRecord {
            end_ms: None,
            version: version.clone(),
        };
        runs.insert(now.as_millis(), record.encode().as_slice())?;
        catalog.open_run = Some(now);
        catalog.open_run_version = version;
        let mut policies = transaction.open_table(tables::POLICIES)?;
        if catalog.policies.last().map(|(_, policy)| policy) != Some(&settings.policy) {
            policies.insert(now.as_millis(), encode_policy(&settings.policy).as_slice())?;
            let mut all = catalog.policies.to_vec();
            all.retain(|(time, _)| *time != now);
            all.push((now, settings.policy.clone()));
            catalog.policies = all.into();
        }
    }
    transaction.commit()?;
    Ok(shared)
}

/// Notes that the run that began at `start` ended in order.
pub(super) fn end(
    database: &Database,
    spool: &Spool,
    start: Timestamp,
    end: Timestamp,
) -> Result<(), redb::Error> {
    let record = RunRecord {
        end_ms: Some(end.as_millis()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let transaction = begin_write(database)?;
    let position = spool.write_position(&transaction)?;
    transaction
        .open_table(tables::RUNS)?
        .insert(start.as_millis(), record.encode().as_slice())?;
    transaction.commit()?;
    spool.note_written(position);
    Ok(())
}
