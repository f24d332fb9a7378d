//! The system overview at a moment.

use std::collections::HashSet;

use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::model::{AgentId, AgentStatus, Alert, History, ReadError, Severity, Timestamp, Window};

use super::{
    figures::{Collected, collected},
    firing::AlertBook,
    health::health_score_with,
    shape,
    status::agent_status,
};

/// One agent in the overview.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgentDetail {
    /// Whose. The key in JSON.
    #[serde(skip)]
    pub agent_id: AgentId,
    /// Status at the moment.
    #[serde(serialize_with = "shape::text")]
    pub status: AgentStatus,
    /// Milliseconds since it last answered; seconds in JSON.
    #[serde(
        rename = "last_heartbeat_seconds_ago",
        serialize_with = "shape::maybe_seconds"
    )]
    pub last_heartbeat_ms_ago: Option<i64>,
    /// When it was registered.
    #[serde(serialize_with = "shape::text")]
    pub registration_time: Timestamp,
    /// 0 to 100, over the policy's health window.
    #[serde(serialize_with = "shape::number")]
    pub health_score: f64,
}

/// Alerts by the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AlertCounts {
    /// Distinct alert ids that fired within retention.
    pub total_alerts: u64,
    /// Those that fire.
    pub active_alerts: u64,
    /// Those that fire and are critical.
    pub critical_alerts: u64,
    /// Those that fire and are warnings.
    pub warning_alerts: u64,
    /// Those that fire and are emergencies.
    pub emergency_alerts: u64,
    /// Those that fire and are for information.
    pub info_alerts: u64,
}

/// The overview. Serializes as `{"system_overview": {...}}` with a fixed order of keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Overview {
    /// The moment it speaks of.
    pub at: Timestamp,
    /// Agents registered at the moment, sorted by id.
    pub agents: Vec<AgentDetail>,
    /// Alerts.
    pub alerts: AlertCounts,
    /// Samples retained, without series that longwatch derives.
    pub total_metrics_collected: u64,
    /// Distinct pairs of agent and metric among them.
    pub unique_metric_types: u64,
    /// Default interval of collection, in milliseconds.
    pub interval_ms: i64,
}

#[derive(Serialize)]
struct AgentsBody<'a> {
    total_agents: usize,
    active_agents: usize,
    unhealthy_agents: usize,
    stale_agents: usize,
    unknown_agents: usize,
    #[serde(serialize_with = "shape::pairs")]
    agents_detail: Vec<(&'a AgentId, &'a AgentDetail)>,
}

#[derive(Serialize)]
struct MetricsBody {
    total_metrics_collected: u64,
    unique_metric_types: u64,
    collection_interval_seconds: serde_json::Value,
}

#[derive(Serialize)]
struct Body<'a> {
    timestamp: String,
    agents: AgentsBody<'a>,
    alerts: AlertCounts,
    metrics: MetricsBody,
}

impl Serialize for Overview {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let with_status = |status| self.agents.iter().filter(|a| a.status == status).count();
        let body = Body {
            timestamp: self.at.to_rfc3339(),
            agents: AgentsBody {
                total_agents: self.agents.len(),
                active_agents: with_status(AgentStatus::Active),
                unhealthy_agents: with_status(AgentStatus::Unhealthy),
                stale_agents: with_status(AgentStatus::Stale),
                unknown_agents: with_status(AgentStatus::Unknown),
                agents_detail: self.agents.iter().map(|a| (&a.agent_id, a)).collect(),
            },
            alerts: self.alerts,
            metrics: MetricsBody {
                total_metrics_collected: self.total_metrics_collected,
                unique_metric_types: self.unique_metric_types,
                collection_interval_seconds: shape::seconds_value(self.interval_ms),
            },
        };
        let mut envelope = serializer.serialize_struct("Overview", 1)?;
        envelope.serialize_field("system_overview", &body)?;
        envelope.end()
    }
}

/// The overview as of the moment.
pub fn overview(history: &dyn History, at: Timestamp) -> Result<Overview, ReadError> {
    let policy = history.policy(at);
    let window = Window::ending_at(at, policy.health_window_ms);
    let firing = AlertBook::firing_at(history, at)?;
    let mut registered = history.agents(at);
    registered.sort_by(|a, b| a.id.cmp(&b.id));
    let mut agents = Vec::with_capacity(registered.len());
    let mut total = Collected::default();
    for agent in &registered {
        let verdict = agent_status(history, agent, at)?;
        let own = collected(history, agent.no, Window::until(at))?;
        total.samples += own.samples;
        total.metrics += own.metrics;
        agents.push(AgentDetail {
            agent_id: agent.id.clone(),
            status: verdict.status,
            last_heartbeat_ms_ago: verdict.last_heartbeat.map(|time| at.since(time)),
            registration_time: agent.registered_at,
            health_score: health_score_with(history, agent, window, &firing)?.score,
        });
    }
    Ok(Overview {
        at,
        agents,
        alerts: count_alerts(&history.alerts(Window::until(at))?, at),
        total_metrics_collected: total.samples,
        unique_metric_types: total.metrics,
        interval_ms: policy.interval_ms,
    })
}

fn count_alerts(alerts: &[Alert], at: Timestamp) -> AlertCounts {
    let ids: HashSet<&str> = alerts.iter().map(|a| a.alert_id.as_str()).collect();
    let mut counts = AlertCounts {
        total_alerts: ids.len() as u64,
        ..AlertCounts::default()
    };
    for alert in alerts.iter().filter(|a| a.is_firing_at(at)) {
        counts.active_alerts += 1;
        *match alert.severity {
            Severity::Info => &mut counts.info_alerts,
            Severity::Warning => &mut counts.warning_alerts,
            Severity::Critical => &mut counts.critical_alerts,
            Severity::Emergency => &mut counts.emergency_alerts,
        } += 1;
    }
    counts
}
