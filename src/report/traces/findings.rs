//! What is wrong by the traces of a window.

use serde_json::{Value, json};

use super::{
    super::{
        comparison::Comparison,
        findings::{Evidence, Finding},
        performance::{AgentPerformance, PerformanceReport},
        query::{open_spans_query, profile_query, traces_query},
        shape::number_value,
        wording::{counted, duration, percent_of, thousands},
    },
    figures::AgentTraces,
    told::cost,
};
use crate::model::{AgentId, Severity, Window};

/// Spans below which a share of failed ones says little.
const SPANS_MIN: u64 = 20;
/// One failed span in fewer is too many.
const SPANS_PER_FAILED: u64 = 20;
/// Traces with other agents below which a share of their critical paths says little.
const SHARED_TRACES_MIN: u64 = 10;
/// A share of the critical path above this makes an agent the first to look at.
const CRITICAL_SHARE: f64 = 0.5;
/// What grew by this is told.
const GROWTH: f64 = 2.0;
/// Fewer tokens in a window are no reason to speak of what they cost.
const TOKENS_MIN: f64 = 10_000.0;

/// What the traces of one agent show.
pub(in crate::report) fn of_agent(agent: &AgentPerformance, window: Window) -> Vec<Finding> {
    let Some(traces) = &agent.traces else {
        return Vec::new();
    };
    let id = &agent.agent_id;
    [
        failing(id, traces, window),
        overdue(id, traces),
        critical(id, traces, window),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn failing(id: &AgentId, traces: &AgentTraces, window: Window) -> Option<Finding> {
    let (spans, failed) = (traces.spans, traces.failed_spans);
    let rate = traces.error_rate?;
    // In whole numbers, since 0.05 has no exact double.
    let is_failing = spans >= SPANS_MIN && failed.saturating_mul(SPANS_PER_FAILED) > spans;
    is_failing.then(|| Finding {
        agent_id: Some(id.clone()),
        severity: if failed.saturating_mul(2) > spans {
            Severity::Critical
        } else {
            Severity::Warning
        },
        message: format!(
            "{} % of its spans failed ({} of {})",
            percent_of(rate),
            thousands(failed),
            thousands(spans)
        ),
        evidence: vec![
            ("error_rate", number_value(rate).into()),
            ("failed_spans", json!(failed).into()),
            ("spans", json!(spans).into()),
            ("traces", json!(traces.traces).into()),
            query(&traces_query(Some(id), "status=failed&", window)),
        ],
    })
}

fn overdue(id: &AgentId, traces: &AgentTraces) -> Option<Finding> {
    let oldest = traces.oldest_open_seconds?;
    let count = traces.overdue_spans;
    (count > 0).then(|| Finding {
        agent_id: Some(id.clone()),
        severity: Severity::Warning,
        message: format!(
            "{} open for more than 10 minutes, the oldest for {}",
            counted(count as usize, "span"),
            duration((oldest * 1000.0) as i64)
        ),
        evidence: vec![
            ("overdue_spans", json!(count).into()),
            ("open_spans", json!(traces.open_spans).into()),
            ("oldest_open_seconds", number_value(oldest).into()),
            query(&open_spans_query(id)),
        ],
    })
}

/// Traces that an agent has for itself are all its own time, which says nothing.
fn critical(id: &AgentId, traces: &AgentTraces, window: Window) -> Option<Finding> {
    let share = traces.shared_critical_path_share?;
    let is_most = traces.shared_traces >= SHARED_TRACES_MIN && share > CRITICAL_SHARE;
    is_most.then(|| Finding {
        agent_id: Some(id.clone()),
        severity: Severity::Info,
        message: format!(
            "takes {} % of the critical path of {} with other agents: faster traces begin here",
            percent_of(share),
            counted(traces.shared_traces as usize, "trace")
        ),
        evidence: vec![
            ("critical_path_share", number_value(share).into()),
            ("shared_traces", json!(traces.shared_traces).into()),
            (
                "p95_ms",
                traces.p95_ms.map_or(Value::Null, number_value).into(),
            ),
            query(&profile_query(id, window)),
        ],
    })
}

/// Spans that the figures lack since they cannot be read, or since there are too many.
pub(in crate::report) fn unread(report: &PerformanceReport) -> Option<Finding> {
    let traces = report.trends.traces.as_ref()?;
    let (message, severity) = match (&traces.unreadable, traces.traces_from) {
        (Some(why), _) => (
            format!("traces left out that cannot be read: {why}"),
            Severity::Warning,
        ),
        (None, Some(from)) => (
            format!(
                "the figures of traces are those of the newest {}, from {} UTC on",
                thousands(traces.traces),
                super::super::wording::moment(from)
            ),
            Severity::Info,
        ),
        (None, None) => return None,
    };
    Some(Finding {
        agent_id: None,
        severity,
        message,
        evidence: vec![
            ("traces", json!(traces.traces).into()),
            query(&traces.query),
        ],
    })
}

/// Agents whose tokens or cost doubled since the window before.
pub(in crate::report) fn doubled(
    report: &PerformanceReport,
    comparison: &Comparison,
) -> Vec<Finding> {
    let agents = report.worst_first().into_iter();
    let of_agent = |agent: &AgentPerformance| {
        let changes = comparison.agents.get(&agent.agent_id)?;
        let traces = agent.traces.as_ref()?;
        let grown = |name| {
            let change = changes.of(name);
            let (before, after) = (change.before?, change.after?);
            (before > 0.0 && after >= before * GROWTH).then_some((before, after))
        };
        let tokens = changes.of("tokens");
        tokens.after.filter(|after| *after >= TOKENS_MIN)?;
        let (message, before, after) = match (grown("cost"), grown("tokens")) {
            (Some((before, after)), _) => (
                format!(
                    "cost {:.1} times that of the window before ({}, then {})",
                    after / before,
                    cost(before),
                    cost(after)
                ),
                ("cost_before", before),
                ("cost", after),
            ),
            (None, Some((before, after))) => (
                format!(
                    "used {:.1} times the tokens of the window before ({}, then {})",
                    after / before,
                    thousands(before as u64),
                    thousands(after as u64)
                ),
                ("tokens_before", before),
                ("tokens", after),
            ),
            (None, None) => return None,
        };
        Some(Finding {
            agent_id: Some(agent.agent_id.clone()),
            severity: Severity::Warning,
            message,
            evidence: vec![
                (before.0, number_value(before.1).into()),
                (after.0, number_value(after.1).into()),
                ("traces", json!(traces.traces).into()),
                query(&traces.query),
            ],
        })
    };
    agents.filter_map(of_agent).collect()
}

fn query(path: &str) -> (&'static str, Evidence) {
    ("query", json!(path).into())
}
