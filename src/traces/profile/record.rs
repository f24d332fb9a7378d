//! Traces as a profile keeps them.

use std::{collections::BTreeMap, sync::Arc};

use super::call_tree::{CallTree, FrameNo};
use crate::{
    model::{Span, TraceId},
    traces::{
        awaited::Awaited, critical_path::CriticalPath, forest::Forest, retime::drags,
        self_time::self_times, skew::correct_skew,
    },
};

/// One `agent:operation` in a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelTimes {
    /// Spans.
    pub count: u64,
    /// Those that failed.
    pub errors: u64,
    /// Own time of those that ended, nanoseconds.
    pub self_ns: i64,
    /// Own time on the critical path, nanoseconds.
    pub critical_ns: i64,
    /// By how much the trace would be shorter without the own time of the one of them that can shrink most,
    /// nanoseconds.
    pub drag_ns: i64,
}

/// What is kept of a trace.
#[derive(Clone, Debug)]
pub struct TraceTimes {
    /// Which.
    pub trace_id: TraceId,
    /// Its main root's duration, nanoseconds.
    pub duration_ns: i64,
    /// Own time on the critical path by call path, nanoseconds.
    pub on_path: BTreeMap<FrameNo, i64>,
    /// Spans by call path.
    pub counts: BTreeMap<FrameNo, u64>,
    /// By `agent:operation`.
    pub labels: BTreeMap<Arc<str>, LabelTimes>,
}

impl TraceTimes {
    /// Works them out, and adds the call paths to a tree; `None` without spans.
    pub(in crate::traces) fn of(spans: &[Span], tree: &mut CallTree) -> Option<Self> {
        let mut forest = Forest::new(spans);
        correct_skew(&mut forest);
        let awaited = Awaited::new(&forest);
        let path = CriticalPath::in_awaited(&forest, &awaited);
        let root = path.root?;
        let frames = tree.place(&forest, &awaited);
        let own = self_times(&forest);
        let mut times = Self {
            trace_id: forest.nodes[root].trace_id,
            duration_ns: path.duration_ns(),
            on_path: BTreeMap::new(),
            counts: BTreeMap::new(),
            labels: BTreeMap::new(),
        };
        let label = |no: usize| tree.frames()[frames[no]].label.clone();
        for (no, _, span) in forest.received() {
            *times.counts.entry(frames[no]).or_default() += 1;
            let times = times.labels.entry(label(no)).or_default();
            times.count += 1;
            times.errors += u64::from(span.is_failed());
            if !span.is_open() {
                times.self_ns = times.self_ns.saturating_add(own[no]);
            }
        }
        for segment in &path.segments {
            *times.on_path.entry(frames[segment.node]).or_default() += segment.duration_ns();
            let times = times.labels.entry(label(segment.node)).or_default();
            times.critical_ns += segment.duration_ns();
        }
        for (no, drag) in drags(&forest, &awaited, &path) {
            let times = times.labels.entry(label(no)).or_default();
            times.drag_ns = times.drag_ns.max(drag);
        }
        Some(times)
    }
}

/// The critical paths of many traces, one on top of the other.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// The root operation whose traces count; `None` counts all.
    operation: Option<String>,
    pub(super) tree: CallTree,
    pub(super) traces: Vec<TraceTimes>,
}

impl Profile {
    /// Of the traces whose main root does this operation, or of all.
    pub fn new(operation: Option<&str>) -> Self {
        Self {
            operation: operation.map(str::to_owned),
            ..Self::default()
        }
    }

    /// Adds the spans of a trace; `false` when its main root does something else, or there are no spans.
    pub fn add(&mut self, spans: &[Span]) -> bool {
        if let Some(operation) = &self.operation {
            let forest = Forest::new(spans);
            let awaited = Awaited::new(&forest);
            let root = CriticalPath::main_root(&forest, &awaited);
            if root.is_none_or(|root| forest.nodes[root].operation() != operation) {
                return false;
            }
        }
        let times = TraceTimes::of(spans, &mut self.tree);
        let is_added = times.is_some();
        self.traces.extend(times);
        is_added
    }

    /// The root operation whose traces count.
    pub fn operation(&self) -> Option<&str> {
        self.operation.as_deref()
    }

    /// The call paths.
    pub const fn tree(&self) -> &CallTree {
        &self.tree
    }

    /// The traces, in the order they were added.
    pub fn traces(&self) -> &[TraceTimes] {
        &self.traces
    }
}
