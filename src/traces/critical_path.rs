//! The critical path: of every moment of the main root, the span that the end had to wait for.

use hashbrown::HashMap;

use super::{
    awaited::{Awaited, Handover, sent_at},
    forest::{Forest, NodeNo},
};

/// Siblings that overlap by at most one part in so many of their parent count as one after the other.
const OVERLAP_PARTS: i64 = 100;

/// A stretch of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Whose own time it is.
    pub node: NodeNo,
    /// Its start, nanoseconds since the epoch.
    pub start_ns: i64,
    /// Its end, nanoseconds since the epoch.
    pub end_ns: i64,
}

impl Segment {
    /// Nanoseconds from start to end.
    pub const fn duration_ns(&self) -> i64 {
        self.end_ns - self.start_ns
    }
}

/// What led to the root that the path begins with: it links to a span of another tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// The span that was linked to.
    pub from: NodeNo,
    /// The span that links to it.
    pub to: NodeNo,
    /// Time in the queue between the two, nanoseconds.
    pub wait_ns: i64,
    /// The path to the linked span, from the start of its tree to the moment it handed over.
    pub segments: Vec<Segment>,
}

/// The critical path of the main root. It is inferred from times alone: spans tell no causes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CriticalPath {
    /// The root; `None` only of a forest without nodes.
    pub root: Option<NodeNo>,
    /// Stretches by time. They do not overlap, and together last exactly as long as the root.
    pub segments: Vec<Segment>,
    /// All asynchronous work, whether somebody waited for it or not.
    pub handovers: Vec<Handover>,
    /// What led to the root over links, nearest first.
    pub earlier: Vec<Earlier>,
}

impl CriticalPath {
    /// The path of a forest, by a walk backwards over the gaps: from the end of a span, the child that ended last is
    /// what it waited for, up to that child's start; what no such child covers is its own. Children are cut to their
    /// parents. Takes n log n steps.
    pub fn of(forest: &Forest<'_>) -> Self {
        Self::in_awaited(forest, &Awaited::new(forest))
    }

    pub(super) fn in_awaited(forest: &Forest<'_>, awaited: &Awaited) -> Self {
        let Some(root) = Self::main_root(forest, awaited) else {
            return Self::default();
        };
        let node = &forest.nodes[root];
        let whole = (node.start_ns, node.end_ns);
        Self {
            root: Some(root),
            segments: walk(forest, awaited, root, whole, &[]),
            handovers: awaited.handovers.clone(),
            earlier: earlier(forest, awaited, root),
        }
    }

    /// The longest root that nobody waited for, as [`Forest::main_root`] chooses.
    pub(super) fn main_root(forest: &Forest<'_>, awaited: &Awaited) -> Option<NodeNo> {
        let tops = forest.roots.iter().copied();
        tops.filter(|no| awaited.parent[*no].is_none())
            .min_by_key(|no| forest.rank(*no))
            .or_else(|| forest.main_root())
    }

    /// The root's duration, nanoseconds.
    pub fn duration_ns(&self) -> i64 {
        self.segments.iter().map(Segment::duration_ns).sum()
    }
}

/// A span whose window is being walked, backwards.
struct Visit {
    node: NodeNo,
    start_ns: i64,
    length_ns: i64,
    /// Children cut to the window, the one that ended last first.
    children: Vec<(NodeNo, i64, i64)>,
    next: usize,
    /// What is before it has not been told yet.
    cursor_ns: i64,
}

impl Visit {
    /// `through` is a child that the path must go through at the end of the window.
    fn new(
        forest: &Forest<'_>,
        awaited: &Awaited,
        node: NodeNo,
        (start_ns, end_ns): (i64, i64),
        through: Option<NodeNo>,
    ) -> Self {
        let cut = |no: &NodeNo| {
            let child = &forest.nodes[*no];
            let end = if Some(*no) == through {
                end_ns
            } else {
                child.end_ns.min(end_ns)
            };
            (*no, child.start_ns.max(start_ns), end)
        };
        let children = awaited.children[node].iter().map(cut);
        let mut children: Vec<_> = children.filter(|(_, start, end)| start < end).collect();
        children.sort_by_key(|(no, start, end)| {
            let id = forest.nodes[*no].span_id;
            (Some(*no) != through, -end, -start, id, *no)
        });
        Self {
            node,
            start_ns,
            length_ns: end_ns - start_ns,
            children,
            next: 0,
            cursor_ns: end_ns,
        }
    }
}

/// Stretches of a span's window by time; `through` is the way down that the end of the window is reached by, below
/// the span itself.
fn walk(
    forest: &Forest<'_>,
    awaited: &Awaited,
    root: NodeNo,
    window: (i64, i64),
    through: &[NodeNo],
) -> Vec<Segment> {
    let mut backwards: Vec<Segment> = Vec::new();
    let mut emit = |node: NodeNo, start_ns: i64, end_ns: i64| match backwards.last_mut() {
        _ if start_ns >= end_ns => {}
        Some(later) if later.node == node && later.start_ns == end_ns => later.start_ns = start_ns,
        _ => backwards.push(Segment {
            node,
            start_ns,
            end_ns,
        }),
    };
    let mut through = through.iter().copied();
    let mut visits = vec![Visit::new(forest, awaited, root, window, through.next())];
    while let Some(visit) = visits.last_mut() {
        let Some((child, start, end)) = visit.children.get(visit.next).copied() else {
            emit(visit.node, visit.start_ns, visit.cursor_ns);
            visits.pop();
            continue;
        };
        visit.next += 1;
        let overlap = end - visit.cursor_ns;
        let end = end.min(visit.cursor_ns);
        if overlap > visit.length_ns / OVERLAP_PARTS || start >= end {
            continue;
        }
        emit(visit.node, end, visit.cursor_ns);
        visit.cursor_ns = start;
        let next = through.next();
        visits.push(Visit::new(forest, awaited, child, (start, end), next));
    }
    backwards.reverse();
    backwards
}

/// Follows links of roots that nobody waited for, back to what they came from.
fn earlier(forest: &Forest<'_>, awaited: &Awaited, root: NodeNo) -> Vec<Earlier> {
    let unawaited = awaited.handovers.iter().filter(|h| h.awaited_by.is_none());
    let by_work: HashMap<NodeNo, &Handover> = unawaited.map(|h| (h.to, h)).collect();
    let mut hops = Vec::new();
    let mut to = root;
    // What links join has no cycles.
    while let Some(handover) = by_work.get(&to) {
        let from = handover.from;
        let mut way = vec![from];
        let mut top = from;
        while let Some(parent) = awaited.parent[top] {
            way.push(parent);
            top = parent;
        }
        way.reverse();
        let end = sent_at(forest, from, to);
        let window = (forest.nodes[top].start_ns.min(end), end);
        hops.push(Earlier {
            from,
            to,
            wait_ns: handover.wait_ns,
            segments: walk(forest, awaited, top, window, &way[1..]),
        });
        to = top;
    }
    hops
}
