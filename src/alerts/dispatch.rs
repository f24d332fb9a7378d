//! When a group of alerts is told, and of what: Alertmanager's dispatcher and deduplication, as a function.

use std::{collections::HashSet, sync::Arc};

use super::{routing::Route, template::shown_number};
use crate::model::{
    Alert, GroupState, LabelPairs, Notification, NotifiedAlert, OccurrenceNo, Timestamp,
};

/// Alerts that one notification names; more take several.
const ALERTS_MAX: usize = 200;

/// An alert of a group that fires.
#[derive(Clone, Debug)]
pub struct Member {
    /// The alert.
    pub alert: Arc<Alert>,
    /// What keeps it from being told, if anything does.
    pub muted_by: Option<String>,
}

/// What a look at a group leads to.
#[derive(Clone, Debug, Default)]
pub struct Flush {
    /// The group from now on; `None` when nothing is left of it.
    pub state: Option<GroupState>,
    /// What is to be told to the route's channels.
    pub notifications: Vec<Notification>,
    /// What is to be told to those of the escalation.
    pub escalations: Vec<Notification>,
    /// Alerts that were told of before and resolved, of which the escalation's channels knew.
    pub tells_escalated: bool,
    /// Alerts that are muted from now on, and why.
    pub muted: Vec<(Arc<Alert>, String)>,
    /// Alerts that are no longer muted.
    pub unmuted: Vec<Arc<Alert>>,
    /// Alerts that were escalated.
    pub escalated: Vec<Arc<Alert>>,
}

/// When a group is to be looked at after one of its alerts fired or resolved at `at`.
pub fn next_look(state: Option<&GroupState>, route: &Route, at: Timestamp) -> Timestamp {
    match state.and_then(|state| state.last_flush.map(|last| (state, last))) {
        Some((_, last)) => last.plus_millis(route.group_interval_ms).max(at),
        None => state
            .and_then(|state| state.next_flush)
            .unwrap_or_else(|| at.plus_millis(route.group_wait_ms)),
    }
}

/// Looks at a group: decides what is told now and when it is looked at next.
///
/// `firing` are its alerts that fire, `resolved` those that were told as firing and resolved since. Told is, as in
/// Alertmanager's `DedupStage.needsUpdate`: the first that fires, whatever fires anew, what resolved, and the same
/// again after the repeat interval unless somebody acknowledged all of it.
pub fn flush(
    key: &str,
    state: &GroupState,
    route: &Route,
    firing: &[Member],
    resolved: &[Arc<Alert>],
    at: Timestamp,
) -> Flush {
    let mut flush = Flush::default();
    note_mutes(&mut flush, state, firing);
    let told: HashSet<OccurrenceNo> = state.told_firing.iter().copied().collect();
    let audible: Vec<&Arc<Alert>> = firing
        .iter()
        .filter(|member| member.muted_by.is_none())
        .map(|member| &member.alert)
        .collect();
    let resolved = without_successors(resolved, &audible);
    let is_repeat_due = state
        .last_sent
        .is_none_or(|sent| at.since(sent) >= route.repeat_interval_ms);
    let wants_repeat = audible.iter().any(|alert| alert.acknowledged.is_none());
    let tells = audible
        .iter()
        .any(|alert| !told.contains(&alert.occurrence))
        || !resolved.is_empty()
        || (is_repeat_due && wants_repeat);
    let mut next = state.clone();
    next.last_flush = Some(at);
    if tells && !(audible.is_empty() && resolved.is_empty()) {
        flush.notifications = notifications(key, &state.labels, &audible, &resolved, false);
        flush.tells_escalated = resolved
            .iter()
            .any(|alert| state.escalated.contains(&alert.occurrence));
        next.last_sent = Some(at);
    }
    let fires: HashSet<OccurrenceNo> = firing.iter().map(|m| m.alert.occurrence).collect();
    next.told_firing.retain(|no| fires.contains(no));
    let new = audible.iter().map(|alert| alert.occurrence);
    next.told_firing.extend(new.filter(|no| !told.contains(no)));
    next.muted = firing
        .iter()
        .filter(|member| member.muted_by.is_some())
        .map(|member| member.alert.occurrence)
        .collect();
    next.escalated.retain(|no| fires.contains(no));
    escalate(&mut flush, &mut next, key, route, &audible, at);
    if firing.is_empty() {
        return flush;
    }
    next.next_flush = Some(next_flush(&next, route, &audible, wants_repeat, at));
    flush.state = Some(next);
    flush
}

/// What resolved, without those that fire again: a receiver knows an alert by its labels, and would close what has just
/// been opened.
fn without_successors<'a>(
    resolved: &'a [Arc<Alert>],
    audible: &[&Arc<Alert>],
) -> Vec<&'a Arc<Alert>> {
    let firing: HashSet<&LabelPairs> = audible.iter().map(|alert| &alert.labels).collect();
    let is_over = |alert: &&Arc<Alert>| !firing.contains(&alert.labels);
    resolved.iter().filter(is_over).collect()
}

fn note_mutes(flush: &mut Flush, state: &GroupState, firing: &[Member]) {
    for member in firing {
        let was_muted = state.muted.contains(&member.alert.occurrence);
        match (&member.muted_by, was_muted) {
            (Some(why), false) => flush.muted.push((Arc::clone(&member.alert), why.clone())),
            (None, true) => flush.unmuted.push(Arc::clone(&member.alert)),
            _ => {}
        }
    }
}

/// When an alert is escalated; `None` when it was, or need not be.
fn escalation_due(route: &Route, state: &GroupState, alert: &Alert) -> Option<Timestamp> {
    let escalation = route.escalation.as_ref()?;
    if alert.acknowledged.is_some() || state.escalated.contains(&alert.occurrence) {
        return None;
    }
    // Another system's alert may have fired long before it came.
    let known_since = alert.fired_at?.max(alert.active_at);
    Some(known_since.plus_millis(escalation.after_ms))
}

fn escalate(
    flush: &mut Flush,
    next: &mut GroupState,
    key: &str,
    route: &Route,
    audible: &[&Arc<Alert>],
    at: Timestamp,
) {
    let due: Vec<&Arc<Alert>> = audible
        .iter()
        .filter(|alert| escalation_due(route, next, alert).is_some_and(|due| due <= at))
        .copied()
        .collect();
    if due.is_empty() {
        return;
    }
    flush.escalations = notifications(key, &next.labels, &due, &[], true);
    for alert in due {
        next.escalated.push(alert.occurrence);
        flush.escalated.push(Arc::clone(alert));
    }
}

/// The earliest moment at which time alone leads to something to tell. Alerts that fire or resolve bring it forward.
fn next_flush(
    state: &GroupState,
    route: &Route,
    audible: &[&Arc<Alert>],
    wants_repeat: bool,
    at: Timestamp,
) -> Timestamp {
    let tick = at.plus_millis(route.group_interval_ms);
    // What mutes may end at any time.
    let unmuting = (!state.muted.is_empty()).then_some(tick);
    let repeat = state
        .last_sent
        .filter(|_| wants_repeat)
        .map(|sent| sent.plus_millis(route.repeat_interval_ms).max(tick));
    let escalation = audible
        .iter()
        .filter_map(|alert| escalation_due(route, state, alert))
        .min();
    let times = [unmuting, repeat, escalation];
    let earliest = times.into_iter().flatten().min();
    // An acknowledged group without anything to come: looked at now and then all the same.
    earliest.unwrap_or_else(|| at.plus_millis(route.repeat_interval_ms))
}

/// Tells of all of them, in as many notifications as it takes.
fn notifications(
    key: &str,
    labels: &LabelPairs,
    firing: &[&Arc<Alert>],
    resolved: &[&Arc<Alert>],
    is_escalation: bool,
) -> Vec<Notification> {
    let all: Vec<&Arc<Alert>> = firing.iter().chain(resolved).copied().collect();
    let of_some = |alerts: &[&Arc<Alert>]| Notification {
        group_key: key.to_owned(),
        group_labels: labels.clone(),
        alerts: alerts.iter().map(|alert| notified(alert)).collect(),
        truncated: 0,
        is_escalation,
    };
    all.chunks(ALERTS_MAX).map(of_some).collect()
}

fn notified(alert: &Alert) -> NotifiedAlert {
    NotifiedAlert {
        occurrence: alert.occurrence,
        alert_id: alert.alert_id.clone(),
        severity: alert.severity,
        description: alert.description.clone(),
        labels: alert.labels.clone(),
        annotations: alert.annotations.clone(),
        fired_at: alert.fired_at.unwrap_or(alert.active_at),
        resolved_at: alert.resolved_at,
        value: alert.value.map(shown_number),
        fingerprint: fingerprint(&alert.labels),
    }
}

/// Hash of a set of labels as Prometheus makes it (`model.LabelSet.Fingerprint`): FNV-1a over names and values, each
/// followed by the byte 255; 16 hexadecimal digits.
pub fn fingerprint(labels: &[(String, String)]) -> String {
    const OFFSET: u64 = 14_695_981_039_346_656_037;
    const PRIME: u64 = 1_099_511_628_211;
    let bytes = labels
        .iter()
        .flat_map(|(name, value)| [name, value])
        .flat_map(|text| text.bytes().chain([255]));
    let hash = bytes.fold(OFFSET, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(PRIME)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        alerts::Escalation,
        model::{Acknowledgement, AgentNo, Severity},
    };

    const S: i64 = 1_000;
    const M: i64 = 60 * S;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn fired(no: u64, ms: i64) -> Arc<Alert> {
        let (occurrence, id) = (OccurrenceNo(no), format!("r:{no}"));
        Arc::new(Alert {
            labels: vec![("n".to_owned(), no.to_string())],
            ..Alert::fired(occurrence, AgentNo(1), id, "r", Severity::Info, at(ms))
        })
    }

    fn resolved(alert: &Arc<Alert>, ms: i64) -> Arc<Alert> {
        Arc::new(Alert {
            resolved_at: Some(at(ms)),
            ..Alert::clone(alert)
        })
    }

    fn acknowledged(alert: &Arc<Alert>) -> Arc<Alert> {
        let ack = Acknowledgement {
            by: "me".into(),
            comment: String::new(),
            at: at(0),
        };
        Arc::new(Alert {
            acknowledged: Some(ack),
            ..Alert::clone(alert)
        })
    }

    fn audible(alerts: &[&Arc<Alert>]) -> Vec<Member> {
        let member = |alert: &&Arc<Alert>| Member {
            alert: Arc::clone(alert),
            muted_by: None,
        };
        alerts.iter().map(member).collect()
    }

    fn told(flush: &Flush) -> Vec<(u64, bool)> {
        let alerts = flush.notifications.iter().flat_map(|n| &n.alerts);
        alerts
            .map(|a| (a.occurrence.0, a.resolved_at.is_none()))
            .collect()
    }

    fn look(state: &GroupState, firing: &[Member], over: &[Arc<Alert>], ms: i64) -> Flush {
        flush("k", state, &Route::default_to(vec![]), firing, over, at(ms))
    }

    #[test]
    fn a_group_is_told_of_what_is_new_then_of_what_resolved_and_goes() {
        let route = Route::default_to(vec![]);
        let (a, b) = (fired(1, 0), fired(2, 30 * S));
        assert_eq!(next_look(None, &route, at(0)), at(5 * S));
        let first = look(&GroupState::default(), &audible(&[&a]), &[], 5 * S);
        assert_eq!(told(&first), [(1, true)]);
        let state = first.state.unwrap();
        // Alone, it is told again after the repeat interval.
        assert_eq!(state.next_flush, Some(at(5 * S + 240 * M)));
        // Another one brings the look forward, but not before the interval.
        assert_eq!(
            next_look(Some(&state), &route, at(30 * S)),
            at(5 * S + 5 * M)
        );
        let second = look(&state, &audible(&[&a, &b]), &[], 5 * S + 5 * M);
        assert_eq!(told(&second), [(1, true), (2, true)]);
        let state = second.state.unwrap();
        // Nothing new: nothing to tell.
        let idle = look(&state, &audible(&[&a, &b]), &[], 10 * M);
        assert_eq!(told(&idle), []);
        let one = look(&state, &audible(&[&b]), &[resolved(&a, 11 * M)], 15 * M);
        assert_eq!(told(&one), [(2, true), (1, false)]);
        let last = look(&one.state.unwrap(), &[], &[resolved(&b, 16 * M)], 20 * M);
        assert_eq!(told(&last), [(2, false)]);
        assert!(last.state.is_none());
    }

    #[test]
    fn what_resolved_before_it_was_told_is_not_told() {
        let flush = look(&GroupState::default(), &[], &[], 5 * S);
        assert!(flush.notifications.is_empty() && flush.state.is_none());
    }

    #[test]
    fn what_fires_is_told_again_until_somebody_acknowledges_it() {
        let a = fired(1, 0);
        let state = look(&GroupState::default(), &audible(&[&a]), &[], 0)
            .state
            .unwrap();
        let again = 4 * 60 * M;
        assert_eq!(told(&look(&state, &audible(&[&a]), &[], again - 1)), []);
        assert_eq!(
            told(&look(&state, &audible(&[&a]), &[], again)),
            [(1, true)]
        );
        let acked = acknowledged(&a);
        assert_eq!(told(&look(&state, &audible(&[&acked]), &[], again)), []);
        let over = look(&state, &[], &[resolved(&acked, again)], again);
        assert_eq!(told(&over), [(1, false)]);
    }

    #[test]
    fn a_muted_alert_is_told_when_it_is_muted_no_more() {
        let a = fired(1, 0);
        let muted = [Member {
            alert: Arc::clone(&a),
            muted_by: Some("silence x".into()),
        }];
        let first = look(&GroupState::default(), &muted, &[], 5 * S);
        assert!(first.notifications.is_empty());
        assert_eq!(first.muted.len(), 1);
        let state = first.state.unwrap();
        assert_eq!(state.next_flush, Some(at(5 * S + 5 * M)));
        let still = look(&state, &muted, &[], 10 * M);
        assert_eq!((still.muted.len(), still.unmuted.len()), (0, 0));
        let later = look(&state, &audible(&[&a]), &[], 10 * M);
        assert_eq!((told(&later), later.unmuted.len()), (vec![(1, true)], 1));
        // One that resolves while muted was never told, so that its end is not either.
        let gone = look(&state, &[], &[], 10 * M);
        assert!(gone.notifications.is_empty() && gone.state.is_none());
    }

    #[test]
    fn nobody_acknowledges_so_the_next_in_line_is_told_once() {
        let mut route = Route::default_to(vec![]);
        route.escalation = Some(Escalation {
            after_ms: 15 * M,
            channels: vec!["boss".into()],
        });
        let a = fired(1, 0);
        let first = flush(
            "k",
            &GroupState::default(),
            &route,
            &audible(&[&a]),
            &[],
            at(5 * S),
        );
        assert!(first.escalations.is_empty());
        let state = first.state.unwrap();
        assert_eq!(state.next_flush, Some(at(15 * M)));
        let acked = acknowledged(&a);
        let calm = flush("k", &state, &route, &audible(&[&acked]), &[], at(15 * M));
        assert!(calm.escalations.is_empty());
        let second = flush("k", &state, &route, &audible(&[&a]), &[], at(15 * M));
        assert!(second.notifications.is_empty());
        assert!(second.escalations[0].is_escalation);
        let state = second.state.unwrap();
        let third = flush("k", &state, &route, &audible(&[&a]), &[], at(20 * M));
        assert!(third.escalations.is_empty());
        let over = flush(
            "k",
            &state,
            &route,
            &[],
            &[resolved(&a, 21 * M)],
            at(25 * M),
        );
        assert!(over.tells_escalated);
    }

    #[test]
    fn a_large_group_is_told_whole() {
        let alerts: Vec<Arc<Alert>> = (0..450).map(|no| fired(no, 0)).collect();
        let all: Vec<&Arc<Alert>> = alerts.iter().collect();
        let first = look(&GroupState::default(), &audible(&all), &[], 0);
        assert_eq!((first.notifications.len(), told(&first).len()), (3, 450));
        let state = first.state.unwrap();
        let over: Vec<Arc<Alert>> = alerts.iter().map(|a| resolved(a, M)).collect();
        assert_eq!(told(&look(&state, &[], &over, 5 * M)).len(), 450);
    }

    #[test]
    fn an_alert_that_fires_again_is_not_told_as_over() {
        let a = fired(1, 0);
        let state = look(&GroupState::default(), &audible(&[&a]), &[], 0)
            .state
            .unwrap();
        let other = fired(2, 2 * M);
        let third = look(&state, &audible(&[&other]), &[resolved(&a, M)], 5 * M);
        assert_eq!(told(&third), [(2, true), (1, false)]);
        let again = Arc::new(Alert {
            labels: a.labels.clone(),
            ..Alert::clone(&other)
        });
        let second = look(&state, &audible(&[&again]), &[resolved(&a, M)], 5 * M);
        assert_eq!(told(&second), [(2, true)]);
    }

    #[test]
    fn fingerprints_are_those_of_prometheus() {
        // An empty set is the offset basis, `model.LabelSet{}.Fingerprint()`; `a=1` was worked out by hand.
        assert_eq!(fingerprint(&[]), "cbf29ce484222325");
        let labels = [("a".to_owned(), "1".to_owned())];
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in [b'a', 255, b'1', 255] {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        assert_eq!(fingerprint(&labels), format!("{hash:016x}"));
    }
}
