//! Prometheus text format 0.0.4.
//!
//! Source: Prometheus, `docs/instrumenting/exposition_formats.md`; where that is silent, what
//! `model/textparse/promparse.go` does.

use std::borrow::Cow;

use hashbrown::HashMap;

use super::{
    BodyError, Parsed, SAMPLES_PER_BODY_MAX,
    line::{Blanks, Line, LineError, unescape},
    number::parse_float,
    rows::{Label, Rows},
    shown::Shown,
};
use crate::model::{Limits, MetricKind, MetricMetadata, Timestamp};

/// Reads a body of text 0.0.4; samples without a timestamp get `at`.
pub(super) fn parse_text(
    body: &str,
    at: Timestamp,
    honor_labels: bool,
    limits: &Limits,
) -> Result<Parsed, BodyError> {
    let mut text = Text {
        at,
        rows: Rows::new(limits, honor_labels),
        told: HashMap::new(),
        labels: Vec::new(),
    };
    for (i, line) in body.split('\n').enumerate() {
        let number = i + 1;
        text.line(line.strip_suffix('\r').unwrap_or(line), number)
            .map_err(|e| e.in_line(number))?;
    }
    Ok(text.rows.parsed)
}

struct Text<'a, 'l> {
    at: Timestamp,
    rows: Rows<'l>,
    /// Place in the metadata of each metric that HELP or TYPE told of.
    told: HashMap<Cow<'a, str>, usize>,
    labels: Vec<Label<'a>>,
}

impl<'a> Text<'a, '_> {
    fn line(&mut self, text: &'a str, number: usize) -> Result<(), LineError> {
        let mut line = Line::new(text);
        line.blanks();
        match line.peek() {
            None => Ok(()),
            Some(b'#') => self.comment(line),
            Some(_) => self.sample(line, number),
        }
    }

    /// HELP and TYPE; any other comment says nothing.
    fn comment(&mut self, mut line: Line<'a>) -> Result<(), LineError> {
        line.eat(b'#');
        if !line.blanks() {
            return Ok(());
        }
        let word = line.token();
        if !matches!(word, "HELP" | "TYPE") || !line.blanks() {
            return Ok(());
        }
        let name = if line.peek() == Some(b'"') {
            line.quoted()?
        } else {
            Cow::Borrowed(line.metric_name())
        };
        if name.is_empty() {
            return Err(line.expected(&format!("a metric name after {word}")));
        }
        line.blanks();
        let rest = line.rest();
        if word == "HELP" {
            self.told(name)?.help = unescape(rest, false);
        } else {
            let kind = rest.trim_end_matches([' ', '\t']);
            let kind = parse_kind(kind)
                .ok_or_else(|| line.mistake(format!("unknown metric type {}", Shown(kind))))?;
            self.told(name)?.kind = kind;
        }
        Ok(())
    }

    fn told(&mut self, name: Cow<'a, str>) -> Result<&mut MetricMetadata, LineError> {
        let metadata = &mut self.rows.parsed.batch.metadata;
        let at = match self.told.get(&name) {
            Some(at) => *at,
            None if metadata.len() >= SAMPLES_PER_BODY_MAX => {
                return Err(LineError::Limit(format!(
                    "the body tells of more than {SAMPLES_PER_BODY_MAX} metrics"
                )));
            }
            None => {
                metadata.push(MetricMetadata {
                    name: name.clone().into_owned(),
                    kind: MetricKind::Unknown,
                    ..MetricMetadata::default()
                });
                self.told.insert(name, metadata.len() - 1);
                metadata.len() - 1
            }
        };
        Ok(&mut metadata[at])
    }

    fn sample(&mut self, mut line: Line<'a>, number: usize) -> Result<(), LineError> {
        let mut name = match line.metric_name() {
            "" if line.peek() == Some(b'{') => None,
            "" => return Err(line.expected("a metric name")),
            name => Some(Cow::Borrowed(name)),
        };
        let blank = line.blanks();
        if line.eat(b'{') {
            line.labels(
                Blanks::Free,
                Some(&mut name),
                &mut self.labels,
                self.rows.limits,
            )?;
            line.blanks();
        } else {
            self.labels.clear();
            if !blank {
                return Err(line.expected("a blank or `{` after the metric's name"));
            }
        }
        let Some(name) = name else {
            return Err(line.mistake("the sample has no metric name"));
        };
        let (value, time) = value_and_time(&mut line)?;
        self.rows.parsed.total += 1;
        let time = match time {
            None => self.at,
            Some(Ok(time)) => time,
            Some(Err(text)) => {
                let reason = format!(
                    "metric {}: timestamp {} is out of range",
                    Shown(&name),
                    Shown(text)
                );
                self.rows.parsed.refuse(number, reason);
                return Ok(());
            }
        };
        self.rows
            .push(&name, &mut self.labels, time, value, number)
            .map_err(|refusal| LineError::refused(&name, refusal))
    }
}

type Time<'a> = Option<Result<Timestamp, &'a str>>;

/// The value, and the time in milliseconds, if there is one; as its text when it is none that can be held.
fn value_and_time<'a>(line: &mut Line<'a>) -> Result<(f64, Time<'a>), LineError> {
    if line.is_at_end() {
        return Err(line.expected("a value"));
    }
    let token = line.token();
    let value = parse_float(token)
        .ok_or_else(|| line.mistake_in(token, format!("{} is not a number", Shown(token))))?;
    line.blanks();
    if line.is_at_end() {
        return Ok((value, None));
    }
    let token = line.token();
    let digits = token.strip_prefix('-').unwrap_or(token);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        let reason = format!("{} is not a timestamp in milliseconds", Shown(token));
        return Err(line.mistake_in(token, reason));
    }
    line.blanks();
    if !line.is_at_end() {
        return Err(line.expected("the end of the line after the timestamp"));
    }
    let time = token.parse().ok().map(Timestamp::from_millis);
    let held = time.filter(|t| (Timestamp::MIN..=Timestamp::MAX).contains(t));
    Ok((value, Some(held.ok_or(token))))
}

/// Kinds of text 0.0.4, and those of OpenMetrics, which some exporters write here too.
fn parse_kind(word: &str) -> Option<MetricKind> {
    Some(match word {
        "counter" => MetricKind::Counter,
        "gauge" => MetricKind::Gauge,
        "histogram" => MetricKind::Histogram,
        "summary" => MetricKind::Summary,
        "untyped" | "unknown" => MetricKind::Unknown,
        "info" => MetricKind::Info,
        "stateset" => MetricKind::StateSet,
        "gaugehistogram" => MetricKind::GaugeHistogram,
        _ => return None,
    })
}
