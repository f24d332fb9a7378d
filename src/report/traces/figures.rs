//! The figures of traces as plain values.

use serde::Serialize;

use super::{
    super::shape,
    usage::{TokenTotals, TokensByModel},
};
use crate::model::Timestamp;

/// What an agent did in the traces of a window. Durations are of its spans that ended, in milliseconds, by nearest
/// rank; percentiles are off by at most 1 part in 64.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgentTraces {
    /// Traces that it took part in.
    pub traces: u64,
    /// Its spans that ended by the window's end.
    pub spans: u64,
    /// Those that failed.
    pub failed_spans: u64,
    /// Share of them that failed, 0 to 1; `None` of none.
    #[serde(serialize_with = "shape::maybe_number")]
    pub error_rate: Option<f64>,
    /// Half took no longer.
    #[serde(serialize_with = "shape::maybe_number")]
    pub p50_ms: Option<f64>,
    /// 95 % took no longer.
    #[serde(serialize_with = "shape::maybe_number")]
    pub p95_ms: Option<f64>,
    /// 99 % took no longer.
    #[serde(serialize_with = "shape::maybe_number")]
    pub p99_ms: Option<f64>,
    /// The longest, exact.
    #[serde(serialize_with = "shape::maybe_number")]
    pub max_ms: Option<f64>,
    /// Tokens and cost.
    #[serde(flatten)]
    pub usage: TokenTotals,
    /// The same by model.
    pub models: TokensByModel,
    /// Its spans that had not ended at the window's end.
    pub open_spans: u64,
    /// Those of them that had been open for more than ten minutes.
    #[serde(skip)]
    pub overdue_spans: u64,
    /// Seconds since the first of them began.
    #[serde(serialize_with = "shape::maybe_short_number")]
    pub oldest_open_seconds: Option<f64>,
    /// Its own time on the critical paths of its traces, milliseconds.
    #[serde(serialize_with = "shape::number")]
    pub critical_path_ms: f64,
    /// Share of those paths that this is, 0 to 1; `None` where they have no length.
    #[serde(serialize_with = "shape::maybe_number")]
    pub critical_path_share: Option<f64>,
    /// Traces that other agents took part in too.
    pub shared_traces: u64,
    /// Its share of the critical paths of these.
    #[serde(serialize_with = "shape::maybe_number")]
    pub shared_critical_path_share: Option<f64>,
    /// Whether all traces of the window are in the figures.
    pub traces_complete: bool,
    /// Path of the HTTP API that shows the traces.
    pub query: String,
}

/// What the traces of a window add up to. In a report about one agent they are those that it took part in, and the
/// spans are its own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SystemTraces {
    /// Traces that began in the window.
    pub traces: u64,
    /// Those with a span that failed.
    pub failed_traces: u64,
    /// Spans that ended by the window's end.
    pub spans: u64,
    /// Those that failed.
    pub failed_spans: u64,
    /// Share of the spans that failed, 0 to 1; `None` of none.
    #[serde(serialize_with = "shape::maybe_number")]
    pub error_rate: Option<f64>,
    /// Half of the traces without open spans took no longer, milliseconds from their first start to their last end.
    #[serde(serialize_with = "shape::maybe_number")]
    pub p50_duration_ms: Option<f64>,
    /// 95 % of them took no longer.
    #[serde(serialize_with = "shape::maybe_number")]
    pub p95_duration_ms: Option<f64>,
    /// Tokens and cost.
    #[serde(flatten)]
    pub usage: TokenTotals,
    /// The same by model.
    pub models: TokensByModel,
    /// Spans that had not ended at the window's end.
    pub open_spans: u64,
    /// Seconds since the first of them began.
    #[serde(serialize_with = "shape::maybe_short_number")]
    pub oldest_open_seconds: Option<f64>,
    /// Whether all traces of the window are in the figures: not where it has too many, or where some cannot be read.
    pub traces_complete: bool,
    /// First start of a trace that is in the figures, where older ones of the window are left out.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "shape::maybe_text"
    )]
    pub traces_from: Option<Timestamp>,
    /// Why some traces cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
    /// Path of the HTTP API that shows the traces.
    pub query: String,
}

/// A share of a whole; `None` of nothing.
pub(super) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
