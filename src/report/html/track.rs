//! One measurement over the window, thinned to what a chart can show: minimum, maximum and mean per bucket of time.
//! Short windows are drawn from samples; long ones from the buckets that history keeps, also of days whose samples
//! have expired.

use std::{collections::HashMap, ops::Range};

use crate::model::{self, AgentNo, DAY_MS, History, ReadError, SeriesNo, Timestamp, Window};

/// Buckets over the whole width of a chart.
const BUCKETS_MAX: i64 = 120;
/// Longer windows are drawn from buckets of history: a silence that one hides would be less than a dot wide.
const SAMPLES_LENGTH_MS_MAX: i64 = 2 * DAY_MS;
/// Lengths that buckets of history may have, as rollups do; the longest that fits into a bucket of the chart is taken.
const STEPS_MS: [i64; 2] = [3_600_000, 300_000];
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
            self.put(at, &one);
            let (first, _, count) = seen.unwrap_or((*time, *time, 0));
            seen = Some((first, *time, count + 1));
        }
        self.allow_for_spacing(seen);
    }

    /// Takes one series in, from buckets of `step_ms`, all of which are finite.
    fn add_buckets(&mut self, buckets: &[model::Bucket], step_ms: i64) {
        let mut seen: Option<(i64, i64, i64)> = None;
        for bucket in buckets {
            let bounded = |value: f64| value.clamp(-VALUE_BOUND, VALUE_BOUND);
            let begin = bucket.end_ms.saturating_sub(step_ms);
            let first_ms = begin.max(self.window.from.as_millis()).saturating_add(1);
            let last_ms = bucket.end_ms.min(self.window.to.as_millis());
            let one = Bucket {
                sum: bounded(bucket.mean()) * bucket.numbers as f64,
                count: bucket.numbers,
                min: bounded(bucket.min),
                max: bounded(bucket.max),
                first_ms,
                last_ms,
            };
            self.put(self.bucket_of(first_ms.midpoint(last_ms)), &one);
            let (first, _, count) = seen.unwrap_or((first_ms, last_ms, 0));
            seen = Some((first, last_ms, count + bucket.numbers as i64));
        }
        self.allow_for_spacing(seen);
    }

    fn put(&mut self, at: usize, one: &Bucket) {
        match &mut self.buckets[at] {
            Some(bucket) => bucket.merge(one),
            empty => *empty = Some(*one),
        }
    }

    /// What is measured seldom is no gap between two measurements. `seen` are the first and the last moment of a
    /// series, and how many values it has.
    fn allow_for_spacing(&mut self, seen: Option<(i64, i64, i64)>) {
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

/// Length of the buckets that a window is drawn from; `None` for one that is drawn from samples.
fn step_ms(window: Window) -> Option<i64> {
    let length = window.length_ms();
    let fits = |step: &i64| length / BUCKETS_MAX >= *step;
    (length > SAMPLES_LENGTH_MS_MAX)
        .then(|| STEPS_MS.into_iter().find(fits))
        .flatten()
}

/// Whether all numbers of a bucket can be drawn.
const fn is_finite(bucket: &model::Bucket) -> bool {
    bucket.sum.is_finite() && bucket.min.is_finite() && bucket.max.is_finite()
}

/// Reads the tracks of several metrics at once.
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
    let window = shape.window;
    if let Some(step_ms) = step_ms(window).filter(|_| !asked.is_empty()) {
        // Of a bucket with an infinity nothing is left; the samples beside it can be drawn all the same.
        let mut odd = Vec::new();
        history.buckets(
            agent,
            &asked,
            window,
            step_ms,
            false,
            &mut |no, mut buckets| {
                buckets.retain(|bucket| bucket.numbers > 0);
                if !buckets.iter().all(is_finite) {
                    odd.push(no);
                } else if let Some(at) = track_of.get(&no) {
                    tracks[*at].add_buckets(&buckets, step_ms);
                }
            },
        )?;
        asked = odd;
    }
    if !asked.is_empty() {
        history.scan(agent, &asked, window, &mut |no, times, values| {
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
    use crate::{model::STALE_MARKER, report::fake::FakeHistory};

    fn shape(length_s: i64) -> Shape {
        Shape {
            window: Window::new(
                Timestamp::from_millis(0),
                Timestamp::from_millis(length_s * 1000),
            ),
            interval_ms: 30_000,
            gap_ms: 90_000,
        }
    }

    /// As it is read from a history.
    fn read(length_s: i64, samples: &[(i64, f64)]) -> Track {
        let mut history = FakeHistory::default();
        let agent = history.add_agent("a", Timestamp::from_millis(0));
        let samples = samples
            .iter()
            .map(|(s, v)| (Timestamp::from_millis(s * 1000), *v));
        history.add_series(agent, "m", &[], samples);
        let [track] = read_tracks(&history, agent, ["m"], shape(length_s)).unwrap();
        track
    }

    fn track(length_s: i64, samples: &[(i64, f64)]) -> Track {
        let mut track = Track::new(shape(length_s));
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
    fn long_windows_show_the_same_from_buckets() {
        const DAY_S: i64 = DAY_MS / 1000;
        for days in [3, 12, 40] {
            // Through a chart whose buckets and those of history begin at other times; a day is missing.
            let length_s = days * DAY_S + 1_000;
            let mut samples = steady(0, DAY_S);
            samples.extend(steady(2 * DAY_S, length_s));
            samples[1_000].1 = 99.0;
            let of_samples = track(length_s, &samples);
            let of_buckets = read(length_s, &samples);
            assert_ne!(of_buckets.buckets, of_samples.buckets, "drawn from buckets");
            assert_eq!(of_buckets.max(), Some(99.0));
            assert_eq!(of_buckets.lines().len(), 2, "{days}");
            let count =
                |track: &Track| -> u64 { track.buckets.iter().flatten().map(|b| b.count).sum() };
            assert_eq!(count(&of_buckets), count(&of_samples));
            let (gaps, expected) = (of_buckets.gaps(), of_samples.gaps());
            assert_eq!((gaps.len(), expected.len()), (1, 1));
            let hour = 3_600.0 / length_s as f64;
            assert!((gaps[0].start - expected[0].start).abs() <= hour);
            assert!((gaps[0].end - expected[0].end).abs() <= hour);
            // What a bucket cannot show is read one by one.
            samples[1_001].1 = f64::INFINITY;
            let (of_samples, of_both) = (track(length_s, &samples), read(length_s, &samples));
            assert_eq!(of_both.buckets, of_samples.buckets);
        }
        let samples = steady(0, 2 * DAY_S);
        let short = read(2 * DAY_S, &samples);
        assert_eq!(short.buckets, track(2 * DAY_S, &samples).buckets);
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
