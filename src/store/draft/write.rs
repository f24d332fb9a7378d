//! A draft's rows, table by table.

use redb::{ReadableTable, WriteTransaction};

use super::Draft;
use crate::{
    codec::{AgentRecord, SeriesRecord, WalWriter, encode_alert, encode_alert_event},
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
            for (agent, slot) in &self.new_series {
                if let Some(series) = self.catalog.agent(*agent).and_then(|a| a.series.get(*slot)) {
                    let record = SeriesRecord {
                        key: series.key.clone(),
                        group: series.group,
                        retention_class: 0,
                        created_ms: self.now.as_millis(),
                    };
                    table.insert((agent.0, series.no.0), record.encode().as_slice())?;
                }
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
                alert.active_at.as_millis(),
                alert.occurrence.0,
            );
            transaction
                .open_table(tables::ALERTS)?
                .insert(key, encode_alert(alert).as_slice())?;
        }
        for (agent, event) in &self.alert_events {
            let (time, occurrence) = (event.time.as_millis(), event.occurrence.0);
            let mut table = transaction.open_table(tables::ALERT_EVENTS)?;
            // Events of one alert in one millisecond all stay, in their order.
            let same = (agent.0, time, occurrence, 0)..=(agent.0, time, occurrence, u32::MAX);
            let last = table.range(same)?.next_back().transpose()?;
            let ordinal = last.map_or(0, |(key, _)| key.value().3.saturating_add(1));
            let key = (agent.0, time, occurrence, ordinal);
            table.insert(key, encode_alert_event(event).as_slice())?;
        }
        Ok(())
    }
}
