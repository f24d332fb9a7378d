//! The agents of all target files together: each id once.

use std::{collections::HashMap, fmt};

use super::FileTarget;
use crate::{
    config::{ConfiguredAgent, Origin},
    model::AgentId,
};

/// A target that is not collected from, since its id is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Where it stands.
    pub origin: Origin,
    /// Its id.
    pub id: AgentId,
    /// Who has the id.
    pub why: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}`: {}", self.origin, self.id, self.why)
    }
}

/// What comes of all files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roll {
    /// The agents, each id once.
    pub agents: Vec<ConfiguredAgent>,
    /// Targets left out.
    pub left_out: Vec<LeftOut>,
}

/// Puts the targets together, which come in the order of their files' names and then of their place: of
/// those with one id the first counts. `owner_of` names who else has an id.
pub fn call_roll<'t>(
    targets: impl IntoIterator<Item = &'t FileTarget>,
    owner_of: impl Fn(&AgentId) -> Option<&'static str>,
) -> Roll {
    let mut roll = Roll::default();
    let mut first_at: HashMap<&AgentId, &Origin> = HashMap::new();
    for target in targets {
        let id = &target.agent.id;
        let why = match (owner_of(id), first_at.get(id)) {
            (Some(owner), _) => format!("it is the id of {owner}"),
            (None, Some(first)) => format!("it is given twice, first at {first}"),
            (None, None) => {
                first_at.insert(id, &target.origin);
                roll.agents.push(target.agent.clone());
                continue;
            }
        };
        roll.left_out.push(LeftOut {
            origin: target.origin.clone(),
            id: id.clone(),
            why,
        });
    }
    roll
}
