//! Named limits on what is taken in. Each can be set under `[limits]` of the configuration.

/// Limits on series and their labels. Bodies are limited where they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Series one agent may have; a runaway label must not take the others' place.
    pub series_per_agent: usize,
    /// Series of the whole file; the index takes about 300 bytes each.
    pub series_total: usize,
    /// Labels one series may have.
    pub labels_per_series: usize,
    /// Bytes of a label's name.
    pub label_name_bytes: usize,
    /// Bytes of a label's value.
    pub label_value_bytes: usize,
    /// Bytes of a metric's name.
    pub metric_name_bytes: usize,
    /// Agents of the whole file, those that were deregistered included.
    pub agents_total: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            series_per_agent: 10_000,
            series_total: 1_000_000,
            labels_per_series: 64,
            label_name_bytes: 256,
            label_value_bytes: 4_096,
            metric_name_bytes: 256,
            agents_total: 100_000,
        }
    }
}
