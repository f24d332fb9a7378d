//! The page's content as the template takes it. Askama escapes every text; only the style sheet,
//! which is a constant, is written as it is.

use askama::Template;

use crate::model::{AgentId, AgentStatus, HealthWeights, Severity, Window, format_duration_ms};

use super::{
    super::{
        comparison::{Comparison, Source},
        performance::PerformanceReport,
        traces::{self, TraceRow},
        wording::{bytes, counted, measured, moment, one_digit, percent_of, plain, thousands},
    },
    chart::AgentCharts,
    problems::{Group, groups},
    rows::{AgentRow, AlertRow, Tone, alert_row, minus, typeset},
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

/// What the report is compared with.
#[derive(Clone, Debug)]
pub(super) struct Compared {
    /// Name of the other file; empty for the window before.
    file: String,
    from: String,
    to: String,
    /// Percent of it in which the server ran, where that is not all.
    coverage: Option<String>,
    /// Agents that it does not have.
    appeared: Vec<String>,
    /// Agents that it alone has.
    disappeared: Vec<String>,
}

fn compared(comparison: &Comparison) -> Compared {
    let ids = |ids: &[AgentId]| ids.iter().map(|id| plain(id.as_str())).collect();
    Compared {
        file: match &comparison.source {
            Source::Previous => String::new(),
            Source::File(name) => plain(name),
        },
        from: moment(comparison.window.from),
        to: moment(comparison.window.to),
        coverage: (comparison.coverage < 1.0).then(|| percent_of(comparison.coverage)),
        appeared: ids(&comparison.appeared),
        disappeared: ids(&comparison.disappeared),
    }
}

fn is_networked(report: &PerformanceReport) -> bool {
    let trends = &report.trends;
    let total = trends.network_bytes_sent.or(trends.network_bytes_received);
    total.is_some()
}

/// The page.
#[derive(Template)]
#[template(path = "report.html")]
pub(super) struct Page<'a> {
    css: &'static str,
    /// Styles of the traces' section; empty without it.
    traces_css: &'static str,
    verdict: String,
    verdict_tone: Tone,
    from: String,
    to: String,
    length: String,
    /// Where charts begin, when that is not where the window does.
    charts_from: Option<String>,
    coverage: Option<String>,
    /// Whether damaged blocks are missing from the figures.
    is_damaged: bool,
    compared: Option<Compared>,
    tiles: Vec<Tile>,
    groups: Vec<Group>,
    groups_left_out: usize,
    rows: Vec<AgentRow>,
    /// Whether any agent counts bytes over its network.
    is_networked: bool,
    /// The traces of the window in words; empty without any.
    traces: Vec<String>,
    trace_rows: Vec<TraceRow>,
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
            traces_css: if report.trends.traces.is_some() {
                include_str!("traces.css")
            } else {
                ""
            },
            verdict,
            verdict_tone,
            from: moment(report.window.from),
            to: moment(report.window.to),
            length: format_duration_ms(report.window.length_ms()),
            charts_from: (charted != report.window).then(|| moment(charted.from)),
            coverage: (report.coverage < 1.0).then(|| percent_of(report.coverage)),
            is_damaged: !report.unread.is_empty(),
            compared: report.comparison.as_ref().map(compared),
            tiles: tiles(report),
            groups,
            groups_left_out,
            rows,
            is_networked: is_networked(report),
            traces: trace_lines(report),
            trace_rows: traces::rows(report).into_iter().map(set).collect(),
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
    let plain = |name, value: String, note: String| Tile {
        name,
        value,
        note,
        tone: None,
    };
    let status = |name, count: u64, status| Tile {
        tone: (count > 0).then(|| Tone::of_status(status)),
        ..plain(name, thousands(count), String::new())
    };
    let pair = |cpu, memory| {
        format!(
            "{} / {}",
            measured(cpu, trends.cpu_samples),
            measured(memory, trends.memory_samples)
        )
    };
    let dash = || "\u{2013}".to_owned();
    let change = |name: &str| report.comparison.as_ref()?.system.of(name).change();
    let told = |name: &str| change(name).and_then(typeset);
    let scored = told("average_health_score").map(|change| format!(", {change}"));
    let averaged = ["average_system_cpu", "average_system_memory"].map(told);
    let averaged = match averaged {
        [None, None] => "%".to_owned(),
        both => {
            let [cpu, memory] = both.map(|change| change.unwrap_or_else(|| "0.0".to_owned()));
            format!("%, {cpu} / {memory}")
        }
    };
    let received = trends.network_bytes_received.map_or_else(dash, bytes);
    let firing = firing(report);
    vec![
        plain("Agents", thousands(trends.total_agents), String::new()),
        status("Active", trends.active_agents, AgentStatus::Active),
        status("Unhealthy", trends.unhealthy_agents, AgentStatus::Unhealthy),
        status("Stale", trends.stale_agents, AgentStatus::Stale),
        status("Unknown", trends.unknown_agents, AgentStatus::Unknown),
        plain(
            "Average score",
            trends.average_health_score.map_or_else(dash, one_digit),
            format!("of 100{}", scored.unwrap_or_default()),
        ),
        plain(
            "Average CPU / memory",
            pair(trends.average_system_cpu, trends.average_system_memory),
            averaged,
        ),
        plain(
            "p95 CPU / memory",
            pair(trends.p95_system_cpu, trends.p95_system_memory),
            "%".to_owned(),
        ),
        plain(
            "Sent / received",
            trends.network_bytes_sent.map_or_else(dash, bytes),
            format!("/ {received}"),
        ),
        plain(
            "Samples",
            thousands(trends.total_metrics_in_window),
            String::new(),
        ),
        Tile {
            tone: (firing > 0).then(|| Tone::of_severity(Severity::Critical)),
            ..plain(
                "Alerts firing",
                thousands(firing as u64),
                format!("of {} in the window", report.alerts.len()),
            )
        },
        Tile {
            tone: (report.coverage < 1.0).then(|| Tone::of_severity(Severity::Warning)),
            ..plain(
                "Coverage",
                percent_of(report.coverage).replace("less than", "<"),
                "%".to_owned(),
            )
        },
    ]
}

fn trace_lines(report: &PerformanceReport) -> Vec<String> {
    let Some(of_all) = &report.trends.traces else {
        return Vec::new();
    };
    let mut lines = vec![traces::summary(report, of_all).join(" ")];
    lines.extend(traces::notes(of_all));
    lines
}

/// The row with the signs of a page.
fn set(mut row: TraceRow) -> TraceRow {
    row.changes = row.changes.map(|change| {
        // What did not change is not worth a word here.
        let shows = |change: &String| change.bytes().any(|b| (b'1'..=b'9').contains(&b));
        change.filter(shows).map(|change| minus(&change))
    });
    let [p50, p95, p99, max] = &mut row.latencies;
    for figure in [
        &mut row.failed,
        p50,
        p95,
        p99,
        max,
        &mut row.cost,
        &mut row.critical,
    ] {
        if figure == "-" {
            "\u{2013}".clone_into(figure);
        }
    }
    row
}

/// Firing ones first, then the worst, then the latest.
fn alert_rows(report: &PerformanceReport) -> Vec<AlertRow> {
    let mut alerts: Vec<_> = report.alerts.iter().collect();
    alerts.sort_by_key(|alert| {
        std::cmp::Reverse((alert.resolved.is_none(), alert.severity, alert.fired))
    });
    alerts.into_iter().take(ALERTS_MAX).map(alert_row).collect()
}
