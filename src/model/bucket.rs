//! A series in buckets of time: `(end - step, end]`, aligned to the epoch.

use super::{ExactSum, Increase, SeriesNo, greater, is_stale_marker, lesser};

/// What a bucket's samples add up to. A bucket without samples does not exist.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Its end, milliseconds since the epoch.
    pub end_ms: i64,
    /// Samples; stale markers are none.
    pub samples: u64,
    /// Samples whose value is a number.
    pub numbers: u64,
    /// Sum of the numbers, rounded once; 0 without any.
    pub sum: f64,
    /// Smallest number; NaN without any.
    pub min: f64,
    /// Largest number; NaN without any.
    pub max: f64,
    /// Value of the last sample.
    pub last: f64,
    /// Increase from the first number to the last, counter resets corrected, a second; not extrapolated.
    /// `None` with fewer than two numbers, and where it was not asked for.
    pub rate: Option<f64>,
}

impl Bucket {
    /// Mean of the numbers; NaN without any.
    pub fn mean(&self) -> f64 {
        if self.numbers == 0 {
            f64::NAN
        } else {
            self.sum / self.numbers as f64
        }
    }
}

/// End of the bucket that a time lies in.
pub const fn end_of_bucket(time_ms: i64, step_ms: i64) -> i64 {
    match time_ms.rem_euclid(step_ms) {
        0 => time_ms,
        below => time_ms.saturating_add(step_ms - below),
    }
}

/// What is known of a stretch of samples without the samples themselves.
#[derive(Clone, Copy, Debug)]
pub struct Stretch<'a> {
    /// A moment of it, milliseconds since the epoch; all of it lies in that moment's bucket.
    pub time_ms: i64,
    /// Samples.
    pub samples: u64,
    /// Samples whose value is a number.
    pub numbers: u64,
    /// Doubles that add up to the sum of the numbers.
    pub sum_parts: &'a [f64],
    /// Smallest number; anything without any.
    pub min: f64,
    /// Largest number; anything without any.
    pub max: f64,
    /// Value of the last sample.
    pub last: f64,
    /// What a rate takes; a stretch without it adds nothing to one.
    pub counter: Option<CounterStretch>,
}

/// A stretch as one of a counter.
#[derive(Clone, Copy, Debug)]
pub struct CounterStretch {
    /// First number with its time, milliseconds since the epoch.
    pub first: (i64, f64),
    /// Last number with its time.
    pub last: (i64, f64),
    /// Sum of the values before each drop between them.
    pub dropped: f64,
}

/// A bucket that may still grow.
#[derive(Debug)]
struct Open {
    end_ms: i64,
    samples: u64,
    numbers: u64,
    sum: ExactSum,
    min: f64,
    max: f64,
    last: f64,
    increase: Increase,
    /// Times of the first and the last number.
    measured: Option<(i64, i64)>,
}

impl Open {
    fn new(end_ms: i64) -> Self {
        Self {
            end_ms,
            samples: 0,
            numbers: 0,
            sum: ExactSum::default(),
            min: f64::NAN,
            max: f64::NAN,
            last: f64::NAN,
            increase: Increase::default(),
            measured: None,
        }
    }

    fn widen(&mut self, min: f64, max: f64) {
        (self.min, self.max) = if self.numbers == 0 {
            (min, max)
        } else {
            (lesser(self.min, min), greater(self.max, max))
        };
    }

    fn measure(&mut self, first_ms: i64, last_ms: i64) {
        let first_ms = self.measured.map_or(first_ms, |(first, _)| first);
        self.measured = Some((first_ms, last_ms));
    }

    fn close(&self) -> Bucket {
        let seconds = self
            .measured
            .map_or(0.0, |(first, last)| (last - first) as f64 / 1000.0);
        Bucket {
            end_ms: self.end_ms,
            samples: self.samples,
            numbers: self.numbers,
            sum: self.sum.to_f64(),
            min: self.min,
            max: self.max,
            last: self.last,
            rate: (seconds > 0.0)
                .then(|| self.increase.total().map(|total| total / seconds))
                .flatten(),
        }
    }
}

/// Folds one series into buckets; what is added comes in order of time.
#[derive(Debug)]
pub struct BucketFold {
    /// Which series.
    pub no: SeriesNo,
    step_ms: i64,
    done: Vec<Bucket>,
    open: Option<Open>,
}

impl BucketFold {
    /// A fold of steps of `step_ms`, which is above 0.
    pub const fn new(no: SeriesNo, step_ms: i64) -> Self {
        Self {
            no,
            step_ms,
            done: Vec::new(),
            open: None,
        }
    }

    fn bucket_of(&mut self, time_ms: i64) -> &mut Open {
        if let Some(open) = self.open.take_if(|open| open.end_ms < time_ms) {
            self.done.push(open.close());
        }
        let step_ms = self.step_ms;
        self.open
            .get_or_insert_with(|| Open::new(end_of_bucket(time_ms, step_ms)))
    }

    /// Adds samples; stale markers are left out.
    pub fn extend(&mut self, times: &[i64], values: &[f64]) {
        for (time, value) in times.iter().zip(values) {
            if is_stale_marker(*value) {
                continue;
            }
            let open = self.bucket_of(*time);
            open.samples += 1;
            open.last = *value;
            if value.is_nan() {
                continue;
            }
            open.widen(*value, *value);
            open.numbers += 1;
            open.sum.add(*value);
            open.increase.push(*value);
            open.measure(*time, *time);
        }
    }

    /// Adds a stretch of at least one sample.
    pub fn push(&mut self, stretch: &Stretch<'_>) {
        let open = self.bucket_of(stretch.time_ms);
        open.samples += stretch.samples;
        open.last = stretch.last;
        if stretch.numbers == 0 {
            return;
        }
        open.widen(stretch.min, stretch.max);
        open.numbers += stretch.numbers;
        stretch
            .sum_parts
            .iter()
            .for_each(|part| open.sum.add(*part));
        if let Some(counter) = stretch.counter {
            let (first, last) = (counter.first, counter.last);
            open.increase.push_stretch(first.1, last.1, counter.dropped);
            open.measure(first.0, last.0);
        }
    }

    /// The buckets, ascending.
    pub fn finish(mut self) -> Vec<Bucket> {
        if let Some(open) = self.open.take() {
            self.done.push(open.close());
        }
        self.done
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::STALE_MARKER;

    fn fold(samples: &[(i64, f64)], step_ms: i64) -> Vec<Bucket> {
        let (times, values): (Vec<_>, Vec<_>) = samples.iter().copied().unzip();
        let mut fold = BucketFold::new(SeriesNo(0), step_ms);
        fold.extend(&times, &values);
        fold.finish()
    }

    #[test]
    fn buckets_are_left_open_and_stamped_at_their_end() {
        let sums = |samples: &[(i64, f64)]| -> Vec<(i64, f64)> {
            fold(samples, 10)
                .iter()
                .map(|b| (b.end_ms, b.sum))
                .collect()
        };
        assert_eq!(
            sums(&[(0, 1.0), (1, 2.0), (10, 4.0), (11, 8.0), (35, 16.0)]),
            [(0, 1.0), (10, 6.0), (20, 8.0), (40, 16.0)]
        );
        assert_eq!(
            sums(&[(-11, 1.0), (-10, 2.0), (-9, 4.0)]),
            [(-10, 3.0), (0, 4.0)]
        );
    }

    #[test]
    fn a_bucket_says_what_its_samples_say() {
        let samples = [
            (1_000, 5.0),
            (2_000, 9.0),
            (3_000, STALE_MARKER),
            (4_000, f64::NAN),
            (5_000, 2.0),
        ];
        let bucket = fold(&samples, 10_000)[0];
        assert_eq!((bucket.samples, bucket.numbers), (4, 3));
        assert_eq!((bucket.sum, bucket.mean()), (16.0, 16.0 / 3.0));
        assert_eq!((bucket.min, bucket.max, bucket.last), (2.0, 9.0, 2.0));
        // 5 -> 9 is 4, the reset to 2 counts from zero; over the 4 s from first to last.
        assert_eq!(bucket.rate, Some(6.0 / 4.0));
    }

    #[test]
    fn thin_buckets() {
        assert_eq!(fold(&[(1, 5.0)], 10)[0].rate, None);
        assert_eq!(fold(&[(1, STALE_MARKER)], 10), []);
        let only_nan = fold(&[(1, f64::NAN)], 10)[0];
        assert!(only_nan.mean().is_nan() && only_nan.min.is_nan());
        assert_eq!(only_nan.samples, 1);
        assert_eq!(fold(&[(i64::MAX - 1, 1.0)], 1 << 40).len(), 1);
    }

    proptest! {
        /// Against the definition: each sample lies in the one bucket that is stamped at or after it.
        #[test]
        fn no_sample_is_lost(
            times in prop::collection::btree_set(-100_000_i64..100_000, 0..200),
            step in 1_i64..5_000,
        ) {
            let samples: Vec<_> = times.iter().map(|t| (*t, *t as f64)).collect();
            let buckets = fold(&samples, step);
            prop_assert!(buckets.windows(2).all(|w| w[0].end_ms < w[1].end_ms));
            for bucket in &buckets {
                prop_assert_eq!(bucket.end_ms.rem_euclid(step), 0);
                let inside = |t: &&i64| **t > bucket.end_ms - step && **t <= bucket.end_ms;
                prop_assert_eq!(times.iter().filter(inside).count() as u64, bucket.samples);
            }
            let total: u64 = buckets.iter().map(|b| b.samples).sum();
            prop_assert_eq!(total, times.len() as u64);
        }
    }
}
