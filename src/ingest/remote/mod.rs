//! Wire formats of metrics that name their own labels -> [`crate::model::Batch`] by agent: Prometheus remote write 1.0
//! and 2.0, OTLP in protobuf and JSON; and remote write 1.0 as it is sent on.
//!
//! A series or point that cannot be taken is counted and named, and never takes the others of its body along. Nothing
//! allocates by a size that the input declares.

mod agent_rule;
mod classic;
mod delta;
mod dump;
mod exponential;
mod intake;
mod native_histogram;
mod otlp_intake;
mod otlp_labels;
mod otlp_metrics;
mod otlp_metrics_json;
mod otlp_names;
mod otlp_point;
mod received;
mod remote_write;
mod remote_write_out;
mod response;
mod series_cache;
mod snappy;
mod wire;
mod write_v1;
mod write_v2;

#[cfg(test)]
mod tests;

pub use agent_rule::{AgentRule, BadAgentRule};
pub use delta::{Accumulated, Accumulator};
pub use dump::{DumpReader, put_json_line, put_openmetrics};
pub use otlp_metrics::parse_otlp_metrics_protobuf;
pub use otlp_metrics_json::parse_otlp_metrics_json;
pub use received::{Deltas, ReceivedMetrics};
pub use remote_write::{BadRemoteWrite, RemoteWriteVersion, parse_remote_write};
pub use remote_write_out::{write_metadata_v1, write_request_v1};
pub use response::otlp_metrics_response;
pub use series_cache::SeriesCache;
pub use snappy::{BadSnappy, REMOTE_WRITE_BYTES_MAX, snappy, unsnappy};
