//! What is known beside samples: agents, series, metadata, settings, runs, alerts. Rebuilt from the
//! tables at open; shared with views as `Arc`s that are copied on write.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::series_table::{SeriesEntry, SeriesTable};
use crate::{
    alerts,
    codec::{AgentEvent, MetricRecord},
    model::{
        Agent, AgentId, AgentNo, Alert, AlertBook, DAY_MS, OccurrenceNo, Policy, Registration, Run,
        Timestamp, downtime_ms,
    },
};

/// Alerts that are kept, in memory too; beyond it the oldest resolved ones are dropped.
const ALERTS_MAX: usize = 100_000;
/// Alerts that never fired are kept for so long; milliseconds.
const ENDED_MS: i64 = 7 * DAY_MS;

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
    /// Alerts within their retention, oldest first, which is by number, too.
    alerts: Arc<Vec<Arc<Alert>>>,
    /// Those of them that are open, and the rest of alerting.
    pub(super) book: AlertBook,
    /// Place in the outbox that the next delivery gets.
    pub(super) next_delivery: u64,
    /// The file's random id, as hexadecimal text.
    pub(super) file_id: Arc<str>,
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
        self.book.put_open(&alert);
        let alerts = Arc::make_mut(&mut self.alerts);
        match alerts.binary_search_by_key(&alert.occurrence, |a| a.occurrence) {
            Ok(at) => alerts[at] = alert,
            Err(at) => alerts.insert(at, alert),
        }
    }

    /// Takes the alerts of the file in. Those of an early version lack labels.
    pub(super) fn load_alerts(&mut self, mut loaded: Vec<Alert>) {
        loaded.sort_by_key(|alert| alert.occurrence);
        for alert in &mut loaded {
            let agent = self.agents.get(&alert.agent);
            if alert.labels.is_empty()
                && let Some(agent) = agent
            {
                alert.labels = alerts::health_labels(&agent.id);
            }
        }
        let next = loaded.last().map_or(0, |alert| alert.occurrence.0 + 1);
        self.next_occurrence = self.next_occurrence.max(next);
        let loaded: Vec<Arc<Alert>> = loaded.into_iter().map(Arc::new).collect();
        let open = loaded.iter().filter(|alert| alert.is_open());
        open.for_each(|alert| self.book.put_open(alert));
        self.alerts = Arc::new(loaded);
    }

    /// An alert by its number.
    pub(super) fn alert(&self, occurrence: OccurrenceNo) -> Option<&Arc<Alert>> {
        let found = self
            .alerts
            .binary_search_by_key(&occurrence, |a| a.occurrence);
        self.alerts.get(found.ok()?)
    }

    /// Forgets silences that expired before a moment; returns their ids.
    pub(super) fn forget_silences(&mut self, before: Timestamp) -> Vec<String> {
        let expired = self.book.silences.values().filter(|s| s.ends_at < before);
        let gone: Vec<String> = expired.map(|s| s.id.clone()).collect();
        if !gone.is_empty() {
            let silences = Arc::make_mut(&mut self.book.silences);
            silences.retain(|id, _| !gone.contains(id));
        }
        gone
    }

    /// How often the alert of this identity fired since a moment.
    pub(super) fn firings_since(&self, alert_id: &str, since: Timestamp) -> usize {
        let all = self.alerts.iter().rev();
        // One that was pending for long may have fired since.
        let recent = all.filter(|a| a.fired_at.is_some_and(|fired| fired >= since));
        recent.filter(|a| a.alert_id == alert_id).count()
    }

    /// Milliseconds between two moments in which no server ran.
    pub(super) fn downtime_ms(&self, from: Timestamp, to: Timestamp) -> i64 {
        let gap_before =
            |end: Timestamp, start: Timestamp| start.min(to).since(end.max(from)).max(0);
        let last = self.past_runs.last().zip(self.open_run);
        let before_this = last.map_or(0, |(run, start)| gap_before(run.end, start));
        before_this + downtime_ms(&self.past_runs, from, to)
    }

    /// Forgets alerts that resolved before a moment, and the oldest resolved ones beyond the bound; returns
    /// them.
    pub(super) fn forget_alerts(&mut self, now: Timestamp, before: Timestamp) -> Vec<Arc<Alert>> {
        let too_many = self.alerts.len().saturating_sub(ALERTS_MAX);
        let too_old = self
            .alerts
            .get(too_many)
            .map_or(Timestamp::MIN, |a| a.active_at);
        let never_fired_before = before.max(now.plus_millis(-ENDED_MS));
        let is_over = |a: &Arc<Alert>| {
            let before = if a.fired_at.is_some() {
                before
            } else {
                never_fired_before
            };
            a.resolved_at
                .is_some_and(|t| t < before || (too_many > 0 && a.active_at < too_old))
        };
        if !self.alerts.iter().any(is_over) {
            return Vec::new();
        }
        let (gone, kept) = self.alerts.iter().cloned().partition(is_over);
        self.alerts = Arc::new(kept);
        gone
    }
}
