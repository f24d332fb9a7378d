//! What a commit will change, worked out before anything is written. A draft that is dropped leaves
//! nothing behind; one that is committed is published as a whole.

mod alerting;
mod detecting;
mod dispatching;
mod write;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    Append, Appended, Registered, Rejected, Settings, WriteError,
    catalog::{Catalog, RegistrationEvent},
    departure::Returning,
    head::Heads,
    liveness::{Liveness, Sign},
    series_table::{NO_DAY, SeriesEntry},
    traces::{LiveTraces, SpanDraft},
};
use crate::{
    alerts::{self, HealthDecision, StatusInputs},
    codec::{AgentEvent, MetricRecord, WalRow},
    model::{
        AgentId, AgentNo, Alert, AlertEventKind, AlertSource, Contact, METADATA_TEXT_BYTES_MAX,
        MetricMetadata, OccurrenceNo, Registration, RegistrationSource, SeriesKey, SeriesNo,
        Timestamp, is_derived_metric,
    },
    telemetry::OwnMetrics,
};

/// An append whose rows were looked up before they were queued.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) append: Append,
    pub(super) rows: Vec<PreparedRow>,
    pub(super) rejected: Vec<Rejected>,
}

impl Prepared {
    /// Whether it tells of a contact with the agent.
    pub(super) fn tells_contact(&self) -> bool {
        self.append.contact.is_some() || self.rows.iter().any(|row| row.sign.is_some())
    }

    /// Bytes of memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        let batch = &self.append.batch;
        let metadata = batch.metadata.iter();
        let rejected = self.rejected.iter();
        batch.key_bytes()
            + size_of_val(batch.rows())
            + metadata
                .map(|m| size_of_val(m) + m.name.len() + m.help.len() + m.unit.len())
                .sum::<usize>()
            + size_of_val(self.rows.as_slice())
            + rejected
                .map(|r| size_of_val(r) + r.reason.len())
                .sum::<usize>()
    }
}

/// One row of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PreparedRow {
    /// Index in the batch.
    pub(super) row: u32,
    /// The series and its slot, where they were known.
    pub(super) series: Option<(SeriesNo, u32)>,
    /// Whether the row tells of a contact.
    pub(super) sign: Option<Sign>,
    pub(super) time: i64,
    pub(super) value: f64,
}

/// Bytes of a series' name and labels together, whatever the limits on each of them allow.
const SERIES_KEY_BYTES_MAX: usize = 512 << 10;

/// Cuts a text that is too long, between two characters.
fn clip(text: &mut String) {
    text.truncate(text.floor_char_boundary(METADATA_TEXT_BYTES_MAX));
}

/// What was before a draft, as far as it has to be asked for.
pub(super) struct Past<'a> {
    /// What was known of an agent's contacts.
    pub(super) liveness: &'a mut dyn FnMut(AgentNo) -> Liveness,
    /// The series of an agent with this canonical key, if it has left and comes back.
    pub(super) returning: &'a dyn Fn(AgentNo, &[u8]) -> Option<Returning>,
}

/// A series that the draft adds.
#[derive(Clone, Copy, Debug)]
struct NewSeries {
    agent: AgentNo,
    slot: usize,
    /// When it was first seen, for one that comes back.
    created_ms: Option<i64>,
}

struct AgentRows {
    agent: AgentNo,
    rows: Vec<WalRow>,
    slots: Vec<u32>,
}

/// The two presents of a commit: its own time never runs backwards, the clock may. Contacts carry the
/// clock's time, so status is judged by that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) commit: Timestamp,
    pub(super) clock: Timestamp,
}

/// Changes of one commit.
pub(super) struct Draft<'a> {
    settings: &'a Settings,
    pub(super) metrics: &'a OwnMetrics,
    /// Time of the commit.
    now: Timestamp,
    /// What the clock says; behind `now` after the clock was set back.
    pub(super) clock_now: Timestamp,
    /// Why new samples, spans and agents are not taken, if they are not.
    pub(super) refusal: Option<WriteError>,
    pub(super) catalog: Arc<Catalog>,
    samples: Vec<AgentRows>,
    new_agents: Vec<AgentNo>,
    /// Agent and ordinal of the event in its history.
    agent_events: Vec<(AgentNo, u32)>,
    agent_events_gone: Vec<(AgentNo, RegistrationEvent)>,
    new_series: Vec<NewSeries>,
    metric_names: Vec<(AgentNo, String)>,
    alerting: alerting::AlertingRows,
    pub(super) spans: SpanDraft<'a>,
    /// What was learnt of agents' contacts.
    pub(super) liveness: HashMap<AgentNo, Liveness>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(
        settings: &'a Settings,
        metrics: &'a OwnMetrics,
        times: Times,
        catalog: Arc<Catalog>,
        spans: SpanDraft<'a>,
        refusal: Option<WriteError>,
    ) -> Self {
        Self {
            settings,
            metrics,
            now: times.commit,
            clock_now: times.clock,
            refusal,
            catalog,
            samples: Vec::new(),
            new_agents: Vec::new(),
            agent_events: Vec::new(),
            agent_events_gone: Vec::new(),
            new_series: Vec::new(),
            metric_names: Vec::new(),
            alerting: alerting::AlertingRows::default(),
            spans,
            liveness: HashMap::new(),
        }
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.samples.is_empty()
            && self.agent_events.is_empty()
            && self.metric_names.is_empty()
            && self.alerting.is_empty()
            && self.spans.is_empty()
    }

    /// Whether registrations change.
    pub(super) fn changes_registrations(&self) -> bool {
        !self.agent_events.is_empty()
    }

    /// Whether rules, alerts, groups or deliveries change.
    pub(super) fn changes_alerting(&self) -> bool {
        !self.alerting.is_empty()
    }

    /// Adds the agents whose samples are in it.
    pub(super) fn touched_agents(&self, touched: &mut HashSet<AgentNo>) {
        touched.extend(self.samples.iter().map(|samples| samples.agent));
    }

    /// Number of samples to write.
    pub(super) fn rows(&self) -> usize {
        self.samples.iter().map(|s| s.rows.len()).sum()
    }

    /// Adds samples.
    ///
    /// While samples are refused, what tells of a contact with a registered agent is taken all the same: it is little,
    /// and without it every agent would be called silent.
    pub(super) fn append(
        &mut self,
        mut prepared: Prepared,
        past: &mut Past<'_>,
    ) -> Result<Appended, WriteError> {
        let Some(refusal) = self.refusal.clone() else {
            return self.take(prepared, past);
        };
        let rows = prepared.rows.len();
        if self.is_registered(&prepared.append.agent) {
            prepared.rows.retain(|row| row.sign.is_some());
            prepared.append.batch.metadata.clear();
            let taken = prepared.rows.len();
            let appended = self.take(prepared, past);
            if taken == rows || appended.is_err() {
                return appended;
            }
            self.metrics.reject("disk_full", (rows - taken) as u64);
        } else {
            self.metrics.reject("disk_full", rows as u64);
        }
        Err(refusal)
    }

    fn is_registered(&self, id: &AgentId) -> bool {
        let known = self.catalog.number(id);
        let entry = known.and_then(|no| self.catalog.agent(no));
        entry.is_some_and(|agent| agent.registration().is_some())
    }

    fn take(&mut self, prepared: Prepared, past: &mut Past<'_>) -> Result<Appended, WriteError> {
        let Prepared {
            append,
            rows,
            mut rejected,
        } = prepared;
        let agent = self.agent_to_write(&append.agent, append.contact.as_ref())?;
        let mut accepted = AgentRows {
            agent,
            rows: Vec::with_capacity(rows.len()),
            slots: Vec::with_capacity(rows.len()),
        };
        let mut new_series = 0;
        let mut signs = Vec::new();
        for row in &rows {
            let series = match self.known_series(agent, row.series) {
                Some(series) => Ok(series),
                None => self.series_to_write(
                    agent,
                    append.batch.key(&append.batch.rows()[row.row as usize]),
                    &mut new_series,
                    past.returning,
                ),
            };
            match series {
                Ok((no, slot)) => {
                    accepted.rows.push((no, row.time, row.value));
                    accepted.slots.push(slot);
                    let sign = row
                        .sign
                        .filter(|_| !crate::model::is_stale_marker(row.value));
                    signs.extend(sign.map(|sign| (sign, row.time, row.value)));
                }
                Err(reason) => {
                    self.metrics.reject("series_limit", 1);
                    rejected.push(Rejected {
                        row: row.row as usize,
                        reason,
                    });
                }
            }
        }
        rejected.sort_by_key(|r| r.row);
        let appended = Appended {
            accepted: accepted.rows.len(),
            rejected,
            new_series,
        };
        if !accepted.rows.is_empty() {
            self.note_metadata(agent, append.batch.metadata);
            self.samples.push(accepted);
        }
        if append.contact.is_some() || !signs.is_empty() {
            self.judge_contact(agent, append.contact.as_ref(), &signs, past.liveness);
        }
        Ok(appended)
    }

    /// The agent's number; an agent that is not registered gets registered as one that pushes.
    pub(super) fn agent_to_write(
        &mut self,
        id: &AgentId,
        contact: Option<&Contact>,
    ) -> Result<AgentNo, WriteError> {
        let known = self.catalog.number(id);
        if let Some(no) = known {
            let is_registered = self
                .catalog
                .agent(no)
                .is_some_and(|a| a.registration().is_some());
            // A scrape that was under way and the markers that end it come after the end of the
            // registration; only the agent's own word registers it anew.
            if is_registered || !matches!(contact, Some(Contact::Push)) {
                return Ok(no);
            }
        }
        self.register_anew(id, known, Registration::bare(RegistrationSource::Push))
    }

    fn register_anew(
        &mut self,
        id: &AgentId,
        known: Option<AgentNo>,
        registration: Registration,
    ) -> Result<AgentNo, WriteError> {
        let no = match known {
            Some(no) => no,
            None => self.new_agent(id)?,
        };
        self.add_event(no, AgentEvent::Registered(registration));
        Ok(no)
    }

    fn new_agent(&mut self, id: &AgentId) -> Result<AgentNo, WriteError> {
        let max = self.settings.limits.agents_total;
        if self.catalog.agents_total() >= max {
            self.metrics.reject("agent_limit", 1);
            return Err(WriteError::Limit(format!(
                "agent `{id}` cannot be registered: there are {max} agents already (limits.agents_total)"
            )));
        }
        let catalog = Arc::make_mut(&mut self.catalog);
        let no = AgentNo(catalog.next_agent);
        catalog.add_agent(no, id.clone());
        self.new_agents.push(no);
        Ok(no)
    }

    fn add_event(&mut self, agent: AgentNo, event: AgentEvent) {
        let now = self.now;
        if let Some(entry) = Arc::make_mut(&mut self.catalog).agent_mut(agent) {
            let gone = entry.add_event(now, event);
            self.agent_events_gone.extend(gone.map(|e| (agent, e)));
            self.agent_events
                .extend(entry.events.last().map(|e| (agent, e.ordinal)));
        }
    }

    /// A series that was looked up before it waited, where it is now; it may have left meanwhile.
    fn known_series(
        &self,
        agent: AgentNo,
        prepared: Option<(SeriesNo, u32)>,
    ) -> Option<(SeriesNo, u32)> {
        let (no, slot) = prepared?;
        let slot = self
            .catalog
            .agent(agent)?
            .series
            .slot_near(slot as usize, no)?;
        Some((no, slot as u32))
    }

    /// Number and slot of a series, made when it is new and within the limits.
    fn series_to_write(
        &mut self,
        agent: AgentNo,
        key: &[u8],
        new_series: &mut usize,
        returning: &dyn Fn(AgentNo, &[u8]) -> Option<Returning>,
    ) -> Result<(SeriesNo, u32), String> {
        let unknown = || "the agent is not known".to_owned();
        let entry = self.catalog.agent(agent).ok_or_else(unknown)?;
        if let Some(slot) = entry.series.find(key) {
            let no = entry.series.no(slot).ok_or_else(unknown)?;
            return Ok((no, slot as u32));
        }
        let limits = &self.settings.limits;
        if key.len() > SERIES_KEY_BYTES_MAX {
            return Err(format!(
                "the series' name and labels take more than {SERIES_KEY_BYTES_MAX} bytes"
            ));
        }
        let key = SeriesKey::from_bytes(key).ok_or("the series' key is not in canonical form")?;
        // What longwatch records of an agent is bounded by the number of agents, and must not be lost to an
        // agent's own series.
        let is_own = key.labels().next().is_none() && is_derived_metric(key.name());
        if !is_own && entry.series.len() >= limits.series_per_agent {
            return Err(format!(
                "new series {key} of agent `{}`: the agent has {} series already (limits.series_per_agent)",
                entry.id, limits.series_per_agent
            ));
        }
        if !is_own && self.catalog.series_total() >= limits.series_total {
            return Err(format!(
                "new series {key} of agent `{}`: there are {} series already (limits.series_total)",
                entry.id, limits.series_total
            ));
        }
        if !entry.series.has_room(key.as_bytes()) {
            return Err(format!(
                "new series {key} of agent `{}`: the names of its series take 4 GiB already",
                entry.id
            ));
        }
        let returning = returning(agent, key.as_bytes());
        let catalog = Arc::make_mut(&mut self.catalog);
        let no = returning.map_or(SeriesNo(catalog.next_series), |returning| returning.no);
        let table = &mut catalog.agent_mut(agent).ok_or_else(unknown)?.series;
        let added = SeriesEntry {
            no,
            group: table.next_group(),
            key,
            last_day: NO_DAY,
        };
        let slot = catalog.add_series(agent, &added).ok_or_else(unknown)?;
        self.new_series.push(NewSeries {
            agent,
            slot,
            created_ms: returning.map(|returning| returning.created_ms),
        });
        *new_series += 1;
        Ok((no, slot as u32))
    }

    /// Takes metadata in, clipped and no more of it than series are allowed.
    fn note_metadata(&mut self, agent: AgentNo, metadata: Vec<MetricMetadata>) {
        for mut told in metadata {
            let Some(entry) = self.catalog.agent(agent) else {
                return;
            };
            clip(&mut told.help);
            clip(&mut told.unit);
            let limits = &self.settings.limits;
            let known = entry.metrics.get(&told.name);
            let is_same = known
                .is_some_and(|k| k.kind == told.kind && k.help == told.help && k.unit == told.unit);
            let is_too_much = known.is_none()
                && (entry.metrics.len() >= limits.series_per_agent
                    || told.name.len() > limits.metric_name_bytes);
            if is_same || is_too_much {
                continue;
            }
            if known.is_some_and(|k| k.kind != told.kind) {
                self.metrics.metadata_conflicts.inc();
            }
            let MetricMetadata {
                name,
                kind,
                help,
                unit,
            } = told;
            if let Some(entry) = Arc::make_mut(&mut self.catalog).agent_mut(agent) {
                entry
                    .metrics
                    .insert(name.clone(), MetricRecord { kind, help, unit });
            }
            self.metric_names.push((agent, name));
        }
    }

    /// Registers or updates an agent.
    pub(super) fn register(
        &mut self,
        id: &AgentId,
        registration: Registration,
    ) -> Result<Registered, WriteError> {
        let known = self.catalog.number(id);
        let current = known.and_then(|no| {
            self.catalog
                .agent(no)?
                .registration()
                .cloned()
                .map(|r| (no, r))
        });
        // What the configuration says is bounded by it, and a server on a full disk must be able to start.
        let refusal = self
            .refusal
            .clone()
            .filter(|_| !registration.source.is_owned());
        let Some((no, current)) = current else {
            refusal.map_or(Ok(()), Err)?;
            self.register_anew(id, known, registration)?;
            return Ok(Registered::Created);
        };
        if current.source.is_owned() && !registration.source.is_owned() {
            return Err(WriteError::Owned(id.to_string()));
        }
        if current == registration {
            return Ok(Registered::Unchanged);
        }
        refusal.map_or(Ok(()), Err)?;
        self.add_event(no, AgentEvent::Updated(registration));
        Ok(Registered::Updated)
    }

    /// Ends a registration. `by_owner` may end those that the configuration owns.
    pub(super) fn deregister(
        &mut self,
        id: &AgentId,
        by_owner: bool,
        known: &mut dyn FnMut(AgentNo) -> Liveness,
    ) -> Result<bool, WriteError> {
        let current = self.catalog.number(id).and_then(|no| {
            self.catalog
                .agent(no)?
                .registration()
                .map(|r| (no, r.source))
        });
        let Some((no, source)) = current else {
            return Ok(false);
        };
        if source.is_owned() && !by_owner {
            return Err(WriteError::Owned(id.to_string()));
        }
        self.add_event(no, AgentEvent::Deregistered);
        self.resolve_health_alert(no, id, "the agent was deregistered");
        for alert in self.catalog.book.open.get(&no).cloned().unwrap_or_default() {
            if matches!(alert.source, AlertSource::Rule | AlertSource::Detector) {
                self.end(&alert, "the agent was deregistered", String::new());
            }
        }
        let mut liveness = self.liveness.remove(&no).unwrap_or_else(|| known(no));
        liveness.clear_errors();
        self.liveness.insert(no, liveness);
        Ok(true)
    }

    fn judge_contact(
        &mut self,
        agent: AgentNo,
        contact: Option<&Contact>,
        signs: &[(Sign, i64, f64)],
        known: &mut dyn FnMut(AgentNo) -> Liveness,
    ) {
        let mut liveness = self.liveness.remove(&agent).unwrap_or_else(|| known(agent));
        for (sign, time, value) in signs {
            liveness.note(*sign, Timestamp::from_millis(*time), *value);
        }
        if let Some(contact) = contact {
            liveness.note_error(contact);
        }
        self.liveness.insert(agent, liveness);
        self.judge(agent, known);
    }

    /// Raises and resolves the health alerts of registered agents by what is known of them now. Not those of agents
    /// that were `heard` of meanwhile: they are judged when their contact is written.
    pub(super) fn judge_all(
        &mut self,
        heard: &HashSet<AgentId>,
        known: &mut dyn FnMut(AgentNo) -> Liveness,
    ) {
        let registered: Vec<AgentNo> = self
            .catalog
            .agents()
            .filter(|(_, entry)| entry.registration().is_some() && !heard.contains(&entry.id))
            .map(|(no, _)| no)
            .collect();
        for agent in registered {
            self.judge(agent, known);
        }
    }

    /// Raises or resolves the agent's health alert by what is known of it now.
    fn judge(&mut self, agent: AgentNo, known: &mut dyn FnMut(AgentNo) -> Liveness) {
        let Some(entry) = self.catalog.agent(agent).cloned() else {
            return;
        };
        let Some(registration) = entry.registration() else {
            return;
        };
        let liveness = self.liveness.entry(agent).or_insert_with(|| known(agent));
        let inputs = StatusInputs {
            run_start: self.catalog.open_run,
            registered_at: entry.registered_at(),
            ..liveness.inputs()
        };
        let verdict =
            alerts::judge_status(&inputs, registration, &self.settings.policy, self.clock_now);
        let alert_id = alerts::health_alert_id(&entry.id);
        let book = &self.catalog.book;
        let firing = book
            .open_alert(agent, &alert_id, AlertSource::Health)
            .cloned();
        let decision =
            alerts::decide_health_alert(&entry.id, &verdict, liveness.error(), firing.as_deref());
        match decision {
            HealthDecision::Keep => {}
            HealthDecision::Fire { description } => {
                let occurrence = OccurrenceNo(self.catalog.next_occurrence);
                let alert =
                    alerts::health_alert(occurrence, agent, &entry.id, &description, self.now);
                self.put_alert(alert, AlertEventKind::Fired, description, String::new());
            }
            HealthDecision::Reword { description } => {
                // The alert stays the same one; only what it says is brought up to date.
                if let Some(firing) = firing {
                    self.keep_alert(Alert {
                        description,
                        ..Alert::clone(&firing)
                    });
                }
            }
            HealthDecision::Resolve { reason } => {
                self.resolve_health_alert(agent, &entry.id, &reason);
            }
        }
    }

    fn resolve_health_alert(&mut self, agent: AgentNo, id: &AgentId, reason: &str) {
        let id = alerts::health_alert_id(id);
        if let Some(firing) = self.open_alert(agent, &id, AlertSource::Health) {
            self.end(&firing, reason, String::new());
        }
    }

    /// Puts the committed samples and spans into the heads.
    pub(super) fn publish(&self, sequence: u64, heads: &mut Heads, traces: &mut LiveTraces) {
        self.spans.publish(sequence, traces);
        for samples in &self.samples {
            let rows = samples.rows.iter().zip(&samples.slots);
            heads.extend(
                samples.agent,
                sequence,
                rows.map(|((_, time, value), slot)| (*slot as usize, *time, *value)),
            );
        }
    }
}
