//! When the next attempt is due.

use std::ops::RangeInclusive;

use crate::model::{Delivery, DeliveryOutcome, Timestamp};

/// The first pause, in milliseconds; each further one is twice as long.
const FIRST_PAUSE_MS: i64 = 1_000;
/// The longest pause, in milliseconds.
const LONGEST_PAUSE_MS: i64 = 300_000;
/// A receiver may ask for so long a pause at most, in milliseconds.
pub(super) const RETRY_AFTER_MAX_MS: i64 = 3_600_000;

/// How attempts follow each other.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    /// The first pause and the longest one, in milliseconds.
    pub(super) pauses_ms: RangeInclusive<i64>,
    /// What cannot be delivered for so long is given up, in milliseconds.
    pub(super) give_up_after_ms: i64,
}

impl Backoff {
    /// 1 s, doubling to 5 min.
    pub(super) const fn new(give_up_after_ms: i64) -> Self {
        Self {
            pauses_ms: FIRST_PAUSE_MS..=LONGEST_PAUSE_MS,
            give_up_after_ms,
        }
    }

    /// When an attempt follows one that ended like this at `now`; `None` when there is none. What was put in
    /// before the server started, at `started`, has the whole time again: it may be the server that was away.
    pub(super) fn next_attempt(
        &self,
        delivery: &Delivery,
        outcome: &DeliveryOutcome,
        started: Timestamp,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let DeliveryOutcome::Failed { retry_at, .. } = outcome else {
            return None;
        };
        let tried_since = delivery.created_at.max(started);
        if now.since(tried_since) >= self.give_up_after_ms {
            return None;
        }
        let own = now.plus_millis(self.pause_ms(&delivery.idempotency_key, delivery.attempts));
        let latest = now.plus_millis(RETRY_AFTER_MAX_MS);
        let asked = retry_at.map_or(own, |at| at.min(latest));
        Some(own.max(asked))
    }

    /// Pause after `attempts` attempts and the one that just failed: half of it is fixed, half hangs on the
    /// delivery, so that many do not come back together ("equal jitter"; Brooker, AWS 2015).
    fn pause_ms(&self, key: &str, attempts: u32) -> i64 {
        let doubled = self.pauses_ms.start().checked_shl(attempts.min(32));
        let full = doubled.unwrap_or(i64::MAX).clamp(1, *self.pauses_ms.end());
        let spread = crc32c::crc32c_append(crc32c::crc32c(key.as_bytes()), &attempts.to_le_bytes());
        let fixed = full / 2;
        fixed + i64::from(spread) % (full - fixed + 1)
    }
}

/// Milliseconds until a delivery may be tried; 0 when it may be now. A moment that no pause can have led to says
/// that the clock was set back since.
pub(super) fn due_in_ms(delivery: &Delivery, now: Timestamp) -> i64 {
    let wait = delivery.next_attempt.map_or(0, |at| at.since(now)).max(0);
    if wait > RETRY_AFTER_MAX_MS { 0 } else { wait }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fake::{START, delivery};

    fn failed(retry_at: Option<Timestamp>) -> DeliveryOutcome {
        DeliveryOutcome::Failed {
            error: String::new(),
            retry_at,
        }
    }

    fn pause(attempts: u32, key: &str, retry_after_ms: Option<i64>) -> i64 {
        let mut tried = delivery(1, "g");
        tried.attempts = attempts;
        key.clone_into(&mut tried.idempotency_key);
        let outcome = failed(retry_after_ms.map(|ms| START.plus_millis(ms)));
        let next = Backoff::new(1_000_000).next_attempt(&tried, &outcome, START, START);
        next.unwrap().since(START)
    }

    #[test]
    fn pauses_double_up_to_five_minutes() {
        for (attempts, full) in [
            (0, 1_000),
            (1, 2_000),
            (5, 32_000),
            (8, 256_000),
            (9, 300_000),
            (200, 300_000),
            (u32::MAX, 300_000),
        ] {
            let mut pauses: Vec<_> = (0..50)
                .map(|k| pause(attempts, &k.to_string(), None))
                .collect();
            let within = full / 2..=full;
            assert!(
                pauses.iter().all(|ms| within.contains(ms)),
                "{attempts}: {pauses:?}"
            );
            pauses.sort_unstable();
            pauses.dedup();
            assert!(pauses.len() > 25, "{attempts}: {pauses:?}");
        }
    }

    #[test]
    fn receivers_may_ask_for_more_but_not_for_less() {
        assert_eq!(pause(0, "k", Some(60_000)), 60_000);
        assert_eq!(pause(0, "k", Some(86_400_000)), RETRY_AFTER_MAX_MS);
        assert_eq!(pause(9, "k", Some(1)), pause(9, "k", None));
        assert_eq!(pause(0, "k", Some(-5_000)), pause(0, "k", None));
    }

    #[test]
    fn what_is_too_old_is_given_up() {
        let backoff = Backoff::new(10_000);
        let old = delivery(1, "g");
        let next = |started: i64, now: i64| {
            let [started, now] = [started, now].map(|ms| START.plus_millis(ms));
            backoff.next_attempt(&old, &failed(None), started, now)
        };
        assert!(next(-99_000, 9_999).is_some());
        assert_eq!(next(-99_000, 10_000), None);
        // The server was away.
        assert!(next(50_000, 59_999).is_some());
        assert_eq!(next(50_000, 60_000), None);
        let refused = DeliveryOutcome::Refused {
            error: String::new(),
        };
        for ended in [refused, DeliveryOutcome::Delivered] {
            assert_eq!(backoff.next_attempt(&old, &ended, START, START), None);
        }
    }

    #[test]
    fn a_clock_that_was_set_back_delays_nothing() {
        let at = |ms: i64| {
            let mut waiting = delivery(1, "g");
            waiting.next_attempt = Some(START.plus_millis(ms));
            due_in_ms(&waiting, START)
        };
        assert_eq!(at(-5), 0);
        assert_eq!(at(700), 700);
        assert_eq!(at(RETRY_AFTER_MAX_MS), RETRY_AFTER_MAX_MS);
        assert_eq!(at(RETRY_AFTER_MAX_MS + 1), 0);
    }
}
