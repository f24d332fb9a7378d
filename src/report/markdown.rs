//! The report as GitHub-flavoured Markdown.

use super::{
    performance::{AgentPerformance, AlertInWindow, PerformanceReport},
    wording::{duration, measured, moment, one_digit, percent_of, plain, thousands, window},
};

pub(super) fn render(report: &PerformanceReport) -> String {
    let mut parts = vec![
        "# Performance report".to_owned(),
        window(report.window),
        summary(report),
    ];
    if report.coverage < 1.0 {
        parts.push(format!(
            "> **Coverage {} %:** the server did not run for the rest of the window.",
            percent_of(report.coverage)
        ));
    }
    parts.push("## Recommendations".to_owned());
    parts.push(recommendations(report));
    parts.push("## Findings".to_owned());
    parts.push(findings(report));
    parts.push("## Agents".to_owned());
    parts.push(agents(&report.worst_first()));
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
    let rows = [
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
            trends.average_health_score.map_or("-".into(), one_digit)
        ),
        format!(
            "| Average cpu | {} % |",
            measured(trends.average_system_cpu, trends.cpu_samples)
        ),
        format!(
            "| Average memory | {} % |",
            measured(trends.average_system_memory, trends.memory_samples)
        ),
        format!(
            "| Samples | {} |",
            thousands(trends.total_metrics_in_window)
        ),
    ];
    format!("| Figure | Value |\n| --- | --- |\n{}", rows.join("\n"))
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

fn agents(agents: &[&AgentPerformance]) -> String {
    if agents.is_empty() {
        return "None registered.".to_owned();
    }
    let mut rows = vec![
        "| Agent | Score | Status | CPU avg % | CPU max % | Memory avg % | Memory max % | Samples | Alerts |"
            .to_owned(),
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |".to_owned(),
    ];
    rows.extend(agents.iter().map(|agent| {
        format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            escape(agent.agent_id.as_str()),
            one_digit(agent.health_score),
            agent.status,
            measured(agent.avg_cpu_usage, agent.cpu_samples),
            measured(agent.max_cpu_usage, agent.cpu_samples),
            measured(agent.avg_memory_usage, agent.memory_samples),
            measured(agent.max_memory_usage, agent.memory_samples),
            thousands(agent.total_metrics),
            agent.alerts
        )
    }));
    rows.join("\n")
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
