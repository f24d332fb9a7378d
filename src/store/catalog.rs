//! What is known beside samples: agents, series, metadata, settings, runs, alerts. Rebuilt from the
//! tables at open; shared with views as `Arc`s that are copied on write.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::series_table::{SeriesEntry, SeriesTable};
use crate::{
    codec::{AgentEvent, MetricRecord},
    model::{Agent, AgentId, AgentNo, Alert, Policy, Registration, Run, Timestamp},
};

/// Alerts that are kept, in memory too; beyond it the oldest resolved ones are dropped.
const ALERTS_MAX: usize = 100_000;

/// Events of one registration that are kept; beyond it the oldest updates are dropped. An agent that puts
/// its uptime into its registration must not fill the file.
pub(super) const EVENTS_MAX: usize = 1_000;

/// What became of a registration at a time. The ordinal tells events of one millisecond apart.
#[derive(Clone, Debug)]
pub(super) struct RegistrationEvent {
    pub(super) time: Timestamp,
    pub(super) ordinal: u32,
    pub(super) event: AgentEvent,
}

/// An agent with everything known of it.
#[derive(Clone, Debug)]
pub(super) struct AgentEntry {
    pub(super) id: AgentId,
    /// What became of its registration, oldest first.
    pub(super) events: Vec<RegistrationEvent>,
    pub(super) series: SeriesTable,
    pub(super) metrics: HashMap<String, MetricRecord>,
}

impl AgentEntry {
    pub(super) fn new(id: AgentId) -> Self {
        Self {
            id,
            events: Vec::new(),
            series: SeriesTable::default(),
            metrics: HashMap::new(),
        }
    }

    /// The agent as of a moment; `None` before its first registration.
    pub(super) fn at(&self, no: AgentNo, at: Timestamp) -> Option<Agent> {
        let mut current: Option<(Timestamp, &Registration, Option<Timestamp>)> = None;
        for told in self.events.iter().take_while(|told| told.time <= at) {
            match (&told.event, &mut current) {
                (AgentEvent::Registered(registration), _) => {
                    current = Some((told.time, registration, None));
                }
                (AgentEvent::Updated(registration), Some((_, held, _))) => *held = registration,
                (AgentEvent::Deregistered, Some((_, _, end))) => *end = Some(told.time),
                (AgentEvent::Updated(_) | AgentEvent::Deregistered, None) => {}
            }
        }
        current.map(|(registered_at, registration, deregistered_at)| Agent {
            no,
            id: self.id.clone(),
            registered_at,
            deregistered_at,
            registration: registration.clone(),
        })
    }

    /// Adds an event; returns the one that had to go for it.
    pub(super) fn add_event(
        &mut self,
        time: Timestamp,
        event: AgentEvent,
    ) -> Option<RegistrationEvent> {
        let ordinal = self
            .events
            .last()
            .map_or(0, |last| last.ordinal.wrapping_add(1));
        let gone = (self.events.len() >= EVENTS_MAX)
            .then(|| {
                self.events
                    .iter()
                    .position(|e| matches!(e.event, AgentEvent::Updated(_)))
            })
            .flatten()
            .map(|oldest| self.events.remove(oldest));
        self.events.push(RegistrationEvent {
            time,
            ordinal,
            event,
        });
        gone
    }

    /// When the registration that holds, or held last, began.
    pub(super) fn registered_at(&self) -> Option<Timestamp> {
        let is_start = |e: &&RegistrationEvent| matches!(e.event, AgentEvent::Registered(_));
        self.events.iter().rev().find(is_start).map(|e| e.time)
    }

    /// The registration that holds now, if one does.
    pub(super) fn registration(&self) -> Option<&Registration> {
        match &self.events.last()?.event {
            AgentEvent::Registered(r) | AgentEvent::Updated(r) => Some(r),
            AgentEvent::Deregistered => None,
        }
    }
}

/// Everything known beside samples.
#[derive(Clone, Debug, Default)]
pub(super) struct Catalog {
    numbers: HashMap<AgentId, AgentNo>,
    agents: BTreeMap<AgentNo, Arc<AgentEntry>>,
    /// Number that the next series gets.
    pub(super) next_series: u32,
    /// Number that the next agent gets.
    pub(super) next_agent: u32,
    /// Number that the next occurrence of an alert gets.
    pub(super) next_occurrence: u64,
    series_total: usize,
    /// Settings with the time from which they hold, oldest first.
    pub(super) policies: Arc<Vec<(Timestamp, Policy)>>,
    /// Runs that are over, oldest first.
    pub(super) past_runs: Arc<Vec<Run>>,
    /// Start of the run that is under way or was cut off.
    pub(super) open_run: Option<Timestamp>,
    /// Version of longwatch that began it.
    pub(super) open_run_version: String,
    /// Alerts within their retention, oldest first.
    alerts: Arc<Vec<Arc<Alert>>>,
    /// Those of them that fire now, by agent.
    firing: HashMap<AgentNo, Vec<Arc<Alert>>>,
}

impl Catalog {
    /// Number of an agent.
    pub(super) fn number(&self, id: &AgentId) -> Option<AgentNo> {
        self.numbers.get(id).copied()
    }

    /// An agent.
    pub(super) fn agent(&self, no: AgentNo) -> Option<&Arc<AgentEntry>> {
        self.agents.get(&no)
    }

    /// An agent to be changed; copied first when a view shares it.
    pub(super) fn agent_mut(&mut self, no: AgentNo) -> Option<&mut AgentEntry> {
        self.agents.get_mut(&no).map(Arc::make_mut)
    }

    /// All agents that were ever registered, by number.
    pub(super) fn agents(&self) -> impl Iterator<Item = (AgentNo, &Arc<AgentEntry>)> {
        self.agents.iter().map(|(no, entry)| (*no, entry))
    }

    /// Adds an agent.
    pub(super) fn add_agent(&mut self, no: AgentNo, id: AgentId) {
        self.next_agent = self.next_agent.max(no.0 + 1);
        self.numbers.insert(id.clone(), no);
        self.agents.insert(no, Arc::new(AgentEntry::new(id)));
    }

    /// Adds a series; returns its slot, `None` for an unknown agent.
    pub(super) fn add_series(&mut self, agent: AgentNo, entry: &SeriesEntry) -> Option<usize> {
        self.next_series = self.next_series.max(entry.no.0 + 1);
        self.series_total += 1;
        self.agent_mut(agent).map(|a| a.series.push(entry))
    }

    /// Puts a table that lacks series in place of an agent's.
    pub(super) fn replace_series(&mut self, agent: AgentNo, table: SeriesTable) {
        let Some(entry) = self.agent_mut(agent) else {
            return;
        };
        let left = entry.series.len() - table.len();
        entry.series = table;
        self.series_total -= left;
    }

    /// Gives back what was reserved for more series.
    pub(super) fn shrink(&mut self) {
        let agents = self.agents.values_mut();
        agents.for_each(|agent| Arc::make_mut(agent).series.shrink());
    }

    /// Number of series.
    pub(super) const fn series_total(&self) -> usize {
        self.series_total
    }

    /// Number of agents that were ever registered.
    pub(super) fn agents_total(&self) -> usize {
        self.agents.len()
    }

    /// Number of agents registered now.
    pub(super) fn registered_total(&self) -> usize {
        self.agents
            .values()
            .filter(|a| a.registration().is_some())
            .count()
    }

    /// Settings that held at a moment: the last ones set before it, or the first ever set.
    pub(super) fn policy(&self, at: Timestamp) -> Policy {
        let after = self.policies.partition_point(|(time, _)| *time <= at);
        self.policies
            .get(after.saturating_sub(1))
            .map_or_else(Policy::default, |(_, policy)| policy.clone())
    }

    /// Alerts, oldest first.
    pub(super) fn alerts(&self) -> &[Arc<Alert>] {
        &self.alerts
    }

    /// Adds an alert or puts in its new form.
    pub(super) fn put_alert(&mut self, alert: Alert) {
        self.next_occurrence = self.next_occurrence.max(alert.occurrence.0 + 1);
        let alert = Arc::new(alert);
        let firing = self.firing.entry(alert.agent).or_default();
        firing.retain(|a| a.occurrence != alert.occurrence);
        if alert.resolved_at.is_none() {
            firing.push(Arc::clone(&alert));
        }
        let alerts = Arc::make_mut(&mut self.alerts);
        let key = (alert.fired_at, alert.occurrence);
        match alerts.binary_search_by_key(&key, |a| (a.fired_at, a.occurrence)) {
            Ok(at) => alerts[at] = alert,
            Err(at) => alerts.insert(at, alert),
        }
    }

    /// Forgets alerts that resolved before a moment, and the oldest resolved ones beyond the bound; returns
    /// them.
    pub(super) fn forget_alerts(&mut self, before: Timestamp) -> Vec<Arc<Alert>> {
        let too_many = self.alerts.len().saturating_sub(ALERTS_MAX);
        let too_old = self
            .alerts
            .get(too_many)
            .map_or(Timestamp::MIN, |a| a.fired_at);
        let is_over = |a: &Arc<Alert>| {
            a.resolved_at
                .is_some_and(|t| t < before || (too_many > 0 && a.fired_at < too_old))
        };
        if !self.alerts.iter().any(is_over) {
            return Vec::new();
        }
        let (gone, kept) = self.alerts.iter().cloned().partition(is_over);
        self.alerts = Arc::new(kept);
        gone
    }

    /// The firing alert of this identity.
    pub(super) fn firing(&self, agent: AgentNo, alert_id: &str) -> Option<&Arc<Alert>> {
        let of_agent = self.firing.get(&agent)?;
        of_agent.iter().find(|a| a.alert_id == alert_id)
    }
}
