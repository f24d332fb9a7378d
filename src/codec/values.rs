//! Columns of values: every bit of every double comes back, NaN payloads and the sign of zero included.
//!
//! No values take no bytes. Otherwise the first byte says how the rest is written; the encoder takes
//! the smallest that it knows, and other first bytes are left to encodings to come:
//!
//! ```text
//! 0 raw       | 8 bytes a value, little endian |
//! 1 constant  | the bits of all values: 0..8 bytes, little endian, low zero bytes left out |
//! 2 decimal   | u8 shape | [stride] | leading numbers | frames of the rest |
//! 3 patched   | varint runs | runs | a column (0, 1 or 2) of as many values |
//! ```
//!
//! **Decimal.** Value = number / 10^e, where numbers are integers: gauges carry few decimals and
//! counters none. Source of the idea: A. Afroozeh and others, "ALP: Adaptive Lossless Floating-Point
//! Compression". Shape: bits 0-3 the exponent e, bits 4-5 the order of differences (0, 1, 2), bit 6
//! set if a stride follows, bit 7 clear. A stride is two varints: a multiplier m >= 2 and (zigzag) an
//! origin o; numbers are then o + m k, and k stand in for them (memory grows by pages). As many
//! leading numbers as the order says follow as zigzag varints: the first number, the first
//! difference. Frames: see `bits.rs`. All arithmetic wraps.
//!
//! **Patched.** Values that would spoil the others' encoding, such as stale markers, stand in runs
//! of equal bits: varint values since the last run, varint ((length - 1) * 8 + kind), and 8 bytes for
//! kind 0. The column behind holds anything in their places.

use super::{
    Corrupt,
    bits::{FRAME, Packing, take_frame},
    varint,
};

const RAW: u8 = 0;
const CONSTANT: u8 = 1;
const DECIMAL: u8 = 2;
const PATCHED: u8 = 3;

const STRIDE: u8 = 0x40;

/// Bits of the values that need no bytes of their own in a run; kind 1 is the first.
const KINDS: [u64; 5] = [
    // The stale marker of Prometheus, its ordinary NaN, the infinities, minus zero.
    0x7ff0_0000_0000_0002,
    0x7ff8_0000_0000_0001,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x8000_0000_0000_0000,
];

/// Powers of ten; doubles hold these exactly.
const POWERS: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// Exponents that the encoder tries: nanoseconds and the like.
const TRIED: usize = 10;

const TRUNCATED: Corrupt = Corrupt::new("truncated column of values");

/// Appends a column of `values` to `out`, in the smallest encoding.
pub fn encode(values: &[f64], out: &mut Vec<u8>) {
    let Some(&first) = values.first() else {
        return;
    };
    if all_same(values, first) {
        put_constant(first, out);
        return;
    }
    let raw = values.len() * 8;
    if !put_decimal(values, raw, out) {
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
    let runs = take_runs(&mut input, count)?;
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
        DECIMAL => take_decimal(&mut input, count, out)?,
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

/// Values that are patched over the column behind them.
#[derive(Debug, Clone, Copy)]
struct Run {
    at: usize,
    len: usize,
    bits: u64,
}

/// Takes the runs of a patched column; all lie within `count`.
fn take_runs(input: &mut &[u8], count: usize) -> Result<Vec<Run>, Corrupt> {
    let how_many = varint::take_u64(input)?;
    // A run takes two bytes and one value or more.
    if how_many > count.min(input.len() / 2) as u64 {
        return Err(Corrupt::new("more runs than values"));
    }
    let mut runs = Vec::with_capacity(how_many as usize);
    let mut end = 0_usize;
    for _ in 0..how_many {
        let gap = varint::take_u64(input)?;
        let word = varint::take_u64(input)?;
        let bits = match word % 8 {
            0 => {
                let (bits, rest) = input.split_first_chunk().ok_or(TRUNCATED)?;
                *input = rest;
                u64::from_le_bytes(*bits)
            }
            kind => *KINDS
                .get(kind as usize - 1)
                .ok_or(Corrupt::new("unknown kind of run"))?,
        };
        let inside = |n: u64| usize::try_from(n).ok().filter(|n| *n < count);
        let (Some(gap), Some(len)) = (inside(gap), inside(word / 8)) else {
            return Err(Corrupt::new("run outside its column"));
        };
        let (at, len) = (end + gap, len + 1);
        end = at + len;
        if end > count {
            return Err(Corrupt::new("run outside its column"));
        }
        runs.push(Run { at, len, bits });
    }
    Ok(runs)
}

/// Appends the head of a patched column: `exceptions` are positions in `values`, ascending.
fn put_runs(values: &[f64], exceptions: &[usize], out: &mut Vec<u8>) {
    let mut runs: Vec<Run> = Vec::new();
    for &at in exceptions {
        let bits = values[at].to_bits();
        match runs.last_mut() {
            Some(run) if run.at + run.len == at && run.bits == bits => run.len += 1,
            _ => runs.push(Run { at, len: 1, bits }),
        }
    }
    out.push(PATCHED);
    varint::put_u64(out, runs.len() as u64);
    let mut end = 0;
    for run in runs {
        let kind = KINDS
            .iter()
            .position(|bits| *bits == run.bits)
            .map_or(0, |k| k + 1);
        varint::put_u64(out, (run.at - end) as u64);
        varint::put_u64(out, ((run.len - 1) * 8 + kind) as u64);
        if kind == 0 {
            out.extend_from_slice(&run.bits.to_le_bytes());
        }
        end = run.at + run.len;
    }
}

/// Appends `values` as decimals, patched where they are none, if that takes at most `raw` bytes.
fn put_decimal(values: &[f64], raw: usize, out: &mut Vec<u8>) -> bool {
    let Some(decimals) = Decimals::of(values) else {
        return false;
    };
    let start = out.len();
    if !decimals.exceptions.is_empty() {
        put_runs(values, &decimals.exceptions, out);
    }
    let head = out.len() - start;
    if head < raw && decimals.put(raw - head, out) {
        return true;
    }
    out.truncate(start);
    false
}

/// The integer that is `value` when divided by 10^`exponent`, bit for bit.
fn number_of(value: f64, exponent: usize) -> Option<i64> {
    let power = POWERS[exponent];
    let number = if exponent == 0 {
        value as i64
    } else {
        // Rounds half away from zero up to 2^52, beyond which there is no decimal left.
        let scaled = value * power;
        (scaled + 0.5_f64.copysign(scaled)) as i64
    };
    (value_of(number, power).to_bits() == value.to_bits()).then_some(number)
}

fn value_of(number: i64, power: f64) -> f64 {
    number as f64 / power
}

/// How many values need which exponent; the last count is of those that are no decimals.
type Needs = [usize; TRIED + 1];

fn need(value: f64, from: usize) -> usize {
    if !value.is_finite() {
        return TRIED;
    }
    (from..TRIED)
        .find(|e| number_of(value, *e).is_some())
        .unwrap_or(TRIED)
}

/// The exponent that costs least, when each decimal adds log2(10) bits to a value and each value that
/// needs more decimals becomes a run of about 11 bytes.
fn cheapest_exponent(needs: &Needs) -> usize {
    let total: usize = needs.iter().sum();
    let mut beyond = total;
    let mut best = (usize::MAX, 0);
    for (exponent, fit) in needs[..TRIED].iter().enumerate() {
        beyond -= fit;
        best = best.min((total * exponent * 10 / 3 + beyond * 88, exponent));
    }
    best.1
}

/// Values as integers over a power of ten.
struct Decimals {
    exponent: usize,
    /// One per value; a neighbour's in the place of an exception.
    numbers: Vec<i64>,
    /// Positions of the values that have no integer.
    exceptions: Vec<usize>,
}

impl Decimals {
    /// Integers for `values`, unless so many are none that there is nothing to gain.
    fn of(values: &[f64]) -> Option<Self> {
        let mut needs = [0; TRIED + 1];
        let sampled = values.iter().step_by(values.len().div_ceil(16));
        for &value in sampled.filter(|v| v.is_finite()) {
            needs[need(value, 0)] += 1;
        }
        if needs[TRIED] > needs[..TRIED].iter().sum() {
            return None;
        }
        let found = Self::with(cheapest_exponent(&needs), values);
        if found.exceptions.is_empty() {
            return Some(found);
        }
        // The sample may have missed what needs more decimals.
        let mut needs = [0; TRIED + 1];
        needs[found.exponent] = values.len() - found.exceptions.len();
        for &at in &found.exceptions {
            needs[need(values[at], found.exponent + 1)] += 1;
        }
        let exponent = cheapest_exponent(&needs);
        if exponent == found.exponent {
            Some(found)
        } else {
            Some(Self::with(exponent, values))
        }
    }

    fn with(exponent: usize, values: &[f64]) -> Self {
        let mut numbers = Vec::with_capacity(values.len());
        let mut exceptions = Vec::new();
        let first = values.iter().find_map(|v| number_of(*v, exponent));
        let mut last = first.unwrap_or(0);
        for (at, &value) in values.iter().enumerate() {
            match number_of(value, exponent) {
                Some(number) => last = number,
                None => exceptions.push(at),
            }
            numbers.push(last);
        }
        Self {
            exponent,
            numbers,
            exceptions,
        }
    }

    /// Appends a decimal column if it takes at most `budget` bytes.
    fn put(&self, budget: usize, out: &mut Vec<u8>) -> bool {
        let stride = Stride::of(&self.numbers);
        let strided;
        let numbers = match &stride {
            Some(stride) => {
                strided = stride.counts(&self.numbers);
                &strided
            }
            None => &self.numbers,
        };
        let deltas = differences(numbers);
        let second = differences(&deltas);
        let mut best: Option<(u8, Packing<'_>)> = None;
        for (order, candidate) in [(1, &deltas), (0, numbers), (2, &second)] {
            let budget = best.as_ref().map_or(budget, |(_, b)| b.len());
            if let Some(packing) = Packing::within(budget, candidate) {
                best = Some((order, packing));
            }
        }
        let Some((order, packing)) = best else {
            return false;
        };
        let start = out.len();
        out.push(DECIMAL);
        let flag = if stride.is_some() { STRIDE } else { 0 };
        out.push(self.exponent as u8 | order << 4 | flag);
        if let Some(stride) = stride {
            varint::put_u64(out, stride.multiplier);
            varint::put_i64(out, stride.origin);
        }
        if order > 0 {
            varint::put_i64(out, numbers[0]);
        }
        if order > 1 {
            varint::put_i64(out, deltas[0]);
        }
        packing.put(out);
        out.len() - start <= budget
    }
}

fn differences(numbers: &[i64]) -> Vec<i64> {
    numbers
        .windows(2)
        .map(|w| w[1].wrapping_sub(w[0]))
        .collect()
}

/// Numbers that are all `origin` plus a multiple of `multiplier`.
#[derive(Debug, Clone, Copy)]
struct Stride {
    multiplier: u64,
    origin: i64,
}

impl Stride {
    /// The widest stride of `numbers`, if it is worth its bytes.
    fn of(numbers: &[i64]) -> Option<Self> {
        let origin = *numbers.first()?;
        let mut multiplier = 0;
        for number in numbers {
            multiplier = gcd(multiplier, number.wrapping_sub(origin).unsigned_abs());
            if multiplier == 1 {
                return None;
            }
        }
        let saved = numbers.len() * multiplier.checked_ilog2()? as usize / 8;
        let cost = varint::len_u64(multiplier) + varint::len_u64(varint::zigzag(origin));
        (saved > cost).then_some(Self { multiplier, origin })
    }

    /// Each number's count of multipliers from the origin.
    fn counts(self, numbers: &[i64]) -> Vec<i64> {
        numbers
            .iter()
            .map(|n| {
                n.wrapping_sub(self.origin)
                    .wrapping_div(self.multiplier as i64)
            })
            .collect()
    }

    /// The inverse of [`Self::counts`].
    fn number(self, count: i64) -> i64 {
        count
            .wrapping_mul(self.multiplier as i64)
            .wrapping_add(self.origin)
    }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Takes a decimal column of `count` values, one or more.
fn take_decimal(input: &mut &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), Corrupt> {
    let (&shape, rest) = input.split_first().ok_or(TRUNCATED)?;
    *input = rest;
    let power = POWERS[usize::from(shape & 0x0f)];
    let order = usize::from(shape >> 4 & 3);
    if shape & 0x80 != 0 || order > 2 {
        return Err(Corrupt::new("unknown shape of a decimal column"));
    }
    if order > count {
        return Err(Corrupt::new("decimal column shorter than its order"));
    }
    let mut stride = Stride {
        multiplier: 1,
        origin: 0,
    };
    if shape & STRIDE != 0 {
        stride.multiplier = varint::take_u64(input)?;
        stride.origin = varint::take_i64(input)?;
    }
    let value = |number| value_of(stride.number(number), power);
    let mut last = 0_i64;
    let mut slope = 0_i64;
    if order > 0 {
        last = varint::take_i64(input)?;
        out.push(value(last));
    }
    if order > 1 {
        slope = varint::take_i64(input)?;
        last = last.wrapping_add(slope);
        out.push(value(last));
    }
    let mut frame = [0; FRAME];
    let mut left = count - order;
    while left > 0 {
        let numbers = &mut frame[..left.min(FRAME)];
        take_frame(input, numbers)?;
        left -= numbers.len();
        for number in numbers.iter_mut() {
            match order {
                0 => last = *number,
                1 => last = last.wrapping_add(*number),
                _ => {
                    slope = slope.wrapping_add(*number);
                    last = last.wrapping_add(slope);
                }
            }
            *number = last;
        }
        out.extend(numbers.iter().map(|n| value(*n)));
    }
    Ok(())
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
        assert_eq!(encoded(&[]), []);
        assert_eq!(encoded(&[0.0]), [1]);
        assert_eq!(encoded(&[1.0, 1.0, 1.0]), [1, 0xf0, 0x3f]);
    }

    #[test]
    fn columns_are_as_small_as_promised() {
        for (what, values, most) in [
            ("one decimal", walk(480, 20, 10.0), 0.82),
            ("two decimals", walk(480, 200, 100.0), 1.2),
        ] {
            let bytes = encoded(&values).len() as f64 / values.len() as f64;
            assert!(bytes <= most, "{what}: {bytes}");
        }
    }

    proptest! {
        #[test]
        fn any_bits_round_trip(bits in proptest::collection::vec(any::<u64>(), 0..300)) {
            let values: Vec<f64> = bits.into_iter().map(f64::from_bits).collect();
            encoded(&values);
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, tag in 0..4_u8, count in 0..1000_usize) {
            let tagged = [&[tag][..], &bytes].concat();
            for bytes in [&bytes, &tagged] {
                let mut out = Vec::new();
                let _ = decode(bytes, count, &mut out);
                prop_assert!(out.len() <= count);
            }
        }
    }

    #[test]
    fn stale_markers_are_cheap() {
        let mut values = walk(480, 20, 10.0);
        let without = encoded(&values).len();
        values[100] = STALE;
        values[200..210].fill(STALE);
        assert!(encoded(&values).len() <= without + 10);
    }
}
