//! A day of an agent in buckets of five minutes or an hour, series by series and column by column: the
//! finer rollups, for charts and for what is left of a day once its samples have expired.
//!
//! ```text
//! envelope of format 1 (`sealed.rs`)
//! directory: series: varint | per series, ascending: series - series before: varint | bytes of data: varint
//! data, per series: flags: u8 | rows: varint | columns, each its bytes: varint, then the column:
//!   ends of the buckets (times) | samples | min | max | last
//!   NANS:    NaN values
//!   COUNTER: first | time of the first, time of the last (times) | dropped
//!   PARTS_1..3: that many columns of sums
//!   MIN_IS_FIRST, MAX_IS_LAST: the column is left out
//! a column of sums: 0: u8, column of values | 1: u8, exponent q: zigzag varint, column of k; sum = k * 2^q
//! ```
//! Rows ascend by the end of their bucket and hold at least one sample. The sum of a bucket is exact: its
//! parts are added; what remains of a rounded sum is a small multiple of a power of two, which
//! takes a byte. ROUNDED says that a sum had more parts than are kept.

use super::{
    BlockError, Corrupt, Effort,
    sealed::{Sealed, seal},
    times, values, varint,
};
use crate::model::SeriesNo;

const FORMAT: u8 = 1;

const NANS: u8 = 1;
const COUNTER: u8 = 2;
const MIN_IS_FIRST: u8 = 4;
const MAX_IS_LAST: u8 = 8;
const ROUNDED: u8 = 16;
/// Two bits: how many columns of sums there are.
const PARTS_SHIFT: u8 = 5;

/// Doubles that are kept of a bucket's sum.
pub const SUM_PARTS_MAX: usize = 3;
/// Buckets of one series and day, at most: five minutes, and one for the sample at midnight.
const ROWS_MAX: usize = 289;
/// Integers that a double holds exactly (2^53).
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// What a counter needs beside: its first number and what resets took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CounterBorders {
    /// First number of the bucket.
    pub first: f64,
    /// Its time, milliseconds since the epoch.
    pub first_ms: i64,
    /// Time of the last number.
    pub last_ms: i64,
    /// Sum of the values before each drop.
    pub dropped: f64,
}

/// One bucket of one series: the samples in `(end - step, end]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BucketRow {
    /// End of the bucket, milliseconds since the epoch.
    pub end_ms: i64,
    /// Samples, at least one; stale markers are none.
    pub samples: u64,
    /// NaN values among them.
    pub nans: u64,
    /// Smallest number; NaN without any.
    pub min: f64,
    /// Largest number; NaN without any.
    pub max: f64,
    /// Value of the last sample.
    pub last: f64,
    /// Doubles that add up to the sum of the numbers; zeros where there are fewer.
    pub sum_parts: [f64; SUM_PARTS_MAX],
    /// There for series that look like counters.
    pub counter: Option<CounterBorders>,
}

/// Buckets of one series over one day.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesBuckets {
    /// Which series.
    pub no: SeriesNo,
    /// Whether all sums are exact.
    pub is_exact: bool,
    /// Its buckets, ascending.
    pub rows: Vec<BucketRow>,
}

/// Writes the buckets of a day. `series` ascend by number; the rows of one series all have borders of a
/// counter, or none has.
pub fn encode_buckets(series: &[SeriesBuckets]) -> Vec<u8> {
    let mut directory = Vec::new();
    let mut data = Vec::new();
    varint::put_u64(&mut directory, series.len() as u64);
    let mut before = 0;
    for of_series in series {
        let start = data.len();
        put_series(of_series, &mut data);
        varint::put_u64(&mut directory, u64::from(of_series.no.0 - before));
        before = of_series.no.0;
        varint::put_u64(&mut directory, (data.len() - start) as u64);
    }
    seal(FORMAT, &directory, &data)
}

fn put_series(series: &SeriesBuckets, out: &mut Vec<u8>) {
    let rows = &series.rows;
    let counters: Option<Vec<CounterBorders>> = rows.iter().map(|r| r.counter).collect();
    let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
    let of_counter = |fits: fn(&BucketRow, &CounterBorders) -> bool| {
        counters
            .as_ref()
            .is_some_and(|c| rows.iter().zip(c).all(|(r, c)| fits(r, c)))
    };
    let min_is_first = of_counter(|r, c| r.min.to_bits() == c.first.to_bits());
    let max_is_last = rows.iter().all(|r| same(r.max, r.last));
    let parts = (0..SUM_PARTS_MAX)
        .rev()
        .find(|i| rows.iter().any(|r| r.sum_parts[*i].to_bits() != 0))
        .map_or(0, |i| i + 1);
    let has_nans = rows.iter().any(|r| r.nans > 0);
    let flag = |on: bool, bit: u8| if on { bit } else { 0 };
    out.push(
        flag(has_nans, NANS)
            | flag(counters.is_some(), COUNTER)
            | flag(min_is_first, MIN_IS_FIRST)
            | flag(max_is_last, MAX_IS_LAST)
            | flag(!series.is_exact, ROUNDED)
            | (parts as u8) << PARTS_SHIFT,
    );
    varint::put_u64(out, rows.len() as u64);
    let column = |of: &dyn Fn(&BucketRow) -> f64| rows.iter().map(of).collect::<Vec<f64>>();
    put_times(&rows.iter().map(|r| r.end_ms).collect::<Vec<_>>(), out);
    put_values(&column(&|r| r.samples as f64), out);
    if !min_is_first {
        put_values(&column(&|r| r.min), out);
    }
    if !max_is_last {
        put_values(&column(&|r| r.max), out);
    }
    put_values(&column(&|r| r.last), out);
    if has_nans {
        put_values(&column(&|r| r.nans as f64), out);
    }
    if let Some(counters) = counters {
        let column =
            |of: &dyn Fn(&CounterBorders) -> f64| counters.iter().map(of).collect::<Vec<f64>>();
        put_values(&column(&|c| c.first), out);
        put_times(
            &counters.iter().map(|c| c.first_ms).collect::<Vec<_>>(),
            out,
        );
        put_times(&counters.iter().map(|c| c.last_ms).collect::<Vec<_>>(), out);
        put_values(&column(&|c| c.dropped), out);
    }
    for part in 0..parts {
        put_sums(&column(&|r| r.sum_parts[part]), out);
    }
}

fn put_times(column: &[i64], out: &mut Vec<u8>) {
    let mut bytes = Vec::new();
    times::encode(column, &mut bytes);
    varint::put_bytes(out, &bytes);
}

fn put_values(column: &[f64], out: &mut Vec<u8>) {
    let mut bytes = Vec::new();
    values::encode(column, Effort::Quick, &mut bytes);
    varint::put_bytes(out, &bytes);
}

/// Exponent of the lowest bit that is set in a double's mantissa; `None` for zeros and what is not finite.
fn lowest_bit(value: f64) -> Option<i32> {
    let bits = value.to_bits();
    let (exponent, fraction) = (((bits >> 52) & 0x7ff) as i32, bits & ((1 << 52) - 1));
    let mantissa = match exponent {
        0x7ff => return None,
        0 => fraction,
        _ => fraction | 1 << 52,
    };
    (mantissa != 0).then(|| exponent.max(1) - 1_075 + mantissa.trailing_zeros() as i32)
}

/// A power of two that a double holds as a normal number.
fn power_of_two(exponent: i32) -> Option<f64> {
    ((-1_022..=1_023).contains(&exponent))
        .then(|| f64::from_bits(((exponent + 1_023) as u64) << 52))
}

/// The column as whole multiples of a power of two, where that gives every bit back.
fn whole_multiples(column: &[f64]) -> Option<(i32, Vec<f64>)> {
    let exponent = column.iter().filter_map(|v| lowest_bit(*v)).min()?;
    let (up, down) = (power_of_two(exponent)?, power_of_two(-exponent)?);
    let multiples: Vec<f64> = column.iter().map(|v| v * down).collect();
    let is_lossless = multiples.iter().zip(column).all(|(k, v)| {
        k.abs() <= WHOLE_MAX && k.fract() == 0.0 && (k * up).to_bits() == v.to_bits()
    });
    is_lossless.then_some((exponent, multiples))
}

fn put_sums(column: &[f64], out: &mut Vec<u8>) {
    let mut raw = vec![0];
    values::encode(column, Effort::Quick, &mut raw);
    let multiples = whole_multiples(column).map(|(exponent, multiples)| {
        let mut bytes = vec![1];
        varint::put_i64(&mut bytes, i64::from(exponent));
        values::encode(&multiples, Effort::Quick, &mut bytes);
        bytes
    });
    let smallest = match multiples {
        Some(bytes) if bytes.len() < raw.len() => bytes,
        _ => raw,
    };
    varint::put_bytes(out, &smallest);
}

/// A day of buckets to read from.
#[derive(Debug)]
pub struct Buckets<'a> {
    /// Series with where their data begins and ends, ascending by number.
    places: Vec<(SeriesNo, usize, usize)>,
    data: &'a [u8],
}

impl<'a> Buckets<'a> {
    /// Opens a day of buckets.
    ///
    /// # Errors
    /// [`BlockError`]: a checksum fails, or a newer longwatch wrote it.
    pub fn open(bytes: &'a [u8]) -> Result<Self, BlockError> {
        let sealed = Sealed::open(bytes)?;
        if sealed.format != FORMAT {
            return Err(BlockError::Newer(sealed.format));
        }
        let data = sealed.data()?;
        let mut rest = sealed.directory;
        let series = varint::take_u64(&mut rest)? as usize;
        let mut places = Vec::with_capacity(series.min(rest.len() / 2));
        let (mut no, mut at) = (0u64, 0usize);
        for _ in 0..series.min(sealed.directory.len()) {
            no = no.saturating_add(varint::take_u64(&mut rest)?);
            let no = u32::try_from(no)
                .map(SeriesNo)
                .map_err(|_| Corrupt::new("a series number is too large"))?;
            let start = at;
            at = at.saturating_add(varint::take_u64(&mut rest)? as usize);
            places.push((no, start, at));
        }
        if !rest.is_empty() || at != data.len() {
            return Err(Corrupt::new("a directory of buckets does not fit its data").into());
        }
        Ok(Self { places, data })
    }

    /// Series that have buckets, ascending.
    pub fn series(&self) -> impl Iterator<Item = SeriesNo> + '_ {
        self.places.iter().map(|place| place.0)
    }

    /// Buckets of one series; `None` when it has none on that day.
    ///
    /// # Errors
    /// The data is not what [`encode_buckets`] wrote.
    pub fn of(&self, no: SeriesNo) -> Result<Option<SeriesBuckets>, Corrupt> {
        let Ok(at) = self.places.binary_search_by_key(&no, |place| place.0) else {
            return Ok(None);
        };
        let (_, start, end) = self.places[at];
        take_series(no, &self.data[start..end]).map(Some)
    }
}

fn take_series(no: SeriesNo, bytes: &[u8]) -> Result<SeriesBuckets, Corrupt> {
    let (flags, mut rest) = bytes
        .split_first()
        .ok_or(Corrupt::new("buckets are cut off"))?;
    let has = |bit: u8| flags & bit != 0;
    let count = varint::take_u64(&mut rest)? as usize;
    if count > ROWS_MAX {
        return Err(Corrupt::new("a day has too many buckets"));
    }
    if has(MIN_IS_FIRST) && !has(COUNTER) {
        return Err(Corrupt::new("buckets have an impossible flag"));
    }
    let ends = take_times(&mut rest, count)?;
    let samples = take_values(&mut rest, count)?;
    let min = (!has(MIN_IS_FIRST))
        .then(|| take_values(&mut rest, count))
        .transpose()?;
    let max = (!has(MAX_IS_LAST))
        .then(|| take_values(&mut rest, count))
        .transpose()?;
    let last = take_values(&mut rest, count)?;
    let nans = has(NANS)
        .then(|| take_values(&mut rest, count))
        .transpose()?;
    let counters = has(COUNTER)
        .then(|| take_counters(&mut rest, count))
        .transpose()?;
    let parts = (flags >> PARTS_SHIFT) as usize;
    if parts > SUM_PARTS_MAX {
        return Err(Corrupt::new("a sum of buckets has too many parts"));
    }
    let sums = (0..parts)
        .map(|_| take_sums(&mut rest, count))
        .collect::<Result<Vec<_>, _>>()?;
    if !rest.is_empty() {
        return Err(Corrupt::new("bytes behind buckets"));
    }
    let rows = (0..count).map(|i| {
        let counter = counters.as_ref().map(|c| c[i]);
        let mut sum_parts = [0.0; SUM_PARTS_MAX];
        for (part, column) in sum_parts.iter_mut().zip(&sums) {
            *part = column[i];
        }
        BucketRow {
            end_ms: ends[i],
            samples: samples[i] as u64,
            nans: nans.as_ref().map_or(0, |n| n[i] as u64),
            min: min
                .as_ref()
                .map_or(counter.map_or(f64::NAN, |c| c.first), |m| m[i]),
            max: max.as_ref().map_or(last[i], |m| m[i]),
            last: last[i],
            sum_parts,
            counter,
        }
    });
    Ok(SeriesBuckets {
        no,
        is_exact: !has(ROUNDED),
        rows: rows.collect(),
    })
}

fn take_counters(rest: &mut &[u8], count: usize) -> Result<Vec<CounterBorders>, Corrupt> {
    let first = take_values(rest, count)?;
    let first_ms = take_times(rest, count)?;
    let last_ms = take_times(rest, count)?;
    let dropped = take_values(rest, count)?;
    Ok((0..count)
        .map(|i| CounterBorders {
            first: first[i],
            first_ms: first_ms[i],
            last_ms: last_ms[i],
            dropped: dropped[i],
        })
        .collect())
}

fn take_times(rest: &mut &[u8], count: usize) -> Result<Vec<i64>, Corrupt> {
    let bytes = varint::take_bytes(rest)?;
    let mut column = Vec::with_capacity(count);
    times::decode(bytes, count, &mut column)?;
    Ok(column)
}

fn take_values(rest: &mut &[u8], count: usize) -> Result<Vec<f64>, Corrupt> {
    let bytes = varint::take_bytes(rest)?;
    let mut column = Vec::with_capacity(count);
    values::decode(bytes, count, &mut column)?;
    Ok(column)
}

fn take_sums(rest: &mut &[u8], count: usize) -> Result<Vec<f64>, Corrupt> {
    let mut bytes = varint::take_bytes(rest)?;
    let (form, after) = bytes
        .split_first()
        .ok_or(Corrupt::new("a column of sums is empty"))?;
    bytes = after;
    let scale = match form {
        0 => None,
        1 => {
            let exponent = i32::try_from(varint::take_i64(&mut bytes)?).ok();
            let scale = exponent.and_then(power_of_two);
            Some(scale.ok_or(Corrupt::new("a column of sums has an impossible exponent"))?)
        }
        _ => return Err(Corrupt::new("a column of sums of an unknown form")),
    };
    let mut column = Vec::with_capacity(count);
    values::decode(bytes, count, &mut column)?;
    if let Some(scale) = scale {
        column.iter_mut().for_each(|v| *v *= scale);
    }
    Ok(column)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::ExactSum;

    fn row(i: i64, values: &[f64], is_counter: bool) -> BucketRow {
        let mut sum = ExactSum::default();
        values.iter().for_each(|v| sum.add(*v));
        let mut sum_parts = [0.0; SUM_PARTS_MAX];
        for (slot, part) in sum_parts.iter_mut().zip(sum.parts().unwrap()) {
            *slot = part;
        }
        BucketRow {
            end_ms: i * 300_000,
            samples: values.len() as u64,
            nans: 0,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            last: values[values.len() - 1],
            sum_parts,
            counter: is_counter.then_some(CounterBorders {
                first: values[0],
                first_ms: i * 300_000 - 290_000,
                last_ms: i * 300_000,
                dropped: 0.0,
            }),
        }
    }

    fn read(bytes: &[u8]) -> Vec<SeriesBuckets> {
        let buckets = Buckets::open(bytes).unwrap();
        let numbers: Vec<SeriesNo> = buckets.series().collect();
        numbers
            .iter()
            .map(|no| buckets.of(*no).unwrap().unwrap())
            .collect()
    }

    /// Thirty samples a bucket of a walk of one decimal: what a bucket of five minutes costs.
    #[test]
    fn a_gauge_takes_few_bytes_a_bucket() {
        let mut seed = 7u64;
        let mut value = 500i64;
        let mut rows = Vec::new();
        for i in 1..=288 {
            let values: Vec<f64> = (0..30)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    value = (value + (seed >> 33) as i64 % 21 - 10).clamp(0, 1_000);
                    value as f64 / 10.0
                })
                .collect();
            rows.push(row(i, &values, false));
        }
        let series = vec![SeriesBuckets {
            no: SeriesNo(3),
            is_exact: true,
            rows,
        }];
        let bytes = encode_buckets(&series);
        assert_eq!(read(&bytes), series);
        assert!(bytes.len() < 288 * 6, "{} bytes", bytes.len());
    }

    #[test]
    fn a_counter_leaves_out_what_repeats() {
        let rows: Vec<BucketRow> = (1..=24)
            .map(|i| row(i, &[(i * 10) as f64, (i * 10 + 7) as f64], true))
            .collect();
        let series = vec![SeriesBuckets {
            no: SeriesNo(8),
            is_exact: true,
            rows,
        }];
        let bytes = encode_buckets(&series);
        assert_eq!(read(&bytes), series);
        assert_eq!(
            Buckets::open(&bytes).unwrap().of(SeriesNo(7)).unwrap(),
            None
        );
        assert!(bytes.len() < 170, "{} bytes", bytes.len());
    }

    proptest! {
        #[test]
        fn any_rows_come_back(
            rows in prop::collection::vec(
                (any::<i64>(), 1u64..1_000, any::<[u64; 6]>(), any::<(i64, i64)>()), 0..40),
            is_counter in any::<bool>(),
            is_exact in any::<bool>(),
        ) {
            let rows: Vec<BucketRow> = rows.iter().map(|(end, samples, bits, times)| {
                let f = |i: usize| f64::from_bits(bits[i]);
                BucketRow {
                    end_ms: *end,
                    samples: *samples,
                    nans: samples / 3,
                    min: f(0),
                    max: f(1),
                    last: f(2),
                    sum_parts: [f(3), f(4), 0.0],
                    counter: is_counter.then_some(CounterBorders {
                        first: f(5),
                        first_ms: times.0,
                        last_ms: times.1,
                        dropped: f(0),
                    }),
                }
            }).collect();
            // A series without rows has no borders either.
            prop_assume!(!rows.is_empty());
            let series = vec![SeriesBuckets { no: SeriesNo(1), is_exact, rows }];
            let bytes = encode_buckets(&series);
            let found = read(&bytes);
            // NaN payloads count, so rows are compared by their bits.
            prop_assert_eq!(format!("{:?}", found), format!("{:?}", series));
            prop_assert_eq!(encode_buckets(&found), bytes);
        }

        #[test]
        fn small_sums_are_multiples(ks in prop::collection::vec(-64i64..64, 1..100), q in -60i32..20) {
            let column: Vec<f64> = ks.iter().map(|k| *k as f64 * 2f64.powi(q)).collect();
            let mut out = Vec::new();
            put_sums(&column, &mut out);
            prop_assert!(out.len() <= 8 + 2 * column.len());
            let mut rest = &out[..];
            prop_assert_eq!(take_sums(&mut rest, column.len()).unwrap(), column);
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = take_series(SeriesNo(0), &bytes);
            let sealed = seal(FORMAT, &bytes, &[]);
            let _ = Buckets::open(&sealed);
        }
    }
}
