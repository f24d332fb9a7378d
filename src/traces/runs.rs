//! Runs: traces that belong together by links or by the session they name.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use super::groups::Groups;
use crate::model::{AgentId, Span, TraceId};

/// Attributes that name a session, which may have several traces.
pub const SESSION_KEYS: [&str; 4] = [
    "gen_ai.conversation.id",
    "session.id",
    "langfuse.session.id",
    "traceloop.association.properties.session_id",
];

/// Traces that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its traces, by start.
    pub traces: Vec<TraceId>,
    /// Sessions that it names.
    pub sessions: BTreeSet<String>,
    /// Agents at work.
    pub agents: BTreeSet<AgentId>,
    /// Spans.
    pub spans: usize,
    /// Links between its traces.
    pub links: usize,
    /// First start, nanoseconds since the epoch.
    pub start_ns: i64,
    /// Last start or end, nanoseconds since the epoch.
    pub end_ns: i64,
}

/// What is kept of each trace.
struct Part {
    trace_id: TraceId,
    run: Run,
}

/// Joins traces to runs, as they come.
#[derive(Default)]
pub struct Runs {
    session_keys: Vec<String>,
    parts: Vec<Part>,
    /// Pairs of a trace and one that it links to.
    links: Vec<(usize, TraceId)>,
}

impl Runs {
    /// By these attributes of spans, scopes and resources, and by links; [`SESSION_KEYS`] are the usual ones.
    pub fn new(session_keys: &[&str]) -> Self {
        Self {
            session_keys: session_keys.iter().map(|key| (*key).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// Adds the spans of a trace; all must be of one. Nothing of none.
    pub fn add(&mut self, spans: &[Span]) {
        let Some(first) = spans.first() else { return };
        let no = self.parts.len();
        let mut run = Run {
            traces: vec![first.trace_id],
            sessions: BTreeSet::new(),
            agents: BTreeSet::new(),
            spans: spans.len(),
            links: 0,
            start_ns: i64::MAX,
            end_ns: i64::MIN,
        };
        for span in spans {
            run.start_ns = run.start_ns.min(span.start_ns);
            run.end_ns = run
                .end_ns
                .max(span.end_ns.unwrap_or(span.start_ns))
                .max(span.start_ns);
            if !run.agents.contains(&span.agent) {
                run.agents.insert(span.agent.clone());
            }
            for key in &self.session_keys {
                let session = span.attribute(key).map(ToString::to_string);
                run.sessions
                    .extend(session.filter(|session| !session.is_empty()));
            }
            let others = span
                .links
                .iter()
                .filter(|link| link.trace_id != first.trace_id);
            self.links.extend(others.map(|link| (no, link.trace_id)));
        }
        self.parts.push(Part {
            trace_id: first.trace_id,
            run,
        });
    }

    /// The runs, by start. Links to traces that were not added join nothing.
    pub fn finish(self) -> Vec<Run> {
        let mut groups = Groups::new(self.parts.len());
        let mut by_trace: HashMap<TraceId, usize> = HashMap::new();
        let mut by_session: HashMap<String, usize> = HashMap::new();
        for (no, part) in self.parts.iter().enumerate() {
            groups.join(*by_trace.entry(part.trace_id).or_insert(no), no);
            for session in &part.run.sessions {
                groups.join(*by_session.entry(session.clone()).or_insert(no), no);
            }
        }
        let mut links = vec![0; self.parts.len()];
        for (no, to) in self.links {
            if let Some(to) = by_trace.get(&to) {
                groups.join(no, *to);
                links[no] += 1;
            }
        }
        let mut parts: Vec<(usize, Run)> = Vec::new();
        for (no, mut part) in self.parts.into_iter().enumerate() {
            part.run.links = links[no];
            parts.push((groups.of(no), part.run));
        }
        parts.sort_by_key(|(_, run)| (run.start_ns, run.traces.first().copied()));
        let mut joined: BTreeMap<usize, Run> = BTreeMap::new();
        for (group, part) in parts {
            match joined.entry(group) {
                std::collections::btree_map::Entry::Vacant(empty) => {
                    empty.insert(part);
                }
                std::collections::btree_map::Entry::Occupied(mut run) => run.get_mut().take(part),
            }
        }
        let mut runs: Vec<Run> = joined.into_values().collect();
        runs.sort_by_key(|run| (run.start_ns, run.traces.first().copied()));
        runs
    }
}

impl Run {
    /// Takes in a trace that began later.
    fn take(&mut self, later: Self) {
        let is_new = |trace: &TraceId| self.traces.last() != Some(trace);
        let traces: Vec<TraceId> = later.traces.into_iter().filter(is_new).collect();
        self.traces.extend(traces);
        self.sessions.extend(later.sessions);
        self.agents.extend(later.agents);
        self.spans += later.spans;
        self.links += later.links;
        self.start_ns = self.start_ns.min(later.start_ns);
        self.end_ns = self.end_ns.max(later.end_ns);
    }
}

/// Traces joined to runs by links and [`SESSION_KEYS`], by start.
pub fn runs<'a>(traces: impl IntoIterator<Item = &'a [Span]>) -> Vec<Run> {
    let mut runs = Runs::new(&SESSION_KEYS);
    for trace in traces {
        runs.add(trace);
    }
    runs.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{AttributeValue, SpanLink},
        traces::samples::{id, span},
    };

    #[test]
    fn links_and_sessions_join_traces() {
        let of = |trace: u128, from: i64, link: u128, session: &str| {
            let mut span = span(1, 0, "a:b", from, from + 10);
            span.trace_id = TraceId::new(trace).unwrap();
            span.links
                .extend(TraceId::new(link).map(|trace_id| SpanLink {
                    trace_id,
                    span_id: id(1),
                    ..SpanLink::default()
                }));
            if !session.is_empty() {
                span.attributes
                    .set("session.id", AttributeValue::Text(session.into()));
            }
            vec![span]
        };
        let traces = [
            of(5, 40, 4, ""),
            of(1, 0, 0, ""),
            of(2, 10, 1, "x"),
            of(3, 20, 99, "x"),
            of(4, 30, 0, "y"),
        ];
        let runs = runs(traces.iter().map(Vec::as_slice));
        let numbers: Vec<Vec<u128>> = runs
            .iter()
            .map(|run| run.traces.iter().map(|trace| trace.as_u128()).collect())
            .collect();
        assert_eq!(numbers, [vec![1, 2, 3], vec![4, 5]]);
        assert_eq!((runs[0].links, runs[0].spans, runs[1].links), (1, 3, 1));
    }
}
