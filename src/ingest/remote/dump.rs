//! Dumps of series, read line by line and written: OpenMetrics text with times, `promtool tsdb dump`, JSON lines.
//!
//! A line of JSON is `{"metric":{label:value},"values":[...],"timestamps":[milliseconds]}`, as VictoriaMetrics exports it;
//! `null` is the stale marker.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    agent_rule::AgentRule,
    intake::{Intake, Refusal, Temporality, check_time},
    received::ReceivedMetrics,
};
use crate::{
    ingest::{
        BodyError,
        line::{Blanks, Line, LineError},
        number::{parse_float, parse_nanos, to_timestamp},
        rows::Label,
    },
    model::{Labels, Limits, NAME_LABEL, STALE_MARKER, Timestamp, is_stale_marker},
};

/// Reads a dump; what has been read is taken out in parts, so that a dump may be larger than memory.
pub struct DumpReader<'l> {
    rule: &'l AgentRule,
    limits: &'l Limits,
    intake: Intake<'l>,
    /// Lines so far.
    line: usize,
    /// Samples since the last part.
    samples: usize,
}

#[derive(Deserialize)]
struct JsonLine<'a> {
    #[serde(borrow)]
    metric: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(borrow)]
    values: Vec<&'a RawValue>,
    timestamps: Vec<i64>,
}

impl<'l> DumpReader<'l> {
    /// A reader that tells agents by `rule`.
    pub fn new(rule: &'l AgentRule, limits: &'l Limits) -> Self {
        Self {
            rule,
            limits,
            intake: Intake::new(rule, limits),
            line: 0,
            samples: 0,
        }
    }

    /// Samples that were read since the last part was taken out.
    pub const fn len(&self) -> usize {
        self.samples
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// What has been read since the last part.
    pub fn take(&mut self) -> ReceivedMetrics {
        self.samples = 0;
        std::mem::replace(&mut self.intake, Intake::new(self.rule, self.limits)).finish()
    }

    /// Reads a line. A series or sample that may not be stored is counted and named in the part; the others are kept.
    ///
    /// # Errors
    /// [`BodyError::Syntax`] with the place, [`BodyError::Limit`].
    pub fn line(&mut self, text: &str) -> Result<(), BodyError> {
        self.line += 1;
        let text = text.trim_end_matches(['\n', '\r']);
        let number = self.line;
        if text.trim().is_empty() || text.starts_with('#') {
            return Ok(());
        }
        if text.starts_with("{\"metric\"") {
            return self.json(text, number);
        }
        self.text(text).map_err(|error| error.in_line(number))
    }

    fn json(&mut self, text: &str, line: usize) -> Result<(), BodyError> {
        let mistake = |column: usize, reason: String| BodyError::Syntax {
            line,
            column,
            reason,
        };
        let read: JsonLine<'_> = serde_json::from_str(text)
            .map_err(|error| mistake(error.column().max(1), error.to_string()))?;
        if read.values.len() != read.timestamps.len() {
            let (values, times) = (read.values.len(), read.timestamps.len());
            return Err(mistake(
                1,
                format!("{values} values for {times} timestamps"),
            ));
        }
        let mut samples = Vec::with_capacity(read.values.len());
        for (value, time) in read.values.iter().zip(&read.timestamps) {
            let value = json_value(value.get())
                .ok_or_else(|| mistake(1, format!("{} is no value", value.get())))?;
            samples.push((Timestamp::from_millis(*time), value));
        }
        let labels = read.metric.iter().map(|(name, value)| (&**name, &**value));
        self.series(labels.collect(), &samples)
    }

    fn text(&mut self, text: &str) -> Result<(), LineError> {
        let mut line = Line::new(text);
        let mut name = match line.metric_name() {
            "" => None,
            name => Some(Cow::Borrowed(name)),
        };
        let mut labels: Vec<Label<'_>> = Vec::new();
        if line.eat(b'{') {
            line.labels(Blanks::Free, Some(&mut name), &mut labels, self.limits)?;
        }
        // As `promtool tsdb dump` writes it: the name is a label, and times are milliseconds.
        let is_dump = labels.iter().any(|(label, _)| label == NAME_LABEL);
        if !line.blanks() {
            return Err(line.expected("a blank before the value"));
        }
        let token = line.token();
        let value = parse_float(token)
            .ok_or_else(|| line.mistake_in(token, format!("`{token}` is not a number")))?;
        if !line.blanks() {
            return Err(line.expected("a blank and the time: a dump has times"));
        }
        let token = line.token();
        let time = if is_dump {
            token.parse().ok().map(Timestamp::from_millis)
        } else {
            parse_nanos(token).and_then(to_timestamp)
        };
        let time = time.ok_or_else(|| line.mistake_in(token, format!("`{token}` is no time")))?;
        // What follows is an exemplar.
        if line.blanks() && line.peek() != Some(b'#') {
            return Err(line.expected("the end of the line"));
        }
        let mut pairs: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (&**k, &**v)).collect();
        if let Some(name) = &name {
            pairs.push((NAME_LABEL, name));
        }
        self.series(pairs, &[(time, value)])
            .map_err(|error| match error {
                BodyError::Limit(why) => LineError::Limit(why),
                other => LineError::rule(other.to_string()),
            })
    }

    fn series<'t>(
        &mut self,
        mut labels: Vec<(&'t str, &'t str)>,
        samples: &[(Timestamp, f64)],
    ) -> Result<(), BodyError> {
        let line = self.line;
        let series = match self.intake.series(&mut labels, None) {
            Ok(series) => series,
            Err(why) => {
                let count = samples.len() as u64;
                let received = &mut self.intake.received;
                received.reject(count, || format!("line {line}: {why}"));
                return Ok(());
            }
        };
        for sample in samples {
            let taken = check_time(sample.0).map_err(Refusal::One).and_then(|()| {
                let total = Temporality::Cumulative;
                self.intake
                    .push(series, series.name, &mut labels, total, *sample)
            });
            match taken {
                Ok(()) => {
                    self.intake.received.samples += 1;
                    self.samples += 1;
                }
                Err(Refusal::One(why)) => {
                    let received = &mut self.intake.received;
                    received.reject(1, || format!("line {line}: {why}"));
                }
                Err(Refusal::Body(too_much)) => return Err(BodyError::Limit(too_much.0)),
            }
        }
        Ok(())
    }
}

fn json_value(text: &str) -> Option<f64> {
    match text {
        "null" => Some(STALE_MARKER),
        _ => parse_float(text.trim_matches('"')),
    }
}

/// A sample as a line of OpenMetrics. A stale marker has no form there: nothing is written, and `false` returned.
pub fn put_openmetrics(out: &mut String, labels: &Labels, time: Timestamp, value: f64) -> bool {
    if is_stale_marker(value) {
        return false;
    }
    let name = labels.name();
    let is_plain = is_plain_name(name, true);
    if is_plain {
        out.push_str(name);
    }
    let mut separator = '{';
    if !is_plain {
        let _ = write!(out, "{{\"{}\"", escaped(name));
        separator = ',';
    }
    for (label, value) in labels.iter().filter(|(label, _)| *label != NAME_LABEL) {
        out.push(separator);
        separator = ',';
        if is_plain_name(label, false) {
            out.push_str(label);
        } else {
            let _ = write!(out, "\"{}\"", escaped(label));
        }
        let _ = write!(out, "=\"{}\"", escaped(value));
    }
    if separator == ',' {
        out.push('}');
    }
    let ms = time.as_millis();
    let sign = if ms < 0 { "-" } else { "" };
    let (seconds, millis) = (ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000);
    let value = if value.is_infinite() {
        if value > 0.0 {
            "+Inf".to_owned()
        } else {
            "-Inf".to_owned()
        }
    } else {
        value.to_string()
    };
    let _ = writeln!(out, " {value} {sign}{seconds}.{millis:03}");
    true
}

fn is_plain_name(name: &str, may_have_colons: bool) -> bool {
    let fits = |(at, byte): (usize, u8)| {
        byte.is_ascii_alphabetic()
            || byte == b'_'
            || may_have_colons && byte == b':'
            || at > 0 && byte.is_ascii_digit()
    };
    !name.is_empty() && name.bytes().enumerate().all(fits)
}

fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['\\', '"', '\n']) {
        return Cow::Borrowed(text);
    }
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    Cow::Owned(text.replace('\n', "\\n"))
}

/// A series with its samples as a line of JSON.
pub fn put_json_line(out: &mut String, labels: &Labels, times: &[i64], values: &[f64]) {
    let text = |text: &str| serde_json::to_string(text).unwrap_or_default();
    out.push_str("{\"metric\":{");
    for (at, (name, value)) in labels.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(out, "{comma}{}:{}", text(name), text(value));
    }
    out.push_str("},\"values\":[");
    for (at, value) in values.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = if is_stale_marker(*value) {
            write!(out, "{comma}null")
        } else if value.is_finite() {
            write!(out, "{comma}{value}")
        } else if value.is_nan() {
            write!(out, "{comma}\"NaN\"")
        } else {
            write!(
                out,
                "{comma}\"{}Inf\"",
                if *value > 0.0 { "+" } else { "-" }
            )
        };
    }
    out.push_str("],\"timestamps\":[");
    for (at, time) in times.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(out, "{comma}{time}");
    }
    out.push_str("]}\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Row, SeriesKey};

    fn read(text: &str) -> Result<ReceivedMetrics, BodyError> {
        let (rule, limits) = (AgentRule::default(), Limits::default());
        let mut reader = DumpReader::new(&rule, &limits);
        text.lines().try_for_each(|line| reader.line(line))?;
        Ok(reader.take())
    }

    /// Agent, series, time and bits of each sample.
    fn samples(received: &ReceivedMetrics) -> Vec<(String, String, i64, u64)> {
        let parts = received.parts.iter().flat_map(|(agent, batch)| {
            batch.rows().iter().map(move |row: &Row| {
                let key = SeriesKey::from_bytes(batch.key(row)).unwrap();
                let bits = row.value.to_bits();
                (
                    agent.to_string(),
                    key.to_string(),
                    row.time.as_millis(),
                    bits,
                )
            })
        });
        parts.collect()
    }

    #[test]
    fn three_forms_are_told_apart() {
        for text in [
            "# TYPE up gauge\nup{agent_id=\"a\",job=\"j\"} 1 1700000000.5\n# EOF\n",
            "{__name__=\"up\", agent_id=\"a\", job=\"j\"} 1 1700000000500\n",
            "{\"metric\":{\"__name__\":\"up\",\"agent_id\":\"a\",\"job\":\"j\"},\"values\":[1],\"timestamps\":[1700000000500]}\n",
        ] {
            let received = read(text).unwrap();
            let expected = ("a".to_owned(), "up{agent_id=\"a\",job=\"j\"}".to_owned());
            let (agent, key, time, bits) = samples(&received).remove(0);
            assert_eq!((agent, key), expected, "{text}");
            assert_eq!((time, bits), (1_700_000_000_500, 1f64.to_bits()), "{text}");
        }
    }

    #[test]
    fn mistakes_have_a_place() {
        for (text, place) in [
            ("up 1 1\nup 1\n", "line 2, column 5"),
            ("up x 1\n", "line 1, column 4"),
            ("up 1 x\n", "line 1, column 6"),
            ("up{a=b} 1 1\n", "line 1, column 6"),
            (
                "{\"metric\":{},\"values\":[1],\"timestamps\":[]}\n",
                "1 values for 0",
            ),
            ("{\"metric\":{},\"values\":[x]\n", "line 1, column"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(place), "{text}: {error}");
        }
        let nameless = read("{a=\"b\", __name__=\"\"} 1 1\nup 1 1\n").unwrap();
        assert_eq!((nameless.samples, nameless.rejected), (1, 1));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(
            name in "[a-z.\"\\\\\n]{1,6}", label in "[a-z\n.]{1,4}", text in "\\PC{1,6}",
            points in prop::collection::vec((0i64..4_000_000_000_000, prop::num::f64::ANY), 1..20),
        ) {
            let label = format!("l{label}");
            let labels = Labels::new([(NAME_LABEL, &*name), (&*label, &*text), ("agent_id", "a")]);
            let mut times: Vec<i64> = points.iter().map(|(time, _)| *time).collect();
            times.sort_unstable();
            let ordinary = |value: f64| if value.is_nan() && !is_stale_marker(value) { f64::NAN } else { value };
            let values: Vec<f64> = points.iter().map(|(_, value)| ordinary(*value)).collect();
            let mut json = String::new();
            put_json_line(&mut json, &labels, &times, &values);
            let mut lines = String::new();
            let mut kept = Vec::new();
            for (time, value) in times.iter().zip(&values) {
                if put_openmetrics(&mut lines, &labels, Timestamp::from_millis(*time), *value) {
                    kept.push((*time, value.to_bits()));
                }
            }
            let of = |text: &str| -> Vec<(i64, u64)> {
                samples(&read(text).unwrap()).into_iter().map(|(_, _, time, bits)| (time, bits)).collect()
            };
            let all: Vec<(i64, u64)> = times.iter().zip(&values).map(|(t, v)| (*t, v.to_bits())).collect();
            prop_assert_eq!(of(&json), all);
            prop_assert_eq!(of(&lines), kept);
        }

        #[test]
        fn any_line_is_read_or_refused(text in "\\PC{0,80}", other in "[a-z_{}\"=,. 0-9:#\\[\\]-]{0,80}") {
            let _ = read(&text);
            let _ = read(&other);
            let _ = read(&format!("{{\"metric\"{other}"));
        }
    }
}
