//! What a client of OTLP is answered.

use opentelemetry_proto::tonic::collector::{
    logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse},
    trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse},
};
use prost::Message;
use serde_json::json;

use super::{Received, ReceivedLogs};

/// How OTLP over HTTP is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpFormat {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

impl OtlpFormat {
    /// The media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    /// The format of a `Content-Type`, parameters or none; `None` for another.
    pub fn of_media_type(content_type: &str) -> Option<Self> {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        let is = |name: &str| media.eq_ignore_ascii_case(name);
        if is("application/x-protobuf") || is("application/protobuf") {
            Some(Self::Protobuf)
        } else {
            is("application/json").then_some(Self::Json)
        }
    }
}

/// The answer to a body of spans that was taken, wholly or in part.
pub fn otlp_response(received: &Received, format: OtlpFormat) -> Vec<u8> {
    let rejected = i64::try_from(received.rejected).unwrap_or(i64::MAX);
    let message = received.message();
    let is_whole = rejected == 0 && message.is_empty();
    match format {
        OtlpFormat::Protobuf => ExportTraceServiceResponse {
            partial_success: (!is_whole).then_some(ExportTracePartialSuccess {
                rejected_spans: rejected,
                error_message: message,
            }),
        }
        .encode_to_vec(),
        OtlpFormat::Json => partial_success("rejectedSpans", rejected, &message),
    }
}

/// The answer to a body of log records.
pub fn otlp_logs_response(received: &ReceivedLogs, format: OtlpFormat) -> Vec<u8> {
    let rejected = i64::try_from(received.rejected).unwrap_or(i64::MAX);
    let message = received.message();
    let is_whole = rejected == 0 && message.is_empty();
    match format {
        OtlpFormat::Protobuf => ExportLogsServiceResponse {
            partial_success: (!is_whole).then_some(ExportLogsPartialSuccess {
                rejected_log_records: rejected,
                error_message: message,
            }),
        }
        .encode_to_vec(),
        OtlpFormat::Json => partial_success("rejectedLogRecords", rejected, &message),
    }
}

pub(in crate::ingest) fn partial_success(key: &str, rejected: i64, message: &str) -> Vec<u8> {
    let mut partial = serde_json::Map::new();
    if rejected > 0 {
        partial.insert(key.to_owned(), rejected.to_string().into());
    }
    if !message.is_empty() {
        partial.insert("errorMessage".to_owned(), message.into());
    }
    json!({ "partialSuccess": partial })
        .to_string()
        .into_bytes()
}

/// `google.rpc.Status` without details, which OTLP answers failures with.
/// <https://github.com/googleapis/googleapis/blob/master/google/rpc/status.proto>
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RpcStatus {
    /// A number of `google.rpc.Code`, e.g. 3 for a bad argument.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// What is wrong.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// The answer to a body that was refused; `code` is a number of `google.rpc.Code`.
pub fn otlp_error(format: OtlpFormat, code: i32, message: &str) -> Vec<u8> {
    match format {
        OtlpFormat::Protobuf => RpcStatus {
            code,
            message: message.to_owned(),
        }
        .encode_to_vec(),
        OtlpFormat::Json => json!({"code": code, "message": message})
            .to_string()
            .into_bytes(),
    }
}
