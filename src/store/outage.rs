//! A time in which the file cannot be written: why, and when it is tried again.

use std::time::{Duration, Instant};

use super::{WriteError, backend::Room};

/// The longest pause, in steps.
const STEPS_MAX: u32 = 30;
/// So long after a pause without another failure, what fails then is another matter; in steps.
const CALM: u32 = 10;
/// Room gained on a disk that was full that is worth a try at once, in bytes.
const GAIN_WORTH_A_TRY: u64 = 1 << 20;

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// There was no room.
    DiskFull,
    /// Something else kept it from being written.
    Writing,
    /// It could not be read. Whether it can be written is not in doubt.
    Reading,
}

/// Pauses between tries: none, then a step, doubled up to [`STEPS_MAX`] of them.
#[derive(Debug)]
pub(super) struct Pauses {
    step: Duration,
    next: Duration,
    calm_from: Option<Instant>,
}

impl Pauses {
    pub(super) const fn new(step: Duration) -> Self {
        Self {
            step,
            next: Duration::ZERO,
            calm_from: None,
        }
    }

    /// The pause after a failure now.
    pub(super) fn after(&mut self, cause: Cause, now: Instant) -> Duration {
        if self.calm_from.is_none_or(|from| from <= now) {
            self.next = Duration::ZERO;
        }
        let mut pause = self.next;
        if cause == Cause::Reading {
            pause = pause.min(self.step);
        }
        self.next = (pause * 2).clamp(self.step, self.step * STEPS_MAX);
        self.calm_from = Some(now + pause + self.step * CALM);
        pause
    }
}

/// Why the file cannot be written, and how far its recovery is.
#[derive(Debug)]
pub(super) struct Outage {
    pub(super) since: Instant,
    /// What the disk or the engine said.
    pub(super) reason: String,
    pub(super) cause: Cause,
    /// When to open the file anew, so that it can be read; `None` once it is open.
    pub(super) open_at: Option<Instant>,
    /// When to try to write, once it is open.
    pub(super) write_at: Instant,
    /// Room when it failed last.
    pub(super) room: Option<Room>,
}

impl Outage {
    /// When something is to be done about it, at the latest.
    pub(super) fn next_try(&self) -> Instant {
        self.open_at.unwrap_or(self.write_at)
    }

    /// Whether to open the file anew now.
    pub(super) fn is_opening_due(&self, now: Instant) -> bool {
        self.open_at.is_some_and(|at| at <= now)
    }

    /// Whether to try to write now.
    pub(super) fn is_writing_due(&self, now: Instant, room: Option<Room>) -> bool {
        let has_room = || {
            let (Some(then), Some(room)) = (self.room, room) else {
                return false;
            };
            room.available >= then.available.saturating_add(GAIN_WORTH_A_TRY)
        };
        let is_time = self.write_at <= now || (self.cause == Cause::DiskFull && has_room());
        self.open_at.is_none() && is_time
    }

    /// What writers are told meanwhile.
    pub(super) fn refusal(&self, now: Instant) -> WriteError {
        let why = self.reason.clone();
        let wait = self
            .next_try()
            .max(self.write_at)
            .saturating_duration_since(now);
        let retry_after_seconds = wait.as_secs_f64().ceil().max(1.0) as u32;
        if self.cause == Cause::DiskFull {
            WriteError::DiskFull {
                why,
                retry_after_seconds,
            }
        } else {
            WriteError::Unavailable {
                why,
                retry_after_seconds,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_begin_anew_after_a_calm() {
        let step = Duration::from_secs(1);
        let mut pauses = Pauses::new(step);
        let mut now = Instant::now();
        let mut seconds = Vec::new();
        for _ in 0..9 {
            let pause = pauses.after(Cause::Writing, now);
            seconds.push(pause.as_secs());
            now += pause;
        }
        assert_eq!(seconds, [0, 1, 2, 4, 8, 16, 30, 30, 30]);
        now += step * CALM;
        assert_eq!(pauses.after(Cause::Writing, now), Duration::ZERO);
        // Who reads a bad sector again and again keeps nobody from writing for long.
        for _ in 0..9 {
            now += pauses.after(Cause::Reading, now);
        }
        assert_eq!(pauses.after(Cause::Reading, now), step);
    }

    #[test]
    fn a_full_disk_is_tried_again_when_it_has_gained_room() {
        let now = Instant::now();
        let room = |available| {
            Some(Room {
                available,
                total: 1 << 30,
                file: 0,
            })
        };
        let mut outage = Outage {
            since: now,
            reason: "no space left".into(),
            cause: Cause::DiskFull,
            open_at: None,
            write_at: now + Duration::from_secs(3),
            room: room(10),
        };
        assert!(!outage.is_writing_due(now, room(500_000)));
        assert!(outage.is_writing_due(now, room(2 << 20)));
        assert!(outage.is_writing_due(now + Duration::from_secs(3), None));
        let told = outage.refusal(now);
        assert!(
            matches!(
                &told,
                WriteError::DiskFull {
                    retry_after_seconds: 3,
                    ..
                }
            ),
            "{told:?}"
        );
        outage.cause = Cause::Writing;
        assert!(!outage.is_writing_due(now, room(2 << 20)));
        outage.open_at = Some(now);
        assert!(!outage.is_writing_due(now + Duration::from_secs(9), None));
        assert!(matches!(
            outage.refusal(now + Duration::from_secs(9)),
            WriteError::Unavailable {
                retry_after_seconds: 1,
                ..
            }
        ));
    }
}
