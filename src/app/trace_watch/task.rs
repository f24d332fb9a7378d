//! The task: hears what was accepted, looks at regular times, commits what it finds.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::watch::TraceWatch;
use crate::{
    model::{AgentId, Batch, Clock},
    store::{Append, Change, Detection, SpanChange, Store, Urgency, View},
    telemetry::OwnMetrics,
    traces::{ToldSpans, WatchSettings},
};

/// Traces that settled are looked for so often.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Span metrics are written, and open spans looked at, so often.
const WRITE_INTERVAL: Duration = Duration::from_secs(15);
/// Changes that one commit takes.
const DETECTIONS_MAX: usize = 500;
/// Findings that wait to be committed.
const UNSENT_MAX: usize = 1_000;

/// Watches traces until `shutdown`.
pub(in crate::app) async fn watch_traces(
    store: Store,
    clock: Arc<dyn Clock>,
    metrics: Arc<OwnMetrics>,
    settings: WatchSettings,
    mut told: ToldSpans,
    shutdown: CancellationToken,
) {
    let mut task = Task {
        store,
        clock,
        metrics,
        unsent: Vec::new(),
    };
    let begin = TraceWatch::new(settings, task.clock.now());
    let mut watch = task
        .run(begin, |watch, view, clock| {
            watch.learn(&**view, clock.now());
        })
        .await
        .0;
    let ticks = |every: Duration| {
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    };
    let (mut looks, mut writes) = (ticks(LOOK_INTERVAL), ticks(WRITE_INTERVAL));
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(spans) = told.next() => {
                let now = task.clock.now();
                let mut missed = watch.hear(&spans, now);
                while let Some(more) = told.next_waiting() {
                    missed += watch.hear(&more, now);
                }
                task.metrics.spans_unwatched.inc_by(missed);
            }
            _ = looks.tick() => {
                let (back, found) = task
                    .run(watch, |watch, view, clock| watch.look(&**view, clock.now()))
                    .await;
                watch = back;
                task.detect(found.unwrap_or_default()).await;
            }
            _ = writes.tick() => {
                task.metrics.spans_unwatched.inc_by(told.take_missed());
                watch = task.write(watch).await;
            }
        }
    }
}

/// What the task works on.
struct Task {
    store: Store,
    clock: Arc<dyn Clock>,
    metrics: Arc<OwnMetrics>,
    /// What could not be committed yet.
    unsent: Vec<Detection>,
}

impl Task {
    /// Does work that reads the file where it may block. If it breaks off, watching begins anew.
    async fn run<T: Send + 'static>(
        &self,
        mut watch: TraceWatch,
        work: impl FnOnce(&mut TraceWatch, &View, &dyn Clock) -> T + Send + 'static,
    ) -> (TraceWatch, Option<T>) {
        let (view, clock, settings) = (self.store.view(), Arc::clone(&self.clock), watch.settings);
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&mut watch, &view, &*clock);
            (watch, done)
        });
        match done.await {
            Ok((watch, done)) => (watch, Some(done)),
            Err(error) => {
                tracing::error!(%error, "watching traces broke off; it begins anew");
                (TraceWatch::new(settings, self.clock.now()), None)
            }
        }
    }

    async fn write(&mut self, watch: TraceWatch) -> TraceWatch {
        let done = self.run(watch, |watch, view, clock| {
            let now = clock.now();
            (watch.write(&**view, now), watch.look_at_open(&**view, now))
        });
        let (watch, done) = done.await;
        let Some((samples, work)) = done else {
            return watch;
        };
        for (agent, batch) in samples {
            self.append(agent, batch);
        }
        self.detect(work.detections).await;
        if !work.over.is_empty() {
            self.change(Change::EndDetected(work.over)).await;
        }
        if !work.close.is_empty() {
            let spans = work.close.len();
            match self
                .store
                .change_spans(SpanChange::Close(work.close), Vec::new())
                .await
            {
                Ok(_) => tracing::info!(spans, "spans that were open for very long are closed"),
                Err(error) if error.is_passing() => {}
                Err(error) => tracing::warn!(%error, "open spans could not be closed"),
            }
        }
        watch
    }

    /// Raises what was found. What cannot be committed now is tried again with what is found next.
    async fn detect(&mut self, found: Vec<Detection>) {
        let mut all = std::mem::take(&mut self.unsent);
        all.extend(found);
        for part in all.chunks(DETECTIONS_MAX) {
            if !self.change(Change::Detect(part.to_vec())).await {
                let room = UNSENT_MAX.saturating_sub(self.unsent.len());
                self.unsent.extend(part.iter().take(room).cloned());
            }
        }
    }

    async fn change(&self, change: Change) -> bool {
        match self.store.alerting(change).await {
            Ok(_) => true,
            Err(error) => {
                if !error.is_passing() {
                    tracing::error!(%error, "what was found in traces could not be committed");
                }
                false
            }
        }
    }

    /// Records samples without waiting: they share a commit with scrapes.
    fn append(&self, agent: AgentId, batch: Batch) {
        let append = Append {
            agent,
            batch,
            contact: None,
            urgency: Urgency::Relaxed,
        };
        let store = self.store.clone();
        tokio::spawn(async move {
            if let Err(error) = store.append(append).await
                && !error.is_passing()
            {
                tracing::warn!(%error, "span metrics of an agent were not recorded");
            }
        });
    }
}
