//! Series that longwatch derives from spans: rate, errors and duration by operation, tokens, the service graph.

mod buckets;
mod by_agent;
mod series;

pub use by_agent::SpanMetrics;
