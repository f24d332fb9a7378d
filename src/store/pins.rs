//! Rolling pins: read transactions held so that pages which a running copy still needs are not reused.
//!
//! A copy that reads the header first and the rest in order (`cp`) gets the commit of that header, if
//! none of its pages is reused before the copy is done. A pin taken before the header was read keeps
//! them. Pins overlap: a new one every `hold`, each held twice as long, so that at any moment there is
//! one that stays for at least `hold`. What they keep from reuse is capped; over the cap they shorten.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Shortest time that a plain copy is given.
const HOLD_MIN: Duration = Duration::from_secs(30);
/// Speed of a slow copy, in bytes per second.
const COPY_BYTES_PER_SECOND: u64 = 50_000_000;
/// Bytes that pins may keep from reuse, whatever the file's size.
const KEPT_BYTES_MIN: u64 = 256_000_000;

#[derive(Debug)]
struct Pin<T> {
    #[cfg_attr(not(test), expect(dead_code, reason = "it is held, not used"))]
    transaction: T,
    since: Instant,
    written_before: u64,
}

/// The pins held now. `T` is a read transaction.
#[derive(Debug)]
pub(super) struct Pins<T> {
    pins: VecDeque<Pin<T>>,
}

impl<T> Default for Pins<T> {
    fn default() -> Self {
        Self {
            pins: VecDeque::new(),
        }
    }
}

impl<T> Pins<T> {
    /// Drops pins whose time is over, takes a new one when due. `written` counts all bytes written to
    /// the file; every write goes to fresh pages, so it bounds what a pin keeps.
    pub(super) fn rotate(
        &mut self,
        now: Instant,
        written: u64,
        file_length: u64,
        take: impl FnOnce() -> Option<T>,
    ) {
        let hold = hold(file_length);
        let cap = kept_max(file_length);
        while self.pins.front().is_some_and(|pin| {
            now.saturating_duration_since(pin.since) >= 2 * hold
                || written - pin.written_before > cap
        }) {
            self.pins.pop_front();
        }
        let is_due = self
            .pins
            .back()
            .is_none_or(|pin| now.saturating_duration_since(pin.since) >= hold);
        if is_due && let Some(transaction) = take() {
            self.pins.push_back(Pin {
                transaction,
                since: now,
                written_before: written,
            });
        }
    }

    /// How long a copy that begins now is safe: until the newest pin ends by time, or by the cap at the
    /// pace of writing since it was taken.
    pub(super) fn safe_for(&self, now: Instant, written: u64, file_length: u64) -> Duration {
        let Some(pin) = self.pins.back() else {
            return Duration::ZERO;
        };
        let age = now.saturating_duration_since(pin.since);
        let by_time = (2 * hold(file_length)).saturating_sub(age);
        let kept = written - pin.written_before;
        if kept == 0 {
            return by_time;
        }
        let pace = kept as f64 / age.as_secs_f64().max(1.0);
        let left = kept_max(file_length).saturating_sub(kept) as f64;
        by_time.min(Duration::from_secs_f64((left / pace).min(1e6)))
    }
}

fn hold(file_length: u64) -> Duration {
    HOLD_MIN.max(Duration::from_secs(file_length / COPY_BYTES_PER_SECOND))
}

fn kept_max(file_length: u64) -> u64 {
    KEPT_BYTES_MIN.max(file_length / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_any_moment_a_pin_stays_for_the_hold() {
        let start = Instant::now();
        let mut pins = Pins::default();
        for second in 0..300 {
            let now = start + Duration::from_secs(second);
            pins.rotate(now, second * 1_000, 1 << 20, || Some(second));
            let safe = pins.safe_for(now, second * 1_000, 1 << 20);
            assert!(
                safe >= HOLD_MIN && safe <= 2 * HOLD_MIN,
                "{second}: {safe:?}"
            );
            assert!(pins.pins.len() <= 2);
        }
    }

    #[test]
    fn over_the_cap_pins_shorten() {
        let start = Instant::now();
        let mut pins = Pins::default();
        pins.rotate(start, 0, 1 << 20, || Some(1));
        let now = start + Duration::from_secs(5);
        assert!(pins.safe_for(now, 200_000_000, 1 << 20) < Duration::from_secs(2));
        pins.rotate(now, KEPT_BYTES_MIN + 1, 1 << 20, || Some(2));
        assert_eq!(pins.pins.len(), 1);
        assert_eq!(pins.pins[0].transaction, 2);
    }
}
