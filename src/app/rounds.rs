//! What is done at regular times: recording health scores, judging who went silent.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::{
    model::{AgentId, Batch, Clock, History, Timestamp, Window, names},
    report,
    store::{Append, Store, Urgency},
};

/// Scores are recorded so often.
const SCORE_INTERVAL: Duration = Duration::from_mins(1);
/// The first scores are recorded so soon after the start, when the first scrapes are in.
const SCORE_DELAY: Duration = Duration::from_secs(10);
/// Agents that went silent are looked for so often.
pub(super) const STALE_INTERVAL: Duration = Duration::from_secs(5);

/// Records `agent_health_score` of every agent, over the policy's window, until `shutdown`.
pub(super) async fn record_scores(
    store: Store,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) {
    let mut ticks = interval_at(Instant::now() + SCORE_DELAY, SCORE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while tick(&mut ticks, &shutdown).await {
        let (view, now) = (store.view(), clock.now());
        let scored = tokio::task::spawn_blocking(move || scores(&*view, now)).await;
        for (agent, score) in scored.unwrap_or_default() {
            let mut batch = Batch::new();
            if batch
                .push(names::AGENT_HEALTH_SCORE, &mut [], now, score)
                .is_err()
            {
                continue;
            }
            let append = Append {
                agent,
                batch,
                contact: None,
                urgency: Urgency::Relaxed,
            };
            let store = store.clone();
            // Each waits for its commit; together they share one.
            tokio::spawn(async move {
                if let Err(error) = store.append(append).await
                    && !error.is_passing()
                {
                    tracing::warn!(%error, "a health score was not recorded");
                }
            });
        }
    }
}

fn scores(view: &dyn History, now: Timestamp) -> Vec<(AgentId, f64)> {
    let window = Window::ending_at(now, view.policy(now).health_window_ms);
    let agents = view.agents(now);
    let score = |agent| match report::health_score(view, agent, window) {
        Ok(health) => Some(health.score),
        Err(error) => {
            tracing::warn!(agent = %agent.id, %error, "no health score");
            None
        }
    };
    agents
        .iter()
        .filter_map(|agent| Some((agent.id.clone(), score(agent)?)))
        .collect()
}

/// Raises and resolves health alerts that time alone decides, until `shutdown`.
pub(super) async fn judge_stale(store: Store, every: Duration, shutdown: CancellationToken) {
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while tick(&mut ticks, &shutdown).await {
        // It waits for contacts that wait, for seconds. An end of the server does not wait for it.
        let judged = tokio::select! {
            () = shutdown.cancelled() => return,
            judged = store.judge_stale() => judged,
        };
        if let Err(error) = judged
            && !error.is_passing()
        {
            tracing::warn!(%error, "silent agents could not be judged");
        }
    }
}

/// Waits for the next tick; `false` when it is time to end.
async fn tick(ticks: &mut tokio::time::Interval, shutdown: &CancellationToken) -> bool {
    tokio::select! {
        () = shutdown.cancelled() => false,
        _ = ticks.tick() => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::SystemClock,
        store::Settings,
        telemetry::{By, OwnMetrics},
    };

    #[tokio::test]
    async fn the_end_does_not_wait_for_a_judgement() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            scrape_commit_delay_ms: 3_600_000,
            disk_reserve: Some(0),
            ..Settings::default()
        };
        let metrics: Arc<OwnMetrics> = Arc::default();
        let path = folder.path().join("test.redb");
        let opened = Store::open(&path, settings, Arc::new(SystemClock), Arc::clone(&metrics));
        let store = opened.unwrap();
        let shutdown = CancellationToken::new();
        let every = Duration::from_millis(1);
        let judging = tokio::spawn(judge_stale(store.clone(), every, shutdown.clone()));
        let waiting = metrics
            .queue_length
            .get_or_create(&By { by: "control" })
            .clone();
        while waiting.get() == 0 {
            tokio::task::yield_now().await;
        }
        shutdown.cancel();
        let ended = tokio::time::timeout(Duration::from_mins(1), judging).await;
        ended.unwrap().unwrap();
        store.close().await.unwrap();
    }
}
