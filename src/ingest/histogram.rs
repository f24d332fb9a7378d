//! What the samples of one histogram of OpenMetrics must be to each other.

/// The samples of one histogram at one moment, as they come.
///
/// Source: OpenMetrics 1.0, "Histogram" and "GaugeHistogram". One rule is not insisted on: a histogram with
/// buckets below zero must not have a sum there, but the Go client library exposes one.
#[derive(Debug, Default)]
pub(super) struct HistogramCheck {
    /// Bound and value of the last bucket.
    bucket: Option<(f64, f64)>,
    count: Option<f64>,
    has_sum: bool,
    has_counter_sum: bool,
    has_negative_bucket: bool,
    has_negative_gauge_sum: bool,
}

impl HistogramCheck {
    /// A bucket with its upper bound.
    pub(super) fn bucket(&mut self, bound: f64, value: f64) -> Result<(), &'static str> {
        if let Some((last_bound, last_value)) = self.bucket {
            if bound <= last_bound {
                return Err("the buckets are not in order of `le`");
            }
            if value < last_value {
                return Err("a bucket holds less than the one before it");
            }
        }
        self.bucket = Some((bound, value));
        self.has_negative_bucket |= bound < 0.0;
        Ok(())
    }

    /// `_count` or `_gcount`.
    pub(super) const fn count(&mut self, value: f64) {
        self.count = Some(value);
    }

    /// `_sum`.
    pub(super) const fn sum(&mut self) {
        self.has_sum = true;
        self.has_counter_sum = true;
    }

    /// `_gsum`.
    pub(super) fn gauge_sum(&mut self, value: f64) {
        self.has_sum = true;
        self.has_negative_gauge_sum |= value < 0.0;
    }

    /// Whether it has a `_sum`, which is a counter, together with a bucket below zero.
    pub(super) const fn has_sum_beside_negative_bucket(&self) -> bool {
        self.has_counter_sum && self.has_negative_bucket
    }

    /// Checks what only the whole shows.
    pub(super) fn finish(&self) -> Result<(), &'static str> {
        let Some((_, total)) = self.bucket.filter(|(bound, _)| *bound == f64::INFINITY) else {
            return Err("the histogram has no bucket le=\"+Inf\"");
        };
        match self.count {
            Some(count) if count != total => {
                return Err("the histogram's count is not that of the bucket le=\"+Inf\"");
            }
            Some(_) if !self.has_sum => return Err("the histogram has a count but no sum"),
            None if self.has_sum => return Err("the histogram has a sum but no count"),
            _ => {}
        }
        if self.has_negative_gauge_sum && !self.has_negative_bucket {
            return Err("the histogram's sum is below zero, and no bucket is");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_agrees_with_itself() {
        let check = |buckets: &[(f64, f64)], count: Option<f64>, sum: bool| {
            let mut check = HistogramCheck::default();
            for (bound, value) in buckets {
                check.bucket(*bound, *value)?;
            }
            if let Some(count) = count {
                check.count(count);
            }
            if sum {
                check.sum();
            }
            check.finish()
        };
        let mut negative = HistogramCheck::default();
        negative.bucket(-1.0, 1.0).unwrap();
        assert!(!negative.has_sum_beside_negative_bucket());
        negative.gauge_sum(-1.0);
        assert!(!negative.has_sum_beside_negative_bucket());
        negative.sum();
        assert!(negative.has_sum_beside_negative_bucket());
        let inf = f64::INFINITY;
        assert!(check(&[(1.0, 1.0), (inf, 3.0)], Some(3.0), true).is_ok());
        assert!(check(&[(inf, 3.0)], None, false).is_ok());
        assert!(check(&[(-1.0, 1.0), (inf, 3.0)], Some(3.0), true).is_ok());
        assert!(check(&[], None, false).is_err());
        assert!(check(&[(1.0, 1.0)], Some(1.0), true).is_err());
        assert!(check(&[(inf, 1.0)], Some(2.0), true).is_err());
        assert!(check(&[(inf, 1.0)], Some(1.0), false).is_err());
        assert!(check(&[(inf, 1.0)], None, true).is_err());
        assert!(check(&[(2.0, 1.0), (1.0, 1.0), (inf, 1.0)], None, false).is_err());
        assert!(check(&[(1.0, 2.0), (inf, 1.0)], None, false).is_err());
    }
}
