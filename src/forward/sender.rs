//! Reads on in the log, posts, waits when the receiver is away.

use std::{sync::Arc, time::Duration};

use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use tokio_util::sync::CancellationToken;

use super::{
    Settings,
    outgoing::{Package, Packer, Request},
    settings::write_url,
};
use crate::{
    ingest::snappy,
    model::{AgentId, Clock, Timestamp},
    net::{self, Answer, one_line},
    notify::retry_at,
    store::Store,
    telemetry::OwnMetrics,
};

/// A request has its answer within this.
const TIMEOUT: Duration = Duration::from_secs(30);
/// First pause after a request that failed; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A receiver may ask for so long a pause at most.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(5);
/// Requests that are read from the log at a time.
const REQUESTS_AHEAD: usize = 10;
/// What registrations say of series is looked up anew after so long.
const LABELS_AGE_MAX: Duration = Duration::from_mins(1);
/// Samples that come within this share a request.
const GATHER: Duration = Duration::from_millis(200);
/// The delay is told so often while the receiver is away or nothing comes.
const TELL_DELAY: Duration = Duration::from_secs(15);

/// Requests of one reading that are sent in halves after the receiver refused them.
const SPLITS_MAX: usize = 64;

const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");

/// Forwards what is committed.
#[derive(Debug)]
pub struct Forwarder {
    /// What is forwarded; opened with [`crate::store::Settings::spool`].
    pub store: Store,
    /// Where to, and how.
    pub settings: Settings,
    /// The agent that this host is.
    pub host: Option<AgentId>,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Counts what is forwarded.
    pub metrics: Arc<OwnMetrics>,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Taken,
    /// It will never be taken, and why.
    Refused(String),
    /// It is too large.
    TooLarge,
    /// It may be taken later: why not now, and when the receiver wants to be asked again.
    Later(String, Option<Duration>),
}

/// Samples of one stretch that the receiver will never take, told once.
#[derive(Default)]
struct Refused {
    samples: u64,
    /// Why the last ones.
    why: String,
}

impl Refused {
    fn note(&mut self, samples: u64, why: String) {
        self.samples += samples;
        self.why = why;
    }
}

impl Forwarder {
    /// Forwards until `shutdown`. Where no URL is set it returns at once.
    ///
    /// # Errors
    /// [`net::BuildError`] when no HTTP client can be built.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), net::BuildError> {
        if self.settings.url.is_none() {
            return Ok(());
        }
        let client = net::Client::new(&self.settings.net)?;
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.forward(&client) => {}
        }
        Ok(())
    }

    /// Never returns.
    async fn forward(&self, client: &net::Client) {
        let mut packer = self.packer();
        let mut labels_of = tokio::time::Instant::now();
        let mut commits = self.store.arrivals();
        loop {
            commits.borrow_and_update();
            if labels_of.elapsed() > LABELS_AGE_MAX {
                packer.forget();
                labels_of = tokio::time::Instant::now();
            }
            let (package, returned) = self.next(packer).await;
            packer = returned;
            match package {
                Ok(Some(package)) => self.deliver(client, package).await,
                Ok(None) => {
                    self.metrics.forward_delay_seconds.set(0.0);
                    // Whoever holds a store has its committer running.
                    let _ = commits.changed().await;
                    tokio::time::sleep(GATHER).await;
                }
                Err(why) => {
                    tracing::error!(why, "the log cannot be read; nothing is forwarded");
                    tokio::time::sleep(LONGEST_PAUSE).await;
                }
            }
        }
    }

    fn packer(&self) -> Packer {
        let external = self.settings.external_labels.clone();
        let samples = self.settings.samples_per_request;
        Packer::new(external, self.host.as_ref(), samples)
    }

    /// The next stretch of the log, if there is one.
    async fn next(&self, mut packer: Packer) -> (Result<Option<Package>, String>, Packer) {
        let store = self.store.clone();
        let samples = self.settings.samples_per_request * REQUESTS_AHEAD;
        let reading = tokio::task::spawn_blocking(move || {
            let package = store
                .log_after(store.forwarded_to(), samples)
                .map(|records| (!records.is_empty()).then(|| packer.pack(&store, records)));
            (package, packer)
        });
        match reading.await {
            Ok((package, packer)) => (package.map_err(|e| e.to_string()), packer),
            // The runtime is ending, or the reading gave up on a damaged page.
            Err(error) => (Err(error.to_string()), self.packer()),
        }
    }

    async fn deliver(&self, client: &net::Client, package: Package) {
        let mut waiting = package.requests;
        waiting.reverse();
        self.tell_delay(package.oldest);
        if package.forgotten > 0 {
            self.metrics.forward_dropped("forgotten", package.forgotten);
        }
        let mut splits_left = SPLITS_MAX;
        let mut refused = Refused::default();
        while let Some(request) = waiting.pop() {
            let samples = request.samples() as u64;
            match self.send(client, &request, package.oldest).await {
                Outcome::Taken => {
                    self.metrics.forwarded.inc_by(samples);
                }
                Outcome::TooLarge => match request.split() {
                    Some((first, second)) => waiting.extend([second, first]),
                    None => refused.note(samples, "one sample is too large".to_owned()),
                },
                Outcome::Refused(why) | Outcome::Later(why, _) => {
                    // Some receivers refuse a request as a whole for one sample that comes too late.
                    if splits_left > 0
                        && let Some((first, second)) = request.split()
                    {
                        splits_left -= 1;
                        waiting.extend([second, first]);
                    } else {
                        refused.note(samples, why);
                    }
                }
            }
        }
        let Refused { samples, why } = refused;
        if samples > 0 {
            tracing::error!(
                samples,
                why,
                "the receiver refuses samples; they are dropped"
            );
            self.metrics.forward_dropped("refused", samples);
        }
        self.store.note_forwarded(package.up_to);
    }

    /// Posts a request until it is taken or refused.
    async fn send(
        &self,
        client: &net::Client,
        request: &Request,
        oldest: Option<Timestamp>,
    ) -> Outcome {
        let Some(body) = snappy(&request.encode()).map(bytes::Bytes::from) else {
            return Outcome::TooLarge;
        };
        let (mut pause, mut failed) = (FIRST_PAUSE, 0_u32);
        loop {
            let (why, asked) = match self.post(client, body.clone()).await {
                Outcome::Later(why, asked) => (why, asked),
                done => {
                    if failed > 0 {
                        tracing::info!("the receiver answers again after {failed} tries");
                    }
                    return done;
                }
            };
            failed += 1;
            self.metrics.forward_retries.inc();
            if failed.is_power_of_two() {
                tracing::warn!(
                    why,
                    tries = failed,
                    "samples cannot be forwarded; they wait in the file"
                );
            }
            self.rest(
                asked.map_or(pause, |asked| asked.clamp(pause, RETRY_AFTER_MAX)),
                oldest,
            )
            .await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Sleeps, and tells for how long samples have been waiting.
    async fn rest(&self, pause: Duration, oldest: Option<Timestamp>) {
        let end = tokio::time::Instant::now() + pause;
        loop {
            self.tell_delay(oldest);
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(TELL_DELAY)).await;
        }
    }

    fn tell_delay(&self, oldest: Option<Timestamp>) {
        if let Some(oldest) = oldest {
            let delay_ms = self.clock.now().since(oldest).max(0);
            let gauge = &self.metrics.forward_delay_seconds;
            gauge.set(delay_ms as f64 / 1000.0);
        }
    }

    async fn post(&self, client: &net::Client, body: bytes::Bytes) -> Outcome {
        let (url, headers) = match self.address().await {
            Ok(address) => address,
            Err(why) => return Outcome::Later(why, None),
        };
        match client.post(&url, TIMEOUT, &headers, body).await {
            Ok(answer) => self.judge(&answer),
            Err(error) => Outcome::Later(error.to_string(), None),
        }
    }

    /// Where to post, and with which headers; secrets are read anew, so that a new one counts at once.
    async fn address(&self) -> Result<(String, HeaderMap), String> {
        let url = self.settings.url.as_ref().ok_or("no URL is set")?;
        let url = url.reveal().await.map_err(|e| e.to_string())?;
        let mut headers = self.settings.headers.clone();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        );
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        headers.insert(VERSION, HeaderValue::from_static("0.1.0"));
        if let Some(token) = &self.settings.token {
            let token = token.reveal().await.map_err(|e| e.to_string())?;
            let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
                .map_err(|_| "the token holds characters that no header may hold")?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        Ok((write_url(&url)?, headers))
    }

    /// What an answer means. 401, 403, 404 and 405 speak of address and credentials, which may be mended; of other 4xx
    /// the samples are the reason, and they would be again.
    fn judge(&self, answer: &Answer) -> Outcome {
        let told = one_line(&String::from_utf8_lossy(&answer.excerpt));
        let why = format!("status {}: {told}", answer.status);
        match answer.status {
            200..=299 => Outcome::Taken,
            413 => Outcome::TooLarge,
            401 | 403 | 404 | 405 | 407 | 408 | 425 | 429 => {
                Outcome::Later(why, self.asked(answer))
            }
            400..=499 => Outcome::Refused(why),
            _ => Outcome::Later(why, self.asked(answer)),
        }
    }

    fn asked(&self, answer: &Answer) -> Option<Duration> {
        let now = self.clock.now();
        let at = retry_at(answer.retry_after.as_deref()?, now)?;
        Some(Duration::from_millis(at.since(now).max(0) as u64))
    }
}
