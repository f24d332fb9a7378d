//! Attributes of OpenTelemetry as labels.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};

use super::otlp_names::label_name;
use crate::ingest::{NESTING_MAX, shown::Shown};

/// Labels and their values, sorted by name.
pub(super) type OwnedLabels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// The labels of attributes, without those for which `is_taken` says that their name has another value. Values whose
/// names become the same are joined by `;` in the order of the attributes' names; empty ones make no label.
pub(super) fn labels_of<'a>(
    attributes: &'a [KeyValue],
    is_taken: impl Fn(&str) -> bool,
) -> Result<OwnedLabels<'a>, String> {
    let mut told = Vec::with_capacity(attributes.len());
    for KeyValue { key, value, .. } in attributes {
        let value = value.as_ref().map(text_of).unwrap_or_default();
        if value.is_empty() {
            continue;
        }
        let name = label_name(key).ok_or_else(|| {
            let key = Shown(key);
            format!("attribute {key} has no letter or digit that a label's name may have")
        })?;
        if !is_taken(&name) {
            told.push((name, key.as_str(), value));
        }
    }
    told.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    let mut labels: OwnedLabels<'a> = Vec::with_capacity(told.len());
    for (name, _, value) in told {
        match labels.last_mut() {
            Some((last, joined)) if *last == name => {
                let joined = joined.to_mut();
                joined.push(';');
                joined.push_str(&value);
            }
            _ => labels.push((name, value)),
        }
    }
    Ok(labels)
}

/// The text of a value: text bare, bytes in Base64, lists and maps as JSON.
pub(super) fn text_of(value: &AnyValue) -> Cow<'_, str> {
    match &value.value {
        Some(Value::StringValue(text)) => Cow::Borrowed(text),
        Some(Value::BoolValue(is)) => Cow::Borrowed(if *is { "true" } else { "false" }),
        Some(Value::IntValue(number)) => Cow::Owned(number.to_string()),
        Some(Value::DoubleValue(number)) => Cow::Owned(number.to_string()),
        Some(Value::BytesValue(bytes)) => Cow::Owned(BASE64.encode(bytes)),
        Some(Value::ArrayValue(_) | Value::KvlistValue(_)) => {
            Cow::Owned(json_of(value, 0).to_string())
        }
        None | Some(Value::StringValueStrindex(_)) => Cow::Borrowed(""),
    }
}

/// The value as JSON; what lies deeper than is ever read is null. Recurses [`NESTING_MAX`] levels at most.
fn json_of(value: &AnyValue, level: usize) -> serde_json::Value {
    use serde_json::Value as Json;
    if level > NESTING_MAX {
        return Json::Null;
    }
    match &value.value {
        None => Json::Null,
        Some(Value::BoolValue(is)) => Json::from(*is),
        Some(Value::IntValue(number)) => Json::from(*number),
        Some(Value::DoubleValue(number)) if number.is_finite() => Json::from(*number),
        Some(Value::ArrayValue(list)) => {
            let values = list.values.iter();
            values.map(|value| json_of(value, level + 1)).collect()
        }
        Some(Value::KvlistValue(map)) => {
            let pairs = map.values.iter().map(|pair| {
                let value = pair.value.as_ref();
                let value = value.map_or(Json::Null, |value| json_of(value, level + 1));
                (pair.key.clone(), value)
            });
            Json::Object(pairs.collect())
        }
        _ => Json::from(&*text_of(value)),
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};

    use super::*;

    fn pair(key: &str, value: Value) -> KeyValue {
        KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        }
    }

    fn text(key: &str, text: &str) -> KeyValue {
        pair(key, Value::StringValue(text.to_owned()))
    }

    #[test]
    fn names_that_become_the_same_share_a_label() {
        let attributes = [
            text("b", "3"),
            text("a_b", "2"),
            text("a.b", "1"),
            text("job", "x"),
            text("empty", ""),
            KeyValue::default(),
        ];
        let labels = labels_of(&attributes, |name| name == "job").unwrap();
        let labels: Vec<_> = labels.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(labels, [("a_b", "1;2"), ("b", "3")]);
        assert_eq!(
            labels_of(&[text("é", "1")], |_| false).unwrap_err(),
            "attribute `é` has no letter or digit that a label's name may have"
        );
    }

    #[test]
    fn any_value_has_a_text() {
        let mut deep = Value::BoolValue(true);
        for _ in 0..90 {
            let values = vec![AnyValue { value: Some(deep) }];
            deep = Value::ArrayValue(ArrayValue { values });
        }
        let map = KeyValueList {
            values: vec![text("k", "v"), pair("n", Value::DoubleValue(f64::NAN))],
        };
        for (value, expected) in [
            (Value::BoolValue(true), "true"),
            (Value::IntValue(-7), "-7"),
            (Value::DoubleValue(1.5), "1.5"),
            (Value::DoubleValue(2.0), "2"),
            (Value::BytesValue(vec![1, 2]), "AQI="),
            (Value::KvlistValue(map), r#"{"k":"v","n":"NaN"}"#),
            (deep, &format!("{}null{}", "[".repeat(25), "]".repeat(25))),
        ] {
            assert_eq!(text_of(&AnyValue { value: Some(value) }), expected);
        }
    }
}
