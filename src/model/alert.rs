//! Alerts and their history.
//!
//! These values are stored as JSON by `codec::alerting`: a field that comes later needs a default, and none is
//! ever renamed.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AgentNo, OccurrenceNo, Span, SpanId, Timestamp, TraceId};

/// Names and values of labels or annotations, sorted by name.
pub type LabelPairs = Vec<(String, String)>;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// All of them, mildest first.
    pub const ALL: [Self; 4] = [Self::Info, Self::Warning, Self::Critical, Self::Emergency];

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

/// What raised an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertSource {
    /// The agent health alert.
    Health,
    /// A rule; the alert's name is the rule's.
    Rule,
    /// Somebody else's alert, posted to the Alertmanager API.
    External,
    /// A detector of failures in traces.
    Detector,
}

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertState {
    /// Its condition holds, but not yet long enough.
    Pending,
    /// It fires.
    Firing,
    /// It fired, and it is over.
    Resolved,
    /// It was pending, and it is over without having fired.
    Ended,
}

impl AlertState {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Ended => "ended",
        }
    }
}

/// Somebody looks after an alert. It holds until the alert resolves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Who.
    pub by: String,
    /// What they say.
    pub comment: String,
    /// Since when.
    pub at: Timestamp,
}

/// One occurrence of an alert, from the first evaluation at which its condition held to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Number of this occurrence; part of the key where it is stored.
    #[serde(skip)]
    pub occurrence: OccurrenceNo,
    /// The agent concerned, [`AgentNo::NONE`] if there is none; part of the key.
    #[serde(skip)]
    pub agent: AgentNo,
    /// When its condition first held; part of the key.
    #[serde(skip, default = "epoch")]
    pub active_at: Timestamp,
    /// Identity over occurrences: `rule:agent:metric`, or `agent_health:<agent>`.
    pub alert_id: String,
    /// Name for people.
    pub name: String,
    /// Name of the rule that raised it, where that is another: rules of Prometheus rule files share names of alerts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// How bad it is.
    pub severity: Severity,
    /// What happened, filled in.
    pub description: String,
    /// What raised it.
    pub source: AlertSource,
    /// The series concerned, as `name{label="value"}`; empty if it is about none.
    #[serde(default)]
    pub series: String,
    /// Labels that silences, routes and inhibitions match: alertname, `agent_id`, `metric_name`, severity and
    /// those of the series.
    pub labels: LabelPairs,
    /// More to be said, filled in.
    #[serde(default)]
    pub annotations: LabelPairs,
    /// When it fired, if it did.
    pub fired_at: Option<Timestamp>,
    /// When it was over, if it is.
    pub resolved_at: Option<Timestamp>,
    /// Since when it fires on without its condition (`keep_firing_for`, flap damping).
    #[serde(default)]
    pub kept_since: Option<Timestamp>,
    /// Since when there is no data to judge it by.
    #[serde(default)]
    pub no_data_since: Option<Timestamp>,
    /// Milliseconds since `active_at` (while pending) or `kept_since` that do not count: nothing was known, or the
    /// server was down.
    #[serde(default)]
    pub paused_ms: i64,
    /// The value that was judged at the last change of state.
    #[serde(default, with = "exact")]
    pub value: Option<f64>,
    /// Who looks after it.
    #[serde(default)]
    pub acknowledged: Option<Acknowledgement>,
    /// When an external alert is over unless it is sent again, and a detector's unless it is found again.
    #[serde(default)]
    pub ends_at: Option<Timestamp>,
}

const fn epoch() -> Timestamp {
    Timestamp::from_millis(0)
}

impl Alert {
    /// An alert that fires at once.
    pub fn fired(
        occurrence: OccurrenceNo,
        agent: AgentNo,
        alert_id: impl Into<String>,
        name: impl Into<String>,
        severity: Severity,
        at: Timestamp,
    ) -> Self {
        Self {
            occurrence,
            agent,
            active_at: at,
            alert_id: alert_id.into(),
            name: name.into(),
            rule: String::new(),
            severity,
            description: String::new(),
            source: AlertSource::Rule,
            series: String::new(),
            labels: Vec::new(),
            annotations: Vec::new(),
            fired_at: Some(at),
            resolved_at: None,
            kept_since: None,
            no_data_since: None,
            paused_ms: 0,
            value: None,
            acknowledged: None,
            ends_at: None,
        }
    }

    /// Name of the rule that raised it, if one did.
    pub fn rule_name(&self) -> &str {
        if self.rule.is_empty() {
            &self.name
        } else {
            &self.rule
        }
    }

    /// Whether it was firing at the moment.
    pub fn is_firing_at(&self, at: Timestamp) -> bool {
        self.fired_at.is_some_and(|fired| fired <= at)
            && self.resolved_at.is_none_or(|end| end > at)
    }

    /// Whether it is pending or firing, as it is known here.
    pub const fn is_open(&self) -> bool {
        self.resolved_at.is_none()
    }

    /// When an external alert is over unless it is sent again. Senders get five minutes after a start of the server.
    pub fn ends_with(&self, started: Option<Timestamp>) -> Option<Timestamp> {
        const GRACE_MS: i64 = 300_000;
        let grace = started.map(|at| at.plus_millis(GRACE_MS));
        self.ends_at
            .map(|end| grace.map_or(end, |grace| end.max(grace)))
    }

    /// Where it stands, as it is known here.
    pub const fn state(&self) -> AlertState {
        match (self.fired_at, self.resolved_at) {
            (None, None) => AlertState::Pending,
            (Some(_), None) => AlertState::Firing,
            (Some(_), Some(_)) => AlertState::Resolved,
            (None, Some(_)) => AlertState::Ended,
        }
    }

    /// The alert as it stood at a moment, without what came later. The value is that of the last change.
    #[must_use]
    pub fn as_of(&self, at: Timestamp) -> Self {
        let mut alert = self.clone();
        let by = |time: &Timestamp| *time <= at;
        alert.fired_at = alert.fired_at.filter(by);
        alert.resolved_at = alert.resolved_at.filter(by);
        alert.acknowledged = alert.acknowledged.filter(|ack| ack.at <= at);
        alert.kept_since = alert.kept_since.filter(by);
        alert.no_data_since = alert.no_data_since.filter(by);
        alert
    }

    /// A label's value.
    pub fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// What happened to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertEventKind {
    /// Its condition began to hold.
    Pending,
    /// It began to fire.
    Fired,
    /// It stopped firing.
    Resolved,
    /// It stopped being pending without having fired.
    Ended,
    /// Its condition ended, but it is kept firing.
    Kept,
    /// There is no data to judge it by.
    NoData,
    /// There is data again, or its condition holds again.
    Returned,
    /// Somebody looks after it.
    Acknowledged,
    /// A silence, a maintenance window or another alert keeps it from being notified.
    Muted,
    /// Nothing keeps it from being notified any more.
    Unmuted,
    /// A notification of it is due.
    Queued,
    /// A notification of it was delivered.
    Delivered,
    /// A notification of it could not be delivered; there will be another attempt.
    DeliveryFailed,
    /// A notification of it could not be delivered and was given up.
    DeliveryGivenUp,
    /// Nobody acknowledged it in time.
    Escalated,
}

impl AlertEventKind {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Fired => "fired",
            Self::Resolved => "resolved",
            Self::Ended => "ended",
            Self::Kept => "kept_firing",
            Self::NoData => "no_data",
            Self::Returned => "returned",
            Self::Acknowledged => "acknowledged",
            Self::Muted => "muted",
            Self::Unmuted => "unmuted",
            Self::Queued => "notification_queued",
            Self::Delivered => "notification_delivered",
            Self::DeliveryFailed => "notification_failed",
            Self::DeliveryGivenUp => "notification_given_up",
            Self::Escalated => "escalated",
        }
    }
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
    /// Who did it; empty for longwatch itself.
    pub actor: String,
}

/// What an alert rested on at a change of state, frozen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// When the change happened.
    pub time: Timestamp,
    /// The change.
    pub kind: AlertEventKind,
    /// The rule as it was, as JSON.
    pub rule: String,
    /// The threshold that counted.
    #[serde(default, with = "exact")]
    pub threshold: Option<f64>,
    /// The value that was judged.
    #[serde(default, with = "exact")]
    pub value: Option<f64>,
    /// The series' last samples up to then: milliseconds since the epoch, value.
    pub samples: Vec<EvidenceSample>,
    /// Spans that it was found in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<EvidenceSpan>,
    /// Traces of the agent around that time, those that failed first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traces: Vec<TraceId>,
}

/// A span of [`Evidence`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceSpan {
    /// Its trace.
    pub trace_id: TraceId,
    /// It.
    pub span_id: SpanId,
    /// Who did it.
    pub agent_id: String,
    /// What it did.
    pub operation: String,
}

impl From<&Span> for EvidenceSpan {
    fn from(span: &Span) -> Self {
        Self {
            trace_id: span.trace_id,
            span_id: span.span_id,
            agent_id: span.agent.to_string(),
            operation: span.name.to_string(),
        }
    }
}

/// A sample of [`Evidence`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvidenceSample(pub Timestamp, #[serde(with = "exact_number")] pub f64);

/// Alerts that fit all matchers are not notified for a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Silence {
    /// Its id.
    pub id: String,
    /// What it silences: alerts that fit all of them.
    pub matchers: Vec<super::Matcher>,
    /// From when.
    pub starts_at: Timestamp,
    /// Until when.
    pub ends_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed or ended last.
    pub updated_at: Timestamp,
}

impl Silence {
    /// `pending`, `active` or `expired`.
    pub fn state(&self, at: Timestamp) -> &'static str {
        if at >= self.ends_at {
            "expired"
        } else if at < self.starts_at {
            "pending"
        } else {
            "active"
        }
    }

    /// Whether it silences alerts with such labels now.
    pub fn silences(&self, labels: &[(String, String)], at: Timestamp) -> bool {
        self.starts_at <= at && at < self.ends_at && self.matchers.iter().all(|m| m.fits(labels))
    }
}

/// Numbers that JSON lacks, as the strings `NaN`, `+Inf`, `-Inf`.
mod exact_number {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[derive(Deserialize)]
    #[serde(untagged)]
    pub(super) enum Number {
        Finite(f64),
        Other(String),
    }

    pub(super) fn text(value: f64) -> Option<&'static str> {
        if value.is_nan() {
            Some("NaN")
        } else if value == f64::INFINITY {
            Some("+Inf")
        } else if value == f64::NEG_INFINITY {
            Some("-Inf")
        } else {
            None
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
    pub(super) fn serialize<S: Serializer>(value: &f64, out: S) -> Result<S::Ok, S::Error> {
        match text(*value) {
            Some(text) => out.serialize_str(text),
            None => out.serialize_f64(*value),
        }
    }

    pub(super) fn value(number: &Number) -> Result<f64, &'static str> {
        match number {
            Number::Finite(value) => Ok(*value),
            Number::Other(text) => match text.as_str() {
                "NaN" => Ok(f64::NAN),
                "+Inf" => Ok(f64::INFINITY),
                "-Inf" => Ok(f64::NEG_INFINITY),
                _ => Err("not a number"),
            },
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        value(&Number::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// The same where there may be none.
mod exact {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::exact_number::{self, Number};

    #[expect(clippy::ref_option, reason = "serde asks for it")]
    pub(super) fn serialize<S: Serializer>(value: &Option<f64>, out: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => exact_number::serialize(value, out),
            None => out.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
        let number = Option::<Number>::deserialize(from)?;
        let value = number.as_ref().map(exact_number::value).transpose();
        value.map_err(D::Error::custom)
    }
}
