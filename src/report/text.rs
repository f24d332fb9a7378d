//! The report for a terminal: aligned, without colour codes, so that it is the same everywhere.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};

use super::{
    performance::{AgentPerformance, PerformanceReport},
    wording::{duration, measured, moment, one_digit, percent_of, plain, thousands, window},
};

pub(super) fn render(report: &PerformanceReport) -> String {
    let mut lines = header(report);
    if !report.agents.is_empty() {
        lines.push(String::new());
        lines.extend(agents_table(&report.worst_first()));
    }
    lines.push(String::new());
    lines.push("Recommendations".to_owned());
    if report.recommendations.is_empty() {
        lines.push("  none".to_owned());
    }
    lines.extend(numbered(&report.recommendations));
    let further = further_findings(report);
    if !further.is_empty() {
        lines.push(String::new());
        lines.push("Findings".to_owned());
        lines.extend(further);
    }
    if !report.alerts.is_empty() {
        lines.push(String::new());
        lines.extend(alerts_table(report));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn header(report: &PerformanceReport) -> Vec<String> {
    let trends = &report.trends;
    let mut lines = vec![
        "Performance report".to_owned(),
        String::new(),
        format!("Window    {}", window(report.window)),
    ];
    if report.coverage < 1.0 {
        lines.push(format!(
            "Coverage  {} % of the window: the server did not run for the rest of it",
            percent_of(report.coverage)
        ));
    }
    lines.push(format!(
        "Agents    {}: {} active, {} unhealthy, {} stale, {} unknown",
        trends.total_agents,
        trends.active_agents,
        trends.unhealthy_agents,
        trends.stale_agents,
        trends.unknown_agents,
    ));
    lines.push(format!(
        "Health    {} on average of agents with data",
        trends.average_health_score.map_or("-".into(), one_digit)
    ));
    lines.push(format!(
        "Usage     cpu {} %, memory {} % on average; {} samples",
        measured(trends.average_system_cpu, trends.cpu_samples),
        measured(trends.average_system_memory, trends.memory_samples),
        thousands(trends.total_metrics_in_window),
    ));
    lines
}

/// A table without borders: two blanks between columns, `right` says which are figures.
fn table(head: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> Vec<String> {
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    let aligned = |cells: Vec<String>| {
        cells.into_iter().enumerate().map(|(at, text)| {
            let side = if right.contains(&at) {
                CellAlignment::Right
            } else {
                CellAlignment::Left
            };
            Cell::new(text).set_alignment(side)
        })
    };
    table.set_header(aligned(head.iter().map(|h| (*h).to_owned()).collect()));
    for row in rows {
        table.add_row(aligned(row));
    }
    table
        .lines()
        .map(|line| {
            // The preset pads every cell by a blank on each side.
            let line = line.strip_prefix(' ').unwrap_or(&line);
            line.trim_end().to_owned()
        })
        .collect()
}

fn agents_table(agents: &[&AgentPerformance]) -> Vec<String> {
    let head = [
        "AGENT", "SCORE", "STATUS", "CPU AVG", "MAX", "MEM AVG", "MAX", "SAMPLES", "ALERTS",
    ];
    let rows = agents
        .iter()
        .map(|agent| {
            vec![
                plain(agent.agent_id.as_str()),
                one_digit(agent.health_score),
                agent.status.to_string(),
                measured(agent.avg_cpu_usage, agent.cpu_samples),
                measured(agent.max_cpu_usage, agent.cpu_samples),
                measured(agent.avg_memory_usage, agent.memory_samples),
                measured(agent.max_memory_usage, agent.memory_samples),
                thousands(agent.total_metrics),
                agent.alerts.to_string(),
            ]
        })
        .collect();
    table(&head, &[1, 3, 4, 5, 6, 7, 8], rows)
}

fn numbered(recommendations: &[String]) -> Vec<String> {
    let width = recommendations.len().to_string().len();
    recommendations
        .iter()
        .enumerate()
        .map(|(i, text)| format!("  {:>width$}. {}", i + 1, plain(text)))
        .collect()
}

/// Findings that are no recommendations; those are listed already.
fn further_findings(report: &PerformanceReport) -> Vec<String> {
    report
        .findings
        .iter()
        .filter(|finding| !report.recommendations.contains(&finding.message))
        .map(|finding| {
            let whose = finding
                .agent_id
                .as_ref()
                .map_or_else(String::new, |id| format!("{}: ", plain(id.as_str())));
            format!(
                "  {:<9}  {whose}{}",
                finding.severity.as_str(),
                plain(&finding.message)
            )
        })
        .collect()
}

fn alerts_table(report: &PerformanceReport) -> Vec<String> {
    let head = ["ALERT", "SEVERITY", "AGENT", "FIRED", "LASTED", "STATE"];
    let rows = report
        .alerts
        .iter()
        .map(|alert| {
            let state = if alert.resolved.is_none() {
                "firing"
            } else {
                "resolved"
            };
            vec![
                plain(&alert.alert_name),
                alert.severity.to_string(),
                plain(alert.agent_id.as_str()),
                moment(alert.fired),
                duration((alert.duration_seconds * 1000.0) as i64),
                state.to_owned(),
            ]
        })
        .collect();
    table(&head, &[4], rows)
}
