//! Series that longwatch derives from spans: rate, errors and duration by operation, tokens, the service graph.

mod buckets;
mod series;
mod span_metrics;

pub use span_metrics::SpanMetrics;
