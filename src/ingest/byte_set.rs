//! A set of byte strings in one arena.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Entries above which an emptied set gives its memory back: emptying costs time by capacity, and a
/// body may have one huge family and a million small ones.
const KEPT_CAPACITY: usize = 1_024;

/// A set of byte strings; a member costs no allocation of its own.
#[derive(Default)]
pub(super) struct ByteSet {
    bytes: Vec<u8>,
    table: HashTable<(usize, usize)>,
    hasher: DefaultHashBuilder,
}

impl ByteSet {
    /// Adds a member: whether it is new.
    pub(super) fn insert(&mut self, member: &[u8]) -> bool {
        let hash = self.hasher.hash_one(member);
        let same = |(start, end): &(usize, usize)| self.bytes[*start..*end] == *member;
        if self.table.find(hash, same).is_some() {
            return false;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(member);
        let hash_of =
            |(start, end): &(usize, usize)| self.hasher.hash_one(&self.bytes[*start..*end]);
        self.table
            .insert_unique(hash, (start, self.bytes.len()), hash_of);
        true
    }

    /// Removes all members.
    pub(super) fn clear(&mut self) {
        if self.table.capacity() > KEPT_CAPACITY {
            *self = Self::default();
        } else {
            self.bytes.clear();
            self.table.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_told_apart() {
        let mut set = ByteSet::default();
        for round in 0..2 {
            for i in 0..5_000_u32 {
                assert!(set.insert(&i.to_le_bytes()), "{round} {i}");
            }
            assert!(set.insert(b""));
            assert!(!set.insert(b""));
            assert!(!set.insert(&77_u32.to_le_bytes()));
            set.clear();
        }
        assert!(set.table.capacity() <= KEPT_CAPACITY);
    }
}
