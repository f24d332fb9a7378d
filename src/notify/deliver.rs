//! One channel's deliveries, one attempt after the other.

use std::{borrow::Cow, collections::HashSet, ops::ControlFlow, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    Outbox,
    backoff::{Backoff, due_in_ms},
    channel::{Channel, failed},
    millis,
};
use crate::{
    model::{Clock, Delivery, DeliveryOutcome, Timestamp, format_duration_ms},
    telemetry::{ByChannel, OwnMetrics},
};

/// An attempt that is under way when the server ends has so long.
const GRACE: Duration = Duration::from_secs(5);
/// The wall clock is looked at so often at least, since it may be set while somebody waits for it.
const LONGEST_SLEEP_MS: i64 = 60_000;
/// Pause after the outbox could not take down how an attempt ended.
const SETTLE_PAUSE: Duration = Duration::from_secs(1);

/// Delivers what waits for one channel.
pub(super) struct Deliverer<O, C> {
    pub(super) outbox: O,
    /// Name of the channel.
    pub(super) name: String,
    /// Whether the channel is told that alerts resolved.
    pub(super) send_resolved: bool,
    /// An attempt that takes longer failed.
    pub(super) timeout: Duration,
    pub(super) channel: C,
    pub(super) backoff: Backoff,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<OwnMetrics>,
    pub(super) shutdown: CancellationToken,
}

/// What is to be done next.
enum Next {
    /// Try this one.
    Attempt(Arc<Delivery>),
    /// Nothing for so many milliseconds.
    Wait(i64),
}

impl<O: Outbox, C: Channel> Deliverer<O, C> {
    /// Delivers until shutdown.
    pub(super) async fn run(self) {
        let started = self.clock.now();
        let mut changed = self.outbox.changed();
        let mut is_failing = false;
        while !self.shutdown.is_cancelled() {
            // Before looking, so that what is put in meanwhile is not missed.
            changed.borrow_and_update();
            let waiting = self.outbox.waiting(&self.name);
            let label = ByChannel::new(&self.name);
            let gauge = self
                .metrics
                .notifications_waiting
                .get_or_create_owned(&label);
            gauge.set(waiting.len() as i64);
            match next(&waiting, self.clock.now()) {
                Next::Attempt(delivery) => {
                    let attempt = self.attempt(&delivery, started, &mut is_failing);
                    if attempt.await.is_break() {
                        return;
                    }
                }
                Next::Wait(ms) => tokio::select! {
                    () = self.shutdown.cancelled() => return,
                    turned = changed.changed() => if turned.is_err() { return },
                    () = tokio::time::sleep(millis(ms)) => {}
                },
            }
        }
    }

    /// Tries once and takes down how it ended; breaks off when the server ends first.
    async fn attempt(
        &self,
        delivery: &Delivery,
        started: Timestamp,
        is_failing: &mut bool,
    ) -> ControlFlow<()> {
        let outcome = match told(delivery, self.send_resolved) {
            None => DeliveryOutcome::Delivered,
            Some(delivery) => {
                let label = ByChannel::new(&self.name);
                self.metrics
                    .notification_attempts
                    .get_or_create(&label)
                    .inc();
                tokio::select! {
                    outcome = self.try_once(&delivery) => outcome,
                    () = self.end_of_grace() => {
                        tracing::info!(
                            "notification {} to channel `{}` is interrupted; it is tried again at the next start",
                            delivery.idempotency_key, self.name
                        );
                        return ControlFlow::Break(());
                    }
                }
            }
        };
        let now = self.clock.now();
        let next = self.backoff.next_attempt(delivery, &outcome, started, now);
        self.report(delivery, &outcome, next, is_failing);
        self.settle(delivery.sequence, outcome, next).await
    }

    async fn try_once(&self, delivery: &Delivery) -> DeliveryOutcome {
        let attempt = tokio::time::timeout(self.timeout, self.channel.deliver(delivery));
        attempt.await.unwrap_or_else(|_| {
            let ms = i64::try_from(self.timeout.as_millis()).unwrap_or(i64::MAX);
            failed(format_args!("timed out after {}", format_duration_ms(ms)))
        })
    }

    async fn end_of_grace(&self) {
        self.shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    }

    /// Until it is taken down nothing else is tried: it would be tried again although it may have arrived.
    async fn settle(
        &self,
        sequence: u64,
        outcome: DeliveryOutcome,
        next: Option<Timestamp>,
    ) -> ControlFlow<()> {
        let mut is_first = true;
        while let Err(error) = self.outbox.settle(sequence, outcome.clone(), next).await {
            if std::mem::take(&mut is_first) {
                tracing::error!(
                    "channel `{}` waits: how an attempt ended cannot be recorded: {error}",
                    self.name
                );
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return ControlFlow::Break(()),
                () = tokio::time::sleep(SETTLE_PAUSE) => {}
            }
        }
        ControlFlow::Continue(())
    }

    /// Counts, and logs: an outage of the channel once, and everything that is given up.
    fn report(
        &self,
        delivery: &Delivery,
        outcome: &DeliveryOutcome,
        next: Option<Timestamp>,
        is_failing: &mut bool,
    ) {
        let (label, metrics, name) = (ByChannel::new(&self.name), &self.metrics, &self.name);
        let key = &delivery.idempotency_key;
        let error = match outcome {
            DeliveryOutcome::Delivered => {
                metrics.notifications_delivered.get_or_create(&label).inc();
                if std::mem::take(is_failing) {
                    tracing::info!("channel `{name}` delivers again");
                }
                return;
            }
            DeliveryOutcome::Failed { error, .. } | DeliveryOutcome::Refused { error } => error,
        };
        metrics.notification_failures.get_or_create(&label).inc();
        if next.is_none() {
            metrics.notifications_given_up.get_or_create(&label).inc();
            let attempts = delivery.attempts.saturating_add(1);
            tracing::error!(
                "notification {key} to channel `{name}` is given up after {attempts} attempts: {error}"
            );
        } else if !std::mem::replace(is_failing, true) {
            tracing::warn!("channel `{name}` does not deliver: {error}");
        } else {
            tracing::debug!("notification {key} to channel `{name}` failed: {error}");
        }
    }
}

/// The oldest delivery of each group may be tried; of those that are due, the one that has been for longest, so
/// that a group whose deliveries fail keeps no other waiting.
fn next(waiting: &[Arc<Delivery>], now: Timestamp) -> Next {
    let mut groups = HashSet::new();
    let mut best: Option<&Arc<Delivery>> = None;
    let mut wait = LONGEST_SLEEP_MS;
    for delivery in waiting {
        if !groups.insert(delivery.notification.group_key.as_str()) {
            continue;
        }
        let ms = due_in_ms(delivery, now);
        if ms > 0 {
            wait = wait.min(ms);
        } else if best.is_none_or(|best| delivery.next_attempt < best.next_attempt) {
            best = Some(delivery);
        }
    }
    best.map_or(Next::Wait(wait), |delivery| {
        Next::Attempt(Arc::clone(delivery))
    })
}

/// What the channel is told; `None` when there is nothing that it wants to know.
fn told(delivery: &Delivery, send_resolved: bool) -> Option<Cow<'_, Delivery>> {
    let alerts = &delivery.notification.alerts;
    if send_resolved || alerts.iter().all(|alert| alert.resolved_at.is_none()) {
        return Some(Cow::Borrowed(delivery));
    }
    let mut told = delivery.clone();
    told.notification
        .alerts
        .retain(|alert| alert.resolved_at.is_none());
    (!told.notification.alerts.is_empty()).then_some(Cow::Owned(told))
}

#[cfg(test)]
mod tests;
