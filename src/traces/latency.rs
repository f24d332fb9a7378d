//! Durations of many calls in little room.

use std::collections::BTreeMap;

/// Bits of a duration that are kept below its highest one.
const BITS: u32 = 5;

/// Durations by size: 32 steps for every doubling, so that a percentile is off by at most 1 part in 64. Two of them
/// merge without loss.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyHistogram {
    counts: BTreeMap<u32, u64>,
    count: u64,
    sum_ns: u128,
    least_ns: u64,
    greatest_ns: u64,
}

/// The step of a duration.
const fn step_of(ns: u64) -> u32 {
    let highest = (ns | 1).ilog2();
    let shift = highest.saturating_sub(BITS);
    (shift << BITS) + (ns >> shift) as u32
}

/// The middle of a step.
const fn middle_of(step: u32) -> u64 {
    let shift = (step >> BITS).saturating_sub(1);
    let first = ((step - (shift << BITS)) as u64) << shift;
    first + ((1 << shift) >> 1)
}

impl LatencyHistogram {
    /// Adds a duration in nanoseconds; a negative one counts as 0.
    pub fn add(&mut self, ns: i64) {
        let ns = ns.max(0).unsigned_abs();
        *self.counts.entry(step_of(ns)).or_default() += 1;
        let is_first = self.count == 0;
        self.least_ns = if is_first { ns } else { self.least_ns.min(ns) };
        self.greatest_ns = self.greatest_ns.max(ns);
        self.count += 1;
        self.sum_ns += u128::from(ns);
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        for (step, count) in &other.counts {
            *self.counts.entry(*step).or_default() += count;
        }
        let is_first = self.count == 0;
        self.least_ns = if is_first {
            other.least_ns
        } else {
            self.least_ns.min(other.least_ns)
        };
        self.greatest_ns = self.greatest_ns.max(other.greatest_ns);
        self.count += other.count;
        self.sum_ns += other.sum_ns;
    }

    /// How many.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The longest, exact, nanoseconds; `None` of none.
    pub fn greatest_ns(&self) -> Option<u64> {
        (self.count > 0).then_some(self.greatest_ns)
    }

    /// The average, nanoseconds; `None` of none.
    pub fn average_ns(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum_ns as f64 / self.count as f64)
    }

    /// A percentile by nearest rank, nanoseconds; `None` of none.
    pub fn percentile_ns(&self, percent: f64) -> Option<u64> {
        let rank = (self.count as f64 * percent / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0;
        let step = self.counts.iter().find(|(_, count)| {
            seen += **count;
            seen >= rank
        });
        step.map(|(step, _)| middle_of(*step).clamp(self.least_ns, self.greatest_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_close_and_merging_loses_nothing() {
        let mut all = LatencyHistogram::default();
        let (mut even, mut odd) = (LatencyHistogram::default(), LatencyHistogram::default());
        for no in 1..=10_000 {
            all.add(no * 1000);
            if no % 2 == 0 { &mut even } else { &mut odd }.add(no * 1000);
        }
        even.merge(&odd);
        assert_eq!(even, all);
        for percent in [1.0, 50.0, 95.0, 99.0] {
            let off = all.percentile_ns(percent).unwrap() as f64 / (percent * 100_000.0) - 1.0;
            assert!(off.abs() <= 1.0 / 64.0, "{percent}: {off}");
        }
        assert_eq!(
            all.percentile_ns(100.0),
            Some(middle_of(step_of(10_000_000)).min(10_000_000))
        );
        let mut extreme = LatencyHistogram::default();
        extreme.add(i64::MAX);
        extreme.add(i64::MIN);
        assert_eq!(extreme.percentile_ns(0.0), Some(0));
        assert_eq!(extreme.greatest_ns(), Some(i64::MAX.unsigned_abs()));
        assert_eq!(LatencyHistogram::default().percentile_ns(50.0), None);
    }
}
