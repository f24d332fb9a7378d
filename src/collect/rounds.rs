//! An agent's rounds: its endpoint is scraped and its process is sampled, both at one time.

use std::{sync::Arc, time::Duration};

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::{
    bound_process::{BoundProcess, ProcessName},
    builtin::{FIRST_LOOK_MS, blocking},
    session::{Round, Scrape, ScrapeSession, Scraped},
    target::{Context, Duty, Plan, count},
};
use crate::{
    ingest::{self, Parsed},
    model::{AgentId, Batch, Limits, Timestamp},
    net::{self, Fetched},
    store::Append,
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
pub(super) const PARSED_INLINE_MAX: usize = 64 << 10;

/// The rounds of one agent.
#[derive(Debug)]
pub(super) struct Rounds {
    session: ScrapeSession,
    process: Option<BoundProcess>,
}

impl Rounds {
    /// Rounds of which none was made yet.
    pub(super) fn new(agent: AgentId) -> Self {
        Self {
            session: ScrapeSession::new(agent),
            process: None,
        }
    }
}

impl Duty for Rounds {
    fn is_in(plan: &Plan) -> bool {
        plan.metrics_endpoint.is_some() || plan.process.is_some()
    }

    fn shift_ms(_: &Plan) -> i64 {
        0
    }

    async fn perform(
        &mut self,
        ctx: &Context,
        plan: &Plan,
        stamp: impl Fn(Timestamp) -> Timestamp + Send,
    ) -> Append {
        let permit = match plan.metrics_endpoint {
            Some(_) => ctx.permit().await,
            None => None,
        };
        let at = stamp(ctx.clock.now());
        let agent = self.session.agent().clone();
        let (scrape, process) = tokio::join!(
            scrape_if_any(ctx, &agent, plan, at),
            sample_if_any(&mut self.process, plan.process.as_ref(), at),
        );
        drop(permit);
        self.tell(scrape.as_ref(), process.as_ref());
        self.session.take(Round { scrape, process }, at)
    }

    fn end(&mut self, at: Timestamp) -> Option<Append> {
        self.process = None;
        self.session.end(at)
    }

    fn settle(&mut self, durable: bool) {
        self.session.settle(durable);
    }
}

impl Rounds {
    /// Tells the log of what is other than in the round before.
    fn tell(&self, scrape: Option<&Scrape>, process: Option<&Result<Batch, String>>) {
        let agent = self.session.agent();
        let has_endpoint = scrape.is_some();
        match scrape.map(|s| &s.result) {
            Some(Ok(_)) if self.session.up() == Some(false) => {
                tracing::info!(%agent, "the agent answers scrapes again");
            }
            Some(Err(error)) if self.session.up() != Some(false) => {
                tracing::warn!(%agent, error, "scrape failed");
            }
            _ => {}
        }
        let was_there = self.session.process_up() != Some(false);
        if let Some(Err(error)) = process
            && was_there
        {
            tracing::warn!(%agent, error, has_endpoint, "the agent's process is not sampled");
        }
    }
}

async fn scrape_if_any(
    ctx: &Context,
    agent: &AgentId,
    plan: &Plan,
    at: Timestamp,
) -> Option<Scrape> {
    let url = plan.metrics_endpoint.as_deref()?;
    let began = Instant::now();
    let result = scrape(ctx, plan, url, at).await;
    let seconds = began.elapsed().as_secs_f64();
    ctx.metrics.scrape_seconds.observe(seconds);
    count(&ctx.metrics.scrapes, result.is_ok());
    let result = result.map(|parsed| {
        note_row_errors(ctx, agent, &parsed);
        Scraped {
            batch: parsed.batch,
            total: parsed.total,
        }
    });
    Some(Scrape { result, seconds })
}

/// Looks at the process that the plan names; `held` is the one that was looked at before.
async fn sample_if_any(
    held: &mut Option<BoundProcess>,
    wanted: Option<&ProcessName>,
    at: Timestamp,
) -> Option<Result<Batch, String>> {
    let held_before = held.take();
    let wanted = wanted?;
    let same = held_before.filter(|held| held.name() == wanted);
    let process = same.unwrap_or_else(|| BoundProcess::new(wanted.clone()));
    let is_new = process.is_new();
    let looked = async {
        let (process, figures) = look(process, at).await?;
        if !is_new || figures.is_err() {
            return Ok((process, figures));
        }
        tokio::time::sleep(Duration::from_millis(FIRST_LOOK_MS)).await;
        look(process, at).await
    };
    match looked.await {
        Ok((process, figures)) => {
            *held = Some(process);
            Some(figures)
        }
        Err(error) => Some(Err(error)),
    }
}

type Look = (BoundProcess, Result<Batch, String>);

async fn look(mut process: BoundProcess, at: Timestamp) -> Result<Look, String> {
    blocking(move || {
        let figures = process.look(at);
        Ok((process, figures))
    })
    .await
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
        // The semaphore is never closed.
        let turn = Arc::clone(&ctx.large_reads).acquire_owned().await.ok();
        let read = move || {
            let parsed = parse(&limits);
            drop(turn);
            parsed
        };
        tokio::task::spawn_blocking(read)
            .await
            .map_err(|_| "the body could not be read: the reader failed".to_owned())?
    };
    parsed.map_err(|e| net::one_line(&e.to_string()))
}

/// Counts and tells what is wrong with single rows of a body that was taken.
fn note_row_errors(ctx: &Context, agent: &AgentId, parsed: &Parsed) {
    ctx.metrics
        .exemplars_dropped
        .inc_by(parsed.exemplars_dropped);
    let may_say = |what| ctx.quiet.may_say(agent, what, ctx.clock.now());
    if let Some(first) = parsed.errors.first() {
        let refused = parsed.errors.len();
        ctx.metrics.reject("malformed", refused as u64);
        if may_say("malformed") {
            let reason = net::one_line(&first.to_string());
            tracing::warn!(%agent, refused, reason, "metrics of the agent were refused");
        }
    }
    if let Some(first) = parsed.departures.first() {
        let lines = parsed.departures.len();
        ctx.metrics.format_departures.inc_by(lines as u64);
        if may_say("departures") {
            let reason = net::one_line(&first.to_string());
            tracing::warn!(%agent, lines, reason, "the agent's metrics break a rule of OpenMetrics and were taken");
        }
    }
}
