//! Tokens and cost against budgets, by agent within a run and within a UTC day.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::{BudgetSettings, Detector, Finding, RunView, Subject, finding::EVIDENCE_MAX};
use crate::{
    model::{AgentId, DAY_MS, EvidenceSpan, Severity, Timestamp, TokenUsage},
    traces::{NodeNo, tap::ToldSpan},
};

/// Parts of a budget at which it is told, percent, largest first.
const LEVELS: [u32; 3] = [100, 80, 50];
/// Agents whose day is counted.
const AGENTS_MAX: usize = 10_000;
/// Spans of a day that are remembered as evidence.
const SPANS_MAX: usize = 5;

/// A budget that is used at least by half: its name, the used part and the whole, and the level reached.
struct Reached {
    name: &'static str,
    used: f64,
    budget: f64,
    level: u32,
}

fn reached(usage: &TokenUsage, tokens: u64, cost: f64) -> impl Iterator<Item = Reached> {
    let budgets = [
        ("tokens", usage.total() as f64, tokens as f64),
        ("cost", usage.cost.unwrap_or_default(), cost),
    ];
    budgets.into_iter().filter_map(|(name, used, budget)| {
        let level = LEVELS
            .into_iter()
            .find(|level| budget > 0.0 && used >= budget * f64::from(*level) / 100.0)?;
        Some(Reached {
            name,
            used,
            budget,
            level,
        })
    })
}

impl Reached {
    fn finding(
        &self,
        settings: &BudgetSettings,
        agent: AgentId,
        subject: Subject,
        spans: Vec<EvidenceSpan>,
    ) -> Finding {
        let period = match &subject {
            Subject::Day(day) => format!("on {day}"),
            Subject::Run(run) => format!("in run {run}"),
            Subject::Trace(trace) => format!("in trace {trace}"),
        };
        let (name, level) = (self.name, self.level);
        let (used, budget) = if name == "tokens" {
            (format!("{:.0}", self.used), format!("{:.0}", self.budget))
        } else {
            (format!("{:.4}", self.used), format!("{:.4}", self.budget))
        };
        Finding {
            detector: Detector::RunawayCost,
            message: format!(
                "{agent} has used {level} % of its budget {period}: {name} {used} of {budget}"
            ),
            agent,
            subject,
            mark: format!("{name}_{level}"),
            severity: match level {
                100 => settings.switch.severity,
                80 => settings.switch.severity.min(Severity::Warning),
                _ => Severity::Info,
            },
            value: self.used,
            threshold: self.budget * f64::from(level) / 100.0,
            until: None,
            spans,
        }
    }
}

/// Agents whose tokens or cost within a run reach 50, 80 or 100 % of the budget; the highest level counts.
pub fn run_budgets(run: &RunView<'_>, settings: &BudgetSettings) -> Vec<Finding> {
    let mut by_agent: BTreeMap<&AgentId, (TokenUsage, Vec<NodeNo>)> = BTreeMap::new();
    for (no, node, span) in run.forest.received() {
        if let (Some(agent), Some(usage)) = (&node.agent, &span.usage) {
            let (sum, nodes) = by_agent.entry(agent).or_default();
            sum.add(usage);
            nodes.push(no);
        }
    }
    let mut found = Vec::new();
    for (agent, (usage, mut nodes)) in by_agent {
        let tokens_of = |no: &NodeNo| run.forest.nodes[*no].span.and_then(|span| span.usage);
        for reached in reached(&usage, settings.tokens_per_run, settings.cost_per_run) {
            nodes.sort_by_key(|no| std::cmp::Reverse(tokens_of(no).map(|usage| usage.total())));
            let spans = run.evidence(nodes.iter().copied());
            let subject = Subject::Run(run.id.to_owned());
            found.push(reached.finding(settings, agent.clone(), subject, spans));
        }
    }
    found
}

/// One agent's day.
#[derive(Debug, Default)]
struct AgentDay {
    usage: TokenUsage,
    /// The largest inferences, largest first.
    spans: Vec<(u64, EvidenceSpan)>,
}

/// Tokens and cost of every agent on the present UTC day, by the ends of spans.
#[derive(Debug, Default)]
pub struct DayLedger {
    day: i32,
    agents: HashMap<AgentId, AgentDay>,
}

impl DayLedger {
    /// Counts an inference that ended on the day of `now`; a new day begins with nothing.
    pub fn add(&mut self, span: &ToldSpan, now: Timestamp) {
        self.turn(now);
        let (Some(usage), Some(end)) = (&span.usage, span.end_ns) else {
            return;
        };
        let is_full = self.agents.len() >= AGENTS_MAX && !self.agents.contains_key(&span.agent);
        if is_full || Timestamp::from_millis(end / 1_000_000).day() != self.day {
            return;
        }
        let day = self.agents.entry_ref(&span.agent).or_default();
        day.usage.add(usage);
        let at = day
            .spans
            .partition_point(|(tokens, _)| *tokens >= usage.total());
        if at < SPANS_MAX {
            day.spans.insert(at, (usage.total(), span.evidence()));
            day.spans.truncate(SPANS_MAX);
        }
    }

    fn turn(&mut self, now: Timestamp) {
        if now.day() != self.day {
            self.agents.clear();
            self.day = now.day();
        }
    }

    /// Agents whose day reaches 50, 80 or 100 % of a budget, each told until the day ends.
    pub fn findings(&mut self, settings: &BudgetSettings, now: Timestamp) -> Vec<Finding> {
        self.turn(now);
        if !settings.switch.enabled {
            return Vec::new();
        }
        let date = now.to_chrono().format("%Y-%m-%d").to_string();
        let end = Timestamp::from_millis((i64::from(self.day) + 1) * DAY_MS);
        let mut found = Vec::new();
        for (agent, day) in &self.agents {
            for reached in reached(&day.usage, settings.tokens_per_day, settings.cost_per_day) {
                let spans = day.spans.iter().map(|(_, span)| span.clone());
                let spans = spans.take(EVIDENCE_MAX).collect();
                let subject = Subject::Day(date.clone());
                let finding = reached.finding(settings, agent.clone(), subject, spans);
                found.push(Finding {
                    until: Some(end),
                    ..finding
                });
            }
        }
        found.sort_by(|a, b| (&a.agent, &a.mark).cmp(&(&b.agent, &b.mark)));
        found
    }
}
