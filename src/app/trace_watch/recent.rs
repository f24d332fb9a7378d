//! What came lately, by key.

use std::{collections::VecDeque, hash::Hash};

use hashbrown::HashMap;

/// A bounded map that forgets what was put in first.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    values: HashMap<K, V>,
    order: VecDeque<K>,
    most: usize,
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    /// For so many keys.
    pub(super) fn new(most: usize) -> Self {
        Self {
            values: HashMap::new(),
            order: VecDeque::new(),
            most,
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key)
    }

    /// The value of a key, which is put in with `first` if it is not there.
    pub(super) fn entry(&mut self, key: &K, first: impl FnOnce() -> V) -> &mut V {
        if !self.values.contains_key(key) {
            if self.order.len() >= self.most
                && let Some(oldest) = self.order.pop_front()
            {
                self.values.remove(&oldest);
            }
            self.order.push_back(key.clone());
        }
        self.values.entry(key.clone()).or_insert_with(first)
    }

    pub(super) fn put(&mut self, key: &K, value: V) {
        if let Some(known) = self.values.get_mut(key) {
            *known = value;
        } else {
            self.entry(key, || value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_goes_first() {
        let mut recent = Recent::new(2);
        recent.put(&"a", 1);
        *recent.entry(&"b", || 2) += 1;
        recent.put(&"a", 4);
        recent.put(&"c", 5);
        assert_eq!(
            [recent.get(&"a"), recent.get(&"b"), recent.get(&"c")],
            [None, Some(&3), Some(&5)]
        );
    }
}
