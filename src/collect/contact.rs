//! Contacts without a scrape: pushes, heartbeats, spans.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::model::{Agent, AgentId, Batch, Policy, Timestamp, names};

/// Agents remembered. Forgetting one costs a sample more.
const REMEMBERED_MAX: usize = 100_000;
/// Agents that push once an interval come a little early at times; they are recorded each time.
const EARLY_MS_MAX: i64 = 1_000;

/// Decides which contacts are recorded, so that an agent that pushes every second leaves one sample
/// an interval.
#[derive(Debug, Default)]
pub struct ContactLedger(Mutex<HashMap<AgentId, Timestamp>>);

impl ContactLedger {
    /// An empty ledger: each agent's next contact is recorded.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a contact at `now` and adds its sample to the batch when one is due: `agent_contact` = 1
    /// for an agent that is scraped too, or whose process is sampled (its `up` tells what that found), else
    /// `up` = 1.
    /// `agent` is what is registered under `id`, if anything is. Tells whether a sample was added.
    pub fn note(
        &self,
        agent: Option<&Agent>,
        id: &AgentId,
        policy: &Policy,
        now: Timestamp,
        batch: &mut Batch,
    ) -> bool {
        let registration = agent
            .filter(|a| a.deregistered_at.is_none())
            .map(|a| &a.registration);
        let interval_ms = registration
            .and_then(|r| r.interval_ms)
            .unwrap_or(policy.interval_ms);
        if !self.is_due(id, interval_ms, now) {
            return false;
        }
        let has_up_of_its_own =
            registration.is_some_and(|r| r.metrics_endpoint.is_some() || r.pid.is_some());
        let name = if has_up_of_its_own {
            names::AGENT_CONTACT
        } else {
            names::UP
        };
        batch.push(name, &mut [], now, 1.0).is_ok()
    }

    /// Takes the last noted contact back, because its sample could not be made durable or its
    /// registration ended.
    pub fn forget(&self, id: &AgentId) {
        self.0.lock().remove(id);
    }

    fn is_due(&self, id: &AgentId, interval_ms: i64, now: Timestamp) -> bool {
        let mut noted = self.0.lock();
        let distance_ms = interval_ms - EARLY_MS_MAX.min(interval_ms / 10);
        if let Some(last) = noted.get_mut(id) {
            // A last contact in the future means that the clock was set back.
            if (0..distance_ms).contains(&now.since(*last)) {
                return false;
            }
            *last = now;
            return true;
        }
        if noted.len() >= REMEMBERED_MAX {
            noted.clear();
        }
        noted.insert(id.clone(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AgentNo, Registration, RegistrationSource, SeriesKey};

    fn agent(metrics_endpoint: Option<&str>, interval_ms: Option<i64>) -> Agent {
        Agent {
            no: AgentNo(1),
            id: AgentId::new("a").unwrap(),
            registered_at: Timestamp::from_millis(0),
            deregistered_at: None,
            registration: Registration {
                metrics_endpoint: metrics_endpoint.map(str::to_owned),
                interval_ms,
                ..Registration::bare(RegistrationSource::Push)
            },
        }
    }

    /// Names recorded when contacts come at these times.
    fn recorded(agent: Option<&Agent>, times: &[i64]) -> Vec<(String, i64)> {
        let ledger = ContactLedger::new();
        let mut batch = Batch::new();
        for ms in times {
            let now = Timestamp::from_millis(*ms);
            let before = batch.len();
            let id = AgentId::new("a").unwrap();
            let added = ledger.note(agent, &id, &Policy::default(), now, &mut batch);
            assert_eq!(batch.len() - before, usize::from(added));
        }
        batch
            .rows()
            .iter()
            .map(|row| {
                let key = SeriesKey::from_bytes(batch.key(row)).unwrap();
                assert_eq!(row.value, 1.0);
                (key.to_string(), row.time.as_millis())
            })
            .collect()
    }

    #[test]
    fn once_an_interval() {
        let up = |ms| ("up".to_owned(), ms);
        let times = [0, 10, 28_999, 29_500, 40_000, 59_400];
        assert_eq!(recorded(None, &times), [up(0), up(29_500), up(59_400)]);
        let quick = agent(None, Some(1_000));
        let times = [0, 899, 900, 1_100];
        assert_eq!(recorded(Some(&quick), &times), [up(0), up(900)]);
        // Set back by a day.
        assert_eq!(recorded(None, &[86_400_000, 5]), [up(86_400_000), up(5)]);
    }

    #[test]
    fn scraped_and_sampled_agents_keep_their_up() {
        let scraped = agent(Some("http://a/metrics"), None);
        assert_eq!(
            recorded(Some(&scraped), &[0]),
            [("agent_contact".to_owned(), 0)]
        );
        let mut sampled = agent(None, None);
        sampled.registration.pid = Some(7);
        assert_eq!(
            recorded(Some(&sampled), &[0]),
            [("agent_contact".to_owned(), 0)]
        );
        let ended = Agent {
            deregistered_at: Some(Timestamp::from_millis(1)),
            ..scraped
        };
        assert_eq!(recorded(Some(&ended), &[5]), [("up".to_owned(), 5)]);
    }

    #[test]
    fn a_contact_taken_back_is_due_again() {
        let ledger = ContactLedger::new();
        let id = AgentId::new("a").unwrap();
        let mut batch = Batch::new();
        let mut note = |ledger: &ContactLedger| {
            let now = Timestamp::from_millis(0);
            ledger.note(None, &id, &Policy::default(), now, &mut batch)
        };
        assert!(note(&ledger));
        assert!(!note(&ledger));
        ledger.forget(&id);
        assert!(note(&ledger));
    }

    #[test]
    fn memory_is_bounded() {
        let ledger = ContactLedger::new();
        for n in 0..=REMEMBERED_MAX {
            let id = AgentId::new(&n.to_string()).unwrap();
            assert!(ledger.is_due(&id, 1_000, Timestamp::from_millis(0)));
        }
        assert!(ledger.0.lock().len() <= REMEMBERED_MAX);
    }
}
