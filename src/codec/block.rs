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

mod encode;
mod statistics;
#[cfg(test)]
mod tests;

pub use encode::{SeriesColumns, encode_block};
pub use statistics::Statistics;

use super::{Corrupt, sealed::Sealed, times, values, varint};
use crate::model::SeriesNo;
use statistics::take_f64;

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
    /// Where its statistics begin in the directory.
    statistics_at: Option<usize>,
    has_dropped: bool,
}

/// A block to read from. Parsing checks and reads the directory only.
#[derive(Debug)]
pub struct Block<'a> {
    sealed: Sealed<'a>,
    /// Once its checksum was found to hold.
    data: Option<&'a [u8]>,
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
        let sealed = Sealed::open(bytes)?;
        // Every format has this envelope: a first byte that was damaged is no newer format.
        if sealed.format != FORMAT {
            return Err(BlockError::Newer(sealed.format));
        }
        let mut block = Self {
            sealed,
            data: None,
            columns: Vec::new(),
            entries: Vec::new(),
            decoded_times: Vec::new(),
        };
        block.read_directory()?;
        Ok(block)
    }

    fn read_directory(&mut self) -> Result<(), Corrupt> {
        let (directory, data_len) = (self.sealed.directory, self.sealed.data_len());
        let mut rest = directory;
        let (mut at, mut column_times) = (0, 0);
        let columns = varint::take_u64(&mut rest)? as usize;
        for _ in 0..columns.min(directory.len()) {
            let (count, first, last) = take_range(&mut rest)?;
            let bytes = varint::take_u64(&mut rest)? as usize;
            let (start, end) = advance(&mut at, bytes, data_len)?;
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
            let entry = self.take_entry(no, &mut rest, &mut at)?;
            self.entries.push(entry);
        }
        if !rest.is_empty() || at != data_len {
            return Err(Corrupt::new("a block's directory does not fit its data"));
        }
        self.decoded_times = vec![None; self.columns.len()];
        Ok(())
    }

    fn take_entry(&self, no: SeriesNo, rest: &mut &[u8], at: &mut usize) -> Result<Entry, Corrupt> {
        let data_len = self.sealed.data_len();
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
            bitmap_start = Some(advance(at, column.count.div_ceil(8), data_len)?.0);
        }
        let (values_start, values_end) = advance(at, value_bytes, data_len)?;
        let stale = if flags & STALE != 0 {
            varint::take_u64(rest)? as usize
        } else {
            0
        };
        let mut statistics_at = None;
        if flags & STATISTICS != 0 {
            statistics_at = Some(self.sealed.directory.len() - rest.len());
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
        let mut rest = &self.sealed.directory[at..];
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
        let data = self.data()?;
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
            &data[entry.values_start..entry.values_end],
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
        let data = self.data()?;
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

    /// The times of a column, decoded the first time.
    fn column_times(&mut self, column: usize) -> Result<&[i64], Corrupt> {
        if self.decoded_times[column].is_none() {
            let TimeColumn {
                count, start, end, ..
            } = self.columns[column];
            let data = self.data()?;
            let mut decoded = Vec::with_capacity(count);
            times::decode(&data[start..end], count, &mut decoded)?;
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
        let column = &self.data()?[entry.values_start..entry.values_end];
        Ok(values::decode_decimals(column, entry.count, out)?)
    }

    /// Checks the checksum of the data.
    ///
    /// # Errors
    /// It does not hold.
    pub fn check_data(&mut self) -> Result<(), BlockError> {
        self.data()?;
        Ok(())
    }

    /// The data; its checksum is checked the first time.
    fn data(&mut self) -> Result<&'a [u8], Corrupt> {
        if let Some(data) = self.data {
            return Ok(data);
        }
        let data = self.sealed.data()?;
        self.data = Some(data);
        Ok(data)
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
