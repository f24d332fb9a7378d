//! Traces as one looks into them: forests of spans, critical paths, analyses, agent graphs, profiles.
//!
//! Functions over spans alone: this room reads nothing and keeps nothing.

mod analysis;
mod awaited;
mod critical_path;
mod forest;
mod graph;
mod groups;
mod identity;
mod latency;
mod retime;
mod self_time;
mod skew;
mod text;

#[cfg(test)]
mod conformance_tests;
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
pub use critical_path::{CriticalPath, Earlier, Segment};
pub use forest::{Forest, NOT_RECEIVED, Node, NodeNo, UNKNOWN_AGENT};
pub use graph::{AgentGraph, AgentStats, Edge, EdgeKind, EdgeStats, edges, edges_of};
pub use latency::LatencyHistogram;
pub use retime::{Retimed, WhatIf, what_if};
pub use self_time::self_times;
pub use skew::{Shift, correct_skew};
