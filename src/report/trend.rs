//! The slope of a measurement: least squares over means of steps of time.

use crate::model::{Step, Timestamp, Window};

/// Milliseconds of an hour.
const HOUR_MS: f64 = 3_600_000.0;
/// Lengths of steps in milliseconds: of the longest that a window has at least [`STEPS_MIN`] of, each is
/// short enough to follow a course and long enough to even out noise.
const LENGTHS_MS: [i64; 5] = [86_400_000, 3_600_000, 300_000, 60_000, 10_000];
/// Steps that a window is to have.
const STEPS_MIN: i64 = 48;
/// Steps with samples below which there is no trend.
const MEASURED_MIN: usize = 3;

/// A straight line through the means of steps, each weighted by its samples.
///
/// Source of the arithmetic: weighted linear least squares, centred on the means first, as in
/// N. R. Draper, H. Smith, "Applied Regression Analysis".
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// Rise of the line in an hour, rounded to 6 digits; in percent points for percentages.
    pub per_hour: f64,
    /// Value of the line at the last sample.
    pub at_end: f64,
    /// Steps that had samples.
    pub steps: usize,
    /// Hours from the first sample to the last.
    pub hours: f64,
    /// Share of the variance between steps that the line explains, 0 to 1.
    pub r_squared: f64,
}

/// Length of the steps for a window.
pub(super) fn step_ms(window: Window) -> i64 {
    let fits = |length: &&i64| window.length_ms() / **length >= STEPS_MIN;
    let longest = LENGTHS_MS.iter().find(fits);
    longest.map_or(LENGTHS_MS[LENGTHS_MS.len() - 1], |length| *length)
}

/// The trend of steps so long, from several series or one, whose samples lie between `first` and `last`.
/// `None` for fewer than three steps, and for values that are not finite.
pub(super) fn trend(
    mut steps: Vec<Step>,
    length_ms: i64,
    first: Timestamp,
    last: Timestamp,
) -> Option<Trend> {
    // A full step tells how far apart samples are; each stands for the time since the one before.
    let most = steps.iter().map(|step| step.numbers).max()?;
    let apart_ms = length_ms / most.max(1) as i64;
    let begin = first.plus_millis(-apart_ms);
    // Stable: sums of one step are added in the order of the series.
    steps.sort_by_key(|step| step.end_ms);
    steps.dedup_by(|next, kept| {
        let same = next.end_ms == kept.end_ms;
        if same {
            kept.numbers += next.numbers;
            kept.sum += next.sum;
        }
        same
    });
    if steps.len() < MEASURED_MIN {
        return None;
    }
    let points: Vec<Point> = steps
        .iter()
        .map(|step| {
            // The first step and the last are measured in part.
            let from = (step.end_ms.saturating_sub(length_ms)).max(begin.as_millis());
            let to = step.end_ms.min(last.as_millis());
            let since_last_ms = (from - last.as_millis()) + (to - last.as_millis()) + apart_ms;
            Point {
                x: since_last_ms as f64 / 2.0 / HOUR_MS,
                y: step.sum / step.numbers as f64,
                weight: step.numbers as f64,
            }
        })
        .collect();
    let hours = last.since(first) as f64 / HOUR_MS;
    line(&points, hours)
}

/// A step's mean time in hours (the last sample is at 0), its mean value, and its samples.
struct Point {
    x: f64,
    y: f64,
    weight: f64,
}

fn line(points: &[Point], hours: f64) -> Option<Trend> {
    let sum = |of: &dyn Fn(&Point) -> f64| points.iter().map(|p| p.weight * of(p)).sum::<f64>();
    let weight = sum(&|_| 1.0);
    let (mean_x, mean_y) = (sum(&|p| p.x) / weight, sum(&|p| p.y) / weight);
    let xx = sum(&|p| (p.x - mean_x).powi(2));
    let yy = sum(&|p| (p.y - mean_y).powi(2));
    let xy = sum(&|p| (p.x - mean_x) * (p.y - mean_y));
    // The last digits of means that should be equal are noise.
    let per_hour = (xy / xx * 1e6).round() / 1e6;
    let found = Trend {
        per_hour,
        at_end: mean_y - per_hour * mean_x,
        steps: points.len(),
        hours,
        r_squared: if yy > 0.0 { xy * xy / (xx * yy) } else { 1.0 },
    };
    let is_finite = per_hour.is_finite() && found.at_end.is_finite() && found.r_squared.is_finite();
    is_finite.then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DAY_MS, Steps};

    const HOUR: i64 = 3_600_000;

    fn of(length_ms: i64, all: &[&[(i64, f64)]]) -> Option<Trend> {
        let mut found = Vec::new();
        for samples in all {
            let (times, values): (Vec<i64>, Vec<f64>) = samples.iter().copied().unzip();
            let mut steps = Steps::new(length_ms);
            steps.extend(&times, &values);
            found.extend_from_slice(steps.steps());
        }
        let times = all.iter().flat_map(|s| s.iter()).map(|s| s.0);
        let at = |time: Option<i64>| Timestamp::from_millis(time.unwrap_or(0));
        trend(found, length_ms, at(times.clone().min()), at(times.max()))
    }

    #[track_caller]
    fn assert_close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }

    #[test]
    fn steps_suit_the_window() {
        let step = |length_ms| step_ms(Window::ending_at(Timestamp::from_millis(0), length_ms));
        assert_eq!(step(60_000), 10_000);
        assert_eq!(step(HOUR), 60_000);
        assert_eq!(step(DAY_MS), 300_000);
        assert_eq!(step(2 * DAY_MS), HOUR);
        assert_eq!(step(47 * DAY_MS), HOUR);
        assert_eq!(step(48 * DAY_MS), DAY_MS);
        assert_eq!(step_ms(Window::until(Timestamp::MAX)), DAY_MS);
    }

    #[test]
    fn a_straight_line_is_found_whatever_is_missing() {
        // 2.5 an hour from 10 on, every minute; the first step begins in its middle, the last ends there.
        let value = |t: i64| 10.0 + 2.5 * t as f64 / HOUR as f64;
        let times = (10..=200).map(|minute| minute * 60_000);
        let samples: Vec<_> = times.map(|t| (t, value(t))).collect();
        let found = of(HOUR / 2, &[&samples]).unwrap();
        assert_close(found.per_hour, 2.5);
        assert_close(found.r_squared, 1.0);
        assert_close(found.hours, 190.0 / 60.0);
        assert_close(found.at_end, value(200 * 60_000));
        // An hour is missing.
        let gappy: Vec<_> = samples
            .iter()
            .copied()
            .filter(|s| !(HOUR..2 * HOUR).contains(&s.0))
            .collect();
        let found = of(HOUR / 2, &[&gappy]).unwrap();
        assert!((found.per_hour - 2.5).abs() < 0.05, "{found:?}");
    }

    #[test]
    fn steps_weigh_what_they_hold() {
        // Means 0, 1, 5 with 1, 1, 8 samples, 125 ms apart: worked out by hand.
        let mut samples = vec![(500, 0.0), (1500, 1.0)];
        samples.extend((1..=8).map(|i| (2000 + i * 100, 5.0)));
        let found = of(1000, &[&samples]).unwrap();
        let points = [(687.5, 0.0, 1.0), (1500.0, 1.0, 1.0), (2400.0, 5.0, 8.0)];
        let mean =
            |f: fn(&(f64, f64, f64)) -> f64| points.iter().map(|p| p.2 * f(p)).sum::<f64>() / 10.0;
        let (x, y) = (mean(|p| p.0), mean(|p| p.1));
        let xy: f64 = points.iter().map(|p| p.2 * (p.0 - x) * (p.1 - y)).sum();
        let xx: f64 = points.iter().map(|p| p.2 * (p.0 - x).powi(2)).sum();
        assert!(
            (found.per_hour - xy / xx * HOUR_MS).abs() < 1e-6,
            "{found:?}"
        );
        assert_eq!(found.steps, 3);
    }

    #[test]
    fn series_of_one_measurement_are_one_course() {
        let (a, b): (Vec<_>, Vec<_>) = (1..=6)
            .map(|i| ((i * 1000, i as f64), (i * 1000 - 1, i as f64 + 4.0)))
            .unzip();
        let found = of(1000, &[&a, &b]).unwrap();
        assert_close(found.per_hour, 3600.0);
        assert_eq!(found.steps, 6);
    }

    #[test]
    fn too_little_gives_none() {
        assert_eq!(of(1000, &[]), None);
        assert_eq!(of(1000, &[&[(1, 1.0), (2, 2.0), (1001, 3.0)]]), None);
        let odd = [(1, 1.0), (1001, f64::INFINITY), (2001, 3.0)];
        assert_eq!(of(1000, &[&odd]), None);
        let flat = of(1000, &[&[(1, 7.0), (1001, 7.0), (2001, 7.0)]]).unwrap();
        assert_eq!(
            (flat.per_hour, flat.at_end, flat.r_squared),
            (0.0, 7.0, 1.0)
        );
    }
}
