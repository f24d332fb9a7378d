//! Changes of alerting that are asked of the committer, and what became of them.

use std::sync::Arc;

use crate::{
    alerts::Finding,
    model::{
        Acknowledgement, AgentNo, Alert, AlertSource, DeliveryOutcome, EvidenceSample,
        EvidenceSpan, LabelPairs, OccurrenceNo, RuleOrigin, Severity, Silence, StoredRule,
        Timestamp, TraceId,
    },
};

/// Rules that may be in force at once.
pub const RULES_MAX: usize = 5_000;
/// Alerts of other systems that may fire at once.
pub(super) const EXTERNAL_MAX: usize = 10_000;
/// Alerts of detectors that may fire at once.
pub(super) const DETECTED_MAX: usize = 10_000;
/// Silences that are kept; beyond it the oldest expired ones go.
pub(super) const SILENCES_MAX: usize = 10_000;

/// What an evaluation of a rule found out about one of its alerts.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The rule that was evaluated. If another is in force under its name by now, the observation is void.
    pub rule: Arc<StoredRule>,
    /// The agent concerned, or [`AgentNo::NONE`].
    pub agent: AgentNo,
    /// Identity of the alert.
    pub alert_id: String,
    /// The series concerned, as text; empty for an agent.
    pub series: String,
    /// Labels of the alert.
    pub labels: LabelPairs,
    /// What was found.
    pub finding: Finding,
    /// How bad it is.
    pub severity: Severity,
    /// The value that was judged.
    pub value: Option<f64>,
    /// The threshold that counted.
    pub threshold: Option<f64>,
    /// The rule's description, filled in.
    pub description: String,
    /// The rule's annotations, filled in.
    pub annotations: LabelPairs,
    /// The series' last samples, for the evidence.
    pub samples: Vec<EvidenceSample>,
    /// Traces of the agent around that time, for the evidence.
    pub traces: Vec<TraceId>,
}

/// What a detector found in traces. Its alert fires at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// The agent concerned.
    pub agent: AgentNo,
    /// Identity of the alert.
    pub alert_id: String,
    /// Name of the alert.
    pub name: String,
    /// How bad it is.
    pub severity: Severity,
    /// Labels of the alert, sorted.
    pub labels: LabelPairs,
    /// What happened, for people.
    pub description: String,
    /// What was found.
    pub value: f64,
    /// What it was held against.
    pub threshold: f64,
    /// Spans that show it, for the evidence.
    pub spans: Vec<EvidenceSpan>,
    /// When the alert is over unless it is found again; `None` when it is told that it is over.
    pub ends_at: Option<Timestamp>,
}

/// Somebody else's alert, as the Alertmanager API takes it.
#[derive(Clone, Debug)]
pub struct ExternalAlert {
    /// The agent that its labels name, if they do.
    pub agent: AgentNo,
    /// Labels, sorted.
    pub labels: LabelPairs,
    /// Annotations, sorted.
    pub annotations: LabelPairs,
    /// When it fired there.
    pub starts_at: Option<Timestamp>,
    /// When it is over unless it is sent again.
    pub ends_at: Timestamp,
}

impl ExternalAlert {
    /// Identity: the labels' fingerprint.
    pub fn alert_id(&self) -> String {
        format!("external:{}", crate::alerts::fingerprint(&self.labels))
    }

    /// Its name, severity and description.
    pub(super) fn words(&self) -> (String, Severity, String) {
        let label = |wanted: &str| {
            let found = self.labels.iter().find(|(name, _)| name == wanted);
            found.map_or("", |(_, value)| value.as_str())
        };
        let severity = Severity::ALL
            .into_iter()
            .find(|severity| severity.as_str() == label("severity"))
            .unwrap_or(Severity::Warning);
        let text = ["description", "summary", "message"]
            .iter()
            .find_map(|wanted| {
                let found = self.annotations.iter().find(|(name, _)| name == wanted);
                found.map(|(_, value)| value.clone())
            });
        (
            label("alertname").to_owned(),
            severity,
            text.unwrap_or_default(),
        )
    }
}

/// A change of alerting.
#[derive(Clone, Debug)]
pub enum Change {
    /// What evaluations found.
    Observe(Vec<Observation>),
    /// A rule comes or changes over the API.
    PutRule(StoredRule),
    /// A rule of the API goes.
    DeleteRule(String),
    /// All rules of one or more origins at once.
    ReplaceRules(Vec<(RuleOrigin, Vec<StoredRule>)>),
    /// Somebody looks after an alert.
    Acknowledge(OccurrenceNo, Acknowledgement),
    /// Somebody ends an alert; it comes back if its condition still holds.
    Resolve {
        /// Which.
        occurrence: OccurrenceNo,
        /// Who.
        by: String,
        /// Why.
        comment: String,
    },
    /// A silence comes or changes.
    PutSilence(Silence),
    /// A silence ends now.
    ExpireSilence {
        /// Which.
        id: String,
    },
    /// Somebody else's alerts.
    External(Vec<ExternalAlert>),
    /// What detectors found in traces.
    Detect(Vec<Detection>),
    /// What detectors found is the case no longer.
    EndDetected(Vec<OccurrenceNo>),
    /// Groups that are due are looked at, and external alerts that were not sent again end.
    Dispatch,
    /// Alerts that fire are put into the groups of the routes as they are now.
    Regroup,
    /// How an attempt to deliver ended.
    Settle {
        /// Place in the outbox.
        sequence: u64,
        /// How.
        outcome: DeliveryOutcome,
        /// When it is tried again; `None` gives it up unless it was delivered.
        next_attempt: Option<Timestamp>,
    },
    /// A delivery that was given up is tried again.
    Retry(u64),
}

/// What became of a change, once it is durable and visible.
#[derive(Clone, Debug, PartialEq)]
pub enum Changed {
    /// It was made; so many things changed.
    Done(usize),
    /// It was new.
    Created,
    /// The alert as it is now.
    Alert(Arc<Alert>),
    /// There is no such thing.
    Unknown,
    /// It is not in a state for it.
    Conflict(String),
}

impl Change {
    /// Bytes of memory that it takes, roughly.
    pub(super) fn bytes(&self) -> usize {
        let pairs = |pairs: &LabelPairs| -> usize {
            pairs
                .iter()
                .map(|(name, value)| 48 + name.len() + value.len())
                .sum()
        };
        match self {
            Self::Observe(all) => all
                .iter()
                .map(|o| {
                    size_of_val(o)
                        + o.alert_id.len()
                        + o.description.len()
                        + pairs(&o.labels)
                        + pairs(&o.annotations)
                        + size_of_val(o.samples.as_slice())
                        + size_of_val(o.traces.as_slice())
                })
                .sum(),
            Self::Detect(all) => all
                .iter()
                .map(|d| {
                    let spans = d
                        .spans
                        .iter()
                        .map(|s| 96 + s.agent_id.len() + s.operation.len());
                    size_of_val(d)
                        + d.alert_id.len()
                        + d.description.len()
                        + pairs(&d.labels)
                        + spans.sum::<usize>()
                })
                .sum(),
            Self::EndDetected(all) => 64 + size_of_val(all.as_slice()),
            Self::External(all) => all
                .iter()
                .map(|e| size_of_val(e) + pairs(&e.labels) + pairs(&e.annotations))
                .sum(),
            Self::ReplaceRules(all) => all
                .iter()
                .flat_map(|(_, rules)| rules)
                .map(|r| 512 + r.definition.len())
                .sum(),
            Self::PutRule(rule) => 512 + rule.definition.len(),
            _ => 512,
        }
    }
}

/// Whether an alert of a rule belongs to the rule of this name.
pub(super) fn is_of_rule(alert: &Alert, name: &str) -> bool {
    alert.source == AlertSource::Rule && alert.rule_name() == name
}
