//! A draft's rows, table by table.

use redb::WriteTransaction;

use super::{Draft, NewSeries};
use crate::{
    codec::{AgentRecord, SeriesRecord, WalWriter, encode_alert, encode_alert_event},
    model::AlertEventKind,
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
        let record = wal.finish();
        transaction
            .open_table(tables::WAL)?
            .insert(sequence, record.as_slice())?;
        self.write_agents(transaction)?;
        self.write_series(transaction)?;
        self.write_alerts(transaction)?;
        Ok(record.len() as u64)
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

    fn write_alerts(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        for alert in &self.alerts {
            let key = (
                alert.agent.0,
                alert.fired_at.as_millis(),
                alert.occurrence.0,
            );
            transaction
                .open_table(tables::ALERTS)?
                .insert(key, encode_alert(alert).as_slice())?;
        }
        for (agent, event) in &self.alert_events {
            // A step of its own for each kind, so that firing and resolving in one millisecond both stay.
            let ordinal = u32::from(event.kind == AlertEventKind::Resolved);
            let key = (agent.0, event.time.as_millis(), event.occurrence.0, ordinal);
            let mut table = transaction.open_table(tables::ALERT_EVENTS)?;
            table.insert(key, encode_alert_event(event).as_slice())?;
        }
        Ok(())
    }
}
