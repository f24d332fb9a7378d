//! Wire formats of traces <-> [`crate::model::Span`]: OTLP in protobuf and JSON, Zipkin v2, Jaeger's JSON.
//!
//! A span that cannot be taken is counted and named, and never takes the others of its body along. Nothing recurses
//! over its input but values of attributes, to a fixed depth.

mod intake;
mod json_body;
mod json_fields;
mod limits;
mod otlp;
mod otlp_json;
mod received;
mod response;
mod wire;
mod words;
mod write_otlp;

#[cfg(test)]
mod tests;

pub use limits::{NESTING_MAX, SpanLimits};
pub use otlp::parse_otlp_protobuf;
pub use otlp_json::parse_otlp_json;
pub use received::{PartialEvent, Received, ReceivedLogs, SPAN_ERRORS_MAX};
pub use response::{OtlpFormat, RpcStatus, otlp_error, otlp_logs_response, otlp_response};
pub use write_otlp::{to_otlp_json, to_otlp_protobuf};
