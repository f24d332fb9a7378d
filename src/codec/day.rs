//! What a whole UTC day of an agent adds up to, series by series: the coarsest rollup. A question about
//! a month reads one of these a day instead of the day's blocks.
//!
//! ```text
//! envelope of format 1 (`sealed.rs`)
//! directory: series: varint
//!   per series, ascending: series - series before: varint | flags: u8 | samples: varint
//!     | time of the first: zigzag varint | last - first: varint | first, last: f64 each
//!     | NANS:    NaN values: varint
//!     | NUMBERS: min, max: f64 each | parts: varint | sum part: f64 each
//!     | BORDERS: first, last number: f64 each
//!     | DROPPED: values before counter resets, summed: f64
//!     | COUNTS:  distinct values: varint | bytes of values: varint | bytes of counts: varint
//! data: per series with COUNTS: column of distinct values, ascending | column of how often each occurs
//! ```
//! Stale markers are no samples. First and last are samples, whatever their value; BORDERS are the first and
//! last that are numbers, where those are others. Counts are exact and only there for metrics whose
//! percentiles are asked for, as long as they are smaller than what they stand for.

use super::{
    BlockError, Corrupt, Effort,
    sealed::{Sealed, seal},
    values, varint,
};
use crate::model::{ExactSum, SeriesNo};

const FORMAT: u8 = 1;

const NANS: u8 = 1;
const NUMBERS: u8 = 2;
const BORDERS: u8 = 4;
const DROPPED: u8 = 8;
const COUNTS: u8 = 16;
const ALL_FLAGS: u8 = NANS | NUMBERS | BORDERS | DROPPED | COUNTS;

/// Distinct values of one series and day whose counts are kept, at most.
pub const DISTINCT_VALUES_MAX: usize = 4_096;

/// Values that are numbers, taken together.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberStatistics {
    /// Number that is first in time.
    pub first: f64,
    /// Number that is last in time.
    pub last: f64,
    /// Smallest number.
    pub min: f64,
    /// Largest number.
    pub max: f64,
    /// Doubles that add up to the exact sum; an infinity or a NaN alone where the sum is not finite.
    pub sum_parts: Vec<f64>,
    /// Sum of the values before each drop, for the increase of a counter.
    pub dropped: f64,
}

/// One series over one day.
#[derive(Clone, Debug, PartialEq)]
pub struct DaySeries {
    /// Which series.
    pub no: SeriesNo,
    /// Samples, at least one; stale markers are none.
    pub samples: u64,
    /// NaN values among them.
    pub nans: u64,
    /// The sample that is first in time: milliseconds since the epoch, value.
    pub first: (i64, f64),
    /// The sample that is last in time.
    pub last: (i64, f64),
    /// The numbers; `None` when all samples are NaN.
    pub numbers: Option<NumberStatistics>,
}

/// Distinct values with how often each occurs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ValueCounts {
    /// Values, ascending.
    pub values: Vec<f64>,
    /// As many counts.
    pub counts: Vec<u64>,
}

/// Doubles that add up to a sum, also where it is not finite.
pub fn sum_parts(sum: &ExactSum) -> Vec<f64> {
    sum.parts().unwrap_or_else(|| vec![sum.to_f64()])
}

fn put_f64(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn take_f64(input: &mut &[u8]) -> Result<f64, Corrupt> {
    let (bytes, rest) = input
        .split_first_chunk::<8>()
        .ok_or(Corrupt::new("a day's directory is cut off"))?;
    *input = rest;
    Ok(f64::from_le_bytes(*bytes))
}

fn same_bits(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits()
}

/// Writes a day. `series` ascend by number; counts beside a series are kept as they are.
pub fn encode_day(series: &[(DaySeries, Option<ValueCounts>)]) -> Vec<u8> {
    let mut directory = Vec::new();
    let mut data = Vec::new();
    varint::put_u64(&mut directory, series.len() as u64);
    let mut before = 0;
    for (day, counts) in series {
        varint::put_u64(&mut directory, u64::from(day.no.0 - before));
        before = day.no.0;
        put_series(&mut directory, &mut data, day, counts.as_ref());
    }
    seal(FORMAT, &directory, &data)
}

fn put_series(
    directory: &mut Vec<u8>,
    data: &mut Vec<u8>,
    day: &DaySeries,
    counts: Option<&ValueCounts>,
) {
    let numbers = day.numbers.as_ref();
    let has_borders =
        numbers.is_some_and(|n| !same_bits(n.first, day.first.1) || !same_bits(n.last, day.last.1));
    let dropped = numbers.map_or(0.0, |n| n.dropped);
    let flag = |on: bool, bit: u8| if on { bit } else { 0 };
    directory.push(
        flag(day.nans > 0, NANS)
            | flag(numbers.is_some(), NUMBERS)
            | flag(has_borders, BORDERS)
            | flag(dropped != 0.0, DROPPED)
            | flag(counts.is_some(), COUNTS),
    );
    varint::put_u64(directory, day.samples);
    varint::put_i64(directory, day.first.0);
    varint::put_u64(directory, day.last.0.wrapping_sub(day.first.0) as u64);
    put_f64(directory, day.first.1);
    put_f64(directory, day.last.1);
    if day.nans > 0 {
        varint::put_u64(directory, day.nans);
    }
    if let Some(numbers) = numbers {
        put_f64(directory, numbers.min);
        put_f64(directory, numbers.max);
        varint::put_u64(directory, numbers.sum_parts.len() as u64);
        numbers
            .sum_parts
            .iter()
            .for_each(|part| put_f64(directory, *part));
        if has_borders {
            put_f64(directory, numbers.first);
            put_f64(directory, numbers.last);
        }
    }
    if dropped != 0.0 {
        put_f64(directory, dropped);
    }
    if let Some(counts) = counts {
        varint::put_u64(directory, counts.values.len() as u64);
        let as_doubles: Vec<f64> = counts.counts.iter().map(|n| *n as f64).collect();
        for column in [&counts.values, &as_doubles] {
            let start = data.len();
            values::encode(column, Effort::Quick, data);
            varint::put_u64(directory, (data.len() - start) as u64);
        }
    }
}

/// Where the counts of a series lie.
#[derive(Clone, Copy, Debug)]
pub struct CountsAt {
    distinct: usize,
    values: (usize, usize),
    counts: (usize, usize),
}

/// One series of a day's directory, as it is read.
#[derive(Clone, Debug)]
pub struct DayEntry {
    /// What it adds up to.
    pub series: DaySeries,
    /// Where its counts lie, if they were kept.
    pub counts: Option<CountsAt>,
}

/// A day to read from.
#[derive(Debug)]
pub struct Day<'a>(Sealed<'a>);

impl<'a> Day<'a> {
    /// Opens a day.
    ///
    /// # Errors
    /// [`BlockError`]: the directory fails its checksum, or a newer longwatch wrote it.
    pub fn open(bytes: &'a [u8]) -> Result<Self, BlockError> {
        let sealed = Sealed::open(bytes)?;
        if sealed.format != FORMAT {
            return Err(BlockError::Newer(sealed.format));
        }
        Ok(Self(sealed))
    }

    /// Hands over each series that `wanted` accepts, ascending by number.
    ///
    /// # Errors
    /// The directory is not one that [`encode_day`] wrote.
    pub fn each(
        &self,
        wanted: impl Fn(SeriesNo) -> bool,
        mut visit: impl FnMut(DayEntry),
    ) -> Result<(), Corrupt> {
        let mut rest = self.0.directory;
        let series = varint::take_u64(&mut rest)?;
        let mut no = 0u64;
        let mut at = 0;
        for _ in 0..series {
            no = no.saturating_add(varint::take_u64(&mut rest)?);
            let no = u32::try_from(no)
                .map(SeriesNo)
                .map_err(|_| Corrupt::new("a series number is too large"))?;
            let entry = take_series(no, wanted(no), &mut rest, &mut at)?;
            if let Some(entry) = entry {
                visit(entry);
            }
        }
        if !rest.is_empty() {
            return Err(Corrupt::new("bytes behind a day's directory"));
        }
        Ok(())
    }

    /// The distinct values of a series and their counts.
    ///
    /// # Errors
    /// The data fails its checksum or is not what [`encode_day`] wrote.
    pub fn counts(&self, at: CountsAt) -> Result<ValueCounts, Corrupt> {
        let data = self.0.data()?;
        let column = |(start, end): (usize, usize)| {
            let bytes = data
                .get(start..end)
                .ok_or(Corrupt::new("counts lie outside of their day"))?;
            let mut column = Vec::with_capacity(at.distinct);
            values::decode(bytes, at.distinct, &mut column)?;
            Ok(column)
        };
        Ok(ValueCounts {
            values: column(at.values)?,
            counts: column(at.counts)?.iter().map(|n| *n as u64).collect(),
        })
    }
}

fn take_series(
    no: SeriesNo,
    is_wanted: bool,
    rest: &mut &[u8],
    at: &mut usize,
) -> Result<Option<DayEntry>, Corrupt> {
    let (flags, after) = rest
        .split_first()
        .ok_or(Corrupt::new("a day's directory is cut off"))?;
    *rest = after;
    if flags & !ALL_FLAGS != 0 {
        return Err(Corrupt::new("a day's directory has an unknown flag"));
    }
    let has = |bit: u8| flags & bit != 0;
    let samples = varint::take_u64(rest)?;
    let first_at = varint::take_i64(rest)?;
    let last_at = first_at.wrapping_add(varint::take_u64(rest)? as i64);
    let (first, last) = (take_f64(rest)?, take_f64(rest)?);
    let nans = if has(NANS) {
        varint::take_u64(rest)?
    } else {
        0
    };
    let mut numbers = None;
    if has(NUMBERS) {
        let (min, max) = (take_f64(rest)?, take_f64(rest)?);
        let parts = varint::take_u64(rest)? as usize;
        if parts > rest.len() / 8 {
            return Err(Corrupt::new("a sum has more parts than its day has bytes"));
        }
        let (parts, after) = rest.split_at(parts * 8);
        *rest = after;
        let (first, last) = if has(BORDERS) {
            (take_f64(rest)?, take_f64(rest)?)
        } else {
            (first, last)
        };
        // Most series of a day are not asked for; theirs are stepped over.
        numbers = is_wanted.then(|| NumberStatistics {
            first,
            last,
            min,
            max,
            sum_parts: parts
                .as_chunks()
                .0
                .iter()
                .map(|part| f64::from_le_bytes(*part))
                .collect(),
            dropped: 0.0,
        });
    }
    if has(DROPPED) {
        let dropped = take_f64(rest)?;
        if let Some(numbers) = &mut numbers {
            numbers.dropped = dropped;
        }
    }
    let counts = if has(COUNTS) {
        let distinct = varint::take_u64(rest)? as usize;
        if distinct > DISTINCT_VALUES_MAX {
            return Err(Corrupt::new("a day has too many distinct values"));
        }
        let mut column = || -> Result<(usize, usize), Corrupt> {
            let start = *at;
            *at = at.saturating_add(varint::take_u64(rest)? as usize);
            Ok((start, *at))
        };
        let (values, counts) = (column()?, column()?);
        Some(CountsAt {
            distinct,
            values,
            counts,
        })
    } else {
        None
    };
    let nans = nans.min(samples);
    Ok(is_wanted.then_some(DayEntry {
        series: DaySeries {
            no,
            samples,
            nans,
            first: (first_at, first),
            last: (last_at, last),
            numbers,
        },
        counts,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day_series(no: u32) -> DaySeries {
        DaySeries {
            no: SeriesNo(no),
            samples: 8_640,
            nans: 0,
            first: (1_728_000_000_000, 41.5),
            last: (1_728_086_390_000, 17.0),
            numbers: Some(NumberStatistics {
                first: 41.5,
                last: 17.0,
                min: 3.0,
                max: 99.9,
                sum_parts: vec![400_000.25, 1e-9],
                dropped: 0.0,
            }),
        }
    }

    fn read(bytes: &[u8]) -> Vec<(DaySeries, Option<ValueCounts>)> {
        let day = Day::open(bytes).unwrap();
        let mut found = Vec::new();
        day.each(
            |_| true,
            |entry| {
                let counts = entry.counts.map(|at| day.counts(at).unwrap());
                found.push((entry.series, counts));
            },
        )
        .unwrap();
        found
    }

    #[test]
    fn what_goes_in_comes_out() {
        let mut with_nans = day_series(9);
        with_nans.nans = 3;
        with_nans.last.1 = f64::INFINITY;
        let mut all_nan = day_series(4_000_000_000);
        (all_nan.nans, all_nan.numbers) = (all_nan.samples, None);
        let counts = ValueCounts {
            values: vec![-1.5, 0.0, 7.25],
            counts: vec![1, 8_000, 639],
        };
        let mut reset = day_series(11);
        if let Some(numbers) = &mut reset.numbers {
            numbers.dropped = 77.0;
        }
        let series = vec![
            (day_series(7), Some(counts)),
            (with_nans, None),
            (reset, None),
            (all_nan, None),
        ];
        assert_eq!(read(&encode_day(&series)), series);
        assert_eq!(read(&encode_day(&[])), vec![]);
    }

    #[test]
    fn only_what_is_asked_for_is_read() {
        let bytes = encode_day(&[(day_series(1), None), (day_series(2), None)]);
        let mut found = Vec::new();
        Day::open(&bytes)
            .unwrap()
            .each(|no| no.0 == 2, |entry| found.push(entry.series))
            .unwrap();
        assert_eq!(found, [day_series(2)]);
    }

    #[test]
    fn a_newer_format_says_so() {
        let bytes = seal(2, &[0], &[]);
        assert_eq!(Day::open(&bytes).unwrap_err(), BlockError::Newer(2));
    }

    proptest! {
        #[test]
        fn any_directory_is_survived(
            directory in prop::collection::vec(any::<u8>(), 0..200),
            data in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let bytes = seal(FORMAT, &directory, &data);
            let day = Day::open(&bytes).unwrap();
            let _ = day.each(|_| true, |entry| {
                if let Some(at) = entry.counts {
                    let _ = day.counts(at);
                }
            });
        }
    }
}
