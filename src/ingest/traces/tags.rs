//! Tags of formats older than OTLP, and what exporters of OpenTelemetry say by them.
//! <https://opentelemetry.io/docs/specs/otel/common/mapping-to-non-otlp/>

use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};

use crate::model::{AttributeValue, Scope, Span, SpanId, SpanKind, SpanStatus, TraceId};

/// Tags that Jaeger, Zipkin and longwatch's own writer of Jaeger's form agree on.
pub(super) mod names {
    pub(in crate::ingest::traces) const SCOPE_NAME: &str = "otel.scope.name";
    pub(in crate::ingest::traces) const SCOPE_VERSION: &str = "otel.scope.version";
    pub(in crate::ingest::traces) const KIND: &str = "span.kind";
    pub(in crate::ingest::traces) const STATUS_CODE: &str = "otel.status_code";
    pub(in crate::ingest::traces) const STATUS_DESCRIPTION: &str = "otel.status_description";
    pub(in crate::ingest::traces) const ERROR: &str = "error";
    pub(in crate::ingest::traces) const TRACE_STATE: &str = "w3c.tracestate";
}

/// The number of 1 to `digits_max` hexadecimal digits; older clients leave zeros out at the front.
fn number(text: &str, digits_max: usize) -> Option<u128> {
    let is_hex = (1..=digits_max).contains(&text.len())
        && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then(|| u128::from_str_radix(text, 16).ok())?
}

/// An id as messages show it, whatever it is.
pub(super) fn shown_id(text: &str) -> String {
    let visible = text.chars().filter(char::is_ascii_graphic);
    visible.take(32).collect()
}

/// A trace's id of 32 digits or fewer.
pub(super) fn trace_id(text: &str) -> Result<TraceId, String> {
    number(text, 32).and_then(TraceId::new).ok_or_else(|| {
        "its trace id is not 1 to 32 hexadecimal digits, one of them not 0".to_owned()
    })
}

/// A span's id of 16 digits or fewer.
pub(super) fn span_id(text: &str) -> Result<SpanId, String> {
    number(text, 16)
        .and_then(|number| SpanId::new(number as u64))
        .ok_or_else(|| "its id is not 1 to 16 hexadecimal digits, one of them not 0".to_owned())
}

/// A parent's id, where there is one.
pub(super) fn parent_id(text: &str) -> Result<Option<SpanId>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let number = number(text, 16).ok_or("its parent's id is not 1 to 16 hexadecimal digits")?;
    Ok(SpanId::new(number as u64))
}

/// Nanoseconds of microseconds.
pub(super) fn nanoseconds(what: &str, microseconds: u64) -> Result<u64, String> {
    microseconds
        .checked_mul(1000)
        .ok_or_else(|| format!("its {what} {microseconds} us lies beyond what 64 bits hold"))
}

/// An attribute of OTLP.
pub(super) fn pair(key: impl Into<String>, value: Value) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// Moves what exporters say by tags to where the model has it.
pub(super) fn understand_tags(span: &mut Span) {
    let mut take = |names: &[&str]| {
        let values = names.iter().filter_map(|name| span.attributes.remove(name));
        let mut texts = values.filter_map(|value| match value {
            AttributeValue::Text(text) => Some(text),
            _ => None,
        });
        texts.next()
    };
    let name = take(&[names::SCOPE_NAME, "otel.library.name"]);
    let version = take(&[names::SCOPE_VERSION, "otel.library.version"]);
    let kind = take(&[names::KIND]);
    let trace_state = take(&[names::TRACE_STATE]);
    let code = take(&[names::STATUS_CODE]);
    let description = take(&[names::STATUS_DESCRIPTION]);
    if name.is_some() || version.is_some() {
        span.scope = Arc::new(Scope {
            name: name.unwrap_or_default(),
            version: version.unwrap_or_default(),
            ..Scope::default()
        });
    }
    if let Some(kind) = kind.and_then(|kind| SpanKind::of_name(&kind)) {
        span.kind = kind;
    }
    if let Some(trace_state) = trace_state {
        span.trace_state = trace_state;
    }
    let is_code = |name: &str| {
        code.as_deref()
            .is_some_and(|c| c.eq_ignore_ascii_case(name))
    };
    let error = span.attributes.get(names::ERROR);
    let is_error = match error {
        Some(AttributeValue::Bool(is)) => *is,
        Some(AttributeValue::Text(text)) => !text.eq_ignore_ascii_case("false"),
        _ => false,
    };
    if is_code("OK") {
        span.status = SpanStatus::Ok;
    } else if is_code("ERROR") || is_error {
        span.status = SpanStatus::Error;
    }
    let told = error.and_then(AttributeValue::as_text);
    let told = told.filter(|text| is_error && !text.eq_ignore_ascii_case("true"));
    if let Some(message) = description.or_else(|| told.map(Arc::from)) {
        span.status_message = message;
    }
    if error == Some(&AttributeValue::Bool(true)) && span.status == SpanStatus::Error {
        span.attributes.remove(names::ERROR);
    }
}
