//! Rations commits: each costs tens of kilobytes beside its payload, so a stream of tiny pushes must
//! share commits, while a lone push does not wait at all.

use std::time::{Duration, Instant};

/// What a quiet time saves up for a burst of commits, in seconds of budget: the budget is there for what
/// a disk takes in a day, not in a moment.
const BURST_SECONDS: f64 = 60.0;
/// What a burst may leave to be saved first, in seconds of budget.
const DEBT_SECONDS: f64 = 1.0;
/// The same for a single commit: on a file of many gigabytes one costs more than [`DEBT_SECONDS`], and the budget would
/// not be kept if it did not pay for itself.
const COMMIT_DEBT_SECONDS: f64 = 10.0;

/// Payload pays for itself so many times: a stream of large commits is worth what the disk has to do for it.
const PAYLOAD_FACTOR: u64 = 8;

/// A budget of bytes per second. What a commit writes beyond [`PAYLOAD_FACTOR`] times its payload is its overhead.
#[derive(Debug)]
pub(super) struct Ration {
    bytes_per_second: f64,
    available: f64,
    /// Below nothing, what is available at the least.
    debt: f64,
    filled_at: Instant,
}

impl Ration {
    pub(super) fn new(bytes_per_second: u64, now: Instant) -> Self {
        let bytes_per_second = bytes_per_second.max(1) as f64;
        Self {
            bytes_per_second,
            available: bytes_per_second * BURST_SECONDS,
            debt: bytes_per_second * DEBT_SECONDS,
            filled_at: now,
        }
    }

    /// Takes the overhead of a commit off the budget.
    pub(super) fn spend(&mut self, written: u64, payload: u64, now: Instant) {
        self.fill(now);
        let overhead = written.saturating_sub(PAYLOAD_FACTOR * payload) as f64;
        self.available -= overhead;
        self.debt = overhead.clamp(
            self.bytes_per_second * DEBT_SECONDS,
            self.bytes_per_second * COMMIT_DEBT_SECONDS,
        );
    }

    /// How long the next commit should wait.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        self.fill(now);
        if self.available >= 0.0 {
            return Duration::ZERO;
        }
        // The bound on debt bounds the wait of an acknowledgement.
        Duration::from_secs_f64((-self.available).min(self.debt) / self.bytes_per_second)
    }

    fn fill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.filled_at = now;
        let full = self.bytes_per_second * BURST_SECONDS;
        let filled = self.available.max(-self.debt) + seconds * self.bytes_per_second;
        self.available = filled.min(full);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_commit_does_not_wait_and_a_stream_does() {
        let start = Instant::now();
        let mut ration = Ration::new(1_000_000, start);
        assert_eq!(ration.wait(start), Duration::ZERO);
        for _ in 0..1_600 {
            ration.spend(45_000, 500, start);
        }
        let wait = ration.wait(start);
        assert!(
            wait > Duration::from_millis(500) && wait <= Duration::from_secs(1),
            "{wait:?}"
        );
        assert_eq!(ration.wait(start + Duration::from_secs(2)), Duration::ZERO);
    }

    #[test]
    fn a_stream_of_commits_keeps_the_budget_however_much_one_costs() {
        for cost in [50_000, 900_000, 1_500_000, 6_000_000] {
            let mut now = Instant::now();
            let mut ration = Ration::new(1_000_000, now);
            let mut written = 0;
            let hour = now + Duration::from_hours(1);
            while now < hour {
                ration.spend(cost, 0, now);
                written += cost;
                now += ration.wait(now);
            }
            let a_second = written as f64 / 3_600.0;
            // What had been saved for a burst is in it.
            assert!(a_second < 1_020_000.0, "{cost}: {a_second}");
        }
    }

    #[test]
    fn payload_pays_for_itself() {
        let start = Instant::now();
        let mut ration = Ration::new(1, start);
        for _ in 0..1_000 {
            ration.spend(640_000, 80_000, start);
        }
        assert_eq!(ration.wait(start), Duration::ZERO);
    }
}
