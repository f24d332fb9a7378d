//! Samples of one measurement over the window, thinned to what a chart can show: minimum, maximum
//! and mean per bucket of time.

use std::{collections::HashMap, ops::Range};

use crate::model::{AgentNo, History, ReadError, SeriesNo, Timestamp, Window};

/// Buckets over the whole width of a chart.
const BUCKETS_MAX: i64 = 120;
/// Values are bounded by this, so that sums of them stay finite; no percentage comes near it.
const VALUE_BOUND: f64 = 1e12;
/// Times the usual distance of samples that may pass before the line breaks.
const SPACINGS_BEFORE_GAP: i64 = 3;

/// What decides buckets and gaps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Window shown.
    pub(super) window: Window,
    /// Expected distance of samples; buckets are not narrower.
    pub(super) interval_ms: i64,
    /// Silence after which the line breaks.
    pub(super) gap_ms: i64,
}

/// What one bucket holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bucket {
    sum: f64,
    count: u64,
    /// Smallest value.
    pub(super) min: f64,
    /// Largest value.
    pub(super) max: f64,
    first_ms: i64,
    last_ms: i64,
}

impl Bucket {
    /// Mean of the values.
    pub(super) fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }

    fn merge(&mut self, other: &Self) {
        self.sum += other.sum;
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.first_ms = self.first_ms.min(other.first_ms);
        self.last_ms = self.last_ms.max(other.last_ms);
    }
}

/// One measurement over the window.
#[derive(Clone, Debug)]
pub(super) struct Track {
    window: Window,
    buckets: Vec<Option<Bucket>>,
    gap_ms: i64,
}

impl Track {
    /// A track without samples.
    pub(super) const fn empty(window: Window) -> Self {
        Self {
            window,
            buckets: Vec::new(),
            gap_ms: 0,
        }
    }

    fn new(shape: Shape) -> Self {
        let fitting = shape.window.length_ms() / shape.interval_ms.max(1);
        Self {
            window: shape.window,
            buckets: vec![None; fitting.clamp(1, BUCKETS_MAX) as usize],
            gap_ms: shape.gap_ms,
        }
    }

    /// Takes the samples of one series in. Values that are not finite have no place in a chart.
    fn add(&mut self, times: &[i64], values: &[f64]) {
        let mut seen: Option<(i64, i64, i64)> = None;
        // The bucket of the time before, and the last time that lies in it.
        let (mut at, mut bucket_until) = (0, i64::MIN);
        for (time, value) in times.iter().zip(values) {
            if !value.is_finite() || !self.window.contains(Timestamp::from_millis(*time)) {
                continue;
            }
            let value = value.clamp(-VALUE_BOUND, VALUE_BOUND);
            let one = Bucket {
                sum: value,
                count: 1,
                min: value,
                max: value,
                first_ms: *time,
                last_ms: *time,
            };
            if *time > bucket_until {
                at = self.bucket_of(*time);
                bucket_until = self.last_time_of(at);
            }
            match &mut self.buckets[at] {
                Some(bucket) => bucket.merge(&one),
                empty => *empty = Some(one),
            }
            let (first, _, count) = seen.unwrap_or((*time, *time, 0));
            seen = Some((first, *time, count + 1));
        }
        // What is measured seldom is no gap between two measurements.
        if let Some((first, last, count)) = seen
            && count > 1
        {
            let spacing = (last - first) / (count - 1);
            self.gap_ms = self.gap_ms.max(spacing.saturating_mul(SPACINGS_BEFORE_GAP));
        }
    }

    fn bucket_of(&self, time_ms: i64) -> usize {
        // A bucket is left open like the window.
        let offset = i128::from(time_ms) - i128::from(self.window.from.as_millis()) - 1;
        let length = i128::from(self.window.length_ms()).max(1);
        let at = offset * self.buckets.len() as i128 / length;
        (at.max(0) as usize).min(self.buckets.len() - 1)
    }

    /// The last time that lies in a bucket.
    fn last_time_of(&self, at: usize) -> i64 {
        let buckets = self.buckets.len() as i128;
        let length = i128::from(self.window.length_ms()).max(1);
        let offset = ((at as i128 + 1) * length + buckets - 1) / buckets;
        i64::try_from(i128::from(self.window.from.as_millis()) + offset).unwrap_or(i64::MAX)
    }

    /// The same with every `by` buckets joined.
    pub(super) fn coarser(&self, by: usize) -> Self {
        let buckets = self
            .buckets
            .chunks(by)
            .map(|chunk| {
                chunk.iter().flatten().copied().reduce(|mut a, b| {
                    a.merge(&b);
                    a
                })
            })
            .collect();
        Self {
            buckets,
            ..self.clone()
        }
    }

    /// Largest value, if there is any.
    pub(super) fn max(&self) -> Option<f64> {
        self.buckets
            .iter()
            .flatten()
            .map(|b| b.max)
            .reduce(f64::max)
    }

    /// Runs of buckets that belong to one unbroken line, each with its place from 0 to 1.
    pub(super) fn lines(&self) -> Vec<Vec<(f64, Bucket)>> {
        let mut lines: Vec<Vec<(f64, Bucket)>> = Vec::new();
        let width = self.buckets.len() as f64;
        for (at, bucket) in self.buckets.iter().enumerate() {
            let Some(bucket) = bucket else { continue };
            let point = ((at as f64 + 0.5) / width, *bucket);
            let open = lines.last_mut().filter(|line| {
                line.last()
                    .is_some_and(|(_, before)| bucket.first_ms - before.last_ms <= self.gap_ms)
            });
            match open {
                Some(line) => line.push(point),
                None => lines.push(vec![point]),
            }
        }
        lines
    }

    /// Times without data, as places from 0 to 1: before, between and after the lines.
    pub(super) fn gaps(&self) -> Vec<Range<f64>> {
        let mut reached = self.window.from.as_millis();
        let mut silences = Vec::new();
        for bucket in self.buckets.iter().flatten() {
            silences.push((reached, bucket.first_ms));
            reached = bucket.last_ms;
        }
        silences.push((reached, self.window.to.as_millis()));
        silences
            .into_iter()
            .filter(|(start, end)| end.saturating_sub(*start) > self.gap_ms)
            .map(|(start, end)| place(self.window, start)..place(self.window, end))
            .collect()
    }
}

/// Where in the window a moment lies, from 0 to 1.
pub(super) fn place(window: Window, time_ms: i64) -> f64 {
    let offset = time_ms.saturating_sub(window.from.as_millis()) as f64;
    (offset / window.length_ms().max(1) as f64).clamp(0.0, 1.0)
}

/// Reads the tracks of several metrics with one scan.
pub(super) fn read_tracks<const N: usize>(
    history: &dyn History,
    agent: AgentNo,
    metrics: [&str; N],
    shape: Shape,
) -> Result<[Track; N], ReadError> {
    let mut tracks = metrics.map(|_| Track::new(shape));
    let mut track_of: HashMap<SeriesNo, usize> = HashMap::new();
    let mut asked = Vec::new();
    for (at, metric) in metrics.into_iter().enumerate() {
        for series in history.series(agent, Some(metric)) {
            track_of.insert(series.no, at);
            asked.push(series.no);
        }
    }
    if !asked.is_empty() {
        history.scan(agent, &asked, shape.window, &mut |no, times, values| {
            if let Some(at) = track_of.get(&no) {
                tracks[*at].add(times, values);
            }
        })?;
    }
    Ok(tracks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::STALE_MARKER;

    fn track(length_s: i64, samples: &[(i64, f64)]) -> Track {
        let mut track = Track::new(Shape {
            window: Window::new(
                Timestamp::from_millis(0),
                Timestamp::from_millis(length_s * 1000),
            ),
            interval_ms: 30_000,
            gap_ms: 90_000,
        });
        let (times, values): (Vec<i64>, Vec<f64>) =
            samples.iter().map(|(s, v)| (s * 1000, *v)).unzip();
        track.add(&times, &values);
        track
    }

    fn steady(from_s: i64, to_s: i64) -> Vec<(i64, f64)> {
        (from_s / 30 + 1..=to_s / 30)
            .map(|i| (i * 30, 10.0))
            .collect()
    }

    #[test]
    fn buckets_keep_extremes() {
        let mut samples = steady(0, 86_400);
        samples[1000].1 = 99.0;
        samples[1001].1 = 1.0;
        let track = track(86_400, &samples);
        assert_eq!(track.buckets.len(), 120);
        assert_eq!(track.max(), Some(99.0));
        let coarse = track.coarser(3);
        assert_eq!(coarse.buckets.len(), 40);
        let lines = coarse.lines();
        assert_eq!(lines.len(), 1);
        assert!(lines[0].iter().any(|(_, b)| b.min == 1.0 && b.max == 99.0));
        assert!(track.gaps().is_empty());
    }

    #[test]
    fn buckets_end_where_the_next_begins() {
        for length_s in [601, 86_400, 1_000_003] {
            let track = track(length_s, &[]);
            for at in 0..track.buckets.len() - 1 {
                let until = track.last_time_of(at);
                assert_eq!(track.bucket_of(until), at, "{length_s}");
                assert_eq!(track.bucket_of(until + 1), at + 1, "{length_s}");
            }
        }
    }

    #[test]
    fn an_outage_is_a_gap() {
        let mut samples = steady(0, 36_000);
        samples.extend(steady(43_200, 86_400));
        let track = track(86_400, &samples);
        assert_eq!(track.lines().len(), 2);
        let gaps = track.gaps();
        assert_eq!(gaps.len(), 1);
        assert!((gaps[0].start - 36_000.0 / 86_400.0).abs() < 1e-9);
    }

    #[test]
    fn short_windows_have_no_empty_buckets_between_samples() {
        let track = track(600, &steady(0, 600));
        assert_eq!(track.buckets.len(), 20);
        assert_eq!(track.lines().len(), 1);
    }

    #[test]
    fn seldom_samples_still_make_a_line() {
        let samples: Vec<_> = (1..=24).map(|h| (h * 3600, 5.0)).collect();
        let track = track(86_400, &samples);
        assert_eq!(track.lines().len(), 1);
        assert!(track.gaps().is_empty());
    }

    #[test]
    fn what_is_not_finite_is_left_out() {
        let samples = [
            (30, f64::NAN),
            (60, STALE_MARKER),
            (90, f64::INFINITY),
            (120, 7.0),
        ];
        let track = track(600, &samples);
        assert_eq!(track.max(), Some(7.0));
        assert!(Track::empty(track.window).lines().is_empty());
        assert_eq!(Track::empty(track.window).gaps().len(), 1);
    }
}
