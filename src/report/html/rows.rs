//! Rows of the page's tables, and how states look: always a symbol and a word, never colour alone.

use crate::model::{AgentStatus, Severity};

use super::{
    super::{
        performance::{AgentPerformance, AlertInWindow},
        wording::{duration, measured, moment, one_digit, percent_of, plain, thousands},
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

/// Figures of cpu or memory in a row.
#[derive(Clone, Debug)]
pub(super) struct Usage {
    /// Average percent.
    pub(super) average: String,
    /// Largest percent.
    pub(super) max: String,
    /// The curve over the window.
    pub(super) spark: Curve,
    /// Whether anything was measured.
    pub(super) measured: bool,
}

/// One agent in the table.
#[derive(Clone, Debug)]
pub(super) struct AgentRow {
    /// Place from the worst, which its anchor is made of.
    pub(super) place: usize,
    /// Its id.
    pub(super) agent: String,
    /// Its status.
    pub(super) status: Tone,
    /// Its score.
    pub(super) score: String,
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
    /// Percent of contacts that succeeded.
    pub(super) availability: String,
    /// Alerts in the window.
    pub(super) alerts: u64,
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

pub(super) fn row(agent: &AgentPerformance, place: usize, cpu: &Track, memory: &Track) -> AgentRow {
    let lost: Vec<String> = agent
        .deductions
        .iter()
        .map(|d| format!("\u{2212}{} {}", d.points, d.factor))
        .collect();
    AgentRow {
        place,
        agent: plain(agent.agent_id.as_str()),
        status: Tone::of_status(agent.status),
        score: one_digit(agent.health_score),
        score_bar: agent.health_score.clamp(0.0, 100.0).round() as u32,
        score_class: score_class(agent.health_score),
        lost: if agent.total_metrics == 0 {
            "no data".to_owned()
        } else {
            lost.join(", ")
        },
        cpu: usage(
            agent.avg_cpu_usage,
            agent.max_cpu_usage,
            agent.cpu_samples,
            cpu,
        ),
        memory: usage(
            agent.avg_memory_usage,
            agent.max_memory_usage,
            agent.memory_samples,
            memory,
        ),
        samples: thousands(agent.total_metrics),
        availability: agent
            .availability
            .map_or_else(|| "\u{2013}".to_owned(), percent_of),
        alerts: agent.alerts,
    }
}

fn usage(average: f64, max: f64, samples: u64, track: &Track) -> Usage {
    let shown = |value| measured(value, samples).replacen('-', "\u{2013}", 1);
    Usage {
        average: shown(average),
        max: shown(max),
        spark: spark(track),
        measured: samples > 0,
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
