//! Points of OTLP metrics, whichever way they were written.

use opentelemetry_proto::tonic::common::v1::KeyValue;

use super::{classic::Classic, exponential::Exponential};

/// Bytes of one point in the body, and of what a resource or scope says of itself; a larger one is rejected. A
/// histogram with its exemplars takes some kilobytes.
pub(super) const PART_BYTES_MAX: usize = 1 << 20;

/// Flag of a point that ends its series.
const NO_RECORDED_VALUE: u32 = 1;

/// Which points a metric has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PointKind {
    Gauge,
    Sum,
    Histogram,
    Exponential,
    Summary,
}

/// What a metric says beside its points.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) unit: String,
    pub(super) kind: PointKind,
    /// A number of `AggregationTemporality`.
    pub(super) temporality: i32,
    pub(super) is_monotonic: bool,
}

/// One point.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) attributes: Vec<KeyValue>,
    pub(super) start_ns: u64,
    pub(super) time_ns: u64,
    pub(super) flags: u32,
    pub(super) exemplars: u64,
    pub(super) data: Data,
}

/// What a point says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    Number(Option<f64>),
    Histogram(Explicit),
    Exponential(ExponentialPoint),
    Summary(Summary),
}

/// A histogram with bounds of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Explicit {
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    pub(super) counts: Vec<u64>,
    pub(super) bounds: Vec<f64>,
}

/// A histogram with exponential buckets. On each side the number of the first bucket, by its lower bound, and counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ExponentialPoint {
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    pub(super) scale: i32,
    pub(super) zero_count: u64,
    pub(super) zero_threshold: f64,
    pub(super) positive: (i32, Vec<u64>),
    pub(super) negative: (i32, Vec<u64>),
}

/// Quantiles that the sender computed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Summary {
    pub(super) count: u64,
    pub(super) sum: f64,
    pub(super) quantiles: Vec<(f64, f64)>,
}

impl Point {
    /// Whether it says that its series ended.
    pub(super) const fn is_end(&self) -> bool {
        self.flags & NO_RECORDED_VALUE != 0
    }
}

impl Explicit {
    /// The histogram with cumulative buckets, or what is wrong with it.
    pub(super) fn classic(&self) -> Result<Classic, String> {
        let (counts, bounds) = (&self.counts, &self.bounds);
        let is_bare = counts.is_empty() && bounds.is_empty();
        if counts.len() != bounds.len() + 1 && !is_bare {
            return Err(format!(
                "it has {} bounds and {} bucket counts, one more is expected",
                bounds.len(),
                counts.len()
            ));
        }
        if !bounds.iter().all(|bound| bound.is_finite()) || !bounds.is_sorted_by(|a, b| a < b) {
            return Err("its bounds are not finite and ascending".to_owned());
        }
        let in_buckets = counts.iter().fold(0u64, |sum, n| sum.saturating_add(*n));
        if in_buckets > self.count {
            return Err("its buckets hold more than its count".to_owned());
        }
        let buckets = bounds.iter().zip(counts);
        let buckets = buckets.map(|(bound, count)| (*bound, *count as f64));
        Ok(Classic::of_counts(self.count as f64, self.sum, buckets))
    }
}

impl ExponentialPoint {
    /// The buckets that are not empty, or what is wrong with them.
    pub(super) fn buckets(&self) -> Result<Exponential, String> {
        // Buckets are numbered by their lower bound here, and by their upper one there.
        let side = |(offset, counts): &(i32, Vec<u64>)| {
            let numbered = (i64::from(*offset) + 1..).zip(counts);
            let filled = numbered.filter(|(_, count)| **count > 0);
            filled.map(|(at, count)| (at, *count as f64)).collect()
        };
        let buckets = Exponential {
            scale: self.scale,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count as f64,
            positive: side(&self.positive),
            negative: side(&self.negative),
        };
        buckets.check(self.count as f64)?;
        Ok(buckets)
    }

    /// The histogram with cumulative buckets, or what is wrong with it.
    pub(super) fn classic(&self) -> Result<Classic, String> {
        Ok(Classic {
            count: self.count as f64,
            sum: self.sum,
            buckets: self.buckets()?.cumulative(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explicit_buckets_add_up() {
        let told = |counts: &[u64], bounds: &[f64]| Explicit {
            count: 6,
            sum: Some(1.0),
            counts: counts.to_vec(),
            bounds: bounds.to_vec(),
        };
        let classic = told(&[1, 2, 3], &[0.5, 2.0]).classic().unwrap();
        assert_eq!(classic.buckets, [(0.5, 1.0), (2.0, 3.0)]);
        assert_eq!(told(&[], &[]).classic().unwrap().buckets, []);
        let refused = |counts, bounds| told(counts, bounds).classic().unwrap_err();
        assert_eq!(
            refused(&[1, 2], &[0.5, 2.0]),
            "it has 2 bounds and 2 bucket counts, one more is expected"
        );
        assert_eq!(
            refused(&[1, 2, 3], &[2.0, 2.0]),
            "its bounds are not finite and ascending"
        );
        assert_eq!(
            refused(&[1, 6], &[2.0]),
            "its buckets hold more than its count"
        );
    }

    #[test]
    fn exponential_buckets_are_numbered_by_their_lower_bound() {
        let told = ExponentialPoint {
            count: 3,
            sum: Some(10.0),
            zero_count: 1,
            positive: (1, vec![0, 2]),
            ..ExponentialPoint::default()
        };
        let classic = told.classic().unwrap();
        assert_eq!(classic.buckets, [(0.0, 1.0), (4.0, 1.0), (8.0, 3.0)]);
    }
}
