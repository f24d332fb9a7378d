//! Durations in the buckets of Grafana Tempo's metrics generator.

/// Upper bounds in seconds, each with its label; above the last is `+Inf`.
pub(super) const BOUNDS: [(f64, &str); 14] = [
    (0.002, "0.002"),
    (0.004, "0.004"),
    (0.008, "0.008"),
    (0.016, "0.016"),
    (0.032, "0.032"),
    (0.064, "0.064"),
    (0.128, "0.128"),
    (0.256, "0.256"),
    (0.512, "0.512"),
    (1.024, "1.024"),
    (2.048, "2.048"),
    (4.096, "4.096"),
    (8.192, "8.192"),
    (16.384, "16.384"),
];

/// Durations by bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Buckets {
    /// By bound, those that are in no bucket before; the last is above all bounds.
    counts: [u64; BOUNDS.len() + 1],
    /// Sum, seconds.
    pub(super) sum: f64,
}

impl Buckets {
    /// Adds a duration in nanoseconds.
    pub(super) fn add(&mut self, ns: i64) {
        let seconds = ns.max(0) as f64 / 1e9;
        self.counts[BOUNDS.partition_point(|(bound, _)| *bound < seconds)] += 1;
        self.sum += seconds;
    }

    /// Labels of the bounds, `+Inf` included, with how many are at or below.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let labels = BOUNDS.iter().map(|(_, label)| *label).chain(["+Inf"]);
        labels.zip(self.counts).scan(0, |sum, (label, count)| {
            *sum += count;
            Some((label, *sum))
        })
    }

    /// How many.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let mut buckets = Buckets::default();
        for ns in [-1, 2_000_000, 2_000_001, 16_384_000_000, 17_000_000_000] {
            buckets.add(ns);
        }
        let counts: Vec<(&str, u64)> = buckets.cumulative().collect();
        assert_eq!(
            (counts[0], counts[1], counts[13], counts[14]),
            (("0.002", 2), ("0.004", 3), ("16.384", 4), ("+Inf", 5))
        );
        assert_eq!((counts.len(), buckets.count()), (15, 5));
        assert!((buckets.sum - 33.388_000_001).abs() < 1e-9);
    }
}
