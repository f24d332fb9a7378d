//! What a client of OTLP metrics is answered.

use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use prost::Message;

use super::ReceivedMetrics;
use crate::ingest::{OtlpFormat, traces::response::partial_success};

/// The answer to a body of metrics that was taken, wholly or in part.
pub fn otlp_metrics_response(received: &ReceivedMetrics, format: OtlpFormat) -> Vec<u8> {
    let rejected = i64::try_from(received.rejected).unwrap_or(i64::MAX);
    let message = received.message();
    match format {
        OtlpFormat::Protobuf => ExportMetricsServiceResponse {
            partial_success: (!message.is_empty()).then_some(ExportMetricsPartialSuccess {
                rejected_data_points: rejected,
                error_message: message,
            }),
        }
        .encode_to_vec(),
        OtlpFormat::Json => partial_success("rejectedDataPoints", rejected, &message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejected_points_are_told() {
        let mut received = ReceivedMetrics::default();
        let json = |received: &ReceivedMetrics| {
            String::from_utf8(otlp_metrics_response(received, OtlpFormat::Json)).unwrap()
        };
        assert_eq!(json(&received), r#"{"partialSuccess":{}}"#);
        assert!(otlp_metrics_response(&received, OtlpFormat::Protobuf).is_empty());
        received.reject(2, || "metric `m`: why".to_owned());
        assert_eq!(
            json(&received),
            r#"{"partialSuccess":{"errorMessage":"2 rejected: metric `m`: why","rejectedDataPoints":"2"}}"#
        );
        let bytes = otlp_metrics_response(&received, OtlpFormat::Protobuf);
        let response = ExportMetricsServiceResponse::decode(&*bytes).unwrap();
        assert_eq!(response.partial_success.unwrap().rejected_data_points, 2);
    }
}
