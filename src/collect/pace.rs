//! When an agent's next round is due.

use crate::model::{AgentId, Timestamp};

/// Rounds are never closer than this, whatever a registration says, in milliseconds.
const INTERVAL_MS_MIN: i64 = 100;
/// The first round comes within this after a registration, in milliseconds.
const FIRST_WITHIN_MS: i64 = 1_000;
/// A round that begins so late keeps the time of its slot, in milliseconds: regular times cost next
/// to nothing in the file. Prometheus does the same within 2 ms.
const TOLERANCE_MS_MAX: i64 = 10;

/// Slots of one agent's rounds: every interval, at an offset that its id decides, so that a fleet is
/// spread evenly and a restart changes nothing.
#[derive(Debug)]
pub(super) struct Pace {
    interval_ms: i64,
    hash: u64,
    shift_ms: i64,
    last: Option<Timestamp>,
    first: bool,
}

impl Pace {
    /// Rounds every `interval_ms`, each `shift_ms` after the slot that the agent's id gives.
    pub(super) fn new(agent: &AgentId, interval_ms: i64, shift_ms: i64) -> Self {
        Self {
            interval_ms: interval_ms.max(INTERVAL_MS_MIN),
            hash: stable_hash(agent.as_str()),
            shift_ms,
            last: None,
            first: true,
        }
    }

    /// When the next round is due: soon if there was none, else in the next free slot. Slots that
    /// were missed are skipped.
    pub(super) fn next(&self, now: Timestamp) -> Timestamp {
        let Some(last) = self.last else {
            let within = FIRST_WITHIN_MS.min(self.interval_ms) as u64;
            return now.plus_millis((self.hash % within) as i64);
        };
        // The first round lies outside of the slots; a slot right after it would tell nothing new.
        let rest_ms = if self.first { self.interval_ms / 2 } else { 0 };
        let held = last.plus_millis(rest_ms);
        // A last round far ahead means that the clock was set back: it no longer counts.
        let after = if held.since(now) > self.interval_ms {
            now
        } else {
            held.max(now)
        };
        let offset = (self.hash % self.interval_ms as u64) as i64 + self.shift_ms;
        let past = (after.as_millis() - offset).rem_euclid(self.interval_ms);
        after.plus_millis(self.interval_ms - past)
    }

    /// Notes that the round due at `tick` was begun.
    pub(super) fn begun(&mut self, tick: Timestamp) {
        self.first = self.last.is_none();
        self.last = Some(tick);
    }

    /// Time of the samples of a round due at `tick` that begins now.
    pub(super) fn stamp(&self, tick: Timestamp, now: Timestamp) -> Timestamp {
        let tolerance = TOLERANCE_MS_MAX.min(self.interval_ms / 500);
        if now.since(tick).abs() <= tolerance {
            tick
        } else {
            now
        }
    }
}

/// FNV-1a with the finaliser of MurmurHash3: the same in every version and on every machine.
fn stable_hash(text: &str) -> u64 {
    let mut h = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn agent(n: usize) -> AgentId {
        AgentId::new(&format!("agent-{n}")).unwrap()
    }

    #[test]
    fn the_offset_is_frozen() {
        assert_eq!(stable_hash("agent-7") % 30_000, 333);
    }

    #[test]
    fn a_fleet_is_spread_over_the_interval() {
        let mut tenths = [0; 10];
        for n in 0..1_000 {
            let mut pace = Pace::new(&agent(n), 30_000, 0);
            pace.begun(at(-60_000));
            let due = pace.next(at(0)).as_millis();
            assert!((1..=30_000).contains(&due));
            tenths[(due as usize - 1) / 3_000] += 1;
        }
        assert!(tenths.iter().all(|n| (60..140).contains(n)), "{tenths:?}");
    }

    #[test]
    fn missed_slots_are_skipped_and_not_bunched() {
        let mut pace = Pace::new(&agent(1), 1_000, 0);
        pace.begun(at(0));
        let second = pace.next(at(700));
        pace.begun(second);
        let third = pace.next(second.plus_millis(5_300));
        assert_eq!(third, second.plus_millis(6_000));
    }

    #[test]
    fn probes_lie_between_scrapes() {
        let scrape = Pace::new(&agent(3), 10_000, 0);
        let probe = Pace::new(&agent(3), 10_000, 5_000);
        let second = |mut pace: Pace| {
            pace.begun(at(0));
            pace.next(at(100_000)).as_millis()
        };
        assert_eq!((second(scrape) - second(probe)).rem_euclid(10_000), 5_000);
    }

    #[test]
    fn a_clock_that_was_set_back_stops_nothing() {
        let mut pace = Pace::new(&agent(1), 1_000, 0);
        pace.begun(at(1_000_000));
        assert!(pace.next(at(5_000)).since(at(5_000)) <= 1_000);
    }

    #[test]
    fn small_delays_keep_the_slot() {
        let pace = Pace::new(&agent(1), 30_000, 0);
        assert_eq!(pace.stamp(at(1_000), at(1_009)), at(1_000));
        assert_eq!(pace.stamp(at(1_000), at(999)), at(1_000));
        assert_eq!(pace.stamp(at(1_000), at(1_011)), at(1_011));
        let quick = Pace::new(&agent(1), 1_000, 0);
        assert_eq!(quick.stamp(at(1_000), at(1_003)), at(1_003));
    }

    proptest! {
        #[test]
        fn rounds_keep_their_distance(
            n in 0_usize..50,
            interval in 100_i64..100_000,
            late in prop::collection::vec(0_i64..400_000, 1..20),
        ) {
            let mut pace = Pace::new(&agent(n), interval, 0);
            let start = at(1_700_000_000_000);
            let first = pace.next(start);
            prop_assert!((0..1_000).contains(&first.since(start)));
            pace.begun(first);
            let mut last = first;
            for (i, late) in late.into_iter().enumerate() {
                let now = last.plus_millis(late);
                let due = pace.next(now);
                prop_assert!(due > now && due.since(now) <= interval + interval / 2);
                prop_assert!(i == 0 || due.since(last) >= interval);
                prop_assert!(due.since(last) >= interval / 2);
                pace.begun(due);
                last = due;
            }
        }
    }
}
