//! What is known of alerting at a moment, beside the alerts of the past.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{AgentNo, Alert, AlertSource, Delivery, GroupState, OccurrenceNo, Silence, StoredRule};

/// Rules, open alerts, silences, groups and the outbox. Cheap to clone: each part is shared, and copied on write.
#[derive(Clone, Debug, Default)]
pub struct AlertBook {
    /// Rules in force, by name.
    pub rules: Arc<BTreeMap<String, Arc<StoredRule>>>,
    /// Alerts that are pending or fire, by agent; those of no agent under [`AgentNo::NONE`].
    pub open: Arc<HashMap<AgentNo, Vec<Arc<Alert>>>>,
    /// Silences by id, also expired ones within the retention of alerts.
    pub silences: Arc<BTreeMap<String, Arc<Silence>>>,
    /// Groups that something was or will be told of, by key.
    pub groups: Arc<BTreeMap<String, Arc<GroupState>>>,
    /// Deliveries that are not done, by their place in the outbox.
    pub outbox: Arc<BTreeMap<u64, Arc<Delivery>>>,
}

impl AlertBook {
    /// The open alert of this identity and source.
    pub fn open_alert(
        &self,
        agent: AgentNo,
        alert_id: &str,
        source: AlertSource,
    ) -> Option<&Arc<Alert>> {
        let of_agent = self.open.get(&agent)?;
        let is_it = |alert: &&Arc<Alert>| alert.alert_id == alert_id && alert.source == source;
        of_agent.iter().find(is_it)
    }

    /// An open alert by its number.
    pub fn open_occurrence(&self, occurrence: OccurrenceNo) -> Option<&Arc<Alert>> {
        let mut all = self.open.values().flatten();
        all.find(|alert| alert.occurrence == occurrence)
    }

    /// All open alerts, oldest first.
    pub fn all_open(&self) -> Vec<Arc<Alert>> {
        let mut all: Vec<Arc<Alert>> = self.open.values().flatten().cloned().collect();
        all.sort_by_key(|alert| (alert.active_at, alert.occurrence));
        all
    }

    /// Puts in a new form of an alert: among the open ones while it is open.
    pub fn put_open(&mut self, alert: &Arc<Alert>) {
        let open = Arc::make_mut(&mut self.open);
        let of_agent = open.entry(alert.agent).or_default();
        let at = of_agent
            .iter()
            .position(|a| a.occurrence == alert.occurrence);
        match (at, alert.is_open()) {
            (Some(at), true) => of_agent[at] = Arc::clone(alert),
            (None, true) => of_agent.push(Arc::clone(alert)),
            (Some(at), false) => drop(of_agent.swap_remove(at)),
            (None, false) => {}
        }
        if of_agent.is_empty() {
            open.remove(&alert.agent);
        }
    }
}
