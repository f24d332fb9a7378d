//! Things that hang together, directly or by way of others.

/// Disjoint groups of numbered things, joined in nearly constant time.
#[derive(Clone, Debug)]
pub(super) struct Groups(Vec<usize>);

impl Groups {
    /// So many things, each alone.
    pub(super) fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    /// What stands for the group of a thing.
    pub(super) fn of(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    /// Makes one group of two; `false` when they were one.
    pub(super) fn join(&mut self, a: usize, b: usize) -> bool {
        let (a, b) = (self.of(a), self.of(b));
        self.0[a.max(b)] = a.min(b);
        a != b
    }
}
