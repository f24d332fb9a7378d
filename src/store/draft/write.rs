//! A draft's rows, table by table.

use redb::{ReadableTable, Table, WriteTransaction};

use super::{Draft, NewSeries};
use crate::{
    codec::{
        AgentRecord, RuleRecord, SeriesRecord, WalWriter, encode_alert, encode_alert_event,
        encode_delivery, encode_evidence, encode_group, encode_silence,
    },
    model::StoredRule,
    store::tables,
};

impl Draft<'_> {
    /// Writes the changes; returns the bytes of the log record.
    pub(in crate::store) fn write(
        &self,
        sequence: u64,
        transaction: &WriteTransaction,
    ) -> Result<u64, redb::Error> {
        let mut wal = WalWriter::new(self.now);
        for samples in &self.samples {
            wal.samples(samples.agent, &samples.rows);
        }
        self.spans.log(&mut wal);
        let record = wal.finish();
        transaction
            .open_table(tables::WAL)?
            .insert(sequence, record.as_slice())?;
        self.write_agents(transaction)?;
        self.write_series(transaction)?;
        self.write_alerting(transaction)?;
        let of_spans = self.spans.write(transaction)?;
        Ok(record.len() as u64 + of_spans)
    }

    fn write_agents(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        if self.agent_events.is_empty() {
            return Ok(());
        }
        for no in &self.new_agents {
            if let Some(entry) = self.catalog.agent(*no) {
                let record = AgentRecord {
                    id: entry.id.to_string(),
                    created_ms: self.now.as_millis(),
                };
                transaction
                    .open_table(tables::AGENTS)?
                    .insert(no.0, record.encode().as_slice())?;
            }
        }
        let mut events = transaction.open_table(tables::AGENT_EVENTS)?;
        for (no, ordinal) in &self.agent_events {
            let entry = self.catalog.agent(*no);
            let told = entry.and_then(|a| a.events.iter().find(|e| e.ordinal == *ordinal));
            if let Some(told) = told {
                let key = (no.0, told.time.as_millis(), *ordinal);
                events.insert(key, told.event.encode().as_slice())?;
            }
        }
        for (no, gone) in &self.agent_events_gone {
            events.remove((no.0, gone.time.as_millis(), gone.ordinal))?;
        }
        Ok(())
    }

    fn write_series(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        if !self.new_series.is_empty() {
            let mut table = transaction.open_table(tables::SERIES)?;
            let mut expired = transaction.open_table(tables::EXPIRED_SERIES)?;
            for NewSeries {
                agent,
                slot,
                created_ms,
            } in &self.new_series
            {
                let Some(series) = self.catalog.agent(*agent).map(|entry| &entry.series) else {
                    continue;
                };
                let key = series.series_key(*slot);
                let (Some(no), Some(group), Some(key)) =
                    (series.no(*slot), series.group(*slot), key)
                else {
                    continue;
                };
                if created_ms.is_some() {
                    expired.remove((agent.0, key.as_bytes()))?;
                }
                let record = SeriesRecord {
                    key,
                    group,
                    retention_class: 0,
                    created_ms: created_ms.unwrap_or(self.now.as_millis()),
                };
                table.insert((agent.0, no.0), record.encode().as_slice())?;
            }
        }
        if !self.metric_names.is_empty() {
            let mut table = transaction.open_table(tables::METRICS)?;
            for (agent, name) in &self.metric_names {
                if let Some(metric) = self.catalog.agent(*agent).and_then(|a| a.metrics.get(name)) {
                    table.insert((agent.0, name.as_str()), metric.encode().as_slice())?;
                }
            }
        }
        Ok(())
    }

    fn write_alerting(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let rows = &self.alerting;
        if rows.is_empty() {
            return Ok(());
        }
        self.write_alerts(transaction)?;
        let book = &self.catalog.book;
        let mut rules = transaction.open_table(tables::RULES)?;
        for name in &rows.rules {
            let bytes = book.rules.get(name).map(|rule| rule_record(rule).encode());
            put(&mut rules, name.as_str(), bytes)?;
        }
        let mut silences = transaction.open_table(tables::SILENCES)?;
        for id in &rows.silences {
            let bytes = book.silences.get(id).map(|silence| encode_silence(silence));
            put(&mut silences, id.as_str(), bytes)?;
        }
        let mut groups = transaction.open_table(tables::NOTIFY_GROUPS)?;
        for key in &rows.groups {
            let bytes = book.groups.get(key).map(|group| encode_group(group));
            put(&mut groups, key.as_str(), bytes)?;
        }
        if rows.deliveries.is_empty() {
            return Ok(());
        }
        let mut outbox = transaction.open_table(tables::OUTBOX)?;
        for sequence in &rows.deliveries {
            let bytes = book
                .outbox
                .get(sequence)
                .map(|delivery| encode_delivery(delivery));
            put(&mut outbox, *sequence, bytes)?;
        }
        transaction.open_table(tables::META)?.insert(
            tables::meta::NEXT_DELIVERY,
            &self.catalog.next_delivery.to_le_bytes()[..],
        )?;
        Ok(())
    }

    fn write_alerts(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let mut alerts = transaction.open_table(tables::ALERTS)?;
        for alert in self
            .alerting
            .alerts
            .iter()
            .filter_map(|no| self.catalog.alert(*no))
        {
            let active = alert.active_at.as_millis();
            let key = (alert.agent.0, active, alert.occurrence.0);
            alerts.insert(key, encode_alert(alert).as_slice())?;
        }
        let mut events = transaction.open_table(tables::ALERT_EVENTS)?;
        for event in &self.alerting.events {
            let (time, occurrence) = (event.time.as_millis(), event.occurrence.0);
            // Events of one alert in one millisecond all stay, in their order.
            let same = (occurrence, time, 0)..=(occurrence, time, u32::MAX);
            let last = events.range(same)?.next_back().transpose()?;
            let ordinal = last.map_or(0, |(key, _)| key.value().2.saturating_add(1));
            events.insert(
                (occurrence, time, ordinal),
                encode_alert_event(event).as_slice(),
            )?;
        }
        let mut evidence = transaction.open_table(tables::ALERT_EVIDENCE)?;
        for (occurrence, told) in &self.alerting.evidence {
            let same = (occurrence.0, 0)..=(occurrence.0, u32::MAX);
            let last = evidence.range(same)?.next_back().transpose()?;
            let ordinal = last.map_or(0, |(key, _)| key.value().1.saturating_add(1));
            evidence.insert((occurrence.0, ordinal), encode_evidence(told).as_slice())?;
        }
        Ok(())
    }
}

/// Puts a row in, or takes out the one that was there.
fn put<'k, K: redb::Key + 'static>(
    table: &mut Table<'_, K, &'static [u8]>,
    key: impl std::borrow::Borrow<K::SelfType<'k>>,
    bytes: Option<Vec<u8>>,
) -> Result<(), redb::Error> {
    match bytes {
        Some(bytes) => drop(table.insert(key, bytes.as_slice())?),
        None => drop(table.remove(key)?),
    }
    Ok(())
}

fn rule_record(rule: &StoredRule) -> RuleRecord {
    RuleRecord {
        definition: rule.definition.clone(),
        origin: rule.origin.as_str().to_owned(),
        updated_at: rule.updated_at,
    }
}
