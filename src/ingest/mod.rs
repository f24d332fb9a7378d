//! Wire formats -> [`crate::model::Batch`]: the native JSON document, Prometheus text 0.0.4 and
//! OpenMetrics 1.0, remote write and OTLP, and the encodings that bodies come in; formats of traces <->
//! [`crate::model::Span`].
//!
//! Nothing here recurses over its input, nothing allocates by a size that the input declares, and
//! every pass over a body is linear in its length.

mod byte_set;
mod encoding;
mod family;
mod histogram;
mod json_metric;
mod json_push;
mod line;
mod number;
mod openmetrics;
mod parsed;
mod remote;
mod rows;
mod scrape;
mod shown;
mod text;
mod traces;

pub use encoding::decompress;
pub use json_push::parse_push;
pub use parsed::{BodyError, Parsed, ROW_ERRORS_MAX, RowError, SAMPLES_PER_BODY_MAX};
pub use remote::{
    Accumulated, Accumulator, AgentRule, BadAgentRule, BadRemoteWrite, BadSnappy, Deltas,
    DumpReader, REMOTE_WRITE_BYTES_MAX, ReceivedMetrics, RemoteWriteVersion, SeriesCache,
    otlp_metrics_response, parse_otlp_metrics_json, parse_otlp_metrics_protobuf,
    parse_remote_write, put_json_line, put_openmetrics, snappy, unsnappy, write_metadata_v1,
    write_request_v1,
};
pub use scrape::parse_scrape;
pub use traces::{
    NESTING_MAX, OtlpFormat, PartialEvent, Received, ReceivedLogs, RpcStatus, SPAN_ERRORS_MAX,
    SpanLimits, otlp_error, otlp_logs_response, otlp_response, parse_jaeger_json, parse_otlp_json,
    parse_otlp_logs_json, parse_otlp_logs_protobuf, parse_otlp_protobuf, parse_zipkin,
    resolve_agents, to_jaeger_json, to_otlp_json, to_otlp_protobuf,
};
