//! How a report's figures differ from those of an earlier window, or of another file.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::{
    findings::rank,
    fleet::performance_report,
    performance::{AgentPerformance, PerformanceReport, ReportRequest, SystemTrends},
    shape,
    traces::doubled,
};
use crate::model::{AgentId, History, ReadError, Window};

type Figures<T> = &'static [(&'static str, fn(&T) -> Option<f64>)];

/// Figures of agents that are compared, by their names in JSON. What was not measured is no figure.
const OF_AGENT: Figures<AgentPerformance> = &[
    ("total_metrics", |a| Some(a.total_metrics as f64)),
    ("avg_cpu_usage", |a| cpu(a, a.avg_cpu_usage)),
    ("max_cpu_usage", |a| cpu(a, a.max_cpu_usage)),
    ("avg_memory_usage", |a| memory(a, a.avg_memory_usage)),
    ("max_memory_usage", |a| memory(a, a.max_memory_usage)),
    ("health_score", |a| {
        (a.total_metrics > 0).then_some(a.health_score)
    }),
    ("alerts", |a| Some(a.alerts as f64)),
    ("alert_firing_seconds", |a| Some(a.alert_firing_seconds)),
    ("availability", |a| a.availability),
    ("p50_cpu_usage", |a| cpu(a, a.p50_cpu_usage)),
    ("p95_cpu_usage", |a| cpu(a, a.p95_cpu_usage)),
    ("p99_cpu_usage", |a| cpu(a, a.p99_cpu_usage)),
    ("p50_memory_usage", |a| memory(a, a.p50_memory_usage)),
    ("p95_memory_usage", |a| memory(a, a.p95_memory_usage)),
    ("p99_memory_usage", |a| memory(a, a.p99_memory_usage)),
    ("gap_count", |a| Some(a.gap_count as f64)),
    ("gap_seconds", |a| Some(a.gap_seconds)),
    ("network_bytes_sent", |a| a.network_bytes_sent),
    ("network_bytes_received", |a| a.network_bytes_received),
];

/// Figures of the system that are compared.
const OF_SYSTEM: Figures<SystemTrends> = &[
    ("total_metrics_in_window", |s| {
        Some(s.total_metrics_in_window as f64)
    }),
    ("average_system_cpu", |s| {
        system_cpu(s, s.average_system_cpu)
    }),
    ("average_system_memory", |s| {
        system_memory(s, s.average_system_memory)
    }),
    ("average_health_score", |s| s.average_health_score),
    ("total_agents", |s| Some(s.total_agents as f64)),
    ("active_agents", |s| Some(s.active_agents as f64)),
    ("p50_system_cpu", |s| system_cpu(s, s.p50_system_cpu)),
    ("p95_system_cpu", |s| system_cpu(s, s.p95_system_cpu)),
    ("p99_system_cpu", |s| system_cpu(s, s.p99_system_cpu)),
    ("p50_system_memory", |s| {
        system_memory(s, s.p50_system_memory)
    }),
    ("p95_system_memory", |s| {
        system_memory(s, s.p95_system_memory)
    }),
    ("p99_system_memory", |s| {
        system_memory(s, s.p99_system_memory)
    }),
    ("network_bytes_sent", |s| s.network_bytes_sent),
    ("network_bytes_received", |s| s.network_bytes_received),
];

/// Figures of agents' traces, which are compared where either report has traces.
const OF_AGENT_TRACES: Figures<AgentPerformance> = &[
    ("span_error_rate", |a| a.traces.as_ref()?.error_rate),
    ("span_p95_ms", |a| a.traces.as_ref()?.p95_ms),
    ("tokens", |a| {
        let traces = a.traces.as_ref().filter(|t| t.traces_complete)?;
        Some(traces.usage.tokens() as f64)
    }),
    ("cost", |a| {
        let traces = a.traces.as_ref().filter(|t| t.traces_complete)?;
        traces.usage.cost
    }),
];

/// Figures of all traces, likewise.
const OF_SYSTEM_TRACES: Figures<SystemTrends> = &[
    ("traces", |s| {
        let traces = s.traces.as_ref().filter(|t| t.traces_complete)?;
        Some(traces.traces as f64)
    }),
    ("span_error_rate", |s| s.traces.as_ref()?.error_rate),
    ("p95_trace_duration_ms", |s| {
        s.traces.as_ref()?.p95_duration_ms
    }),
    ("tokens", |s| {
        let traces = s.traces.as_ref().filter(|t| t.traces_complete)?;
        Some(traces.usage.tokens() as f64)
    }),
    ("cost", |s| {
        let traces = s.traces.as_ref().filter(|t| t.traces_complete)?;
        traces.usage.cost
    }),
];

fn cpu(agent: &AgentPerformance, value: f64) -> Option<f64> {
    (agent.cpu_samples > 0).then_some(value)
}

fn memory(agent: &AgentPerformance, value: f64) -> Option<f64> {
    (agent.memory_samples > 0).then_some(value)
}

fn system_cpu(trends: &SystemTrends, value: f64) -> Option<f64> {
    (trends.cpu_samples > 0).then_some(value)
}

fn system_memory(trends: &SystemTrends, value: f64) -> Option<f64> {
    (trends.memory_samples > 0).then_some(value)
}

/// What a report is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The window of the same length that ends where the report's begins.
    Previous,
    /// Another file, by its name.
    File(String),
}

/// A figure before and after; `None` where it was not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Change {
    /// In the earlier report.
    pub before: Option<f64>,
    /// In this report.
    pub after: Option<f64>,
}

impl Change {
    /// What the figure rose by, where it was measured both times.
    pub fn change(self) -> Option<f64> {
        Some(self.after? - self.before?)
    }
}

impl Serialize for Change {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = serializer.serialize_struct("Change", 3)?;
        shown.serialize_field("before", &Shown(self.before))?;
        shown.serialize_field("after", &Shown(self.after))?;
        shown.serialize_field("change", &Shown(self.change()))?;
        shown.end()
    }
}

#[derive(Serialize)]
struct Shown(#[serde(serialize_with = "shape::maybe_short_number")] Option<f64>);

/// Figures by their names in JSON, each before and after.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Changes(#[serde(serialize_with = "shape::pairs")] Vec<(&'static str, Change)>);

impl Changes {
    fn between<T>(figures: &[Figures<T>], before: &T, after: &T) -> Self {
        let change = |(name, read): &(&'static str, fn(&T) -> Option<f64>)| {
            let change = Change {
                before: read(before),
                after: read(after),
            };
            (*name, change)
        };
        Self(figures.iter().copied().flatten().map(change).collect())
    }

    /// The figures in their order.
    pub fn iter(&self) -> impl Iterator<Item = &(&'static str, Change)> {
        self.0.iter()
    }

    /// A figure by its name; one that is not compared has no change.
    pub fn of(&self, name: &str) -> Change {
        let found = self.0.iter().find(|(n, _)| *n == name);
        found.map(|(_, change)| *change).unwrap_or_default()
    }
}

/// What differs between two reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What the report is compared with.
    pub source: Source,
    /// Window of the earlier report.
    pub window: Window,
    /// Share of that window that is covered, 0 to 1: the server ran, and what it wrote can be read.
    pub coverage: f64,
    /// Changes of the agents that are in both reports, by id.
    pub agents: BTreeMap<AgentId, Changes>,
    /// Changes of the system.
    pub system: Changes,
    /// Agents that are in this report alone, sorted.
    pub appeared: Vec<AgentId>,
    /// Agents that are in the earlier report alone, sorted.
    pub disappeared: Vec<AgentId>,
}

impl Comparison {
    /// Compares a report with an earlier one.
    pub fn between(before: &PerformanceReport, after: &PerformanceReport, source: Source) -> Self {
        let by_id = |report: &PerformanceReport| -> BTreeSet<AgentId> {
            report.agents.iter().map(|a| a.agent_id.clone()).collect()
        };
        let (ids_before, ids_after) = (by_id(before), by_id(after));
        let earlier: BTreeMap<&AgentId, &AgentPerformance> =
            before.agents.iter().map(|a| (&a.agent_id, a)).collect();
        let has_traces = before.trends.traces.is_some() || after.trends.traces.is_some();
        let of_agent: &[_] = if has_traces {
            &[OF_AGENT, OF_AGENT_TRACES]
        } else {
            &[OF_AGENT]
        };
        let of_system: &[_] = if has_traces {
            &[OF_SYSTEM, OF_SYSTEM_TRACES]
        } else {
            &[OF_SYSTEM]
        };
        let agents = after
            .agents
            .iter()
            .filter_map(|agent| {
                let earlier = earlier.get(&agent.agent_id)?;
                let changes = Changes::between(of_agent, *earlier, agent);
                Some((agent.agent_id.clone(), changes))
            })
            .collect();
        Self {
            source,
            window: before.window,
            coverage: before.coverage,
            agents,
            system: Changes::between(of_system, &before.trends, &after.trends),
            appeared: ids_after.difference(&ids_before).cloned().collect(),
            disappeared: ids_before.difference(&ids_after).cloned().collect(),
        }
    }

    /// Names of the figures that are compared for each agent, in their order.
    pub(super) fn agent_figures(&self) -> impl Iterator<Item = &'static str> {
        let has_traces = self.system.iter().any(|(name, _)| *name == "traces");
        let of_traces = has_traces.then_some(OF_AGENT_TRACES);
        let figures = OF_AGENT.iter().chain(of_traces.into_iter().flatten());
        figures.map(|(name, _)| *name)
    }
}

impl Serialize for Comparison {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = serializer.serialize_struct("Comparison", 9)?;
        shown.serialize_field("from", &self.window.from.to_rfc3339())?;
        shown.serialize_field("to", &self.window.to.to_rfc3339())?;
        match &self.source {
            Source::Previous => {
                shown.serialize_field("source", "previous")?;
                shown.skip_field("file")?;
            }
            Source::File(name) => {
                shown.serialize_field("source", "file")?;
                shown.serialize_field("file", name)?;
            }
        }
        shown.serialize_field("coverage", &Shown(Some(self.coverage)))?;
        shown.serialize_field("agents", &ById(&self.agents))?;
        shown.serialize_field("system", &self.system)?;
        shown.serialize_field("appeared", &Ids(&self.appeared))?;
        shown.serialize_field("disappeared", &Ids(&self.disappeared))?;
        shown.end()
    }
}

struct ById<'a>(&'a BTreeMap<AgentId, Changes>);

impl Serialize for ById<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(id, changes)| (id.as_str(), changes)))
    }
}

struct Ids<'a>(&'a [AgentId]);

impl Serialize for Ids<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(AgentId::as_str))
    }
}

/// The report, compared with the window of the same length that ends where its own begins.
pub fn report_with_previous(
    history: &dyn History,
    request: &ReportRequest,
) -> Result<PerformanceReport, ReadError> {
    let Window { from, .. } = request.window;
    let earlier = ReportRequest {
        window: Window::ending_at(from, request.window.length_ms()),
        agent: request.agent.clone(),
    };
    let mut report = performance_report(history, request)?;
    let before = performance_report(history, &earlier)?;
    let comparison = Comparison::between(&before, &report, Source::Previous);
    report.findings.extend(doubled(&report, &comparison));
    rank(&mut report.findings);
    report.comparison = Some(comparison);
    Ok(report)
}
