//! Writes blocks.

use super::{
    DROPPED, FORMAT, GAPS, STALE, STATISTICS,
    statistics::{Statistics, put_f64},
};
use crate::{
    codec::{Effort, sealed::seal, times, values, varint},
    model::{SeriesNo, is_stale_marker},
};

/// One series' part of a block to be written: times strictly increasing, as many values.
#[derive(Clone, Copy, Debug)]
pub struct SeriesColumns<'a> {
    /// Which series.
    pub no: SeriesNo,
    /// Milliseconds since the epoch.
    pub times: &'a [i64],
    /// Values, stale markers included.
    pub values: &'a [f64],
}

/// A time column while a block is built, and the series laid on it.
struct TimeColumnPlan<'a> {
    times: &'a [i64],
}

/// Bit per entry of `column`: whether `times` has it. `None` when `times` has one that `column` lacks.
fn gaps_bitmap(column: &[i64], times: &[i64]) -> Option<Vec<u8>> {
    let mut bitmap = vec![0u8; column.len().div_ceil(8)];
    let mut wanted = times.iter().peekable();
    for (i, time) in column.iter().enumerate() {
        if wanted.peek() == Some(&time) {
            wanted.next();
            bitmap[i / 8] |= 1 << (i % 8);
        }
    }
    wanted.next().is_none().then_some(bitmap)
}

/// Finds the time column that a series can lie on, making one where none serves.
fn place<'a>(columns: &mut Vec<TimeColumnPlan<'a>>, times: &'a [i64]) -> (usize, Option<Vec<u8>>) {
    if let Some(same) = columns.iter().position(|c| c.times == times) {
        return (same, None);
    }
    for (i, column) in columns.iter().enumerate() {
        // A column of its own costs about a byte a sample when its times are jittered.
        let bitmap_pays = column.times.len() / 8 <= times.len() + 8;
        let may_hold = column.times.len() > times.len()
            && column.times.first() <= times.first()
            && column.times.last() >= times.last();
        if bitmap_pays
            && may_hold
            && let Some(bitmap) = gaps_bitmap(column.times, times)
        {
            return (i, Some(bitmap));
        }
    }
    columns.push(TimeColumnPlan { times });
    (columns.len() - 1, None)
}

/// Writes a block. `series` is sorted by number, each non-empty with at most
/// [`SERIES_SAMPLES_MAX`](super::SERIES_SAMPLES_MAX) samples.
pub fn encode_block(series: &[SeriesColumns<'_>], effort: Effort) -> Vec<u8> {
    // Long series first, so that those with gaps find a column to lie on.
    let mut by_length: Vec<usize> = (0..series.len()).collect();
    by_length.sort_by_key(|i| std::cmp::Reverse(series[*i].times.len()));
    let mut columns = Vec::new();
    let mut places = vec![(0, None); series.len()];
    for i in by_length {
        places[i] = place(&mut columns, series[i].times);
    }

    let mut directory = Vec::new();
    let mut data = Vec::new();
    varint::put_u64(&mut directory, columns.len() as u64);
    for column in &columns {
        let start = data.len();
        times::encode(column.times, &mut data);
        put_range(&mut directory, column.times);
        varint::put_u64(&mut directory, (data.len() - start) as u64);
    }
    varint::put_u64(&mut directory, series.len() as u64);
    let mut before = 0;
    for (columns, (column, bitmap)) in series.iter().zip(&places) {
        varint::put_u64(&mut directory, u64::from(columns.no.0 - before));
        before = columns.no.0;
        put_series(
            &mut directory,
            &mut data,
            columns,
            *column,
            bitmap.as_deref(),
            effort,
        );
    }

    seal(FORMAT, &directory, &data)
}

/// `count | first | last - first` of strictly increasing times.
fn put_range(out: &mut Vec<u8>, times: &[i64]) {
    let (first, last) = (
        times.first().copied().unwrap_or(0),
        times.last().copied().unwrap_or(0),
    );
    varint::put_u64(out, times.len() as u64);
    varint::put_i64(out, first);
    varint::put_u64(out, last.wrapping_sub(first) as u64);
}

fn put_series(
    directory: &mut Vec<u8>,
    data: &mut Vec<u8>,
    columns: &SeriesColumns<'_>,
    time_column: usize,
    bitmap: Option<&[u8]>,
    effort: Effort,
) {
    let stale = columns
        .values
        .iter()
        .filter(|v| is_stale_marker(**v))
        .count();
    let statistics = Statistics::of(columns.values);
    let dropped = statistics.as_ref().map_or(0.0, |s| s.dropped);
    let flag = |on: bool, bit: u8| if on { bit } else { 0 };
    directory.push(
        flag(bitmap.is_some(), GAPS)
            | flag(stale > 0, STALE)
            | flag(statistics.is_some(), STATISTICS)
            | flag(dropped != 0.0, DROPPED),
    );
    varint::put_u64(directory, time_column as u64);
    if let Some(bitmap) = bitmap {
        data.extend_from_slice(bitmap);
    }
    let start = data.len();
    values::encode(columns.values, effort, data);
    varint::put_u64(directory, (data.len() - start) as u64);
    if bitmap.is_some() {
        put_range(directory, columns.times);
    }
    if stale > 0 {
        varint::put_u64(directory, stale as u64);
    }
    if let Some(statistics) = statistics {
        statistics.put(directory);
    }
    if dropped != 0.0 {
        put_f64(directory, dropped);
    }
}
