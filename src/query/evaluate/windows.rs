//! Functions over the samples of a window, `rate` and the like.
//!
//! Source: Prometheus, `promql/functions.go`.

use super::{
    kahan::{Deviation, Mean, Sum, quantile},
    resets::Resets,
};
use crate::query::function::FunctionId;

/// Samples of one series in the window `(end - range, end]`; at least one.
pub(super) struct Samples<'s> {
    pub(super) times: &'s [i64],
    pub(super) values: &'s [f64],
    /// Places at which the values fall, as offsets into the samples.
    pub(super) resets: Resets<'s>,
    pub(super) range_ms: i64,
    /// End of the window.
    pub(super) end_ms: i64,
    /// The step that asks, which offset and `@` leave alone.
    pub(super) step_ms: i64,
    /// The function's scalars at this step.
    pub(super) parameters: [f64; 2],
}

/// What a function makes of the samples; nothing where they do not suffice.
pub(super) fn of_window(id: FunctionId, samples: &Samples<'_>) -> Option<f64> {
    let values = samples.values;
    let (first, last) = (*values.first()?, *values.last()?);
    let [parameter, other_parameter] = samples.parameters;
    Some(match id {
        FunctionId::AvgOverTime => mean(values),
        FunctionId::Changes => changes(values),
        FunctionId::CountOverTime => values.len() as f64,
        FunctionId::Delta => return samples.extrapolated(false),
        // Near the samples, so that the slope does not depend on how long ago they were.
        FunctionId::Deriv => {
            return samples
                .line(*samples.times.first()?)
                .map(|(slope, _)| slope);
        }
        FunctionId::DoubleExponentialSmoothing => {
            return smoothed(values, parameter, other_parameter);
        }
        FunctionId::FirstOverTime => first,
        FunctionId::Idelta => return samples.instant(false),
        FunctionId::Increase => return samples.extrapolated(true),
        FunctionId::Irate => return samples.instant(true),
        FunctionId::LastOverTime => last,
        FunctionId::MadOverTime => median_deviation(values),
        FunctionId::MaxOverTime => values.iter().copied().fold(f64::NAN, greater),
        FunctionId::MinOverTime => values.iter().copied().fold(f64::NAN, lesser),
        FunctionId::PredictLinear => {
            return samples
                .line(samples.step_ms)
                .map(|(slope, at_step)| at_step + slope * parameter);
        }
        FunctionId::PresentOverTime | FunctionId::AbsentOverTime => 1.0,
        FunctionId::QuantileOverTime => quantile(parameter, &mut values.to_vec()),
        FunctionId::Rate => {
            return samples
                .extrapolated(true)
                .map(|increase| increase / (samples.range_ms as f64 / 1000.0));
        }
        FunctionId::Resets => samples.resets.count() as f64,
        FunctionId::StddevOverTime => variance(values).sqrt(),
        FunctionId::StdvarOverTime => variance(values),
        FunctionId::SumOverTime => sum(values),
        FunctionId::TsOfFirstOverTime => samples.seconds(0)?,
        FunctionId::TsOfLastOverTime => samples.seconds(values.len() - 1)?,
        FunctionId::TsOfMaxOverTime => samples.seconds(last_extreme(values, |a, b| a >= b))?,
        FunctionId::TsOfMinOverTime => samples.seconds(last_extreme(values, |a, b| a <= b))?,
        _ => return None,
    })
}

fn sum(values: &[f64]) -> f64 {
    let mut sum = Sum::default();
    values.iter().for_each(|value| sum.add(*value));
    sum.total()
}

fn mean(values: &[f64]) -> f64 {
    let mut mean = Mean::default();
    values.iter().for_each(|value| mean.add(*value));
    mean.mean()
}

fn variance(values: &[f64]) -> f64 {
    let mut deviation = Deviation::default();
    values.iter().for_each(|value| deviation.add(*value));
    deviation.variance()
}

/// NaN gives way to numbers.
pub(super) fn greater(most: f64, value: f64) -> f64 {
    if value > most || most.is_nan() {
        value
    } else {
        most
    }
}

/// NaN gives way to numbers.
pub(super) fn lesser(least: f64, value: f64) -> f64 {
    if value < least || least.is_nan() {
        value
    } else {
        least
    }
}

fn changes(values: &[f64]) -> f64 {
    let differs = |pair: &&[f64]| pair[0] != pair[1] && !(pair[0].is_nan() && pair[1].is_nan());
    values.windows(2).filter(differs).count() as f64
}

fn median_deviation(values: &[f64]) -> f64 {
    if values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    let median = quantile(0.5, &mut values.to_vec());
    let mut distances: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
    quantile(0.5, &mut distances)
}

/// Where the last of the values that no other beats stands.
fn last_extreme(values: &[f64], beats: impl Fn(f64, f64) -> bool) -> usize {
    let mut best = 0;
    for (at, value) in values.iter().enumerate() {
        if beats(*value, values[best]) || values[best].is_nan() {
            best = at;
        }
    }
    best
}

/// Holt's linear trend.
fn smoothed(values: &[f64], smoothing: f64, trend_factor: f64) -> Option<f64> {
    let (first, second) = (*values.first()?, *values.get(1)?);
    let mut level = first;
    let mut trend = second - first;
    let mut before = 0.0;
    for (at, value) in values.iter().enumerate().skip(1) {
        if at > 1 {
            trend = trend_factor * (level - before) + (1.0 - trend_factor) * trend;
        }
        before = level;
        level = smoothing * value + (1.0 - smoothing) * (level + trend);
    }
    Some(level)
}

impl Samples<'_> {
    fn seconds(&self, at: usize) -> Option<f64> {
        self.times.get(at).map(|time| *time as f64 / 1000.0)
    }

    /// What the values rose by over the whole window, if the course of the samples went on to its borders.
    fn extrapolated(&self, is_counter: bool) -> Option<f64> {
        let (first_ms, last_ms) = (*self.times.first()?, *self.times.last()?);
        let (first, last) = (*self.values.first()?, *self.values.last()?);
        if self.values.len() < 2 {
            return None;
        }
        let mut rise = last - first;
        if is_counter {
            rise += self.resets.dropped(self.values);
        }
        let seconds = |from: i64, to: i64| (to - from) as f64 / 1000.0;
        let sampled = seconds(first_ms, last_ms);
        let average = sampled / (self.values.len() - 1) as f64;
        let threshold = average * 1.1;
        let within = |gap: f64| if gap >= threshold { average / 2.0 } else { gap };
        let mut to_start = within(seconds(self.end_ms - self.range_ms, first_ms));
        if is_counter && rise > 0.0 && first >= 0.0 {
            // A counter was never below zero.
            to_start = to_start.min(sampled * (first / rise));
        }
        let to_end = within(seconds(last_ms, self.end_ms));
        Some(rise * ((sampled + to_start + to_end) / sampled))
    }

    /// Difference of the last two samples, by second for a counter.
    fn instant(&self, is_counter: bool) -> Option<f64> {
        let before = self.values.len().checked_sub(2)?;
        let (previous, last) = (self.values[before], self.values[before + 1]);
        let passed = (self.times.get(before + 1)? - self.times.get(before)?) as f64 / 1000.0;
        if !is_counter {
            return Some(last - previous);
        }
        let rise = if last < previous {
            last
        } else {
            last - previous
        };
        (passed > 0.0).then(|| rise / passed)
    }

    /// Least squares: slope by second, and the value at a moment.
    fn line(&self, origin_ms: i64) -> Option<(f64, f64)> {
        let first = *self.values.first()?;
        if self.values.len() < 2 {
            return None;
        }
        let (mut x, mut y, mut xy, mut xx) = (
            Sum::default(),
            Sum::default(),
            Sum::default(),
            Sum::default(),
        );
        let mut is_constant = true;
        for (time, value) in self.times.iter().zip(self.values) {
            is_constant &= *value == first;
            let seconds = (time - origin_ms) as f64 / 1000.0;
            x.add(seconds);
            y.add(*value);
            xy.add(seconds * value);
            xx.add(seconds * seconds);
        }
        if is_constant {
            return Some(if first.is_infinite() {
                (f64::NAN, f64::NAN)
            } else {
                (0.0, first)
            });
        }
        let n = self.values.len() as f64;
        let (x, y) = (x.total(), y.total());
        let covariance = xy.total() - x * y / n;
        let variance = xx.total() - x * x / n;
        let slope = covariance / variance;
        Some((slope, y / n - slope * x / n))
    }
}
