//! The report as GitHub-flavoured Markdown.

use std::fmt::Write;

use super::{
    comparison::{Comparison, Source},
    performance::{AgentPerformance, AlertInWindow, PerformanceReport},
    traces::{self, SystemTraces},
    unread::uncovered,
    wording::{
        bytes, duration, gaps, measured, moment, one_digit, per_hour, percent_of, plain, thousands,
        window, with_change,
    },
};
use crate::model::AgentId;

pub(super) fn render(report: &PerformanceReport) -> String {
    let mut parts = vec![
        "# Performance report".to_owned(),
        window(report.window),
        summary(report),
    ];
    if report.coverage < 1.0 {
        parts.push(format!(
            "> **Coverage {} %:** {} for the rest of the window.",
            percent_of(report.coverage),
            uncovered(&report.unread)
        ));
    }
    parts.extend(report.comparison.as_ref().map(compared));
    parts.push("## Recommendations".to_owned());
    parts.push(recommendations(report));
    parts.push("## Findings".to_owned());
    parts.push(findings(report));
    parts.push("## Agents".to_owned());
    if report.agents.is_empty() {
        parts.push("None registered.".to_owned());
    } else {
        parts.push(agents(report));
        parts.push("Usage in detail, contact, and traffic of the network:".to_owned());
        parts.push(details(report));
    }
    if let Some(of_all) = &report.trends.traces {
        parts.extend(traces_section(report, of_all));
    }
    if !report.alerts.is_empty() {
        parts.push("## Alerts".to_owned());
        parts.push(alerts(&report.alerts));
    }
    let mut text = parts.join("\n\n");
    text.push('\n');
    text
}

fn summary(report: &PerformanceReport) -> String {
    let trends = &report.trends;
    let told = |text: String, name: &str| {
        let change = report
            .comparison
            .as_ref()
            .and_then(|c| c.system.of(name).change());
        with_change(text, change)
    };
    let three = |values: [f64; 3], samples| {
        let [p50, p95, p99] = values.map(|value| measured(value, samples));
        format!("{p50} / {p95} / {p99} %")
    };
    let mut rows = vec![
        format!(
            "| Agents | {}: {} active, {} unhealthy, {} stale, {} unknown |",
            trends.total_agents,
            trends.active_agents,
            trends.unhealthy_agents,
            trends.stale_agents,
            trends.unknown_agents
        ),
        format!(
            "| Average health score | {} |",
            told(
                trends.average_health_score.map_or("-".into(), one_digit),
                "average_health_score"
            )
        ),
        format!(
            "| Average cpu | {} |",
            told(
                format!(
                    "{} %",
                    measured(trends.average_system_cpu, trends.cpu_samples)
                ),
                "average_system_cpu"
            )
        ),
        format!(
            "| Cpu p50 / p95 / p99 | {} |",
            three(
                [
                    trends.p50_system_cpu,
                    trends.p95_system_cpu,
                    trends.p99_system_cpu
                ],
                trends.cpu_samples
            )
        ),
        format!(
            "| Average memory | {} |",
            told(
                format!(
                    "{} %",
                    measured(trends.average_system_memory, trends.memory_samples)
                ),
                "average_system_memory"
            )
        ),
        format!(
            "| Memory p50 / p95 / p99 | {} |",
            three(
                [
                    trends.p50_system_memory,
                    trends.p95_system_memory,
                    trends.p99_system_memory
                ],
                trends.memory_samples
            )
        ),
        format!(
            "| Samples | {} |",
            thousands(trends.total_metrics_in_window)
        ),
    ];
    for (name, total, rate) in [
        (
            "sent",
            trends.network_bytes_sent,
            trends.network_bytes_sent_per_second,
        ),
        (
            "received",
            trends.network_bytes_received,
            trends.network_bytes_received_per_second,
        ),
    ] {
        if let Some(total) = total {
            let rate = rate.map_or_else(String::new, |rate| format!(", {}/s", bytes(rate)));
            rows.push(format!("| Network, {name} | {}{rate} |", bytes(total)));
        }
    }
    format!("| Figure | Value |\n| --- | --- |\n{}", rows.join("\n"))
}

/// What the changes in parentheses are measured against.
fn compared(comparison: &Comparison) -> String {
    let whose = match &comparison.source {
        Source::Previous => String::new(),
        Source::File(name) => format!("{}, ", escape(name)),
    };
    let mut text = format!(
        "Changes in parentheses are from {whose}{}",
        window(comparison.window)
    );
    if comparison.coverage < 1.0 {
        let share = percent_of(comparison.coverage);
        // Writing to a String cannot fail.
        let _ = write!(text, "; its figures cover {share} % of it");
    }
    text.push('.');
    for (verb, ids) in [
        ("Appeared", &comparison.appeared),
        ("Disappeared", &comparison.disappeared),
    ] {
        if !ids.is_empty() {
            let ids: Vec<String> = ids.iter().map(|id: &AgentId| escape(id.as_str())).collect();
            let _ = write!(text, " {verb}: {}.", ids.join(", "));
        }
    }
    text
}

fn recommendations(report: &PerformanceReport) -> String {
    if report.recommendations.is_empty() {
        return "None.".to_owned();
    }
    let items: Vec<String> = report
        .recommendations
        .iter()
        .enumerate()
        .map(|(i, text)| format!("{}. {}", i + 1, escape(text)))
        .collect();
    items.join("\n")
}

fn findings(report: &PerformanceReport) -> String {
    if report.findings.is_empty() {
        return "None.".to_owned();
    }
    let mut rows = vec![
        "| Severity | Agent | Finding |".to_owned(),
        "| --- | --- | --- |".to_owned(),
    ];
    rows.extend(report.findings.iter().map(|finding| {
        format!(
            "| {} | {} | {} |",
            finding.severity,
            finding
                .agent_id
                .as_ref()
                .map_or_else(|| "(system)".to_owned(), |id| escape(id.as_str())),
            escape(&finding.message)
        )
    }));
    rows.join("\n")
}

fn agents(report: &PerformanceReport) -> String {
    let mut rows = vec![
        "| Agent | Score | Status | CPU avg % | CPU p95 % | CPU max % | Memory avg % | Memory p95 % | Memory max % | Samples | Alerts |"
            .to_owned(),
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |".to_owned(),
    ];
    rows.extend(report.worst_first().into_iter().map(|agent| {
        let told = |text: String, name: &str| with_change(text, change_of(report, agent, name));
        let (cpu, memory) = (agent.cpu_samples, agent.memory_samples);
        format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            escape(agent.agent_id.as_str()),
            told(one_digit(agent.health_score), "health_score"),
            agent.status,
            told(measured(agent.avg_cpu_usage, cpu), "avg_cpu_usage"),
            told(measured(agent.p95_cpu_usage, cpu), "p95_cpu_usage"),
            told(measured(agent.max_cpu_usage, cpu), "max_cpu_usage"),
            told(measured(agent.avg_memory_usage, memory), "avg_memory_usage"),
            told(measured(agent.p95_memory_usage, memory), "p95_memory_usage"),
            told(measured(agent.max_memory_usage, memory), "max_memory_usage"),
            thousands(agent.total_metrics),
            agent.alerts
        )
    }));
    rows.join("\n")
}

fn change_of(report: &PerformanceReport, agent: &AgentPerformance, name: &str) -> Option<f64> {
    let comparison = report.comparison.as_ref()?;
    comparison.agents.get(&agent.agent_id)?.of(name).change()
}

/// What the first table has no room for.
fn details(report: &PerformanceReport) -> String {
    let mut rows = vec![
        "| Agent | CPU p50 % | CPU p99 % | CPU points/h | Memory p50 % | Memory p99 % | Memory points/h | Up % | Gaps | Sent | Received |"
            .to_owned(),
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |".to_owned(),
    ];
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let traffic = |total: Option<f64>, rate: Option<f64>| {
        let rate = rate.map_or_else(String::new, |rate| format!(", {}/s", bytes(rate)));
        or_dash(total.map(|total| format!("{}{rate}", bytes(total))))
    };
    rows.extend(report.worst_first().into_iter().map(|agent| {
        format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            escape(agent.agent_id.as_str()),
            measured(agent.p50_cpu_usage, agent.cpu_samples),
            measured(agent.p99_cpu_usage, agent.cpu_samples),
            per_hour(agent.cpu_trend),
            measured(agent.p50_memory_usage, agent.memory_samples),
            measured(agent.p99_memory_usage, agent.memory_samples),
            per_hour(agent.memory_trend),
            or_dash(agent.availability.map(percent_of)),
            gaps(agent.gap_count, agent.gap_seconds),
            traffic(
                agent.network_bytes_sent,
                agent.network_bytes_sent_per_second
            ),
            traffic(
                agent.network_bytes_received,
                agent.network_bytes_received_per_second
            ),
        )
    }));
    rows.join("\n")
}

fn traces_section(report: &PerformanceReport, of_all: &SystemTraces) -> Vec<String> {
    let mut parts = vec![
        "## Traces".to_owned(),
        traces::summary(report, of_all).join("\n"),
    ];
    parts.extend(traces::notes(of_all).iter().map(|note| escape(note)));
    let mut table = vec![
        "| Agent | Traces | Spans | Failed % | p50 | p95 | p99 | Max | Tokens in | Out | Cost | Open | Critical path % |"
            .to_owned(),
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
            .to_owned(),
    ];
    table.extend(traces::rows(report).into_iter().map(|row| {
        let [failed_change, p95_change, tokens_change, cost_change] = row.changes;
        let told = |figure: String, change: Option<String>| match change {
            Some(change) => format!("{figure} ({change})"),
            None => figure,
        };
        let [p50, p95, p99, max] = row.latencies;
        let cells = [
            escape(&row.agent),
            row.traces,
            row.spans,
            told(row.failed, failed_change),
            p50,
            told(p95, p95_change),
            p99,
            max,
            row.input,
            told(
                row.output,
                tokens_change.map(|change| format!("both {change}")),
            ),
            told(row.cost, cost_change),
            row.open,
            row.critical,
        ];
        format!("| {} |", cells.join(" | "))
    }));
    if table.len() > 2 {
        parts.push(table.join("\n"));
    }
    parts
}

fn alerts(alerts: &[AlertInWindow]) -> String {
    let mut rows = vec![
        "| Alert | Severity | Agent | Fired (UTC) | Resolved (UTC) | Lasted | Description |"
            .to_owned(),
        "| --- | --- | --- | --- | --- | ---: | --- |".to_owned(),
    ];
    rows.extend(alerts.iter().map(|alert| {
        format!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            escape(&alert.alert_name),
            alert.severity,
            escape(alert.agent_id.as_str()),
            moment(alert.fired),
            alert.resolved.map_or_else(|| "firing".to_owned(), moment),
            duration((alert.duration_seconds * 1000.0) as i64),
            escape(&alert.description)
        )
    }));
    rows.join("\n")
}

/// Text that Markdown shows as it is: no table cell, code, link, emphasis or HTML can begin in it.
fn escape(text: &str) -> String {
    let text = plain(text);
    let mut escaped = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut previous = ' ';
    while let Some(c) = chars.next() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            // Within a word an underscore means nothing, and names are full of them.
            '_' if previous.is_alphanumeric()
                && chars.peek().is_some_and(|next| next.is_alphanumeric()) =>
            {
                escaped.push('_');
            }
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '$' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c => escaped.push(c),
        }
        previous = c;
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("agent_7"), "agent_7");
        assert_eq!(escape("_x_ a_"), r"\_x\_ a\_");
        assert_eq!(escape("a|b`c`"), r"a\|b\`c\`");
        assert_eq!(escape("<img src=x> [l](u)"), r"&lt;img src=x&gt; \[l\](u)");
        assert_eq!(escape("two\nlines"), "two lines");
    }
}
