//! Doubles as integers over a power of ten, 10^exponent.

/// Powers of ten; doubles hold these exactly.
const POWERS: [f64; 15] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14,
];

/// Exponents that the encoder tries: up to nanoseconds in seconds.
const TRIED: usize = 10;

/// Numbers over at most this power of ten are multiplied by its inverse; see [`push_values`].
const MULTIPLIED: u8 = 7;

/// Values that the encoder looks at before it chooses an exponent.
const SAMPLED: usize = 16;

/// The power of ten that integers are divided by; `exponent` is below 15.
pub(super) fn power(exponent: u8) -> f64 {
    POWERS[usize::from(exponent)]
}

/// The value of an integer over `power`.
pub(super) fn value_of(number: i64, power: f64) -> f64 {
    number as f64 / power
}

/// The integer that is `value` when divided by 10^`exponent`, bit for bit.
pub(super) fn number_of(value: f64, exponent: u8) -> Option<i64> {
    let power = power(exponent);
    let number = if exponent == 0 {
        value as i64
    } else {
        // Rounds half away from zero up to 2^52, beyond which there is no decimal left.
        let scaled = value * power;
        (scaled + 0.5_f64.copysign(scaled)) as i64
    };
    (value_of(number, power).to_bits() == value.to_bits()).then_some(number)
}

/// Appends the value of each of `numbers` over 10^`exponent`, as [`value_of`] gives it.
///
/// Dividing is what takes longest, so numbers of 32 bits are multiplied by 1 / 10^e instead, in two
/// parts of which the upper has 22 bits: its product is exact, and that of the lower leaves the sum
/// within 2^-73 of the quotient before it is rounded. No quotient lies so near to where rounding
/// changes over: they are 2^-54 / 5^e of it away or more, 2^-70.3 where e is 7. Source of the two
/// parts: N. Brisebarre, J.-M. Muller and S. K. Raina, "Accelerating Correctly Rounded
/// Floating-Point Division when the Divisor Is Known in Advance".
pub(super) fn push_values(numbers: &[i64], exponent: u8, values: &mut Vec<f64>) {
    let power = power(exponent);
    if exponent == 0 {
        values.extend(numbers.iter().map(|n| *n as f64));
    } else if exponent <= MULTIPLIED && are_small(numbers) {
        let upper = f64::from_bits((1.0 / power).to_bits() & !0 << 31);
        let lower = (1.0 - upper * power) / power;
        values.extend(numbers.iter().map(|n| {
            let number = f64::from(*n as i32);
            number * upper + number * lower
        }));
    } else {
        values.extend(numbers.iter().map(|n| value_of(*n, power)));
    }
}

/// Whether all numbers are those of an `i32`.
fn are_small(numbers: &[i64]) -> bool {
    let above_lowest = |n: &i64| n.wrapping_sub(i64::from(i32::MIN)) as u64;
    numbers.iter().fold(0, |bits, n| bits | above_lowest(n)) >> 32 == 0
}

/// How many values need which exponent; the last count is of those that are no decimals.
struct Needs([usize; TRIED + 1]);

impl Needs {
    fn add(&mut self, value: f64, from: u8) {
        let fits = |e: &u8| number_of(value, *e).is_some();
        let tried = if value.is_finite() {
            from..TRIED as u8
        } else {
            0..0
        };
        let exponent = tried.into_iter().find(fits).map_or(TRIED, usize::from);
        self.0[exponent] += 1;
    }

    /// The exponent that costs least, when each decimal adds log2(10) bits to every value and each
    /// value that needs more decimals becomes a run of about 11 bytes.
    fn cheapest(&self) -> u8 {
        let total: usize = self.0.iter().sum();
        let mut beyond = total;
        let mut best = (usize::MAX, 0);
        for (exponent, fit) in (0..).zip(&self.0[..TRIED]) {
            beyond -= fit;
            let bits = total * usize::from(exponent) * 10 / 3 + beyond * 88;
            best = best.min((bits, exponent));
        }
        best.1
    }
}

/// The exponent for a column, judged by some of its `values`; none if most of them are no decimals.
pub(super) fn likely_exponent(values: &[f64]) -> Option<u8> {
    let mut needs = Needs([0; TRIED + 1]);
    let sampled = values.iter().step_by(values.len().div_ceil(SAMPLED).max(1));
    for &value in sampled.filter(|v| v.is_finite()) {
        needs.add(value, 0);
    }
    let decimals: usize = needs.0[..TRIED].iter().sum();
    (needs.0[TRIED] <= decimals).then(|| needs.cheapest())
}

/// The exponent for a column of which `fitting` values have integers at `exponent`, and `others` have
/// none.
pub(super) fn revised_exponent(
    exponent: u8,
    fitting: usize,
    others: impl Iterator<Item = f64>,
) -> u8 {
    let mut needs = Needs([0; TRIED + 1]);
    needs.0[usize::from(exponent)] = fitting;
    others.for_each(|value| needs.add(value, exponent + 1));
    needs.cheapest()
}

/// Appends the integers of `values` over 10^`exponent`; false if some are not those of [`number_of`].
///
/// Without branches and conversions, so that it can be vectorised: adding 1.5 * 2^52 leaves a number
/// below 2^51 in the low bits of the sum, rounded.
pub(super) fn push_numbers(values: &[f64], exponent: u8, numbers: &mut Vec<i64>) -> bool {
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    let power = power(exponent);
    let mut wrong = 0;
    numbers.extend(values.iter().map(|value| {
        let shifted = value * power + MAGIC;
        let number = (shifted.to_bits() as i64).wrapping_sub(MAGIC.to_bits() as i64);
        wrong |= value.to_bits() ^ ((shifted - MAGIC) / power).to_bits();
        wrong |= (number.wrapping_add(1 << 51) as u64) >> 52;
        number
    }));
    wrong == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_numbers_are_divided_to_the_bit() {
        // Those whose quotients lie nearest to where rounding changes over are among many in a row.
        let ends = [i64::from(i32::MIN), -40_000, i64::from(i32::MAX) - 80_000];
        for exponent in 0..=MULTIPLIED {
            for start in ends {
                let numbers: Vec<i64> = (start..=start + 80_000).collect();
                let mut values = Vec::new();
                push_values(&numbers, exponent, &mut values);
                let divided = numbers.iter().map(|n| *n as f64 / power(exponent));
                assert!(
                    values
                        .iter()
                        .map(|v| v.to_bits())
                        .eq(divided.map(f64::to_bits))
                );
            }
        }
    }

    #[test]
    fn an_exponent_is_not_raised_for_a_few() {
        let mut values = [1.5; 100];
        values[3] = 0.000_000_123;
        values[70] = f64::NAN;
        assert_eq!(likely_exponent(&values), Some(1));
        assert_eq!(
            revised_exponent(1, 98, [values[3], values[70]].into_iter()),
            1
        );
        assert_eq!(revised_exponent(1, 50, [1.25; 50].into_iter()), 2);
        assert_eq!(likely_exponent(&[0.1_f64.sqrt(); 9]), None);
    }

    proptest! {
        #[test]
        fn numbers_are_divided_to_the_bit(
            numbers in prop::collection::vec(any::<i64>(), 1..50),
            shift in 0..64_u32,
            exponent in 0..15_u8,
        ) {
            let numbers: Vec<i64> = numbers.iter().map(|n| n >> shift).collect();
            let mut values = Vec::new();
            push_values(&numbers, exponent, &mut values);
            for (number, value) in numbers.iter().zip(values) {
                let divided = *number as f64 / power(exponent);
                prop_assert_eq!(value.to_bits(), divided.to_bits(), "{} / 1e{}", number, exponent);
            }
        }

        #[test]
        fn both_ways_find_the_same_integers(
            number in -(1_i64 << 53)..1 << 53,
            shift in 0..53_u32,
            exponent in 0..10_u8,
            other: u64,
        ) {
            let decimal = value_of(number >> shift, power(exponent));
            for value in [decimal, f64::from_bits(other), -0.0, f64::NAN, f64::INFINITY] {
                let mut quick = Vec::new();
                let slow = number_of(value, exponent);
                if push_numbers(&[value], exponent, &mut quick) {
                    prop_assert_eq!(Some(quick[0]), slow);
                }
            }
            // Half a unit of scale is more than rounding takes away.
            if (number >> shift).abs() < 1 << 50 {
                prop_assert!(push_numbers(&[decimal], exponent, &mut Vec::new()));
            }
        }
    }
}
