//! What handlers work with, and the bounds on what they may do at once.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use super::{Access, Settings, TraceIntake, problem::Problem, target_files::TargetFiles};
use crate::{
    collect::ContactLedger,
    ingest::{Accumulator, SeriesCache},
    model::{Clock, Limits, Policy, Timestamp},
    rules::RulesStatus,
    store::{Store, View},
    telemetry::OwnMetrics,
    traces::SpanTap,
};

/// Questions answered at once; each may hold a whole answer in memory.
const READS_MAX: usize = 8;
/// Questions wait so long for a place before they are told to come again.
const READ_WAIT: std::time::Duration = std::time::Duration::from_secs(20);
/// Bodies decompressed and parsed at once; each may take `decompressed_bytes_max`.
const DECODES_MAX: usize = 4;
/// All bodies under way may hold so many times the largest one.
const BODIES_MAX: usize = 8;

/// Series of OTLP's delta temporality whose totals are held.
const DELTA_SERIES_MAX: usize = 100_000;

/// Whether the server can do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// It cannot, and why, for people.
    NotReady(String),
}

/// What the HTTP edge works on; `app` fills it.
#[derive(Clone, Debug)]
pub struct Context {
    /// The file.
    pub store: Store,
    /// Tells "now".
    pub clock: Arc<dyn Clock>,
    /// Own metrics, for `/metrics` and to count requests.
    pub metrics: Arc<OwnMetrics>,
    /// Settings that decide results, for contacts.
    pub policy: Policy,
    /// Limits on labels of agents and pushed series.
    pub limits: Limits,
    /// What is told of spans that are taken in.
    pub traces: TraceIntake,
    /// Notes contacts at most once per interval; shared with collection.
    pub ledger: Arc<ContactLedger>,
    /// When this server started.
    pub started: Timestamp,
    /// What `/readyz` answers.
    pub ready: watch::Receiver<Readiness>,
    /// How the evaluation of rules goes.
    pub rules: watch::Receiver<RulesStatus>,
    /// What became of the target files.
    pub target_files: watch::Receiver<TargetFiles>,
    /// Where spans are told once they are durable.
    pub span_tap: SpanTap,
}

/// [`Context`] with settings, access and the bounds on what happens at once.
#[derive(Debug)]
pub(super) struct Edge {
    pub(super) context: Context,
    pub(super) settings: Settings,
    pub(super) access: Access,
    reads: Arc<Semaphore>,
    pub(super) decodes: Arc<Semaphore>,
    /// Permits are KiB of request bodies in memory.
    pub(super) body_kib: Arc<Semaphore>,
    pub(super) snapshots: Arc<Semaphore>,
    /// Totals of OTLP's increments.
    pub(super) totals: parking_lot::Mutex<Accumulator>,
    /// Series that remote write named before.
    pub(super) named_series: Arc<SeriesCache>,
}

impl Edge {
    pub(super) fn new(context: Context, settings: Settings, access: Access) -> Self {
        let body_kib = (settings
            .body_bytes_max
            .div_ceil(1024)
            .saturating_mul(BODIES_MAX))
        .clamp(1, Semaphore::MAX_PERMITS);
        Self {
            context,
            settings,
            access,
            reads: Arc::new(Semaphore::new(READS_MAX)),
            decodes: Arc::new(Semaphore::new(DECODES_MAX)),
            body_kib: Arc::new(Semaphore::new(body_kib)),
            snapshots: Arc::new(Semaphore::new(1)),
            totals: parking_lot::Mutex::new(Accumulator::new(DELTA_SERIES_MAX)),
            named_series: Arc::default(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.context.clock.now()
    }

    /// Runs a question against the present moment of the file on a thread that may block.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(View) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let place = Arc::clone(&self.reads).acquire_owned();
        let Ok(Ok(place)) = tokio::time::timeout(READ_WAIT, place).await else {
            return Err(Problem::busy("too many questions are being answered", 5));
        };
        let store = self.context.store.clone();
        blocking(move || {
            let answer = question(store.view());
            drop(place);
            answer
        })
        .await
    }
}

/// Runs work that takes a processor for a while outside of the threads that serve connections.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::error!(%error, "a request's work broke off");
            Err(Problem::internal("the answer could not be worked out"))
        }
    }
}
