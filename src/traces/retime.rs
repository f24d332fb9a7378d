//! What if: the main root's duration if some spans were faster.

use std::collections::BTreeMap;

use super::{
    awaited::Awaited,
    critical_path::CriticalPath,
    forest::{Forest, Node, NodeNo},
    self_time::Union,
    skew::correct_skew,
};
use crate::model::Span;

/// The factor of spans whose own time is taken for nothing.
const OWN_TIME_GONE: f64 = 0.0;

/// So many entries of the path are told how far they can shrink, as long as the trace is not too large.
const DRAGS_MAX: usize = 32;

/// So many nodes are worked through for that, at most, whatever the size of the trace.
const DRAG_NODES_MAX: usize = 500_000;

/// A span's parts as what its end waits for.
#[derive(Clone, Debug)]
struct Parts {
    node: NodeNo,
    /// Children cut to the window, by start: which, start, end, and how many of `by_end` had ended before.
    by_start: Vec<(NodeNo, i64, i64, usize)>,
    /// Positions in `by_start`, by end.
    by_end: Vec<usize>,
    /// What the children cover.
    covered: Union,
}

/// A forest made ready for several questions of what if.
///
/// A child began when the last of its siblings that had ended by then had ended, plus a gap. That gap, as far as no
/// sibling covers it, is the parent's own time, and shrinks with it; everything after moves along, and where something
/// beside ends later now, that is waited for. The parent ends as long after its last child as it did.
#[derive(Clone, Debug)]
pub(super) struct Retiming<'a> {
    forest: &'a Forest<'a>,
    /// Nodes with something to wait for, children before parents.
    parts: Vec<Parts>,
}

impl<'a> Retiming<'a> {
    pub(super) fn new(forest: &'a Forest<'a>, awaited: &Awaited) -> Self {
        let with_children = awaited.order.iter().rev();
        let with_children = with_children.filter(|no| !awaited.children[**no].is_empty());
        Self {
            forest,
            parts: with_children
                .map(|no| Parts::new(forest, *no, &awaited.children[*no]))
                .collect(),
        }
    }

    /// The root's duration, nanoseconds, when the own time of spans that fit takes `factor` of what it took.
    pub(super) fn duration_ns(
        &self,
        root: NodeNo,
        factor: f64,
        fits: impl Fn(NodeNo) -> bool,
    ) -> i64 {
        let factor = if factor.is_finite() {
            factor.max(0.0)
        } else {
            1.0
        };
        let factor_of = |no: NodeNo| if fits(no) { factor } else { 1.0 };
        let leaf = |(no, node): (NodeNo, &Node<'_>)| scaled(node.duration_ns(), factor_of(no));
        let mut lengths: Vec<i64> = self.forest.nodes.iter().enumerate().map(leaf).collect();
        for parts in &self.parts {
            let node = &self.forest.nodes[parts.node];
            lengths[parts.node] = parts.length(node, factor_of(parts.node), self.forest, &lengths);
        }
        lengths[root]
    }
}

/// So much of a time.
fn scaled(time_ns: i64, factor: f64) -> i64 {
    if factor == 1.0 {
        time_ns
    } else {
        (time_ns as f64 * factor).round() as i64
    }
}

impl Parts {
    fn new(forest: &Forest<'_>, no: NodeNo, children: &[NodeNo]) -> Self {
        let node = &forest.nodes[no];
        let cut = |child: &NodeNo| {
            let part = &forest.nodes[*child];
            (
                *child,
                part.start_ns.max(node.start_ns),
                part.end_ns.min(node.end_ns),
                0,
            )
        };
        let mut by_start: Vec<_> = children.iter().map(cut).filter(|c| c.1 < c.2).collect();
        by_start.sort_by_key(|(child, start, ..)| (*start, *child));
        let mut by_end: Vec<usize> = (0..by_start.len()).collect();
        by_end.sort_by_key(|at| (by_start[*at].2, *at));
        let mut ended = 0;
        for at in 0..by_start.len() {
            while by_end
                .get(ended)
                .is_some_and(|e| by_start[*e].2 <= by_start[at].1)
            {
                ended += 1;
            }
            by_start[at].3 = ended;
        }
        let covered = Union::of(by_start.iter().map(|(_, start, end, _)| (*start, *end)));
        Self {
            node: no,
            by_start,
            by_end,
            covered,
        }
    }

    /// The new length of the node from the new lengths of its children.
    fn length(&self, node: &Node<'_>, factor: f64, forest: &Forest<'_>, lengths: &[i64]) -> i64 {
        let shrunk = |from: i64, to: i64| {
            let own = self.uncovered_ns(from, to);
            (to - from - own) + scaled(own, factor)
        };
        // All relative to the new start. `last` is the latest new end of those that had ended, `settled` of them.
        let mut ends = vec![0; self.by_start.len()];
        let (mut settled, mut last, mut last_before) = (0, 0, node.start_ns);
        let mut settle = |upto: usize, ends: &[i64]| {
            while settled < upto {
                let at = self.by_end[settled];
                last = last.max(ends[at]);
                last_before = last_before.max(self.by_start[at].2);
                settled += 1;
            }
            (last, last_before)
        };
        for (at, (child, start, end, ended)) in self.by_start.iter().enumerate() {
            let (ready, ready_before) = settle(*ended, &ends);
            let before = forest.nodes[*child].duration_ns();
            let length = scaled(end - start, lengths[*child] as f64 / before.max(1) as f64);
            let length = if lengths[*child] == before {
                end - start
            } else {
                length
            };
            ends[at] = ready
                .saturating_add(shrunk(ready_before, *start))
                .saturating_add(length);
        }
        let (ready, ready_before) = settle(self.by_end.len(), &ends);
        ready.saturating_add(shrunk(ready_before, node.end_ns))
    }

    /// How much of a stretch no child covers.
    fn uncovered_ns(&self, from: i64, to: i64) -> i64 {
        let stretches = self.covered.stretches();
        // A child starts at `to`, or the node ends there, and one ended at `from`: at most one stretch lies between
        // in part, since within the gap none begins and ends.
        let first = stretches.partition_point(|(_, end)| *end <= from);
        let within = stretches[first..]
            .iter()
            .take_while(|(start, _)| *start < to);
        let covered: i64 = within.map(|(a, b)| (*b).min(to) - (*a).max(from)).sum();
        to - from - covered
    }
}

/// How far the spans with most time on the path can shrink.
pub(super) fn drags(
    forest: &Forest<'_>,
    awaited: &Awaited,
    path: &CriticalPath,
) -> BTreeMap<NodeNo, i64> {
    let Some(root) = path.root else {
        return BTreeMap::new();
    };
    let mut on_path: BTreeMap<NodeNo, i64> = BTreeMap::new();
    for segment in &path.segments {
        *on_path.entry(segment.node).or_default() += segment.duration_ns();
    }
    let mut longest: Vec<(NodeNo, i64)> = on_path.into_iter().collect();
    longest.sort_by_key(|(no, own)| (-own, *no));
    longest.truncate(DRAGS_MAX.min(DRAG_NODES_MAX / forest.nodes.len().max(1)));
    let retiming = Retiming::new(forest, awaited);
    let drag = |(no, own): (NodeNo, i64)| {
        let after = retiming.duration_ns(root, OWN_TIME_GONE, |other| other == no);
        (no, (path.duration_ns() - after).clamp(0, own))
    };
    longest.into_iter().map(drag).collect()
}

/// What if, of one trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retimed {
    /// The main root's duration as it was, nanoseconds.
    pub before_ns: i64,
    /// Its duration if it had been so, nanoseconds.
    pub after_ns: i64,
}

/// The duration of the main root if the own time of the spans that fit had been `factor` of what it was: 0.7 is 30 %
/// faster. `None` without spans. What is not told by times, as a deadline or a pool, is not known here either.
pub fn what_if(spans: &[Span], fits: impl Fn(&Node<'_>) -> bool, factor: f64) -> Option<Retimed> {
    let mut forest = Forest::new(spans);
    correct_skew(&mut forest);
    let awaited = Awaited::new(&forest);
    let root = CriticalPath::main_root(&forest, &awaited)?;
    let retiming = Retiming::new(&forest, &awaited);
    Some(Retimed {
        before_ns: forest.nodes[root].duration_ns(),
        after_ns: retiming.duration_ns(root, factor, |no| fits(&forest.nodes[no])),
    })
}

/// What if, over many traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WhatIf {
    /// Traces.
    pub traces: usize,
    /// Medians of the main roots' durations, nanoseconds.
    pub p50: Retimed,
    /// 95th percentiles, nanoseconds.
    pub p95: Retimed,
}

impl WhatIf {
    /// From what [`what_if`] says of each; `None` of none. By nearest rank.
    pub fn over(each: &[Retimed]) -> Option<Self> {
        let sorted = |of: fn(&Retimed) -> i64| {
            let mut all: Vec<i64> = each.iter().map(of).collect();
            all.sort_unstable();
            all
        };
        let (before, after) = (sorted(|r| r.before_ns), sorted(|r| r.after_ns));
        let rank = |percent: usize| {
            let at = (each.len() * percent).div_ceil(100).checked_sub(1)?;
            Some(Retimed {
                before_ns: *before.get(at)?,
                after_ns: *after.get(at)?,
            })
        };
        Some(Self {
            traces: each.len(),
            p50: rank(50)?,
            p95: rank(95)?,
        })
    }
}
