//! Open alerts recorded as the series `ALERTS` and `ALERTS_FOR_STATE` of their agents, as Prometheus does.

use std::collections::BTreeMap;

use crate::{
    model::{
        AgentId, AgentNo, Alert, AlertSource, AlertState, Batch, OccurrenceNo, STALE_MARKER,
        Timestamp,
    },
    store::{Append, Store, Urgency},
};

const STATE: &str = "ALERTS";
const SINCE: &str = "ALERTS_FOR_STATE";

/// An alert as it was recorded last.
struct Recorded {
    agent: AgentNo,
    state: AlertState,
    /// Those of the alert; without the agent where the series has it by itself.
    labels: Vec<(String, String)>,
    /// Whether the alert's labels are all that the series has, as for rows of expressions.
    is_exact: bool,
    active_at: Timestamp,
}

/// What was recorded last.
#[derive(Default)]
pub(super) struct AlertSeries(BTreeMap<OccurrenceNo, Recorded>);

impl AlertSeries {
    /// Records every open alert of an agent, and ends the series of those that are over or in another state. The
    /// series of alerts that were open when the server started end by being silent.
    pub(super) fn record(&mut self, store: &Store, now: Timestamp) {
        let view = store.view();
        let book = view.book();
        let is_row = |alert: &Alert| {
            let stored = book.rules.get(alert.rule_name());
            alert.source == AlertSource::Rule
                && stored.is_some_and(|stored| stored.rule.condition.expression().is_some())
        };
        let open: BTreeMap<OccurrenceNo, Recorded> = book
            .all_open()
            .iter()
            .filter(|alert| alert.agent != AgentNo::NONE)
            .map(|alert| (alert.occurrence, Recorded::of(alert, is_row(alert))))
            .collect();
        let mut batches: BTreeMap<AgentNo, Batch> = BTreeMap::new();
        for (no, before) in &self.0 {
            let batch = batches.entry(before.agent).or_default();
            let after = open.get(no);
            if after.is_none_or(|after| after.state != before.state) {
                before.push_state(batch, STALE_MARKER, now);
            }
            if after.is_none() {
                before.push(batch, SINCE, &before.labels, STALE_MARKER, now);
            }
        }
        for alert in open.values() {
            let batch = batches.entry(alert.agent).or_default();
            alert.push_state(batch, 1.0, now);
            let since = alert.active_at.as_seconds();
            alert.push(batch, SINCE, &alert.labels, since, now);
        }
        self.0 = open;
        for (agent, batch) in batches {
            if !batch.rows().is_empty()
                && let Some(agent) = view.agent_id(agent)
            {
                append(store, agent, batch, "the state of an agent's alerts");
            }
        }
    }
}

impl Recorded {
    fn of(alert: &Alert, is_exact: bool) -> Self {
        let own = alert.labels.iter();
        let labels = own.filter(|(name, _)| is_exact || name != "agent_id");
        Self {
            agent: alert.agent,
            state: alert.state(),
            labels: labels.cloned().collect(),
            active_at: alert.active_at,
            is_exact,
        }
    }

    fn push_state(&self, batch: &mut Batch, value: f64, at: Timestamp) {
        let state = ("alertstate".to_owned(), self.state.as_str().to_owned());
        let labels: Vec<(String, String)> = self.labels.iter().cloned().chain([state]).collect();
        self.push(batch, STATE, &labels, value, at);
    }

    fn push(
        &self,
        batch: &mut Batch,
        name: &str,
        labels: &[(String, String)],
        value: f64,
        at: Timestamp,
    ) {
        let pairs = labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let mut pairs: Vec<(&str, &str)> = pairs.collect();
        let pushed = if self.is_exact {
            batch.push_exact(name, &mut pairs, at, value)
        } else {
            batch.push(name, &mut pairs, at, value)
        };
        if let Err(error) = pushed {
            tracing::debug!(%error, "an alert has labels that no series can have");
        }
    }
}

/// Records samples without waiting: they share a commit with scrapes.
pub(super) fn append(store: &Store, agent: AgentId, batch: Batch, what: &'static str) {
    let append = Append {
        agent,
        batch,
        contact: None,
        urgency: Urgency::Relaxed,
    };
    let store = store.clone();
    tokio::spawn(async move {
        if let Err(error) = store.append(append).await
            && !error.is_passing()
        {
            tracing::warn!(%error, what, "not recorded as series");
        }
    });
}
