//! Which agent a row of an expression is about.

use std::collections::HashMap;

use crate::{
    model::{Agent, AgentNo, Labels},
    query::OwnedLabels,
};

/// longwatch's own agent, to which belongs what is no other agent's.
pub(super) const OWN_AGENT: &str = "longwatch";

/// Registered agents, by what labels call them.
pub(super) struct Agents<'a> {
    by_id: HashMap<&'a str, AgentNo>,
    /// By job and instance, and by instance; `None` where several have it.
    by_instance: HashMap<(String, String), Option<AgentNo>>,
}

/// The agent of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) agent: AgentNo,
    /// Whether the row's own labels name it.
    pub(super) is_named: bool,
}

impl<'a> Agents<'a> {
    /// Those that are registered.
    pub(super) fn new(
        agents: &'a [Agent],
        owned: impl Fn(AgentNo) -> OwnedLabels,
    ) -> Self {
        let mut by_instance: HashMap<(String, String), Option<AgentNo>> = HashMap::new();
        for agent in agents {
            let labels = owned(agent.no);
            let [_, (_, instance), (_, job)] = labels.pairs();
            if instance.is_empty() {
                continue;
            }
            for job in [job, ""] {
                let key = (job.to_owned(), instance.to_owned());
                let place = by_instance.entry(key).or_insert(Some(agent.no));
                if *place != Some(agent.no) {
                    *place = None;
                }
            }
        }
        Self {
            by_id: agents.iter().map(|a| (a.id.as_str(), a.no)).collect(),
            by_instance,
        }
    }

    /// The agent of a row: the one that `agent_id` names; else the one that remote write would derive from `job` and
    /// `instance`, or that is scraped there; else longwatch's own, or none if there is no such agent.
    pub(super) fn of(&self, labels: &Labels) -> Found {
        let named = self.by_id.get(labels.get("agent_id")).copied();
        let named = named.or_else(|| self.derived(labels.get("job"), labels.get("instance")));
        let own = || self.by_id.get(OWN_AGENT).copied().unwrap_or(AgentNo::NONE);
        Found {
            agent: named.unwrap_or_else(own),
            is_named: named.is_some(),
        }
    }

    fn derived(&self, job: &str, instance: &str) -> Option<AgentNo> {
        let whole = format!("{job}/{instance}");
        let ids = [whole.as_str(), job, instance];
        let pushed = ids.iter().find_map(|id| self.by_id.get(id).copied());
        pushed.or_else(|| {
            let key = (job.to_owned(), instance.to_owned());
            self.by_instance.get(&key).copied().flatten()
        })
    }
}
