//! The disk reserve: room that is left to the care of the file, and to others. When it is touched, new samples are
//! refused; what frees room and what keeps history true goes on in it.
//!
//! What counts is what the file system has left. The file grows by long steps, but its new part is a hole that takes
//! room only page by page as it is written, so that steps need not be counted ahead.

use std::time::{Duration, Instant};

use super::{WriteError, backend::Room};

/// The reserve unless it is set; less on a small disk ([`SHARE_OF_DISK`]).
const BYTES_DEFAULT: u64 = 256_000_000;
/// The reserve is this part of the disk, where that is less than [`BYTES_DEFAULT`].
const SHARE_OF_DISK: u64 = 20;
/// The disk is looked at so often, while there are commits and while there are none.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// And after so many bytes were written to the file, or [`LOOK_PART`] of the reserve where that is less: what is written
/// unseen must not eat it up.
const LOOK_BYTES: u64 = 16 << 20;
const LOOK_PART: u64 = 8;
/// Room beyond the reserve that ends the state, as a part of the reserve; keeps it from flickering.
const SLACK_PART: u64 = 16;
/// A refused writer is told to come again after this.
const RETRY_SECONDS: u32 = 10;

/// What the disk has and what is kept of it, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) available: u64,
    pub(super) reserve: u64,
}

/// What a look at the disk changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// There is less room than the reserve.
    Entered,
    /// There is enough again.
    Left,
}

/// Watches the room on the database's disk.
#[derive(Debug)]
pub(super) struct Reserve {
    /// As it is set, in bytes; `None` is the default.
    setting: Option<u64>,
    looked: Option<(Instant, u64)>,
    room: Option<Room>,
    is_short: bool,
    /// While the reserve is touched: size of the file on the disk up to which samples are taken all the same.
    may_fill: Option<u64>,
}

impl Reserve {
    pub(super) const fn new(setting: Option<u64>) -> Self {
        Self {
            setting,
            looked: None,
            room: None,
            is_short: false,
            may_fill: None,
        }
    }

    /// Whether to look at the disk; `written` counts the bytes written to the file so far.
    pub(super) fn is_look_due(&self, now: Instant, written: u64) -> bool {
        let reserve = self.room.map_or(0, |room| self.size(room));
        let bytes = LOOK_BYTES.min(reserve / LOOK_PART);
        self.looked.is_none_or(|(at, then)| {
            now.saturating_duration_since(at) >= LOOK_INTERVAL
                || (reserve > 0 && written.saturating_sub(then) >= bytes)
        })
    }

    /// Takes in what was seen.
    pub(super) fn look(&mut self, room: Room, now: Instant, written: u64) -> Option<Change> {
        self.looked = Some((now, written));
        self.room = Some(room);
        let reserve = self.size(room);
        let is_short = if self.is_short {
            room.available < reserve.saturating_add(reserve / SLACK_PART)
        } else {
            room.available < reserve
        };
        if is_short == self.is_short {
            return None;
        }
        self.is_short = is_short;
        self.may_fill = None;
        Some(if is_short {
            Change::Entered
        } else {
            Change::Left
        })
    }

    /// Notes that the disk cannot be asked; what was known stays.
    pub(super) fn look_failed(&mut self, now: Instant, written: u64) {
        self.looked = Some((now, written));
    }

    /// Notes that retention deleted samples. The file keeps the room that they had, and may be filled again as far
    /// as it does not grow by more than a fraction of the reserve: a disk that the file itself has filled must not
    /// stop it for ever.
    pub(super) fn note_deletion(&mut self) {
        if let Some(room) = self.room.filter(|_| self.is_short) {
            self.may_fill = Some(room.file.saturating_add(self.size(room) / SLACK_PART));
        }
    }

    /// Whether there is less room than the reserve.
    pub(super) const fn is_short(&self) -> bool {
        self.is_short
    }

    /// Why new samples are not taken; `None` when they are.
    pub(super) fn refusal(&self) -> Option<WriteError> {
        let room = self.room.filter(|_| self.is_short)?;
        if self.may_fill.is_some_and(|most| room.file <= most) {
            return None;
        }
        let (available, reserve) = (megabytes(room.available), megabytes(self.size(room)));
        Some(WriteError::DiskFull {
            why: format!(
                "{available} are free, and {reserve} are kept in reserve (storage.disk_reserve)"
            ),
            retry_after_seconds: RETRY_SECONDS,
        })
    }

    /// The room seen last.
    pub(super) const fn room(&self) -> Option<Room> {
        self.room
    }

    /// What was seen last, for people.
    pub(super) fn disk(&self) -> Option<Disk> {
        self.room.map(|room| Disk {
            available: room.available,
            reserve: self.size(room),
        })
    }

    fn size(&self, room: Room) -> u64 {
        size(self.setting, room)
    }
}

/// Bytes that are kept in reserve on a disk.
pub(super) fn size(setting: Option<u64>, room: Room) -> u64 {
    setting.unwrap_or_else(|| BYTES_DEFAULT.min(room.total / SHARE_OF_DISK))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(available: u64, file: u64) -> Room {
        Room {
            available,
            total: 10_000_000_000,
            file,
        }
    }

    #[test]
    fn it_is_a_part_of_a_small_disk() {
        let on_disk = |total| {
            size(
                None,
                Room {
                    total,
                    ..room(0, 0)
                },
            )
        };
        assert_eq!(on_disk(100_000_000_000), BYTES_DEFAULT);
        assert_eq!(on_disk(2_000_000_000), 100_000_000);
        assert_eq!(size(Some(0), room(0, 0)), 0);
        let mut off = Reserve::new(Some(0));
        assert_eq!(off.look(room(0, 0), Instant::now(), 0), None);
        assert_eq!(off.refusal(), None);
    }

    #[test]
    fn it_is_entered_and_left_once() {
        let now = Instant::now();
        let mut reserve = Reserve::new(Some(1_600));
        assert_eq!(reserve.look(room(1_600, 0), now, 0), None);
        assert_eq!(reserve.refusal(), None);
        assert_eq!(reserve.look(room(1_599, 0), now, 0), Some(Change::Entered));
        assert_eq!(reserve.look(room(3, 0), now, 0), None);
        let Some(WriteError::DiskFull { why, .. }) = reserve.refusal() else {
            panic!("samples are taken");
        };
        assert!(why.contains("storage.disk_reserve"), "{why}");
        // Just enough is not yet enough.
        assert_eq!(reserve.look(room(1_699, 0), now, 0), None);
        assert!(reserve.refusal().is_some());
        assert_eq!(reserve.look(room(1_700, 0), now, 0), Some(Change::Left));
        assert_eq!(reserve.refusal(), None);
    }

    #[test]
    fn what_retention_freed_in_the_file_may_be_filled_again() {
        let now = Instant::now();
        let mut reserve = Reserve::new(Some(1_600));
        reserve.look(room(1_000, 5_000), now, 0);
        assert!(reserve.refusal().is_some());
        reserve.note_deletion();
        assert_eq!(reserve.refusal(), None);
        reserve.look(room(950, 5_100), now, 0);
        assert_eq!(reserve.refusal(), None, "it grew by a little");
        reserve.look(room(900, 5_101), now, 0);
        assert!(reserve.refusal().is_some(), "the file lives off the disk");
        // With room again, an earlier deletion says nothing of the next time.
        reserve.note_deletion();
        reserve.look(room(9_000, 5_100), now, 0);
        reserve.look(room(1_000, 5_100), now, 0);
        assert!(reserve.refusal().is_some());
    }

    #[test]
    fn the_disk_is_looked_at_by_time_and_by_bytes() {
        let now = Instant::now();
        let mut reserve = Reserve::new(None);
        assert!(reserve.is_look_due(now, 0));
        reserve.look(room(1 << 40, 0), now, 0);
        assert!(!reserve.is_look_due(now, LOOK_BYTES - 1));
        assert!(reserve.is_look_due(now, LOOK_BYTES));
        assert!(reserve.is_look_due(now + LOOK_INTERVAL, 0));
        let mut small = Reserve::new(Some(800));
        small.look(room(1 << 40, 0), now, 0);
        assert!(!small.is_look_due(now, 99) && small.is_look_due(now, 100));
    }
}
