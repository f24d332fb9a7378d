//! Traces as one looks into them: forests of spans, critical paths, analyses, agent graphs, profiles.
//!
//! Functions over spans alone: this room reads nothing and keeps nothing.

mod analysis;
mod awaited;
mod compare;
mod critical_path;
mod detectors;
mod forest;
mod graph;
mod groups;
mod identity;
mod latency;
mod profile;
mod retime;
mod run_index;
mod runs;
mod self_time;
mod skew;
mod span_metrics;
mod tap;
mod text;
mod watch_settings;
mod waterfall;

#[cfg(test)]
mod conformance_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

pub use analysis::{
    AgentWait, Analysis, AnalysisError, Durations, ExceptionInfo, MissingParent, Oddities,
    OperationShare, Participation, PathSegment, Retry, RootInfo, SkewShift, SpanError, WaitKind,
    analyse, to_json, to_text,
};
pub use awaited::Handover;
pub use compare::{ComparedLabel, ComparedPath, Comparison, Side, compare, compare_profiles};
pub use critical_path::{CriticalPath, Earlier, Segment};
pub use detectors::{
    BudgetSettings, CascadeSettings, DayLedger, Detector, DetectorSettings, EdgeHistory, Finding,
    HandoffSettings, IdleSettings, LoopSettings, OpenState, RepeatedSettings, RetrySettings,
    RunView, StallSettings, Subject, Surroundings, Switch, cascading_timeouts, failed_handoffs,
    judge_run, loops, open_state, quiet_agents, repeated_steps, retry_storms, run_budgets, stalls,
};
pub use forest::{Forest, NOT_RECEIVED, Node, NodeNo, UNKNOWN_AGENT};
pub use graph::{AgentGraph, AgentStats, Edge, EdgeKind, EdgeStats, edges, edges_of};
pub use latency::LatencyHistogram;
pub use profile::{
    CallTree, Cohort, Frame, FrameNo, LabelShares, LabelTimes, PathShare, Profile, ProfileReport,
    TraceTimes,
};
pub use retime::{Retimed, WhatIf, what_if};
pub use run_index::RunIndex;
pub use runs::{Run, Runs, SESSION_KEYS, runs};
pub use self_time::self_times;
pub use skew::{Shift, correct_skew};
pub use span_metrics::SpanMetrics;
pub use tap::{SpanTap, StatusCode, ToldSpan, ToldSpans};
pub use watch_settings::WatchSettings;
pub use waterfall::{WaterfallOptions, waterfall};
