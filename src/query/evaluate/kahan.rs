//! Sums that lose little to rounding.

/// A sum with its compensation (Neumaier).
///
/// Source: Prometheus, `util/kahansum/kahansum.go`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    sum: f64,
    compensation: f64,
}

impl Sum {
    pub(super) const fn of(value: f64) -> Self {
        Self {
            sum: value,
            compensation: 0.0,
        }
    }

    pub(super) fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.compensation = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.compensation += (self.sum - total) + value;
        } else {
            self.compensation += (value - total) + self.sum;
        }
        self.sum = total;
    }

    pub(super) fn total(self) -> f64 {
        if self.sum.is_infinite() {
            return self.sum;
        }
        self.sum + self.compensation
    }
}

/// A mean that does not overflow while its values do not: the sum divided, or from where that overflows on a
/// running mean.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mean {
    sum: Sum,
    count: f64,
    /// The mean so far, once the sum has become too large.
    running: Option<Sum>,
}

impl Mean {
    pub(super) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.running.is_none() {
            let mut sum = self.sum;
            sum.add(value);
            if self.count < 2.0 || !sum.total().is_infinite() {
                self.sum = sum;
                return;
            }
            let before = self.count - 1.0;
            self.running = Some(Sum {
                sum: self.sum.sum / before,
                compensation: self.sum.compensation / before,
            });
        }
        if let Some(mean) = &mut self.running {
            if mean.sum.is_infinite() {
                // The mean stays infinite unless the value is of the other sign or no number.
                let is_same = value.is_infinite() && (mean.sum > 0.0) == (value > 0.0);
                if is_same || value.is_finite() {
                    return;
                }
            }
            let share = (self.count - 1.0) / self.count;
            mean.sum *= share;
            mean.compensation *= share;
            mean.add(value / self.count);
        }
    }

    pub(super) fn mean(self) -> f64 {
        match self.running {
            Some(mean) => mean.sum + mean.compensation,
            None => self.sum.sum / self.count + self.sum.compensation / self.count,
        }
    }
}

/// Mean and sum of squared differences (Welford).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Deviation {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Deviation {
    pub(super) fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    /// Variance of the whole population.
    pub(super) fn variance(self) -> f64 {
        self.squares / self.count
    }
}

/// The quantile by linear interpolation between the closest ranks; `values` get sorted.
///
/// Source: Prometheus, `promql/quantile.go`.
pub(super) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    // NaNs sort first.
    values.sort_unstable_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b)));
    let last = values.len() - 1;
    let rank = q * last as f64;
    let low = (rank.floor() as usize).min(last);
    let high = (low + 1).min(last);
    let weight = rank - rank.floor();
    values[low] * (1.0 - weight) + values[high] * weight
}
