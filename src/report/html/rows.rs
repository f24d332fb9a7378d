//! Rows of the page's tables, and how states look: always a symbol and a word, never colour alone.

use crate::model::{AgentStatus, Severity};

use super::{
    super::{
        performance::{AgentPerformance, AlertInWindow, PerformanceReport},
        trend::Trend,
        wording::{
            bytes, duration, gaps, measured, moment, one_digit, per_hour, percent_of, plain,
            signed, thousands,
        },
    },
    chart::{Curve, spark},
    track::Track,
};

/// A state's word, symbol and colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tone {
    /// The word shown.
    pub(super) word: &'static str,
    /// Name of the symbol in the page's sprite.
    pub(super) icon: &'static str,
    /// Class that decides the colour: `good`, `note`, `warn`, `bad`.
    pub(super) class: &'static str,
}

impl Tone {
    pub(super) const fn of_status(status: AgentStatus) -> Self {
        let (icon, class) = match status {
            AgentStatus::Active => ("check", "good"),
            AgentStatus::Unhealthy => ("cross", "bad"),
            AgentStatus::Stale => ("clock", "bad"),
            AgentStatus::Unknown => ("question", "warn"),
        };
        Self {
            word: status.as_str(),
            icon,
            class,
        }
    }

    pub(super) const fn of_severity(severity: Severity) -> Self {
        let (icon, class) = match severity {
            Severity::Info => ("info", "note"),
            Severity::Warning => ("warning", "warn"),
            Severity::Critical | Severity::Emergency => ("cross", "bad"),
        };
        Self {
            word: severity.as_str(),
            icon,
            class,
        }
    }
}

/// Figures of cpu or memory of an agent, in percent.
#[derive(Clone, Debug)]
pub(super) struct Usage {
    /// Average.
    pub(super) average: String,
    /// What the average rose by since the report that this one is compared with.
    pub(super) change: Option<String>,
    /// p50, p95 and p99.
    pub(super) percentiles: [String; 3],
    /// Largest.
    pub(super) max: String,
    /// Rise in points an hour.
    pub(super) per_hour: String,
    /// The curve over the window.
    pub(super) spark: Curve,
    /// Whether anything was measured.
    pub(super) measured: bool,
}

/// One agent in the tables.
#[derive(Clone, Debug)]
pub(super) struct AgentRow {
    /// Place from the worst, which its anchor is made of.
    pub(super) place: usize,
    /// Its id.
    pub(super) agent: String,
    /// Whether it is not in the report that this one is compared with.
    pub(super) is_new: bool,
    /// Its status.
    pub(super) status: Tone,
    /// Its score.
    pub(super) score: String,
    /// What the score rose by.
    pub(super) score_change: Option<String>,
    /// The score as whole percent, for the bar.
    pub(super) score_bar: u32,
    /// Colour of the bar.
    pub(super) score_class: &'static str,
    /// What took points off.
    pub(super) lost: String,
    /// Cpu.
    pub(super) cpu: Usage,
    /// Memory.
    pub(super) memory: Usage,
    /// Collected samples.
    pub(super) samples: String,
    /// Percent of the time that it was reached.
    pub(super) availability: String,
    /// What that rose by, in points.
    pub(super) availability_change: Option<String>,
    /// Times without contact: how many, and how long together.
    pub(super) gaps: String,
    /// Bytes sent.
    pub(super) sent: Traffic,
    /// Bytes received.
    pub(super) received: Traffic,
    /// Alerts in the window.
    pub(super) alerts: u64,
}

/// Bytes of one direction.
#[derive(Clone, Debug)]
pub(super) struct Traffic {
    /// In all.
    pub(super) total: String,
    /// By the second; empty where that is not known.
    pub(super) rate: String,
}

/// One alert in the table.
#[derive(Clone, Debug)]
pub(super) struct AlertRow {
    /// How bad it is.
    pub(super) severity: Tone,
    /// Its name.
    pub(super) name: String,
    /// Its agent.
    pub(super) agent: String,
    /// When it fired.
    pub(super) fired: String,
    /// When it resolved; empty while it fires.
    pub(super) resolved: String,
    /// How long it fired within the window.
    pub(super) lasted: String,
    /// What happened.
    pub(super) description: String,
}

pub(super) fn row(
    report: &PerformanceReport,
    agent: &AgentPerformance,
    place: usize,
    cpu: &Track,
    memory: &Track,
) -> AgentRow {
    let lost: Vec<String> = agent
        .deductions
        .iter()
        .map(|d| format!("\u{2212}{} {}", d.points, d.factor))
        .collect();
    let changes = report
        .comparison
        .as_ref()
        .map(|c| c.agents.get(&agent.agent_id));
    let change = |name: &str| changes.flatten()?.of(name).change();
    AgentRow {
        place,
        agent: plain(agent.agent_id.as_str()),
        is_new: changes.is_some_and(|found| found.is_none()),
        status: Tone::of_status(agent.status),
        score: one_digit(agent.health_score),
        score_change: change("health_score").and_then(typeset),
        score_bar: agent.health_score.clamp(0.0, 100.0).round() as u32,
        score_class: score_class(agent.health_score),
        lost: if agent.total_metrics == 0 {
            "no data".to_owned()
        } else {
            lost.join(", ")
        },
        cpu: usage(
            [
                agent.avg_cpu_usage,
                agent.p50_cpu_usage,
                agent.p95_cpu_usage,
                agent.p99_cpu_usage,
                agent.max_cpu_usage,
            ],
            agent.cpu_samples,
            agent.cpu_trend,
            change("avg_cpu_usage"),
            cpu,
        ),
        memory: usage(
            [
                agent.avg_memory_usage,
                agent.p50_memory_usage,
                agent.p95_memory_usage,
                agent.p99_memory_usage,
                agent.max_memory_usage,
            ],
            agent.memory_samples,
            agent.memory_trend,
            change("avg_memory_usage"),
            memory,
        ),
        samples: thousands(agent.total_metrics),
        availability: agent.availability.map_or_else(dash, percent_of),
        availability_change: change("availability").and_then(|share| typeset(share * 100.0)),
        gaps: gaps(agent.gap_count, agent.gap_seconds),
        sent: traffic(
            agent.network_bytes_sent,
            agent.network_bytes_sent_per_second,
        ),
        received: traffic(
            agent.network_bytes_received,
            agent.network_bytes_received_per_second,
        ),
        alerts: agent.alerts,
    }
}

/// What stands where there is no figure.
fn dash() -> String {
    "\u{2013}".to_owned()
}

fn usage(
    figures: [f64; 5],
    samples: u64,
    trend: Option<Trend>,
    change: Option<f64>,
    track: &Track,
) -> Usage {
    let shown = |value| measured(value, samples).replacen('-', "\u{2013}", 1);
    let [average, p50, p95, p99, max] = figures.map(shown);
    Usage {
        average,
        change: change.and_then(typeset),
        percentiles: [p50, p95, p99],
        max,
        per_hour: trend.map_or_else(dash, |trend| minus(&per_hour(Some(trend)))),
        spark: spark(track),
        measured: samples > 0,
    }
}

/// A difference with its sign, if it is one that shows.
pub(super) fn typeset(difference: f64) -> Option<String> {
    let text = signed(difference);
    (text != "0.0").then(|| minus(&text))
}

/// The text with the sign of a minus rather than a hyphen.
pub(super) fn minus(text: &str) -> String {
    text.replacen('-', "\u{2212}", 1)
}

fn traffic(total: Option<f64>, rate: Option<f64>) -> Traffic {
    Traffic {
        total: total.map_or_else(dash, bytes),
        rate: rate.map_or_else(String::new, |rate| format!("{}/s", bytes(rate))),
    }
}

/// The recommendations' bound and the one below which a low score is critical.
fn score_class(score: f64) -> &'static str {
    if score < 50.0 {
        "bad"
    } else if score < 70.0 {
        "warn"
    } else {
        "good"
    }
}

pub(super) fn alert_row(alert: &AlertInWindow) -> AlertRow {
    AlertRow {
        severity: Tone::of_severity(alert.severity),
        name: plain(&alert.alert_name),
        agent: plain(alert.agent_id.as_str()),
        fired: moment(alert.fired),
        resolved: alert.resolved.map(moment).unwrap_or_default(),
        lasted: duration((alert.duration_seconds * 1000.0) as i64),
        description: plain(&alert.description),
    }
}
