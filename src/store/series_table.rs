//! The series of one agent: numbers, groups, names and the last day of each, in little memory.
//!
//! Names lie in one arena, so that a series takes no allocation of its own. A series is found by its key, by its number,
//! and by its *slot*, its place in the table, which heads index by. Slots stay until series leave; then the
//! table is made anew, and whoever remembered a slot finds another number there.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::model::{SeriesKey, SeriesNo};

/// Series that share blocks: at most so many, so that an agent of 1,000 series has several blocks.
const GROUP_SERIES_MAX: u8 = 64;
/// A vector that is full grows by one part in so many: half of a large one must not lie idle.
const GROWTH_PARTS: usize = 8;

/// One series of an agent, to be added.
#[derive(Clone, Debug)]
pub(super) struct SeriesEntry {
    pub(super) no: SeriesNo,
    pub(super) group: u32,
    pub(super) key: SeriesKey,
    /// Last day on which it has blocks; [`NO_DAY`] before the first.
    pub(super) last_day: i32,
}

/// The last day of a series that has no blocks yet.
pub(super) const NO_DAY: i32 = i32::MIN;

#[derive(Clone, Copy, Debug)]
struct Slot {
    no: SeriesNo,
    group: u32,
    /// Where its key ends in the arena; it begins where that of the slot before ends.
    key_end: u32,
    last_day: i32,
}

/// Series of one agent.
#[derive(Clone, Debug, Default)]
pub(super) struct SeriesTable {
    slots: Vec<Slot>,
    keys: Vec<u8>,
    /// Slots in the order of their numbers.
    by_no: Vec<u32>,
    by_key: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Series of each group.
    groups: Vec<u8>,
    /// No group before this one has room.
    first_room: u32,
}

impl SeriesTable {
    /// Slot of the series with this canonical key.
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        let hash = self.hasher.hash_one(key);
        let found = self
            .by_key
            .find(hash, |slot| self.key(*slot as usize) == key);
        found.map(|slot| *slot as usize)
    }

    /// Slot of a series by number.
    pub(super) fn slot(&self, no: SeriesNo) -> Option<usize> {
        let found = self
            .by_no
            .binary_search_by_key(&no, |slot| self.slots[*slot as usize].no);
        found.ok().map(|at| self.by_no[at] as usize)
    }

    /// The same where it is probably `guess`: rows of a scrape follow each other in the order of slots.
    pub(super) fn slot_near(&self, guess: usize, no: SeriesNo) -> Option<usize> {
        match self.slots.get(guess) {
            Some(slot) if slot.no == no => Some(guess),
            _ => self.slot(no),
        }
    }

    /// Whether the arena has room for another key.
    pub(super) fn has_room(&self, key: &[u8]) -> bool {
        u32::try_from(self.keys.len() + key.len()).is_ok()
    }

    /// Adds a series whose number and key no other has; returns its slot. The caller sees to the arena's room.
    pub(super) fn push(&mut self, entry: &SeriesEntry) -> usize {
        self.push_slot(entry.no, entry.group, entry.key.as_bytes(), entry.last_day)
    }

    fn push_slot(&mut self, no: SeriesNo, group: u32, key: &[u8], last_day: i32) -> usize {
        let slot = self.slots.len();
        reserve(&mut self.keys, key.len());
        self.keys.extend_from_slice(key);
        reserve(&mut self.slots, 1);
        self.slots.push(Slot {
            no,
            group,
            key_end: self.keys.len() as u32,
            last_day,
        });
        let place = match self.by_no.last() {
            Some(last) if self.slots[*last as usize].no > no => self
                .by_no
                .partition_point(|slot| self.slots[*slot as usize].no < no),
            _ => self.by_no.len(),
        };
        reserve(&mut self.by_no, 1);
        self.by_no.insert(place, slot as u32);
        let hash = self.hasher.hash_one(key);
        let (slots, keys, hasher) = (&self.slots, &self.keys, &self.hasher);
        self.by_key.insert_unique(hash, slot as u32, |slot| {
            hasher.hash_one(key_of(slots, keys, *slot as usize))
        });
        let place = group as usize;
        if self.groups.len() <= place {
            self.groups.resize(place + 1, 0);
        }
        self.groups[place] = self.groups[place].saturating_add(1);
        slot
    }

    /// The group that the next series joins: the first one that has room.
    pub(super) fn next_group(&mut self) -> u32 {
        let is_full = |group: u32| {
            let members = self.groups.get(group as usize);
            members.is_some_and(|members| *members >= GROUP_SERIES_MAX)
        };
        while is_full(self.first_room) {
            self.first_room += 1;
        }
        self.first_room
    }

    /// Number of series.
    pub(super) const fn len(&self) -> usize {
        self.slots.len()
    }

    /// Number of the series at a slot.
    pub(super) fn no(&self, slot: usize) -> Option<SeriesNo> {
        self.slots.get(slot).map(|slot| slot.no)
    }

    /// Group of the series at a slot.
    pub(super) fn group(&self, slot: usize) -> Option<u32> {
        self.slots.get(slot).map(|slot| slot.group)
    }

    /// Canonical key of the series at a slot; empty for no series.
    pub(super) fn key(&self, slot: usize) -> &[u8] {
        key_of(&self.slots, &self.keys, slot)
    }

    /// The same as a value of its own.
    pub(super) fn series_key(&self, slot: usize) -> Option<SeriesKey> {
        SeriesKey::from_bytes(self.key(slot))
    }

    /// Last day on which the series at a slot has blocks.
    pub(super) fn last_day(&self, slot: usize) -> i32 {
        self.slots.get(slot).map_or(NO_DAY, |slot| slot.last_day)
    }

    /// Notes that the series at a slot has blocks on a day.
    pub(super) fn raise_last_day(&mut self, slot: usize, day: i32) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.last_day = slot.last_day.max(day);
        }
    }

    /// Slots and numbers of all series, ascending by number.
    pub(super) fn by_number(&self) -> impl Iterator<Item = (usize, SeriesNo)> {
        let slots = self.by_no.iter().map(|slot| *slot as usize);
        slots.map(|slot| (slot, self.slots[slot].no))
    }

    /// The table without the series at some slots (ascending), and the slots that stay, in their new order.
    pub(super) fn without(&self, leaving: &[usize]) -> (Self, Vec<usize>) {
        let stays = |slot: &usize| leaving.binary_search(slot).is_err();
        let staying: Vec<usize> = (0..self.len()).filter(stays).collect();
        let mut table = Self {
            slots: Vec::with_capacity(staying.len()),
            keys: Vec::with_capacity(staying.iter().map(|slot| self.key(*slot).len()).sum()),
            by_no: Vec::with_capacity(staying.len()),
            by_key: HashTable::with_capacity(staying.len()),
            ..Self::default()
        };
        for slot in &staying {
            let Slot {
                no,
                group,
                last_day,
                ..
            } = self.slots[*slot];
            table.push_slot(no, group, self.key(*slot), last_day);
        }
        (table, staying)
    }

    /// Gives back what was reserved for more series.
    pub(super) fn shrink(&mut self) {
        self.slots.shrink_to_fit();
        self.keys.shrink_to_fit();
        self.by_no.shrink_to_fit();
        let (slots, keys, hasher) = (&self.slots, &self.keys, &self.hasher);
        self.by_key
            .shrink_to_fit(|slot| hasher.hash_one(key_of(slots, keys, *slot as usize)));
    }

    /// Bytes of memory that the table has taken.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
            + self.keys.capacity()
            + self.by_no.capacity() * size_of::<u32>()
            + self.by_key.allocation_size()
            + self.groups.capacity()
            + size_of::<Self>()
    }
}

fn key_of<'a>(slots: &[Slot], keys: &'a [u8], slot: usize) -> &'a [u8] {
    let start = slot.checked_sub(1).and_then(|before| slots.get(before));
    let start = start.map_or(0, |before| before.key_end as usize);
    let end = slots.get(slot).map_or(start, |slot| slot.key_end as usize);
    keys.get(start..end).unwrap_or_default()
}

/// Makes room for some more elements.
pub(super) fn reserve<T>(vec: &mut Vec<T>, more: usize) {
    if vec.capacity() - vec.len() < more {
        vec.reserve_exact(more.max(vec.len() / GROWTH_PARTS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(numbers: impl IntoIterator<Item = u32>) -> SeriesTable {
        let mut table = SeriesTable::default();
        for no in numbers {
            let group = table.next_group();
            table.push(&SeriesEntry {
                no: SeriesNo(no),
                group,
                key: key(no),
                last_day: no as i32,
            });
        }
        table
    }

    fn key(no: u32) -> SeriesKey {
        SeriesKey::new(&format!("m{no}"), &[("zone", "b")]).unwrap()
    }

    fn check(table: &SeriesTable, numbers: &[u32]) {
        let found: Vec<u32> = table.by_number().map(|(_, no)| no.0).collect();
        assert_eq!(found, numbers);
        for (slot, no) in table.by_number() {
            assert_eq!(table.find(key(no.0).as_bytes()), Some(slot));
            assert_eq!(table.slot(no), Some(slot));
            assert_eq!(table.no(slot), Some(no));
            assert_eq!(table.series_key(slot), Some(key(no.0)));
            assert_eq!(table.last_day(slot), no.0 as i32);
        }
        assert_eq!(table.len(), numbers.len());
    }

    #[test]
    fn groups_fill_up_one_after_the_other() {
        let table = table(0..130);
        let group = |no| table.group(table.slot(SeriesNo(no)).unwrap()).unwrap();
        assert_eq!((group(63), group(64), group(128)), (0, 1, 2));
        check(&table, &(0..130).collect::<Vec<_>>());
        assert_eq!(table.find(b"\x01x"), None);
        assert_eq!(table.slot(SeriesNo(130)), None);
    }

    #[test]
    fn series_leave_and_their_room_is_used_again() {
        let whole = table(0..130);
        let leaving: Vec<usize> = (0..130).filter(|slot| slot % 3 == 0).collect();
        let (mut left, staying) = whole.without(&leaving);
        let numbers: Vec<u32> = (0..130).filter(|no| no % 3 != 0).collect();
        check(&left, &numbers);
        assert_eq!(staying.len(), numbers.len());
        assert_eq!(left.find(key(3).as_bytes()), None);
        // A slot that somebody remembers has another number now.
        assert_eq!(left.slot_near(4, SeriesNo(4)), left.slot(SeriesNo(4)));
        assert_ne!(left.no(4), Some(SeriesNo(4)));
        assert_eq!(left.slot_near(3, SeriesNo(3)), None);
        // One comes back under its number.
        assert_eq!(left.next_group(), 0);
        left.push(&SeriesEntry {
            no: SeriesNo(3),
            group: 0,
            key: key(3),
            last_day: 3,
        });
        let mut numbers = numbers;
        numbers.push(3);
        numbers.sort_unstable();
        check(&left, &numbers);
        let everything: Vec<usize> = (0..left.len()).collect();
        check(&left.without(&everything).0, &[]);
    }

    /// 100 agents of 1,000 series and 10 of 10,000, with keys of about 70 bytes, as they grow and as they are loaded.
    #[test]
    fn a_series_takes_little_memory() {
        for (agents, series) in [(100u32, 1_000u32), (10, 10_000)] {
            let (mut grown, mut shrunk, mut keys) = (0, 0, 0);
            for agent in 0..agents {
                let mut table = SeriesTable::default();
                for no in 0..series {
                    let pod = format!("worker-{agent:04}-{no:08x}");
                    let labels = [("method", "GET"), ("pod", pod.as_str()), ("zone", "eu-1b")];
                    let key = SeriesKey::new("http_requests_total", &labels).unwrap();
                    keys += key.as_bytes().len();
                    let group = table.next_group();
                    table.push(&SeriesEntry {
                        no: SeriesNo(agent * series + no),
                        group,
                        key,
                        last_day: NO_DAY,
                    });
                }
                grown += table.bytes();
                table.shrink();
                shrunk += table.bytes();
            }
            let count = (agents * series) as usize;
            assert!((60..=80).contains(&(keys / count)), "{}", keys / count);
            // Beside the head's 56 bytes.
            assert!(grown / count < 140, "{} bytes as it grows", grown / count);
            assert!(shrunk / count < 130, "{} bytes as loaded", shrunk / count);
        }
    }
}
