//! Functions over the samples of one window, as Prometheus documents them.

use super::number::{Num, Trouble, deviation, mean, quantile, sum, variance};

/// Samples of one series, milliseconds and values; at least one.
pub(super) struct Window<'s> {
    pub(super) samples: &'s [(i64, Num)],
    /// Borders of the window.
    pub(super) from: i64,
    pub(super) to: i64,
    /// The step that asks, which offset and `@` leave alone.
    pub(super) step: i64,
    pub(super) parameter: Option<Num>,
}

const fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

impl Window<'_> {
    /// What the function of that name makes of the samples; nothing where they do not suffice.
    pub(super) fn apply(&self, name: &str) -> Result<Option<Num>, Trouble> {
        let values: Vec<Num> = self.samples.iter().map(|(_, value)| *value).collect();
        let parameter = self.parameter.unwrap_or(Num::exact(f64::NAN));
        Ok(Some(match name {
            "avg_over_time" => mean(&values),
            "sum_over_time" => sum(&values),
            "count_over_time" => Num::exact(values.len() as f64),
            "present_over_time" => Num::exact(1.0),
            "first_over_time" => values[0],
            "last_over_time" => values[values.len() - 1],
            "min_over_time" => extreme(&values, |a, b| a < b),
            "max_over_time" => extreme(&values, |a, b| a > b),
            "stdvar_over_time" => variance(&values),
            "stddev_over_time" => deviation(&values),
            "quantile_over_time" => quantile(parameter, &values)?,
            "changes" => changes(&values)?,
            "resets" => resets(&values)?,
            "ts_of_first_over_time" => Num::exact(seconds(self.samples[0].0)),
            "ts_of_last_over_time" => Num::exact(seconds(self.samples[values.len() - 1].0)),
            "delta" => return self.extrapolated(false),
            "increase" => return self.extrapolated(true),
            "rate" => {
                let range = Num::exact(seconds(self.to - self.from));
                return Ok(self.extrapolated(true)?.map(|increase| increase / range));
            }
            "idelta" => return self.last_two(false),
            "irate" => return self.last_two(true),
            "deriv" => {
                return self
                    .line(self.samples[0].0)
                    .map(|line| line.map(|(slope, _)| slope));
            }
            "predict_linear" => {
                let line = self.line(self.step)?;
                return Ok(line.map(|(slope, now)| slope * parameter + now));
            }
            _ => panic!("{name} is not known here"),
        }))
    }

    /// The rise between the first and the last sample, stretched to the borders of the window: by the whole gap where it is
    /// shorter than 1.1 average intervals, else by half an interval; of a counter never to below zero.
    fn extrapolated(&self, is_counter: bool) -> Result<Option<Num>, Trouble> {
        let count = self.samples.len();
        if count < 2 {
            return Ok(None);
        }
        let (first_time, first) = self.samples[0];
        let (last_time, last) = self.samples[count - 1];
        let mut rise = last - first;
        if is_counter {
            let mut added = Num::exact(0.0);
            for pair in self.samples.windows(2) {
                if pair[1].1.is_less(pair[0].1)? {
                    rise = rise + pair[0].1;
                    added = added + pair[0].1;
                }
            }
            if added.value != 0.0 {
                rise = rise.blurred_by(added.value.abs() + first.value.abs());
            }
        }
        let sampled = seconds(last_time - first_time);
        let interval = sampled / (count - 1) as f64;
        let mut before = seconds(first_time - self.from);
        if before >= interval * 1.1 {
            before = interval / 2.0;
        }
        let mut before = Num::exact(before);
        let zero = Num::exact(0.0);
        let sampled = Num::exact(sampled);
        if is_counter && zero.is_less(rise)? && !first.is_less(zero)? && !first.is_nan() {
            let since_zero = sampled * (first / rise);
            if since_zero.value < before.value {
                before = since_zero;
            }
        }
        let mut after = seconds(self.to - last_time);
        if after >= interval * 1.1 {
            after = interval / 2.0;
        }
        let covered = sampled + before + Num::exact(after);
        Ok(Some((rise * (covered / sampled)).blurred()))
    }

    /// The rise between the last two samples, by second for a counter.
    fn last_two(&self, is_counter: bool) -> Result<Option<Num>, Trouble> {
        let [.., (previous_time, previous), (last_time, last)] = self.samples else {
            return Ok(None);
        };
        if !is_counter {
            return Ok(Some(*last - *previous));
        }
        let is_reset = last.is_less(*previous)?;
        let rise = if is_reset { *last } else { *last - *previous };
        Ok(Some(rise / Num::exact(seconds(last_time - previous_time))))
    }

    /// Least squares: slope by second, and where the line is at a moment.
    fn line(&self, origin: i64) -> Result<Option<(Num, Num)>, Trouble> {
        let first = self.samples[0].1;
        if self.samples.len() < 2 {
            return Ok(None);
        }
        let mut is_constant = true;
        let zero = Num::exact(0.0);
        let (mut x, mut y, mut xy, mut xx) = (zero, zero, zero, zero);
        for (time, value) in self.samples {
            is_constant = value.equals(first)? && is_constant;
            let at = Num::exact(seconds(time - origin));
            x = x + at;
            y = y + *value;
            xy = xy + at * *value;
            xx = xx + at * at;
        }
        if is_constant {
            let is_infinite = first.value.is_infinite();
            let nan = Num::exact(f64::NAN);
            return Ok(Some(if is_infinite {
                (nan, nan)
            } else {
                (zero, first)
            }));
        }
        let n = Num::exact(self.samples.len() as f64);
        let slope = (xy - x * y / n) / (xx - x * x / n);
        let now = y / n - slope * x / n;
        Ok(Some((slope.blurred(), now.blurred())))
    }
}

/// The first of the values that no other beats; numbers beat NaN.
fn extreme(values: &[Num], beats: impl Fn(f64, f64) -> bool) -> Num {
    let mut best = values[0];
    for value in values {
        if beats(value.value, best.value) || best.is_nan() {
            best = *value;
        }
    }
    best
}

pub(super) fn least(values: &[Num]) -> Num {
    extreme(values, |a, b| a < b)
}

pub(super) fn greatest(values: &[Num]) -> Num {
    extreme(values, |a, b| a > b)
}

fn changes(values: &[Num]) -> Result<Num, Trouble> {
    let mut count = 0.0;
    for pair in values.windows(2) {
        let are_nan = pair[0].is_nan() && pair[1].is_nan();
        if !pair[0].equals(pair[1])? && !are_nan {
            count += 1.0;
        }
    }
    Ok(Num::exact(count))
}

fn resets(values: &[Num]) -> Result<Num, Trouble> {
    let mut count = 0.0;
    for pair in values.windows(2) {
        if pair[1].is_less(pair[0])? {
            count += 1.0;
        }
    }
    Ok(Num::exact(count))
}
