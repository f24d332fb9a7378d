//! What is usual for a series: the median of its past and how far values lie from it, robustly.

use crate::model::{Season, Timestamp, Window};

const HOUR_MS: i64 = 3_600_000;
const WEEK_MS: i64 = 7 * 24 * HOUR_MS;

/// Start of the hour that holds a moment.
pub(super) const fn hour_of(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.as_millis().div_euclid(HOUR_MS) * HOUR_MS)
}

/// Which past is asked for. It ends at a full hour before the moment that is judged: so it is the same for all
/// moments of an hour, live and in a backtest, and what is judged is not part of what it is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct BaselineRequest {
    /// End of the past: a full hour.
    pub(super) end: Timestamp,
    history_ms: i64,
    is_seasonal: bool,
}

impl BaselineRequest {
    /// The past of a moment.
    pub(super) const fn of(at: Timestamp, history_ms: i64, season: Season) -> Self {
        Self {
            end: hour_of(at),
            history_ms,
            is_seasonal: matches!(season, Season::HourOfWeek),
        }
    }

    /// The windows that it consists of.
    pub(super) fn windows(self) -> impl Iterator<Item = Window> {
        let weeks = if self.is_seasonal {
            self.history_ms / WEEK_MS
        } else {
            0
        };
        let whole = (!self.is_seasonal).then(|| Window::ending_at(self.end, self.history_ms));
        // The hour that is judged begins at `end`; it is compared with the same hour of the weeks before.
        let same_hours = (1..=weeks).map(move |week| {
            let start = self.end.plus_millis(-week * WEEK_MS);
            Window::new(start, start.plus_millis(HOUR_MS))
        });
        whole.into_iter().chain(same_hours)
    }

    /// How far back it reaches.
    pub(super) fn from(self) -> Timestamp {
        self.end.plus_millis(-self.history_ms)
    }
}

/// Median of a past, and the spread around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Baseline {
    /// Numbers it rests on.
    pub(super) samples: usize,
    /// The middle one, or the mean of the two in the middle.
    pub(super) median: f64,
    /// An estimate of the standard deviation; 0 for a constant past.
    scale: f64,
}

impl Baseline {
    /// Works it out; infinities and NaNs do not count. `None` without any number.
    ///
    /// The scale is MAD / 0.6745, as in the modified z-score of Iglewicz and Hoaglin ("How to Detect and Handle
    /// Outliers", 1993); where more than half of the values are equal, so that the MAD is 0, it is 1.253314 times the
    /// mean absolute deviation, as they advise.
    pub(super) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.retain(|value| value.is_finite());
        let samples = values.len();
        let median = median(&mut values)?;
        let mut deviations: Vec<f64> = values.iter().map(|v| (v - median).abs()).collect();
        let mad = median_of_sorted_out(&mut deviations);
        let scale = if mad > 0.0 {
            mad / 0.6745
        } else {
            1.253_314 * deviations.iter().sum::<f64>() / samples as f64
        };
        Some(Self {
            samples,
            median,
            scale,
        })
    }

    /// How many scales a value lies above the median (below: negative). Infinite where the past is constant and the
    /// value is another.
    pub(super) fn score(&self, value: f64) -> f64 {
        let distance = value - self.median;
        if distance == 0.0 {
            0.0
        } else if self.scale > 0.0 {
            distance / self.scale
        } else {
            distance * f64::INFINITY
        }
    }
}

fn median(values: &mut [f64]) -> Option<f64> {
    (!values.is_empty()).then(|| median_of_sorted_out(values))
}

/// The median of at least one number; they change places.
fn median_of_sorted_out(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    let is_even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    let lower = below.iter().copied().max_by(f64::total_cmp);
    match lower {
        Some(lower) if is_even => f64::midpoint(lower, upper),
        _ => upper,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_of_iglewicz_and_hoaglin() {
        // Worked out by hand: median 2.5, deviations 1.5 .5 .5 1.5 97.5 and .5, MAD 1.0.
        let baseline = Baseline::of(vec![1.0, 2.0, 3.0, 4.0, 100.0, 2.0]).unwrap();
        assert_eq!((baseline.samples, baseline.median), (6, 2.5));
        let score = baseline.score(100.0);
        assert!((score - 0.6745 * 97.5).abs() < 1e-9, "{score}");
        assert!(baseline.score(1.0) < 0.0);
        assert_eq!(baseline.score(2.5), 0.0);
    }

    #[test]
    fn a_past_that_hardly_varies_is_measured_by_its_mean_deviation() {
        let mut values = vec![5.0; 9];
        values.push(15.0);
        let baseline = Baseline::of(values).unwrap();
        assert!((baseline.score(15.0) - 10.0 / 1.253_314).abs() < 1e-9);
        let constant = Baseline::of(vec![7.0; 5]).unwrap();
        assert_eq!(constant.score(7.0), 0.0);
        assert_eq!(constant.score(7.5), f64::INFINITY);
        assert_eq!(constant.score(6.5), f64::NEG_INFINITY);
        assert_eq!(Baseline::of(vec![f64::NAN, f64::INFINITY]), None);
    }

    #[test]
    fn the_past_ends_before_the_hour_that_is_judged() {
        let at = Timestamp::from_millis(10 * WEEK_MS + 5 * HOUR_MS + 17);
        let hour = Timestamp::from_millis(10 * WEEK_MS + 5 * HOUR_MS);
        let plain = BaselineRequest::of(at, 24 * HOUR_MS, Season::None);
        let windows: Vec<Window> = plain.windows().collect();
        assert_eq!(windows, [Window::ending_at(hour, 24 * HOUR_MS)]);
        let weekly = BaselineRequest::of(at, 3 * WEEK_MS, Season::HourOfWeek);
        let windows: Vec<Window> = weekly.windows().collect();
        assert_eq!(windows.len(), 3);
        assert_eq!(windows[0].from, hour.plus_millis(-WEEK_MS));
        assert_eq!(windows[2].to, hour.plus_millis(HOUR_MS - 3 * WEEK_MS));
    }
}
