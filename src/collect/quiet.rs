//! Keeps the log readable: the same complaint about the same agent comes once an hour.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::model::{AgentId, Timestamp};

/// How long a complaint is not repeated, in milliseconds.
const SILENCE_MS: i64 = 3_600_000;
/// Complaints remembered; beyond it the memory starts afresh and some are repeated.
const REMEMBERED_MAX: usize = 10_000;

/// What was said lately.
#[derive(Debug, Default)]
pub(super) struct Quiet(Mutex<HashMap<(AgentId, &'static str), Timestamp>>);

impl Quiet {
    /// Whether to say `what` about the agent now; notes that it was said.
    pub(super) fn may_say(&self, agent: &AgentId, what: &'static str, now: Timestamp) -> bool {
        let mut said = self.0.lock();
        let recent = |then: &Timestamp| (0..SILENCE_MS).contains(&now.since(*then));
        if said.get(&(agent.clone(), what)).is_some_and(recent) {
            return false;
        }
        if said.len() >= REMEMBERED_MAX {
            said.retain(|_, then| recent(then));
            if said.len() >= REMEMBERED_MAX {
                said.clear();
            }
        }
        said.insert((agent.clone(), what), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_an_hour_for_each_agent_and_complaint() {
        let quiet = Quiet::default();
        let (a, b) = (AgentId::new("a").unwrap(), AgentId::new("b").unwrap());
        let at = Timestamp::from_millis;
        assert!(quiet.may_say(&a, "x", at(0)));
        assert!(!quiet.may_say(&a, "x", at(SILENCE_MS - 1)));
        assert!(quiet.may_say(&b, "x", at(1)));
        assert!(quiet.may_say(&a, "y", at(1)));
        assert!(quiet.may_say(&a, "x", at(SILENCE_MS)));
        for n in 0..2 * REMEMBERED_MAX {
            let agent = AgentId::new(&n.to_string()).unwrap();
            quiet.may_say(&agent, "x", at(SILENCE_MS));
        }
        assert!(quiet.0.lock().len() <= REMEMBERED_MAX);
    }
}
