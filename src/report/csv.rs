//! The report as CSV (RFC 4180): one row per agent, sorted by id, lines ending in CR LF.

use crate::model::Timestamp;

use super::{
    performance::{AgentPerformance, PerformanceReport},
    shape::word_for,
};

const COLUMNS: [&str; 19] = [
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
];

pub(super) fn render(report: &PerformanceReport) -> String {
    let mut text = COLUMNS.join(",");
    text.push_str("\r\n");
    for agent in &report.agents {
        let cells = row(report, agent);
        let quoted: Vec<String> = cells.iter().map(|cell| quote(cell)).collect();
        text.push_str(&quoted.join(","));
        text.push_str("\r\n");
    }
    text
}

fn row(report: &PerformanceReport, agent: &AgentPerformance) -> [String; COLUMNS.len()] {
    let deductions: Vec<String> = agent.deductions.iter().map(|d| d.reason.clone()).collect();
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
        agent.availability.map(number).unwrap_or_default(),
        agent.alerts.to_string(),
        number(agent.alert_firing_seconds),
        inert(&deductions.join("; ")),
        agent
            .last_heartbeat
            .map(Timestamp::to_rfc3339)
            .unwrap_or_default(),
        report.window.from.to_rfc3339(),
        report.window.to.to_rfc3339(),
    ]
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
