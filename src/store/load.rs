//! Rebuilds in memory what the file knows: the catalog from its tables, heads from the log.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use redb::{ReadTransaction, ReadableTable};

use super::{
    OpenError,
    catalog::{Catalog, RegistrationEvent},
    copies::hexadecimal,
    file::{FileFacts, damaged, schema_version_known},
    head::Heads,
    series_table::{NO_DAY, SeriesEntry},
    tables,
    traces::{self, LiveTraces},
};
use crate::{
    alerts,
    codec::{
        AgentEvent, AgentRecord, MetricRecord, RecordError, RuleRecord, RunRecord, SeriesRecord,
        WalError, WalRecord, decode_alert, decode_delivery, decode_group, decode_policy,
        decode_silence,
    },
    model::{AgentId, AgentNo, OccurrenceNo, Run, SeriesNo, StoredRule, Timestamp, TraceId},
};

/// What was rebuilt.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) catalog: Catalog,
    pub(super) heads: Heads,
    pub(super) traces: LiveTraces,
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
        traces: LiveTraces::default(),
        last_commit,
        next_sequence: facts.next_sequence.max(1),
        log_records: 0,
    };
    let catalog = &mut loaded.catalog;
    catalog.next_occurrence = catalog.next_occurrence.max(facts.next_occurrence);
    catalog.next_delivery = catalog.next_delivery.max(facts.next_delivery).max(1);
    catalog.file_id = hexadecimal(facts.file_id).into();
    catalog.next_series = catalog.next_series.max(facts.next_series);
    load_traces(path, transaction, &mut loaded.traces)?;
    replay(path, transaction, facts.spooled.end(), &mut loaded)?;
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
            last_day: NO_DAY,
        };
        let agent = catalog.agent(AgentNo(key.0));
        if agent.is_some_and(|agent| !agent.series.has_room(entry.key.as_bytes())) {
            return Err(damaged(
                path,
                "an agent has more series than fit into memory",
            ));
        }
        catalog.add_series(AgentNo(key.0), &entry);
    });
    each_row!(path, transaction, tables::SERIES_DAYS, |key, day| {
        let table = catalog
            .agent_mut(AgentNo(key.0))
            .map(|agent| &mut agent.series);
        if let Some((table, slot)) = table.and_then(|t| t.slot(SeriesNo(key.1)).map(|s| (t, s))) {
            table.raise_last_day(slot, day);
        }
    });
    catalog.shrink();
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
    let mut alerts = Vec::new();
    each_row!(path, transaction, tables::ALERTS, |key, bytes| {
        let active = Timestamp::from_millis(key.1);
        let alert =
            decode_alert(AgentNo(key.0), active, OccurrenceNo(key.2), bytes).map_err(bad)?;
        alerts.push(alert);
    });
    catalog.load_alerts(alerts);
    load_alerting(path, transaction, &mut catalog)?;
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

fn load_alerting(
    path: &Path,
    transaction: &ReadTransaction,
    catalog: &mut Catalog,
) -> Result<(), OpenError> {
    let bad = |error| record_error(path, error);
    let mut rules = BTreeMap::new();
    each_row!(path, transaction, tables::RULES, |name, bytes| {
        let record = RuleRecord::decode(bytes).map_err(bad)?;
        if let Some(rule) = stored_rule(&record) {
            rules.insert(name.to_owned(), Arc::new(rule));
        } else {
            tracing::error!(
                rule = name,
                "a stored rule cannot be read; it is not in force"
            );
        }
    });
    let mut silences = BTreeMap::new();
    each_row!(path, transaction, tables::SILENCES, |id, bytes| {
        let silence = decode_silence(id, bytes).map_err(bad)?;
        silences.insert(id.to_owned(), Arc::new(silence));
    });
    let mut groups = BTreeMap::new();
    each_row!(path, transaction, tables::NOTIFY_GROUPS, |key, bytes| {
        groups.insert(key.to_owned(), Arc::new(decode_group(bytes).map_err(bad)?));
    });
    let mut outbox = BTreeMap::new();
    each_row!(path, transaction, tables::OUTBOX, |sequence, bytes| {
        let delivery = decode_delivery(sequence, bytes).map_err(bad)?;
        catalog.next_delivery = catalog.next_delivery.max(sequence + 1);
        outbox.insert(sequence, Arc::new(delivery));
    });
    catalog.book.rules = Arc::new(rules);
    catalog.book.silences = Arc::new(silences);
    catalog.book.groups = Arc::new(groups);
    catalog.book.outbox = Arc::new(outbox);
    Ok(())
}

fn load_traces(
    path: &Path,
    transaction: &ReadTransaction,
    live: &mut LiveTraces,
) -> Result<(), OpenError> {
    each_row!(path, transaction, tables::OPEN_SPANS, |_key, bytes| {
        // A span that cannot be read is no reason to refuse the file; its row stays.
        match traces::decode_open(bytes) {
            Ok(span) => live.load_open(span),
            Err(why) => tracing::error!(%why, "an open span cannot be read; it is left out"),
        }
    });
    each_row!(path, transaction, tables::TRACE_PINS, |id, bytes| {
        let pin = traces::decode_pin(bytes).map_err(|e| damaged(path, e))?;
        let id = TraceId::new(id).ok_or_else(|| damaged(path, "a pin names trace zero"))?;
        live.load_pin(id, pin);
    });
    Ok(())
}

fn stored_rule(record: &RuleRecord) -> Option<StoredRule> {
    let object = serde_json::from_str(&record.definition).ok()?;
    Some(StoredRule {
        rule: alerts::read_definition(&object).ok()?,
        definition: record.definition.clone(),
        origin: record.origin()?,
        updated_at: record.updated_at,
    })
}

/// Log record up to which spans are in blocks.
fn spans_flushed(path: &Path, transaction: &ReadTransaction) -> Result<u64, OpenError> {
    let meta = transaction
        .open_table(tables::META)
        .map_err(|e| damaged(path, e))?;
    let row = meta
        .get(tables::meta::SPANS_FLUSHED)
        .map_err(|e| damaged(path, e))?;
    row.map_or(Ok(0), |row| {
        let bytes = row.value().try_into();
        let bytes =
            bytes.map_err(|_| damaged(path, "the mark of spans in blocks has another length"))?;
        Ok(u64::from_le_bytes(bytes))
    })
}

/// Puts the samples of the log that are not in blocks yet into heads. Records up to `spooled_to` have none.
fn replay(
    path: &Path,
    transaction: &ReadTransaction,
    spooled_to: u64,
    loaded: &mut Loaded,
) -> Result<(), OpenError> {
    let mut flushed = std::collections::HashMap::new();
    each_row!(path, transaction, tables::FLUSHED, |agent, sequence| {
        flushed.insert(AgentNo(agent), sequence);
        loaded.next_sequence = loaded.next_sequence.max(sequence + 1);
    });
    let spans_flushed = spans_flushed(path, transaction)?;
    loaded.next_sequence = loaded.next_sequence.max(spans_flushed + 1);
    let log = transaction
        .open_table(tables::WAL)
        .map_err(|e| damaged(path, e))?;
    // What is there for forwarding alone is all in blocks.
    let needed = log.range(spooled_to + 1..);
    for row in needed.map_err(|e| damaged(path, e))? {
        let (sequence, bytes) = row.map_err(|e| damaged(path, e))?;
        let (sequence, bytes) = (sequence.value(), bytes.value());
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
        for spans in record.spans {
            if sequence <= spans_flushed {
                continue;
            }
            let bad = |why| damaged(path, format!("log record {sequence}: {why}"));
            if loaded.catalog.agent(spans.agent).is_none() {
                return Err(bad("it names an unknown agent".to_owned()));
            }
            let taken = loaded.traces.load_spans(sequence, spans);
            taken.map_err(|corrupt| bad(corrupt.to_string()))?;
        }
    }
    if !flushed.is_empty() {
        loaded
            .heads
            .have_blocks_until(loaded.last_commit.unwrap_or(Timestamp::MAX));
    }
    Ok(())
}
