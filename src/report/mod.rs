//! What history means to people: status, health score, overview, performance report and its
//! renderings. Everything here is a function of a [`crate::model::History`] and a moment or window,
//! so that a server, a copied file and a test give the same bytes.

mod agents;
mod coverage;
mod csv;
mod figures;
mod findings;
mod firing;
mod health;
mod html;
mod json;
mod markdown;
mod overview;
mod performance;
mod render;
mod shape;
mod status;
mod text;
mod wording;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod fleet_tests;

pub use agents::{agent_json, agents_json};
pub use findings::{Evidence, Finding};
pub use health::{Deduction, Figure, HealthScore, health_score};
pub use overview::{AgentDetail, AlertCounts, Overview, overview};
pub use performance::{
    AgentPerformance, AlertInWindow, PerformanceReport, ReportRequest, SystemTrends,
    performance_report,
};
pub use render::{Format, render};
pub use status::agent_status;
