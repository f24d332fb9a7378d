//! The heartbeat: a URL that is called while longwatch is healthy, so that somebody else notices when it no
//! longer is.

use std::{sync::Arc, time::Duration};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Secret;
use crate::{
    net::Client,
    telemetry::{By, OwnMetrics},
};

/// Calls a URL in each interval.
pub(super) struct Heartbeat {
    pub(super) url: Secret,
    pub(super) interval: Duration,
    /// A call that takes longer failed.
    pub(super) timeout: Duration,
    pub(super) http: Client,
    pub(super) metrics: Arc<OwnMetrics>,
    pub(super) shutdown: CancellationToken,
}

impl Heartbeat {
    /// Beats until shutdown, at once and then in each interval, while `healthy` says so.
    pub(super) async fn run(self, healthy: impl Fn() -> bool + Send) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_failing = false;
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if !healthy() {
                continue;
            }
            let beat = tokio::select! {
                () = self.shutdown.cancelled() => return,
                beat = self.beat() => beat,
            };
            self.report(beat, &mut is_failing);
        }
    }

    async fn beat(&self) -> Result<(), String> {
        let url = self.url.reveal().await.map_err(|e| e.to_string())?;
        let asked = self.http.probe(url.trim(), self.timeout).await;
        asked.map(drop).map_err(|e| e.to_string())
    }

    /// An outage is logged once.
    fn report(&self, beat: Result<(), String>, is_failing: &mut bool) {
        let by = if beat.is_ok() { "ok" } else { "failed" };
        self.metrics.heartbeats.get_or_create(&By { by }).inc();
        match beat {
            Ok(()) if std::mem::take(is_failing) => tracing::info!("the heartbeat arrives again"),
            Ok(()) => {}
            Err(error) if !std::mem::replace(is_failing, true) => {
                tracing::warn!("the heartbeat does not arrive: {error}");
            }
            Err(error) => tracing::debug!("the heartbeat does not arrive: {error}"),
        }
    }
}

#[cfg(test)]
mod tests;
