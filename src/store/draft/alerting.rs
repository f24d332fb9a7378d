//! The part of a draft that is about alerts: each transition with its event, its evidence and its group made due;
//! each look at a group with what is to be delivered.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::Draft;
use crate::{
    alerts::{self, Finding, Life, Step, Surroundings, Terms},
    model::{
        Acknowledgement, AgentNo, Alert, AlertEvent, AlertEventKind, AlertSource, Evidence,
        OccurrenceNo, RuleOrigin, Silence, StoredRule, Timestamp,
    },
    store::{
        WriteError,
        alerting::{
            Change, Changed, EXTERNAL_MAX, ExternalAlert, Observation, RULES_MAX, SILENCES_MAX,
            is_of_rule,
        },
    },
};

/// Rows of alerting that changed. What they say is in the draft's catalog; a key that is not there any more is
/// deleted.
#[derive(Debug, Default)]
pub(super) struct AlertingRows {
    pub(super) alerts: BTreeSet<OccurrenceNo>,
    pub(super) events: Vec<AlertEvent>,
    pub(super) evidence: Vec<(OccurrenceNo, Evidence)>,
    pub(super) rules: BTreeSet<String>,
    pub(super) silences: BTreeSet<String>,
    pub(super) groups: BTreeSet<String>,
    pub(super) deliveries: BTreeSet<u64>,
}

impl AlertingRows {
    pub(super) fn is_empty(&self) -> bool {
        self.alerts.is_empty()
            && self.events.is_empty()
            && self.rules.is_empty()
            && self.silences.is_empty()
            && self.groups.is_empty()
            && self.deliveries.is_empty()
    }
}

impl Draft<'_> {
    /// Works a change in.
    pub(in crate::store) fn change_alerting(
        &mut self,
        change: Change,
    ) -> Result<Changed, WriteError> {
        Ok(match change {
            Change::Observe(observations) => {
                let changed = observations.into_iter().filter(|o| self.observe(o)).count();
                Changed::Done(changed)
            }
            Change::PutRule(rule) => self.put_rule(rule)?,
            Change::DeleteRule(name) => self.delete_rule(&name),
            Change::ReplaceRules(all) => self.replace_rules(all)?,
            Change::Acknowledge(occurrence, ack) => self.acknowledge(occurrence, ack),
            Change::Resolve {
                occurrence,
                by,
                comment,
            } => self.resolve_by_hand(occurrence, by, &comment),
            Change::PutSilence(silence) => self.put_silence(silence)?,
            Change::ExpireSilence { id } => self.expire_silence(&id),
            Change::External(alerts) => {
                self.take_all_external(&alerts);
                Changed::Done(alerts.len())
            }
            Change::Detect(detections) => Changed::Done(self.detect_all(detections)),
            Change::EndDetected(occurrences) => Changed::Done(self.end_detected(&occurrences)),
            Change::Dispatch => Changed::Done(self.dispatch()),
            Change::Regroup => Changed::Done(self.regroup()),
            Change::Settle {
                sequence,
                outcome,
                next_attempt,
            } => self.settle(sequence, &outcome, next_attempt),
            Change::Retry(sequence) => self.retry(sequence),
        })
    }

    /// Applies what an evaluation found to the alert as it is now. Returns whether anything changed.
    fn observe(&mut self, observation: &Observation) -> bool {
        let rule = &observation.rule;
        let in_force = self.catalog.book.rules.get(&rule.rule.name);
        // A rule that changed or went since has had its say elsewhere; its alerts may still be ended.
        if in_force.is_none_or(|now| now.definition != rule.definition)
            && !matches!(observation.finding, Finding::Gone(_))
        {
            return false;
        }
        let (agent, id) = (observation.agent, observation.alert_id.as_str());
        let entry = self.catalog.agent(agent);
        let is_registered = entry.is_some_and(|entry| entry.registration().is_some());
        // Its registration may have ended while the rule was evaluated, and its alerts with it.
        // An expression may yield rows that are no agent's.
        let needs_agent = agent != AgentNo::NONE || rule.rule.condition.expression().is_none();
        if needs_agent && !is_registered && !matches!(observation.finding, Finding::Gone(_)) {
            return false;
        }
        let open = self.open_alert(agent, id, AlertSource::Rule);
        let Some(step) = self.step(
            open.as_deref(),
            id,
            &Terms::from(&rule.rule),
            &observation.finding,
        ) else {
            return false;
        };
        let mut alert = match &open {
            Some(alert) => Alert::clone(alert),
            None => self.new_alert(observation),
        };
        step.life.put(&mut alert);
        alert.value = observation.value.or(alert.value);
        if !observation.description.is_empty() {
            alert.description.clone_from(&observation.description);
            alert.annotations.clone_from(&observation.annotations);
        }
        if matches!(step.kind, AlertEventKind::Fired | AlertEventKind::Resolved) {
            let evidence = Evidence {
                time: self.now,
                kind: step.kind,
                rule: rule.definition.clone(),
                threshold: observation.threshold,
                value: observation.value,
                samples: observation.samples.clone(),
                spans: Vec::new(),
                traces: observation.traces.clone(),
            };
            self.alerting.evidence.push((alert.occurrence, evidence));
        }
        self.put_alert(alert, step.kind, step.reason, String::new());
        true
    }

    /// The open alert of this identity and source.
    pub(super) fn open_alert(
        &self,
        agent: AgentNo,
        id: &str,
        source: AlertSource,
    ) -> Option<Arc<Alert>> {
        let found = self.catalog.book.open_alert(agent, id, source);
        found.cloned()
    }

    fn step(
        &self,
        open: Option<&Alert>,
        id: &str,
        terms: &Terms,
        finding: &Finding,
    ) -> Option<Step> {
        let catalog = &self.catalog;
        let surroundings = Surroundings {
            downtime_ms: &|from, to| catalog.downtime_ms(from, to),
            firings_since: &|since| catalog.firings_since(id, since),
        };
        alerts::step(open.map(Life::of), terms, finding, self.now, &surroundings)
    }

    fn new_alert(&self, observation: &Observation) -> Alert {
        let rule = &observation.rule.rule;
        let is_shared = rule.alert_name() != rule.name;
        let occurrence = OccurrenceNo(self.catalog.next_occurrence);
        Alert {
            series: observation.series.clone(),
            labels: observation.labels.clone(),
            rule: if is_shared {
                rule.name.clone()
            } else {
                String::new()
            },
            fired_at: None,
            ..Alert::fired(
                occurrence,
                observation.agent,
                observation.alert_id.clone(),
                rule.alert_name().to_owned(),
                observation.severity,
                self.now,
            )
        }
    }

    fn put_rule(&mut self, rule: StoredRule) -> Result<Changed, WriteError> {
        let name = rule.rule.name.clone();
        let known = self.catalog.book.rules.get(&name).cloned();
        if let Some(known) = &known {
            if known.origin != RuleOrigin::Api {
                return Ok(Changed::Conflict(owned(&name, known.origin)));
            }
            if known.definition == rule.definition {
                return Ok(Changed::Done(0));
            }
        } else if self.catalog.book.rules.len() >= RULES_MAX {
            return Err(WriteError::Limit(format!(
                "there are {RULES_MAX} rules already"
            )));
        }
        self.insert_rule(rule);
        Ok(if known.is_some() {
            Changed::Done(1)
        } else {
            Changed::Created
        })
    }

    fn insert_rule(&mut self, mut rule: StoredRule) {
        rule.updated_at = self.now;
        let name = rule.rule.name.clone();
        let is_expression = |rule: &StoredRule| rule.rule.condition.expression().is_some();
        let known = self.catalog.book.rules.get(&name).cloned();
        // Rows of an expression and series have different identities: nobody would look after the open alerts.
        if known.is_some_and(|known| is_expression(&known) != is_expression(&rule)) {
            self.end_alerts_of(&name, "the rule is of another kind now");
        }
        let catalog = Arc::make_mut(&mut self.catalog);
        Arc::make_mut(&mut catalog.book.rules).insert(name.clone(), Arc::new(rule));
        self.alerting.rules.insert(name);
    }

    fn delete_rule(&mut self, name: &str) -> Changed {
        match self.catalog.book.rules.get(name).map(|rule| rule.origin) {
            None => Changed::Unknown,
            Some(RuleOrigin::Api) => {
                self.remove_rule(name);
                Changed::Done(1)
            }
            Some(origin) => Changed::Conflict(owned(name, origin)),
        }
    }

    fn remove_rule(&mut self, name: &str) {
        let catalog = Arc::make_mut(&mut self.catalog);
        Arc::make_mut(&mut catalog.book.rules).remove(name);
        self.alerting.rules.insert(name.to_owned());
        self.end_alerts_of(name, "the rule was deleted");
    }

    fn end_alerts_of(&mut self, rule: &str, why: &str) {
        for alert in self.catalog.book.all_open() {
            if is_of_rule(&alert, rule) {
                self.end(&alert, why, String::new());
            }
        }
    }

    /// Puts the rules of origins in place of those that they had, all or none. A rule of the API gives way to one of the
    /// same name in a file; one that moves from file to file keeps its alerts.
    fn replace_rules(
        &mut self,
        all: Vec<(RuleOrigin, Vec<StoredRule>)>,
    ) -> Result<Changed, WriteError> {
        let origins: Vec<RuleOrigin> = all.iter().map(|(origin, _)| *origin).collect();
        let mut rules: BTreeMap<String, StoredRule> = BTreeMap::new();
        for rule in all.into_iter().flat_map(|(_, rules)| rules) {
            if let Some(twice) = rules.insert(rule.rule.name.clone(), rule) {
                return Ok(Changed::Conflict(owned(&twice.rule.name, twice.origin)));
            }
        }
        let present = &self.catalog.book.rules;
        let others = present
            .iter()
            .filter(|(name, rule)| !origins.contains(&rule.origin) && !rules.contains_key(*name));
        if others.count() + rules.len() > RULES_MAX {
            let count = rules.len();
            let why = format!("{count} rules and those of other origins are more than {RULES_MAX}");
            return Err(WriteError::Limit(why));
        }
        let taken = rules.iter().find_map(|(name, rule)| {
            let present = present.get(name)?;
            let is_others = !origins.contains(&present.origin) && present.origin < rule.origin;
            is_others.then(|| owned(name, present.origin))
        });
        if let Some(taken) = taken {
            return Ok(Changed::Conflict(taken));
        }
        let gone: Vec<String> = present
            .iter()
            .filter(|(name, rule)| origins.contains(&rule.origin) && !rules.contains_key(*name))
            .map(|(name, _)| name.clone())
            .collect();
        let new: Vec<StoredRule> = rules
            .into_iter()
            .filter(|(name, rule)| {
                present.get(name).is_none_or(|present| {
                    present.definition != rule.definition || present.origin != rule.origin
                })
            })
            .map(|(_, rule)| rule)
            .collect();
        let changed = gone.len() + new.len();
        gone.iter().for_each(|name| self.remove_rule(name));
        new.into_iter().for_each(|rule| self.insert_rule(rule));
        Ok(Changed::Done(changed))
    }

    fn acknowledge(&mut self, occurrence: OccurrenceNo, mut ack: Acknowledgement) -> Changed {
        let Some(alert) = self.catalog.alert(occurrence).cloned() else {
            return Changed::Unknown;
        };
        if !alert.is_open() {
            return Changed::Conflict(format!("alert {} is over", occurrence.0));
        }
        ack.at = self.now;
        let (by, comment) = (ack.by.clone(), ack.comment.clone());
        let alert = Alert {
            acknowledged: Some(ack),
            ..Alert::clone(&alert)
        };
        self.changed(alert, AlertEventKind::Acknowledged, comment, by)
    }

    fn resolve_by_hand(&mut self, occurrence: OccurrenceNo, by: String, comment: &str) -> Changed {
        let Some(alert) = self.catalog.alert(occurrence).cloned() else {
            return Changed::Unknown;
        };
        if !alert.is_open() {
            return Changed::Conflict(format!("alert {} is over already", occurrence.0));
        }
        let reason = if comment.is_empty() {
            "resolved by hand"
        } else {
            comment
        };
        self.end(&alert, reason, by);
        self.catalog
            .alert(occurrence)
            .map_or(Changed::Unknown, |alert| Changed::Alert(Arc::clone(alert)))
    }

    fn changed(
        &mut self,
        alert: Alert,
        kind: AlertEventKind,
        reason: String,
        by: String,
    ) -> Changed {
        let shown = Arc::new(alert.clone());
        self.put_alert(alert, kind, reason, by);
        Changed::Alert(shown)
    }

    /// Ends an alert, whatever its condition says.
    pub(super) fn end(&mut self, alert: &Alert, reason: &str, actor: String) {
        let kind = if alert.fired_at.is_some() {
            AlertEventKind::Resolved
        } else {
            AlertEventKind::Ended
        };
        let over = Alert {
            resolved_at: Some(self.now),
            ..alert.clone()
        };
        self.put_alert(over, kind, reason.to_owned(), actor);
    }

    fn put_silence(&mut self, mut silence: Silence) -> Result<Changed, WriteError> {
        let present = self.catalog.book.silences.get(&silence.id).cloned();
        silence.updated_at = self.now;
        silence.created_at = present.as_ref().map_or(self.now, |s| s.created_at);
        if present.is_none() && self.catalog.book.silences.len() >= SILENCES_MAX {
            let now = self.now;
            let oldest = self.catalog.book.silences.values();
            let expired = oldest
                .filter(|s| s.ends_at <= now)
                .min_by_key(|s| s.ends_at);
            let Some(expired) = expired.map(|s| s.id.clone()) else {
                return Err(WriteError::Limit(format!(
                    "there are {SILENCES_MAX} silences already"
                )));
            };
            self.silences_mut().remove(&expired);
            self.alerting.silences.insert(expired);
        }
        let id = silence.id.clone();
        self.silences_mut().insert(id.clone(), Arc::new(silence));
        self.alerting.silences.insert(id);
        Ok(if present.is_some() {
            Changed::Done(1)
        } else {
            Changed::Created
        })
    }

    fn silences_mut(&mut self) -> &mut std::collections::BTreeMap<String, Arc<Silence>> {
        Arc::make_mut(&mut Arc::make_mut(&mut self.catalog).book.silences)
    }

    fn expire_silence(&mut self, id: &str) -> Changed {
        let Some(silence) = self.catalog.book.silences.get(id).cloned() else {
            return Changed::Unknown;
        };
        if silence.ends_at <= self.now {
            return Changed::Conflict(format!("silence {id} has expired already"));
        }
        let expired = Silence {
            ends_at: self.now,
            starts_at: silence.starts_at.min(self.now),
            updated_at: self.now,
            ..Silence::clone(&silence)
        };
        self.silences_mut().insert(id.to_owned(), Arc::new(expired));
        self.alerting.silences.insert(id.to_owned());
        Changed::Done(1)
    }

    /// Takes somebody else's alerts as far as there is room for new ones.
    fn take_all_external(&mut self, alerts: &[ExternalAlert]) {
        let open = self.catalog.book.open.values().flatten();
        let known = open
            .filter(|alert| alert.source == AlertSource::External)
            .count();
        let has_room = known + alerts.len() <= EXTERNAL_MAX;
        if !has_room {
            tracing::error!(
                "there are {known} alerts of other systems already: new ones are not taken"
            );
        }
        alerts
            .iter()
            .for_each(|alert| self.take_external(alert, has_room));
    }

    /// Takes somebody else's alert: it fires until the time it names.
    fn take_external(&mut self, external: &ExternalAlert, has_room: bool) {
        let id = external.alert_id();
        // It may have begun before its agent was known.
        let open = [external.agent, AgentNo::NONE]
            .into_iter()
            .find_map(|agent| self.open_alert(agent, &id, AlertSource::External));
        let is_over = external.ends_at <= self.now;
        let Some(open) = open else {
            if is_over || !has_room {
                return;
            }
            let (name, severity, description) = external.words();
            let occurrence = OccurrenceNo(self.catalog.next_occurrence);
            let alert = Alert {
                source: AlertSource::External,
                description,
                labels: external.labels.clone(),
                annotations: external.annotations.clone(),
                ends_at: Some(external.ends_at),
                fired_at: Some(external.starts_at.map_or(self.now, |at| at.min(self.now))),
                ..Alert::fired(occurrence, external.agent, id, name, severity, self.now)
            };
            self.put_alert(
                alert,
                AlertEventKind::Fired,
                "sent by another system".into(),
                String::new(),
            );
            return;
        };
        if is_over {
            self.end(&open, "its sender says that it is over", String::new());
        } else {
            let (_, _, description) = external.words();
            self.keep_alert(Alert {
                description,
                annotations: external.annotations.clone(),
                ends_at: Some(external.ends_at),
                ..Alert::clone(&open)
            });
        }
    }

    /// Ends alerts that were not sent, or not found, again in time.
    pub(super) fn end_external(&mut self) {
        let (now, started) = (self.now, self.catalog.open_run);
        for alert in self.catalog.book.all_open() {
            if alert.ends_with(started).is_some_and(|end| end <= now) {
                let reason = match alert.source {
                    AlertSource::Detector => "it was not found again",
                    _ => "its sender did not send it again",
                };
                self.end(&alert, reason, String::new());
            }
        }
    }

    /// Puts an alert into a new state, with the event and its groups made due.
    pub(super) fn put_alert(
        &mut self,
        alert: Alert,
        kind: AlertEventKind,
        reason: String,
        actor: String,
    ) {
        self.note_event(&alert, kind, reason, actor);
        if matches!(kind, AlertEventKind::Fired | AlertEventKind::Resolved) {
            self.make_due(&alert);
        }
        if kind == AlertEventKind::Acknowledged {
            self.look_again(&alert);
        }
        self.keep_alert(alert);
    }

    pub(super) fn note_event(
        &mut self,
        alert: &Alert,
        kind: AlertEventKind,
        reason: String,
        actor: String,
    ) {
        let event = AlertEvent {
            occurrence: alert.occurrence,
            time: self.now,
            kind,
            reason,
            actor,
        };
        self.alerting.events.push(event);
    }

    /// Stores an alert without a word in its history.
    pub(super) fn keep_alert(&mut self, alert: Alert) {
        self.alerting.alerts.insert(alert.occurrence);
        Arc::make_mut(&mut self.catalog).put_alert(alert);
    }

    /// Tells the log of alerts that changed.
    pub(in crate::store) fn tell_alerts(&self) {
        for event in &self.alerting.events {
            let Some(alert) = self.catalog.alert(event.occurrence) else {
                continue;
            };
            let (id, reason) = (alert.alert_id.as_str(), event.reason.as_str());
            let description = alert.description.as_str();
            match event.kind {
                AlertEventKind::Fired => {
                    tracing::warn!(alert = id, reason, description, "alert fires");
                }
                AlertEventKind::Resolved => tracing::info!(alert = id, reason, "alert resolved"),
                kind => tracing::debug!(alert = id, reason, kind = kind.as_str(), "alert"),
            }
        }
    }
}

fn owned(name: &str, origin: RuleOrigin) -> String {
    let place = match origin {
        RuleOrigin::Config => "the configuration file",
        RuleOrigin::Directory => "the rules directory",
        RuleOrigin::Api => "the API",
    };
    format!("rule `{name}` is defined in {place} and can only be changed there")
}

/// Present moment of a draft, for the functions of `alerts`.
impl Draft<'_> {
    pub(super) const fn commit_time(&self) -> Timestamp {
        self.now
    }
}
