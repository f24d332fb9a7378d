//! How values look in JSON: doubles that JSON cannot write, whole numbers, times, maps in a fixed order.

#![expect(
    clippy::trivially_copy_pass_by_ref,
    clippy::ref_option,
    reason = "serde hands every field over by reference"
)]

use std::fmt::Display;

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

/// Doubles that are whole and below this lose nothing as integers (2^53).
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// The word for a double that JSON has no number for.
pub(super) const fn word_for(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value == f64::INFINITY {
        Some("+Inf")
    } else if value == f64::NEG_INFINITY {
        Some("-Inf")
    } else {
        None
    }
}

/// A double; NaN and infinities as words.
pub(super) fn number<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match word_for(*value) {
        Some(word) => serializer.serialize_str(word),
        None => serializer.serialize_f64(*value),
    }
}

/// A double or null.
pub(super) fn maybe_number<S: Serializer>(
    value: &Option<f64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => number(value, serializer),
        None => serializer.serialize_none(),
    }
}

/// A double, written without fraction where it has none: `24`, not `24.0`.
pub(super) fn short_number<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.fract() == 0.0 && value.abs() < WHOLE_MAX {
        serializer.serialize_i64(*value as i64)
    } else {
        number(value, serializer)
    }
}

/// The same or null.
pub(super) fn maybe_short_number<S: Serializer>(
    value: &Option<f64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => short_number(value, serializer),
        None => serializer.serialize_none(),
    }
}

/// Anything that has one way to be written: ids, times, words.
pub(super) fn text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// The same or null.
pub(super) fn maybe_text<T: Display, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

/// Pairs as an object whose keys keep their order.
pub(super) fn pairs<K: Display, V: Serialize, S: Serializer>(
    pairs: &[(K, V)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(pairs.len()))?;
    for (key, value) in pairs {
        map.serialize_entry(&key.to_string(), value)?;
    }
    map.end()
}

/// A double as a JSON value, by the same rules.
pub(super) fn number_value(value: f64) -> Value {
    word_for(value).map_or_else(|| Value::from(value), Value::from)
}

/// Something written as text, or null.
pub(super) fn text_value<T: Display>(value: Option<T>) -> Value {
    value.map_or(Value::Null, |value| Value::from(value.to_string()))
}

/// Milliseconds as seconds, without fraction where there is none.
pub(super) fn seconds_value(ms: i64) -> Value {
    if ms % 1000 == 0 {
        Value::from(ms / 1000)
    } else {
        Value::from(ms as f64 / 1000.0)
    }
}

/// Milliseconds as seconds, without fraction where there is none; null when there is nothing.
pub(super) fn maybe_seconds<S: Serializer>(
    ms: &Option<i64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    ms.map_or(Value::Null, seconds_value).serialize(serializer)
}
