//! One agent's tasks: its scrapes and its probes, each one after the other.

use std::{future::Future, sync::Arc, time::Duration};

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::Instant,
};

use super::{
    pace::Pace,
    quiet::Quiet,
    session::{ProbeSession, ScrapeSession, Scraped},
    writes::{Unsettled, Writes},
};
use crate::{
    ingest::{self, Parsed},
    model::{AgentId, Clock, Limits, Timestamp},
    net::{self, Fetched},
    store::Append,
    telemetry::{By, OwnMetrics},
};

/// What is asked for. Prometheus text first: OpenMetrics is read by the letter of its specification, which
/// many exporters bend, and what it tells more (exemplars, times of creation) is not kept. The JSON
/// document is what agents answer that know nothing else.
const ACCEPTED: &str = "text/plain;version=0.0.4,\
    application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.8,\
    application/json;q=0.5,*/*;q=0.1";
/// The time a target has, as Prometheus tells it.
const TIMEOUT_HEADER: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");
/// Bodies above this are parsed where blocking is allowed, in bytes.
const PARSED_INLINE_MAX: usize = 64 << 10;

/// What all tasks share.
#[derive(Debug)]
pub(super) struct Context {
    /// Fetches.
    pub client: net::Client,
    /// Takes the results.
    pub writes: Writes,
    /// A permit for each fetch under way.
    pub permits: Semaphore,
    /// Time-out of a fetch; an agent's interval when that is shorter.
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
    fn timeout(&self, plan: &Plan) -> Duration {
        Duration::from_millis(self.timeout_ms.min(plan.interval_ms).max(1) as u64)
    }

    /// A permit to fetch; waiting for it is no part of any time-out.
    async fn permit(&self) -> Option<SemaphorePermit<'_>> {
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
    /// Whether labels that longwatch gives are kept when the target sends them itself.
    pub honor_labels: bool,
}

/// Changes of an agent's plan; `None` when the agent was deregistered.
pub(super) type Plans = watch::Receiver<Option<Plan>>;

/// Scrapes and probes an agent until its plan is `None` or the other end is gone. Only the former ends
/// its series with markers: a server that stops knows nothing of what comes.
pub(super) async fn watch_agent(ctx: Arc<Context>, agent: AgentId, plans: Plans) {
    let scrapes = Scrapes(ScrapeSession::new(agent.clone()));
    let probes = Probes(ProbeSession::new(agent.clone()));
    tokio::join!(
        keep(&ctx, &agent, plans.clone(), scrapes),
        keep(&ctx, &agent, plans, probes),
    );
}

/// Something that is done to an agent once an interval.
trait Duty {
    /// Its URL in the plan, if the plan has it.
    fn endpoint(plan: &Plan) -> Option<&str>;

    /// Milliseconds after the agent's slot.
    fn shift_ms(plan: &Plan) -> i64;

    /// Does it once; `stamp` gives the time of its samples when it begins.
    fn perform(
        &mut self,
        ctx: &Context,
        plan: &Plan,
        url: &str,
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
        let Some((plan, url)) = plan
            .as_ref()
            .and_then(|plan| Some((plan, D::endpoint(plan)?)))
        else {
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
            duty.perform(ctx, plan, url, stamp).await
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

struct Scrapes(ScrapeSession);

impl Duty for Scrapes {
    fn endpoint(plan: &Plan) -> Option<&str> {
        plan.metrics_endpoint.as_deref()
    }

    fn shift_ms(_: &Plan) -> i64 {
        0
    }

    async fn perform(
        &mut self,
        ctx: &Context,
        plan: &Plan,
        url: &str,
        stamp: impl Fn(Timestamp) -> Timestamp + Send,
    ) -> Append {
        let permit = ctx.permit().await;
        let at = stamp(ctx.clock.now());
        let began = Instant::now();
        let result = scrape(ctx, plan, url, at).await;
        let seconds = began.elapsed().as_secs_f64();
        drop(permit);
        ctx.metrics.scrape_seconds.observe(seconds);
        count(&ctx.metrics.scrapes, result.is_ok());
        let was_up = self.0.up();
        match result {
            Ok(parsed) => {
                note_row_errors(ctx, self.0.agent(), &parsed);
                let (batch, total) = (parsed.batch, parsed.total);
                if was_up == Some(false) {
                    tracing::info!(agent = %self.0.agent(), "the agent answers scrapes again");
                }
                self.0.success(Scraped { batch, total }, at, seconds)
            }
            Err(error) => {
                if was_up != Some(false) {
                    tracing::warn!(agent = %self.0.agent(), error, "scrape failed");
                }
                self.0.failure(error, at, seconds)
            }
        }
    }

    fn end(&mut self, at: Timestamp) -> Option<Append> {
        self.0.end(at)
    }

    fn settle(&mut self, durable: bool) {
        self.0.settle(durable);
    }
}

struct Probes(ProbeSession);

impl Duty for Probes {
    fn endpoint(plan: &Plan) -> Option<&str> {
        plan.health_endpoint.as_deref()
    }

    /// Half an interval after the scrape, so that an agent's status is as young as can be.
    fn shift_ms(plan: &Plan) -> i64 {
        match plan.metrics_endpoint {
            Some(_) => plan.interval_ms / 2,
            None => 0,
        }
    }

    async fn perform(
        &mut self,
        ctx: &Context,
        plan: &Plan,
        url: &str,
        stamp: impl Fn(Timestamp) -> Timestamp + Send,
    ) -> Append {
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
        self.0.result(error, at, plan.metrics_endpoint.is_none())
    }

    fn end(&mut self, at: Timestamp) -> Option<Append> {
        self.0.end(at)
    }

    fn settle(&mut self, durable: bool) {
        self.0.settle(durable);
    }
}

fn count(
    results: &prometheus_client::metrics::family::Family<
        By,
        prometheus_client::metrics::counter::Counter,
    >,
    ok: bool,
) {
    let by = if ok { "ok" } else { "failed" };
    results.get_or_create(&By { by }).inc();
}

/// Fetches and reads an agent's metrics.
async fn scrape(ctx: &Context, plan: &Plan, url: &str, at: Timestamp) -> Result<Parsed, String> {
    let timeout = ctx.timeout(plan);
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    if let Ok(seconds) = HeaderValue::from_str(&timeout.as_secs_f64().to_string()) {
        headers.insert(TIMEOUT_HEADER, seconds);
    }
    let fetched = ctx
        .client
        .get(url, timeout, &headers)
        .await
        .map_err(|e| e.to_string())?;
    read(ctx, plan.honor_labels, fetched, at).await
}

async fn read(
    ctx: &Context,
    honor_labels: bool,
    fetched: Fetched,
    at: Timestamp,
) -> Result<Parsed, String> {
    // A compressed body may be many times as long as it looks.
    let weight = match fetched.content_encoding {
        Some(_) => 16,
        None => 1,
    };
    let is_small = fetched.body.len() * weight <= PARSED_INLINE_MAX;
    let size_max = ctx.decompressed_bytes_max;
    let parse = move |limits: &Limits| {
        let encoding = fetched.content_encoding.as_deref();
        let body = ingest::decompress(encoding, &fetched.body, size_max)?;
        let content_type = fetched.content_type.as_deref();
        ingest::parse_scrape(content_type, &body, at, honor_labels, limits)
    };
    let parsed = if is_small {
        parse(&ctx.limits)
    } else {
        let limits = ctx.limits.clone();
        tokio::task::spawn_blocking(move || parse(&limits))
            .await
            .map_err(|_| "the body could not be read: the reader failed".to_owned())?
    };
    parsed.map_err(|e| net::one_line(&e.to_string()))
}

/// Counts and tells what single rows of a good body were refused for.
fn note_row_errors(ctx: &Context, agent: &AgentId, parsed: &Parsed) {
    ctx.metrics
        .exemplars_dropped
        .inc_by(parsed.exemplars_dropped);
    let Some(first) = parsed.errors.first() else {
        return;
    };
    let refused = parsed.errors.len();
    ctx.metrics.reject("malformed", refused as u64);
    if ctx.quiet.may_say(agent, "malformed", ctx.clock.now()) {
        let reason = net::one_line(&format!("metric {}: {}", first.index, first.reason));
        tracing::warn!(%agent, refused, reason, "metrics of the agent were refused");
    }
}

#[cfg(test)]
pub(super) use tests::context;

#[cfg(test)]
mod tests;
