//! Columns of values: every bit of every double comes back, NaN payloads and the sign of zero included.
//!
//! No values take no bytes. Otherwise the first byte says how the rest is written; the encoder takes
//! the smallest that it finds, and other first bytes are left to encodings to come:
//!
//! ```text
//! 0 raw       | 8 bytes a value, little endian |
//! 1 constant  | the bits of all values: 0..8 bytes, little endian, low zero bytes left out |
//! 2 integers  | a column of integers (`integers.rs`), whose meaning says what the values are |
//! 3 patched   | runs (`runs.rs`) | a column (0, 1 or 2) of as many values, the runs' among them |
//! ```
//!
//! **Integers.** Meaning 0 to 14: value = integer / 10^meaning, since gauges carry few decimals and
//! counters none. Source of the idea: A. Afroozeh and others, "ALP: Adaptive Lossless Floating-Point
//! Compression". Meaning 15: the integer is the value's bits; values of one sign and magnitude share
//! the upper ones, and single precision leaves the lower ones zero, which is a stride.
//!
//! **Patched.** Values that would spoil the others' encoding, such as stale markers, stand aside; the
//! column holds anything in their places.

use super::{
    Corrupt,
    bits::FRAME,
    decimal, integers,
    runs::{self, KINDS},
};

const RAW: u8 = 0;
const CONSTANT: u8 = 1;
const INTEGERS: u8 = 2;
const PATCHED: u8 = 3;

/// The meaning of integers that are the bits of doubles; below it, it is the power of ten.
const BITS: u8 = 15;

const TRUNCATED: Corrupt = Corrupt::new("truncated column of values");

/// Appends a column of `values` to `out`, in the smallest encoding found: at most 1 + 8 bytes a value.
pub fn encode(values: &[f64], out: &mut Vec<u8>) {
    let Some(&first) = values.first() else {
        return;
    };
    if all_same(values, first) {
        put_constant(first, out);
        return;
    }
    let start = out.len();
    let raw = values.len() * 8;
    let mut budget = raw;
    if let Some(decimals) = Integers::decimals(values)
        && decimals.put(values, budget, out)
    {
        budget = out.len() - start - 1;
    }
    // Bits of doubles seldom take less than half of them.
    if budget > raw / 2 {
        let end = out.len();
        if Integers::bits(values).put(values, budget, out) {
            out.drain(start..end);
        }
    }
    if out.len() == start {
        out.push(RAW);
        out.reserve(raw);
        out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }
}

/// Appends the `count` values of a column to `out`.
///
/// # Errors
/// `bytes` are not exactly one column of `count` values, as [`encode`] writes it; `out` may then have
/// got some values, at most `count`.
pub fn decode(bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), Corrupt> {
    if count == 0 {
        return if bytes.is_empty() {
            Ok(())
        } else {
            Err(BEHIND)
        };
    }
    let (&tag, mut input) = bytes.split_first().ok_or(TRUNCATED)?;
    if tag != PATCHED {
        return take_plain(tag, input, count, out);
    }
    let runs = runs::take(&mut input, count)?;
    let (&tag, input) = input.split_first().ok_or(TRUNCATED)?;
    let start = out.len();
    take_plain(tag, input, count, out)?;
    for run in runs {
        out[start..][run.at..run.at + run.len].fill(f64::from_bits(run.bits));
    }
    Ok(())
}

const BEHIND: Corrupt = Corrupt::new("bytes behind a column of values");

/// Takes a column that is not patched; `input` begins behind its first byte.
fn take_plain(tag: u8, mut input: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), Corrupt> {
    match tag {
        RAW => {
            let (chunks, rest) = input.as_chunks();
            if chunks.len() < count {
                return Err(TRUNCATED);
            }
            if chunks.len() > count || !rest.is_empty() {
                return Err(BEHIND);
            }
            out.extend(chunks.iter().map(|c| f64::from_le_bytes(*c)));
            return Ok(());
        }
        CONSTANT => {
            let mut bits = [0; 8];
            let at = bits.len().checked_sub(input.len()).ok_or(BEHIND)?;
            bits[at..].copy_from_slice(input);
            out.resize(out.len() + count, f64::from_le_bytes(bits));
            return Ok(());
        }
        INTEGERS => integers::take(&mut input, count, |meaning, numbers| match meaning {
            BITS => out.extend(numbers.iter().map(|n| f64::from_bits(*n as u64))),
            exponent => decimal::push_values(numbers, exponent, out),
        })?,
        _ => return Err(Corrupt::new("unknown encoding of a column of values")),
    }
    if input.is_empty() {
        Ok(())
    } else {
        Err(BEHIND)
    }
}

fn all_same(values: &[f64], first: f64) -> bool {
    values.iter().all(|v| v.to_bits() == first.to_bits())
}

fn put_constant(value: f64, out: &mut Vec<u8>) {
    out.push(CONSTANT);
    let bits = value.to_bits();
    let zeros = (bits.trailing_zeros() / 8) as usize;
    out.extend_from_slice(&bits.to_le_bytes()[zeros..]);
}

/// Values as integers.
struct Integers {
    /// A power of ten, or [`BITS`].
    meaning: u8,
    /// One per value; a neighbour's in the place of an exception.
    numbers: Vec<i64>,
    /// Positions of the values that have no integer.
    exceptions: Vec<usize>,
}

impl Integers {
    /// Values over a power of ten, unless so many are no decimals that there is nothing to gain.
    fn decimals(values: &[f64]) -> Option<Self> {
        let exponent = decimal::likely_exponent(values)?;
        let found = Self::over(exponent, values);
        if found.exceptions.is_empty() {
            return Some(found);
        }
        // The sample may have missed what needs more decimals.
        let fitting = values.len() - found.exceptions.len();
        let others = found.exceptions.iter().map(|at| values[*at]);
        let revised = decimal::revised_exponent(exponent, fitting, others);
        if revised == exponent {
            Some(found)
        } else {
            Some(Self::over(revised, values))
        }
    }

    fn over(exponent: u8, values: &[f64]) -> Self {
        let mut numbers = Vec::with_capacity(values.len());
        let mut exceptions = Vec::new();
        let number_of = |v| decimal::number_of(v, exponent);
        for chunk in values.chunks(FRAME) {
            let at = numbers.len();
            if !decimal::push_numbers(chunk, exponent, &mut numbers) {
                numbers.truncate(at);
                push_or_except(chunk, number_of, &mut numbers, &mut exceptions);
            }
        }
        Self {
            meaning: exponent,
            numbers,
            exceptions,
        }
    }

    /// The bits of values; those that a run writes down for nothing are exceptions.
    fn bits(values: &[f64]) -> Self {
        let mut numbers = Vec::with_capacity(values.len());
        let mut exceptions = Vec::new();
        let bits = |v: f64| {
            let bits = v.to_bits();
            (!KINDS.contains(&bits)).then_some(bits as i64)
        };
        push_or_except(values, bits, &mut numbers, &mut exceptions);
        Self {
            meaning: BITS,
            numbers,
            exceptions,
        }
    }

    /// Appends the column if it takes at most `budget` bytes; else leaves `out` as it was.
    fn put(self, values: &[f64], budget: usize, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        if !self.exceptions.is_empty() {
            out.push(PATCHED);
            runs::put(values, &self.exceptions, out);
        }
        out.push(INTEGERS);
        let fits = budget
            .checked_sub(out.len() - start)
            .is_some_and(|left| integers::put(self.meaning, self.numbers, left, out));
        if !fits {
            out.truncate(start);
        }
        fits
    }
}

/// Appends each value's number; where there is none, the one before (the one behind, at the front) and
/// the position to `exceptions`.
fn push_or_except(
    values: &[f64],
    number_of: impl Fn(f64) -> Option<i64>,
    numbers: &mut Vec<i64>,
    exceptions: &mut Vec<usize>,
) {
    let before = numbers.last().copied();
    let behind = || values.iter().find_map(|v| number_of(*v));
    let mut filler = before.or_else(behind).unwrap_or(0);
    for &value in values {
        match number_of(value) {
            Some(number) => filler = number,
            None => exceptions.push(numbers.len()),
        }
        numbers.push(filler);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STALE: f64 = f64::from_bits(KINDS[0]);

    fn encoded(values: &[f64]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(values, &mut out);
        assert!(out.len() <= 1 + values.len() * 8);
        let mut back = vec![7.0];
        decode(&out, values.len(), &mut back).unwrap();
        let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back[1..]), bits(values));
        out
    }

    /// A walk of whole numbers by at most `most` a step, and what it divides into.
    fn walk(n: usize, most: i64, power: f64) -> Vec<f64> {
        let mut random = 1_u64;
        let mut at = 420;
        (0..n)
            .map(|_| {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                at += (random >> 33) as i64 % (2 * most + 1) - most;
                at as f64 / power
            })
            .collect()
    }

    #[test]
    fn bytes_are_frozen() {
        assert!(encoded(&[]).is_empty());
        // Constant.
        assert_eq!(encoded(&[0.0]), [1]);
        assert_eq!(encoded(&[1.0, 1.0, 1.0]), [1, 0xf0, 0x3f]);
        // Raw.
        assert_eq!(
            encoded(&[std::f64::consts::PI, -1e300]),
            [
                0, 0x18, 0x2d, 0x44, 0x54, 0xfb, 0x21, 0x09, 0x40, 0x9c, 0x75, 0x00, 0x88, 0x3c,
                0xe4, 0x37, 0xfe
            ]
        );
        // Integers: over 10, as they are: width 3 above 415.
        assert_eq!(
            encoded(&[41.5, 42.0, 41.6, 41.9, 41.5]),
            [2, 0x01, 3, 0xbe, 0x06, 0x68, 0x08]
        );
        // Patched: minus zero and two stale markers over one step up at a time.
        assert_eq!(
            encoded(&[
                -0.0,
                1e6,
                1_000_001.0,
                STALE,
                STALE,
                1_000_002.0,
                1_000_003.0
            ]),
            [3, 2, 0, 5, 2, 9, 2, 0x00, 2, 0x80, 0x89, 0x7a, 0x50, 0x39]
        );
    }

    #[test]
    fn bits_of_doubles_are_frozen() {
        let third = 1.0_f32 / 3.0;
        let values: Vec<f64> = (0..24_u16)
            .map(|i| f64::from(third + f32::from(i % 7)))
            .collect();
        let mut head = encoded(&values);
        head.truncate(16);
        // A stride of 2^29 above the first value's bits.
        assert_eq!(
            head,
            [
                2, 0x4f, 0x80, 0x80, 0x80, 0x80, 0x04, 0x80, 0x80, 0x80, 0x80, 0xac, 0xd5, 0xaa,
                0xd5, 0x7f
            ]
        );
    }

    #[test]
    fn columns_are_as_small_as_promised() {
        let mut reset = walk(480, 0, 1.0);
        for (i, value) in reset.iter_mut().enumerate() {
            *value = ((i * 1000) + i * i % 50) as f64 - if i > 300 { 300_000.0 } else { 0.0 };
        }
        let pages: Vec<f64> = walk(480, 30, 1.0).iter().map(|v| v * 4096.0).collect();
        let single: Vec<f64> = walk(480, 9000, 1.0)
            .iter()
            .map(|v| f64::from(*v as f32 / 7.0))
            .collect();
        let noise: Vec<f64> = walk(480, 9000, 1.0)
            .iter()
            .map(|v| 400.0 + v.sin())
            .collect();
        let mut odd = walk(480, 20, 10.0);
        odd[33] = std::f64::consts::PI;
        odd[34] = 1.23e-5;
        let mut up = vec![1.0; 480];
        up[240] = 0.0;
        let mut version = vec![std::f64::consts::E; 480];
        version[7] = STALE;
        for (what, values, most) in [
            ("one decimal", walk(480, 20, 10.0), 0.80),
            ("two decimals", walk(480, 200, 100.0), 1.17),
            ("nanoseconds", walk(480, 20, 1e9), 0.80),
            ("one decimal and two odd values", odd, 0.85),
            ("counter with a reset", reset, 1.0),
            ("memory in pages", pages, 0.80),
            ("single precision", single, 4.7),
            ("noise of one magnitude", noise, 6.4),
            ("up", up, 0.04),
            ("constant with a gap", version, 0.06),
        ] {
            let bytes = encoded(&values).len() as f64 / values.len() as f64;
            assert!(bytes <= most, "{what}: {bytes}");
        }
    }

    #[test]
    fn stale_markers_are_cheap() {
        let mut values = walk(480, 20, 10.0);
        let without = encoded(&values).len();
        values[0] = STALE;
        values[100] = STALE;
        values[200..210].fill(STALE);
        assert!(encoded(&values).len() <= without + 10);
    }

    #[test]
    fn integers_of_every_size_round_trip() {
        for shift in 0..64 {
            let near = (1_u64 << shift) as f64;
            let values = [
                near - 1.0,
                near,
                near + 1.0,
                1.0 - near,
                -near,
                near * 2.0,
                near / 10.0,
                near / 1e9,
            ];
            encoded(&values);
            encoded(&values[..3]);
        }
        encoded(&[
            f64::MAX,
            f64::MIN,
            f64::MIN_POSITIVE,
            5e-324,
            f64::NAN,
            f64::INFINITY,
        ]);
        encoded(&[
            f64::NAN,
            -f64::NAN,
            f64::from_bits(0x7ff8_0000_0000_0000),
            1.0,
        ]);
    }

    #[test]
    fn refusals_say_why() {
        for (bytes, count, what) in [
            (&[1][..], 0, "bytes behind a column of values"),
            (&[], 1, "truncated column of values"),
            (&[4], 1, "unknown encoding of a column of values"),
            (&[0, 1, 2, 3, 4, 5, 6, 7], 1, "truncated column of values"),
            (
                &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
                1,
                "bytes behind a column of values",
            ),
            (
                &[1, 1, 2, 3, 4, 5, 6, 7, 8, 9],
                1,
                "bytes behind a column of values",
            ),
            (&[2], 1, "truncated column of integers"),
            (&[2, 0x80, 0, 0], 1, "unknown shape of a column of integers"),
            (&[2, 0x30, 0, 0], 1, "unknown shape of a column of integers"),
            (
                &[2, 0x20, 0, 0],
                1,
                "column of integers shorter than its order",
            ),
            (&[2, 0x00, 0, 0, 9], 1, "bytes behind a column of values"),
            (&[3, 9, 0, 1, 1], 3, "more runs than values"),
            (&[3, 1, 0, 7, 1], 3, "unknown kind of run"),
            (&[3, 1, 3, 1, 1], 3, "run outside its column"),
            (&[3, 1, 1, 17, 1], 3, "run outside its column"),
            (&[3, 1, 0, 0, 1], 3, "truncated run"),
            (
                &[3, 0, 3, 0, 1],
                3,
                "unknown encoding of a column of values",
            ),
        ] {
            let found = decode(bytes, count, &mut Vec::new());
            assert_eq!(found, Err(Corrupt { what }), "{bytes:?}");
        }
    }

    fn special() -> impl Strategy<Value = f64> {
        prop::sample::select(&KINDS[..]).prop_map(f64::from_bits)
    }

    /// What series are made of, for up to three frames.
    fn column() -> impl Strategy<Value = Vec<f64>> {
        let walks = (
            0..3_i32,
            -1_000_000..1_000_000_i64,
            prop::collection::vec(-99..99_i64, 0..300),
        );
        let walks = walks.prop_map(|(decimals, mut at, moves)| {
            let number = moves.into_iter().map(|m| {
                at += m;
                at as f64 / 10_f64.powi(decimals)
            });
            number.collect::<Vec<f64>>()
        });
        let counters = prop::collection::vec((0..5000_u64, prop::bool::weighted(0.01)), 0..300);
        let counters = counters.prop_map(|steps| {
            let mut at = 1_u64 << 40;
            let number = steps.into_iter().map(|(step, reset)| {
                at = if reset { 0 } else { at + step };
                at as f64
            });
            number.collect::<Vec<f64>>()
        });
        let constants =
            (any::<u64>(), 0..300_usize).prop_map(|(bits, n)| vec![f64::from_bits(bits); n]);
        let single = prop::collection::vec(any::<f32>().prop_map(f64::from), 0..300);
        prop_oneof![walks, counters, constants, single]
    }

    /// Such a column with a few values that do not belong.
    fn spoilt() -> impl Strategy<Value = Vec<f64>> {
        let stray = prop_oneof![3 => special(), 1 => any::<u64>().prop_map(f64::from_bits)];
        let strays =
            prop::collection::vec((any::<prop::sample::Index>(), stray, 1..20_usize), 0..4);
        (column(), strays).prop_map(|(mut values, strays)| {
            let count = values.len();
            for (at, stray, len) in strays.into_iter().filter(|_| count > 0) {
                let at = at.index(count);
                let end = count.min(at + len);
                values[at..end].fill(stray);
            }
            values
        })
    }

    proptest! {
        #[test]
        fn any_bits_round_trip(bits in prop::collection::vec(any::<u64>(), 0..300)) {
            let values: Vec<f64> = bits.into_iter().map(f64::from_bits).collect();
            encoded(&values);
        }

        #[test]
        fn series_round_trip(values in column()) {
            encoded(&values);
        }

        #[test]
        fn spoilt_series_round_trip(values in spoilt()) {
            encoded(&values);
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, tag in 0..5_u8, count in 0..1000_usize) {
            let tagged = [&[tag][..], &bytes].concat();
            for bytes in [&bytes, &tagged] {
                let mut out = Vec::new();
                let _ = decode(bytes, count, &mut out);
                prop_assert!(out.len() <= count);
            }
        }

        #[test]
        fn damage_is_survived(
            values in spoilt().prop_filter("not empty", |v| !v.is_empty()),
            at: prop::sample::Index,
            to: u8,
            cut: prop::sample::Index,
        ) {
            let mut bytes = encoded(&values);
            let cut = cut.index(bytes.len());
            // A constant with fewer bytes is another constant.
            let constant = bytes[0] == CONSTANT;
            prop_assert!(constant || decode(&bytes[..cut], values.len(), &mut Vec::new()).is_err());
            let at = at.index(bytes.len());
            bytes[at] = to;
            let mut out = Vec::new();
            let _ = decode(&bytes, values.len(), &mut out);
            prop_assert!(out.len() <= values.len());
        }
    }
}
