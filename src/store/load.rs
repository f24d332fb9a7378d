//! Rebuilds in memory what the file knows: the catalog from its tables, heads from the log.

use std::path::Path;

use redb::{ReadTransaction, ReadableTable};

use super::{
    OpenError,
    catalog::{Catalog, RegistrationEvent, SeriesEntry},
    file::{FileFacts, damaged, schema_version_known},
    head::Heads,
    tables,
};
use crate::{
    codec::{
        AgentEvent, AgentRecord, MetricRecord, RecordError, RunRecord, SeriesRecord, WalError,
        WalRecord, decode_alert, decode_policy,
    },
    model::{AgentId, AgentNo, OccurrenceNo, Run, SeriesNo, Timestamp},
};

/// What was rebuilt.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) catalog: Catalog,
    pub(super) heads: Heads,
    pub(super) last_commit: Option<Timestamp>,
    pub(super) next_sequence: u64,
    pub(super) log_records: u64,
}

/// Reads a whole table in order of its keys.
macro_rules! each_row {
    ($path:expr, $transaction:expr, $table:expr, |$key:ident, $value:ident| $body:expr) => {{
        let table = $transaction
            .open_table($table)
            .map_err(|e| damaged($path, e))?;
        for row in table.iter().map_err(|e| damaged($path, e))? {
            let ($key, $value) = row.map_err(|e| damaged($path, e))?;
            let ($key, $value) = ($key.value(), $value.value());
            $body
        }
    }};
}

/// Rebuilds everything from one snapshot of the file.
pub(super) fn load(
    path: &Path,
    transaction: &ReadTransaction,
    facts: &FileFacts,
) -> Result<Loaded, OpenError> {
    let last_commit = facts.last_commit_ms.map(Timestamp::from_millis);
    let mut loaded = Loaded {
        catalog: load_catalog(path, transaction)?,
        heads: Heads::default(),
        last_commit,
        next_sequence: facts.next_sequence.max(1),
        log_records: 0,
    };
    let catalog = &mut loaded.catalog;
    catalog.next_occurrence = catalog.next_occurrence.max(facts.next_occurrence);
    replay(path, transaction, &mut loaded)?;
    Ok(loaded)
}

fn too_new(path: &Path, what: String) -> OpenError {
    OpenError::TooNew {
        path: path.to_owned(),
        what,
        known: schema_version_known(),
    }
}

fn record_error(path: &Path, error: RecordError) -> OpenError {
    match error {
        RecordError::Corrupt(corrupt) => damaged(path, corrupt),
        newer @ RecordError::Newer { .. } => too_new(path, newer.to_string()),
    }
}

fn load_catalog(path: &Path, transaction: &ReadTransaction) -> Result<Catalog, OpenError> {
    let mut catalog = Catalog::default();
    let bad = |error| record_error(path, error);
    each_row!(path, transaction, tables::AGENTS, |no, bytes| {
        let record = AgentRecord::decode(bytes).map_err(bad)?;
        let id = AgentId::new(&record.id).map_err(|e| damaged(path, e))?;
        catalog.add_agent(AgentNo(no), id);
    });
    each_row!(path, transaction, tables::AGENT_EVENTS, |key, bytes| {
        let event = AgentEvent::decode(bytes).map_err(bad)?;
        if let Some(agent) = catalog.agent_mut(AgentNo(key.0)) {
            agent.events.push(RegistrationEvent {
                time: Timestamp::from_millis(key.1),
                ordinal: key.2,
                event,
            });
        }
    });
    each_row!(path, transaction, tables::SERIES, |key, bytes| {
        let SeriesRecord {
            key: series_key,
            group,
            ..
        } = SeriesRecord::decode(bytes).map_err(bad)?;
        let entry = SeriesEntry {
            no: SeriesNo(key.1),
            group,
            key: series_key,
        };
        catalog.add_series(AgentNo(key.0), entry);
    });
    each_row!(path, transaction, tables::METRICS, |key, bytes| {
        // Kind and help of a metric are no reason to refuse the file.
        match MetricRecord::decode(bytes) {
            Ok(record) => {
                if let Some(agent) = catalog.agent_mut(AgentNo(key.0)) {
                    agent.metrics.insert(key.1.to_owned(), record);
                }
            }
            Err(RecordError::Corrupt(why)) => {
                tracing::warn!(agent = key.0, metric = key.1, %why, "a metric's kind and help cannot be read");
            }
            Err(newer @ RecordError::Newer { .. }) => return Err(bad(newer)),
        }
    });
    each_row!(path, transaction, tables::ALERTS, |key, bytes| {
        let fired = Timestamp::from_millis(key.1);
        let alert = decode_alert(AgentNo(key.0), fired, OccurrenceNo(key.2), bytes).map_err(bad)?;
        catalog.put_alert(alert);
    });
    let mut policies = Vec::new();
    each_row!(path, transaction, tables::POLICIES, |time, bytes| {
        policies.push((
            Timestamp::from_millis(time),
            decode_policy(bytes).map_err(bad)?,
        ));
    });
    catalog.policies = policies.into();
    let mut runs = Vec::new();
    each_row!(path, transaction, tables::RUNS, |start, bytes| {
        let record = RunRecord::decode(bytes).map_err(bad)?;
        let start = Timestamp::from_millis(start);
        if let Some(end) = record.end_ms {
            let end = Timestamp::from_millis(end);
            runs.push(Run { start, end });
        } else {
            catalog.open_run = Some(start);
            catalog.open_run_version = record.version;
        }
    });
    catalog.past_runs = runs.into();
    Ok(catalog)
}

/// Puts the samples of the log that are not in blocks yet into heads.
fn replay(
    path: &Path,
    transaction: &ReadTransaction,
    loaded: &mut Loaded,
) -> Result<(), OpenError> {
    let mut flushed = std::collections::HashMap::new();
    each_row!(path, transaction, tables::FLUSHED, |agent, sequence| {
        flushed.insert(AgentNo(agent), sequence);
        loaded.next_sequence = loaded.next_sequence.max(sequence + 1);
    });
    each_row!(path, transaction, tables::WAL, |sequence, bytes| {
        let record = WalRecord::decode(bytes).map_err(|error| match error {
            WalError::Corrupt(corrupt) => {
                damaged(path, format!("log record {sequence}: {corrupt}"))
            }
            newer @ WalError::Newer { .. } => too_new(path, newer.to_string()),
        })?;
        loaded.last_commit = loaded.last_commit.max(Some(record.time));
        loaded.next_sequence = loaded.next_sequence.max(sequence + 1);
        loaded.log_records += 1;
        for (agent, rows) in record.samples {
            if flushed.get(&agent).is_some_and(|mark| *mark >= sequence) {
                continue;
            }
            let series = loaded.catalog.agent(agent).map(|a| &a.series);
            let unknown = || {
                damaged(
                    path,
                    format!("log record {sequence} names an unknown series"),
                )
            };
            let series = series.ok_or_else(unknown)?;
            let mut next_slot = 0;
            let rows = rows
                .into_iter()
                .map(|(no, time, value)| {
                    let slot = series.slot_near(next_slot, no)?;
                    next_slot = slot + 1;
                    Some((slot, time, value))
                })
                .collect::<Option<Vec<_>>>()
                .ok_or_else(unknown)?;
            loaded.heads.extend(agent, sequence, rows.into_iter());
        }
    });
    if !flushed.is_empty() {
        loaded
            .heads
            .have_blocks_until(loaded.last_commit.unwrap_or(Timestamp::MAX));
    }
    Ok(())
}
