//! What detectors find.

use std::fmt;

use crate::model::{AgentId, EvidenceSpan, LabelPairs, Severity, Timestamp, TraceId};

/// Spans that a finding names as evidence.
pub(super) const EVIDENCE_MAX: usize = 20;

/// The detectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Detector {
    /// Agents hand a run round in a circle.
    Loop,
    /// The same tool is called with the same arguments again and again.
    RepeatedStep,
    /// Tokens or cost near or above a budget.
    RunawayCost,
    /// Work that should have ended long ago, or an agent that fell silent within it.
    SilentStall,
    /// An agent is alive and gets nothing done.
    Idle,
    /// A hand-off that nobody takes.
    FailedHandoff,
    /// The same is tried again and again after errors.
    RetryStorm,
    /// A time-out passes from caller to caller.
    CascadingTimeout,
}

impl Detector {
    /// All.
    pub const ALL: [Self; 8] = [
        Self::Loop,
        Self::RepeatedStep,
        Self::RunawayCost,
        Self::SilentStall,
        Self::Idle,
        Self::FailedHandoff,
        Self::RetryStorm,
        Self::CascadingTimeout,
    ];

    /// Name of its alerts.
    pub const fn alert_name(self) -> &'static str {
        match self {
            Self::Loop => "trace_loop",
            Self::RepeatedStep => "trace_repeated_step",
            Self::RunawayCost => "trace_runaway_cost",
            Self::SilentStall => "trace_silent_stall",
            Self::Idle => "trace_idle",
            Self::FailedHandoff => "trace_failed_handoff",
            Self::RetryStorm => "trace_retry_storm",
            Self::CascadingTimeout => "trace_cascading_timeout",
        }
    }

    /// Whether it looks at what is the case now, so that its alerts end when it no longer is. Others tell of what
    /// happened, and their alerts end after a while.
    pub const fn is_of_present(self) -> bool {
        matches!(self, Self::SilentStall | Self::Idle)
    }
}

/// What a finding is about, beside its agent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A run: its session, or the id of its first trace.
    Run(String),
    /// A trace.
    Trace(TraceId),
    /// A UTC day, as `2026-01-31`.
    Day(String),
}

impl Subject {
    /// Name of the label that tells it.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Run(_) => "run_id",
            Self::Trace(_) => "trace_id",
            Self::Day(_) => "day",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(text) | Self::Day(text) => f.write_str(text),
            Self::Trace(id) => id.fmt(f),
        }
    }
}

/// A failure that shows in spans.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Who found it.
    pub detector: Detector,
    /// The agent concerned.
    pub agent: AgentId,
    /// The run, trace or day concerned.
    pub subject: Subject,
    /// What tells it from others of the same agent and subject, e.g. the budget and how much of it; mostly empty.
    pub mark: String,
    /// How bad it is.
    pub severity: Severity,
    /// What happened, for people.
    pub message: String,
    /// What was found.
    pub value: f64,
    /// What it was held against.
    pub threshold: f64,
    /// The end of the period that it is told once in, where there is one.
    pub until: Option<Timestamp>,
    /// Spans that show it, the most telling first; at most 20.
    pub spans: Vec<EvidenceSpan>,
}

impl Finding {
    /// Identity of its alert: `trace_loop:agent:run`.
    pub fn alert_id(&self) -> String {
        let name = self.detector.alert_name();
        let mut id = format!("{name}:{}:{}", self.agent, self.subject);
        if !self.mark.is_empty() {
            id.push(':');
            id.push_str(&self.mark);
        }
        id
    }

    /// Labels of its alert, sorted.
    pub fn labels(&self) -> LabelPairs {
        let mut labels: LabelPairs = vec![
            ("agent_id".to_owned(), self.agent.to_string()),
            (
                "alertname".to_owned(),
                self.detector.alert_name().to_owned(),
            ),
            ("severity".to_owned(), self.severity.to_string()),
            (self.subject.label().to_owned(), self.subject.to_string()),
        ];
        if !self.mark.is_empty() {
            labels.push(("budget".to_owned(), self.mark.clone()));
        }
        labels.sort();
        labels
    }
}
