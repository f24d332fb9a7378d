//! One element of `metrics`, read without losing the document when it makes no sense.
//!
//! The visitor takes any JSON value at any place and notes what is wrong, so that serde fails on broken
//! JSON only.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{number::parse_float, rows::Label, shown::Shown};
use crate::model::{BadTime, MetricKind, Timestamp, parse_time, seconds_to_timestamp};

/// Bytes of the longest text that is worth reading as a time.
const TIME_TEXT_MAX: usize = 64;

/// A metric that can be taken. Its labels are where [`MetricSeed`] put them.
#[derive(Debug)]
pub(super) struct Metric<'de> {
    pub(super) name: Cow<'de, str>,
    pub(super) kind: Option<MetricKind>,
    pub(super) value: f64,
    pub(super) time: Option<Timestamp>,
}

/// Reads a metric; the outer error is broken JSON, the inner one says why this metric is refused.
pub(super) struct MetricSeed<'b, 'de> {
    /// Where the labels go.
    pub(super) labels: &'b mut Vec<Label<'de>>,
    /// Labels that may be given; one more is kept to show that there were too many.
    pub(super) labels_max: usize,
}

impl<'de> DeserializeSeed<'de> for MetricSeed<'_, 'de> {
    type Value = Result<Metric<'de>, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.labels.clear();
        let mut fields = Fields::default();
        let found = Any::Metric {
            fields: &mut fields,
            labels: self.labels,
            labels_max: self.labels_max,
        }
        .deserialize(deserializer)?;
        Ok(match found {
            Json::Object => fields.into_metric(),
            other => Err(format!("a metric must be an object, found {other}")),
        })
    }
}

/// A JSON value; of arrays and objects only that they are one.
#[derive(Debug)]
pub(super) enum Json<'de> {
    Null,
    Bool,
    Number(f64),
    Text(Cow<'de, str>),
    Array,
    Object,
}

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("a boolean"),
            Self::Number(number) => write!(f, "the number {number}"),
            Self::Text(text) => write!(f, "the string {}", Shown(text)),
            Self::Array => f.write_str("an array"),
            Self::Object => f.write_str("an object"),
        }
    }
}

/// What has been read of a metric so far.
#[derive(Default)]
struct Fields<'de> {
    name: Option<Json<'de>>,
    kind: Option<Json<'de>>,
    value: Option<Json<'de>>,
    labels: Option<Json<'de>>,
    timestamp: Option<Json<'de>>,
    problem: Option<String>,
}

/// Reads any JSON value, and more of it where more is expected.
pub(super) enum Any<'b, 'de> {
    Scalar,
    Labels {
        labels: &'b mut Vec<Label<'de>>,
        labels_max: usize,
        problem: &'b mut Option<String>,
    },
    #[expect(private_interfaces, reason = "only MetricSeed makes this one")]
    Metric {
        fields: &'b mut Fields<'de>,
        labels: &'b mut Vec<Label<'de>>,
        labels_max: usize,
    },
}

impl<'de> DeserializeSeed<'de> for Any<'_, 'de> {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any<'_, 'de> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(number as f64))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(number as f64))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Json<'de>, E> {
        Ok(Json::Number(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Json<'de>, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Json::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json<'de>, A::Error> {
        match self {
            Self::Scalar => while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {},
            Self::Labels {
                labels,
                labels_max,
                problem,
            } => {
                while let Some(Json::Text(name)) = map.next_key_seed(Any::Scalar)? {
                    let value = map.next_value_seed(Any::Scalar)?;
                    take_label(labels, labels_max, name, value, problem);
                }
            }
            Self::Metric {
                fields,
                labels,
                labels_max,
            } => {
                while let Some(Json::Text(key)) = map.next_key_seed(Any::Scalar)? {
                    let seed = if key == "labels" && fields.labels.is_none() {
                        Any::Labels {
                            labels: &mut *labels,
                            labels_max,
                            problem: &mut fields.problem,
                        }
                    } else {
                        Any::Scalar
                    };
                    let value = map.next_value_seed(seed)?;
                    fields.take(&key, value);
                }
            }
        }
        Ok(Json::Object)
    }
}

fn take_label<'de>(
    labels: &mut Vec<Label<'de>>,
    labels_max: usize,
    name: Cow<'de, str>,
    value: Json<'de>,
    problem: &mut Option<String>,
) {
    match value {
        Json::Null => {}
        Json::Text(value) => {
            if labels.len() <= labels_max {
                labels.push((name, value));
            }
        }
        other => {
            problem.get_or_insert_with(|| {
                format!("label {} must be a string, found {other}", Shown(&name))
            });
        }
    }
}

impl<'de> Fields<'de> {
    fn take(&mut self, key: &str, value: Json<'de>) {
        let slot = match key {
            "name" => &mut self.name,
            "type" => &mut self.kind,
            "value" => &mut self.value,
            "labels" => &mut self.labels,
            "timestamp" => &mut self.timestamp,
            _ => return,
        };
        if slot.replace(value).is_some() {
            self.problem
                .get_or_insert_with(|| format!("`{key}` is given twice"));
        }
    }

    /// Checks what was read. Reasons name the metric when it has a name.
    fn into_metric(self) -> Result<Metric<'de>, String> {
        let name = match self.name {
            Some(Json::Text(name)) => name,
            None | Some(Json::Null) => return Err("a metric needs a `name`".to_owned()),
            Some(other) => return Err(format!("`name` must be a string, found {other}")),
        };
        let rest = match self.problem {
            Some(problem) => Err(problem),
            None => check(self.kind, self.value, self.labels, self.timestamp),
        };
        match rest {
            Ok((kind, value, time)) => Ok(Metric {
                name,
                kind,
                value,
                time,
            }),
            Err(reason) => Err(format!("metric {}: {reason}", Shown(&name))),
        }
    }
}

type Checked = (Option<MetricKind>, f64, Option<Timestamp>);

fn check(
    kind: Option<Json<'_>>,
    value: Option<Json<'_>>,
    labels: Option<Json<'_>>,
    timestamp: Option<Json<'_>>,
) -> Result<Checked, String> {
    match labels {
        None | Some(Json::Null | Json::Object) => {}
        Some(other) => return Err(format!("`labels` must be an object, found {other}")),
    }
    let kind = match kind {
        None | Some(Json::Null) => None,
        Some(Json::Text(word)) => Some(MetricKind::parse_native(&word).map_err(|_| {
            format!(
                "unknown metric type {}: expected counter, gauge, histogram or summary",
                Shown(&word)
            )
        })?),
        Some(other) => return Err(format!("`type` must be a string, found {other}")),
    };
    let value = match value {
        Some(Json::Number(number)) => number,
        Some(Json::Text(text)) => parse_float(&text).ok_or_else(|| {
            format!(
                "`value` must be a number, found the string {}",
                Shown(&text)
            )
        })?,
        None => return Err("a metric needs a `value`".to_owned()),
        Some(other) => return Err(format!("`value` must be a number, found {other}")),
    };
    let time = match timestamp {
        None | Some(Json::Null) => None,
        Some(Json::Number(seconds)) => Some(from_seconds(seconds)?),
        Some(Json::Text(text)) => Some(from_text(&text)?),
        Some(other) => {
            return Err(format!(
                "`timestamp` must be RFC 3339 or unix seconds, found {other}"
            ));
        }
    };
    Ok((kind, value, time))
}

fn from_seconds(seconds: f64) -> Result<Timestamp, String> {
    seconds_to_timestamp(seconds, "")
        .or_else(|_| seconds_to_timestamp(seconds, &seconds.to_string()))
        .map_err(|e| bad_timestamp(&e))
}

/// Reads a time of the past or future; "now" and durations before it make no sense in a sample.
fn from_text(text: &str) -> Result<Timestamp, String> {
    let numeric = parse_float(text);
    if text.len() > TIME_TEXT_MAX
        || (numeric.is_none() && !text.starts_with(|c: char| c.is_ascii_digit()))
    {
        return Err(not_a_time(text));
    }
    match numeric {
        Some(seconds) => seconds_to_timestamp(seconds, text),
        // The time of reading is of no consequence, since no relative time begins with a digit.
        None => parse_time(text, Timestamp::from_millis(0)),
    }
    .map_err(|e| bad_timestamp(&e))
}

fn bad_timestamp(error: &BadTime) -> String {
    match error {
        BadTime::NotATime(text) | BadTime::NotADuration(text) => not_a_time(text),
        BadTime::Milliseconds(_) | BadTime::OutOfRange(_) => format!("timestamp {error}"),
    }
}

fn not_a_time(text: &str) -> String {
    format!(
        "timestamp {} is not a time: give RFC 3339 or unix seconds",
        Shown(text)
    )
}
