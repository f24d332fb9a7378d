//! The performance report as a plain value: figures per agent, system trends, alerts, and what to do.

use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::model::{AgentId, AgentStatus, Severity, Timestamp, Window};

use super::{
    comparison::Comparison,
    contact::Gap,
    findings::Finding,
    health::Deduction,
    shape,
    traces::{AgentTraces, SystemTraces},
    trend::Trend,
    unread::Unread,
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
    /// Share of the time in which it was registered and the server ran that it was reached, 0 to 1: its
    /// last scrape had not failed, and its last contact was not too old. `None` for an agent that nobody
    /// has tried to reach.
    #[serde(serialize_with = "shape::maybe_number")]
    pub availability: Option<f64>,
    /// Half of the samples of cpu are not above this percent; percentiles are by nearest rank.
    #[serde(serialize_with = "shape::number")]
    pub p50_cpu_usage: f64,
    /// 95 % of the samples of cpu are not above this percent.
    #[serde(serialize_with = "shape::number")]
    pub p95_cpu_usage: f64,
    /// 99 % of the samples of cpu are not above this percent.
    #[serde(serialize_with = "shape::number")]
    pub p99_cpu_usage: f64,
    /// Half of the samples of memory are not above this percent.
    #[serde(serialize_with = "shape::number")]
    pub p50_memory_usage: f64,
    /// 95 % of the samples of memory are not above this percent.
    #[serde(serialize_with = "shape::number")]
    pub p95_memory_usage: f64,
    /// 99 % of the samples of memory are not above this percent.
    #[serde(serialize_with = "shape::number")]
    pub p99_memory_usage: f64,
    /// Where cpu is heading; in JSON the rise in percent points an hour. `None` with less than ten
    /// minutes or three steps of it.
    #[serde(rename = "cpu_trend_per_hour", serialize_with = "rise_per_hour")]
    pub cpu_trend: Option<Trend>,
    /// Where memory is heading, likewise.
    #[serde(rename = "memory_trend_per_hour", serialize_with = "rise_per_hour")]
    pub memory_trend: Option<Trend>,
    /// The ten longest times without contact while it was registered and the server ran, in order of time.
    pub gaps: Vec<Gap>,
    /// All such times.
    pub gap_count: u64,
    /// Seconds of all of them.
    #[serde(serialize_with = "shape::short_number")]
    pub gap_seconds: f64,
    /// What its counters of bytes sent rose by, resets corrected; `None` below two samples.
    #[serde(serialize_with = "shape::maybe_short_number")]
    pub network_bytes_sent: Option<f64>,
    /// What its counters of bytes received rose by.
    #[serde(serialize_with = "shape::maybe_short_number")]
    pub network_bytes_received: Option<f64>,
    /// Bytes sent by the seconds from the first sample to the last; not extrapolated.
    #[serde(serialize_with = "shape::maybe_number")]
    pub network_bytes_sent_per_second: Option<f64>,
    /// Bytes received by the seconds from the first sample to the last.
    #[serde(serialize_with = "shape::maybe_number")]
    pub network_bytes_received_per_second: Option<f64>,
    /// What it did in the traces of the window; `None` where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces: Option<AgentTraces>,
}

#[expect(
    clippy::ref_option,
    reason = "serde hands every field over by reference"
)]
fn rise_per_hour<S: Serializer>(trend: &Option<Trend>, serializer: S) -> Result<S::Ok, S::Error> {
    shape::maybe_number(&trend.map(|t| t.per_hour), serializer)
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
    /// Half of the samples of cpu of all agents are not above this percent; 0 without any.
    #[serde(serialize_with = "shape::number")]
    pub p50_system_cpu: f64,
    /// 95 % of them are not above this percent.
    #[serde(serialize_with = "shape::number")]
    pub p95_system_cpu: f64,
    /// 99 % of them are not above this percent.
    #[serde(serialize_with = "shape::number")]
    pub p99_system_cpu: f64,
    /// Half of the samples of memory of all agents are not above this percent; 0 without any.
    #[serde(serialize_with = "shape::number")]
    pub p50_system_memory: f64,
    /// 95 % of them are not above this percent.
    #[serde(serialize_with = "shape::number")]
    pub p95_system_memory: f64,
    /// 99 % of them are not above this percent.
    #[serde(serialize_with = "shape::number")]
    pub p99_system_memory: f64,
    /// Bytes sent by all agents; `None` where none counts them.
    #[serde(serialize_with = "shape::maybe_short_number")]
    pub network_bytes_sent: Option<f64>,
    /// Bytes received by all agents.
    #[serde(serialize_with = "shape::maybe_short_number")]
    pub network_bytes_received: Option<f64>,
    /// Bytes sent by the seconds from the first sample of any agent to the last.
    #[serde(serialize_with = "shape::maybe_number")]
    pub network_bytes_sent_per_second: Option<f64>,
    /// Bytes received by the seconds from the first sample of any agent to the last.
    #[serde(serialize_with = "shape::maybe_number")]
    pub network_bytes_received_per_second: Option<f64>,
    /// What the traces of the window add up to; `None` where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces: Option<SystemTraces>,
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
    /// What the figures leave out since it cannot be read.
    pub unread: Vec<Unread>,
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
    /// How another report's figures differ, if it was compared with one.
    pub comparison: Option<Comparison>,
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
        let fields = 10 + usize::from(report.comparison.is_some());
        let mut body = serializer.serialize_struct("Body", fields)?;
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
        match &report.comparison {
            Some(comparison) => body.serialize_field("comparison", comparison)?,
            None => body.skip_field("comparison")?,
        }
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
