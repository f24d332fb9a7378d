//! What is wrong and what to do about it: the document's recommendations and, beside them, findings
//! that each carry the figures and the query that shows them.

use std::cmp::Reverse;

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    alerts::HEALTH_ALERT_NAME,
    model::{AgentId, AgentStatus, HealthWeights, Severity, Window, names},
};

use super::{
    health::Deduction,
    performance::{AgentPerformance, AlertInWindow, PerformanceReport},
    query::{alerts_query, samples_query},
    shape::{number_value, pairs, short_number, text, text_value},
    traces,
    unread::Unread,
    wording::{counted, duration, moment, one_digit, percent_of},
};

/// A health score below this is low (the document's).
const LOW_SCORE: f64 = 70.0;
/// A low score below this is critical rather than a warning.
const CRITICAL_SCORE: f64 = 50.0;
/// Average cpu above this percent is high (the document's).
const HIGH_CPU: f64 = 70.0;
/// Average memory above this percent is high (the document's).
const HIGH_MEMORY: f64 = 80.0;
/// Usage that will be at 100 % within so many hours is worth a word.
const FULL_WITHIN_HOURS: f64 = 24.0;
/// Steps with samples, and hours from the first sample to the last, that make a course a trend.
const TREND_STEPS_MIN: usize = 10;
const TREND_HOURS_MIN: f64 = 0.5;
/// Milliseconds of a minute.
const MINUTE_MS: i64 = 60_000;
/// Share of the variance that a line must explain to be a trend, and no accident of noise.
const TREND_FIT_MIN: f64 = 0.7;

/// Something wrong, with what proves it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The agent concerned; `None` for the whole system.
    #[serde(serialize_with = "super::shape::maybe_text")]
    pub agent_id: Option<AgentId>,
    /// How bad it is.
    #[serde(serialize_with = "text")]
    pub severity: Severity,
    /// What is wrong; the recommendation's own words where there is one.
    pub message: String,
    /// Figures in a fixed order, the last being `query`: the path of the HTTP API that shows them.
    #[serde(serialize_with = "pairs")]
    pub evidence: Vec<(&'static str, Evidence)>,
}

/// One figure that proves a finding.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Evidence {
    /// A number, a time, a word, or null where there is none.
    Value(Value),
    /// What took points off a score.
    Deductions(Vec<Deduction>),
}

impl From<Value> for Evidence {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

/// Recommendations and findings of a report whose figures are filled in. `fleet` says whether the
/// report is about all agents, so that the rule about the whole system applies.
pub(super) fn judge(
    report: &PerformanceReport,
    fleet: bool,
    weights: &HealthWeights,
) -> (Vec<String>, Vec<Finding>) {
    let window = report.window;
    // What affects the whole system explains what is wrong with its agents, so it comes first.
    let mut recommended = Vec::new();
    if fleet {
        recommended.extend(system_wide(&report.agents, window));
    }
    let mut findings = Vec::new();
    for agent in report.worst_first() {
        if agent.total_metrics > 0 {
            recommended.extend(low_score(agent, window));
            recommended.extend(high_cpu(agent, window, weights));
            recommended.extend(high_memory(agent, window, weights));
        }
        findings.extend(missing_data(agent, window));
        findings.extend(not_active(agent, window));
        findings.extend(silent_at_times(agent, window));
        findings.extend(filling_up(agent, Usage::Cpu, window));
        findings.extend(filling_up(agent, Usage::Memory, window));
        findings.extend(traces::of_agent(agent, window));
        let own = report
            .alerts
            .iter()
            .filter(|a| a.agent_id == agent.agent_id);
        findings.extend(own.filter_map(|alert| alert_finding(alert, window)));
    }
    findings.extend(report.unread.iter().map(damaged_blocks));
    findings.extend(traces::unread(report));
    findings.extend(partial_coverage(report));
    let recommendations = recommended.iter().map(|f| f.message.clone()).collect();
    recommended.extend(findings);
    rank(&mut recommended);
    (recommendations, recommended)
}

/// Worst first. The sort is stable: within one severity, recommendations stay first and worst agents before others.
pub(super) fn rank(findings: &mut [Finding]) {
    findings.sort_by_key(|finding| Reverse(finding.severity));
}

fn system_wide(agents: &[AgentPerformance], window: Window) -> Option<Finding> {
    let with_data: Vec<_> = agents.iter().filter(|a| a.total_metrics > 0).collect();
    let low = with_data
        .iter()
        .filter(|a| a.health_score < LOW_SCORE)
        .count();
    // In whole numbers, since 0.3 has no exact double.
    (low * 10 > with_data.len() * 3).then(|| Finding {
        agent_id: None,
        severity: Severity::Critical,
        message: "More than 30% of agents are unhealthy, investigate system-wide issues".to_owned(),
        evidence: vec![
            ("agents_below_70", json!(low).into()),
            ("agents_with_data", json!(with_data.len()).into()),
            (
                "query",
                samples_query(None, names::AGENT_HEALTH_SCORE, window),
            ),
        ],
    })
}

fn low_score(agent: &AgentPerformance, window: Window) -> Option<Finding> {
    let score = agent.health_score;
    (score < LOW_SCORE).then(|| Finding {
        agent_id: Some(agent.agent_id.clone()),
        severity: if score < CRITICAL_SCORE {
            Severity::Critical
        } else {
            Severity::Warning
        },
        message: format!(
            "Agent {} has low health score ({score:.1}), investigate resource usage",
            agent.agent_id
        ),
        evidence: vec![
            ("health_score", number_value(score).into()),
            ("deductions", Evidence::Deductions(agent.deductions.clone())),
            (
                "query",
                samples_query(Some(&agent.agent_id), names::AGENT_HEALTH_SCORE, window),
            ),
        ],
    })
}

fn high_cpu(agent: &AgentPerformance, window: Window, weights: &HealthWeights) -> Option<Finding> {
    let average = agent.avg_cpu_usage;
    (average > HIGH_CPU).then(|| Finding {
        agent_id: Some(agent.agent_id.clone()),
        severity: usage_severity(average, weights.cpu_critical_percent),
        message: format!(
            "Agent {} showing high CPU usage ({}%), consider scaling",
            agent.agent_id,
            one_digit(average)
        ),
        evidence: vec![
            ("avg_cpu_usage", number_value(average).into()),
            ("max_cpu_usage", number_value(agent.max_cpu_usage).into()),
            ("cpu_samples", json!(agent.cpu_samples).into()),
            (
                "query",
                samples_query(Some(&agent.agent_id), names::SYSTEM_CPU_USAGE, window),
            ),
        ],
    })
}

fn high_memory(
    agent: &AgentPerformance,
    window: Window,
    weights: &HealthWeights,
) -> Option<Finding> {
    let average = agent.avg_memory_usage;
    (average > HIGH_MEMORY).then(|| Finding {
        agent_id: Some(agent.agent_id.clone()),
        severity: usage_severity(average, weights.memory_critical_percent),
        message: format!(
            "Agent {} showing high memory usage ({}%), check for memory leaks",
            agent.agent_id,
            one_digit(average)
        ),
        evidence: vec![
            ("avg_memory_usage", number_value(average).into()),
            (
                "max_memory_usage",
                number_value(agent.max_memory_usage).into(),
            ),
            ("memory_samples", json!(agent.memory_samples).into()),
            (
                "query",
                samples_query(Some(&agent.agent_id), names::SYSTEM_MEMORY_USAGE, window),
            ),
        ],
    })
}

fn usage_severity(average: f64, critical: f64) -> Severity {
    if average > critical {
        Severity::Critical
    } else {
        Severity::Warning
    }
}

fn missing_data(agent: &AgentPerformance, window: Window) -> Option<Finding> {
    let (severity, message) = match (agent.total_metrics, agent.cpu_samples, agent.memory_samples) {
        (0, _, _) => (Severity::Warning, "no data"),
        (_, 0, 0) => (Severity::Info, "no cpu/memory data"),
        (_, 0, _) => (Severity::Info, "no cpu data"),
        (_, _, 0) => (Severity::Info, "no memory data"),
        _ => return None,
    };
    Some(Finding {
        agent_id: Some(agent.agent_id.clone()),
        severity,
        message: message.to_owned(),
        evidence: vec![
            ("total_metrics", json!(agent.total_metrics).into()),
            ("cpu_samples", json!(agent.cpu_samples).into()),
            ("memory_samples", json!(agent.memory_samples).into()),
            ("last_heartbeat", text_value(agent.last_heartbeat).into()),
            (
                "query",
                samples_query(Some(&agent.agent_id), names::UP, window),
            ),
        ],
    })
}

fn not_active(agent: &AgentPerformance, window: Window) -> Option<Finding> {
    let severity = match agent.status {
        AgentStatus::Active => return None,
        AgentStatus::Unhealthy | AgentStatus::Stale => Severity::Critical,
        AgentStatus::Unknown => Severity::Warning,
    };
    let since = agent.last_heartbeat.map_or_else(
        || "never reached".to_owned(),
        |time| {
            let ago = duration(window.to.since(time));
            format!("last heartbeat {} UTC, {ago} before", moment(time))
        },
    );
    Some(Finding {
        agent_id: Some(agent.agent_id.clone()),
        severity,
        message: format!("status {} ({since})", agent.status),
        evidence: vec![
            ("status", json!(agent.status.as_str()).into()),
            ("last_heartbeat", text_value(agent.last_heartbeat).into()),
            (
                "availability",
                agent.availability.map_or(Value::Null, number_value).into(),
            ),
            (
                "query",
                samples_query(Some(&agent.agent_id), names::UP, window),
            ),
        ],
    })
}

/// Gaps that ended: one that lasts is what makes an agent stale.
fn silent_at_times(agent: &AgentPerformance, window: Window) -> Option<Finding> {
    let longest = agent
        .gaps
        .iter()
        .filter(|gap| gap.to < window.to)
        .max_by_key(|gap| (gap.length_ms(), Reverse(gap.from)))?;
    let lasted = duration(longest.length_ms());
    let until = format!("until {} UTC", moment(longest.to));
    let message = if agent.gap_count == 1 {
        format!("no contact for {lasted} {until}")
    } else {
        let total = duration((agent.gap_seconds * 1000.0) as i64);
        let count = counted(agent.gap_count as usize, "gap");
        format!("no contact for {total} in {count}, one of {lasted} {until}")
    };
    let seconds = short_number(&agent.gap_seconds, serde_json::value::Serializer);
    Some(Finding {
        agent_id: Some(agent.agent_id.clone()),
        severity: Severity::Warning,
        message,
        evidence: vec![
            ("gap_count", json!(agent.gap_count).into()),
            ("gap_seconds", seconds.unwrap_or(Value::Null).into()),
            ("gap_from", json!(longest.from.to_rfc3339()).into()),
            ("gap_to", json!(longest.to.to_rfc3339()).into()),
            (
                "availability",
                agent.availability.map_or(Value::Null, number_value).into(),
            ),
            (
                "query",
                samples_query(Some(&agent.agent_id), names::UP, window),
            ),
        ],
    })
}

/// A percentage whose trend is looked at.
#[derive(Clone, Copy)]
enum Usage {
    Cpu,
    Memory,
}

/// Usage that reaches 100 % soon if it goes on rising as it did, and that rose steadily for long enough
/// to be taken for a trend.
fn filling_up(agent: &AgentPerformance, usage: Usage, window: Window) -> Option<Finding> {
    let (name, metric, trend) = match usage {
        Usage::Cpu => ("cpu", names::SYSTEM_CPU_USAGE, agent.cpu_trend),
        Usage::Memory => ("memory", names::SYSTEM_MEMORY_USAGE, agent.memory_trend),
    };
    let trend = trend
        .filter(|t| t.steps >= TREND_STEPS_MIN && t.hours >= TREND_HOURS_MIN)
        .filter(|t| t.r_squared >= TREND_FIT_MIN)?;
    let hours = (100.0 - trend.at_end) / trend.per_hour;
    let is_rising = trend.per_hour > 0.0 && trend.at_end < 100.0;
    // Of an agent that fell silent, nobody knows where it is by now.
    let is_known = agent.status != AgentStatus::Stale;
    (is_rising && is_known && hours <= FULL_WITHIN_HOURS).then(|| Finding {
        agent_id: Some(agent.agent_id.clone()),
        severity: Severity::Warning,
        message: format!(
            "{name} rising by {:.2} points an hour, at that rate 100 % in {}",
            trend.per_hour,
            duration((hours * 60.0).round().max(1.0) as i64 * MINUTE_MS)
        ),
        evidence: vec![
            ("points_per_hour", number_value(trend.per_hour).into()),
            ("percent_at_end", number_value(trend.at_end).into()),
            ("hours_to_100_percent", number_value(hours).into()),
            ("hours_measured", number_value(trend.hours).into()),
            ("r_squared", number_value(trend.r_squared).into()),
            (
                "query",
                samples_query(Some(&agent.agent_id), metric, window),
            ),
        ],
    })
}

/// Health alerts of the window, and every alert that still fires at its end.
fn alert_finding(alert: &AlertInWindow, window: Window) -> Option<Finding> {
    let lasted = duration((alert.duration_seconds * 1000.0) as i64);
    let (severity, course) = match alert.resolved {
        None => (
            alert.severity,
            format!("firing since {} UTC", moment(alert.fired)),
        ),
        Some(end) if alert.alert_name == HEALTH_ALERT_NAME => (
            alert.severity.min(Severity::Warning),
            format!("fired for {lasted}, resolved {} UTC", moment(end)),
        ),
        Some(_) => return None,
    };
    Some(Finding {
        agent_id: Some(alert.agent_id.clone()),
        severity,
        message: format!("{} {course}: {}", alert.alert_name, alert.description),
        evidence: vec![
            ("alert_id", json!(alert.alert_id).into()),
            ("fired", json!(alert.fired.to_rfc3339()).into()),
            ("resolved", text_value(alert.resolved).into()),
            ("duration_seconds", duration_value(alert).into()),
            ("query", alerts_query(&alert.agent_id, window)),
        ],
    })
}

fn duration_value(alert: &AlertInWindow) -> Value {
    short_number(&alert.duration_seconds, serde_json::value::Serializer).unwrap_or(Value::Null)
}

fn damaged_blocks(unread: &Unread) -> Finding {
    let Unread {
        agent_id,
        blocks,
        first,
        last,
        reason,
        ..
    } = unread;
    let noun = if *blocks == 1 { "block" } else { "blocks" };
    Finding {
        agent_id: Some(agent_id.clone()),
        severity: Severity::Warning,
        message: format!(
            "{blocks} damaged {noun} left out, {} to {} UTC",
            moment(*first),
            moment(*last)
        ),
        evidence: vec![
            ("blocks", json!(blocks).into()),
            ("from", json!(first.to_rfc3339()).into()),
            ("to", json!(last.to_rfc3339()).into()),
            ("reason", json!(reason).into()),
            ("query", json!("/api/v1/status").into()),
        ],
    }
}

fn partial_coverage(report: &PerformanceReport) -> Option<Finding> {
    let share = report.coverage;
    let percent = percent_of(share);
    let message = if report.unread.is_empty() {
        format!("the server ran for {percent} % of the window; the figures cover only that time")
    } else {
        format!(
            "the figures cover {percent} % of the window; for the rest the server did not run, or blocks cannot be read"
        )
    };
    (share < 1.0).then(|| Finding {
        agent_id: None,
        severity: Severity::Warning,
        message,
        evidence: vec![
            ("coverage", number_value(share).into()),
            ("query", samples_query(None, names::UP, report.window)),
        ],
    })
}
