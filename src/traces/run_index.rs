//! Which traces are one run, as they come: by the sessions they name and the spans they link to.

use std::collections::{BTreeSet, VecDeque};

use hashbrown::{HashMap, HashSet};

use super::SESSION_KEYS;
use crate::model::{Span, TraceId};

/// Traces that are known; the oldest are forgotten.
const TRACES_MAX: usize = 20_000;
/// Sessions and links of one trace that count.
const TIES_MAX: usize = 64;

/// What ties a trace to others.
#[derive(Debug, Default)]
struct Ties {
    start_ns: i64,
    sessions: BTreeSet<String>,
    /// Traces that it links to, and those that link to it.
    linked: BTreeSet<TraceId>,
}

/// Traces that came lately, and what ties them together. Room is bounded.
#[derive(Debug, Default)]
pub struct RunIndex {
    traces: HashMap<TraceId, Ties>,
    by_session: HashMap<String, BTreeSet<TraceId>>,
    order: VecDeque<TraceId>,
}

impl RunIndex {
    /// Takes in the spans of a trace; all must be of one. What is known of it already stays.
    pub fn note(&mut self, spans: &[Span]) {
        let Some(first) = spans.first() else { return };
        let id = first.trace_id;
        let mut sessions: BTreeSet<String> = BTreeSet::new();
        let mut linked: BTreeSet<TraceId> = BTreeSet::new();
        for span in spans {
            let named = SESSION_KEYS.iter().filter_map(|key| span.attribute(key));
            sessions.extend(
                named
                    .map(ToString::to_string)
                    .filter(|text| !text.is_empty()),
            );
            linked.extend(span.links.iter().map(|link| link.trace_id));
            while sessions.len() > TIES_MAX {
                sessions.pop_last();
            }
            while linked.len() > TIES_MAX {
                linked.pop_last();
            }
        }
        linked.remove(&id);
        for other in &linked {
            let ties = self.ties(*other);
            if ties.linked.len() < TIES_MAX {
                ties.linked.insert(id);
            }
        }
        for session in &sessions {
            self.by_session
                .entry_ref(session.as_str())
                .or_default()
                .insert(id);
        }
        let start_ns = spans.iter().map(|span| span.start_ns).min();
        let ties = self.ties(id);
        ties.start_ns = start_ns.unwrap_or(first.start_ns);
        ties.sessions.extend(sessions);
        ties.linked.extend(linked);
        while self.order.len() > TRACES_MAX {
            self.forget_oldest();
        }
    }

    fn ties(&mut self, id: TraceId) -> &mut Ties {
        if !self.traces.contains_key(&id) {
            self.order.push_back(id);
        }
        self.traces.entry(id).or_insert_with(|| Ties {
            start_ns: i64::MAX,
            ..Ties::default()
        })
    }

    fn forget_oldest(&mut self) {
        let Some(id) = self.order.pop_front() else {
            return;
        };
        let ties = self.traces.remove(&id).unwrap_or_default();
        for session in ties.sessions {
            let of_session = self.by_session.get_mut(&session);
            if of_session.is_some_and(|traces| traces.remove(&id) && traces.is_empty()) {
                self.by_session.remove(&session);
            }
        }
    }

    /// The run that a trace belongs to: its name and its traces by start, the latest `limit` of those that are tied to it.
    /// The name is that of a session, else the id of the first trace.
    pub fn run_of(&self, id: TraceId, limit: usize) -> (String, Vec<TraceId>) {
        let mut found: Vec<(i64, TraceId)> = Vec::new();
        let mut sessions: BTreeSet<&str> = BTreeSet::new();
        let mut seen: HashSet<TraceId> = HashSet::from_iter([id]);
        let mut ahead = VecDeque::from([id]);
        // Of a session with very many traces some are left out.
        let most = limit.saturating_mul(4);
        while let Some(at) = ahead.pop_front().filter(|_| found.len() < most) {
            let Some(ties) = self.traces.get(&at) else {
                found.push((i64::MAX, at));
                continue;
            };
            found.push((ties.start_ns, at));
            let mut others: Vec<TraceId> = ties.linked.iter().copied().collect();
            for session in &ties.sessions {
                if sessions.insert(session) {
                    let of_session = self.by_session.get(session).into_iter().flatten();
                    others.extend(of_session.take(most));
                }
            }
            ahead.extend(others.into_iter().filter(|other| seen.insert(*other)));
        }
        found.sort_unstable();
        let first = found.first().map_or(id, |(_, first)| *first);
        let name = sessions
            .first()
            .map_or_else(|| first.to_string(), |name| (*name).to_owned());
        // The trace that was asked for is always there.
        let latest = found.len().saturating_sub(limit.max(1));
        let mut traces: Vec<TraceId> = found[latest..].iter().map(|(_, trace)| *trace).collect();
        if !traces.contains(&id) {
            traces[0] = id;
        }
        (name, traces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{AttributeValue, SpanLink},
        traces::samples::{id, span},
    };

    fn trace(no: u128, from: i64, link: u128, session: &str) -> Vec<Span> {
        let mut span = span(1, 0, "a:b", from, from + 10);
        span.trace_id = TraceId::new(no).unwrap();
        span.links
            .extend(TraceId::new(link).map(|trace_id| SpanLink {
                trace_id,
                span_id: id(1),
                ..SpanLink::default()
            }));
        if !session.is_empty() {
            let value = AttributeValue::Text(session.into());
            span.attributes.set("session.id", value);
        }
        vec![span]
    }

    fn run(index: &RunIndex, no: u128, limit: usize) -> (String, Vec<u128>) {
        let (name, traces) = index.run_of(TraceId::new(no).unwrap(), limit);
        (name, traces.iter().map(|id| id.as_u128()).collect())
    }

    #[test]
    fn a_run_grows_and_keeps_its_name() {
        let mut index = RunIndex::default();
        index.note(&trace(5, 0, 0, ""));
        let name = TraceId::new(5).unwrap().to_string();
        assert_eq!(run(&index, 5, 9), (name.clone(), vec![5]));
        index.note(&trace(2, 10, 5, ""));
        index.note(&trace(3, 20, 2, ""));
        for no in [2, 3, 5] {
            assert_eq!(run(&index, no, 9), (name.clone(), vec![5, 2, 3]));
        }
        assert_eq!(run(&index, 5, 2).1, [5, 3]);
        index.note(&trace(7, 30, 0, "x"));
        index.note(&trace(8, 40, 0, "x"));
        assert_eq!(run(&index, 7, 9), ("x".to_owned(), vec![7, 8]));
        assert_eq!(run(&index, 99, 9).1, [99]);
    }

    #[test]
    fn room_is_bounded() {
        let mut index = RunIndex::default();
        for no in 1..=TRACES_MAX as u128 + 10 {
            index.note(&trace(no, no as i64, 0, &format!("s{}", no % 7)));
        }
        assert_eq!(index.traces.len(), TRACES_MAX);
        assert_eq!(
            index.by_session.values().map(BTreeSet::len).sum::<usize>(),
            TRACES_MAX
        );
        assert_eq!(run(&index, TRACES_MAX as u128, 50).1.len(), 50);
    }
}
