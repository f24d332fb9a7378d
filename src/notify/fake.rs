//! Alerts, notifications and an outbox in memory, for tests.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::Outbox;
use crate::model::{
    Clock, Delivery, DeliveryOutcome, Notification, NotifiedAlert, OccurrenceNo, Severity,
    Timestamp,
};

/// 2026-01-01T00:00:00Z.
pub(super) const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

pub(super) fn firing(occurrence: u64) -> NotifiedAlert {
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    NotifiedAlert {
        occurrence: OccurrenceNo(occurrence),
        alert_id: format!("HighCpu:agent-{occurrence}:cpu"),
        severity: Severity::Critical,
        description: format!("cpu of agent-{occurrence} is 97"),
        labels: vec![
            label("agent_id", &format!("agent-{occurrence}")),
            label("alertname", "HighCpu"),
            label("severity", "critical"),
        ],
        annotations: vec![label("runbook", "https://runbooks.example/cpu")],
        fired_at: START,
        resolved_at: None,
        value: Some("97".to_owned()),
        fingerprint: format!("{occurrence:016x}"),
    }
}

pub(super) fn resolved(occurrence: u64) -> NotifiedAlert {
    NotifiedAlert {
        resolved_at: Some(START.plus_millis(90_000)),
        ..firing(occurrence)
    }
}

pub(super) fn notification(group: &str, alerts: Vec<NotifiedAlert>) -> Notification {
    Notification {
        group_key: group.to_owned(),
        group_labels: vec![("alertname".to_owned(), "HighCpu".to_owned())],
        alerts,
        truncated: 0,
        is_escalation: false,
    }
}

/// A delivery to the channel `c` that is due at once.
pub(super) fn delivery(sequence: u64, group: &str) -> Delivery {
    Delivery {
        sequence,
        channel: "c".to_owned(),
        idempotency_key: format!("key-{sequence}"),
        created_at: START,
        attempts: 0,
        next_attempt: Some(START),
        last_error: String::new(),
        notification: notification(group, vec![firing(sequence)]),
    }
}

/// A clock that goes with the runtime's time, which tests may stop and which then jumps to what is awaited.
#[derive(Debug)]
pub(super) struct RuntimeClock(tokio::time::Instant);

impl RuntimeClock {
    /// Shows [`START`] now.
    pub(super) fn start() -> Arc<dyn Clock> {
        Arc::new(Self(tokio::time::Instant::now()))
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        START.plus_millis(self.0.elapsed().as_millis() as i64)
    }
}

/// What an outbox was told about an attempt.
pub(super) type Settled = (u64, DeliveryOutcome, Option<Timestamp>);

#[derive(Default)]
struct Content {
    deliveries: BTreeMap<u64, Arc<Delivery>>,
    settled: Vec<Settled>,
    failures: u32,
}

/// An outbox in memory.
#[derive(Clone)]
pub(super) struct MemoryOutbox {
    content: Arc<Mutex<Content>>,
    turns: Arc<watch::Sender<u64>>,
}

impl MemoryOutbox {
    pub(super) fn of(deliveries: impl IntoIterator<Item = Delivery>) -> Self {
        let outbox = Self {
            content: Arc::default(),
            turns: Arc::new(watch::Sender::new(0)),
        };
        deliveries.into_iter().for_each(|d| outbox.put(d));
        outbox
    }

    pub(super) fn put(&self, delivery: Delivery) {
        let key = delivery.sequence;
        self.content.lock().deliveries.insert(key, delivery.into());
        self.turns.send_modify(|n| *n += 1);
    }

    /// So many of the next attempts to settle fail.
    pub(super) fn fail_next(&self, settles: u32) {
        self.content.lock().failures = settles;
    }

    pub(super) fn settled(&self) -> Vec<Settled> {
        self.content.lock().settled.clone()
    }

    /// Deliveries that were given up.
    pub(super) fn dead(&self) -> Vec<Arc<Delivery>> {
        let content = self.content.lock();
        let all = content.deliveries.values();
        all.filter(|d| d.is_dead()).cloned().collect()
    }

    /// Returns once `holds` does; the test's own time-out ends one that never does.
    pub(super) async fn until(&self, mut holds: impl FnMut(&Self) -> bool) {
        let mut turns = self.changed();
        while !holds(self) {
            turns.changed().await.unwrap();
        }
    }

    /// Returns once nothing waits any more.
    pub(super) async fn until_empty(&self) {
        self.until(|o| o.content.lock().deliveries.values().all(|d| d.is_dead()))
            .await;
    }
}

impl Outbox for MemoryOutbox {
    fn waiting(&self, channel: &str) -> Vec<Arc<Delivery>> {
        let content = self.content.lock();
        let all = content.deliveries.values();
        all.filter(|d| d.channel == channel && !d.is_dead())
            .cloned()
            .collect()
    }

    async fn settle(
        &self,
        sequence: u64,
        outcome: DeliveryOutcome,
        next_attempt: Option<Timestamp>,
    ) -> Result<(), String> {
        {
            let mut content = self.content.lock();
            if content.failures > 0 {
                content.failures -= 1;
                return Err("the disk is full".to_owned());
            }
            let mut delivery = Delivery::clone(&content.deliveries[&sequence]);
            delivery.attempts += 1;
            delivery.next_attempt = next_attempt;
            match &outcome {
                DeliveryOutcome::Delivered => {
                    content.deliveries.remove(&sequence);
                }
                DeliveryOutcome::Failed { error, .. } | DeliveryOutcome::Refused { error } => {
                    error.clone_into(&mut delivery.last_error);
                    content.deliveries.insert(sequence, delivery.into());
                }
            }
            content.settled.push((sequence, outcome, next_attempt));
        }
        self.turns.send_modify(|n| *n += 1);
        Ok(())
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }
}
