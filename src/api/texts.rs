//! Small JSON objects of texts in bodies: every fault is told at once, each with its place.

use serde_json::{Map, Value};

use super::problem::{InputError, Problem};
use crate::model::{Timestamp, parse_time, seconds_to_timestamp};

/// Reads keys of an object.
pub(super) struct Texts<'a> {
    object: &'a Map<String, Value>,
    faults: Vec<InputError>,
}

impl<'a> Texts<'a> {
    /// Of a body, which must be an object.
    pub(super) fn of(body: &'a Value) -> Result<Self, Problem> {
        let object = body.as_object().ok_or_else(|| {
            Problem::invalid_body(vec![InputError {
                pointer: "#".to_owned(),
                detail: "must be an object".to_owned(),
            }])
        })?;
        Ok(Self {
            object,
            faults: Vec::new(),
        })
    }

    /// Notes a fault at a key.
    pub(super) fn fault(&mut self, key: &str, detail: impl Into<String>) {
        let escaped = key.replace('~', "~0").replace('/', "~1");
        self.faults.push(InputError {
            pointer: format!("#/{escaped}"),
            detail: detail.into(),
        });
    }

    /// Finds every other key at fault.
    pub(super) fn only(&mut self, known: &[&str]) {
        let unknown: Vec<&String> = self
            .object
            .keys()
            .filter(|key| !known.contains(&key.as_str()))
            .collect();
        for key in unknown {
            self.fault(key, format!("is unknown; expected {}", known.join(", ")));
        }
    }

    /// The first of these keys that is there and not null.
    pub(super) fn any(&self, keys: &[&'static str]) -> Option<(&'static str, &'a Value)> {
        keys.iter().find_map(|key| {
            let value = self.object.get(*key).filter(|value| !value.is_null())?;
            Some((*key, value))
        })
    }

    /// A text of at most so many bytes, if it is there.
    pub(super) fn optional(&mut self, key: &'static str, bytes_max: usize) -> Option<String> {
        self.text(&[key], bytes_max)
    }

    /// A text that must be there and not be empty.
    pub(super) fn required(&mut self, key: &'static str, bytes_max: usize) -> Option<String> {
        if self.any(&[key]).is_none() {
            self.fault(key, "is missing");
            return None;
        }
        let text = self.text(&[key], bytes_max)?;
        if text.is_empty() {
            self.fault(key, "must not be empty");
            return None;
        }
        Some(text)
    }

    /// A time to the nanosecond where it is RFC 3339; nanoseconds since the epoch.
    pub(super) fn nanoseconds(&mut self, key: &'static str, now: Timestamp) -> Option<i64> {
        let time = self.time(&[key], now)?;
        let text = self.any(&[key]).and_then(|(_, value)| value.as_str());
        let exact = text.and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
        let exact = exact.and_then(|time| time.timestamp_nanos_opt());
        let number = self.any(&[key]).and_then(|(_, value)| value.as_f64());
        // A number of seconds has microseconds, not more, in 64 bits.
        let number = number.map(|seconds| (seconds * 1e6).round() as i64 * 1_000);
        Some(
            exact
                .or(number)
                .unwrap_or_else(|| time.as_millis().saturating_mul(1_000_000)),
        )
    }

    /// The same under one of several keys.
    pub(super) fn text(&mut self, keys: &[&'static str], bytes_max: usize) -> Option<String> {
        let (key, value) = self.any(keys)?;
        match value {
            Value::String(text) if text.len() <= bytes_max => return Some(text.clone()),
            Value::String(text) => {
                self.fault(
                    key,
                    format!("has {} bytes, at most {bytes_max} are allowed", text.len()),
                );
            }
            _ => self.fault(key, "must be a text"),
        }
        None
    }

    /// A time: RFC 3339, unix seconds, or relative to `now`.
    pub(super) fn time(&mut self, keys: &[&'static str], now: Timestamp) -> Option<Timestamp> {
        let (key, value) = self.any(keys)?;
        let time = match value {
            Value::String(text) => parse_time(text, now).map_err(|e| e.to_string()),
            Value::Number(number) => {
                seconds_to_timestamp(number.as_f64().unwrap_or(f64::NAN), &number.to_string())
                    .map_err(|e| e.to_string())
            }
            _ => Err("must be a time".to_owned()),
        };
        match time {
            Ok(time) => Some(time),
            Err(why) => {
                self.fault(key, why);
                None
            }
        }
    }

    /// The faults, if there are any.
    pub(super) fn finish(self) -> Result<(), Problem> {
        if self.faults.is_empty() {
            Ok(())
        } else {
            Err(Problem::invalid_body(self.faults))
        }
    }
}
