//! Series that bodies of remote write named before, by the very bytes that named them: a sender repeats the labels of
//! each series with each sample, and reading, checking and sorting them costs more than the sample.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;

use crate::model::AgentId;

/// Bytes that are remembered, the table's own among them; beyond it all is forgotten, and learnt anew.
const BYTES_MAX: usize = 32 << 20;
/// What an entry takes beside its texts.
const ENTRY_BYTES: usize = 96;

/// What labels, as they were sent, stand for.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) agent: AgentId,
    /// The canonical key.
    pub(super) key: Arc<[u8]>,
}

/// What is remembered. One rule of agents and one set of limits belong to it: what they refuse is not in it.
#[derive(Debug, Default)]
pub struct SeriesCache(RwLock<Table>);

#[derive(Debug, Default)]
pub(super) struct Table {
    by_labels: HashMap<Box<[u8]>, Known>,
    bytes: usize,
}

impl SeriesCache {
    /// What is remembered at the moment; one body reads it as a whole.
    pub(super) fn read(&self) -> parking_lot::RwLockReadGuard<'_, Table> {
        self.0.read()
    }

    /// Remembers what a body taught.
    pub(super) fn learn(&self, learnt: Vec<(Box<[u8]>, Known)>) {
        if learnt.is_empty() {
            return;
        }
        let mut table = self.0.write();
        for (labels, known) in learnt {
            let bytes = ENTRY_BYTES + labels.len() + known.key.len();
            if table.bytes + bytes > BYTES_MAX {
                *table = Table::default();
            }
            if table.by_labels.insert(labels, known).is_none() {
                table.bytes += bytes;
            }
        }
    }
}

impl Table {
    pub(super) fn get(&self, labels: &[u8]) -> Option<&Known> {
        self.by_labels.get(labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_forgets_rather_than_grow() {
        let cache = SeriesCache::default();
        let known = Known {
            agent: AgentId::unknown(),
            key: [0; 900].into(),
        };
        for i in 0..100_000_u32 {
            cache.learn(vec![(i.to_le_bytes().into(), known.clone())]);
        }
        let table = cache.read();
        assert!(table.bytes <= BYTES_MAX);
        assert!(table.get(&99_999_u32.to_le_bytes()).is_some());
        let entries = table.by_labels.len();
        assert!((1..BYTES_MAX / 1_000).contains(&entries), "{entries}");
    }
}
