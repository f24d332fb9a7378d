//! Clocks of hosts that disagree: children are moved into their parents, on copies, and every move is noted.

use super::forest::{Forest, Node, NodeNo, bounded};
use crate::model::{AttributeValue, Resource, SpanKind};

/// What tells hosts apart, strongest first.
const HOST_KEYS: [&str; 3] = ["host.id", "host.ip", "host.name"];

/// A span that was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shift {
    /// Which.
    pub node: NodeNo,
    /// Whose clock it followed: the value of `host.id`, `host.ip` or `host.name`.
    pub host: String,
    /// By how much, nanoseconds; positive moves it later.
    pub shift_ns: i64,
}

/// How two spans' hosts compare.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hosts {
    Same,
    Different,
    Unknown,
}

/// Moves spans of other hosts into their parents, as far as clocks that disagree explain that they lie outside.
///
/// Follows Jaeger's adjuster (cmd/query, clock skew): a child that lasts longer than its parent is moved only if it
/// begins before it; one that lies inside stays; any other is put in the middle, as if the way there took as long as
/// the way back. What is below follows along on the same host. Unlike there, hosts must be known and different,
/// and open spans and consumers of a producer, which may well begin after their parent, only move to its start.
/// Durations stay as they are.
pub fn correct_skew(forest: &mut Forest<'_>) -> Vec<Shift> {
    let mut shifts = Vec::new();
    // By node: the nearest node up from here, this included, whose host is known, and its shift.
    let mut followed: Vec<Option<(NodeNo, i64)>> = vec![None; forest.nodes.len()];
    for at in 0..forest.order.len() {
        let no = forest.order[at];
        let parent = forest.nodes[no].parent;
        let above = parent.and_then(|parent| followed[parent]);
        let Some(host) = host_of(&forest.nodes[no]) else {
            followed[no] = above;
            continue;
        };
        let node = &forest.nodes[no];
        let shift = match (parent, above) {
            (Some(_), Some((ancestor, shift)))
                if hosts(node, &forest.nodes[ancestor]) == Hosts::Same =>
            {
                shift
            }
            (Some(parent), _) if hosts(node, &forest.nodes[parent]) == Hosts::Different => {
                skew(node, &forest.nodes[parent])
            }
            _ => 0,
        };
        followed[no] = Some((no, shift));
        if shift != 0 {
            let node = &mut forest.nodes[no];
            let duration = node.duration_ns();
            node.start_ns = bounded(node.start_ns.saturating_add(shift));
            node.end_ns = bounded(node.start_ns.saturating_add(duration));
            shifts.push(Shift {
                node: no,
                host,
                shift_ns: shift,
            });
        }
    }
    if !shifts.is_empty() {
        forest.arrange();
        forest.fit_missing();
    }
    shifts
}

/// By how much a child of another host is to be moved.
fn skew(child: &Node<'_>, parent: &Node<'_>) -> i64 {
    let room = parent.duration_ns() - child.duration_ns();
    let only_start = room < 0
        || child.is_open()
        || parent.is_open()
        || is_kind(child, SpanKind::Consumer) && is_kind(parent, SpanKind::Producer);
    if only_start {
        return (parent.start_ns - child.start_ns).max(0);
    }
    if child.start_ns >= parent.start_ns && child.end_ns <= parent.end_ns {
        return 0;
    }
    (parent.start_ns + room / 2).saturating_sub(child.start_ns)
}

fn is_kind(node: &Node<'_>, kind: SpanKind) -> bool {
    node.span.is_some_and(|span| span.kind == kind)
}

fn resource<'a>(node: &Node<'a>) -> Option<&'a Resource> {
    node.span.map(|span| &*span.resource)
}

/// The host of a node, where it is known.
fn host_of(node: &Node<'_>) -> Option<String> {
    let resource = resource(node)?;
    HOST_KEYS
        .iter()
        .find_map(|key| told(resource, key).map(ToString::to_string))
}

/// The value of a key, unless it is empty.
fn told<'a>(resource: &'a Resource, key: &str) -> Option<&'a AttributeValue> {
    let value = resource.attributes.get(key)?;
    let is_empty = *value == AttributeValue::Empty || value.as_text() == Some("");
    (!is_empty).then_some(value)
}

/// Compares by the strongest key that both have.
fn hosts(a: &Node<'_>, b: &Node<'_>) -> Hosts {
    let (Some(a), Some(b)) = (resource(a), resource(b)) else {
        return Hosts::Unknown;
    };
    let compared = HOST_KEYS.iter().find_map(|key| {
        let (a, b) = (told(a, key)?, told(b, key)?);
        Some(a == b)
    });
    match compared {
        Some(true) => Hosts::Same,
        Some(false) => Hosts::Different,
        None => Hosts::Unknown,
    }
}
