//! How a window is read: days that are settled from their rollups, everything else from blocks and heads.

use redb::{AccessGuard, ReadOnlyTable};

use super::tables::{self, Tier};
use crate::{
    codec::{BlockError, Day, DayEntry, DaySeries},
    model::{
        AgentNo, DAY_MS, Sample, SeriesExtent, SeriesNo, Summary, Timestamp, Window, greater,
        lesser,
    },
};

/// Table of rollups, to read from.
pub(super) type Rollups = ReadOnlyTable<(u8, i32, u32), &'static [u8]>;

/// A stretch of a window, in order of time.
pub(super) enum Segment {
    /// Read blocks and heads.
    Samples(Window),
    /// A whole day with its row of rollups.
    Day(i32, AccessGuard<'static, &'static [u8]>),
}

/// First moment of a day.
pub(super) const fn day_start(day: i32) -> Timestamp {
    Timestamp::from_millis(day as i64 * DAY_MS)
}

/// Last moment of a day.
pub(super) const fn day_end(day: i32) -> Timestamp {
    Timestamp::from_millis((day as i64 + 1) * DAY_MS - 1)
}

/// The window that holds exactly the moments of a day.
pub(super) const fn whole_day(day: i32) -> Window {
    Window::closed(day_start(day), day_end(day))
}

/// First and last day that lie in the window as a whole, if any does.
pub(super) const fn whole_days(window: Window) -> Option<(i32, i32)> {
    let first = window.from.day().saturating_add(1);
    let last = window.to.plus_millis(1).day().saturating_sub(1);
    if first <= last {
        Some((first, last))
    } else {
        None
    }
}

/// First and last day that have rollups of a tier.
pub(super) fn days_of(table: &Rollups, tier: Tier) -> Result<Option<(i32, i32)>, redb::Error> {
    let mut rows = table.range(tables::rollups_of_tier(tier, i32::MAX))?;
    let Some(first) = rows.next() else {
        return Ok(None);
    };
    let first = first?.0.value().1;
    let last = match rows.next_back() {
        Some(row) => row?.0.value().1,
        None => first,
    };
    Ok(Some((first, last)))
}

/// Cuts a window of one agent into segments. Samples in its head overrule rollups, so days from `head_first`
/// (milliseconds) on are read from samples.
pub(super) fn segments(
    table: &Rollups,
    tier: Tier,
    agent: AgentNo,
    head_first: Option<i64>,
    window: Window,
) -> Result<Vec<Segment>, redb::Error> {
    let mut segments = Vec::new();
    let mut from = window.from;
    let samples_until = |from: Timestamp, to: Timestamp, segments: &mut Vec<Segment>| {
        let stretch = Window::new(from, to);
        segments.extend((stretch.length_ms() > 0).then_some(Segment::Samples(stretch)));
    };
    if let Some((mut first, mut last)) = whole_days(window)
        && let Some((oldest, newest)) = days_of(table, tier)?
    {
        first = first.max(oldest);
        last = last.min(newest);
        if let Some(head) = head_first {
            last = last.min(Timestamp::from_millis(head).day().saturating_sub(1));
        }
        for day in first..=last {
            let Some(row) = table.get((tier.key(), day, agent.0))? else {
                continue;
            };
            samples_until(from, day_start(day).plus_millis(-1), &mut segments);
            segments.push(Segment::Day(day, row));
            from = day_end(day);
        }
    }
    samples_until(from, window.to, &mut segments);
    Ok(segments)
}

/// Series of a day that are asked for.
///
/// # Errors
/// The row cannot be read; nothing was visited, so that the caller may fall back on the day's samples.
pub(super) fn series_of_day(
    row: &AccessGuard<'static, &'static [u8]>,
    wanted: impl Fn(SeriesNo) -> bool,
    mut visit: impl FnMut(&Day<'_>, DayEntry),
) -> Result<(), BlockError> {
    let day = Day::open(row.value())?;
    let mut entries = Vec::new();
    day.each(wanted, |entry| entries.push(entry))?;
    entries.into_iter().for_each(|entry| visit(&day, entry));
    Ok(())
}

/// How much a series has on a day.
pub(super) const fn extent_of_day(day: &DaySeries) -> SeriesExtent {
    SeriesExtent {
        no: day.no,
        first: Timestamp::from_millis(day.first.0),
        last: Timestamp::from_millis(day.last.0),
        samples: day.samples,
    }
}

/// Adds a day that lies after everything added so far.
pub(super) fn add_day(summary: &mut Summary, day: &DaySeries) {
    let sample = |(time, value): (i64, f64)| Sample {
        time: Timestamp::from_millis(time),
        value,
    };
    summary.samples += day.samples;
    summary.nans += day.nans;
    summary.first.get_or_insert(sample(day.first));
    summary.last = Some(sample(day.last));
    let Some(numbers) = &day.numbers else { return };
    numbers
        .sum_parts
        .iter()
        .for_each(|part| summary.sum.add(*part));
    summary
        .increase
        .push_stretch(numbers.first, numbers.last, numbers.dropped);
    summary.min = Some(summary.min.map_or(numbers.min, |m| lesser(m, numbers.min)));
    summary.max = Some(summary.max.map_or(numbers.max, |m| greater(m, numbers.max)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_days_are_left_open_like_the_window() {
        let at = Timestamp::from_millis;
        let days = |from: i64, to: i64| whole_days(Window::new(at(from), at(to)));
        assert_eq!(days(-1, DAY_MS - 1), Some((0, 0)));
        assert_eq!(days(-1, DAY_MS - 2), None);
        // The sample at midnight itself is not in the window.
        assert_eq!(days(0, DAY_MS), None);
        assert_eq!(days(0, 2 * DAY_MS), Some((1, 1)));
        assert_eq!(days(-5 * DAY_MS, 2 * DAY_MS - 1), Some((-4, 1)));
        assert!(whole_days(Window::until(at(0))).is_some());
    }
}
