//! Who waited for what: asynchronous work joins the tree below the span that waited for it.

use hashbrown::HashMap;

use super::{
    forest::{Forest, NodeNo},
    groups::Groups,
};
use crate::model::SpanKind;

/// Work that a message started: a consumer below its producer, or a root that links to the span it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// The span that sent.
    pub from: NodeNo,
    /// The span that worked on it.
    pub to: NodeNo,
    /// The nearest ancestor of the sender, or the sender, that ended no earlier than the work; `None` when nobody
    /// waited.
    pub awaited_by: Option<NodeNo>,
    /// From the sending to the start of the work, nanoseconds: time in the queue.
    pub wait_ns: i64,
}

/// The forest as the critical path sees it.
#[derive(Clone, Debug)]
pub(super) struct Awaited {
    /// What waits for a node; `None` of roots and of work that nobody waited for.
    pub(super) parent: Vec<Option<NodeNo>>,
    /// What a node waits for.
    pub(super) children: Vec<Vec<NodeNo>>,
    /// All nodes, each after its parent.
    pub(super) order: Vec<NodeNo>,
    /// All asynchronous work, in the order of the forest.
    pub(super) handovers: Vec<Handover>,
}

/// When a message went out: the end of its sender where the work began later, else the start of the work, as far as
/// it lies within the sender.
pub(super) fn sent_at(forest: &Forest<'_>, from: NodeNo, to: NodeNo) -> i64 {
    let (sender, work) = (&forest.nodes[from], &forest.nodes[to]);
    work.start_ns.clamp(sender.start_ns, sender.end_ns)
}

impl Awaited {
    /// Joins asynchronous work to whoever waited for it. Takes n log n steps.
    pub(super) fn new(forest: &Forest<'_>) -> Self {
        let (sender, is_async) = senders(forest);
        let children = children_of(&sender, forest);
        let order = order_of(&sender, &children, forest);
        let ends = ends_of_work(forest, &sender, &is_async, &order);
        let awaiting = awaiting(forest, &sender, &children, &is_async, &ends);
        let mut handovers = Vec::new();
        let mut parent = sender.clone();
        for no in &forest.order {
            let Some(from) = sender[*no].filter(|_| is_async[*no]) else {
                continue;
            };
            parent[*no] = awaiting[*no];
            let wait = forest.nodes[*no].start_ns - sent_at(forest, from, *no);
            handovers.push(Handover {
                from,
                to: *no,
                awaited_by: awaiting[*no],
                wait_ns: wait.max(0),
            });
        }
        let children = children_of(&parent, forest);
        let order = order_of(&parent, &children, forest);
        Self {
            parent,
            children,
            order,
            handovers,
        }
    }
}

/// By node what it comes from, its parent or the span it links to, without cycles, and whether it is asynchronous.
fn senders(forest: &Forest<'_>) -> (Vec<Option<NodeNo>>, Vec<bool>) {
    let nodes = &forest.nodes;
    let mut sender: Vec<Option<NodeNo>> = nodes.iter().map(|node| node.parent).collect();
    let mut is_async = vec![false; nodes.len()];
    let has_links = |no: &NodeNo| nodes[*no].span.is_some_and(|span| !span.links.is_empty());
    let mut tree: Vec<NodeNo> = (0..nodes.len()).collect();
    for no in &forest.order {
        if let Some(parent) = nodes[*no].parent {
            tree[*no] = tree[parent];
            let kind = |no: NodeNo| nodes[no].span.map(|span| span.kind);
            is_async[*no] =
                kind(parent) == Some(SpanKind::Producer) && kind(*no) == Some(SpanKind::Consumer);
        }
    }
    let linked: Vec<NodeNo> = forest.roots.iter().copied().filter(has_links).collect();
    if linked.is_empty() {
        return (sender, is_async);
    }
    let by_id: HashMap<_, _> = nodes
        .iter()
        .enumerate()
        .rev()
        .map(|(no, node)| ((node.trace_id, node.span_id), no))
        .collect();
    let mut trees = Groups::new(nodes.len());
    for root in linked {
        let links = nodes[root].span.into_iter().flat_map(|span| &span.links);
        let mut known = links.filter_map(|link| by_id.get(&(link.trace_id, link.span_id)));
        if let Some(from) = known.find(|from| trees.join(root, tree[**from])) {
            sender[root] = Some(*from);
            is_async[root] = true;
        }
    }
    (sender, is_async)
}

fn children_of(parent: &[Option<NodeNo>], forest: &Forest<'_>) -> Vec<Vec<NodeNo>> {
    let mut children = vec![Vec::new(); parent.len()];
    for no in &forest.order {
        if let Some(parent) = parent[*no] {
            children[parent].push(*no);
        }
    }
    children
}

fn order_of(
    parent: &[Option<NodeNo>],
    children: &[Vec<NodeNo>],
    forest: &Forest<'_>,
) -> Vec<NodeNo> {
    let is_top = |no: &&NodeNo| parent[**no].is_none();
    let mut ahead: Vec<NodeNo> = forest.order.iter().rev().filter(is_top).copied().collect();
    let mut order = Vec::with_capacity(parent.len());
    while let Some(no) = ahead.pop() {
        order.push(no);
        ahead.extend(children[no].iter().rev());
    }
    order
}

/// By node when it and all below it had ended; asynchronous work below is judged for itself.
fn ends_of_work(
    forest: &Forest<'_>,
    sender: &[Option<NodeNo>],
    is_async: &[bool],
    order: &[NodeNo],
) -> Vec<i64> {
    let mut ends: Vec<i64> = forest.nodes.iter().map(|node| node.end_ns).collect();
    for no in order.iter().rev() {
        if let Some(parent) = sender[*no].filter(|_| !is_async[*no]) {
            ends[parent] = ends[parent].max(ends[*no]);
        }
    }
    ends
}

/// A step of the walk that finds who waited.
enum Step {
    Enter(NodeNo),
    /// Puts back what a node took the place of: where, what, and how many there were.
    Leave(usize, NodeNo, usize),
}

/// By node the nearest one up from its sender that ended no earlier than its work.
///
/// Of the way up only those count that outlast all below them on it. They stand by falling end, so that the nearest
/// one that ended late enough is found by halving, and a node that takes the place of others gives it back after.
fn awaiting(
    forest: &Forest<'_>,
    sender: &[Option<NodeNo>],
    children: &[Vec<NodeNo>],
    is_async: &[bool],
    ends: &[i64],
) -> Vec<Option<NodeNo>> {
    let mut found = vec![None; forest.nodes.len()];
    if !is_async.contains(&true) {
        return found;
    }
    let end = |no: NodeNo| forest.nodes[no].end_ns;
    let mut outlasting: Vec<NodeNo> = Vec::new();
    let mut height = 0;
    let tops = forest
        .order
        .iter()
        .rev()
        .filter(|no| sender[**no].is_none());
    let mut steps: Vec<Step> = tops.map(|no| Step::Enter(*no)).collect();
    while let Some(step) = steps.pop() {
        match step {
            Step::Leave(at, before, height_before) => {
                outlasting[at] = before;
                height = height_before;
            }
            Step::Enter(no) => {
                let up = &outlasting[..height];
                if is_async[no] {
                    let late_enough = up.partition_point(|up| end(*up) >= ends[no]);
                    found[no] = late_enough.checked_sub(1).map(|at| up[at]);
                }
                let at = up.partition_point(|up| end(*up) > end(no));
                if at == outlasting.len() {
                    outlasting.push(no);
                }
                steps.push(Step::Leave(at, outlasting[at], height));
                outlasting[at] = no;
                height = at + 1;
                steps.extend(children[no].iter().rev().map(|no| Step::Enter(*no)));
            }
        }
    }
    found
}
