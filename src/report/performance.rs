//! The performance report as a plain value: figures per agent, system trends, alerts, and what to do.

use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::model::{
    Agent, AgentId, AgentStatus, Alert, History, ReadError, Severity, Summary, Timestamp, Window,
};

use super::{
    coverage::coverage,
    figures::{AgentFigures, agent_figures},
    findings::{Finding, judge},
    firing::{AlertBook, firing_ms, resolved_by},
    health::{Deduction, score_of},
    shape,
    status::agent_status,
};

/// Milliseconds of an hour.
const HOUR_MS: f64 = 3_600_000.0;

/// What a report is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRequest {
    /// Window of time `(from, to]`; the report speaks as of its end.
    pub window: Window,
    /// One agent only, if given; the rule about the whole fleet is left out then.
    pub agent: Option<AgentId>,
}

/// Figures of one agent in the window. Averages and extremes are 0 where nothing was measured; the
/// counts of samples beside them tell that from a measured 0.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgentPerformance {
    /// Whose. The key in JSON.
    #[serde(skip)]
    pub agent_id: AgentId,
    /// Collected samples, without series that longwatch derives.
    pub total_metrics: u64,
    /// First sample of cpu or memory in the window; where charts may begin.
    #[serde(skip)]
    pub measured_from: Option<Timestamp>,
    /// Mean percent of cpu over all samples that are numbers.
    #[serde(serialize_with = "shape::number")]
    pub avg_cpu_usage: f64,
    /// Largest percent of cpu.
    #[serde(serialize_with = "shape::number")]
    pub max_cpu_usage: f64,
    /// Mean percent of memory over all samples that are numbers.
    #[serde(serialize_with = "shape::number")]
    pub avg_memory_usage: f64,
    /// Largest percent of memory.
    #[serde(serialize_with = "shape::number")]
    pub max_memory_usage: f64,
    /// 0 to 100, over this window.
    #[serde(serialize_with = "shape::number")]
    pub health_score: f64,
    /// What took points off the score.
    pub deductions: Vec<Deduction>,
    /// Smallest percent of cpu.
    #[serde(serialize_with = "shape::number")]
    pub min_cpu_usage: f64,
    /// Smallest percent of memory.
    #[serde(serialize_with = "shape::number")]
    pub min_memory_usage: f64,
    /// Samples of cpu that are numbers.
    pub cpu_samples: u64,
    /// Samples of memory that are numbers.
    pub memory_samples: u64,
    /// Status at the window's end.
    #[serde(serialize_with = "shape::text")]
    pub status: AgentStatus,
    /// Last time by the window's end that it answered.
    #[serde(serialize_with = "shape::maybe_text")]
    pub last_heartbeat: Option<Timestamp>,
    /// Occurrences of alerts that fired in the window.
    pub alerts: u64,
    /// Seconds of firing in the window, summed over those occurrences.
    #[serde(serialize_with = "shape::short_number")]
    pub alert_firing_seconds: f64,
    /// Share of the window's contacts that succeeded, 0 to 1; `None` when there was no contact.
    #[serde(serialize_with = "shape::maybe_number")]
    pub availability: Option<f64>,
}

/// Figures over all agents of the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SystemTrends {
    /// Collected samples of all agents.
    pub total_metrics_in_window: u64,
    /// Mean percent of cpu over all samples of all agents; 0 without any.
    #[serde(serialize_with = "shape::number")]
    pub average_system_cpu: f64,
    /// Mean percent of memory over all samples of all agents; 0 without any.
    #[serde(serialize_with = "shape::number")]
    pub average_system_memory: f64,
    /// Samples behind the average of cpu.
    pub cpu_samples: u64,
    /// Samples behind the average of memory.
    pub memory_samples: u64,
    /// Mean health score of the agents that have data; `None` without any.
    #[serde(serialize_with = "shape::maybe_number")]
    pub average_health_score: Option<f64>,
    /// Agents in the report.
    pub total_agents: u64,
    /// Those whose status is active.
    pub active_agents: u64,
    /// Those whose status is unhealthy.
    pub unhealthy_agents: u64,
    /// Those whose status is stale.
    pub stale_agents: u64,
    /// Those whose status is unknown.
    pub unknown_agents: u64,
}

/// An occurrence of an alert that fired in the window, as it stood at the window's end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlertInWindow {
    /// Identity over occurrences.
    pub alert_id: String,
    /// Name for people.
    pub alert_name: String,
    /// How bad it is.
    #[serde(serialize_with = "shape::text")]
    pub severity: Severity,
    /// What happened.
    pub description: String,
    /// The agent concerned.
    #[serde(serialize_with = "shape::text")]
    pub agent_id: AgentId,
    /// When it fired; may lie before the window.
    #[serde(serialize_with = "shape::text")]
    pub fired: Timestamp,
    /// When it resolved; `None` while it fires at the window's end.
    #[serde(serialize_with = "shape::maybe_text")]
    pub resolved: Option<Timestamp>,
    /// Seconds of firing within the window.
    #[serde(serialize_with = "shape::short_number")]
    pub duration_seconds: f64,
}

/// The report. Serializes as `{"performance_report": {...}}` with a fixed order of keys.
#[derive(Clone, Debug, PartialEq)]
pub struct PerformanceReport {
    /// Window it covers; its end is the report's timestamp.
    pub window: Window,
    /// Share of the window in which the server ran, 0 to 1.
    pub coverage: f64,
    /// Figures per agent registered at the window's end, sorted by id.
    pub agents: Vec<AgentPerformance>,
    /// Figures over all of them.
    pub trends: SystemTrends,
    /// What to do, worst first, in the document's words.
    pub recommendations: Vec<String>,
    /// What is wrong, worst first, each with its evidence.
    pub findings: Vec<Finding>,
    /// Alerts that fired in the window, oldest first.
    pub alerts: Vec<AlertInWindow>,
}

impl PerformanceReport {
    /// Length of the window in hours.
    pub fn time_window_hours(&self) -> f64 {
        self.window.length_ms() as f64 / HOUR_MS
    }

    /// Agents from the worst score to the best, then by id.
    pub fn worst_first(&self) -> Vec<&AgentPerformance> {
        let mut agents: Vec<_> = self.agents.iter().collect();
        agents.sort_by(|a, b| {
            a.health_score
                .total_cmp(&b.health_score)
                .then_with(|| a.agent_id.cmp(&b.agent_id))
        });
        agents
    }
}

#[derive(Serialize)]
struct Short(#[serde(serialize_with = "shape::short_number")] f64);

#[derive(Serialize)]
struct ByAgent<'a>(
    #[serde(serialize_with = "shape::pairs")] Vec<(&'a AgentId, &'a AgentPerformance)>,
);

struct Body<'a>(&'a PerformanceReport);

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let report = self.0;
        let by_agent = report.agents.iter().map(|a| (&a.agent_id, a)).collect();
        let mut body = serializer.serialize_struct("Body", 10)?;
        body.serialize_field("time_window_hours", &Short(report.time_window_hours()))?;
        body.serialize_field("from", &report.window.from.to_rfc3339())?;
        body.serialize_field("to", &report.window.to.to_rfc3339())?;
        body.serialize_field("report_timestamp", &report.window.to.to_rfc3339())?;
        body.serialize_field("coverage", &Short(report.coverage))?;
        body.serialize_field("agent_performance", &ByAgent(by_agent))?;
        body.serialize_field("system_trends", &report.trends)?;
        body.serialize_field("recommendations", &report.recommendations)?;
        body.serialize_field("findings", &report.findings)?;
        body.serialize_field("alerts", &report.alerts)?;
        body.end()
    }
}

impl Serialize for PerformanceReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut envelope = serializer.serialize_struct("PerformanceReport", 1)?;
        envelope.serialize_field("performance_report", &Body(self))?;
        envelope.end()
    }
}

/// Computes the report. Only agents registered at the window's end are in it.
pub fn performance_report(
    history: &dyn History,
    request: &ReportRequest,
) -> Result<PerformanceReport, ReadError> {
    let window = request.window;
    let mut registered = history.agents(window.to);
    registered.retain(|agent| request.agent.as_ref().is_none_or(|id| *id == agent.id));
    registered.sort_by(|a, b| a.id.cmp(&b.id));
    let book = AlertBook::read(history, window)?;
    let weights = history.policy(window.to).health;
    let (mut cpu, mut memory) = (Summary::default(), Summary::default());
    let mut agents = Vec::with_capacity(registered.len());
    let mut alerts = Vec::new();
    for agent in &registered {
        let figures = agent_figures(history, agent.no, window)?;
        cpu.merge(&figures.cpu);
        memory.merge(&figures.memory);
        let verdict = agent_status(history, agent, window.to)?;
        let health = score_of(&figures, verdict.status, &book.firing(agent.no), &weights);
        let occurrences = book.of(agent.no);
        let firing_seconds: i64 = occurrences.iter().map(|a| firing_ms(a, window)).sum();
        agents.push(AgentPerformance {
            health_score: health.score,
            deductions: health.deductions,
            status: verdict.status,
            last_heartbeat: verdict.last_heartbeat,
            alerts: occurrences.len() as u64,
            alert_firing_seconds: firing_seconds as f64 / 1000.0,
            ..measurements(agent, &figures)
        });
        alerts.extend(occurrences.iter().map(|a| in_window(a, agent, window)));
    }
    alerts.sort_by(|a, b| {
        (a.fired, &a.agent_id, &a.alert_id).cmp(&(b.fired, &b.agent_id, &b.alert_id))
    });
    let mut report = PerformanceReport {
        window,
        coverage: coverage(history, window),
        trends: trends(&agents, &cpu, &memory),
        agents,
        recommendations: Vec::new(),
        findings: Vec::new(),
        alerts,
    };
    (report.recommendations, report.findings) = judge(&report, request.agent.is_none(), &weights);
    Ok(report)
}

/// What the samples alone say; status, score and alerts are filled in by the caller.
fn measurements(agent: &Agent, figures: &AgentFigures) -> AgentPerformance {
    let AgentFigures {
        total_metrics,
        cpu,
        memory,
        up,
    } = figures;
    AgentPerformance {
        agent_id: agent.id.clone(),
        total_metrics: *total_metrics,
        measured_from: [cpu.first, memory.first]
            .into_iter()
            .flatten()
            .map(|s| s.time)
            .min(),
        avg_cpu_usage: cpu.mean().unwrap_or(0.0),
        max_cpu_usage: cpu.max.unwrap_or(0.0),
        avg_memory_usage: memory.mean().unwrap_or(0.0),
        max_memory_usage: memory.max.unwrap_or(0.0),
        health_score: 0.0,
        deductions: Vec::new(),
        min_cpu_usage: cpu.min.unwrap_or(0.0),
        min_memory_usage: memory.min.unwrap_or(0.0),
        cpu_samples: cpu.numbers(),
        memory_samples: memory.numbers(),
        status: AgentStatus::Unknown,
        last_heartbeat: None,
        alerts: 0,
        alert_firing_seconds: 0.0,
        // `up` is 1 or 0, so its mean is the share of contacts that succeeded.
        availability: up.mean(),
    }
}

fn in_window(alert: &Alert, agent: &Agent, window: Window) -> AlertInWindow {
    AlertInWindow {
        alert_id: alert.alert_id.clone(),
        alert_name: alert.name.clone(),
        severity: alert.severity,
        description: alert.description.clone(),
        agent_id: agent.id.clone(),
        fired: alert.fired_at,
        resolved: resolved_by(alert, window.to),
        duration_seconds: firing_ms(alert, window) as f64 / 1000.0,
    }
}

fn trends(agents: &[AgentPerformance], cpu: &Summary, memory: &Summary) -> SystemTrends {
    let with_status = |status| agents.iter().filter(|a| a.status == status).count() as u64;
    let scores: Vec<f64> = agents
        .iter()
        .filter(|a| a.total_metrics > 0)
        .map(|a| a.health_score)
        .collect();
    SystemTrends {
        total_metrics_in_window: agents.iter().map(|a| a.total_metrics).sum(),
        average_system_cpu: cpu.mean().unwrap_or(0.0),
        average_system_memory: memory.mean().unwrap_or(0.0),
        cpu_samples: cpu.numbers(),
        memory_samples: memory.numbers(),
        average_health_score: (!scores.is_empty())
            .then(|| scores.iter().sum::<f64>() / scores.len() as f64),
        total_agents: agents.len() as u64,
        active_agents: with_status(AgentStatus::Active),
        unhealthy_agents: with_status(AgentStatus::Unhealthy),
        stale_agents: with_status(AgentStatus::Stale),
        unknown_agents: with_status(AgentStatus::Unknown),
    }
}
