//! Columns of integers: made small by a stride and by differences, then packed.
//!
//! ```text
//! | u8 shape | if strided: varint multiplier m, zigzag varint origin o | leading numbers | the rest |
//! ```
//!
//! Shape: bits 0-3 are the caller's, bits 4-5 the order of differences (0, 1 or 2), bit 6 is set if
//! the column is strided, bit 7 if the rest is entropy coded. Strided numbers are o + m k, and the k
//! stand in for them: memory grows by pages, coarse gauges by their resolution. As many leading
//! numbers as the order says are zigzag varints: the first number, the first difference; the rest are
//! the differences of that order that follow, in frames (`bits.rs`) or entropy coded (`entropy.rs`).
//! All arithmetic wraps.

use super::{
    Corrupt, Effort,
    bits::{FRAME, Packing, frame_len, take_frame},
    entropy, varint,
};

/// Bits of the shape that belong to the caller.
const MEANING: u8 = 0x0f;
/// Flag in the shape: a stride follows.
const STRIDED: u8 = 0x40;
/// Flag in the shape: the rest is entropy coded.
const CODED: u8 = 0x80;

/// Frames that the encoder tries each order of differences on.
const SAMPLED_FRAMES: usize = 3;

const TRUNCATED: Corrupt = Corrupt::new("truncated column of integers");

/// Appends a column of `numbers`, if that takes at most `budget` bytes; else leaves `out` as it was.
/// `meaning`, 0 to 15, is handed back when the column is taken.
pub(super) fn put(
    meaning: u8,
    mut numbers: Vec<i64>,
    effort: Effort,
    budget: usize,
    out: &mut Vec<u8>,
) -> bool {
    let start = out.len();
    let stride = Stride::of(&numbers);
    if let Some(stride) = stride {
        stride.count(&mut numbers);
    }
    let order = cheapest_order(&numbers);
    let flag = if stride.is_some() { STRIDED } else { 0 };
    out.push(meaning & MEANING | (order as u8) << 4 | flag);
    if let Some(stride) = stride {
        varint::put_u64(out, stride.multiplier);
        varint::put_i64(out, stride.origin);
    }
    for i in 0..order {
        difference(&mut numbers[i..]);
        varint::put_i64(out, numbers[i]);
    }
    let Some(left) = budget.checked_sub(out.len() - start) else {
        out.truncate(start);
        return false;
    };
    let rest = &numbers[order..];
    let packing = Packing::within(left, rest);
    let coded_budget = effort.coded_budget(packing.as_ref().map_or(left, Packing::len));
    if coded_budget.is_some_and(|most| entropy::put_integers(rest, most, out)) {
        out[start] |= CODED;
        return true;
    }
    match &packing {
        Some(packing) => packing.put(out),
        None => out.truncate(start),
    }
    packing.is_some()
}

/// What the caller of [`put`] gave as meaning of the column at the front of `input`.
///
/// # Errors
/// There is none.
pub(super) fn meaning(input: &[u8]) -> Result<u8, Corrupt> {
    input.first().map(|shape| shape & MEANING).ok_or(TRUNCATED)
}

/// Takes a column of `count` numbers off the front of `input` and gives them to `emit` in order and
/// in parts, each with the column's meaning.
///
/// # Errors
/// The column is cut short or is not one that [`put`] writes; some of it may have been given then.
pub(super) fn take(
    input: &mut &[u8],
    count: usize,
    mut emit: impl FnMut(u8, &[i64]),
) -> Result<(), Corrupt> {
    let (&shape, rest) = input.split_first().ok_or(TRUNCATED)?;
    *input = rest;
    let order = usize::from(shape >> 4 & 3);
    if order > 2 {
        return Err(Corrupt::new("unknown shape of a column of integers"));
    }
    if order > count {
        return Err(Corrupt::new("column of integers shorter than its order"));
    }
    let stride = if shape & STRIDED == 0 {
        None
    } else {
        let multiplier = varint::take_u64(input)?;
        let origin = varint::take_i64(input)?;
        Some(Stride { multiplier, origin })
    };
    let mut leading = [0_i64; 2];
    for number in &mut leading[..order] {
        *number = varint::take_i64(input)?;
    }
    let [mut last, mut slope] = leading;
    let mut finish = |numbers: &mut [i64]| {
        if let Some(stride) = stride {
            for number in numbers.iter_mut() {
                *number = stride.number(*number);
            }
        }
        emit(shape & MEANING, numbers);
    };
    if order > 0 {
        finish(&mut [last]);
    }
    if order > 1 {
        last = last.wrapping_add(slope);
        finish(&mut [last]);
    }
    let mut finish_rest = |numbers: &mut [i64]| {
        if order > 1 {
            slope = sum_up(slope, numbers);
        }
        if order > 0 {
            last = sum_up(last, numbers);
        }
        finish(numbers);
    };
    let mut left = count - order;
    if shape & CODED != 0 {
        return entropy::take_integers(input, left, finish_rest);
    }
    let mut frame = [0; FRAME];
    while left > 0 {
        let numbers = &mut frame[..left.min(FRAME)];
        take_frame(input, numbers)?;
        left -= numbers.len();
        finish_rest(numbers);
    }
    Ok(())
}

/// How often to take differences so that the least remains, judged by some of the frames.
fn cheapest_order(numbers: &[i64]) -> usize {
    let mut bytes = [0; 3];
    let frames = numbers.len().div_ceil(FRAME);
    for chunk in numbers
        .chunks(FRAME)
        .step_by(frames.div_ceil(SAMPLED_FRAMES))
    {
        let mut copy = [0; FRAME];
        let copy = &mut copy[..chunk.len()];
        copy.copy_from_slice(chunk);
        for (order, bytes) in bytes.iter_mut().enumerate().take(chunk.len()) {
            *bytes += frame_len(&copy[order..]);
            difference(&mut copy[order..]);
        }
    }
    // Leading numbers come once, and not in a frame.
    if let [first, second, ..] = *numbers {
        let first_len = varint::len_u64(varint::zigzag(first));
        bytes[1] += first_len;
        bytes[2] += first_len + varint::len_u64(varint::zigzag(second.wrapping_sub(first)));
    }
    // At equal size the lower order has less to undo.
    let order = (0..bytes.len().min(numbers.len())).min_by_key(|order| bytes[*order]);
    order.unwrap_or(0)
}

/// Turns all numbers but the first into what was added to the one before.
fn difference(numbers: &mut [i64]) {
    let mut before = numbers.first().copied().unwrap_or(0);
    for number in numbers.iter_mut().skip(1) {
        (before, *number) = (*number, number.wrapping_sub(before));
    }
}

/// The inverse of [`difference`] for numbers behind `last`; returns the last of them.
fn sum_up(mut last: i64, numbers: &mut [i64]) -> i64 {
    for number in numbers {
        last = last.wrapping_add(*number);
        *number = last;
    }
    last
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
        let mut divisor = Divisor::new(0);
        for number in numbers {
            let distance = number.wrapping_sub(origin);
            if !divisor.divides(distance) {
                divisor = Divisor::new(gcd(divisor.value, distance.unsigned_abs()));
                if divisor.value == 1 {
                    return None;
                }
            }
        }
        let multiplier = divisor.value;
        let saved = numbers.len() * multiplier.checked_ilog2()? as usize / 8;
        let cost = varint::len_u64(multiplier) + varint::len_u64(varint::zigzag(origin));
        (saved > cost).then_some(Self { multiplier, origin })
    }

    /// Turns each number into its count of multipliers from the origin.
    fn count(self, numbers: &mut [i64]) {
        let divisor = Divisor::new(self.multiplier);
        for number in numbers {
            *number = divisor.quotient(number.wrapping_sub(self.origin));
        }
    }

    /// The inverse of [`Self::count`].
    fn number(self, count: i64) -> i64 {
        count
            .wrapping_mul(self.multiplier as i64)
            .wrapping_add(self.origin)
    }
}

/// A divisor for exact divisions, each a shift and a multiplication. Source: T. Granlund and
/// P. Montgomery, "Division by invariant integers using multiplication", section 9.
#[derive(Debug, Clone, Copy)]
struct Divisor {
    value: u64,
    shift: u32,
    /// Of the odd part, modulo 2^64.
    inverse: i64,
}

impl Divisor {
    fn new(value: u64) -> Self {
        let shift = value.trailing_zeros().min(63);
        let odd = (value >> shift) as i64;
        // An odd number is its own inverse modulo 8, and each step doubles the bits that are right.
        let mut inverse = odd;
        for _ in 0..5 {
            inverse = inverse.wrapping_mul(2_i64.wrapping_sub(odd.wrapping_mul(inverse)));
        }
        Self {
            value,
            shift,
            inverse,
        }
    }

    /// `number` / divisor; a number of no meaning unless the divisor divides it.
    fn quotient(self, number: i64) -> i64 {
        (number >> self.shift).wrapping_mul(self.inverse)
    }

    fn divides(self, number: i64) -> bool {
        let whole = self.quotient(number).checked_mul(self.value as i64);
        whole == Some(number)
    }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn column(numbers: &[i64]) -> Vec<u8> {
        column_with(numbers, Effort::Quick)
    }

    fn settled(numbers: &[i64]) -> Vec<u8> {
        column_with(numbers, Effort::Settled)
    }

    fn column_with(numbers: &[i64], effort: Effort) -> Vec<u8> {
        let mut out = vec![9];
        assert!(put(5, numbers.to_vec(), effort, usize::MAX, &mut out));
        let len = out.len() - 1;
        assert!(!put(5, numbers.to_vec(), effort, len - 1, &mut out));
        assert_eq!(out.len() - 1, len);
        let mut input = &out[1..];
        let mut back = Vec::new();
        take(&mut input, numbers.len(), |meaning, part| {
            assert_eq!(meaning, 5);
            back.extend_from_slice(part);
        })
        .unwrap();
        assert_eq!(back, numbers);
        assert!(input.is_empty());
        assert_eq!(meaning(&out[1..]), Ok(5));
        out.split_off(1)
    }

    #[test]
    fn bytes_are_frozen() {
        // As they are; differences; differences of differences; strided.
        assert_eq!(column(&[7, 9, 8]), [0x05, 2, 14, 0b01_10_00]);
        let line: Vec<i64> = (0..20).map(|i| 1000 + i * 3 + i % 2).collect();
        assert_eq!(column(&line)[..2], [0x15, 0xd0]);
        let bend: Vec<i64> = (0..20).map(|i| i * i * 100).collect();
        assert_eq!(column(&bend), [0x65, 100, 0, 0, 2, 0, 4]);
        let pages: Vec<i64> = (0..20).map(|i| 4096 * (i * 7 % 4) + 1).collect();
        assert_eq!(
            column(&pages),
            [0x45, 0x80, 0x20, 2, 2, 0, 0x6c, 0x6c, 0x6c, 0x6c, 0x6c]
        );
    }

    #[test]
    fn what_comes_often_is_coded_when_settled() {
        // Source of the constants: D. Knuth, MMIX.
        let mut random = 1_u64;
        let mut below = |n: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((random >> 33) % n) as i64
        };
        // A counter by 7 that idles half of the time: strided, differences.
        let mut at = 0;
        let mut counted = || {
            at += 7 * (below(64) - 32).max(0);
            at
        };
        let counter: Vec<i64> = (0..600).map(|_| counted()).collect();
        let coded = settled(&counter);
        assert_eq!(coded[0], CODED | STRIDED | 0x15);
        assert!(coded.len() * 5 <= column(&counter).len() * 4);
        // Numbers that are spread evenly have nothing to gain.
        let even: Vec<i64> = (0..600).map(|_| below(32)).collect();
        assert_eq!(settled(&even), column(&even));
    }

    #[test]
    fn strides_reach_the_ends() {
        let far = [i64::MIN, 0, i64::MIN, 0];
        column(&far.repeat(10));
        column(&[i64::MIN, -1, i64::MAX - 1].repeat(10));
        column(&[0, 3 << 61, 0, 3 << 60].repeat(10));
    }

    proptest! {
        #[test]
        fn any_numbers_round_trip(numbers in prop::collection::vec(any::<i64>(), 1..300)) {
            column(&numbers);
            settled(&numbers);
        }

        #[test]
        fn strided_numbers_round_trip(
            multiplier: u64,
            shift in 0..64_u32,
            origin: i64,
            counts in prop::collection::vec(-50..50_i64, 1..300),
        ) {
            let multiplier = (multiplier >> shift) as i64;
            let numbers: Vec<i64> = counts
                .iter()
                .map(|k| origin.wrapping_add(multiplier.wrapping_mul(*k)))
                .collect();
            column(&numbers);
            settled(&numbers);
        }

        #[test]
        fn few_numbers_that_come_often_round_trip(
            few in prop::collection::vec(any::<i64>(), 1..6),
            of_them in prop::collection::vec(any::<prop::sample::Index>(), 1..600),
        ) {
            let numbers: Vec<i64> = of_them.iter().map(|at| *at.get(&few)).collect();
            settled(&numbers);
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, count in 0..1000_usize) {
            let mut given = 0;
            let _ = take(&mut &bytes[..], count, |_, part| given += part.len());
            prop_assert!(given <= count);
        }
    }
}
