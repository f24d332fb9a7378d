//! The report for a terminal: aligned, without colour codes, so that it is the same everywhere.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};

use super::{
    comparison::{Comparison, Source},
    performance::{AgentPerformance, PerformanceReport},
    traces::{self, SystemTraces},
    unread::uncovered,
    wording::{
        bytes, counted, duration, gaps, measured, moment, one_digit, per_hour, percent_of, plain,
        signed, thousands, window, with_change,
    },
};
use crate::model::AgentId;

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
    if let Some(comparison) = &report.comparison {
        lines.push(String::new());
        lines.extend(changes(report, comparison));
    }
    if !report.agents.is_empty() {
        lines.push(String::new());
        lines.push(
            "Percentiles and rise in points an hour of usage, contact, traffic of the network"
                .to_owned(),
        );
        lines.extend(details_table(&report.worst_first()));
    }
    if let Some(of_all) = &report.trends.traces {
        lines.push(String::new());
        lines.extend(traces_section(report, of_all));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn header(report: &PerformanceReport) -> Vec<String> {
    let trends = &report.trends;
    let change = |name: &str| report.comparison.as_ref()?.system.of(name).change();
    let mut lines = vec![
        "Performance report".to_owned(),
        String::new(),
        format!("Window    {}", window(report.window)),
    ];
    if report.coverage < 1.0 {
        lines.push(format!(
            "Coverage  {} % of the window: {} for the rest of it",
            percent_of(report.coverage),
            uncovered(&report.unread)
        ));
    }
    lines.extend(report.comparison.as_ref().map(compared));
    let score = trends.average_health_score.map_or("-".into(), one_digit);
    let usage = |value, samples, name: &str| {
        with_change(format!("{} %", measured(value, samples)), change(name))
    };
    let three = |values: [f64; 3], samples| {
        let [p50, p95, p99] = values.map(|value| measured(value, samples));
        format!("p50 {p50}, p95 {p95}, p99 {p99} %")
    };
    lines.extend([
        format!(
            "Agents    {}: {} active, {} unhealthy, {} stale, {} unknown",
            trends.total_agents,
            trends.active_agents,
            trends.unhealthy_agents,
            trends.stale_agents,
            trends.unknown_agents,
        ),
        format!(
            "Health    {} on average of agents with data",
            with_change(score, change("average_health_score"))
        ),
        format!(
            "Usage     cpu {}, memory {} on average; {} samples",
            usage(
                trends.average_system_cpu,
                trends.cpu_samples,
                "average_system_cpu"
            ),
            usage(
                trends.average_system_memory,
                trends.memory_samples,
                "average_system_memory"
            ),
            thousands(trends.total_metrics_in_window),
        ),
        format!(
            "Spread    cpu {}; memory {}",
            three(
                [
                    trends.p50_system_cpu,
                    trends.p95_system_cpu,
                    trends.p99_system_cpu
                ],
                trends.cpu_samples
            ),
            three(
                [
                    trends.p50_system_memory,
                    trends.p95_system_memory,
                    trends.p99_system_memory
                ],
                trends.memory_samples
            ),
        ),
    ]);
    let traffic = |total: Option<f64>, rate: Option<f64>, verb: &str| {
        let rate = rate.map_or_else(String::new, |rate| format!(" ({}/s)", bytes(rate)));
        total.map(|total| format!("{} {verb}{rate}", bytes(total)))
    };
    let sent = traffic(
        trends.network_bytes_sent,
        trends.network_bytes_sent_per_second,
        "sent",
    );
    let received = traffic(
        trends.network_bytes_received,
        trends.network_bytes_received_per_second,
        "received",
    );
    let network: Vec<String> = [sent, received].into_iter().flatten().collect();
    if !network.is_empty() {
        lines.push(format!("Network   {}", network.join(", ")));
    }
    lines
}

fn compared(comparison: &Comparison) -> String {
    let whose = match &comparison.source {
        Source::Previous => String::new(),
        Source::File(name) => format!("{}, ", plain(name)),
    };
    let covered = if comparison.coverage < 1.0 {
        let share = percent_of(comparison.coverage);
        format!("; its figures cover {share} % of it")
    } else {
        String::new()
    };
    format!(
        "Compared  with {whose}{}{covered}",
        window(comparison.window)
    )
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
        "AGENT", "SCORE", "STATUS", "CPU AVG", "P95", "MAX", "MEM AVG", "P95", "MAX", "SAMPLES",
        "ALERTS",
    ];
    let rows = agents
        .iter()
        .map(|agent| {
            vec![
                plain(agent.agent_id.as_str()),
                one_digit(agent.health_score),
                agent.status.to_string(),
                measured(agent.avg_cpu_usage, agent.cpu_samples),
                measured(agent.p95_cpu_usage, agent.cpu_samples),
                measured(agent.max_cpu_usage, agent.cpu_samples),
                measured(agent.avg_memory_usage, agent.memory_samples),
                measured(agent.p95_memory_usage, agent.memory_samples),
                measured(agent.max_memory_usage, agent.memory_samples),
                thousands(agent.total_metrics),
                agent.alerts.to_string(),
            ]
        })
        .collect();
    table(&head, &[1, 3, 4, 5, 6, 7, 8, 9, 10], rows)
}

/// What the first table has no room for. The network's columns stand there only where it was measured.
fn details_table(agents: &[&AgentPerformance]) -> Vec<String> {
    let mut head = vec![
        "AGENT", "CPU P50", "P99", "/H", "MEM P50", "P99", "/H", "UP %", "GAPS",
    ];
    let is_networked = agents
        .iter()
        .any(|a| a.network_bytes_sent.or(a.network_bytes_received).is_some());
    if is_networked {
        head.extend(["SENT/S", "RECEIVED/S"]);
    }
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let rows = agents
        .iter()
        .map(|agent| {
            let mut row = vec![
                plain(agent.agent_id.as_str()),
                measured(agent.p50_cpu_usage, agent.cpu_samples),
                measured(agent.p99_cpu_usage, agent.cpu_samples),
                per_hour(agent.cpu_trend),
                measured(agent.p50_memory_usage, agent.memory_samples),
                measured(agent.p99_memory_usage, agent.memory_samples),
                per_hour(agent.memory_trend),
                or_dash(agent.availability.map(percent_of)),
                gaps(agent.gap_count, agent.gap_seconds),
            ];
            if is_networked {
                row.push(or_dash(agent.network_bytes_sent_per_second.map(bytes)));
                row.push(or_dash(agent.network_bytes_received_per_second.map(bytes)));
            }
            row
        })
        .collect();
    let right: Vec<usize> = (1..head.len()).collect();
    table(&head, &right, rows)
}

fn traces_section(report: &PerformanceReport, of_all: &SystemTraces) -> Vec<String> {
    let mut lines = vec!["Traces".to_owned()];
    let told = traces::summary(report, of_all).into_iter();
    let told = told.chain(traces::notes(of_all));
    lines.extend(told.map(|line| format!("  {line}")));
    let rows = traces::rows(report);
    if rows.is_empty() {
        return lines;
    }
    let head = [
        "AGENT",
        "TRACES",
        "SPANS",
        "FAIL %",
        "P50",
        "P95",
        "P99",
        "MAX",
        "TOKENS IN",
        "OUT",
        "COST",
        "OPEN",
        "PATH %",
    ];
    let right: Vec<usize> = (1..head.len()).collect();
    let cells = rows.iter().map(|row| {
        let mut cells = vec![
            row.agent.clone(),
            row.traces.clone(),
            row.spans.clone(),
            row.failed.clone(),
        ];
        cells.extend(row.latencies.clone());
        cells.extend(
            [&row.input, &row.output, &row.cost, &row.open, &row.critical].map(String::clone),
        );
        cells
    });
    lines.extend(table(&head, &right, cells.collect()));
    if report.comparison.is_some() {
        lines.push("Changes of traces".to_owned());
        let head = ["AGENT", "FAIL %", "P95", "TOKENS", "COST"];
        let cells = rows.into_iter().map(|row| {
            let changes = row
                .changes
                .map(|change| change.unwrap_or_else(|| "-".to_owned()));
            let mut cells = vec![row.agent];
            cells.extend(changes);
            cells
        });
        lines.extend(table(&head, &[1, 2, 3, 4], cells.collect()));
    }
    lines
}

/// A figure of the changes' table: its heading, its name, and how it reads.
type Changed = (&'static str, &'static str, fn(f64) -> String);

const CHANGED: [Changed; 6] = [
    ("SCORE", "health_score", one_digit),
    ("CPU AVG", "avg_cpu_usage", one_digit),
    ("P95", "p95_cpu_usage", one_digit),
    ("MEM AVG", "avg_memory_usage", one_digit),
    ("P95", "p95_memory_usage", one_digit),
    ("UP %", "availability", percent_of),
];

/// The agents that both reports have, each figure with its change beside it, and those that one has alone.
fn changes(report: &PerformanceReport, comparison: &Comparison) -> Vec<String> {
    let mut head = vec!["AGENT"];
    head.extend(CHANGED.iter().flat_map(|(heading, ..)| [*heading, "+/-"]));
    let rows: Vec<Vec<String>> = report
        .worst_first()
        .into_iter()
        .filter_map(|agent| {
            let changes = comparison.agents.get(&agent.agent_id)?;
            let mut row = vec![plain(agent.agent_id.as_str())];
            for (_, name, reads) in CHANGED {
                let change = changes.of(name);
                // A share of one is told in percent, and so is what it rose by.
                let scale = if name == "availability" { 100.0 } else { 1.0 };
                let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
                row.push(or_dash(change.after.map(reads)));
                row.push(or_dash(change.change().map(|c| signed(c * scale))));
            }
            Some(row)
        })
        .collect();
    let mut lines = vec!["Changes".to_owned()];
    if !rows.is_empty() {
        let right: Vec<usize> = (1..head.len()).collect();
        lines.extend(table(&head, &right, rows));
    }
    for (verb, ids) in [
        ("appeared", &comparison.appeared),
        ("disappeared", &comparison.disappeared),
    ] {
        if !ids.is_empty() {
            let ids: Vec<String> = ids.iter().map(|id: &AgentId| plain(id.as_str())).collect();
            lines.push(format!(
                "  {} {verb}: {}",
                counted(ids.len(), "agent"),
                ids.join(", ")
            ));
        }
    }
    lines
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
