//! What history means to people: status, health score, overview, performance report and its
//! renderings. Everything here is a function of a [`crate::model::History`] and a moment or window,
//! so that a server, a copied file and a test give the same bytes.

mod agents;
mod comparison;
mod contact;
mod coverage;
mod crew;
mod csv;
mod figures;
mod findings;
mod firing;
mod fleet;
mod health;
mod html;
mod json;
mod markdown;
mod measurements;
mod overview;
mod performance;
mod query;
mod render;
mod shape;
mod spans;
mod status;
mod text;
mod traces;
mod traffic;
mod trend;
mod unread;
mod wording;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod fleet_tests;
#[cfg(test)]
mod window_tests;

pub use agents::{agent_json, agents_json};
pub use comparison::{Change, Changes, Comparison, Source, report_with_previous};
pub use contact::Gap;
pub use findings::{Evidence, Finding};
pub use fleet::performance_report;
pub use health::{Deduction, Figure, HealthScore, health_score};
pub use overview::{AgentDetail, AlertCounts, Overview, overview};
pub use performance::{
    AgentPerformance, AlertInWindow, PerformanceReport, ReportRequest, SystemTrends,
};
pub use render::{Format, render};
pub use status::agent_status;
pub use traces::{AgentTraces, SystemTraces, TokenTotals, TokensByModel, agent_traces};
pub use trend::Trend;
pub use unread::Unread;
