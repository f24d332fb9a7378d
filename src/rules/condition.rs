//! Whether a condition holds for a series at a moment. The one place that live evaluation and backtest share.

use super::{baseline::BaselineRequest, readings::Readings};
use crate::{
    alerts::Finding,
    model::{
        Aggregate, Condition, Limit, MetricKind, NoData, Operator, Quorum, ReadError, Rule, Sample,
        Timestamp, Window, is_stale_marker,
    },
};

/// How old the newest sample may be, unless a rule or a long interval says otherwise; Prometheus' lookback.
const LOOKBACK_MS: i64 = 300_000;
/// A series that is silent for longer does not raise an alert by `no_data = "alert"` any more.
const KNOWN_FOR_MS: i64 = 7 * crate::model::DAY_MS;

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Judgement {
    /// Whether the condition holds.
    pub(super) finding: Finding,
    /// The value that was judged: of the series, a rate, a forecast, seconds of silence.
    pub(super) value: Option<f64>,
    /// The threshold that counted.
    pub(super) threshold: Option<f64>,
    /// How unusual the value is, for anomalies.
    pub(super) score: Option<f64>,
    /// When a series that is silent was last heard.
    pub(super) last_seen: Option<Timestamp>,
}

impl Judgement {
    fn of(holds: bool, value: f64, threshold: f64) -> Self {
        let finding = if holds { Finding::Holds } else { Finding::Ends };
        Self {
            finding,
            value: Some(value),
            threshold: Some(threshold),
            score: None,
            last_seen: None,
        }
    }

    /// A row of an expression: it is there, so it holds.
    pub(super) const fn row(value: f64) -> Self {
        Self {
            finding: Finding::Holds,
            value: Some(value),
            threshold: None,
            score: None,
            last_seen: None,
        }
    }

    const fn no_data() -> Self {
        Self {
            finding: Finding::NoData,
            value: None,
            threshold: None,
            score: None,
            last_seen: None,
        }
    }
}

/// What a condition is judged for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    /// The moment.
    pub(super) at: Timestamp,
    /// Kind of the series' metric.
    pub(super) kind: MetricKind,
    /// The agent's interval, in milliseconds.
    pub(super) interval_ms: i64,
    /// Whether its alert is pending or firing.
    pub(super) is_open: bool,
    /// Whether its alert fires.
    pub(super) is_firing: bool,
    /// When the server began to listen; silence before it proves nothing.
    pub(super) listening_since: Option<Timestamp>,
}

impl Case {
    fn back(&self, ms: i64) -> Window {
        Window::ending_at(self.at, ms)
    }

    /// How old the newest sample may be.
    pub(super) fn lookback_ms(&self, rule_ms: Option<i64>) -> i64 {
        rule_ms.unwrap_or_else(|| LOOKBACK_MS.max(self.interval_ms.saturating_mul(3)))
    }
}

/// How old the newest sample may be before there is no data, or before a series is silent; milliseconds.
pub(super) fn data_age_ms(rule: &Rule, case: &Case) -> i64 {
    match &rule.condition {
        Condition::Threshold { window_ms, .. } | Condition::RateOfChange { window_ms, .. } => {
            case.lookback_ms(*window_ms)
        }
        Condition::Absent { window_ms, .. } => *window_ms,
        Condition::Anomaly { .. } | Condition::Expr { .. } | Condition::Record { .. } => {
            case.lookback_ms(None)
        }
        Condition::Forecast { window_ms, .. } => case.lookback_ms(None).min(*window_ms),
    }
}

/// Judges a rule's condition for one series.
///
/// # Errors
/// [`ReadError`]: nothing is known, and the alert stays as it is.
pub(super) fn judge(
    rule: &Rule,
    series: &dyn Readings,
    case: &Case,
) -> Result<Judgement, ReadError> {
    let least = rule.min_samples as usize;
    let mut judgement = match &rule.condition {
        Condition::Threshold {
            limit,
            aggregate: Aggregate::Last,
            window_ms,
            quorum,
        } => of_last(
            limit,
            case.lookback_ms(*window_ms),
            *quorum,
            least,
            series,
            case,
        ),
        Condition::Threshold {
            limit,
            aggregate,
            window_ms,
            ..
        } => of_window(
            limit,
            *aggregate,
            case.lookback_ms(*window_ms),
            least,
            series,
            case,
        ),
        Condition::RateOfChange { limit, window_ms } => {
            of_rate(limit, *window_ms, least, series, case)
        }
        Condition::Absent {
            window_ms,
            known_for_ms,
        } => of_silence(*window_ms, *known_for_ms, series, case),
        Condition::Anomaly { .. } => of_anomaly(&rule.condition, least, series, case),
        // What an expression finds is worked out by row.
        Condition::Expr { .. } | Condition::Record { .. } => Ok(Judgement::no_data()),
        Condition::Forecast {
            limit,
            window_ms,
            within_ms,
        } => of_forecast(limit, *window_ms, *within_ms, least, series, case),
    }?;
    if judgement.finding == Finding::NoData && !is_known_silent(rule, series, case)? {
        judgement.finding = Finding::NotYet;
    }
    // What has been gone for long must not begin to alert for being gone.
    if judgement.finding == Finding::NoData
        && rule.no_data == NoData::Alert
        && !case.is_open
        && series.last_seen(case.back(KNOWN_FOR_MS))?.is_none()
    {
        judgement.finding = Finding::Ends;
    }
    Ok(judgement)
}

/// Whether missing data says something: the series was heard of, or ended, since the server began to listen, or the server
/// has listened for as long as data counts.
fn is_known_silent(rule: &Rule, series: &dyn Readings, case: &Case) -> Result<bool, ReadError> {
    let Some(since) = case.listening_since else {
        return Ok(true);
    };
    let has_listened = case.at.since(since) >= data_age_ms(rule, case);
    Ok(has_listened || series.newest(Window::new(since, case.at))?.is_some())
}

fn newest(series: &dyn Readings, window: Window) -> Result<Option<Sample>, ReadError> {
    let newest = series.newest(window)?;
    Ok(newest.filter(|sample| !is_stale_marker(sample.value)))
}

fn of_last(
    limit: &Limit,
    lookback_ms: i64,
    quorum: Option<Quorum>,
    least: usize,
    series: &dyn Readings,
    case: &Case,
) -> Result<Judgement, ReadError> {
    let Some(last) = newest(series, case.back(lookback_ms))? else {
        return Ok(Judgement::no_data());
    };
    let threshold = limit.in_force(case.is_firing);
    let breaches = |value: f64| limit.is_breached(value, case.is_firing);
    if quorum.is_none() && least <= 1 {
        return Ok(Judgement::of(breaches(last.value), last.value, threshold));
    }
    let of = quorum.map_or(1, |quorum| quorum.of as usize);
    let reach = case.interval_ms.saturating_mul(2 * of.max(least) as i64);
    let samples = series.samples(case.back(lookback_ms.max(reach)))?;
    if samples.len() < least {
        return Ok(Judgement::no_data());
    }
    let judged = &samples[samples.len().saturating_sub(of)..];
    let found = judged.iter().filter(|s| breaches(s.value)).count();
    let wanted = quorum.map_or(1, |quorum| quorum.breaches as usize);
    Ok(Judgement::of(found >= wanted, last.value, threshold))
}

fn of_window(
    limit: &Limit,
    aggregate: Aggregate,
    window_ms: i64,
    least: usize,
    series: &dyn Readings,
    case: &Case,
) -> Result<Judgement, ReadError> {
    let summary = series.summary(case.back(window_ms))?;
    let value = match aggregate {
        Aggregate::Count => Some(summary.samples as f64),
        _ if summary.samples < least as u64 => None,
        Aggregate::Avg => summary.mean(),
        Aggregate::Min => summary.min,
        Aggregate::Max => summary.max,
        Aggregate::Sum => (summary.numbers() > 0).then(|| summary.sum.to_f64()),
        Aggregate::Last => summary.last.map(|s| s.value),
    };
    let Some(value) = value else {
        return Ok(Judgement::no_data());
    };
    let holds = limit.is_breached(value, case.is_firing);
    Ok(Judgement::of(holds, value, limit.in_force(case.is_firing)))
}

/// Change per second: `(last - first) / elapsed` over real times, corrected for resets where it is a counter, and not
/// extrapolated.
fn of_rate(
    limit: &Limit,
    window_ms: Option<i64>,
    least: usize,
    series: &dyn Readings,
    case: &Case,
) -> Result<Judgement, ReadError> {
    let lookback_ms = case.lookback_ms(window_ms);
    if newest(series, case.back(lookback_ms))?.is_none() {
        return Ok(Judgement::no_data());
    }
    let is_counter = case.kind == MetricKind::Counter;
    let change = if window_ms.is_some() {
        let summary = series.summary(case.back(lookback_ms))?;
        let ends = summary.first.zip(summary.last);
        let change = if is_counter {
            summary.increased_by()
        } else {
            ends.map(|(first, last)| last.value - first.value)
        };
        let change = change.filter(|_| summary.samples >= least as u64);
        ends.zip(change)
            .map(|((first, last), change)| (change, last.time.since(first.time)))
    } else {
        let samples = series.samples(case.back(lookback_ms.saturating_mul(2)))?;
        if let [.., previous, last] = samples.as_slice() {
            let reset = is_counter && last.value < previous.value;
            let change = if reset {
                last.value
            } else {
                last.value - previous.value
            };
            Some((change, last.time.since(previous.time)))
        } else {
            None
        }
    };
    let Some((change, elapsed_ms)) = change.filter(|(_, elapsed)| *elapsed > 0) else {
        return Ok(Judgement::no_data());
    };
    let rate = change * 1000.0 / elapsed_ms as f64;
    let holds = limit.is_breached(rate, case.is_firing);
    Ok(Judgement::of(holds, rate, limit.in_force(case.is_firing)))
}

fn of_silence(
    window_ms: i64,
    known_for_ms: i64,
    series: &dyn Readings,
    case: &Case,
) -> Result<Judgement, ReadError> {
    if newest(series, case.back(window_ms))?.is_some() {
        return Ok(silence(false, None, case));
    }
    // An alert that fires goes on, however long it takes; one that would begin must be about something known.
    let reach = if case.is_open {
        Window::until(case.at)
    } else {
        case.back(known_for_ms)
    };
    let Some(last_seen) = series.last_seen(reach)? else {
        return Ok(silence(case.is_open, None, case));
    };
    Ok(silence(
        is_silent(last_seen, window_ms, case),
        Some(last_seen),
        case,
    ))
}

/// Whether it has been silent for long enough while somebody listened.
pub(super) fn is_silent(last_seen: Timestamp, window_ms: i64, case: &Case) -> bool {
    // What was silent before a restart is so after it; only a new alert needs somebody who listened.
    let listening = case.listening_since.filter(|_| !case.is_open);
    let since = listening.map_or(last_seen, |t| t.max(last_seen));
    case.at.since(since) >= window_ms
}

/// The judgement about something that is or is not silent.
pub(super) fn silence(holds: bool, last_seen: Option<Timestamp>, case: &Case) -> Judgement {
    Judgement {
        finding: if holds { Finding::Holds } else { Finding::Ends },
        value: last_seen.map(|last| case.at.since(last) as f64 / 1000.0),
        threshold: None,
        score: None,
        last_seen,
    }
}

fn of_anomaly(
    condition: &Condition,
    least: usize,
    series: &dyn Readings,
    case: &Case,
) -> Result<Judgement, ReadError> {
    let Condition::Anomaly {
        threshold,
        side,
        resolve_threshold,
        history_ms,
        season,
    } = condition
    else {
        return Ok(Judgement::no_data());
    };
    let lookback = case.back(case.lookback_ms(None));
    let last = newest(series, lookback)?.filter(|last| !last.value.is_nan());
    let request = BaselineRequest::of(case.at, *history_ms, *season);
    let Some(last) = last else {
        return Ok(Judgement::no_data());
    };
    let baseline = series.baseline(request)?;
    let Some(baseline) = baseline.filter(|baseline| baseline.samples >= least) else {
        return Ok(Judgement::no_data());
    };
    let score = baseline.score(last.value);
    let limit = Limit {
        operator: Operator::Greater,
        threshold: *threshold,
        resolve_threshold: *resolve_threshold,
    };
    let size = match side {
        Some(Operator::Less) => -score,
        Some(_) => score,
        None => score.abs(),
    };
    let holds = limit.is_breached(size, case.is_firing);
    Ok(Judgement {
        score: Some(score),
        ..Judgement::of(holds, last.value, limit.in_force(case.is_firing))
    })
}

/// The line through the window's samples by least squares, with its intercept at the moment that is judged, as
/// Prometheus' `predict_linear` has it. It is straight, so that it crosses the threshold on the way exactly if it
/// breaches now or at the end.
fn of_forecast(
    limit: &Limit,
    window_ms: i64,
    within_ms: i64,
    least: usize,
    series: &dyn Readings,
    case: &Case,
) -> Result<Judgement, ReadError> {
    if newest(series, case.back(case.lookback_ms(None).min(window_ms)))?.is_none() {
        return Ok(Judgement::no_data());
    }
    let samples = series.samples(case.back(window_ms))?;
    let Some((now, slope)) = line(&samples, case.at).filter(|_| samples.len() >= least) else {
        return Ok(Judgement::no_data());
    };
    let then = slope.mul_add(within_ms as f64 / 1000.0, now);
    let breaches = |value: f64| limit.is_breached(value, case.is_firing);
    let holds = breaches(now) || breaches(then);
    Ok(Judgement::of(holds, then, limit.in_force(case.is_firing)))
}

/// Value at `at` and change per second of the line through finite samples; `None` for fewer than two moments.
fn line(samples: &[Sample], at: Timestamp) -> Option<(f64, f64)> {
    let finite = || samples.iter().filter(|s| s.value.is_finite());
    let n = finite().count() as f64;
    let x = |s: &Sample| s.time.since(at) as f64 / 1000.0;
    let mean_x = finite().map(x).sum::<f64>() / n;
    let mean_y = finite().map(|s| s.value).sum::<f64>() / n;
    let (mut xx, mut xy) = (0.0, 0.0);
    for sample in finite() {
        let dx = x(sample) - mean_x;
        xx += dx * dx;
        xy += dx * (sample.value - mean_y);
    }
    if n < 2.0 || xx == 0.0 {
        return None;
    }
    let slope = xy / xx;
    Some((slope.mul_add(-mean_x, mean_y), slope))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_and_crosses_where_it_should() {
        let at = Timestamp::from_millis(100_000);
        let sample = |ago: i64, value| Sample {
            time: at.plus_millis(-1000 * ago),
            value,
        };
        let (now, slope) =
            line(&[sample(20, 10.0), sample(10, 20.0), sample(0, 30.0)], at).unwrap();
        assert!((now - 30.0).abs() < 1e-9 && (slope - 1.0).abs() < 1e-9);
        assert_eq!(line(&[sample(0, 1.0)], at), None);
        assert_eq!(line(&[sample(0, f64::NAN), sample(5, 1.0)], at), None);
    }
}
