//! One agent's tasks: its rounds and its probes, each one after the other.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::sync::{Semaphore, SemaphorePermit, watch};

use super::{
    bound_process::ProcessName,
    pace::Pace,
    quiet::Quiet,
    rounds::Rounds,
    session::ProbeSession,
    writes::{Unsettled, Writes},
};
use crate::{
    model::{AgentId, Clock, Limits, Timestamp},
    net,
    store::Append,
    telemetry::{By, OwnMetrics},
};

/// What all tasks share.
#[derive(Debug)]
pub(super) struct Context {
    /// Fetches.
    pub client: net::Client,
    /// Takes the results.
    pub writes: Writes,
    /// A permit for each fetch under way.
    pub permits: Semaphore,
    /// Bodies that are large, or may be, are decompressed and read a few at a time.
    pub large_reads: Arc<Semaphore>,
    /// Time-out of a fetch, for agents without one of their own; the interval when that is shorter.
    pub timeout_ms: i64,
    /// Bytes of a body after decompression.
    pub decompressed_bytes_max: usize,
    /// Limits on series.
    pub limits: Limits,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Own metrics.
    pub metrics: Arc<OwnMetrics>,
    /// What was complained about lately.
    pub quiet: Quiet,
}

impl Context {
    /// The time that a fetch has.
    pub(super) fn timeout(&self, plan: &Plan) -> Duration {
        let most = plan.timeout_ms.unwrap_or(self.timeout_ms);
        Duration::from_millis(most.min(plan.interval_ms).max(1) as u64)
    }

    /// A permit to fetch; waiting for it is no part of any time-out.
    pub(super) async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.permits.acquire().await.ok()
    }
}

/// What to collect from one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// URL to scrape.
    pub metrics_endpoint: Option<String>,
    /// URL to probe.
    pub health_endpoint: Option<String>,
    /// Milliseconds between rounds.
    pub interval_ms: i64,
    /// Own time-out of a fetch in milliseconds.
    pub timeout_ms: Option<i64>,
    /// Whether labels that longwatch gives are kept when the target sends them itself.
    pub honor_labels: bool,
    /// Process to sample.
    pub process: Option<ProcessName>,
}

/// Changes of an agent's plan; `None` when the agent was deregistered.
pub(super) type Plans = watch::Receiver<Option<Plan>>;

/// Scrapes, samples and probes an agent until its plan is `None` or the other end is gone. Only the former ends
/// its series with markers: a server that stops knows nothing of what comes.
pub(super) async fn watch_agent(ctx: Arc<Context>, agent: AgentId, plans: Plans) {
    let rounds = Rounds::new(agent.clone());
    let probes = Probes(ProbeSession::new(agent.clone()));
    tokio::join!(
        keep(&ctx, &agent, plans.clone(), rounds),
        keep(&ctx, &agent, plans, probes),
    );
}

/// Something that is done to an agent once an interval.
pub(super) trait Duty {
    /// Whether the plan has it.
    fn is_in(plan: &Plan) -> bool;

    /// Milliseconds after the agent's slot.
    fn shift_ms(plan: &Plan) -> i64;

    /// Does it once; `stamp` gives the time of its samples when it begins.
    fn perform(
        &mut self,
        ctx: &Context,
        plan: &Plan,
        stamp: impl Fn(Timestamp) -> Timestamp + Send,
    ) -> impl Future<Output = Append> + Send;

    /// Ends its series.
    fn end(&mut self, at: Timestamp) -> Option<Append>;

    /// Tells whether the oldest append not yet settled became durable.
    fn settle(&mut self, durable: bool);
}

/// Does a duty in its slots, never twice at once, and begins anew when the plan changes.
async fn keep<D: Duty>(ctx: &Context, agent: &AgentId, mut plans: Plans, mut duty: D) {
    let mut unsettled = Unsettled::default();
    let mut paced: Option<(Plan, Pace)> = None;
    loop {
        let plan = plans.borrow_and_update().clone();
        let Some(plan) = plan.as_ref().filter(|plan| D::is_in(plan)) else {
            paced = None;
            if let Some(append) = duty.end(ctx.clock.now()) {
                unsettled.push(ctx.writes.put(append).await);
            }
            if plan.is_none() || plans.changed().await.is_err() {
                return;
            }
            continue;
        };
        if paced.as_ref().is_none_or(|(paced, _)| paced != plan) {
            let pace = Pace::new(agent, plan.interval_ms, D::shift_ms(plan));
            paced = Some((plan.clone(), pace));
        }
        let Some((_, pace)) = &mut paced else { return };
        let now = ctx.clock.now();
        let tick = pace.next(now);
        let wait = Duration::from_millis(tick.since(now).max(0) as u64);
        let round = async {
            tokio::time::sleep(wait).await;
            pace.begun(tick);
            let stamp = |now| pace.stamp(tick, now);
            duty.perform(ctx, plan, stamp).await
        };
        tokio::select! {
            biased;
            changed = plans.changed() => match changed {
                Ok(()) => {}
                Err(_) => return,
            },
            append = round => unsettled.push(ctx.writes.put(append).await),
        }
        unsettled.tell(|durable| duty.settle(durable)).await;
    }
}

struct Probes(ProbeSession);

impl Duty for Probes {
    fn is_in(plan: &Plan) -> bool {
        plan.health_endpoint.is_some()
    }

    /// Half an interval after the round, so that an agent's status is as young as can be.
    fn shift_ms(plan: &Plan) -> i64 {
        if Rounds::is_in(plan) {
            plan.interval_ms / 2
        } else {
            0
        }
    }

    async fn perform(
        &mut self,
        ctx: &Context,
        plan: &Plan,
        stamp: impl Fn(Timestamp) -> Timestamp + Send,
    ) -> Append {
        let url = plan.health_endpoint.as_deref().unwrap_or_default();
        let permit = ctx.permit().await;
        let at = stamp(ctx.clock.now());
        let result = ctx.client.probe(url, ctx.timeout(plan)).await;
        drop(permit);
        count(&ctx.metrics.probes, result.is_ok());
        // A failed probe is told apart from a failed scrape where people read the error.
        let error = result.err().map(|e| format!("health check: {e}"));
        let was_up = self.0.up();
        match &error {
            Some(error) if was_up != Some(false) => {
                tracing::warn!(agent = %self.0.agent(), error, "probe failed");
            }
            None if was_up == Some(false) => {
                tracing::info!(agent = %self.0.agent(), "the agent answers probes again");
            }
            _ => {}
        }
        self.0.result(error, at, !Rounds::is_in(plan))
    }

    fn end(&mut self, at: Timestamp) -> Option<Append> {
        self.0.end(at)
    }

    fn settle(&mut self, durable: bool) {
        self.0.settle(durable);
    }
}

/// Counts a result.
pub(super) fn count(
    results: &prometheus_client::metrics::family::Family<
        By,
        prometheus_client::metrics::counter::Counter,
    >,
    ok: bool,
) {
    let by = if ok { "ok" } else { "failed" };
    results.get_or_create(&By { by }).inc();
}

#[cfg(test)]
pub(super) use tests::context;

#[cfg(test)]
mod tests;
