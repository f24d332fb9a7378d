//! longwatch as an agent: its own metrics and its process.

use std::sync::Arc;

use super::{builtin::Sampler, host::Rows, process::ProcessSampler, session::Scraped};
use crate::{
    ingest,
    model::{Limits, Timestamp},
    telemetry::OwnMetrics,
};

/// Reads the own metrics as they are shown at `/metrics`, and looks at the process.
#[derive(Debug)]
pub(super) struct OwnSampler {
    metrics: Arc<OwnMetrics>,
    limits: Limits,
    process: ProcessSampler,
}

impl OwnSampler {
    /// A sampler of this process.
    ///
    /// # Errors
    /// What the operating system refuses to tell.
    pub(super) fn new(metrics: Arc<OwnMetrics>, limits: Limits) -> Result<Self, String> {
        Ok(Self {
            metrics,
            limits,
            process: ProcessSampler::own()?,
        })
    }
}

impl Sampler for OwnSampler {
    fn sample(&mut self, at: Timestamp) -> Result<Scraped, String> {
        let text = self.metrics.to_openmetrics();
        let content_type = Some("application/openmetrics-text; version=1.0.0; charset=utf-8");
        let parsed = ingest::parse_scrape(content_type, text.as_bytes(), at, false, &self.limits)
            .map_err(|e| e.to_string())?;
        let mut rows = Rows::new(at);
        rows.batch = parsed.batch;
        self.process.sample(&mut rows);
        let batch = rows.batch;
        let total = batch.len();
        Ok(Scraped { batch, total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SeriesKey;

    #[test]
    fn own_metrics_and_the_process_are_one_scrape() {
        let metrics = Arc::new(OwnMetrics::default());
        metrics.commits.inc_by(7);
        let mut sampler = OwnSampler::new(metrics, Limits::default()).unwrap();
        let at = Timestamp::from_millis(5);
        let scraped = sampler.sample(at).unwrap();
        let value = |name: &str| {
            let row = scraped.batch.rows().iter().find(|row| {
                let key = SeriesKey::from_bytes(scraped.batch.key(row)).unwrap();
                key.to_string() == name
            });
            row.map(|row| row.value)
        };
        assert_eq!(value("longwatch_commits_total"), Some(7.0));
        assert!(value("process_resident_memory_bytes").unwrap() > 1e6);
        let share = value("system_memory_usage{unit=\"percent\"}").unwrap();
        assert!(share > 0.0 && share < 100.0);
        assert!(value("process_start_time_seconds").unwrap() > 1e9);
        assert!(scraped.batch.rows().iter().all(|row| row.time == at));
    }
}
