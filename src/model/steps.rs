//! Sums of a series by steps of time, for courses and trends.

use super::{end_of_bucket, quick_sum::QuickSum};

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
    done: Vec<Step>,
    /// The sum of the last step, not yet rounded.
    open: QuickSum,
}

impl Steps {
    /// No steps yet; each will be so long, and at least a millisecond.
    pub fn new(length_ms: i64) -> Self {
        Self {
            length_ms: length_ms.max(1),
            done: Vec::new(),
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
        let (mut times, mut values) = (times, values);
        // Steps mostly hold as many samples as the one before.
        let mut likely = 0;
        while let Some(first) = times.first() {
            let end_ms = end_of_bucket(*first, self.length_ms);
            let is_end = |at: usize| {
                at > 0 && times[at - 1] <= end_ms && times.get(at).is_none_or(|t| *t > end_ms)
            };
            if !(likely <= times.len() && is_end(likely)) {
                likely = times.partition_point(|time| *time <= end_ms);
            }
            let (step, rest) = values.split_at(likely);
            let numbers = step.iter().filter(|value| !value.is_nan()).count() as u64;
            if numbers > 0 {
                self.reach(end_ms);
                self.open.extend(step);
                self.close(numbers);
            }
            (times, values) = (&times[likely..], rest);
        }
    }

    /// Adds a stretch that lies after everything added so far, all of it in the step of `time_ms`: how
    /// many numbers it has, at least one, and doubles that add up to their sum.
    pub fn push(&mut self, time_ms: i64, numbers: u64, sum_parts: &[f64]) {
        self.reach(end_of_bucket(time_ms, self.length_ms));
        self.open.extend(sum_parts);
        self.close(numbers);
    }

    /// The steps, in order of time.
    pub fn steps(&self) -> &[Step] {
        &self.done
    }

    /// Opens the step that ends then, unless it is open.
    fn reach(&mut self, end_ms: i64) {
        if self.done.last().is_none_or(|step| step.end_ms < end_ms) {
            self.done.push(Step {
                end_ms,
                numbers: 0,
                sum: 0.0,
            });
            self.open = QuickSum::default();
        }
    }

    fn close(&mut self, numbers: u64) {
        if let Some(step) = self.done.last_mut() {
            step.numbers += numbers;
            step.sum = self.open.to_f64();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ExactSum;
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
            2 => -3_000_000.0..3_000_000.0_f64,
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
