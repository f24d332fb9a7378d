//! Values of alert rules: texts, numbers, durations, choices.

use serde_json::{Map, Value};

use super::Mistake;
use crate::{
    alerts::template::check_template,
    model::{Operator, format_duration_ms, parse_duration_ms},
};

/// Longest name, and longest value of a short text; bytes.
pub(super) const NAME_BYTES_MAX: usize = 256;

/// Reads keys of an object; mistakes are collected.
pub(super) struct Reader<'a> {
    pub(super) object: &'a Map<String, Value>,
    pub(super) mistakes: Vec<Mistake>,
}

impl<'a> Reader<'a> {
    pub(super) fn report(&mut self, key: &str, reason: impl Into<String>) {
        self.mistakes.push(Mistake {
            key: key.to_owned(),
            reason: reason.into(),
        });
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn template(&mut self, key: &str, value: Option<&Value>) -> String {
        match value {
            None => String::new(),
            Some(Value::String(text)) => {
                if let Err(error) = check_template(text) {
                    self.report(key, error.to_string());
                }
                text.clone()
            }
            Some(other) => {
                self.report(key, expected("a text", other));
                String::new()
            }
        }
    }

    /// A short text that is not empty.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        match self.get(key)? {
            Value::String(text) if text.is_empty() => self.report(key, "must not be empty"),
            Value::String(text) if text.len() > NAME_BYTES_MAX => {
                self.report(
                    key,
                    format!(
                        "has {} bytes, at most {NAME_BYTES_MAX} are allowed",
                        text.len()
                    ),
                );
            }
            Value::String(text) => return Some(text.clone()),
            other => self.report(key, expected("a text", other)),
        }
        None
    }

    pub(super) fn operator(&mut self) -> Option<Operator> {
        self.choice("operator", &Operator::ALL.map(|o| (o.as_str(), o)))
    }

    pub(super) fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = choices.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            self.report(key, format!("`{text}` is none of {}", names.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    /// A finite number; a text that is one will do.
    pub(super) fn number(&mut self, key: &str) -> Option<f64> {
        let value = self.get(key)?;
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            other => {
                self.report(key, expected("a number", other));
                return None;
            }
        };
        let number = number.filter(|n| n.is_finite());
        if number.is_none() {
            self.report(key, format!("{value} is not a finite number"));
        }
        number
    }

    pub(super) fn count(&mut self, key: &str, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
        let value = self.get(key)?;
        let count = value.as_u64().and_then(|n| u32::try_from(n).ok());
        let count = count.filter(|n| range.contains(n));
        if count.is_none() {
            let reason = format!(
                "expected a whole number from {} to {}",
                range.start(),
                range.end()
            );
            self.report(key, reason);
        }
        count
    }

    /// A duration such as `5m`, or a number of seconds; in milliseconds.
    pub(super) fn duration(
        &mut self,
        key: &str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Option<i64> {
        let ms = match self.get(key)? {
            Value::String(text) => parse_duration_ms(text).map_err(|e| e.to_string()),
            Value::Number(seconds) => {
                let ms = seconds.as_f64().unwrap_or(f64::NAN) * 1000.0;
                if ms.is_finite() {
                    Ok(ms as i64)
                } else {
                    Err("not a duration".to_owned())
                }
            }
            other => Err(expected("a duration such as \"5m\"", other)),
        };
        match ms {
            Ok(ms) if range.contains(&ms) => Some(ms),
            Ok(ms) => {
                let reason = format!(
                    "{} is out of range: from {} to {}",
                    format_duration_ms(ms),
                    format_duration_ms(*range.start()),
                    format_duration_ms(*range.end())
                );
                self.report(key, reason);
                None
            }
            Err(reason) => {
                self.report(key, reason);
                None
            }
        }
    }
}

/// Says what was expected and what was found instead.
pub(super) fn expected(what: &str, found: &Value) -> String {
    let found = match found {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    };
    format!("expected {what}, found {found}")
}
