//! What a profile says: shares by agent and operation, around the median and among the slowest.

use std::{collections::BTreeMap, sync::Arc};

use super::record::{Profile, TraceTimes};

/// Traces of the middle tenth to either side of the median, in percent of all.
const MIDDLE: (usize, usize) = (40, 60);

/// Of the slowest traces, in percent of all.
const SLOWEST: usize = 5;

/// Traces that are alike in their duration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cohort {
    /// How many.
    pub traces: usize,
    /// Sum of their durations, nanoseconds.
    pub total_ns: i128,
}

impl Cohort {
    fn of(traces: &[&TraceTimes]) -> Self {
        Self {
            traces: traces.len(),
            total_ns: traces.iter().map(|t| i128::from(t.duration_ns)).sum(),
        }
    }

    fn share(&self, part_ns: i128) -> f64 {
        if self.total_ns == 0 {
            0.0
        } else {
            part_ns as f64 / self.total_ns as f64
        }
    }
}

/// One `agent:operation` in a profile.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelShares {
    /// `agent:operation`.
    pub label: Arc<str>,
    /// Spans in all traces.
    pub count: u64,
    /// Those that failed.
    pub errors: u64,
    /// Own time on the critical paths, nanoseconds.
    pub critical_ns: i128,
    /// Of all critical paths.
    pub share: f64,
    /// Of those around the median.
    pub share_p50: f64,
    /// Of the slowest 5 %.
    pub share_p95: f64,
    /// Its time on the path of a trace around the median, on average, nanoseconds.
    pub p50_ns: f64,
    /// The same of the slowest 5 %.
    pub p95_ns: f64,
    /// By how much a trace around the median would be shorter without it, nanoseconds: the average of what its one
    /// most hindering span gives.
    pub drag_p50_ns: f64,
}

/// One call path in a profile.
#[derive(Clone, Debug, PartialEq)]
pub struct PathShare {
    /// Labels from the root.
    pub path: Vec<Arc<str>>,
    /// Own time on the critical paths, nanoseconds.
    pub critical_ns: i128,
    /// Of all critical paths.
    pub share: f64,
    /// Spans on that call path, in all traces.
    pub count: u64,
}

/// What a profile says.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileReport {
    /// The root operation, where only its traces count.
    pub operation: Option<String>,
    /// All traces.
    pub all: Cohort,
    /// Those around the median.
    pub middle: Cohort,
    /// The slowest 5 %.
    pub slowest: Cohort,
    /// Median of the durations, nanoseconds, by nearest rank.
    pub p50_ns: i64,
    /// 95th percentile, nanoseconds.
    pub p95_ns: i64,
    /// 99th percentile, nanoseconds.
    pub p99_ns: i64,
    /// By `agent:operation`, most time on the paths first.
    pub labels: Vec<LabelShares>,
    /// By call path, most time first.
    pub paths: Vec<PathShare>,
}

impl Profile {
    /// What it says so far.
    pub fn report(&self) -> ProfileReport {
        let mut sorted: Vec<&TraceTimes> = self.traces.iter().collect();
        sorted.sort_by_key(|trace| (trace.duration_ns, trace.trace_id));
        let count = sorted.len();
        let rank = |percent: usize| {
            let at = (count * percent).div_ceil(100).max(1) - 1;
            sorted.get(at).map_or(0, |trace| trace.duration_ns)
        };
        // The median itself is in the middle however few there are.
        let (from, to) = (count * MIDDLE.0 / 100, (count * MIDDLE.1).div_ceil(100));
        let middle = &sorted[from.min(count.saturating_sub(1) / 2)..to];
        let slowest = &sorted[count - (count * SLOWEST).div_ceil(100)..];
        ProfileReport {
            operation: self.operation().map(str::to_owned),
            all: Cohort::of(&sorted),
            middle: Cohort::of(middle),
            slowest: Cohort::of(slowest),
            p50_ns: rank(50),
            p95_ns: rank(95),
            p99_ns: rank(99),
            labels: labels(&sorted, middle, slowest),
            paths: self.paths(),
        }
    }

    fn paths(&self) -> Vec<PathShare> {
        let all: Vec<&TraceTimes> = self.traces.iter().collect();
        let all = Cohort::of(&all);
        let sums = self.on_path();
        let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
        for (frame, count) in self.traces.iter().flat_map(|t| &t.counts) {
            *counts.entry(*frame).or_default() += count;
        }
        let told = |(frame, sum): (usize, i128)| PathShare {
            path: self.tree.path(frame),
            critical_ns: sum,
            share: all.share(sum),
            count: counts.get(&frame).copied().unwrap_or_default(),
        };
        let mut paths: Vec<PathShare> = sums.into_iter().map(told).collect();
        paths.sort_by(|a, b| {
            b.critical_ns
                .cmp(&a.critical_ns)
                .then_with(|| a.path.cmp(&b.path))
        });
        paths
    }

    /// Own time on the critical paths by frame, nanoseconds.
    pub(super) fn on_path(&self) -> BTreeMap<usize, i128> {
        let mut sums: BTreeMap<usize, i128> = BTreeMap::new();
        for (frame, ns) in self.traces.iter().flat_map(|trace| &trace.on_path) {
            *sums.entry(*frame).or_default() += i128::from(*ns);
        }
        sums
    }
}

/// Sums of a cohort by label: spans, errors, time on the path, drag.
fn sums(traces: &[&TraceTimes]) -> BTreeMap<Arc<str>, (u64, u64, i128, i128)> {
    let mut sums: BTreeMap<Arc<str>, (u64, u64, i128, i128)> = BTreeMap::new();
    for (label, times) in traces.iter().flat_map(|trace| &trace.labels) {
        let sum = sums.entry(label.clone()).or_default();
        sum.0 += times.count;
        sum.1 += times.errors;
        sum.2 += i128::from(times.critical_ns);
        sum.3 += i128::from(times.drag_ns);
    }
    sums
}

fn labels(
    all: &[&TraceTimes],
    middle: &[&TraceTimes],
    slowest: &[&TraceTimes],
) -> Vec<LabelShares> {
    let (whole, median, slow) = (Cohort::of(all), Cohort::of(middle), Cohort::of(slowest));
    let (of_median, of_slow) = (sums(middle), sums(slowest));
    let average = |sum: i128, cohort: &Cohort| sum as f64 / cohort.traces.max(1) as f64;
    let told = |(label, (count, errors, critical_ns, _)): (Arc<str>, (u64, u64, i128, i128))| {
        let (_, _, in_median, drag) = of_median.get(&label).copied().unwrap_or_default();
        let (_, _, in_slow, _) = of_slow.get(&label).copied().unwrap_or_default();
        LabelShares {
            label,
            count,
            errors,
            critical_ns,
            share: whole.share(critical_ns),
            share_p50: median.share(in_median),
            share_p95: slow.share(in_slow),
            p50_ns: average(in_median, &median),
            p95_ns: average(in_slow, &slow),
            drag_p50_ns: average(drag, &median),
        }
    };
    let mut labels: Vec<LabelShares> = sums(all).into_iter().map(told).collect();
    labels.sort_by(|a, b| {
        b.critical_ns
            .cmp(&a.critical_ns)
            .then_with(|| a.label.cmp(&b.label))
    });
    labels
}
