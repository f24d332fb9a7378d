//! The report as CSV (RFC 4180): one row per agent, sorted by id, lines ending in CR LF.

use crate::model::Timestamp;

use super::{
    comparison::Comparison,
    contact::Gap,
    performance::{AgentPerformance, PerformanceReport},
    shape::word_for,
    traces::AgentTraces,
};

const COLUMNS: [&str; 34] = [
    "agent_id",
    "status",
    "health_score",
    "total_metrics",
    "avg_cpu_usage",
    "max_cpu_usage",
    "avg_memory_usage",
    "max_memory_usage",
    "min_cpu_usage",
    "min_memory_usage",
    "cpu_samples",
    "memory_samples",
    "availability",
    "alerts",
    "alert_firing_seconds",
    "deductions",
    "last_heartbeat",
    "from",
    "to",
    "p50_cpu_usage",
    "p95_cpu_usage",
    "p99_cpu_usage",
    "p50_memory_usage",
    "p95_memory_usage",
    "p99_memory_usage",
    "cpu_trend_per_hour",
    "memory_trend_per_hour",
    "gap_count",
    "gap_seconds",
    "longest_gap_seconds",
    "network_bytes_sent",
    "network_bytes_received",
    "network_bytes_sent_per_second",
    "network_bytes_received_per_second",
];

/// Columns of a report that has traces.
const TRACE_COLUMNS: [&str; 16] = [
    "traces",
    "spans",
    "failed_spans",
    "span_error_rate",
    "span_p50_ms",
    "span_p95_ms",
    "span_p99_ms",
    "span_max_ms",
    "input_tokens",
    "output_tokens",
    "cost",
    "unpriced_tokens",
    "open_spans",
    "oldest_open_seconds",
    "critical_path_ms",
    "critical_path_share",
];

pub(super) fn render(report: &PerformanceReport) -> String {
    let mut text = String::new();
    let mut head: Vec<String> = COLUMNS.map(str::to_owned).to_vec();
    let has_traces = report.trends.traces.is_some();
    if has_traces {
        head.extend(TRACE_COLUMNS.map(str::to_owned));
    }
    if let Some(comparison) = &report.comparison {
        head.extend(
            comparison
                .agent_figures()
                .flat_map(|name| [format!("{name}_before"), format!("{name}_change")]),
        );
    }
    add_line(&mut text, &head);
    for agent in &report.agents {
        let mut cells = row(report, agent).to_vec();
        if has_traces {
            cells.extend(trace_cells(agent.traces.as_ref()));
        }
        if let Some(comparison) = &report.comparison {
            cells.extend(changes(comparison, agent));
        }
        add_line(&mut text, &cells);
    }
    text
}

fn add_line(text: &mut String, cells: &[String]) {
    let quoted: Vec<String> = cells.iter().map(|cell| quote(cell)).collect();
    text.push_str(&quoted.join(","));
    text.push_str("\r\n");
}

fn row(report: &PerformanceReport, agent: &AgentPerformance) -> [String; COLUMNS.len()] {
    let deductions: Vec<String> = agent.deductions.iter().map(|d| d.reason.clone()).collect();
    let longest_gap_ms = agent.gaps.iter().map(Gap::length_ms).max();
    [
        inert(agent.agent_id.as_str()),
        agent.status.to_string(),
        number(agent.health_score),
        agent.total_metrics.to_string(),
        number(agent.avg_cpu_usage),
        number(agent.max_cpu_usage),
        number(agent.avg_memory_usage),
        number(agent.max_memory_usage),
        number(agent.min_cpu_usage),
        number(agent.min_memory_usage),
        agent.cpu_samples.to_string(),
        agent.memory_samples.to_string(),
        maybe(agent.availability),
        agent.alerts.to_string(),
        number(agent.alert_firing_seconds),
        inert(&deductions.join("; ")),
        agent
            .last_heartbeat
            .map(Timestamp::to_rfc3339)
            .unwrap_or_default(),
        report.window.from.to_rfc3339(),
        report.window.to.to_rfc3339(),
        number(agent.p50_cpu_usage),
        number(agent.p95_cpu_usage),
        number(agent.p99_cpu_usage),
        number(agent.p50_memory_usage),
        number(agent.p95_memory_usage),
        number(agent.p99_memory_usage),
        maybe(agent.cpu_trend.map(|t| t.per_hour)),
        maybe(agent.memory_trend.map(|t| t.per_hour)),
        agent.gap_count.to_string(),
        number(agent.gap_seconds),
        maybe(longest_gap_ms.map(|ms| ms as f64 / 1000.0)),
        maybe(agent.network_bytes_sent),
        maybe(agent.network_bytes_received),
        maybe(agent.network_bytes_sent_per_second),
        maybe(agent.network_bytes_received_per_second),
    ]
}

/// Empty for an agent that no trace is of.
fn trace_cells(traces: Option<&AgentTraces>) -> [String; TRACE_COLUMNS.len()] {
    let Some(traces) = traces else {
        return [const { String::new() }; TRACE_COLUMNS.len()];
    };
    let usage = &traces.usage;
    [
        traces.traces.to_string(),
        traces.spans.to_string(),
        traces.failed_spans.to_string(),
        maybe(traces.error_rate),
        maybe(traces.p50_ms),
        maybe(traces.p95_ms),
        maybe(traces.p99_ms),
        maybe(traces.max_ms),
        usage.input_tokens.to_string(),
        usage.output_tokens.to_string(),
        maybe(usage.cost),
        usage.unpriced_tokens.to_string(),
        traces.open_spans.to_string(),
        maybe(traces.oldest_open_seconds),
        number(traces.critical_path_ms),
        maybe(traces.critical_path_share),
    ]
}

/// Each compared figure as it was and what it rose by; empty for an agent that is new.
fn changes(comparison: &Comparison, agent: &AgentPerformance) -> Vec<String> {
    let changes = comparison.agents.get(&agent.agent_id);
    comparison
        .agent_figures()
        .flat_map(|name| {
            let change = changes.map(|all| all.of(name)).unwrap_or_default();
            [maybe(change.before), maybe(change.change())]
        })
        .collect()
}

fn maybe(value: Option<f64>) -> String {
    value.map(number).unwrap_or_default()
}

fn number(value: f64) -> String {
    word_for(value).map_or_else(|| value.to_string(), str::to_owned)
}

/// Keeps spreadsheets from taking somebody's text for a formula.
fn inert(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

fn quote(cell: &str) -> String {
    if cell.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_inert() {
        assert_eq!(quote("plain"), "plain");
        assert_eq!(quote(r#"a "b", c"#), r#""a ""b"", c""#);
        assert_eq!(inert("=cmd|' /C calc'!A0"), "'=cmd|' /C calc'!A0");
        for first in ["+1", "-1", "@x"] {
            assert_eq!(inert(first), format!("'{first}"));
        }
        assert_eq!(inert("a=b"), "a=b");
        assert_eq!(number(f64::INFINITY), "+Inf");
    }
}
