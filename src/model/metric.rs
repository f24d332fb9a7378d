//! Metric kinds, samples, the stale marker, and the names that longwatch itself writes.

use std::fmt;

use super::Timestamp;

/// The NaN that ends a series: bits of Prometheus' stale marker. Compare bits, never values.
pub const STALE_MARKER: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Whether the value is the stale marker. Other NaNs are ordinary values.
pub const fn is_stale_marker(value: f64) -> bool {
    value.to_bits() == STALE_MARKER.to_bits()
}

/// The smaller of two numbers; -0 is smaller than 0, so that the answer does not depend on the order.
pub fn lesser(a: f64, b: f64) -> f64 {
    if b.total_cmp(&a).is_lt() { b } else { a }
}

/// The larger of two numbers; 0 is larger than -0.
pub fn greater(a: f64, b: f64) -> f64 {
    if b.total_cmp(&a).is_gt() { b } else { a }
}

/// One value at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When.
    pub time: Timestamp,
    /// What.
    pub value: f64,
}

/// Kind of a metric. Metadata, not identity: the last one told wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MetricKind {
    /// Cumulative; falls only when its source restarts.
    Counter,
    /// May go up and down.
    #[default]
    Gauge,
    /// Buckets, sum and count; or a single value of such a distribution.
    Histogram,
    /// Quantiles, sum and count; or a single value.
    Summary,
    /// Prometheus `untyped`, OpenMetrics `unknown`.
    Unknown,
    /// OpenMetrics `info`.
    Info,
    /// OpenMetrics `stateset`.
    StateSet,
    /// OpenMetrics `gaugehistogram`.
    GaugeHistogram,
}

/// A word that is no kind of metric.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown metric type `{0}`: expected counter, gauge, histogram or summary")]
pub struct UnknownKind(pub String);

impl MetricKind {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Unknown => "unknown",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::GaugeHistogram => "gaugehistogram",
        }
    }

    /// Kinds that a push or the JSON document may name: counter, gauge, histogram, summary.
    pub fn parse_native(word: &str) -> Result<Self, UnknownKind> {
        match word {
            "counter" => Ok(Self::Counter),
            "gauge" => Ok(Self::Gauge),
            "histogram" => Ok(Self::Histogram),
            "summary" => Ok(Self::Summary),
            other => Err(UnknownKind(other.to_owned())),
        }
    }
}

impl fmt::Display for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names of the series that longwatch writes about agents.
pub mod names {
    /// 1 or 0: whether the agent answered. Every contact and every failed scrape is one sample.
    pub const UP: &str = "up";
    /// 1 or 0: whether the health endpoint answered with success.
    pub const HEALTH_PROBE_UP: &str = "health_probe_up";
    /// 1 or 0: whether the process of an agent with a pid is there.
    pub const PROCESS_UP: &str = "process_up";
    /// 1 at a push or heartbeat of an agent that is also scraped, or whose process is sampled.
    pub const AGENT_CONTACT: &str = "agent_contact";
    /// 0 to 100, recorded every minute.
    pub const AGENT_HEALTH_SCORE: &str = "agent_health_score";
    /// Percent of the host (or of the process's share of it), 0 to 100.
    pub const SYSTEM_CPU_USAGE: &str = "system_cpu_usage";
    /// Percent of the host's memory, 0 to 100.
    pub const SYSTEM_MEMORY_USAGE: &str = "system_memory_usage";
    /// Bytes since the host started, label direction=sent.
    pub const NETWORK_BYTES_SENT: &str = "network_bytes_sent";
    /// Bytes since the host started, label direction=received.
    pub const NETWORK_BYTES_RECV: &str = "network_bytes_recv";
    /// Seconds that a scrape took.
    pub const SCRAPE_DURATION_SECONDS: &str = "scrape_duration_seconds";
    /// Samples that a scrape's body held.
    pub const SCRAPE_SAMPLES_SCRAPED: &str = "scrape_samples_scraped";
    /// Samples of a scrape that were kept.
    pub const SCRAPE_SAMPLES_POST_METRIC_RELABELING: &str = "scrape_samples_post_metric_relabeling";
    /// Series of a scrape that were new.
    pub const SCRAPE_SERIES_ADDED: &str = "scrape_series_added";
}

/// Whether longwatch derives the series itself, so that totals of collected metrics leave it out:
/// `up`, `health_probe_up`, `process_up`, `agent_contact`, `scrape_*`, `agent_health_score`, `ALERTS*` and span metrics.
pub fn is_derived_metric(name: &str) -> bool {
    matches!(
        name,
        names::UP
            | names::HEALTH_PROBE_UP
            | names::PROCESS_UP
            | names::AGENT_CONTACT
            | names::AGENT_HEALTH_SCORE
            | names::SCRAPE_DURATION_SECONDS
            | names::SCRAPE_SAMPLES_SCRAPED
            | names::SCRAPE_SAMPLES_POST_METRIC_RELABELING
            | names::SCRAPE_SERIES_ADDED
            | "ALERTS"
            | "ALERTS_FOR_STATE"
    ) || name.starts_with("traces_spanmetrics_")
        || name.starts_with("traces_service_graph_")
}
