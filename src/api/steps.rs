//! What a bucket of samples is reduced to.

use crate::model::Bucket;

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
    pub(super) fn of(self, bucket: &Bucket) -> Option<f64> {
        let of_numbers = |value: f64| if bucket.numbers == 0 { f64::NAN } else { value };
        match self {
            Self::Count => Some(bucket.samples as f64),
            Self::Last => Some(bucket.last),
            Self::Min => Some(bucket.min),
            Self::Max => Some(bucket.max),
            Self::Avg => Some(bucket.mean()),
            Self::Sum => Some(of_numbers(bucket.sum)),
            Self::Rate => bucket.rate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BucketFold, SeriesNo};

    fn only(times: &[i64], values: &[f64]) -> Bucket {
        let mut fold = BucketFold::new(SeriesNo(0), 10_000);
        fold.extend(times, values);
        let buckets = fold.finish();
        assert_eq!(buckets.len(), 1);
        buckets[0]
    }

    #[test]
    fn each_aggregate_says_what_it_is_called() {
        let bucket = only(&[1_000, 2_000, 4_000, 5_000], &[5.0, 9.0, f64::NAN, 2.0]);
        let value = |aggregate: Aggregate| aggregate.of(&bucket);
        assert_eq!(value(Aggregate::Avg), Some(16.0 / 3.0));
        assert_eq!(value(Aggregate::Min), Some(2.0));
        assert_eq!(value(Aggregate::Max), Some(9.0));
        assert_eq!(value(Aggregate::Sum), Some(16.0));
        assert_eq!(value(Aggregate::Count), Some(4.0));
        assert_eq!(value(Aggregate::Last), Some(2.0));
        assert_eq!(value(Aggregate::Rate), Some(6.0 / 4.0));
    }

    #[test]
    fn without_numbers_there_is_no_sum() {
        let bucket = only(&[1_000], &[f64::NAN]);
        for aggregate in [
            Aggregate::Avg,
            Aggregate::Sum,
            Aggregate::Min,
            Aggregate::Max,
        ] {
            assert!(
                aggregate.of(&bucket).is_some_and(f64::is_nan),
                "{aggregate:?}"
            );
        }
        assert_eq!(Aggregate::Count.of(&bucket), Some(1.0));
        assert_eq!(Aggregate::Rate.of(&bucket), None);
    }
}
