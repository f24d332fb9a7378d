//! Wire formats of traces <-> [`crate::model::Span`]: OTLP in protobuf and JSON, Zipkin v2, Jaeger's JSON.
//!
//! A span that cannot be taken is counted and named, and never takes the others of its body along. Nothing recurses
//! over its input but values of attributes, to a fixed depth.

mod agent;
mod intake;
mod jaeger;
pub(super) mod json_body;
pub(super) mod json_fields;
mod limits;
mod logs;
mod otlp;
pub(super) mod otlp_json;
mod received;
pub(super) mod response;
mod tags;
mod wire;
mod words;
mod write_jaeger;
mod write_otlp;
mod zipkin;

#[cfg(test)]
mod tests;

pub use agent::resolve_agents;
pub use jaeger::parse_jaeger_json;
pub use limits::{NESTING_MAX, SpanLimits};
pub use logs::{parse_otlp_logs_json, parse_otlp_logs_protobuf};
pub use otlp::parse_otlp_protobuf;
pub use otlp_json::parse_otlp_json;
pub use received::{PartialEvent, Received, ReceivedLogs, SPAN_ERRORS_MAX};
pub use response::{OtlpFormat, RpcStatus, otlp_error, otlp_logs_response, otlp_response};
pub use write_jaeger::to_jaeger_json;
pub use write_otlp::{to_otlp_json, to_otlp_protobuf};
pub use zipkin::parse_zipkin;
