//! The page's content as the template takes it. Askama escapes every text; only the style sheet,
//! which is a constant, is written as it is.

use askama::Template;

use crate::model::{AgentStatus, HealthWeights, Severity, Window, format_duration_ms};

use super::{
    super::{
        performance::PerformanceReport,
        wording::{counted, measured, moment, one_digit, percent_of, thousands},
    },
    chart::AgentCharts,
    problems::{Group, groups},
    rows::{AgentRow, AlertRow, Tone, alert_row},
};

/// Alerts listed; the JSON has all.
const ALERTS_MAX: usize = 200;

/// A figure at the top of the page.
#[derive(Clone, Debug)]
pub(super) struct Tile {
    /// What it counts.
    name: &'static str,
    /// The figure.
    value: String,
    /// More about it, may be empty.
    note: String,
    /// Colour and symbol, where the figure is a good or a bad sign.
    tone: Option<Tone>,
}

/// The page.
#[derive(Template)]
#[template(path = "report.html")]
pub(super) struct Page<'a> {
    css: &'static str,
    verdict: String,
    verdict_tone: Tone,
    from: String,
    to: String,
    length: String,
    /// Where charts begin, when that is not where the window does.
    charts_from: Option<String>,
    coverage: Option<String>,
    tiles: Vec<Tile>,
    groups: Vec<Group>,
    groups_left_out: usize,
    rows: Vec<AgentRow>,
    alerts: Vec<AlertRow>,
    alerts_left_out: usize,
    charts: Vec<AgentCharts>,
    weights: &'a HealthWeights,
}

impl<'a> Page<'a> {
    pub(super) fn new(
        report: &PerformanceReport,
        charted: Window,
        weights: &'a HealthWeights,
        rows: Vec<AgentRow>,
        charts: Vec<AgentCharts>,
    ) -> Self {
        let (groups, groups_left_out) = groups(report);
        let (verdict, verdict_tone) = verdict(report);
        Self {
            css: include_str!("report.css"),
            verdict,
            verdict_tone,
            from: moment(report.window.from),
            to: moment(report.window.to),
            length: format_duration_ms(report.window.length_ms()),
            charts_from: (charted != report.window).then(|| moment(charted.from)),
            coverage: (report.coverage < 1.0).then(|| percent_of(report.coverage)),
            tiles: tiles(report),
            groups,
            groups_left_out,
            rows,
            alerts: alert_rows(report),
            alerts_left_out: report.alerts.len().saturating_sub(ALERTS_MAX),
            charts,
            weights,
        }
    }
}

fn firing(report: &PerformanceReport) -> usize {
    report
        .alerts
        .iter()
        .filter(|a| a.resolved.is_none())
        .count()
}

/// One sentence for somebody who reads no further.
fn verdict(report: &PerformanceReport) -> (String, Tone) {
    let wrong = report
        .agents
        .iter()
        .filter(|a| {
            a.status != AgentStatus::Active || a.health_score < 70.0 || a.total_metrics == 0
        })
        .count();
    let total = report.agents.len();
    let firing = firing(report);
    let of_alerts = match firing {
        0 => "No alert is firing.".to_owned(),
        1 => "1 alert is firing.".to_owned(),
        n => format!("{} are firing.", counted(n, "alert")),
    };
    if total == 0 {
        let tone = Tone::of_severity(Severity::Warning);
        return ("No agent is registered.".to_owned(), tone);
    }
    if wrong == 0 && firing == 0 {
        let tone = Tone::of_status(AgentStatus::Active);
        let text = if total == 1 {
            "The agent is active and healthy.".to_owned()
        } else {
            format!("All {} are active and healthy.", counted(total, "agent"))
        };
        return (text, tone);
    }
    let tone = Tone::of_severity(Severity::Critical);
    let verb = if wrong == 1 { "needs" } else { "need" };
    (
        format!(
            "{wrong} of {} {verb} attention. {of_alerts}",
            counted(total, "agent")
        ),
        tone,
    )
}

fn tiles(report: &PerformanceReport) -> Vec<Tile> {
    let trends = &report.trends;
    let plain = |name, value: String, note: &str| Tile {
        name,
        value,
        note: note.to_owned(),
        tone: None,
    };
    let status = |name, count: u64, status| Tile {
        tone: (count > 0).then(|| Tone::of_status(status)),
        ..plain(name, thousands(count), "")
    };
    let firing = firing(report);
    vec![
        plain("Agents", thousands(trends.total_agents), ""),
        status("Active", trends.active_agents, AgentStatus::Active),
        status("Unhealthy", trends.unhealthy_agents, AgentStatus::Unhealthy),
        status("Stale", trends.stale_agents, AgentStatus::Stale),
        status("Unknown", trends.unknown_agents, AgentStatus::Unknown),
        plain(
            "Average score",
            trends
                .average_health_score
                .map_or_else(|| "\u{2013}".to_owned(), one_digit),
            "of 100",
        ),
        plain(
            "Average CPU / memory",
            format!(
                "{} / {}",
                measured(trends.average_system_cpu, trends.cpu_samples),
                measured(trends.average_system_memory, trends.memory_samples)
            ),
            "%",
        ),
        plain("Samples", thousands(trends.total_metrics_in_window), ""),
        Tile {
            tone: (firing > 0).then(|| Tone::of_severity(Severity::Critical)),
            ..plain(
                "Alerts firing",
                thousands(firing as u64),
                &format!("of {} in the window", report.alerts.len()),
            )
        },
        Tile {
            tone: (report.coverage < 1.0).then(|| Tone::of_severity(Severity::Warning)),
            ..plain("Coverage", percent_of(report.coverage), "%")
        },
    ]
}

/// Firing ones first, then the worst, then the latest.
fn alert_rows(report: &PerformanceReport) -> Vec<AlertRow> {
    let mut alerts: Vec<_> = report.alerts.iter().collect();
    alerts.sort_by_key(|alert| {
        std::cmp::Reverse((alert.resolved.is_none(), alert.severity, alert.fired))
    });
    alerts.into_iter().take(ALERTS_MAX).map(alert_row).collect()
}
