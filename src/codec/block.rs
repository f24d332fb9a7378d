//! A block: the samples of one group of an agent's series over a stretch of one UTC day.
//!
//! ```text
//! format: u8 = 1 | directory length: varint | directory | CRC32C of all before: u32
//!   | data | CRC32C of data: u32
//!
//! directory: time columns: varint
//!   per time column: count: varint | first: zigzag varint | last - first: varint | bytes: varint
//!   series: varint
//!   per series, ascending: series - series before: varint | flags: u8 | time column: varint
//!     | value bytes: varint
//!     | GAPS:  count: varint | first: zigzag varint | last - first: varint
//!     | STALE: stale markers: varint
//!     | STATISTICS: first, last, min, max: f64 each | parts: varint | sum part: f64 each
//!     | DROPPED: values before counter resets, summed: f64
//! data: time columns in order; then per series: GAPS: bitmap over its time column (lowest bit first),
//!   ceil(count / 8) bytes; value column
//! ```
//! Series that are scraped together share one time column; one that misses some of them has a bitmap
//! beside it. Directory and data have checksums of their own, so that a question which the directory
//! answers reads nothing else. Statistics are there only for a series with at least
//! [`STATISTICS_SAMPLES_MIN`] samples, all finite: then they equal what decoding would give.

use super::{Corrupt, Effort, times, values, varint};
use crate::model::{ExactSum, Increase, SeriesNo, greater, is_stale_marker, lesser};

const FORMAT: u8 = 1;

const GAPS: u8 = 1;
const STALE: u8 = 2;
const STATISTICS: u8 = 4;
const DROPPED: u8 = 8;

/// Below this many samples, statistics cost more bytes than the samples they stand for.
pub const STATISTICS_SAMPLES_MIN: usize = 16;
/// Samples of one series in one block; also bounds what a damaged count may allocate.
pub const SERIES_SAMPLES_MAX: usize = 1 << 16;

/// Times of all columns of a block, which are kept while it is read: those of a group of 64 series none of which
/// shares its own. Bounds what damaged counts may allocate (32 MiB).
const COLUMN_TIMES_MAX: usize = 64 * SERIES_SAMPLES_MAX;

const DIRECTORY_CUT_OFF: Corrupt = Corrupt::new("a block's directory is cut off");

/// Why a block could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Bytes that no longwatch wrote.
    #[error("{0}")]
    Corrupt(Corrupt),
    /// A format that this binary does not know.
    #[error("block of format {0}")]
    Newer(u8),
}

impl From<Corrupt> for BlockError {
    fn from(corrupt: Corrupt) -> Self {
        Self::Corrupt(corrupt)
    }
}

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

/// Statistics of a series in a block; only for series whose values are all finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// Value that is first in time.
    pub first: f64,
    /// Value that is last in time.
    pub last: f64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Doubles that add up to the exact sum.
    pub sum_parts: Vec<f64>,
    /// Sum of the values before each drop, for the increase of a counter.
    pub dropped: f64,
}

impl Statistics {
    /// Computes the statistics; `None` for few samples or values that are not finite.
    pub fn of(values: &[f64]) -> Option<Self> {
        let (first, last) = (*values.first()?, *values.last()?);
        if values.len() < STATISTICS_SAMPLES_MIN || !values.iter().all(|v| v.is_finite()) {
            return None;
        }
        let mut sum = ExactSum::default();
        let mut increase = Increase::default();
        let (mut min, mut max) = (first, first);
        for value in values {
            sum.add(*value);
            increase.push(*value);
            min = lesser(min, *value);
            max = greater(max, *value);
        }
        let sum_parts = sum.parts()?;
        Some(Self {
            first,
            last,
            min,
            max,
            sum_parts,
            dropped: increase.dropped(),
        })
    }

    fn put(&self, out: &mut Vec<u8>) {
        for value in [self.first, self.last, self.min, self.max] {
            put_f64(out, value);
        }
        varint::put_u64(out, self.sum_parts.len() as u64);
        for part in &self.sum_parts {
            put_f64(out, *part);
        }
    }

    fn take(input: &mut &[u8]) -> Result<Self, Corrupt> {
        let [first, last, min, max] = [
            take_f64(input)?,
            take_f64(input)?,
            take_f64(input)?,
            take_f64(input)?,
        ];
        let sum_parts = (0..take_part_count(input)?)
            .map(|_| take_f64(input))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            first,
            last,
            min,
            max,
            sum_parts,
            dropped: 0.0,
        })
    }

    /// Passes over what [`Self::take`] takes.
    fn skip(input: &mut &[u8]) -> Result<(), Corrupt> {
        *input = input.get(4 * 8..).ok_or(DIRECTORY_CUT_OFF)?;
        let parts = take_part_count(input)?;
        *input = input.get(parts * 8..).unwrap_or_default();
        Ok(())
    }
}

/// Parts of a sum, which are all there.
fn take_part_count(input: &mut &[u8]) -> Result<usize, Corrupt> {
    let parts = varint::take_u64(input)? as usize;
    if parts > input.len() / 8 {
        return Err(Corrupt::new(
            "a sum has more parts than its block has bytes",
        ));
    }
    Ok(parts)
}

fn put_f64(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

fn take_f64(input: &mut &[u8]) -> Result<f64, Corrupt> {
    let (bytes, rest) = input.split_first_chunk::<8>().ok_or(DIRECTORY_CUT_OFF)?;
    *input = rest;
    Ok(f64::from_bits(u64::from_le_bytes(*bytes)))
}

fn take_u32_checksum(input: &mut &[u8]) -> Result<u32, Corrupt> {
    let (bytes, rest) = input
        .split_first_chunk::<4>()
        .ok_or(Corrupt::new("a block is cut off"))?;
    *input = rest;
    Ok(u32::from_le_bytes(*bytes))
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
/// [`SERIES_SAMPLES_MAX`] samples.
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

    let mut out = vec![FORMAT];
    varint::put_bytes(&mut out, &directory);
    let checksum = crc32c::crc32c(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(&data);
    out.extend_from_slice(&crc32c::crc32c(&data).to_le_bytes());
    out
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

#[derive(Clone, Copy, Debug)]
struct TimeColumn {
    count: usize,
    first: i64,
    last: i64,
    start: usize,
    end: usize,
}

/// One series in a block's directory.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Which series.
    pub no: SeriesNo,
    /// Samples, stale markers included.
    pub count: usize,
    /// Stale markers among them.
    pub stale: usize,
    /// Time of the first sample, milliseconds since the epoch.
    pub first: i64,
    /// Time of the last sample.
    pub last: i64,
    time_column: usize,
    /// Where its bitmap (if any) and its values begin and end, in the data.
    bitmap_start: Option<usize>,
    values_start: usize,
    values_end: usize,
    /// Where its statistics begin in the block.
    statistics_at: Option<usize>,
    has_dropped: bool,
}

/// A block to read from. Parsing checks and reads the directory only.
#[derive(Debug)]
pub struct Block<'a> {
    bytes: &'a [u8],
    data: &'a [u8],
    data_checksum: u32,
    data_is_checked: bool,
    columns: Vec<TimeColumn>,
    entries: Vec<Entry>,
    decoded_times: Vec<Option<Vec<i64>>>,
}

impl<'a> Block<'a> {
    /// Reads the directory.
    ///
    /// # Errors
    /// [`BlockError`]: the directory fails its checksum, or a newer longwatch wrote the block.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BlockError> {
        let (format, mut rest) = bytes
            .split_first()
            .ok_or(Corrupt::new("a block is empty"))?;
        let directory = varint::take_bytes(&mut rest)?;
        let head_end = bytes.len() - rest.len();
        if take_u32_checksum(&mut rest)? != crc32c::crc32c(&bytes[..head_end]) {
            return Err(Corrupt::new("a block's directory fails its checksum").into());
        }
        // Every format has this envelope: a first byte that was damaged is no newer format.
        if *format != FORMAT {
            return Err(BlockError::Newer(*format));
        }
        let (data, checksum) = rest
            .split_last_chunk::<4>()
            .ok_or(Corrupt::new("a block is cut off"))?;
        let mut block = Self {
            bytes,
            data,
            data_checksum: u32::from_le_bytes(*checksum),
            data_is_checked: false,
            columns: Vec::new(),
            entries: Vec::new(),
            decoded_times: Vec::new(),
        };
        block.read_directory(directory, head_end)?;
        Ok(block)
    }

    fn read_directory(&mut self, directory: &[u8], directory_end: usize) -> Result<(), Corrupt> {
        let mut rest = directory;
        let (mut at, mut column_times) = (0, 0);
        let columns = varint::take_u64(&mut rest)? as usize;
        for _ in 0..columns.min(directory.len()) {
            let (count, first, last) = take_range(&mut rest)?;
            let bytes = varint::take_u64(&mut rest)? as usize;
            let (start, end) = advance(&mut at, bytes, self.data.len())?;
            column_times += count;
            if column_times > COLUMN_TIMES_MAX {
                return Err(Corrupt::new("a block has an impossible number of times"));
            }
            self.columns.push(TimeColumn {
                count,
                first,
                last,
                start,
                end,
            });
        }
        let series = varint::take_u64(&mut rest)? as usize;
        self.entries.reserve(series.min(directory.len() / 4));
        let mut no = 0u64;
        for _ in 0..series.min(directory.len()) {
            no = no.saturating_add(varint::take_u64(&mut rest)?);
            let no = SeriesNo(
                u32::try_from(no).map_err(|_| Corrupt::new("a series number is too large"))?,
            );
            let entry = self.take_entry(no, &mut rest, &mut at, directory_end)?;
            self.entries.push(entry);
        }
        if !rest.is_empty() || at != self.data.len() {
            return Err(Corrupt::new("a block's directory does not fit its data"));
        }
        self.decoded_times = vec![None; self.columns.len()];
        Ok(())
    }

    fn take_entry(
        &self,
        no: SeriesNo,
        rest: &mut &[u8],
        at: &mut usize,
        directory_end: usize,
    ) -> Result<Entry, Corrupt> {
        let (flags, after) = rest.split_first().ok_or(DIRECTORY_CUT_OFF)?;
        *rest = after;
        if flags & !(GAPS | STALE | STATISTICS | DROPPED) != 0 {
            return Err(Corrupt::new("a block's directory has an unknown flag"));
        }
        let time_column = varint::take_u64(rest)? as usize;
        let column = *self.columns.get(time_column).ok_or(Corrupt::new(
            "a block's directory names a missing time column",
        ))?;
        let value_bytes = varint::take_u64(rest)? as usize;
        let mut range = (column.count, column.first, column.last);
        let mut bitmap_start = None;
        if flags & GAPS != 0 {
            range = take_range(rest)?;
            bitmap_start = Some(advance(at, column.count.div_ceil(8), self.data.len())?.0);
        }
        let (values_start, values_end) = advance(at, value_bytes, self.data.len())?;
        let stale = if flags & STALE != 0 {
            varint::take_u64(rest)? as usize
        } else {
            0
        };
        let mut statistics_at = None;
        if flags & STATISTICS != 0 {
            statistics_at = Some(directory_end - rest.len());
            Statistics::skip(rest)?;
        }
        if flags & DROPPED != 0 {
            take_f64(rest)?;
        }
        Ok(Entry {
            no,
            count: range.0,
            stale: stale.min(range.0),
            first: range.1,
            last: range.2,
            time_column,
            bitmap_start,
            values_start,
            values_end,
            statistics_at,
            has_dropped: flags & DROPPED != 0,
        })
    }

    /// Series of the block, ascending by number.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of one series.
    pub fn entry(&self, no: SeriesNo) -> Option<&Entry> {
        self.entries
            .binary_search_by_key(&no, |e| e.no)
            .ok()
            .map(|i| &self.entries[i])
    }

    /// Statistics of a series, where the directory has them.
    pub fn statistics(&self, entry: &Entry) -> Result<Option<Statistics>, BlockError> {
        let Some(at) = entry.statistics_at else {
            return Ok(None);
        };
        let mut rest = &self.bytes[at..];
        let mut statistics = Statistics::take(&mut rest)?;
        if entry.has_dropped {
            statistics.dropped = take_f64(&mut rest)?;
        }
        Ok(Some(statistics))
    }

    /// Appends a series' samples. The data's checksum is checked the first time.
    pub fn decode(
        &mut self,
        entry: &Entry,
        times_out: &mut Vec<i64>,
        values_out: &mut Vec<f64>,
    ) -> Result<(), BlockError> {
        self.check_data()?;
        let data = self.data;
        let column_times = self.column_times(entry.time_column)?;
        let start = times_out.len();
        match entry.bitmap_start {
            None => times_out.extend_from_slice(column_times),
            Some(bitmap) => times_out.extend(
                column_times
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| data[bitmap + i / 8] >> (i % 8) & 1 == 1)
                    .map(|(_, t)| *t),
            ),
        }
        if times_out.len() - start != entry.count {
            return Err(
                Corrupt::new("a series has another number of times than its entry says").into(),
            );
        }
        values::decode(
            &self.data[entry.values_start..entry.values_end],
            entry.count,
            values_out,
        )?;
        Ok(())
    }

    /// First and last time and number of a series' samples in `(after, until]`, stale markers included; `None`
    /// without any. Reads times alone, once for all series that share them.
    pub fn count_within(
        &mut self,
        entry: &Entry,
        after: i64,
        until: i64,
    ) -> Result<Option<(i64, i64, usize)>, BlockError> {
        self.check_data()?;
        let data = self.data;
        let times = self.column_times(entry.time_column)?;
        let start = times.partition_point(|t| *t <= after);
        let end = times.partition_point(|t| *t <= until).max(start);
        let Some(bitmap) = entry.bitmap_start else {
            return Ok((start < end).then(|| (times[start], times[end - 1], end - start)));
        };
        let mut found: Option<(i64, i64, usize)> = None;
        for i in (start..end).filter(|i| data[bitmap + i / 8] >> (i % 8) & 1 == 1) {
            let (first, _, count) = found.unwrap_or((times[i], times[i], 0));
            found = Some((first, times[i], count + 1));
        }
        Ok(found)
    }

    /// The times of a column, decoded the first time. The data's checksum holds.
    fn column_times(&mut self, column: usize) -> Result<&[i64], Corrupt> {
        if self.decoded_times[column].is_none() {
            let TimeColumn {
                count, start, end, ..
            } = self.columns[column];
            let mut decoded = Vec::with_capacity(count);
            times::decode(&self.data[start..end], count, &mut decoded)?;
            self.decoded_times[column] = Some(decoded);
        }
        Ok(self.decoded_times[column].as_deref().unwrap_or_default())
    }

    /// Appends a series' values as integers, if its column has them so, and returns the power of ten
    /// that they are to be divided by; see [`values::decode_decimals`]. None, and `out` as it was, if
    /// it has not: then [`Self::decode`] serves. The data's checksum is checked the first time.
    pub fn decode_decimals(
        &mut self,
        entry: &Entry,
        out: &mut Vec<i64>,
    ) -> Result<Option<u8>, BlockError> {
        self.check_data()?;
        let column = &self.data[entry.values_start..entry.values_end];
        Ok(values::decode_decimals(column, entry.count, out)?)
    }

    /// Checks the checksum of the data.
    pub fn check_data(&mut self) -> Result<(), BlockError> {
        if !self.data_is_checked {
            if crc32c::crc32c(self.data) != self.data_checksum {
                return Err(Corrupt::new("a block's data fails its checksum").into());
            }
            self.data_is_checked = true;
        }
        Ok(())
    }
}

fn take_range(rest: &mut &[u8]) -> Result<(usize, i64, i64), Corrupt> {
    let count = varint::take_u64(rest)? as usize;
    if count == 0 || count > SERIES_SAMPLES_MAX {
        return Err(Corrupt::new(
            "a series in a block has an impossible number of samples",
        ));
    }
    let first = varint::take_i64(rest)?;
    let span = varint::take_u64(rest)?;
    Ok((count, first, first.wrapping_add(span as i64)))
}

/// The next `bytes` of data, as a range within its `length`.
fn advance(at: &mut usize, bytes: usize, length: usize) -> Result<(usize, usize), Corrupt> {
    let start = *at;
    let end = start
        .checked_add(bytes)
        .filter(|end| *end <= length)
        .ok_or(Corrupt::new("a block's directory reaches beyond its data"))?;
    *at = end;
    Ok((start, end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Owned = (u32, Vec<i64>, Vec<f64>);

    fn encode(series: &[Owned]) -> Vec<u8> {
        encode_with(series, Effort::Quick)
    }

    fn encode_with(series: &[Owned], effort: Effort) -> Vec<u8> {
        let columns: Vec<_> = series
            .iter()
            .map(|(no, times, values)| SeriesColumns {
                no: SeriesNo(*no),
                times,
                values,
            })
            .collect();
        encode_block(&columns, effort)
    }

    fn decode(bytes: &[u8]) -> Result<Vec<Owned>, BlockError> {
        let mut block = Block::parse(bytes)?;
        let mut all = Vec::new();
        for entry in block.entries().to_vec() {
            let (mut times, mut values) = (Vec::new(), Vec::new());
            block.decode(&entry, &mut times, &mut values)?;
            all.push((entry.no.0, times, values));
        }
        Ok(all)
    }

    fn bits(series: &[Owned]) -> Vec<(u32, Vec<i64>, Vec<u64>)> {
        series
            .iter()
            .map(|(no, t, v)| (*no, t.clone(), v.iter().map(|v| v.to_bits()).collect()))
            .collect()
    }

    #[test]
    fn series_scraped_together_share_a_time_column() {
        let times: Vec<i64> = (0..100)
            .map(|i| 1_700_000_000_000 + i * 10_000 + i % 7)
            .collect();
        let one = encode(&[(1, times.clone(), vec![1.0; 100])]);
        let mut series: Vec<Owned> = (1..=20)
            .map(|no| (no, times.clone(), vec![1.0; 100]))
            .collect();
        series[7].1.remove(50);
        series[7].2.remove(50);
        let twenty = encode(&series);
        assert_eq!(bits(&decode(&twenty).unwrap()), bits(&series));
        assert_eq!(Block::parse(&twenty).unwrap().columns.len(), 1);
        assert!(
            twenty.len() < one.len() + 20 * 70,
            "{} {}",
            one.len(),
            twenty.len()
        );
    }

    #[test]
    fn decimals_come_as_integers() {
        let times: Vec<i64> = (0..50).collect();
        let decimals = (0..50).map(|i| f64::from(i * i % 13) / 10.0).collect();
        let others = (0..50).map(|i| f64::from(i).sqrt()).collect();
        let bytes = encode(&[(4, times.clone(), decimals), (5, times, others)]);
        let mut block = Block::parse(&bytes).unwrap();
        let [decimals, others] = block.entries().to_vec()[..] else {
            panic!("two series");
        };
        let mut numbers = Vec::new();
        assert_eq!(block.decode_decimals(&decimals, &mut numbers), Ok(Some(1)));
        assert!(numbers.iter().copied().eq((0..50).map(|i| i * i % 13)));
        assert_eq!(block.decode_decimals(&others, &mut numbers), Ok(None));
        let mut damaged = bytes.clone();
        let last = damaged.len() - 6;
        damaged[last] ^= 1;
        let mut block = Block::parse(&damaged).unwrap();
        assert!(block.decode_decimals(&decimals, &mut numbers).is_err());
    }

    #[test]
    fn statistics_equal_what_decoding_gives() {
        let values: Vec<f64> = (0..50).map(|i| f64::from(i % 13) * 0.1).collect();
        let bytes = encode(&[(4, (0..50).collect(), values.clone())]);
        let block = Block::parse(&bytes).unwrap();
        let entry = block.entry(SeriesNo(4)).unwrap();
        let statistics = block.statistics(entry).unwrap().unwrap();
        assert_eq!(Some(&statistics), Statistics::of(&values).as_ref());
        assert!(statistics.dropped > 0.0);
        let with_nan: Vec<f64> = values.iter().copied().chain([f64::NAN]).collect();
        assert_eq!(Statistics::of(&with_nan), None);
    }

    fn any_series() -> impl Strategy<Value = Vec<Owned>> {
        let one = prop::collection::btree_map(0i64..200, any::<u64>(), 1..60);
        prop::collection::btree_map(any::<u32>(), one, 1..8).prop_map(|all| {
            all.into_iter()
                .map(|(no, samples)| {
                    let times = samples.keys().map(|t| 1_000 * t).collect();
                    (
                        no,
                        times,
                        samples.values().map(|v| f64::from_bits(*v)).collect(),
                    )
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn blocks_round_trip(series in any_series()) {
            prop_assert_eq!(bits(&decode(&encode(&series)).unwrap()), bits(&series));
            let settled = encode_with(&series, Effort::Settled);
            prop_assert_eq!(bits(&decode(&settled).unwrap()), bits(&series));
        }

        #[test]
        fn one_flipped_bit_is_noticed(series in any_series(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut bytes = encode(&series);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut framed = vec![FORMAT];
            varint::put_bytes(&mut framed, &bytes);
            let checksum = crc32c::crc32c(&framed);
            framed.extend(checksum.to_le_bytes());
            framed.extend(&bytes);
            framed.extend(crc32c::crc32c(&bytes).to_le_bytes());
            let _ = decode(&framed);
            let _ = decode(&bytes);
        }
    }
}
