//! Exact sums of what percent mostly is, many values at a time.

use super::ExactSum;

/// 2^-79, and what it goes into one.
const UNIT: f64 = f64::from_bits((1023 - 79) << 52);
const PER_UNIT: f64 = f64::from_bits((1023 + 79) << 52);
/// Adding 1.5 * 2^52 leaves a number below 2^51 in the low bits of the sum, rounded.
const MAGIC: f64 = 6_755_399_441_055_744.0;
/// The same for multiples of 2^-30.
const MAGIC_HIGH: f64 = 6_291_456.0;
/// 2^-30 in units of 2^-79, as a power of two.
const HIGH_SHIFT: u32 = 49;
/// Values that are summed at once: the sum of so many numbers below 2^51 fits into 63 bits.
const CHUNK: usize = 1 << 11;

/// The digits of [`ExactSum`] for less: magnitudes below 2^21 whose lowest bit is at least 2^-79 are
/// cut into two integers, and their sums fit into one. It holds 2^27 of them, more than a series has
/// milliseconds in a day. What is percent is such.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct QuickSum {
    /// In units of 2^-79.
    quick: i128,
    /// Everything else.
    rest: Option<Box<ExactSum>>,
}

impl QuickSum {
    /// Adds what is no NaN.
    pub(super) fn extend(&mut self, values: &[f64]) {
        for chunk in values.chunks(CHUNK) {
            if let Some(sum) = sum_quickly(chunk) {
                self.quick += sum;
                continue;
            }
            for value in chunk {
                match sum_quickly(std::slice::from_ref(value)) {
                    Some(sum) => self.quick += sum,
                    None if value.is_nan() => {}
                    None => self.rest.get_or_insert_default().add(*value),
                }
            }
        }
    }

    /// The sum, rounded once, to nearest, ties to even.
    pub(super) fn to_f64(&self) -> f64 {
        let Some(rest) = &self.rest else {
            return self.quick as f64 * UNIT;
        };
        let mut all = ExactSum::clone(rest);
        self.add_quick_to(&mut all);
        all.to_f64()
    }

    /// Adds the sum to another.
    pub(super) fn add_to(&self, sum: &mut ExactSum) {
        if let Some(rest) = &self.rest {
            sum.merge(rest);
        }
        self.add_quick_to(sum);
    }

    fn add_quick_to(&self, sum: &mut ExactSum) {
        // Pieces of 32 bits are exact as doubles.
        let mut left = self.quick;
        let mut unit = UNIT;
        while left != 0 && left != -1 {
            sum.add((left & 0xffff_ffff) as f64 * unit);
            left >>= 32;
            unit *= 2.0_f64.powi(32);
        }
        sum.add(left as f64 * unit);
    }
}

/// The exact sum in units of 2^-79, if all values are multiples of it below 2^21.
///
/// Without branches and conversions, so that it can be vectorised.
fn sum_quickly(values: &[f64]) -> Option<i128> {
    let (mut high_sum, mut low_sum, mut wrong) = (0_i64, 0_i64, 0);
    for value in values {
        let high_shifted = value + MAGIC_HIGH;
        let high = high_shifted - MAGIC_HIGH;
        let low_shifted = (value - high) * PER_UNIT + MAGIC;
        let low = (low_shifted - MAGIC) * UNIT;
        high_sum = high_sum.wrapping_add(number_in(high_shifted, MAGIC_HIGH));
        low_sum = low_sum.wrapping_add(number_in(low_shifted, MAGIC));
        wrong |= (high + low).to_bits() ^ value.to_bits();
        wrong |= (high_shifted.to_bits() ^ MAGIC_HIGH.to_bits()) >> 52;
        wrong |= (low_shifted.to_bits() ^ MAGIC.to_bits()) >> 52;
    }
    (wrong == 0).then(|| (i128::from(high_sum) << HIGH_SHIFT) + i128::from(low_sum))
}

/// The number that was added to `magic`, in units of its last place.
const fn number_in(shifted: f64, magic: f64) -> i64 {
    (shifted.to_bits() as i64).wrapping_sub(magic.to_bits() as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_number() -> impl Strategy<Value = f64> {
        prop_oneof![
            6 => (-10_000..10_000_i32).prop_map(|n| f64::from(n) / 10.0),
            2 => -3_000_000.0..3_000_000.0_f64,
            1 => any::<f64>(),
        ]
    }

    proptest! {
        #[test]
        fn it_adds_up_to_the_same_as_one_by_one(
            before in any_number(),
            values in prop::collection::vec(any_number(), 0..60),
        ) {
            let (mut exact, mut added) = (ExactSum::default(), ExactSum::default());
            exact.add(before);
            added.add(before);
            values.iter().filter(|v| !v.is_nan()).for_each(|v| exact.add(*v));
            let mut quick = QuickSum::default();
            quick.extend(&values);
            quick.add_to(&mut added);
            prop_assert_eq!(added, exact);
        }
    }
}
