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
            Some(Err((at, text))) => {
                let reason = format!(
                    "metric {}: timestamp {} is out of range",
                    Shown(&name),
                    Shown(text)
                );
                self.rows.parsed.refuse(number, at + 1, reason);
                return Ok(());
            }
        };
        self.rows
            .push(&name, &mut self.labels, time, value, number)
            .map_err(|refusal| LineError::refused(&name, refusal))
    }
}

/// A time, or the byte and the text of one that cannot be held.
type Time<'a> = Option<Result<Timestamp, (usize, &'a str)>>;

/// The value, and the time in milliseconds, if there is one.
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
    let at = line.at();
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
    Ok((value, Some(held.ok_or((at, token)))))
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

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::model::SeriesKey;

    const AT: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn parse(text: &str) -> Result<Parsed, BodyError> {
        parse_text(text, AT, false, &Limits::default())
    }

    fn rows(parsed: &Parsed) -> Vec<(String, i64, f64)> {
        let batch = &parsed.batch;
        let key = |row| SeriesKey::from_bytes(batch.key(row)).unwrap().to_string();
        batch
            .rows()
            .iter()
            .map(|row| (key(row), row.time.as_millis(), row.value))
            .collect()
    }

    const GOOD: &str = "# A remark
# HELP up_time He\\nlp \\\\ text\r
# TYPE up_time counter\r
up_time{ job = \"x\", path=\"C:\\\\a\\\"b\\n\",empty=\"\", } 1.5 1700000000500\r

\t{\"per.cent\",agent_id=\"me\"}\t12
# TYPE per.cent info
# TYPE up_time gauge
#TYPE b nonsense
# EOF
up_time{}-Inf";

    #[test]
    fn a_document_becomes_rows() {
        let good = GOOD.replace("# TYPE per.cent info\n", "# TYPE \"per.cent\"  info \n");
        let parsed = parse(&good).unwrap();
        assert_eq!(
            rows(&parsed),
            [
                (
                    r#"up_time{exported_job="x",path="C:\\a\"b\n"}"#.to_owned(),
                    1_700_000_000_500,
                    1.5
                ),
                (
                    r#"per.cent{exported_agent_id="me"}"#.to_owned(),
                    1_700_000_000_000,
                    12.0
                ),
                ("up_time".to_owned(), 1_700_000_000_000, f64::NEG_INFINITY),
            ]
        );
        assert_eq!((parsed.origin, parsed.total), (vec![4, 6, 11], 3));
        let told: Vec<_> = parsed
            .batch
            .metadata
            .iter()
            .map(|m| (&*m.name, m.kind, &*m.help))
            .collect();
        assert_eq!(
            told,
            [
                ("up_time", MetricKind::Gauge, "He\nlp \\ text"),
                ("per.cent", MetricKind::Info, ""),
            ]
        );
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, error) in [
            (
                "ok 1\na",
                "line 2, column 2: expected a blank or `{` after the metric's name, found the end of the line",
            ),
            (
                "a ",
                "line 1, column 3: expected a value, found the end of the line",
            ),
            (
                "9a 1",
                "line 1, column 1: expected a metric name, found `9`",
            ),
            (
                "a.b 1",
                "line 1, column 2: expected a blank or `{` after the metric's name, found `.`",
            ),
            ("a one", "line 1, column 3: `one` is not a number"),
            ("a 0x1p-3", "line 1, column 3: `0x1p-3` is not a number"),
            (
                "a 1 1.5",
                "line 1, column 5: `1.5` is not a timestamp in milliseconds",
            ),
            (
                "a 1 -",
                "line 1, column 5: `-` is not a timestamp in milliseconds",
            ),
            (
                "a 1 1 1",
                "line 1, column 7: expected the end of the line after the timestamp, found `1`",
            ),
            (
                "{b=\"c\"} 1",
                "line 1, column 9: the sample has no metric name",
            ),
            (
                "a{\"b\"} 1",
                "line 1, column 6: the metric's name is given twice",
            ),
            (
                "a{b=\"c} 1\nd 1",
                "line 1, column 5: the string that begins here is not closed",
            ),
            (
                "# TYPE a meter",
                "line 1, column 10: unknown metric type `meter`",
            ),
            (
                "# HELP # x",
                "line 1, column 8: expected a metric name after HELP, found `#`",
            ),
            (
                "a{b=\"1\",b=\"2\"} 1",
                "line 1, column 1: metric `a`: label `b` is given twice",
            ),
            (
                "{\"\"} 1",
                "line 1, column 1: metric ``: a metric name must not be empty",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), error, "{text:?}");
        }
        let long = "a".repeat(300) + " 1";
        assert_eq!(
            parse(&long).unwrap_err(),
            BodyError::Limit(format!(
                "line 1: metric `{}...`: the metric's name has 300 bytes; the limit is 256",
                "a".repeat(80)
            ))
        );
    }

    #[test]
    fn a_time_beyond_all_years_costs_its_sample_alone() {
        for time in [
            "9999999999999999999999",
            "-99999999999999999",
            "253402300800000",
        ] {
            let parsed = parse(&format!("a 1 {time}\na 1 253402300799999")).unwrap();
            assert_eq!((parsed.origin, parsed.total), (vec![2], 2));
            assert_eq!(
                parsed.errors[0].to_string(),
                format!("line 1, column 5: metric `a`: timestamp `{time}` is out of range")
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_does_not_panic(text in "\\PC{0,200}", lines in "[ab_# {}\"=,.0-9eE+\\\\\n\t\r-]{0,120}") {
            let _ = parse(&text);
            let _ = parse(&lines);
        }

        #[test]
        fn mutated_documents_do_not_panic(at in 0..GOOD.len(), byte in any::<u8>(), cut in 0..GOOD.len()) {
            let mut body = GOOD.as_bytes().to_vec();
            body[at] = byte;
            if let Ok(parsed) = std::str::from_utf8(&body).map_err(|_| ()).and_then(|t| parse(t).map_err(|_| ())) {
                prop_assert_eq!(parsed.origin.len(), parsed.batch.len());
                prop_assert_eq!(parsed.total, parsed.batch.len() + parsed.errors.len());
            }
            body.truncate(cut);
            let _ = std::str::from_utf8(&body).map(parse);
        }

        #[test]
        fn samples_round_trip(
            samples in proptest::collection::vec(
                ("\\PC{1,20}", proptest::collection::btree_map("\\PC{1,9}", "(?s).{0,9}", 0..4), any::<f64>(), 0i64..4_000_000_000_000),
                0..20,
            ),
        ) {
            let escape = |text: &str| text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let mut text = String::new();
            for (name, labels, value, ms) in &samples {
                write!(text, "{{\"{}\"", escape(name)).unwrap();
                for (k, v) in labels {
                    write!(text, ", \"{}\"=\"{}\"", escape(k), escape(v)).unwrap();
                }
                writeln!(text, "}} {value:?} {ms}").unwrap();
            }
            let parsed = parse(&text).unwrap();
            prop_assert_eq!(parsed.batch.len(), samples.len());
            for (row, (name, labels, value, ms)) in parsed.batch.rows().iter().zip(&samples) {
                let labels: Vec<_> = labels.iter().map(|(k, v)| (&**k, &**v)).collect();
                let key = SeriesKey::new(name, &labels).unwrap();
                prop_assert_eq!(parsed.batch.key(row), key.as_bytes());
                prop_assert_eq!(row.time.as_millis(), *ms);
                prop_assert!(row.value == *value || (row.value.is_nan() && value.is_nan()));
            }
        }
    }
}
