//! Findings grouped by whom they concern, in the order of the report.

use std::collections::HashMap;

use serde_json::Value;

use crate::model::AgentId;

use super::{
    super::{
        findings::{Evidence, Finding},
        performance::PerformanceReport,
        wording::{one_digit, plain, thousands},
    },
    rows::Tone,
};

/// Agents whose findings are listed; the table has all of them.
const GROUPS_MAX: usize = 40;
/// Findings listed of one agent; a flapping one has hundreds.
const FINDINGS_OF_ONE_MAX: usize = 8;

/// One finding.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    /// How bad it is.
    pub(super) severity: Tone,
    /// What is wrong.
    pub(super) message: String,
    /// Figures that prove it, by name.
    pub(super) figures: Vec<(String, String)>,
    /// Path of the HTTP API that shows them.
    pub(super) query: String,
}

/// Findings about one agent or the whole system.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// The agent; `None` for the whole system.
    pub(super) agent: Option<String>,
    /// Place of the agent's row.
    pub(super) place: usize,
    /// The worst of the findings.
    pub(super) severity: Tone,
    /// The agent's score.
    pub(super) score: String,
    /// The findings, worst first.
    pub(super) problems: Vec<Problem>,
    /// Findings left out.
    pub(super) more: usize,
}

/// The groups, worst first, and how many agents are left out.
pub(super) fn groups(report: &PerformanceReport) -> (Vec<Group>, usize) {
    let places: HashMap<&AgentId, (usize, f64)> = report
        .worst_first()
        .into_iter()
        .enumerate()
        .map(|(place, agent)| (&agent.agent_id, (place, agent.health_score)))
        .collect();
    let mut order: HashMap<Option<&AgentId>, usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for finding in &report.findings {
        let whose = finding.agent_id.as_ref();
        let at = *order.entry(whose).or_insert_with(|| {
            groups.push(new_group(finding, &places));
            groups.len() - 1
        });
        if groups[at].problems.len() < FINDINGS_OF_ONE_MAX {
            groups[at].problems.push(problem(finding));
        } else {
            groups[at].more += 1;
        }
    }
    // Reasons that concern everything are read first.
    groups.sort_by_key(|group| group.agent.is_some());
    let left_out = groups.len().saturating_sub(GROUPS_MAX);
    groups.truncate(GROUPS_MAX);
    (groups, left_out)
}

fn new_group(finding: &Finding, places: &HashMap<&AgentId, (usize, f64)>) -> Group {
    let (place, score) = finding
        .agent_id
        .as_ref()
        .and_then(|id| places.get(id))
        .copied()
        .unwrap_or_default();
    Group {
        agent: finding.agent_id.as_ref().map(|id| plain(id.as_str())),
        place,
        severity: Tone::of_severity(finding.severity),
        score: one_digit(score),
        problems: Vec::new(),
        more: 0,
    }
}

fn problem(finding: &Finding) -> Problem {
    let mut figures = Vec::new();
    let mut query = String::new();
    for (name, evidence) in &finding.evidence {
        match (*name, evidence) {
            ("query", Evidence::Value(Value::String(path))) => query.clone_from(path),
            (_, Evidence::Value(Value::Null)) => {}
            (_, evidence) => figures.push((name.replace('_', " "), figure(evidence))),
        }
    }
    Problem {
        severity: Tone::of_severity(finding.severity),
        message: plain(&finding.message),
        figures,
        query,
    }
}

fn figure(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Deductions(deductions) => deductions
            .iter()
            .map(|d| format!("\u{2212}{} {}", d.points, plain(&d.reason)))
            .collect::<Vec<_>>()
            .join("; "),
        Evidence::Value(Value::String(text)) => plain(text),
        Evidence::Value(Value::Number(number)) => match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => thousands(whole),
            // Shares of one need more than a digit.
            (None, Some(double)) if double.abs() < 1.0 => double.to_string(),
            (None, Some(double)) => one_digit(double),
            (None, None) => number.to_string(),
        },
        Evidence::Value(other) => other.to_string(),
    }
}
