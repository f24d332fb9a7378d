//! Exponential buckets, of native histograms and of OTLP, as buckets with fixed upper bounds.
//!
//! Source of the layout: Prometheus, `model/histogram`; OpenTelemetry, `metrics/data-model.md`, "Exponential
//! Histogram".

/// Upper bounds that one histogram is given at most; one of Prometheus has 160 buckets by default.
pub(super) const BOUNDS_MAX: usize = 160;

/// Halvings of the scale that leave two buckets on each side, however far apart the buckets lie.
const HALVINGS_MAX: usize = 64;

/// The finest scale that is computed; finer ones are made coarser first.
const SCALE_MAX: i32 = 20;

/// Counts of observations in buckets whose bounds are the powers of `2^(2^-scale)`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Exponential {
    pub(super) scale: i32,
    /// Half the width of the bucket around zero, both ends included.
    pub(super) zero_threshold: f64,
    pub(super) zero_count: f64,
    /// Buckets above zero, ascending: bucket `i` ends with the `i`th power, that one included.
    pub(super) positive: Vec<(i64, f64)>,
    /// Buckets below zero, mirrored.
    pub(super) negative: Vec<(i64, f64)>,
}

impl Exponential {
    /// What is wrong with the counts of a histogram of so many observations, if anything is.
    pub(super) fn check(&self, count: f64) -> Result<(), &'static str> {
        let counts = || {
            let buckets = self.negative.iter().chain(&self.positive);
            buckets
                .map(|(_, count)| *count)
                .chain([self.zero_count, count])
        };
        if !counts().all(|count| count >= 0.0 && count.is_finite()) {
            return Err("a bucket or the count is negative or no number");
        }
        if !(self.zero_threshold >= 0.0 && self.zero_threshold.is_finite()) {
            return Err("the width of its zero bucket is negative or no number");
        }
        // `NaN` is counted and lies in no bucket. Sums of floats differ in their last digits.
        let in_buckets = counts().sum::<f64>() - count;
        if in_buckets > count * (1.0 + 1e-9) {
            return Err("its buckets hold more than its count");
        }
        Ok(())
    }

    /// Upper bounds, ascending and finite, and how many observations are at most that.
    ///
    /// A bucket without a neighbour gives its lower bound too, so that quantiles are found within it. Where that makes
    /// more than [`BOUNDS_MAX`] bounds, neighbours are joined by halving the scale until it does not. What is lost:
    /// - the finer bounds, at that moment; the others stay the same series, but at coarser scales there are fewer;
    /// - below zero, where a bucket holds its lower bound and not its upper one, observations that are exactly a bound
    ///   count for the bound above.
    pub(super) fn cumulative(mut self) -> Vec<(f64, f64)> {
        self.shrink();
        for _ in 0..HALVINGS_MAX {
            let bounds = self.bounds();
            if bounds.len() <= BOUNDS_MAX {
                return bounds;
            }
            self.halve();
        }
        self.bounds()
    }

    /// Joins neighbours until there are [`BOUNDS_MAX`] buckets at most and their bounds can be computed.
    pub(super) fn shrink(&mut self) {
        for _ in 0..HALVINGS_MAX {
            if self.scale <= SCALE_MAX && self.positive.len() + self.negative.len() <= BOUNDS_MAX {
                return;
            }
            self.halve();
        }
    }

    /// Adds the observations of another histogram, at the coarser one of the two scales.
    pub(super) fn add(&mut self, mut other: Self) {
        self.coarsen(other.scale);
        other.coarsen(self.scale);
        self.zero_threshold = self.zero_threshold.max(other.zero_threshold);
        self.zero_count += other.zero_count;
        for (side, more) in [
            (&mut self.positive, other.positive),
            (&mut self.negative, other.negative),
        ] {
            side.extend(more);
            side.sort_unstable_by_key(|(index, _)| *index);
            join_equal(side);
        }
        self.shrink();
    }

    fn coarsen(&mut self, scale: i32) {
        for _ in 0..HALVINGS_MAX {
            if self.scale <= scale {
                return;
            }
            self.halve();
        }
        // Halving changes nothing any more.
        self.scale = self.scale.min(scale);
    }

    /// Joins each two neighbours. Bucket 0 ends with 1 at every scale.
    fn halve(&mut self) {
        self.scale = self.scale.saturating_sub(1);
        for side in [&mut self.positive, &mut self.negative] {
            for (index, _) in side.iter_mut() {
                *index = index.saturating_add(1).div_euclid(2);
            }
            join_equal(side);
        }
    }

    fn bounds(&self) -> Vec<(f64, f64)> {
        let mut bounds = Bounds::default();
        let bound = |index: i64| power(index, self.scale);
        let zero = self.zero_threshold;
        for (index, count) in self.negative.iter().rev() {
            let nearer = bound(index.saturating_sub(1)).max(zero);
            bounds.bucket(-bound(*index), -nearer, *count);
        }
        if self.zero_count > 0.0 {
            bounds.bucket(-zero, zero, self.zero_count);
        }
        for (index, count) in &self.positive {
            let nearer = bound(index.saturating_sub(1)).max(zero);
            bounds.bucket(nearer, bound(*index), *count);
        }
        bounds.reached
    }
}

/// Joins neighbours with the same number.
fn join_equal(side: &mut Vec<(i64, f64)>) {
    side.dedup_by(|next, kept| {
        let is_same = next.0 == kept.0;
        if is_same {
            kept.1 += next.1;
        }
        is_same
    });
}

/// Buckets in ascending order on their way to bounds.
#[derive(Default)]
struct Bounds {
    reached: Vec<(f64, f64)>,
    total: f64,
}

impl Bounds {
    fn bucket(&mut self, lower: f64, upper: f64, count: f64) {
        self.bound(lower);
        self.total += count;
        self.bound(upper);
    }

    /// Says how many observations are at most `bound`; one that is not above the last corrects that.
    fn bound(&mut self, bound: f64) {
        match self.reached.last_mut() {
            Some((last, total)) if bound <= *last => *total = self.total,
            _ if bound.is_finite() => self.reached.push((bound + 0.0, self.total)),
            _ => {}
        }
    }
}

/// `2^(index * 2^-scale)`, 0 and infinity beyond what a double holds. Equal bounds of different scales are equal to the
/// bit.
fn power(index: i64, scale: i32) -> f64 {
    let (whole, fraction) = if let Ok(shift) = u32::try_from(scale) {
        let parts = 1i64 << shift.min(62);
        let fraction = index.rem_euclid(parts) as f64 / parts as f64;
        (index.div_euclid(parts), fraction)
    } else {
        let factor = 1i64 << scale.unsigned_abs().min(62);
        (index.saturating_mul(factor), 0.0)
    };
    // The smallest double is 2^-1074, the largest less than 2^1024.
    let whole = whole.clamp(-1100, 1024) as f64;
    fraction.exp2() * whole.exp2()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(scale: i32, positive: &[(i64, f64)]) -> Exponential {
        Exponential {
            scale,
            positive: positive.to_vec(),
            ..Exponential::default()
        }
    }

    #[test]
    fn buckets_have_both_bounds() {
        let histogram = Exponential {
            scale: 0,
            zero_threshold: 0.5,
            zero_count: 3.0,
            positive: vec![(1, 10.0), (2, 20.0), (5, 40.0)],
            negative: vec![(2, 1.0), (3, 2.0)],
        };
        assert_eq!(
            histogram.cumulative(),
            [
                (-8.0, 0.0),
                (-4.0, 2.0),
                (-2.0, 3.0),
                (-0.5, 3.0),
                (0.5, 6.0),
                (1.0, 6.0),
                (2.0, 16.0),
                (4.0, 36.0),
                (16.0, 36.0),
                (32.0, 76.0),
            ]
        );
        let zero = Exponential {
            zero_count: 2.0,
            negative: vec![(0, 1.0)],
            ..Exponential::default()
        };
        assert_eq!(zero.cumulative(), [(-1.0, 0.0), (-0.5, 1.0), (0.0, 3.0)]);
        assert_eq!(Exponential::default().cumulative(), []);
    }

    #[test]
    fn a_wide_zero_bucket_cuts_its_neighbours() {
        let histogram = Exponential {
            zero_threshold: 3.0,
            zero_count: 1.0,
            positive: vec![(1, 10.0), (2, 20.0)],
            ..Exponential::default()
        };
        assert_eq!(
            histogram.cumulative(),
            [(-3.0, 0.0), (3.0, 11.0), (4.0, 31.0)]
        );
    }

    #[test]
    fn bounds_are_powers_at_every_scale() {
        assert_eq!(power(3, 0), 8.0);
        assert_eq!(power(-3, 0), 0.125);
        assert_eq!(power(1, 1), std::f64::consts::SQRT_2);
        assert_eq!(power(1, -4), 65536.0);
        assert_eq!(power(4, 2), power(1, 0));
        assert_eq!(power(-5, 3), power(-10, 4));
        assert_eq!((power(1024, 0), power(-1075, 0)), (f64::INFINITY, 0.0));
        assert_eq!(power(-1074, 0), f64::from_bits(1));
        assert_eq!(power(i64::MAX, -40), f64::INFINITY);
        assert_eq!(power(i64::MIN, i32::MIN), 0.0);
        // The last bucket that is finite below, and one of infinity.
        let top = of(0, &[(1024, 1.0), (1025, 1.0)]).cumulative();
        assert_eq!(top, [(2f64.powi(1023), 0.0)]);
    }

    #[test]
    fn many_buckets_are_joined() {
        let buckets: Vec<_> = (-500..1000).map(|index| (index, 1.0)).collect();
        let bounds = of(8, &buckets).cumulative();
        assert!(
            (BOUNDS_MAX / 2..=BOUNDS_MAX).contains(&bounds.len()),
            "{}",
            bounds.len()
        );
        assert_eq!(bounds.last().unwrap().1, 1500.0);
        // Observations at most 1: those of the buckets up to 0.
        let one = bounds.iter().find(|(bound, _)| *bound == 1.0).unwrap();
        assert_eq!(one.1, 501.0);
        // Bounds at a coarse scale are bounds at a fine one.
        let fine = of(8, &buckets[..2]).bounds();
        assert!(fine.iter().all(|(bound, _)| *bound < 1.0));
        let far: Vec<_> = (0..1000).map(|i| (i * 1_000_000_007, 1.0)).collect();
        assert!(of(20, &far).cumulative().len() <= BOUNDS_MAX);
        // Buckets so fine that all their bounds are next to 1.
        let finest = of(i32::MAX, &[(7, 1.0)]).cumulative();
        assert_eq!(finest.last(), Some(&(1.0, 1.0)));
    }

    #[test]
    fn histograms_of_different_scales_add_up() {
        // At scale 1 bucket 2 ends with 2, as bucket 1 does at scale 0.
        let mut sum = of(1, &[(1, 1.0), (2, 2.0), (4, 4.0)]);
        sum.zero_threshold = 0.25;
        let mut other = of(0, &[(1, 10.0), (3, 20.0)]);
        other.negative = vec![(0, 5.0)];
        other.zero_count = 7.0;
        sum.add(other.clone());
        let expected = Exponential {
            scale: 0,
            zero_threshold: 0.25,
            zero_count: 7.0,
            positive: vec![(1, 13.0), (2, 4.0), (3, 20.0)],
            negative: vec![(0, 5.0)],
        };
        assert_eq!(sum, expected);
        other.add(of(1, &[(1, 1.0), (2, 2.0), (4, 4.0)]));
        assert_eq!(other.positive, expected.positive);
        let mut finest = of(i32::MAX, &[(9, 1.0)]);
        finest.add(of(i32::MIN, &[(1, 1.0)]));
        assert_eq!(finest, of(i32::MIN, &[(1, 2.0)]));
    }

    #[test]
    fn contradictions_are_found() {
        let check = |count, histogram: Exponential| histogram.check(count).is_ok();
        assert!(check(3.0, of(0, &[(1, 3.0)])));
        assert!(check(4.0, of(0, &[(1, 3.0)])));
        assert!(!check(2.0, of(0, &[(1, 3.0)])));
        assert!(!check(9.0, of(0, &[(1, -3.0)])));
        assert!(!check(f64::NAN, of(0, &[])));
        let mut wide = of(0, &[]);
        wide.zero_threshold = f64::INFINITY;
        assert!(!check(1.0, wide));
    }

    proptest! {
        #[test]
        fn any_buckets_end_in_few_ascending_bounds(
            scale in prop_oneof![-12..25, any::<i32>()],
            positive in prop::collection::btree_map(prop_oneof![-3000..3000i64, any::<i64>()], 0.5..9.0, 0..400),
            negative in prop::collection::btree_map(-3000..3000i64, 0.5..9.0, 0..100),
            zero_threshold in prop_oneof![Just(0.0), 0.0..1e6],
            zero_count in prop_oneof![Just(0.0), 1.0..9.0],
        ) {
            let histogram = Exponential {
                scale,
                zero_threshold,
                zero_count,
                positive: positive.into_iter().collect(),
                negative: negative.into_iter().collect(),
            };
            let all: f64 = zero_count + histogram.positive.iter().chain(&histogram.negative).map(|b| b.1).sum::<f64>();
            let bounds = histogram.cumulative();
            prop_assert!(bounds.len() <= BOUNDS_MAX);
            prop_assert!(bounds.iter().all(|(bound, _)| bound.is_finite()));
            prop_assert!(bounds.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
            prop_assert!(bounds.last().is_none_or(|(_, count)| *count <= all + 1e-6));
        }
    }
}
