//! Sums of a series by steps of time, for courses and trends.

use super::{ExactSum, end_of_bucket};

/// Numbers of a series in one step of time, `(end - length, end]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// End of the step, in milliseconds since the epoch; a multiple of the step's length.
    pub end_ms: i64,
    /// Numbers in it, at least one.
    pub numbers: u64,
    /// Their exact sum, rounded once.
    pub sum: f64,
}

/// Sums by steps that are aligned to the epoch. Steps without numbers are left out; a NaN is no number.
#[derive(Clone, Debug, PartialEq)]
pub struct Steps {
    length_ms: i64,
    steps: Vec<Step>,
    /// The sum of the last step, not yet rounded.
    open: QuickSum,
}

impl Steps {
    /// No steps yet; each will be so long, and at least a millisecond.
    pub fn new(length_ms: i64) -> Self {
        Self {
            length_ms: length_ms.max(1),
            steps: Vec::new(),
            open: QuickSum::default(),
        }
    }

    /// Length of a step in milliseconds.
    pub const fn length_ms(&self) -> i64 {
        self.length_ms
    }

    /// Adds samples that lie after everything added so far: milliseconds that increase strictly, and as
    /// many values.
    pub fn extend(&mut self, times: &[i64], values: &[f64]) {
        let mut end_ms = self.steps.last().map_or(i64::MIN, |step| step.end_ms);
        let mut numbers = 0;
        for (time, value) in times.iter().zip(values) {
            if value.is_nan() {
                continue;
            }
            if *time > end_ms || self.steps.is_empty() {
                self.close(numbers);
                numbers = 0;
                end_ms = self.begin(*time);
            }
            self.open.add(*value);
            numbers += 1;
        }
        self.close(numbers);
    }

    /// Adds a stretch that lies after everything added so far, all of it in the step of `time_ms`: how
    /// many numbers it has, at least one, and doubles that add up to their sum.
    pub fn push(&mut self, time_ms: i64, numbers: u64, sum_parts: &[f64]) {
        if self.steps.last().is_none_or(|step| step.end_ms < time_ms) {
            self.begin(time_ms);
        }
        sum_parts.iter().for_each(|part| self.open.add(*part));
        self.close(numbers);
    }

    /// The steps, in order of time.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Opens the step of a time; returns its end.
    fn begin(&mut self, time_ms: i64) -> i64 {
        let end_ms = end_of_bucket(time_ms, self.length_ms);
        self.steps.push(Step {
            end_ms,
            numbers: 0,
            sum: 0.0,
        });
        self.open = QuickSum::default();
        end_ms
    }

    fn close(&mut self, numbers: u64) {
        if let Some(step) = self.steps.last_mut() {
            step.numbers += numbers;
            step.sum = self.open.to_f64();
        }
    }
}

/// Exponent of the smallest magnitude that is summed quickly, and of its lowest bit.
const QUICK_FROM: i32 = -27;
const QUICK_UNIT: i32 = QUICK_FROM - 52;
/// Exponents that are: magnitudes below 2^20.
const QUICK_SPAN: u32 = 47;

/// The digits of [`ExactSum`] for less: magnitudes from 2^-27 to 2^20, and zero, fit into one integer.
/// It holds 2^27 of them, more than a series has milliseconds in a day.
#[derive(Clone, Debug, Default, PartialEq)]
struct QuickSum {
    /// In units of 2^-79.
    quick: i128,
    /// Everything else.
    rest: Option<Box<ExactSum>>,
}

impl QuickSum {
    fn add(&mut self, value: f64) {
        let bits = value.to_bits();
        let exponent = ((bits >> 52) & 0x7ff) as i32 - 1023;
        let shift = (exponent - QUICK_FROM) as u32;
        if shift < QUICK_SPAN {
            let mantissa = i128::from((bits & ((1 << 52) - 1)) | (1 << 52)) << shift;
            self.quick += if value < 0.0 { -mantissa } else { mantissa };
        } else if value != 0.0 {
            self.rest.get_or_insert_default().add(value);
        }
    }

    /// The sum, rounded once, to nearest, ties to even.
    fn to_f64(&self) -> f64 {
        let unit = 2.0_f64.powi(QUICK_UNIT);
        let Some(rest) = &self.rest else {
            return self.quick as f64 * unit;
        };
        let mut all = ExactSum::clone(rest);
        // Pieces of 32 bits are exact as doubles.
        let mut left = self.quick;
        let mut unit = unit;
        while left != 0 && left != -1 {
            all.add((left & 0xffff_ffff) as f64 * unit);
            left >>= 32;
            unit *= 2.0_f64.powi(32);
        }
        all.add(left as f64 * unit);
        all.to_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn steps(length_ms: i64, samples: &[(i64, f64)]) -> Vec<(i64, u64, f64)> {
        let (times, values): (Vec<i64>, Vec<f64>) = samples.iter().copied().unzip();
        let mut whole = Steps::new(length_ms);
        whole.extend(&times, &values);
        for cut in 0..samples.len() {
            let mut parts = Steps::new(length_ms);
            parts.extend(&times[..cut], &values[..cut]);
            parts.extend(&times[cut..], &values[cut..]);
            assert_eq!(parts.steps(), whole.steps(), "cut at {cut}");
        }
        let mut stretches = Steps::new(length_ms);
        for step in whole.steps() {
            // In two parts: numbers of one half, and then the rest with the sum.
            stretches.push(step.end_ms, step.numbers - 1, &[]);
            stretches.push(step.end_ms, 1, &[step.sum]);
        }
        assert_eq!(stretches.steps(), whole.steps());
        let shown = |step: &Step| (step.end_ms, step.numbers, step.sum);
        whole.steps().iter().map(shown).collect()
    }

    #[test]
    fn steps_end_on_multiples_and_hold_their_end() {
        let samples = [
            (-1000, 8.0),
            (-999, 1.0),
            (0, 2.0),
            (1, 4.0),
            (500, f64::NAN),
            (1000, 0.5),
            (5500, 7.0),
        ];
        assert_eq!(
            steps(1000, &samples),
            [(-1000, 1, 8.0), (0, 2, 3.0), (1000, 2, 4.5), (6000, 1, 7.0)]
        );
        assert_eq!(steps(1000, &[(3, f64::NAN)]), []);
        assert_eq!(
            steps(DAY, &[(0, 1.0), (1, 2.0)]),
            [(0, 1, 1.0), (DAY, 1, 2.0)]
        );
        assert_eq!(steps(1000, &[(i64::MAX - 1, 1.0)])[0].1, 1);
        assert_eq!(steps(1000, &[(i64::MIN, 1.0), (0, 2.0)]).len(), 2);
    }

    const DAY: i64 = 86_400_000;

    #[test]
    fn what_is_not_finite_shows() {
        assert_eq!(
            steps(10, &[(1, f64::INFINITY), (2, 1.0)]),
            [(10, 2, f64::INFINITY)]
        );
    }

    fn any_number() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => (-10_000..10_000_i32).prop_map(|n| f64::from(n) / 10.0),
            2 => -2_000_000.0..2_000_000.0_f64,
            1 => any::<f64>(),
            1 => Just(-0.0),
            1 => any::<u64>().prop_map(f64::from_bits).prop_filter("a number", |v| !v.is_nan()),
        ]
    }

    proptest! {
        #[test]
        fn sums_are_exact(values in prop::collection::vec(any_number(), 1..60)) {
            let mut exact = ExactSum::default();
            values.iter().for_each(|v| exact.add(*v));
            let samples: Vec<(i64, f64)> = (1..).zip(values).collect();
            let found = steps(DAY, &samples);
            prop_assert_eq!(found.len(), 1);
            let expected = exact.to_f64();
            prop_assert!(found[0].2 == expected || expected.is_nan() && found[0].2.is_nan());
        }
    }
}
