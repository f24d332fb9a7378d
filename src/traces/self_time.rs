//! Time that is a span's own, and time that several spans cover together.

use super::forest::{Forest, NodeNo};

/// Stretches of time that do not touch, by start.
#[derive(Clone, Debug, Default)]
pub(super) struct Union(Vec<(i64, i64)>);

impl Union {
    /// What these stretches cover.
    pub(super) fn of(stretches: impl IntoIterator<Item = (i64, i64)>) -> Self {
        let mut sorted: Vec<_> = stretches.into_iter().filter(|(a, b)| a < b).collect();
        sorted.sort_unstable();
        let mut joined: Vec<(i64, i64)> = Vec::with_capacity(sorted.len());
        for (start, end) in sorted {
            match joined.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => joined.push((start, end)),
            }
        }
        Self(joined)
    }

    /// How long it is, nanoseconds.
    pub(super) fn length_ns(&self) -> i64 {
        // Stretches are apart and each within 2^63, so that their sum is, too.
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// The stretches, by start.
    pub(super) fn stretches(&self) -> &[(i64, i64)] {
        &self.0
    }
}

/// By node its duration without what its children cover of it, nanoseconds; never negative.
pub fn self_times(forest: &Forest<'_>) -> Vec<i64> {
    let own = |no: NodeNo| {
        let node = &forest.nodes[no];
        let within = |child: &NodeNo| {
            let child = &forest.nodes[*child];
            (
                child.start_ns.max(node.start_ns),
                child.end_ns.min(node.end_ns),
            )
        };
        let covered = Union::of(node.children.iter().map(within)).length_ns();
        node.duration_ns() - covered
    };
    (0..forest.nodes.len()).map(own).collect()
}
