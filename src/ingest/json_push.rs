//! The native JSON document `{"metrics":[...]}`, element by element.

use std::borrow::Cow;

use hashbrown::HashMap;
use serde::de::{DeserializeSeed, IgnoredAny};
use serde_json::{Deserializer, de::SliceRead};

use super::{
    BodyError, Parsed,
    json_metric::{Any, Json, Metric, MetricSeed},
    rows::{Label, Refusal, Rows},
    shown::Shown,
};
use crate::model::{Limits, MetricMetadata, Timestamp, is_derived_metric};

/// Reads the body of a push: `{"metrics":[{"name","type"?,"value","labels"?,"timestamp"?}]}`. Metrics
/// without a timestamp get `now`. A bad metric is reported and the others are kept; unknown keys are
/// passed over, and a key that is given twice is an error.
///
/// # Errors
/// [`BodyError::Syntax`] when the body is not such a document, [`BodyError::Limit`] when it holds more
/// samples than one body may.
pub fn parse_push(body: &[u8], now: Timestamp, limits: &Limits) -> Result<Parsed, BodyError> {
    parse(body, now, false, true, limits)
}

/// The same document as [`parse_push`] takes, from a target that may be allowed to name `agent_id`,
/// `job` and `instance` itself.
pub(super) fn parse_document(
    body: &[u8],
    at: Timestamp,
    honor_labels: bool,
    limits: &Limits,
) -> Result<Parsed, BodyError> {
    parse(body, at, honor_labels, false, limits)
}

fn parse(
    body: &[u8],
    at: Timestamp,
    honor_labels: bool,
    is_push: bool,
    limits: &Limits,
) -> Result<Parsed, BodyError> {
    // Some editors and shells begin UTF-8 with a byte order mark.
    let start = if body.starts_with(b"\xef\xbb\xbf") {
        3
    } else {
        0
    };
    let mut document = Document {
        body,
        at: start,
        now: at,
        is_push,
        rows: Rows::new(limits, honor_labels),
        kinds: HashMap::new(),
        labels: Vec::new(),
    };
    document.read()?;
    Ok(document.rows.parsed)
}

/// A walk over the document. Its outer two levels are read here, what lies within by serde, so that a
/// bad element can be stepped over and no tree of the document is built.
struct Document<'a, 'l> {
    body: &'a [u8],
    at: usize,
    now: Timestamp,
    /// Whether it was pushed; a collector sorts out itself what a target may not say.
    is_push: bool,
    rows: Rows<'l>,
    /// Place in the metadata of each metric seen.
    kinds: HashMap<Cow<'a, str>, usize>,
    labels: Vec<Label<'a>>,
}

impl<'a> Document<'a, '_> {
    fn read(&mut self) -> Result<(), BodyError> {
        match self.peek() {
            Some(b'{') => self.at += 1,
            None => return Err(self.error("the body is empty")),
            Some(_) => {
                let start = self.at;
                let found = self.value(Any::Scalar)?;
                return Err(BodyError::at_byte(
                    self.body,
                    start,
                    format!("the document must be an object with `metrics`, found {found}"),
                ));
            }
        }
        let mut seen = false;
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                seen |= self.member(seen)?;
                if self.separator(b'}')? {
                    break;
                }
            }
        }
        if self.peek().is_some() {
            return Err(self.error("there is more after the document's end"));
        }
        if seen {
            Ok(())
        } else {
            Err(BodyError::at_byte(
                self.body,
                0,
                "the document has no `metrics`",
            ))
        }
    }

    /// Reads `"key": value`; whether it was `metrics`.
    fn member(&mut self, seen: bool) -> Result<bool, BodyError> {
        if self.peek() != Some(b'"') {
            return Err(self.error("expected a key in double quotes"));
        }
        let key_at = self.at;
        let key = self.value(Any::Scalar)?;
        if self.peek() != Some(b':') {
            return Err(self.error("expected `:` after a key"));
        }
        self.at += 1;
        if !matches!(key, Json::Text(key) if key == "metrics") {
            self.skip_value()?;
            return Ok(false);
        }
        if seen {
            return Err(BodyError::at_byte(
                self.body,
                key_at,
                "`metrics` is given twice",
            ));
        }
        self.metrics()?;
        Ok(true)
    }

    fn metrics(&mut self) -> Result<(), BodyError> {
        if self.peek() != Some(b'[') {
            let start = self.at;
            self.peek()
                .ok_or_else(|| self.error("the document ends too early"))?;
            let found = self.value(Any::Scalar)?;
            let reason = format!("`metrics` must be an array, found {found}");
            return Err(BodyError::at_byte(self.body, start, reason));
        }
        self.at += 1;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.metric()?;
            if self.separator(b']')? {
                return Ok(());
            }
        }
    }

    fn metric(&mut self) -> Result<(), BodyError> {
        let index = self.rows.parsed.total;
        self.peek();
        let mut labels = std::mem::take(&mut self.labels);
        let seed = MetricSeed {
            labels: &mut labels,
            labels_max: self.rows.limits.labels_per_series,
        };
        let (read, end) = read_at(self.body, self.at, seed);
        match read {
            Ok(read) => {
                self.at = end;
                let taken = read.and_then(|metric| {
                    let refused = |reason| format!("metric {}: {reason}", Shown(&metric.name));
                    if metric.name.chars().any(char::is_control)
                        || labels.iter().any(|(k, _)| k.chars().any(char::is_control))
                    {
                        return Err(refused(
                            "a name must not hold control characters".to_owned(),
                        ));
                    }
                    if self.is_push && labels.is_empty() && is_derived_metric(&metric.name) {
                        return Err(refused("longwatch records this series itself".to_owned()));
                    }
                    let time = metric.time.unwrap_or(self.now);
                    let pushed =
                        self.rows
                            .push(&metric.name, &mut labels, time, metric.value, index);
                    match pushed {
                        Ok(()) => Ok(Ok(metric)),
                        Err(Refusal::Bad(why) | Refusal::Limit(why)) => Err(refused(why)),
                        Err(Refusal::Full(why)) => Ok(Err(BodyError::Limit(why))),
                    }
                });
                match taken {
                    Ok(metric) => self.tell_kind(metric?),
                    Err(reason) => self.rows.parsed.refuse(index, 0, reason),
                }
            }
            Err(error) => {
                // What serde cannot hold (a number out of range, half a surrogate) is still JSON.
                let reason = without_position(&error);
                let start = self.at;
                self.skip_value()
                    .map_err(|_| syntax(self.body, start, &error))?;
                self.rows.parsed.refuse(index, 0, reason);
            }
        }
        self.labels = labels;
        self.rows.parsed.total += 1;
        Ok(())
    }

    /// The kind is told when the metric is first seen and wherever it is given.
    fn tell_kind(&mut self, metric: Metric<'a>) {
        let metadata = &mut self.rows.parsed.batch.metadata;
        if let Some(at) = self.kinds.get(&metric.name) {
            if let Some(kind) = metric.kind {
                metadata[*at].kind = kind;
            }
            return;
        }
        metadata.push(MetricMetadata {
            name: metric.name.clone().into_owned(),
            kind: metric.kind.unwrap_or_default(),
            ..MetricMetadata::default()
        });
        self.kinds.insert(metric.name, metadata.len() - 1);
    }

    /// The next byte that is no white space; the walk stops before it.
    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.body.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Passes a comma, or `end`: whether it was the end.
    fn separator(&mut self, end: u8) -> Result<bool, BodyError> {
        match self.peek() {
            Some(byte) if byte == end || byte == b',' => {
                self.at += 1;
                Ok(byte == end)
            }
            Some(_) => Err(self.error(format!("expected `,` or `{}`", char::from(end)))),
            None => Err(self.error("the document ends too early")),
        }
    }

    fn value(&mut self, seed: Any<'_, 'a>) -> Result<Json<'a>, BodyError> {
        let (read, end) = read_at(self.body, self.at, seed);
        let value = read.map_err(|e| syntax(self.body, self.at, &e))?;
        self.at = end;
        Ok(value)
    }

    fn skip_value(&mut self) -> Result<(), BodyError> {
        let (read, end) = read_at(self.body, self.at, std::marker::PhantomData::<IgnoredAny>);
        read.map_err(|e| syntax(self.body, self.at, &e))?;
        self.at = end;
        Ok(())
    }

    fn error(&self, reason: impl Into<String>) -> BodyError {
        BodyError::at_byte(self.body, self.at, reason)
    }
}

/// Reads one value that begins at a byte; with it comes the byte after it.
fn read_at<'a, S: DeserializeSeed<'a>>(
    body: &'a [u8],
    at: usize,
    seed: S,
) -> (serde_json::Result<S::Value>, usize) {
    let mut deserializer = Deserializer::new(SliceRead::new(&body[at..]));
    let value = seed.deserialize(&mut deserializer);
    let length = deserializer.into_iter::<IgnoredAny>().byte_offset();
    (value, at + length)
}

/// serde's reason without its position, which counts from where it was started.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

fn syntax(body: &[u8], started_at: usize, error: &serde_json::Error) -> BodyError {
    let BodyError::Syntax { line, column, .. } = BodyError::at_byte(body, started_at, "") else {
        return BodyError::at_byte(body, started_at, without_position(error));
    };
    // serde's lines and columns count from 1 and 0.
    let (line, column) = if error.line() <= 1 {
        (line, column + error.column().saturating_sub(1))
    } else {
        (line + error.line() - 1, error.column().max(1))
    };
    BodyError::Syntax {
        line,
        column,
        reason: without_position(error),
    }
}

#[cfg(test)]
mod tests;
