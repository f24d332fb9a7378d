//! Series that bodies of remote write named before, by the very bytes that named them: a sender repeats the labels of
//! each series with each sample, and reading, checking and sorting them costs more than the sample.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;

use crate::model::AgentId;

/// Bytes of a generation, the table's own among them. There are two: when the younger is full, it becomes the older, and
/// what nobody asked for since the change before is forgotten.
const BYTES_MAX: usize = 16 << 20;
/// What an entry takes beside its texts.
const ENTRY_BYTES: usize = 176;

/// What labels, as they were sent, stand for.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) agent: AgentId,
    /// The canonical key.
    pub(super) key: Arc<[u8]>,
}

/// What was found.
pub(super) struct Found<'a> {
    pub(super) known: &'a Known,
    /// It is forgotten next, unless it is learnt again.
    pub(super) is_old: bool,
}

/// What is remembered. One rule of agents and one set of limits belong to it: what they refuse is not in it.
#[derive(Debug, Default)]
pub struct SeriesCache(RwLock<Generations>);

type Table = HashMap<Box<[u8]>, Known>;

#[derive(Debug, Default)]
pub(super) struct Generations {
    young: Table,
    young_bytes: usize,
    old: Table,
}

impl SeriesCache {
    /// What is remembered at the moment; one body reads it as a whole.
    pub(super) fn read(&self) -> parking_lot::RwLockReadGuard<'_, Generations> {
        self.0.read()
    }

    /// Remembers what a body taught.
    pub(super) fn learn(&self, learnt: Vec<(Box<[u8]>, Known)>) {
        if learnt.is_empty() {
            return;
        }
        let mut forgotten = Vec::new();
        let mut generations = self.0.write();
        for (labels, known) in learnt {
            let bytes = ENTRY_BYTES + labels.len() + known.key.len();
            if generations.young_bytes + bytes > BYTES_MAX {
                let young = std::mem::take(&mut generations.young);
                forgotten.push(std::mem::replace(&mut generations.old, young));
                generations.young_bytes = 0;
            }
            if generations.young.insert(labels, known).is_none() {
                generations.young_bytes += bytes;
            }
        }
        drop(generations);
        // Freeing takes a while, for which nobody has to wait.
        drop(forgotten);
    }
}

impl Generations {
    pub(super) fn get(&self, labels: &[u8]) -> Option<Found<'_>> {
        let young = self.young.get(labels).map(|known| (known, false));
        let found = young.or_else(|| self.old.get(labels).map(|known| (known, true)));
        found.map(|(known, is_old)| Found { known, is_old })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_forgets_what_nobody_asks_for_rather_than_grow() {
        let cache = SeriesCache::default();
        let known = Known {
            agent: AgentId::unknown(),
            key: [0; 820].into(),
        };
        let favourite = b"favourite";
        cache.learn(vec![(favourite[..].into(), known.clone())]);
        for i in 0..100_000_u32 {
            cache.learn(vec![(i.to_le_bytes().into(), known.clone())]);
            let is_old = cache.read().get(favourite).is_none_or(|found| found.is_old);
            if is_old {
                assert!(cache.read().get(favourite).is_some(), "forgotten after {i}");
                cache.learn(vec![(favourite[..].into(), known.clone())]);
            }
        }
        let table = cache.read();
        assert!(table.get(&0_u32.to_le_bytes()).is_none());
        assert!(table.get(&99_999_u32.to_le_bytes()).is_some());
        let entries = table.young.len() + table.old.len();
        assert!((1..2 * BYTES_MAX / 1_000).contains(&entries), "{entries}");
    }
}
