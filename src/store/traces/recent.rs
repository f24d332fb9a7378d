//! Which hour the traces of late belong to, so that their late spans follow them.

use std::collections::HashMap;

use crate::model::TraceId;

/// Traces of one generation.
const GENERATION: usize = 100_000;

/// The traces that spans came of last; those of which none comes are forgotten by and by.
#[derive(Debug, Default)]
pub(in crate::store) struct RecentTraces {
    young: HashMap<TraceId, i32>,
    old: HashMap<TraceId, i32>,
}

impl RecentTraces {
    /// The hour of a trace, if it is remembered.
    pub(super) fn hour(&self, id: TraceId) -> Option<i32> {
        self.young.get(&id).or_else(|| self.old.get(&id)).copied()
    }

    /// Remembers the hour of a trace.
    pub(super) fn note(&mut self, id: TraceId, hour: i32) {
        if self.young.len() >= GENERATION && !self.young.contains_key(&id) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, hour);
    }
}
