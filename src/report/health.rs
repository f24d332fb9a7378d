//! The health score of an agent: 100 less what its cpu, memory, status and firing alerts cost.

use serde::Serialize;

use crate::model::{Agent, AgentStatus, Alert, HealthWeights, History, ReadError, Summary, Window};

use super::{
    figures::{AgentFigures, agent_figures},
    firing::AlertBook,
    shape,
    status::agent_status,
    wording::one_digit,
};

/// Names of alerts that a deduction's reason spells out before it only counts.
const ALERT_NAMES_MAX: usize = 3;

/// A figure beside a deduction: a measured number, or the word of a status.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Figure {
    /// A number; NaN and infinities become words in JSON.
    Number(#[serde(serialize_with = "shape::number")] f64),
    /// A status.
    Word(&'static str),
}

/// What took points off a score, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Deduction {
    /// `cpu`, `memory`, `status` or `alerts`.
    pub factor: &'static str,
    /// Points taken off.
    #[serde(serialize_with = "shape::number")]
    pub points: f64,
    /// Why, for people.
    pub reason: String,
    /// What was measured: average percent, the status, or the number of firing alerts.
    pub value: Figure,
    /// What it was measured against.
    pub threshold: Figure,
}

/// A health score and what it is made of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthScore {
    /// 0 to 100; 0 without any sample in the window.
    #[serde(serialize_with = "shape::number")]
    pub score: f64,
    /// What took points off. Empty for an agent without samples, whose score is 0 for that alone.
    pub deductions: Vec<Deduction>,
}

/// Health score of the agent over the window. Weights, status and firing alerts are those of the
/// window's end.
pub fn health_score(
    history: &dyn History,
    agent: &Agent,
    window: Window,
) -> Result<HealthScore, ReadError> {
    let firing = AlertBook::firing_at(history, window.to)?;
    health_score_with(history, agent, window, &firing)
}

/// The same with the alerts read before.
pub(super) fn health_score_with(
    history: &dyn History,
    agent: &Agent,
    window: Window,
    alerts: &AlertBook,
) -> Result<HealthScore, ReadError> {
    let figures = agent_figures(history, agent.no, window)?;
    let status = agent_status(history, agent, window.to)?.status;
    let weights = history.policy(window.to).health;
    Ok(score_of(
        &figures,
        status,
        &alerts.firing(agent.no),
        &weights,
    ))
}

/// The document's score: bounds are exclusive, each factor costs once, alerts cost each.
pub(super) fn score_of(
    figures: &AgentFigures,
    status: AgentStatus,
    firing: &[&Alert],
    weights: &HealthWeights,
) -> HealthScore {
    if figures.total_metrics == 0 {
        return HealthScore {
            score: 0.0,
            deductions: Vec::new(),
        };
    }
    let cpu = usage_deduction(
        "cpu",
        &figures.cpu,
        [
            (weights.cpu_critical_percent, weights.cpu_critical_points),
            (weights.cpu_high_percent, weights.cpu_high_points),
        ],
    );
    let memory = usage_deduction(
        "memory",
        &figures.memory,
        [
            (
                weights.memory_critical_percent,
                weights.memory_critical_points,
            ),
            (weights.memory_high_percent, weights.memory_high_points),
        ],
    );
    let deductions: Vec<Deduction> = [
        cpu,
        memory,
        status_deduction(status, weights),
        alerts_deduction(firing, weights),
    ]
    .into_iter()
    .flatten()
    .collect();
    let lost: f64 = deductions.iter().map(|d| d.points).sum();
    HealthScore {
        score: (100.0 - lost).clamp(0.0, 100.0),
        deductions,
    }
}

/// The first bound that the average exceeds, critical before high.
fn usage_deduction(
    factor: &'static str,
    usage: &Summary,
    bounds: [(f64, f64); 2],
) -> Option<Deduction> {
    let average = usage.mean()?;
    let (threshold, points) = bounds.into_iter().find(|(bound, _)| average > *bound)?;
    Some(Deduction {
        factor,
        points,
        reason: format!(
            "average {factor} usage {} % is above {threshold} %",
            told_above(average, threshold)
        ),
        value: Figure::Number(average),
        threshold: Figure::Number(threshold),
    })
}

/// The average with one digit, or with all where one would read as the threshold itself.
fn told_above(average: f64, threshold: f64) -> String {
    let short = one_digit(average);
    if short == one_digit(threshold) {
        average.to_string()
    } else {
        short
    }
}

fn status_deduction(status: AgentStatus, weights: &HealthWeights) -> Option<Deduction> {
    (status != AgentStatus::Active).then(|| Deduction {
        factor: "status",
        points: weights.status_points,
        reason: format!("the agent is {status}"),
        value: Figure::Word(status.as_str()),
        threshold: Figure::Word(AgentStatus::Active.as_str()),
    })
}

fn alerts_deduction(firing: &[&Alert], weights: &HealthWeights) -> Option<Deduction> {
    if firing.is_empty() {
        return None;
    }
    let names: Vec<&str> = firing
        .iter()
        .take(ALERT_NAMES_MAX)
        .map(|alert| alert.name.as_str())
        .collect();
    let more = match firing.len().saturating_sub(ALERT_NAMES_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let verb = if firing.len() == 1 { "is" } else { "are" };
    Some(Deduction {
        factor: "alerts",
        points: weights.alert_points * firing.len() as f64,
        reason: format!("{}{more} {verb} firing", names.join(", ")),
        value: Figure::Number(firing.len() as f64),
        threshold: Figure::Number(0.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AgentNo, OccurrenceNo, Severity, Timestamp};

    fn summary(values: &[f64]) -> Summary {
        let mut summary = Summary::default();
        for value in values {
            summary.samples += 1;
            if value.is_nan() {
                summary.nans += 1;
            } else {
                summary.sum.add(*value);
            }
        }
        summary
    }

    fn score(cpu: &[f64], memory: &[f64], status: AgentStatus, alerts: usize) -> f64 {
        let figures = AgentFigures {
            total_metrics: (cpu.len() + memory.len()) as u64,
            cpu: summary(cpu),
            memory: summary(memory),
        };
        let fired = Timestamp::from_millis(0);
        let alert = Alert::fired(
            OccurrenceNo(1),
            AgentNo(1),
            "r:a:m",
            "r",
            Severity::Warning,
            fired,
        );
        let firing = vec![&alert; alerts];
        let health = score_of(&figures, status, &firing, &HealthWeights::default());
        let lost: f64 = health.deductions.iter().map(|d| d.points).sum();
        if figures.total_metrics > 0 {
            assert_eq!(health.score, (100.0 - lost).max(0.0));
        }
        health.score
    }

    #[test]
    fn bounds_are_exclusive() {
        let of_cpu = |cpu| score(&[cpu], &[10.0], AgentStatus::Active, 0);
        assert_eq!(of_cpu(60.0), 100.0);
        assert_eq!(of_cpu(60.0_f64.next_up()), 85.0);
        assert_eq!(of_cpu(80.0), 85.0);
        assert_eq!(of_cpu(80.0_f64.next_up()), 70.0);
        let of_memory = |memory| score(&[10.0], &[memory], AgentStatus::Active, 0);
        assert_eq!(of_memory(70.0), 100.0);
        assert_eq!(of_memory(70.0_f64.next_up()), 90.0);
        assert_eq!(of_memory(85.0), 90.0);
        assert_eq!(of_memory(85.0_f64.next_up()), 75.0);
    }

    #[test]
    fn factors_add_up_and_are_clamped() {
        let worst = |alerts| score(&[90.0], &[90.0], AgentStatus::Stale, alerts);
        assert_eq!(score(&[90.0], &[90.0], AgentStatus::Active, 1), 35.0);
        assert_eq!(score(&[1.0], &[1.0], AgentStatus::Unknown, 0), 50.0);
        assert_eq!(score(&[1.0], &[1.0], AgentStatus::Unhealthy, 2), 30.0);
        assert_eq!(worst(0), 0.0);
        assert_eq!(worst(30), 0.0);
    }

    #[test]
    fn no_sample_is_zero_and_no_measurement_costs_nothing() {
        assert_eq!(score(&[], &[], AgentStatus::Active, 0), 0.0);
        assert_eq!(score(&[], &[1.0], AgentStatus::Active, 0), 100.0);
    }

    #[test]
    fn nans_do_not_count_and_infinities_do() {
        assert_eq!(score(&[f64::NAN, 61.0], &[], AgentStatus::Active, 0), 85.0);
        assert_eq!(score(&[f64::NAN], &[], AgentStatus::Active, 0), 100.0);
        assert_eq!(
            score(&[f64::INFINITY, 1.0], &[], AgentStatus::Active, 0),
            70.0
        );
    }

    #[test]
    fn a_reason_names_some_alerts_and_counts_the_rest() {
        let fired = Timestamp::from_millis(0);
        let alert = Alert::fired(
            OccurrenceNo(1),
            AgentNo(1),
            "r:a:m",
            "Slow",
            Severity::Warning,
            fired,
        );
        let reason = |n: usize| {
            alerts_deduction(&vec![&alert; n], &HealthWeights::default())
                .unwrap()
                .reason
        };
        assert_eq!(reason(1), "Slow is firing");
        assert_eq!(reason(5), "Slow, Slow, Slow and 2 more are firing");
    }
}
