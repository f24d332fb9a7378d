//! Traces in the file: spans come through the same group commit as samples, wait in memory and log, and are packed
//! into compressed blocks by hour and agent; an index finds a trace by its id, headers of blocks find one by what it
//! is like.

mod chunk;
mod draft;
mod heads;
mod keeping;
mod live;
mod operations;
mod packing;
mod prepare;
mod reading;
mod recent;
mod searching;

pub use draft::{SpanChange, SpanChanged};
pub use keeping::Kept;
pub use live::TracePin;
pub use prepare::{SpanAppend, SpanRejection, SpansAppended};

pub(super) use draft::{PreparedChange, SpanDraft};
pub(super) use heads::SpanHeads;
pub(super) use keeping::apply_retention;
pub(super) use live::{LiveTraces, decode_open, decode_pin};
pub(super) use packing::{SpanFlush, pack_now, write_packed};
pub(super) use prepare::{PreparedSpans, known_hours, prepare};
pub(super) use recent::RecentTraces;

use crate::model::Timestamp;

/// Nanoseconds of the hour that keys of blocks begin with.
const HOUR_NS: i64 = 3_600_000_000_000;
/// Spans of one block.
const BLOCK_SPANS_MAX: usize = 512;
/// Bytes of a block's attributes and texts before compression, about; a block of large spans has fewer.
const BLOCK_TEXT_BYTES_MAX: usize = 1 << 20;
/// Level of zstd for blocks in the log: fast.
const LOG_LEVEL: i32 = 1;
/// Level of zstd for blocks that stay.
const BLOCK_LEVEL: i32 = 3;

/// Number of the hour that holds a moment, counted from the epoch.
fn hour_at(time: Timestamp) -> i32 {
    let hour = time.as_millis().div_euclid(HOUR_NS / 1_000_000);
    hour.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

/// Nanoseconds of a moment, saturating.
const fn nanoseconds(time: Timestamp) -> i64 {
    time.as_millis().saturating_mul(1_000_000)
}
