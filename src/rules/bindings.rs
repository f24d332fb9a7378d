//! Which rules look at which series of an agent: worked out when either changes, so that an evaluation does not match
//! names.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::model::{Agent, AgentNo, Condition, History, SeriesInfo, StoredRule};

/// Rules in force, found by the metric that they look at.
#[derive(Debug, Default)]
pub(super) struct RuleIndex {
    /// By name.
    pub(super) rules: Arc<[Arc<StoredRule>]>,
    /// Those that name one metric exactly.
    by_metric: HashMap<String, Vec<u32>>,
    /// The others about series.
    broad: Vec<u32>,
    /// Those about whole agents.
    pub(super) about_agents: Vec<u32>,
    /// How many are expressions, which look at what they name themselves.
    expressions: usize,
}

impl RuleIndex {
    pub(super) fn new(rules: &BTreeMap<String, Arc<StoredRule>>) -> Self {
        let rules: Arc<[Arc<StoredRule>]> = rules.values().cloned().collect();
        let mut index = Self {
            rules: Arc::clone(&rules),
            ..Self::default()
        };
        for (at, stored) in rules.iter().enumerate() {
            let at = at as u32;
            match &stored.rule.filter.metric {
                _ if stored.rule.condition.expression().is_some() => index.expressions += 1,
                _ if stored.rule.is_about_agents() => index.about_agents.push(at),
                Some(metric) if metric.is_exact() => {
                    let of_metric = index.by_metric.entry(metric.as_str().to_owned());
                    of_metric.or_default().push(at);
                }
                _ => index.broad.push(at),
            }
        }
        index
    }

    /// Whether it is made of exactly these rules.
    pub(super) fn is_of(&self, rules: &BTreeMap<String, Arc<StoredRule>>) -> bool {
        let same = |(a, b): (&Arc<StoredRule>, &Arc<StoredRule>)| Arc::ptr_eq(a, b);
        self.rules.len() == rules.len() && self.rules.iter().zip(rules.values()).all(same)
    }
}

/// A rule that looks at a series, as places in [`RuleIndex::rules`] and [`AgentBindings::series`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) rule: u32,
    pub(super) series: u32,
}

/// A series that a rule looks at.
#[derive(Debug)]
pub(super) struct BoundSeries {
    pub(super) info: SeriesInfo,
    /// Whether the agent has no other series of its metric.
    pub(super) is_alone: bool,
}

/// What rules look at of one agent.
#[derive(Debug, Default)]
pub(super) struct AgentBindings {
    mark: u64,
    /// Series that at least one rule looks at.
    pub(super) series: Vec<BoundSeries>,
    /// Decided by samples as they arrive.
    pub(super) by_arrival: Vec<Binding>,
    /// Decided by time as well.
    pub(super) by_time: Vec<Binding>,
}

/// Bindings of all agents.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    pub(super) index: RuleIndex,
    agents: HashMap<AgentNo, AgentBindings>,
}

impl Bindings {
    /// Takes rules in force; bindings are worked out anew when they are others than before. Returns whether they are.
    pub(super) fn take_rules(&mut self, rules: &BTreeMap<String, Arc<StoredRule>>) -> bool {
        let are_others = !self.index.is_of(rules);
        if are_others {
            self.index = RuleIndex::new(rules);
            self.agents.clear();
        }
        are_others
    }

    /// Forgets agents that are not among these.
    pub(super) fn retain(&mut self, agents: &[Agent]) {
        if self.agents.len() > agents.len() {
            self.agents
                .retain(|no, _| agents.iter().any(|agent| agent.no == *no));
        }
    }

    /// What rules look at of an agent.
    pub(super) fn of(&mut self, history: &dyn History, agent: &Agent) -> &AgentBindings {
        let mark = history.series_mark(agent.no);
        let index = &self.index;
        let bound = self
            .agents
            .entry(agent.no)
            .or_insert_with(|| AgentBindings {
                mark: mark.wrapping_add(1),
                ..AgentBindings::default()
            });
        if bound.mark != mark {
            *bound = bind(index, history, agent, mark);
        }
        bound
    }
}

fn bind(index: &RuleIndex, history: &dyn History, agent: &Agent, mark: u64) -> AgentBindings {
    let mut bound = AgentBindings {
        mark,
        ..AgentBindings::default()
    };
    if index.rules.len() == index.about_agents.len() + index.expressions {
        return bound;
    }
    let all = history.series(agent.no, None);
    let mut of_metric: HashMap<String, usize> = HashMap::new();
    for series in &all {
        *of_metric.entry(series.key.name().to_owned()).or_default() += 1;
    }
    for series in all {
        let exact = index.by_metric.get(series.key.name());
        let candidates = exact.into_iter().flatten().chain(&index.broad);
        let place = bound.series.len() as u32;
        let mut is_bound = false;
        for rule in candidates {
            let stored = &index.rules[*rule as usize].rule;
            let filter = &stored.filter;
            if !filter.takes_agent(agent.id.as_str()) || !filter.takes_series(&series.key) {
                continue;
            }
            is_bound = true;
            let binding = Binding {
                rule: *rule,
                series: place,
            };
            match stored.condition {
                Condition::Absent { .. } | Condition::Forecast { .. } => {
                    bound.by_time.push(binding);
                }
                _ => bound.by_arrival.push(binding),
            }
        }
        if is_bound {
            bound.series.push(BoundSeries {
                is_alone: of_metric.get(series.key.name()) == Some(&1),
                info: series,
            });
        }
    }
    bound
}
