//! Works rollups out of the samples of a day. They are always computed anew from deduplicated samples.

use std::ops::Range;

use super::{pieces::Columns, tables::Tier};
use crate::{
    codec::{
        BlockError, BucketRow, Buckets, CounterBorders, DISTINCT_VALUES_MAX, Day, DayEntry,
        DaySeries, NumberStatistics, SUM_PARTS_MAX, SeriesBuckets, ValueCounts, encode_buckets,
        encode_day, sum_parts,
    },
    model::{ExactSum, Increase, SeriesNo, end_of_bucket, greater, is_stale_marker, lesser},
};

/// Milliseconds of the finer tiers.
pub(super) const FIVE_MINUTES_MS: i64 = 300_000;
pub(super) const HOUR_MS: i64 = 3_600_000;
/// A series that falls more seldom than this, in samples a drop, looks like a counter.
const SAMPLES_PER_DROP_MIN: usize = 16;

/// Rollups of one agent and day, series by series.
#[derive(Debug, Default)]
pub(super) struct DayRollups {
    day: Vec<(DaySeries, Option<ValueCounts>)>,
    hours: Vec<SeriesBuckets>,
    five_minutes: Vec<SeriesBuckets>,
}

/// The three rows of an agent's day.
#[derive(Debug)]
pub(super) struct EncodedRollups {
    pub(super) day: Vec<u8>,
    pub(super) hours: Vec<u8>,
    pub(super) five_minutes: Vec<u8>,
}

impl DayRollups {
    /// Takes a series' samples of the day in. `with_counts` keeps how often each value occurs, too.
    pub(super) fn add(&mut self, no: SeriesNo, columns: &Columns, with_counts: bool) {
        let (times, values): (Vec<i64>, Vec<f64>) = columns
            .times
            .iter()
            .zip(&columns.values)
            .filter(|(_, value)| !is_stale_marker(**value))
            .unzip();
        let Some(day) = day_series(no, &times, &values) else {
            return;
        };
        let counts = with_counts.then(|| value_counts(&values)).flatten();
        self.day.push((day, counts));
        let looks_like_counter = looks_like_counter(&values);
        let buckets = |step| buckets(no, &times, &values, step, looks_like_counter);
        self.hours.push(buckets(HOUR_MS));
        self.five_minutes.push(buckets(FIVE_MINUTES_MS));
    }

    /// Whether no series has anything.
    pub(super) const fn is_empty(&self) -> bool {
        self.day.is_empty()
    }

    /// As they are stored.
    pub(super) fn encode(mut self) -> EncodedRollups {
        self.day.sort_by_key(|(series, _)| series.no);
        self.hours.sort_by_key(|series| series.no);
        self.five_minutes.sort_by_key(|series| series.no);
        EncodedRollups {
            day: encode_day(&self.day),
            hours: encode_buckets(&self.hours),
            five_minutes: encode_buckets(&self.five_minutes),
        }
    }
}

impl EncodedRollups {
    /// The rows by tier.
    pub(super) fn into_rows(self) -> Vec<(Tier, Vec<u8>)> {
        vec![
            (Tier::Day, self.day),
            (Tier::Hour, self.hours),
            (Tier::FiveMinutes, self.five_minutes),
        ]
    }
}

/// A row without the series that have `expired` (ascending): `None` when it has none of them, no bytes when it has no
/// others.
///
/// # Errors
/// [`BlockError`] when the row cannot be read.
pub(super) fn without(
    tier: Tier,
    row: &[u8],
    expired: &[SeriesNo],
) -> Result<Option<Vec<u8>>, BlockError> {
    let stays = |no: SeriesNo| expired.binary_search(&no).is_err();
    if tier == Tier::Day {
        let mut all = read_day(row)?;
        let before = all.len();
        all.retain(|(series, _)| stays(series.no));
        return Ok((all.len() < before).then(|| {
            if all.is_empty() {
                Vec::new()
            } else {
                encode_day(&all)
            }
        }));
    }
    let mut all = read_buckets(row)?;
    let before = all.len();
    all.retain(|series| stays(series.no));
    Ok((all.len() < before).then(|| {
        if all.is_empty() {
            Vec::new()
        } else {
            encode_buckets(&all)
        }
    }))
}

/// Whether two rows of days tell the same, however they are encoded. Counts are compared where both have them.
///
/// # Errors
/// [`BlockError`] when the first cannot be read; the second was made just now.
pub(super) fn same_day(stored: &[u8], computed: &[u8]) -> Result<bool, BlockError> {
    let (mut stored, mut computed) = (read_day(stored)?, read_day(computed)?);
    for ((_, a), (_, b)) in stored.iter_mut().zip(&mut computed) {
        if a.is_none() || b.is_none() {
            (*a, *b) = (None, None);
        }
    }
    // As bytes, so that NaNs are equal to themselves.
    Ok(encode_day(&stored) == encode_day(&computed))
}

fn read_day(bytes: &[u8]) -> Result<Vec<(DaySeries, Option<ValueCounts>)>, BlockError> {
    let day = Day::open(bytes)?;
    let mut entries = Vec::new();
    day.each(|_| true, |entry| entries.push(entry))?;
    let with_counts = |entry: DayEntry| {
        let counts = entry.counts.map(|at| day.counts(at)).transpose()?;
        Ok((entry.series, counts))
    };
    entries.into_iter().map(with_counts).collect()
}

/// Whether two rows of buckets tell the same, however they are encoded.
///
/// # Errors
/// [`BlockError`] when the first cannot be read; the second was made just now.
pub(super) fn same_buckets(stored: &[u8], computed: &[u8]) -> Result<bool, BlockError> {
    let (stored, computed) = (read_buckets(stored)?, read_buckets(computed)?);
    Ok(encode_buckets(&stored) == encode_buckets(&computed))
}

fn read_buckets(bytes: &[u8]) -> Result<Vec<SeriesBuckets>, BlockError> {
    let buckets = Buckets::open(bytes)?;
    let all: Vec<SeriesNo> = buckets.series().collect();
    let mut found = Vec::with_capacity(all.len());
    for no in all {
        found.extend(buckets.of(no)?);
    }
    Ok(found)
}

fn day_series(no: SeriesNo, times: &[i64], values: &[f64]) -> Option<DaySeries> {
    let first = (*times.first()?, *values.first()?);
    let last = (*times.last()?, *values.last()?);
    let numbers: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    Some(DaySeries {
        no,
        samples: values.len() as u64,
        nans: (values.len() - numbers.len()) as u64,
        first,
        last,
        numbers: number_statistics(&numbers),
    })
}

fn number_statistics(numbers: &[f64]) -> Option<NumberStatistics> {
    let (first, last) = (*numbers.first()?, *numbers.last()?);
    let mut sum = ExactSum::default();
    let mut increase = Increase::default();
    for value in numbers {
        sum.add(*value);
        increase.push(*value);
    }
    Some(NumberStatistics {
        first,
        last,
        min: numbers.iter().copied().fold(first, lesser),
        max: numbers.iter().copied().fold(first, greater),
        sum_parts: sum_parts(&sum),
        dropped: increase.dropped(),
    })
}

/// How often each number occurs; `None` when that is no smaller than the numbers themselves.
fn value_counts(values: &[f64]) -> Option<ValueCounts> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let most = DISTINCT_VALUES_MAX.min(sorted.len() / 2);
    let mut found = ValueCounts::default();
    for same in sorted.chunk_by(|a, b| a.to_bits() == b.to_bits()) {
        if found.values.len() == most {
            return None;
        }
        found.values.push(same[0]);
        found.counts.push(same.len() as u64);
    }
    Some(found)
}

/// Whether the increase of the series may be asked for. Keeping its borders for every gauge would cost as much
/// as the rest of its buckets.
fn looks_like_counter(values: &[f64]) -> bool {
    let drops = values.windows(2).filter(|pair| pair[1] < pair[0]).count();
    values.iter().all(|v| v.is_finite()) && drops * SAMPLES_PER_DROP_MIN <= values.len()
}

fn buckets(
    no: SeriesNo,
    times: &[i64],
    values: &[f64],
    step_ms: i64,
    is_counter: bool,
) -> SeriesBuckets {
    let mut rows = Vec::new();
    let mut is_exact = true;
    let mut start = 0;
    while let Some(first) = times.get(start) {
        let end_ms = end_of_bucket(*first, step_ms);
        let end = start + times[start..].partition_point(|t| *t <= end_ms);
        let (row, row_is_exact) = row(end_ms, times, values, start..end, is_counter);
        is_exact &= row_is_exact;
        rows.push(row);
        start = end;
    }
    SeriesBuckets { no, is_exact, rows }
}

fn row(
    end_ms: i64,
    times: &[i64],
    values: &[f64],
    range: Range<usize>,
    is_counter: bool,
) -> (BucketRow, bool) {
    let (times, values) = (&times[range.clone()], &values[range]);
    let mut sum = ExactSum::default();
    let mut increase = Increase::default();
    let (mut min, mut max) = (f64::NAN, f64::NAN);
    let mut numbers = 0;
    for value in values.iter().copied().filter(|v| !v.is_nan()) {
        sum.add(value);
        increase.push(value);
        (min, max) = if numbers == 0 {
            (value, value)
        } else {
            (lesser(min, value), greater(max, value))
        };
        numbers += 1;
    }
    let parts = sum_parts(&sum);
    let mut kept = [0.0; SUM_PARTS_MAX];
    for (slot, part) in kept.iter_mut().zip(&parts) {
        *slot = *part;
    }
    let counter = is_counter.then(|| CounterBorders {
        first: values[0],
        first_ms: times[0],
        last_ms: times[times.len() - 1],
        dropped: increase.dropped(),
    });
    let row = BucketRow {
        end_ms,
        samples: values.len() as u64,
        nans: values.len() as u64 - numbers,
        min,
        max,
        last: values[values.len() - 1],
        sum_parts: kept,
        counter,
    };
    (row, parts.len() <= SUM_PARTS_MAX)
}
