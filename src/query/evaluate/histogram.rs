//! Quantiles and fractions of classic histograms.
//!
//! Source: Prometheus, `promql/quantile.go`.

/// A bucket of a classic histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bucket {
    /// Largest value that it counts.
    pub(super) bound: f64,
    /// Observations up to the bound.
    pub(super) count: f64,
}

/// Relative difference of neighbouring counts that is put down to rounding.
const TOLERANCE: f64 = 1e-12;

/// Buckets by their bound, equal bounds added up; nothing unless the last one is unbounded.
fn ordered(mut buckets: Vec<Bucket>) -> Option<Vec<Bucket>> {
    buckets.sort_by(|a, b| a.bound.total_cmp(&b.bound));
    if buckets.last()?.bound != f64::INFINITY {
        return None;
    }
    let mut joined: Vec<Bucket> = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        match joined.last_mut() {
            Some(last) if last.bound == bucket.bound => last.count += bucket.count,
            _ => joined.push(bucket),
        }
    }
    Some(joined)
}

/// Lets no count be below the one before; tells whether more than rounding was mended.
fn make_monotonic(buckets: &mut [Bucket]) -> bool {
    let mut is_mended = false;
    let mut before = buckets.first().map_or(0.0, |bucket| bucket.count);
    for bucket in buckets.iter_mut().skip(1) {
        if is_almost(before, bucket.count) {
            bucket.count = before;
        } else if bucket.count < before {
            bucket.count = before;
            is_mended = true;
        } else {
            before = bucket.count;
        }
    }
    is_mended
}

fn is_almost(a: f64, b: f64) -> bool {
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == b {
        return true;
    }
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

/// The quantile, and whether the counts had to be mended for it.
pub(super) fn quantile(q: f64, buckets: Vec<Bucket>) -> (f64, bool) {
    if q.is_nan() {
        return (f64::NAN, false);
    }
    if !(0.0..=1.0).contains(&q) {
        return (
            if q < 0.0 {
                f64::NEG_INFINITY
            } else {
                f64::INFINITY
            },
            false,
        );
    }
    let Some(mut buckets) = ordered(buckets) else {
        return (f64::NAN, false);
    };
    let is_mended = make_monotonic(&mut buckets);
    let [bounded @ .., last] = buckets.as_slice() else {
        return (f64::NAN, is_mended);
    };
    let Some(highest) = bounded.last() else {
        return (f64::NAN, is_mended);
    };
    if last.count == 0.0 || last.count.is_nan() {
        return (f64::NAN, is_mended);
    }
    let rank = q * last.count;
    let at = bounded.partition_point(|bucket| bucket.count < rank);
    let Some(bucket) = bounded.get(at) else {
        return (highest.bound, is_mended);
    };
    let below = at.checked_sub(1).and_then(|below| bounded.get(below));
    let value = match below {
        None if bucket.bound <= 0.0 => bucket.bound,
        None => bucket.bound * (rank / bucket.count),
        Some(below) => {
            let share = (rank - below.count) / (bucket.count - below.count);
            below.bound + (bucket.bound - below.bound) * share
        }
    };
    (value, is_mended)
}

/// Share of the observations between two values.
pub(super) fn fraction(lower: f64, upper: f64, buckets: Vec<Bucket>) -> f64 {
    let Some(buckets) = ordered(buckets) else {
        return f64::NAN;
    };
    let total = buckets.last().map_or(0.0, |bucket| bucket.count);
    if total == 0.0 || total.is_nan() || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, &buckets, total) - rank_of(lower, &buckets, total)) / total
}

/// Observations up to a value, between the bounds by interpolation.
fn rank_of(value: f64, buckets: &[Bucket], total: f64) -> f64 {
    let mut below = Bucket {
        bound: if buckets.first().is_some_and(|bucket| bucket.bound > 0.0) {
            0.0
        } else {
            f64::NEG_INFINITY
        },
        count: 0.0,
    };
    if value <= below.bound {
        return 0.0;
    }
    for bucket in buckets {
        if value == below.bound {
            return below.count.min(total);
        }
        if value < bucket.bound {
            // Nothing is known of where in an unbounded bucket its observations lie.
            if below.bound == f64::NEG_INFINITY {
                return bucket.count.min(total);
            }
            let share = (value - below.bound) / (bucket.bound - below.bound);
            return (below.count + (bucket.count - below.count) * share).min(total);
        }
        below = *bucket;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(counts: &[(f64, f64)]) -> Vec<Bucket> {
        let bucket = |(bound, count): &(f64, f64)| Bucket {
            bound: *bound,
            count: *count,
        };
        counts.iter().map(bucket).collect()
    }

    #[test]
    fn quantiles_interpolate_between_bounds() {
        let some = buckets(&[(1.0, 10.0), (f64::INFINITY, 40.0), (2.0, 30.0)]);
        assert_eq!(quantile(0.5, some.clone()), (1.5, false));
        assert_eq!(quantile(0.125, some.clone()), (0.5, false));
        assert_eq!(quantile(0.99, some.clone()), (2.0, false));
        assert_eq!(quantile(1.5, some).0, f64::INFINITY);
        assert!(quantile(0.5, buckets(&[(1.0, 10.0)])).0.is_nan());
    }

    #[test]
    fn counts_that_fall_are_mended_and_told() {
        let some = buckets(&[(1.0, 10.0), (2.0, 5.0), (f64::INFINITY, 20.0)]);
        assert_eq!(quantile(0.25, some), (0.5, true));
        let rounded = buckets(&[(1.0, 10.0), (2.0, 10.0 - 1e-13), (f64::INFINITY, 20.0)]);
        assert!(!quantile(0.25, rounded).1);
    }

    #[test]
    fn fractions_are_differences_of_ranks() {
        let some = || buckets(&[(1.0, 10.0), (2.0, 30.0), (f64::INFINITY, 40.0)]);
        assert_eq!(fraction(0.0, 1.5, some()), 0.5);
        assert_eq!(fraction(f64::NEG_INFINITY, f64::INFINITY, some()), 1.0);
        assert_eq!(fraction(2.0, 1.0, some()), 0.0);
        assert!(fraction(f64::NAN, 1.0, some()).is_nan());
    }
}
