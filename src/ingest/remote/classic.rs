//! Histograms and summaries as the series that Prometheus' text formats give them.

use std::fmt::Write;

use super::{
    intake::{Intake, Refusal, Series, Temporality},
    otlp_point::Summary,
};
use crate::model::{STALE_MARKER, Timestamp};

/// The label of a bucket's upper bound.
const LE: &str = "le";
/// The label of a quantile.
const QUANTILE: &str = "quantile";

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Classic {
    /// Observations, in all buckets together.
    pub(super) count: f64,
    /// Their sum, if it is told.
    pub(super) sum: Option<f64>,
    /// Finite upper bounds in ascending order, and how many observations are at most that.
    pub(super) buckets: Vec<(f64, f64)>,
}

impl Classic {
    /// A histogram of such buckets, each with its upper bound and its own count.
    pub(super) fn of_counts(
        count: f64,
        sum: Option<f64>,
        counts: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        let mut total = 0.0;
        let cumulative = counts.into_iter().map(|(bound, count)| {
            total += count;
            (bound, total)
        });
        Self {
            count,
            sum,
            buckets: cumulative.collect(),
        }
    }

    /// What ends the series of a histogram with these buckets.
    pub(super) fn stale(mut self) -> Self {
        self.count = STALE_MARKER;
        self.sum = Some(STALE_MARKER);
        for (_, count) in &mut self.buckets {
            *count = STALE_MARKER;
        }
        self
    }
}

/// Calls with the name, the labels and the value of each sample of a histogram; its own labels are sorted.
///
/// # Errors
/// What `push` returns, or that the histogram has a label of its buckets.
pub(super) fn each_sample<E: From<String>>(
    name: &str,
    labels: &[(&str, &str)],
    histogram: &Classic,
    mut push: impl FnMut(&str, &mut [(&str, &str)], f64) -> Result<(), E>,
) -> Result<(), E> {
    let place = place_of(LE, labels, "a histogram")?;
    let base = name.len();
    let mut name = format!("{name}_count");
    push(&name, &mut labels.to_vec(), histogram.count)?;
    if let Some(sum) = histogram.sum {
        name.truncate(base);
        name.push_str("_sum");
        push(&name, &mut labels.to_vec(), sum)?;
    }
    name.truncate(base);
    name.push_str("_bucket");
    let mut bound = String::new();
    for (le, count) in &histogram.buckets {
        write_bound(*le, &mut bound);
        push(&name, &mut with(labels, place, (LE, &bound)), *count)?;
    }
    let mut last = with(labels, place, (LE, "+Inf"));
    push(&name, &mut last, histogram.count)
}

/// Adds the samples of a histogram.
pub(super) fn push_classic(
    intake: &mut Intake<'_>,
    series: Series<'_>,
    labels: &[(&str, &str)],
    temporality: Temporality,
    time: Timestamp,
    histogram: &Classic,
) -> Result<(), Refusal> {
    let start = intake.rows_of(series);
    each_sample(series.name, labels, histogram, |name, labels, value| {
        intake.push(series, name, labels, temporality, (time, value))
    })?;
    intake.mark_compound(series, start, true);
    Ok(())
}

/// Adds the samples of a summary, or ends its series.
pub(super) fn push_summary(
    intake: &mut Intake<'_>,
    series: Series<'_>,
    labels: &[(&str, &str)],
    time: Timestamp,
    summary: &Summary,
    is_end: bool,
) -> Result<(), Refusal> {
    let place = place_of(QUANTILE, labels, "a summary")?;
    let start = intake.rows_of(series);
    let mut push = |name: &str, labels: &mut [(&str, &str)], value| {
        let value = if is_end { STALE_MARKER } else { value };
        let total = Temporality::Cumulative;
        intake.push(series, name, labels, total, (time, value))
    };
    let mut text = String::new();
    for (quantile, value) in &summary.quantiles {
        write_bound(*quantile, &mut text);
        let mut labels = with(labels, place, (QUANTILE, &text));
        push(series.name, &mut labels, *value)?;
    }
    let sum = format!("{}_sum", series.name);
    push(&sum, &mut labels.to_vec(), summary.sum)?;
    let count = format!("{}_count", series.name);
    push(&count, &mut labels.to_vec(), summary.count as f64)?;
    intake.mark_compound(series, start, false);
    Ok(())
}

/// Where a label belongs among sorted ones that must not have it.
fn place_of(name: &str, labels: &[(&str, &str)], what: &str) -> Result<usize, String> {
    match labels.binary_search_by(|(label, _)| (*label).cmp(name)) {
        Err(place) => Ok(place),
        Ok(_) => Err(format!("{what} must not have a label `{name}` of its own")),
    }
}

fn with<'a>(
    labels: &[(&'a str, &'a str)],
    place: usize,
    label: (&'a str, &'a str),
) -> Vec<(&'a str, &'a str)> {
    let mut all = Vec::with_capacity(labels.len() + 1);
    all.extend_from_slice(&labels[..place]);
    all.push(label);
    all.extend_from_slice(&labels[place..]);
    all
}

/// Writes a number over `out` as Go does for `le` and `quantile`: no exponent but for the very large and small.
pub(super) fn write_bound(bound: f64, out: &mut String) {
    // No minus before zero.
    let bound = bound + 0.0;
    out.clear();
    // A string takes all that is written.
    let _ = if bound == 0.0 || (1e-9..1e21).contains(&bound.abs()) {
        write!(out, "{bound}")
    } else if bound.is_infinite() {
        write!(out, "{}Inf", if bound > 0.0 { '+' } else { '-' })
    } else {
        write!(out, "{bound:e}")
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ingest::remote::agent_rule::AgentRule,
        model::{Limits, SeriesKey},
    };

    #[test]
    fn a_histogram_is_a_family_of_series() {
        let (rule, limits) = (AgentRule::default(), Limits::default());
        let mut intake = Intake::new(&rule, &limits);
        let mut labels = vec![("__name__", "h"), ("a", "1"), ("z", "2")];
        let series = intake.series(&mut labels, None).unwrap();
        let time = Timestamp::from_millis(5);
        let histogram = Classic::of_counts(6.0, Some(9.5), [(-0.0, 1.0), (2.5, 3.0)]);
        let total = Temporality::Cumulative;
        push_classic(&mut intake, series, &labels, total, time, &histogram).unwrap();
        let (_, batch) = intake.finish().parts.remove(0);
        let shown = batch.rows().iter().map(|row| {
            let key = SeriesKey::from_bytes(batch.key(row)).unwrap();
            format!("{key} {}", row.value)
        });
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [
                r#"h_count{a="1",z="2"} 6"#,
                r#"h_sum{a="1",z="2"} 9.5"#,
                r#"h_bucket{a="1",le="0",z="2"} 1"#,
                r#"h_bucket{a="1",le="2.5",z="2"} 4"#,
                r#"h_bucket{a="1",le="+Inf",z="2"} 6"#,
            ]
        );
    }

    #[test]
    fn bounds_are_short_texts() {
        let text = |bound| {
            let mut out = "left over".to_owned();
            write_bound(bound, &mut out);
            out
        };
        assert_eq!(
            [-0.0, 1.0, 0.001, -2.5, 1e20, 1e300, 2f64.powi(-200)].map(text),
            [
                "0",
                "1",
                "0.001",
                "-2.5",
                "100000000000000000000",
                "1e300",
                "6.223015277861142e-61"
            ]
        );
        assert_eq!(
            [f64::INFINITY, f64::NEG_INFINITY].map(text),
            ["+Inf", "-Inf"]
        );
    }
}
