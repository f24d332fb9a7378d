//! The part of a draft that is about telling: groups that are due, the outbox.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::Draft;
use crate::{
    alerts::{self, Flush, Member, Route},
    model::{
        Alert, AlertEventKind, Delivery, DeliveryOutcome, GroupState, Notification, OccurrenceNo,
        Timestamp,
    },
    store::alerting::Changed,
};

/// Deliveries that may wait; beyond it the oldest that were given up go.
const OUTBOX_MAX: usize = 10_000;
/// What was given up is kept for so long, in milliseconds.
const DEAD_LETTERS_MS: i64 = 30 * crate::model::DAY_MS;
/// Failed attempts that stand in an alert's history one by one; of later ones every so-manieth.
const ATTEMPTS_TOLD: u32 = 10;
/// Longest error text of an attempt, in bytes.
const ERROR_BYTES_MAX: usize = 500;

impl Draft<'_> {
    /// Makes the groups of an alert that fired or resolved due. A group comes into being when an alert fires.
    pub(super) fn make_due(&mut self, alert: &Alert) {
        let routing = Arc::clone(&self.settings.routing);
        let now = self.commit_time();
        for route in routing.routes_of(&alert.labels) {
            let key = route.group_key(&alert.labels);
            let known = self.catalog.book.groups.get(&key).cloned();
            if known.is_none() && alert.resolved_at.is_some() {
                continue;
            }
            let look = alerts::next_look(known.as_deref(), route, now);
            let mut group = known.map_or_else(
                || GroupState {
                    route: route.name.clone(),
                    labels: route.group_labels(&alert.labels),
                    ..GroupState::default()
                },
                |known| GroupState::clone(&known),
            );
            group.next_flush = Some(group.next_flush.map_or(look, |next| next.min(look)));
            self.put_group(key, Some(group));
        }
    }

    /// An acknowledgement changes when its groups are looked at next.
    pub(super) fn look_again(&mut self, alert: &Alert) {
        let routing = Arc::clone(&self.settings.routing);
        for route in routing.routes_of(&alert.labels) {
            let key = route.group_key(&alert.labels);
            if let Some(group) = self.catalog.book.groups.get(&key) {
                let mut group = GroupState::clone(group);
                let look = alerts::next_look(Some(&group), route, self.commit_time());
                group.next_flush = Some(group.next_flush.map_or(look, |next| next.min(look)));
                self.put_group(key, Some(group));
            }
        }
    }

    fn put_group(&mut self, key: String, group: Option<GroupState>) {
        let groups = Arc::make_mut(&mut Arc::make_mut(&mut self.catalog).book.groups);
        match group {
            Some(group) => drop(groups.insert(key.clone(), Arc::new(group))),
            None => drop(groups.remove(&key)),
        }
        self.alerting.groups.insert(key);
    }

    /// Looks at the groups that are due. Returns how many there were.
    pub(super) fn dispatch(&mut self) -> usize {
        self.end_external();
        let now = self.commit_time();
        let is_due = |group: &GroupState| group.next_flush.is_some_and(|next| next <= now);
        let groups = &self.catalog.book.groups;
        let due: Vec<(String, Arc<GroupState>)> = groups
            .iter()
            .filter(|(_, group)| is_due(group))
            .map(|(key, group)| (key.clone(), Arc::clone(group)))
            .collect();
        if due.is_empty() {
            return 0;
        }
        let mut members = self.members(&due);
        for (key, group) in &due {
            let firing = members.remove(key.as_str()).unwrap_or_default();
            self.look_at(key, group, &firing);
        }
        due.len()
    }

    /// Alerts that fire, by the keys of the groups that are looked at.
    fn members(&self, due: &[(String, Arc<GroupState>)]) -> HashMap<String, Vec<Member>> {
        let mut members: HashMap<String, Vec<Member>> = due
            .iter()
            .map(|(key, _)| (key.clone(), Vec::new()))
            .collect();
        let (routing, book) = (&self.settings.routing, &self.catalog.book);
        for alert in book.all_open() {
            if alert.fired_at.is_none() {
                continue;
            }
            let mut muted_by = None;
            for route in routing.routes_of(&alert.labels) {
                if let Some(group) = members.get_mut(&route.group_key(&alert.labels)) {
                    let muted_by = muted_by
                        .get_or_insert_with(|| routing.muted_by(&alert, book, self.commit_time()));
                    group.push(Member {
                        alert: Arc::clone(&alert),
                        muted_by: muted_by.clone(),
                    });
                }
            }
        }
        members
    }

    fn look_at(&mut self, key: &str, group: &GroupState, firing: &[Member]) {
        let routing = Arc::clone(&self.settings.routing);
        let Some(route) = routing.route(&group.route) else {
            // The configuration has no such route any more; its alerts have found another by now.
            self.put_group(key.to_owned(), None);
            firing
                .iter()
                .for_each(|member| self.make_due(&member.alert));
            return;
        };
        let resolved: Vec<Arc<Alert>> = group
            .told_firing
            .iter()
            .filter_map(|no| self.catalog.alert(*no))
            .filter(|alert| !alert.is_open())
            .cloned()
            .collect();
        let flush = alerts::flush(key, group, route, firing, &resolved, self.commit_time());
        self.tell(route, &flush);
        for (alert, why) in &flush.muted {
            self.note_event(alert, AlertEventKind::Muted, why.clone(), String::new());
        }
        for alert in &flush.unmuted {
            let why = "nothing keeps it from being told any more";
            self.note_event(
                alert,
                AlertEventKind::Unmuted,
                why.to_owned(),
                String::new(),
            );
        }
        for alert in &flush.escalated {
            let why = "nobody acknowledged it in time".to_owned();
            self.note_event(alert, AlertEventKind::Escalated, why, String::new());
        }
        self.put_group(key.to_owned(), flush.state);
    }

    fn tell(&mut self, route: &Route, flush: &Flush) {
        let higher = route.escalation.iter().flat_map(|e| &e.channels);
        if let Some(notification) = &flush.notification {
            let escalated = higher.clone().filter(|_| flush.tells_escalated);
            let mut channels: Vec<&String> = route.channels.iter().chain(escalated).collect();
            channels.dedup();
            for channel in channels {
                self.put_delivery(channel, notification);
            }
        }
        if let Some(notification) = &flush.escalation {
            higher.for_each(|channel| self.put_delivery(channel, notification));
        }
    }

    fn put_delivery(&mut self, channel: &str, notification: &Notification) {
        let routing = &self.settings.routing;
        let wants_resolved = !routing.without_resolved.iter().any(|name| name == channel);
        if !notification.is_firing() && !wants_resolved {
            return;
        }
        let mut notification = notification.clone();
        if !wants_resolved {
            notification
                .alerts
                .retain(|alert| alert.resolved_at.is_none());
        }
        self.make_room_in_outbox();
        let now = self.commit_time();
        let catalog = Arc::make_mut(&mut self.catalog);
        let sequence = catalog.next_delivery;
        catalog.next_delivery += 1;
        for alert in &notification.alerts {
            if let Some(alert) = self.catalog.alert(alert.occurrence).cloned() {
                self.note_event(
                    &alert,
                    AlertEventKind::Queued,
                    channel.to_owned(),
                    String::new(),
                );
            }
        }
        let delivery = Delivery {
            sequence,
            channel: channel.to_owned(),
            idempotency_key: format!("{}-{sequence}", self.catalog.file_id),
            created_at: now,
            attempts: 0,
            next_attempt: Some(now),
            last_error: String::new(),
            notification,
        };
        self.put_in_outbox(delivery);
    }

    fn outbox_mut(&mut self) -> &mut BTreeMap<u64, Arc<Delivery>> {
        Arc::make_mut(&mut Arc::make_mut(&mut self.catalog).book.outbox)
    }

    fn put_in_outbox(&mut self, delivery: Delivery) {
        let sequence = delivery.sequence;
        self.outbox_mut().insert(sequence, Arc::new(delivery));
        self.alerting.deliveries.insert(sequence);
    }

    fn take_from_outbox(&mut self, sequence: u64) {
        self.outbox_mut().remove(&sequence);
        self.alerting.deliveries.insert(sequence);
    }

    /// Lets go of what was given up long ago, and, when the outbox is full, of the oldest of it; at the last of the
    /// oldest delivery, so that one receiver that is gone for good cannot fill the file.
    fn make_room_in_outbox(&mut self) {
        let before = self.commit_time().plus_millis(-DEAD_LETTERS_MS);
        let outbox = &self.catalog.book.outbox;
        let is_old = |d: &Delivery| d.is_dead() && d.created_at < before;
        let mut gone: Vec<u64> = outbox
            .values()
            .filter(|delivery| is_old(delivery))
            .map(|delivery| delivery.sequence)
            .collect();
        if outbox.len() - gone.len() >= OUTBOX_MAX {
            let oldest_dead = outbox.values().find(|delivery| delivery.is_dead());
            let oldest = oldest_dead.or_else(|| outbox.values().next());
            if let Some(oldest) = oldest {
                tracing::error!(
                    channel = oldest.channel,
                    delivery = oldest.sequence,
                    "the outbox is full: its oldest delivery is dropped"
                );
                gone.push(oldest.sequence);
            }
        }
        gone.into_iter()
            .for_each(|sequence| self.take_from_outbox(sequence));
    }

    /// Notes how an attempt ended.
    pub(super) fn settle(
        &mut self,
        sequence: u64,
        outcome: &DeliveryOutcome,
        next_attempt: Option<Timestamp>,
    ) -> Changed {
        let Some(delivery) = self.catalog.book.outbox.get(&sequence).cloned() else {
            return Changed::Unknown;
        };
        let (kind, error) = match outcome {
            DeliveryOutcome::Delivered => (AlertEventKind::Delivered, ""),
            DeliveryOutcome::Failed { error, .. } if next_attempt.is_some() => {
                (AlertEventKind::DeliveryFailed, error.as_str())
            }
            DeliveryOutcome::Failed { error, .. } | DeliveryOutcome::Refused { error } => {
                (AlertEventKind::DeliveryGivenUp, error.as_str())
            }
        };
        let error = &error[..error.floor_char_boundary(ERROR_BYTES_MAX)];
        let told: Vec<OccurrenceNo> = delivery
            .notification
            .alerts
            .iter()
            .map(|alert| alert.occurrence)
            .collect();
        let reason = if error.is_empty() {
            delivery.channel.clone()
        } else {
            format!("{}: {error}", delivery.channel)
        };
        // An outage of a day must not fill every alert's history.
        let is_worth_telling = kind != AlertEventKind::DeliveryFailed
            || delivery.attempts < ATTEMPTS_TOLD
            || delivery.attempts.is_multiple_of(ATTEMPTS_TOLD);
        for occurrence in told.into_iter().filter(|_| is_worth_telling) {
            if let Some(alert) = self.catalog.alert(occurrence).cloned() {
                self.note_event(&alert, kind, reason.clone(), String::new());
            }
        }
        if kind == AlertEventKind::Delivered {
            self.take_from_outbox(sequence);
        } else {
            self.put_in_outbox(Delivery {
                attempts: delivery.attempts.saturating_add(1),
                next_attempt: next_attempt.filter(|_| kind == AlertEventKind::DeliveryFailed),
                last_error: error.to_owned(),
                ..Delivery::clone(&delivery)
            });
        }
        Changed::Done(1)
    }

    /// Tries a delivery that was given up again.
    pub(super) fn retry(&mut self, sequence: u64) -> Changed {
        let Some(delivery) = self.catalog.book.outbox.get(&sequence).cloned() else {
            return Changed::Unknown;
        };
        if !delivery.is_dead() {
            return Changed::Conflict(format!("delivery {sequence} was not given up"));
        }
        let now = self.commit_time();
        self.put_in_outbox(Delivery {
            created_at: now,
            attempts: 0,
            next_attempt: Some(now),
            ..Delivery::clone(&delivery)
        });
        Changed::Done(1)
    }
}
