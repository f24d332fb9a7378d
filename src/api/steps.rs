//! Samples into buckets: `(t-step, t]`, stamped t, aligned to the epoch.

use crate::model::{ExactSum, Increase, is_stale_marker};

/// What becomes of the samples of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregate {
    /// Mean of the numbers.
    Avg,
    /// Smallest number.
    Min,
    /// Largest number.
    Max,
    /// Sum of the numbers.
    Sum,
    /// Samples.
    Count,
    /// The last value.
    Last,
    /// Increase from the bucket's first number to its last, counter resets corrected, by the seconds
    /// between them; nothing for a bucket with fewer than two. Not extrapolated.
    Rate,
}

impl Aggregate {
    pub(super) const WORDS: [(&'static str, Self); 7] = [
        ("avg", Self::Avg),
        ("min", Self::Min),
        ("max", Self::Max),
        ("sum", Self::Sum),
        ("count", Self::Count),
        ("last", Self::Last),
        ("rate", Self::Rate),
    ];

    /// The value of one bucket. NaN where there are samples and no number.
    fn of(self, times: &[i64], values: &[f64]) -> Option<f64> {
        let real = || {
            times
                .iter()
                .zip(values)
                .filter(|(_, value)| !is_stale_marker(**value))
        };
        let numbers = || real().filter(|(_, value)| !value.is_nan());
        let count = real().count();
        if count == 0 {
            return None;
        }
        let extreme =
            |pick: fn(f64, f64) -> f64| numbers().map(|(_, v)| *v).reduce(pick).unwrap_or(f64::NAN);
        match self {
            Self::Count => Some(count as f64),
            Self::Last => real().next_back().map(|(_, value)| *value),
            Self::Min => Some(extreme(f64::min)),
            Self::Max => Some(extreme(f64::max)),
            Self::Avg | Self::Sum => {
                let mut sum = ExactSum::default();
                numbers().for_each(|(_, value)| sum.add(*value));
                Some(match numbers().count() as u64 {
                    0 => f64::NAN,
                    n if self == Self::Avg => sum.mean(n),
                    _ => sum.to_f64(),
                })
            }
            Self::Rate => {
                let mut increase = Increase::default();
                numbers().for_each(|(_, value)| increase.push(*value));
                let (first, last) = (numbers().next()?.0, numbers().next_back()?.0);
                let seconds = (last - first) as f64 / 1000.0;
                (seconds > 0.0)
                    .then(|| increase.total().map(|total| total / seconds))
                    .flatten()
            }
        }
    }
}

/// Hands over each bucket that has a value. `times` increase.
pub(super) fn buckets(
    times: &[i64],
    values: &[f64],
    step_ms: i64,
    aggregate: Aggregate,
    mut emit: impl FnMut(i64, f64),
) {
    let stamp = |t: i64| {
        let below = t.rem_euclid(step_ms);
        if below == 0 {
            t
        } else {
            t.saturating_add(step_ms - below)
        }
    };
    let mut start = 0;
    while let Some(first) = times.get(start) {
        let end_ms = stamp(*first);
        let length = times[start..].partition_point(|t| *t <= end_ms);
        let end = start + length;
        if let Some(value) = aggregate.of(&times[start..end], &values[start..end]) {
            emit(end_ms, value);
        }
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::STALE_MARKER;

    fn run(samples: &[(i64, f64)], step: i64, aggregate: Aggregate) -> Vec<(i64, f64)> {
        let (times, values): (Vec<_>, Vec<_>) = samples.iter().copied().unzip();
        let mut out = Vec::new();
        buckets(&times, &values, step, aggregate, |t, v| out.push((t, v)));
        out
    }

    #[test]
    fn buckets_are_left_open_and_stamped_at_their_end() {
        let samples = [(0, 1.0), (1, 2.0), (10, 4.0), (11, 8.0), (35, 16.0)];
        assert_eq!(
            run(&samples, 10, Aggregate::Sum),
            [(0, 1.0), (10, 6.0), (20, 8.0), (40, 16.0)]
        );
        assert_eq!(
            run(&[(-11, 1.0), (-10, 2.0), (-9, 4.0)], 10, Aggregate::Sum),
            [(-10, 3.0), (0, 4.0)]
        );
    }

    #[test]
    fn each_aggregate_says_what_it_is_called() {
        let samples = [
            (1_000, 5.0),
            (2_000, 9.0),
            (3_000, STALE_MARKER),
            (4_000, f64::NAN),
            (5_000, 2.0),
        ];
        let one = |aggregate| run(&samples, 10_000, aggregate)[0].1;
        assert_eq!(one(Aggregate::Avg), 16.0 / 3.0);
        assert_eq!(one(Aggregate::Min), 2.0);
        assert_eq!(one(Aggregate::Max), 9.0);
        assert_eq!(one(Aggregate::Sum), 16.0);
        assert_eq!(one(Aggregate::Count), 4.0);
        assert_eq!(one(Aggregate::Last), 2.0);
        // 5 -> 9 is 4, the reset to 2 counts from zero; over the 4 s from first to last.
        assert_eq!(one(Aggregate::Rate), 6.0 / 4.0);
    }

    #[test]
    fn thin_buckets() {
        assert_eq!(run(&[(1, 5.0)], 10, Aggregate::Rate), []);
        assert_eq!(run(&[(1, STALE_MARKER)], 10, Aggregate::Count), []);
        assert!(run(&[(1, f64::NAN)], 10, Aggregate::Avg)[0].1.is_nan());
        assert_eq!(run(&[(1, f64::NAN)], 10, Aggregate::Count), [(10, 1.0)]);
        assert_eq!(
            run(&[(i64::MAX - 1, 1.0)], 1 << 40, Aggregate::Last).len(),
            1
        );
    }

    proptest! {
        /// Against the definition: each sample lies in the one bucket that is stamped at or after it.
        #[test]
        fn no_sample_is_lost(
            times in proptest::collection::btree_set(-100_000_i64..100_000, 0..200),
            step in 1_i64..5_000,
        ) {
            let samples: Vec<_> = times.iter().map(|t| (*t, *t as f64)).collect();
            let counts = run(&samples, step, Aggregate::Count);
            prop_assert!(counts.windows(2).all(|w| w[0].0 < w[1].0));
            for (stamp, count) in &counts {
                prop_assert_eq!(stamp.rem_euclid(step), 0);
                let inside = times.iter().filter(|t| **t > stamp - step && **t <= *stamp).count();
                prop_assert_eq!(inside as f64, *count);
            }
            let total: f64 = counts.iter().map(|(_, count)| count).sum();
            prop_assert_eq!(total, times.len() as f64);
        }
    }
}
