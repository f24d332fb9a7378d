//! What programs tell of spans that have not ended, as log records of OTLP.
//!
//! `partial-span-processor` sends for each open span a record with the attribute `partial.event`, `heartbeat` while it
//! runs and `stop` once it has ended; the body is the span as OTLP JSON.

use std::sync::Arc;

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::LogRecord,
    resource::v1::Resource as OtlpResource,
};
use prost::Message;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    PartialEvent, ReceivedLogs, SPAN_ERRORS_MAX, SpanLimits,
    intake::Intake,
    json_body::JsonBody,
    json_fields::{any_value, attributes, id, list},
    otlp::{Scoped, each_group},
    otlp_json::{JsonResource, parse_otlp_json},
};
use crate::{
    ingest::BodyError,
    model::{Resource, SpanId, TraceId},
};

/// Attribute that says what a record tells of a span.
const PARTIAL_EVENT: &str = "partial.event";

/// Reads a body of log records in protobuf, an `ExportLogsServiceRequest`. Records that are not about open spans are
/// counted and ignored.
///
/// # Errors
/// [`BodyError::Refused`] when the body is no such message, [`BodyError::Limit`] when it has too many records.
pub fn parse_otlp_logs_protobuf(
    body: &[u8],
    limits: &SpanLimits,
) -> Result<ReceivedLogs, BodyError> {
    let mut records = Records::new(limits);
    each_group(body, |group| {
        records.resource(group.resource);
        for scoped in group.scoped {
            for bytes in Scoped::read(scoped)?.items {
                records.take(LogRecord::decode(bytes).map_err(|error| error.to_string()))?;
            }
        }
        Ok(())
    })?;
    Ok(records.received)
}

/// The same as [`parse_otlp_logs_protobuf`] in JSON.
///
/// # Errors
/// [`BodyError::Syntax`] when the body is no JSON of that form, [`BodyError::Limit`] when it has too many records.
pub fn parse_otlp_logs_json(body: &[u8], limits: &SpanLimits) -> Result<ReceivedLogs, BodyError> {
    let body = JsonBody::new(body);
    let document: Logs<'_> = body.read(b'{')?;
    let mut records = Records::new(limits);
    for group in document.resource_logs {
        records.resource(group.resource.map(OtlpResource::from));
        for record in group.scope_logs.into_iter().flat_map(|s| s.log_records) {
            let record = body.part::<JsonRecord>(record, records.keeps_reasons());
            records.take(record.map(LogRecord::from))?;
        }
    }
    Ok(records.received)
}

struct Records<'l> {
    limits: &'l SpanLimits,
    received: ReceivedLogs,
    met: usize,
    resource: Arc<Resource>,
}

impl<'l> Records<'l> {
    fn new(limits: &'l SpanLimits) -> Self {
        Self {
            limits,
            received: ReceivedLogs::default(),
            met: 0,
            resource: Arc::default(),
        }
    }

    /// What sent the records that follow.
    fn resource(&mut self, told: Option<OtlpResource>) {
        self.resource = Intake::new(self.limits).resource(told.unwrap_or_default(), "");
    }

    fn keeps_reasons(&self) -> bool {
        self.received.errors.len() < SPAN_ERRORS_MAX
    }

    fn take(&mut self, record: Result<LogRecord, String>) -> Result<(), BodyError> {
        let at = self.met;
        self.met += 1;
        if at >= self.limits.spans {
            return Err(BodyError::Limit(format!(
                "the body has more than {at} log records; send them in parts"
            )));
        }
        if let Err(reason) = record.and_then(|record| self.record(&record)) {
            self.received.rejected += 1;
            if self.keeps_reasons() {
                let error = format!("log record {at}: {reason}");
                self.received.errors.push(error);
            }
        }
        Ok(())
    }

    fn record(&mut self, record: &LogRecord) -> Result<(), String> {
        let is_stop = match text(record.attributes.iter().find_map(|pair| {
            let is_event = pair.key == PARTIAL_EVENT;
            is_event.then_some(pair.value.as_ref())?
        })) {
            Some("heartbeat") => false,
            Some("stop") => true,
            _ => {
                self.received.ignored += 1;
                return Ok(());
            }
        };
        let ids = TraceId::from_bytes(&record.trace_id).zip(SpanId::from_bytes(&record.span_id));
        let Some(body) = text(record.body.as_ref()) else {
            let (trace, span) = ids
                .filter(|_| is_stop)
                .ok_or("its body is not the text of a span in OTLP JSON")?;
            let event = PartialEvent::Stopped(trace, span);
            self.received.events.push(event);
            return Ok(());
        };
        let told = parse_otlp_json(body.as_bytes(), self.limits)
            .map_err(|error| format!("its body: {error}"))?;
        if told.spans.is_empty() {
            return Err("its body holds no span".to_owned());
        }
        for mut span in told.spans {
            let event = if is_stop {
                PartialEvent::Stopped(span.trace_id, span.span_id)
            } else {
                span.end_ns = None;
                if *span.resource == Resource::default() {
                    span.resource = Arc::clone(&self.resource);
                }
                PartialEvent::Open(Box::new(span))
            };
            self.received.events.push(event);
        }
        Ok(())
    }
}

fn text(value: Option<&AnyValue>) -> Option<&str> {
    match value?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

#[derive(Deserialize)]
struct Logs<'a> {
    #[serde(borrow, default, deserialize_with = "list")]
    #[serde(rename = "resourceLogs", alias = "resource_logs")]
    resource_logs: Vec<ResourceLogs<'a>>,
}

#[derive(Deserialize)]
struct ResourceLogs<'a> {
    #[serde(default)]
    resource: Option<JsonResource>,
    #[serde(borrow, default, deserialize_with = "list")]
    #[serde(rename = "scopeLogs", alias = "scope_logs")]
    scope_logs: Vec<ScopeLogs<'a>>,
}

#[derive(Deserialize)]
struct ScopeLogs<'a> {
    #[serde(borrow, default, deserialize_with = "list")]
    #[serde(rename = "logRecords", alias = "log_records")]
    log_records: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct JsonRecord {
    #[serde(default, deserialize_with = "attributes")]
    attributes: Vec<KeyValue>,
    #[serde(default, deserialize_with = "any_value")]
    body: Option<AnyValue>,
    #[serde(default, deserialize_with = "id")]
    #[serde(rename = "traceId", alias = "trace_id")]
    trace_id: Vec<u8>,
    #[serde(default, deserialize_with = "id")]
    #[serde(rename = "spanId", alias = "span_id")]
    span_id: Vec<u8>,
}

impl From<JsonRecord> for LogRecord {
    fn from(told: JsonRecord) -> Self {
        Self {
            attributes: told.attributes,
            body: told.body,
            trace_id: told.trace_id,
            span_id: told.span_id,
            ..Self::default()
        }
    }
}
