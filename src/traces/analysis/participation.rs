//! What each agent had to do with a trace.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    model::{AgentId, TokenUsage},
    traces::{
        critical_path::CriticalPath,
        forest::{Forest, NodeNo},
        self_time::Union,
    },
};

/// One operation of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperationShare {
    /// Spans that ended.
    pub count: usize,
    /// Those that failed.
    pub errors: usize,
    /// Sum of their durations, nanoseconds.
    pub total_ns: i64,
    /// The same without what their children cover, nanoseconds.
    pub self_ns: i64,
    /// Their own time on the critical path, nanoseconds.
    pub critical_ns: i64,
}

/// One agent's part in a trace. Times are of spans that ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Participation {
    /// Spans that ended.
    pub span_count: usize,
    /// Spans that have not.
    pub unfinished_spans: usize,
    /// Spans that failed.
    pub errors: usize,
    /// Sum of the durations, nanoseconds; spans within spans count for themselves, as the document has it.
    pub total_ns: i64,
    /// Sum of the durations without what children cover, nanoseconds: work of this agent itself.
    pub self_ns: i64,
    /// How long any of its spans lasted, nanoseconds.
    pub wall_ns: i64,
    /// Its own time on the critical path, nanoseconds; open spans included.
    pub critical_ns: i64,
    /// The operation of each span that ended, by start.
    pub operations: Vec<Arc<str>>,
    /// The same by operation.
    pub by_operation: BTreeMap<Arc<str>, OperationShare>,
    /// Tokens and cost of its inferences, where it has any.
    pub usage: Option<TokenUsage>,
}

impl Participation {
    /// Spans that worked at once, on average over its wall time; 0 of none.
    pub fn concurrency(&self) -> f64 {
        ratio(self.self_ns, self.wall_ns)
    }
}

/// A share; 0 of nothing.
pub(super) fn ratio(part: i64, whole: i64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// By agent; nodes that were not received belong to none.
pub(super) fn participation(
    forest: &Forest<'_>,
    own: &[i64],
    path: &CriticalPath,
) -> BTreeMap<AgentId, Participation> {
    let mut agents: BTreeMap<AgentId, Participation> = BTreeMap::new();
    let mut windows: BTreeMap<AgentId, Vec<(i64, i64)>> = BTreeMap::new();
    let mut by_start: Vec<NodeNo> = forest.received().map(|(no, ..)| no).collect();
    by_start.sort_by_key(|no| (forest.nodes[*no].start_ns, *no));
    for no in by_start {
        let node = &forest.nodes[no];
        let (Some(agent), Some(span)) = (&node.agent, node.span) else {
            continue;
        };
        let part = agents.entry(agent.clone()).or_default();
        if let Some(usage) = &span.usage {
            part.usage.get_or_insert_default().add(usage);
        }
        if span.is_open() {
            part.unfinished_spans += 1;
            continue;
        }
        let is_failed = usize::from(span.is_failed());
        part.span_count += 1;
        part.errors += is_failed;
        part.total_ns = part.total_ns.saturating_add(node.duration_ns());
        part.self_ns = part.self_ns.saturating_add(own[no]);
        part.operations.push(span.name.clone());
        let operation = part.by_operation.entry(span.name.clone()).or_default();
        operation.count += 1;
        operation.errors += is_failed;
        operation.total_ns = operation.total_ns.saturating_add(node.duration_ns());
        operation.self_ns = operation.self_ns.saturating_add(own[no]);
        let windows = windows.entry(agent.clone()).or_default();
        windows.push((node.start_ns, node.end_ns));
    }
    for (agent, windows) in windows {
        agents.entry(agent).or_default().wall_ns = Union::of(windows).length_ns();
    }
    for segment in &path.segments {
        let node = &forest.nodes[segment.node];
        let (Some(agent), Some(span)) = (&node.agent, node.span) else {
            continue;
        };
        let part = agents.entry(agent.clone()).or_default();
        part.critical_ns += segment.duration_ns();
        let operation = part.by_operation.entry(span.name.clone()).or_default();
        operation.critical_ns += segment.duration_ns();
    }
    agents
}
