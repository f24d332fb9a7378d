//! Notifications: what is to be told of a group of alerts, to whom, and what became of it.
//!
//! Stored as JSON by `codec::alerting`, like alerts.

use serde::{Deserialize, Serialize};

use super::{LabelPairs, OccurrenceNo, Severity, Timestamp};

/// One alert as a notification tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifiedAlert {
    /// Which occurrence.
    pub occurrence: OccurrenceNo,
    /// Identity over occurrences.
    pub alert_id: String,
    /// How bad it is.
    pub severity: Severity,
    /// What happened.
    pub description: String,
    /// Labels.
    pub labels: LabelPairs,
    /// Annotations, without the description.
    pub annotations: LabelPairs,
    /// When it fired.
    pub fired_at: Timestamp,
    /// When it resolved; `None` while it fires.
    pub resolved_at: Option<Timestamp>,
    /// The value that was judged, for people.
    pub value: Option<String>,
    /// Hash of the labels, 16 hexadecimal digits, as Alertmanager has it.
    pub fingerprint: String,
}

/// What is told of a group of alerts at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Identity of the group.
    pub group_key: String,
    /// Labels that the group's alerts share by definition.
    pub group_labels: LabelPairs,
    /// The alerts: those that fire first, then those that resolved.
    pub alerts: Vec<NotifiedAlert>,
    /// So many more there are no room for.
    pub truncated: u64,
    /// Nobody acknowledged it in time; this tells the next in line.
    #[serde(default)]
    pub is_escalation: bool,
}

impl Notification {
    /// Whether anything fires.
    pub fn is_firing(&self) -> bool {
        self.alerts.iter().any(|alert| alert.resolved_at.is_none())
    }
}

/// A notification on its way to one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its place in the outbox; part of the key where it is stored.
    #[serde(skip)]
    pub sequence: u64,
    /// Channel that it goes to.
    pub channel: String,
    /// The same for every attempt.
    pub idempotency_key: String,
    /// When it was put in.
    pub created_at: Timestamp,
    /// Attempts that were made.
    pub attempts: u32,
    /// Not before this; `None` when it was given up.
    pub next_attempt: Option<Timestamp>,
    /// Why the last attempt failed.
    pub last_error: String,
    /// What is told.
    pub notification: Notification,
}

impl Delivery {
    /// Whether it was given up.
    pub const fn is_dead(&self) -> bool {
        self.next_attempt.is_none()
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// It arrived.
    Delivered,
    /// It did not, and another attempt may help.
    Failed {
        /// Why, without secrets.
        error: String,
        /// When the receiver asked to be tried again, if it did.
        retry_at: Option<Timestamp>,
    },
    /// It did not, and no other attempt would help.
    Refused {
        /// Why, without secrets.
        error: String,
    },
}

/// What a group of alerts was last told, and when it is looked at again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupState {
    /// Route that made it.
    pub route: String,
    /// Labels that its alerts share.
    pub labels: LabelPairs,
    /// When it is looked at next; `None` when nothing waits.
    pub next_flush: Option<Timestamp>,
    /// When it was looked at last.
    pub last_flush: Option<Timestamp>,
    /// When something was last told of it.
    pub last_sent: Option<Timestamp>,
    /// Occurrences that were told as firing.
    pub told_firing: Vec<OccurrenceNo>,
    /// Occurrences that are muted.
    #[serde(default)]
    pub muted: Vec<OccurrenceNo>,
    /// Occurrences that were escalated.
    #[serde(default)]
    pub escalated: Vec<OccurrenceNo>,
}
