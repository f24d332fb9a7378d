//! Which agent a row of an expression is about.

use std::collections::HashMap;

use crate::{
    model::{Agent, AgentNo, History, Labels, Timestamp},
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
    /// Those that are registered, as of a moment.
    pub(super) fn of_history(history: &dyn History, agents: &'a [Agent], at: Timestamp) -> Self {
        Self::new(agents, |agent| {
            let owned = OwnedLabels::of(history, agent.no, at);
            let [_, (_, instance), (_, job)] = owned.pairs();
            (job.to_owned(), instance.to_owned())
        })
    }

    /// `owned` are job and instance of an agent; the instance is empty where it has no endpoint.
    fn new(agents: &'a [Agent], owned: impl Fn(&Agent) -> (String, String)) -> Self {
        let mut by_instance: HashMap<(String, String), Option<AgentNo>> = HashMap::new();
        for agent in agents {
            let (job, instance) = owned(agent);
            if instance.is_empty() {
                continue;
            }
            for job in [job.as_str(), ""] {
                let key = (job.to_owned(), instance.clone());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AgentId, Registration, RegistrationSource};

    fn agent(no: u32, id: &str) -> Agent {
        Agent {
            no: AgentNo(no),
            id: AgentId::new(id).unwrap(),
            registered_at: Timestamp::from_millis(0),
            deregistered_at: None,
            registration: Registration::bare(RegistrationSource::Api),
        }
    }

    #[test]
    fn labels_lead_to_an_agent() {
        let agents = [
            agent(0, "longwatch"),
            agent(1, "a"),
            agent(2, "j/h:1"),
            agent(3, "b"),
            agent(4, "c"),
        ];
        // Two agents are scraped at one place, by different jobs.
        let owned = |agent: &Agent| {
            let instance = if agent.no.0 >= 3 { "x:9" } else { "" };
            (agent.id.to_string(), instance.to_owned())
        };
        let known = Agents::new(&agents, owned);
        let found = |pairs: &[(&str, &str)]| {
            let found = known.of(&Labels::new(pairs.iter().copied()));
            (found.agent.0, found.is_named)
        };
        assert_eq!(found(&[("agent_id", "a"), ("job", "b")]), (1, true));
        assert_eq!(found(&[("job", "j"), ("instance", "h:1")]), (2, true));
        assert_eq!(found(&[("agent_id", "none"), ("job", "b")]), (3, true));
        assert_eq!(found(&[("job", "c"), ("instance", "x:9")]), (4, true));
        assert_eq!(
            found(&[("instance", "x:9")]),
            (0, false),
            "either could be meant"
        );
        assert_eq!(found(&[]), (0, false));
        let nobody = Agents::new(&agents[1..2], owned);
        assert_eq!(nobody.of(&Labels::default()).agent, AgentNo::NONE);
    }
}
