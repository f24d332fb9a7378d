//! How many notifications episodes would have led to: the groups of `alerts` on a simulated clock.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::backtest::Episode;
use crate::{
    alerts::{self, Member, Routing},
    model::{
        AgentNo, Alert, AlertBook, GroupState, OccurrenceNo, Rule, Silence, Timestamp, Window,
    },
};

/// Counts what would have been told until the end of the window. Nobody acknowledges anything in a replay.
pub(super) fn notifications(
    rule: &Rule,
    episodes: &[Episode],
    window: Window,
    routing: &Routing,
    silences: &Arc<BTreeMap<String, Arc<Silence>>>,
) -> usize {
    let alerts: Vec<Alert> = episodes
        .iter()
        .enumerate()
        .filter(|(_, episode)| episode.firing_at.is_some())
        .map(|(no, episode)| Alert {
            labels: episode.labels.clone(),
            fired_at: episode.firing_at,
            resolved_at: episode.resolved_at,
            ..Alert::fired(
                OccurrenceNo(no as u64),
                AgentNo::NONE,
                "",
                rule.name.clone(),
                rule.severity,
                episode.pending_at,
            )
        })
        .collect();
    let book = AlertBook {
        silences: Arc::clone(silences),
        ..AlertBook::default()
    };
    let mut groups: HashMap<String, Vec<&Alert>> = HashMap::new();
    let mut routes = HashMap::new();
    for alert in &alerts {
        for route in routing.routes_of(&alert.labels) {
            let key = route.group_key(&alert.labels);
            groups.entry(key.clone()).or_default().push(alert);
            routes.insert(key, route);
        }
    }
    let count = |(key, members): (&String, &Vec<&Alert>)| {
        let route = routes[key];
        of_group(key, members, window.to, routing, route, &book)
    };
    groups.iter().map(count).sum()
}

fn of_group(
    key: &str,
    members: &[&Alert],
    end: Timestamp,
    routing: &Routing,
    route: &alerts::Route,
    book: &AlertBook,
) -> usize {
    let mut changes: Vec<Timestamp> = members
        .iter()
        .flat_map(|alert| [alert.fired_at, alert.resolved_at])
        .flatten()
        .collect();
    changes.sort_unstable();
    let mut changes = changes.into_iter().peekable();
    let mut told = 0;
    let mut group: Option<GroupState> = None;
    loop {
        let due = group.as_ref().and_then(|group| group.next_flush);
        match (changes.peek().copied(), due) {
            (Some(change), due) if due.is_none_or(|due| change <= due) => {
                changes.next();
                let fires = members.iter().any(|a| a.fired_at == Some(change));
                if group.is_none() && !fires {
                    continue;
                }
                let look = alerts::next_look(group.as_ref(), route, change);
                let state = group.get_or_insert_with(GroupState::default);
                state.next_flush = Some(state.next_flush.map_or(look, |next| next.min(look)));
            }
            (_, Some(due)) if due <= end => {
                let state = group.take().unwrap_or_default();
                let flush = look(key, &state, members, due, routing, route, book);
                told += flush.notifications.len() + flush.escalations.len();
                group = flush.state;
            }
            _ => return told,
        }
    }
}

fn look(
    key: &str,
    state: &GroupState,
    members: &[&Alert],
    at: Timestamp,
    routing: &Routing,
    route: &alerts::Route,
    book: &AlertBook,
) -> alerts::Flush {
    let firing: Vec<Member> = members
        .iter()
        .filter(|alert| alert.is_firing_at(at))
        .map(|alert| {
            let alert = Arc::new(alert.as_of(at));
            Member {
                muted_by: routing.muted_by(&alert, &[], book, at),
                alert,
            }
        })
        .collect();
    let resolved: Vec<Arc<Alert>> = members
        .iter()
        .filter(|a| {
            state.told_firing.contains(&a.occurrence) && a.resolved_at.is_some_and(|end| end <= at)
        })
        .map(|alert| Arc::new(Alert::clone(alert)))
        .collect();
    alerts::flush(key, state, route, &firing, &resolved, at)
}
