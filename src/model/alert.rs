//! Alerts and their history.

use std::fmt;

use super::{AgentNo, OccurrenceNo, Timestamp};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// To be known.
    Info,
    /// To be looked at.
    Warning,
    /// Something is broken.
    Critical,
    /// The system is down.
    Emergency,
}

impl Severity {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Emergency => "emergency",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One occurrence of an alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Number of this occurrence.
    pub occurrence: OccurrenceNo,
    /// Identity over occurrences: `rule:agent:metric`, or `agent_health:<agent>`.
    pub alert_id: String,
    /// Name for people.
    pub name: String,
    /// How bad it is.
    pub severity: Severity,
    /// What happened, filled in.
    pub description: String,
    /// The agent concerned.
    pub agent: AgentNo,
    /// When it fired.
    pub fired_at: Timestamp,
    /// When it resolved, if it did.
    pub resolved_at: Option<Timestamp>,
}

impl Alert {
    /// Whether it was firing at the moment.
    pub fn is_firing_at(&self, at: Timestamp) -> bool {
        self.fired_at <= at && self.resolved_at.is_none_or(|end| end > at)
    }
}

/// What happened to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertEventKind {
    /// It began to fire.
    Fired,
    /// It stopped.
    Resolved,
}

/// One step in an alert's history.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertEvent {
    /// Which occurrence.
    pub occurrence: OccurrenceNo,
    /// When.
    pub time: Timestamp,
    /// What.
    pub kind: AlertEventKind,
    /// Why, for people.
    pub reason: String,
}
