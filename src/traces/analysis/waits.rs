//! How long agents waited for one another.

use std::collections::BTreeMap;

use crate::{
    model::{AgentId, SpanKind},
    traces::{
        awaited::Handover,
        forest::{Forest, NodeNo},
    },
};

/// How a wait is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitKind {
    /// From the start of a client's span to the start of the server's: the way there, and the queue before it.
    Call,
    /// From the sending of a message to the start of the work on it.
    Queue,
    /// From when the caller's last child had ended, or from its start, to the start of the other agent's span. The
    /// caller may have worked meanwhile.
    Inferred,
}

impl WaitKind {
    /// In lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Queue => "queue",
            Self::Inferred => "inferred",
        }
    }
}

/// Waits of one agent for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentWait {
    /// Who asked.
    pub from: AgentId,
    /// Who began to work.
    pub to: AgentId,
    /// How they are known.
    pub kind: WaitKind,
    /// How many.
    pub count: usize,
    /// Their sum, nanoseconds.
    pub total_ns: i64,
    /// The longest, nanoseconds.
    pub longest_ns: i64,
    /// The span that the longest was for.
    pub longest_span: String,
}

/// Waits between agents, the longest sum first.
pub(super) fn waits(forest: &Forest<'_>, handovers: &[Handover]) -> Vec<AgentWait> {
    let mut sums: BTreeMap<(AgentId, AgentId, WaitKind), AgentWait> = BTreeMap::new();
    let mut add = |from: NodeNo, to: NodeNo, kind: WaitKind, wait_ns: i64| {
        let (Some(source), Some(target)) = (&forest.nodes[from].agent, &forest.nodes[to].agent)
        else {
            return;
        };
        if source == target || wait_ns < 0 {
            return;
        }
        let key = (source.clone(), target.clone(), kind);
        let sum = sums.entry(key).or_insert_with(|| AgentWait {
            from: source.clone(),
            to: target.clone(),
            kind,
            count: 0,
            total_ns: 0,
            longest_ns: -1,
            longest_span: String::new(),
        });
        sum.count += 1;
        sum.total_ns = sum.total_ns.saturating_add(wait_ns);
        if wait_ns > sum.longest_ns {
            sum.longest_ns = wait_ns;
            sum.longest_span = forest.nodes[to].shown_id();
        }
    };
    let mut is_queued = vec![false; forest.nodes.len()];
    for handover in handovers {
        is_queued[handover.to] = true;
        add(
            handover.from,
            handover.to,
            WaitKind::Queue,
            handover.wait_ns,
        );
    }
    for no in &forest.order {
        let parent = &forest.nodes[*no];
        let Some(span) = parent.span else { continue };
        let mut ends: Vec<i64> = parent
            .children
            .iter()
            .map(|c| forest.nodes[*c].end_ns)
            .collect();
        ends.sort_unstable();
        for child in parent.children.iter().filter(|child| !is_queued[**child]) {
            let start = forest.nodes[*child].start_ns;
            let is_call = span.kind == SpanKind::Client;
            // A child that takes no time must not be what it waits for.
            let before = ends.partition_point(|end| *end < start);
            let ready = match before.checked_sub(1) {
                Some(at) if !is_call => ends[at].max(parent.start_ns),
                _ => parent.start_ns,
            };
            let kind = if is_call {
                WaitKind::Call
            } else {
                WaitKind::Inferred
            };
            add(*no, *child, kind, start - ready);
        }
    }
    let mut waits: Vec<AgentWait> = sums.into_values().collect();
    waits.sort_by_key(|wait| -wait.total_ns);
    waits
}
