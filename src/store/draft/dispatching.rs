//! The part of a draft that is about telling: groups that are due, the outbox.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
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

/// Groups that one commit looks at; more are left due.
const GROUPS_MAX: usize = 500;
/// Deliveries that wait for a channel that works before groups are left due.
const CONGESTED: usize = 1_000;
/// Deliveries that may wait for one channel; beyond it the oldest is given up.
const WAITING_MAX: usize = 5_000;
/// Deliveries that were given up and are kept.
const DEAD_LETTERS_MAX: usize = 10_000;
/// What was given up is kept for so long, in milliseconds.
const DEAD_LETTERS_MS: i64 = 30 * crate::model::DAY_MS;
/// Failed attempts that stand in an alert's history one by one; of later ones one in so many.
const ATTEMPTS_TOLD: u32 = 10;
/// Longest error text of an attempt, in bytes.
const ERROR_BYTES_MAX: usize = 500;

/// What waits for a channel.
#[derive(Clone, Copy, Debug, Default)]
struct Queue {
    waiting: usize,
    /// Whether an attempt failed that is to be made again.
    is_failing: bool,
}

type Queues = HashMap<String, Queue>;

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
        if alert.resolved_at.is_some() {
            self.make_told_due(alert, now);
        }
    }

    /// Makes groups due that were told of an alert when routes were others.
    fn make_told_due(&mut self, alert: &Alert, now: Timestamp) {
        let groups = &self.catalog.book.groups;
        let told: Vec<(String, GroupState)> = groups
            .iter()
            .filter(|(_, group)| group.told_firing.contains(&alert.occurrence))
            .filter(|(_, group)| group.next_flush.is_none_or(|next| next > now))
            .map(|(key, group)| (key.clone(), GroupState::clone(group)))
            .collect();
        let routing = Arc::clone(&self.settings.routing);
        for (key, mut group) in told {
            let route = routing.route(&group.route);
            let look = route.map_or(now, |route| alerts::next_look(Some(&group), route, now));
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
        let mut queues = self.queues();
        let due: Vec<(String, Arc<GroupState>)> = due
            .into_iter()
            .filter(|(_, group)| !self.is_congested(group, &queues))
            .take(GROUPS_MAX)
            .collect();
        if due.is_empty() {
            return 0;
        }
        let mut members = self.members(&due);
        for (key, group) in &due {
            if self.is_congested(group, &queues) {
                continue;
            }
            let firing = members.remove(key.as_str()).unwrap_or_default();
            self.look_at(key, group, &firing, &mut queues);
        }
        due.len()
    }

    /// How much waits for each channel.
    fn queues(&self) -> Queues {
        let mut queues = Queues::default();
        for delivery in self.catalog.book.outbox.values().filter(|d| !d.is_dead()) {
            let queue = queues.entry(delivery.channel.clone()).or_default();
            queue.waiting += 1;
            queue.is_failing |= delivery.attempts > 0;
        }
        queues
    }

    /// Whether a group has to wait for a channel that works and has much to do. One that fails keeps nobody waiting.
    fn is_congested(&self, group: &GroupState, queues: &Queues) -> bool {
        let route = self.settings.routing.route(&group.route);
        let mut channels = route.into_iter().flat_map(|route| &route.channels);
        channels.any(|channel| {
            let queue = queues.get(channel);
            queue.is_some_and(|queue| !queue.is_failing && queue.waiting >= CONGESTED)
        })
    }

    /// Alerts that fire, by the keys of the groups that are looked at: those that belong there, and those that were told of
    /// there, also if routes are others by now.
    fn members(&self, due: &[(String, Arc<GroupState>)]) -> HashMap<String, Vec<Member>> {
        let mut members: HashMap<String, Vec<Member>> = due
            .iter()
            .map(|(key, _)| (key.clone(), Vec::new()))
            .collect();
        let mut told: HashMap<OccurrenceNo, Vec<&str>> = HashMap::new();
        for (key, group) in due {
            for no in &group.told_firing {
                told.entry(*no).or_default().push(key);
            }
        }
        let (routing, book) = (&self.settings.routing, &self.catalog.book);
        let inhibitors = routing.inhibitors(book);
        for alert in book.all_open() {
            if alert.fired_at.is_none() {
                continue;
            }
            let routes = routing.routes_of(&alert.labels);
            let mut keys: Vec<String> = routes
                .iter()
                .map(|route| route.group_key(&alert.labels))
                .collect();
            let before = told.remove(&alert.occurrence).unwrap_or_default();
            keys.extend(before.into_iter().map(str::to_owned));
            keys.sort();
            keys.dedup();
            let mut muted_by = None;
            for key in keys {
                if let Some(group) = members.get_mut(&key) {
                    let muted_by = muted_by.get_or_insert_with(|| {
                        routing.muted_by(&alert, &inhibitors, book, self.commit_time())
                    });
                    group.push(Member {
                        alert: Arc::clone(&alert),
                        muted_by: muted_by.clone(),
                    });
                }
            }
        }
        members
    }

    /// Puts alerts that fire into the groups of the routes as they are now. Returns how many came into new ones.
    pub(super) fn regroup(&mut self) -> usize {
        let routing = Arc::clone(&self.settings.routing);
        let mut regrouped = 0;
        for alert in self.catalog.book.all_open() {
            let lacks = |route: &&Route| {
                let key = route.group_key(&alert.labels);
                !self.catalog.book.groups.contains_key(&key)
            };
            let is_firing = alert.fired_at.is_some();
            if is_firing && routing.routes_of(&alert.labels).iter().any(lacks) {
                self.make_due(&alert);
                regrouped += 1;
            }
        }
        regrouped
    }

    fn look_at(&mut self, key: &str, group: &GroupState, firing: &[Member], queues: &mut Queues) {
        let routing = Arc::clone(&self.settings.routing);
        let Some(route) = routing.route(&group.route) else {
            // The configuration has no such route any more; its alerts found another when the server started.
            self.put_group(key.to_owned(), None);
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
        self.tell(route, &flush, queues);
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

    fn tell(&mut self, route: &Route, flush: &Flush, queues: &mut Queues) {
        let higher: Vec<&String> = route.escalation.iter().flat_map(|e| &e.channels).collect();
        let mut channels: Vec<&String> = route.channels.iter().collect();
        if flush.tells_escalated {
            channels.extend(&higher);
        }
        for (channels, told) in [
            (channels, &flush.notifications),
            (higher, &flush.escalations),
        ] {
            let mut seen = HashSet::new();
            for channel in channels.into_iter().filter(|channel| seen.insert(*channel)) {
                for notification in told {
                    self.put_delivery(channel, notification, queues);
                }
            }
        }
    }

    fn put_delivery(&mut self, channel: &str, notification: &Notification, queues: &mut Queues) {
        let routing = &self.settings.routing;
        let wants_resolved = !routing.without_resolved.iter().any(|name| name == channel);
        let mut notification = notification.clone();
        if !wants_resolved {
            notification
                .alerts
                .retain(|alert| alert.resolved_at.is_none());
        }
        if notification.alerts.is_empty() {
            return;
        }
        self.make_room(channel, queues);
        let now = self.commit_time();
        let catalog = Arc::make_mut(&mut self.catalog);
        let sequence = catalog.next_delivery;
        catalog.next_delivery += 1;
        self.note_delivery(&notification, AlertEventKind::Queued, channel);
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
        queues.entry(channel.to_owned()).or_default().waiting += 1;
    }

    /// Notes what became of a notification in the history of each alert that it tells of.
    fn note_delivery(&mut self, notification: &Notification, kind: AlertEventKind, reason: &str) {
        for told in &notification.alerts {
            if let Some(alert) = self.catalog.alert(told.occurrence).cloned() {
                self.note_event(&alert, kind, reason.to_owned(), String::new());
            }
        }
    }

    /// Of a channel that has failed for so long that its deliveries pile up, the oldest is given up.
    fn make_room(&mut self, channel: &str, queues: &mut Queues) {
        let queue = queues.entry(channel.to_owned()).or_default();
        if queue.waiting < WAITING_MAX {
            return;
        }
        let outbox = &self.catalog.book.outbox;
        let oldest = outbox
            .values()
            .find(|delivery| delivery.channel == channel && !delivery.is_dead())
            .cloned();
        let Some(oldest) = oldest else { return };
        queue.waiting -= 1;
        tracing::error!(
            channel,
            delivery = oldest.sequence,
            "too many notifications wait for a channel: the oldest is given up"
        );
        let why = format!("more than {WAITING_MAX} notifications wait for the channel");
        let outcome = DeliveryOutcome::Refused { error: why };
        self.settle(oldest.sequence, &outcome, None);
    }

    /// Lets go of what was given up long ago, and of the oldest of it beyond a number.
    fn forget_dead_letters(&mut self) {
        let before = self.commit_time().plus_millis(-DEAD_LETTERS_MS);
        let dead: Vec<&Arc<Delivery>> = self
            .catalog
            .book
            .outbox
            .values()
            .filter(|delivery| delivery.is_dead())
            .collect();
        let too_many = dead.len().saturating_sub(DEAD_LETTERS_MAX);
        let gone: Vec<u64> = dead
            .iter()
            .enumerate()
            .filter(|(place, delivery)| *place < too_many || delivery.created_at < before)
            .map(|(_, delivery)| delivery.sequence)
            .collect();
        gone.into_iter()
            .for_each(|sequence| self.take_from_outbox(sequence));
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
        let reason = if error.is_empty() {
            delivery.channel.clone()
        } else {
            format!("{}: {error}", delivery.channel)
        };
        // An outage of a day must not fill every alert's history.
        let is_worth_telling = kind != AlertEventKind::DeliveryFailed
            || delivery.attempts < ATTEMPTS_TOLD
            || delivery.attempts.is_multiple_of(ATTEMPTS_TOLD);
        if is_worth_telling {
            self.note_delivery(&delivery.notification, kind, &reason);
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
            if kind == AlertEventKind::DeliveryGivenUp {
                self.forget_dead_letters();
            }
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
