//! Columns of values: every bit of every double comes back, NaN payloads and the sign of zero included.
//!
//! No values take no bytes. Otherwise the first byte says how the rest is written; the encoder takes
//! the smallest that it finds, and other first bytes are left to encodings to come:
//!
//! ```text
//! 0 raw       | 8 bytes a value, little endian |
//! 1 constant  | the bits of all values: 0..8 bytes, little endian, low zero bytes left out |
//! 2 integers  | a column of integers (`integers.rs`), whose meaning says what the values are |
//! 3 patched   | runs (`runs.rs`) | a column (0, 1, 2 or 4) of as many values, the runs' among them |
//! 4 doubles   | entropy coded doubles (`entropy.rs`) |
//! ```
//!
//! **Integers.** Meaning 0 to 14: value = integer / 10^meaning, since gauges carry few decimals and
//! counters none. Source of the idea: A. Afroozeh and others, "ALP: Adaptive Lossless Floating-Point
//! Compression". Meaning 15: the integer is the value's bits; values of one sign and magnitude share
//! the upper ones, and single precision leaves the lower ones zero, which is a stride.
//!
//! **Patched.** Values that would spoil the others' encoding, such as stale markers, stand aside; the
//! column holds anything in their places.
//!
//! **Doubles** are for what is no decimal and yet no noise: shares of a total, single precision of
//! decimals, curves. They are written with [`Effort::Settled`] only.

use super::{
    Corrupt, Effort,
    bits::FRAME,
    decimal, entropy, integers,
    runs::{self, KINDS},
};

const RAW: u8 = 0;
const CONSTANT: u8 = 1;
const INTEGERS: u8 = 2;
const PATCHED: u8 = 3;
const DOUBLES: u8 = 4;

/// The meaning of integers that are the bits of doubles; below it, it is the power of ten.
const BITS: u8 = 15;

const TRUNCATED: Corrupt = Corrupt::new("truncated column of values");
const BEHIND: Corrupt = Corrupt::new("bytes behind a column of values");

/// Appends a column of `values` to `out`, in the smallest encoding found: at most 1 + 8 bytes a value.
pub fn encode(values: &[f64], effort: Effort, out: &mut Vec<u8>) {
    let Some(&first) = values.first() else {
        return;
    };
    if all_same(values, first) {
        put_constant(first, out);
        return;
    }
    let raw = values.len() * 8;
    let mut smallest = Smallest {
        start: out.len(),
        budget: raw,
        out,
    };
    let decimals = Integers::decimals(values);
    let has_strays = |found: &Integers| found.exceptions.iter().any(|at| !is_special(values[*at]));
    let tries_doubles = effort == Effort::Settled && decimals.as_ref().is_none_or(has_strays);
    if let Some(decimals) = decimals {
        smallest.offer(|budget, out| decimals.put(values, effort, budget, out));
    }
    // Bits of doubles seldom take less than half of them.
    if smallest.budget > raw / 2 {
        smallest.offer(|budget, out| Integers::bits(values).put(values, effort, budget, out));
    }
    if tries_doubles && let Some(most) = effort.coded_budget(smallest.budget) {
        smallest.offer(|_, out| Integers::bits(values).put_doubles(values, most, out));
    }
    if smallest.budget == raw {
        let out = smallest.out;
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
        return ends(bytes);
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

/// Appends the `count` values of a column as integers to `out`, if it has them so, and returns the
/// power of ten that they are to be divided by (0 to 14). None, and `out` as it was, for any other
/// column, among them one with a stale marker in it and one whose values are all the same.
///
/// For whoever counts values: nothing is divided, and an integer can be an index.
///
/// # Errors
/// As [`decode`]; columns that are not of integers are not looked at.
pub fn decode_decimals(
    bytes: &[u8],
    count: usize,
    out: &mut Vec<i64>,
) -> Result<Option<u8>, Corrupt> {
    if count == 0 {
        return ends(bytes).map(|()| None);
    }
    let Some((&INTEGERS, mut input)) = bytes.split_first() else {
        return Ok(None);
    };
    let meaning = integers::meaning(input)?;
    if meaning == BITS {
        return Ok(None);
    }
    integers::take(&mut input, count, |_, numbers| {
        out.extend_from_slice(numbers);
    })?;
    ends(input).map(|()| Some(meaning))
}

/// Holds if the input is used up.
fn ends(input: &[u8]) -> Result<(), Corrupt> {
    if input.is_empty() {
        Ok(())
    } else {
        Err(BEHIND)
    }
}

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
        DOUBLES => {
            let start = out.len();
            out.resize(start + count, 0.0);
            entropy::take_doubles(&mut input, &mut out[start..])?;
        }
        _ => return Err(Corrupt::new("unknown encoding of a column of values")),
    }
    ends(input)
}

/// The smallest encoding found so far; the end of a buffer.
struct Smallest<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    /// Bytes that another may take to replace it.
    budget: usize,
}

impl Smallest<'_> {
    /// `put` appends another if it takes at most so many bytes, and says whether it has.
    fn offer(&mut self, put: impl FnOnce(usize, &mut Vec<u8>) -> bool) {
        let end = self.out.len();
        if put(self.budget, self.out) {
            self.out.drain(self.start..end);
            self.budget = self.out.len() - self.start - 1;
        }
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

/// Whether a run writes the value down for nothing.
fn is_special(value: f64) -> bool {
    KINDS.contains(&value.to_bits())
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
        let bits = |v: f64| (!is_special(v)).then_some(v.to_bits() as i64);
        push_or_except(values, bits, &mut numbers, &mut exceptions);
        Self {
            meaning: BITS,
            numbers,
            exceptions,
        }
    }

    /// Appends the column if it takes at most `budget` bytes; else leaves `out` as it was.
    fn put(self, values: &[f64], effort: Effort, budget: usize, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        self.put_runs(values, out);
        out.push(INTEGERS);
        let fits = budget
            .checked_sub(out.len() - start)
            .is_some_and(|left| integers::put(self.meaning, self.numbers, effort, left, out));
        if !fits {
            out.truncate(start);
        }
        fits
    }

    /// Appends a column of doubles, of which these are the bits, if it takes at most `budget` bytes;
    /// else leaves `out` as it was.
    fn put_doubles(&self, values: &[f64], budget: usize, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        self.put_runs(values, out);
        out.push(DOUBLES);
        let doubles: Vec<f64> = self
            .numbers
            .iter()
            .map(|n| f64::from_bits(*n as u64))
            .collect();
        let fits = budget
            .checked_sub(out.len() - start)
            .is_some_and(|left| entropy::put_doubles(&doubles, left, out));
        if !fits {
            out.truncate(start);
        }
        fits
    }

    /// Appends what stands aside, if anything does.
    fn put_runs(&self, values: &[f64], out: &mut Vec<u8>) {
        if !self.exceptions.is_empty() {
            out.push(PATCHED);
            runs::put(values, &self.exceptions, out);
        }
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
mod tests;
