//! OpenMetrics text format 1.0: the lines. What families may hold is in `family`.
//!
//! Source: OpenMetrics 1.0 (`specification/OpenMetrics.md`, "Text format"); quoted names as in
//! Prometheus' UTF-8 extension of it.

use std::borrow::Cow;

use super::{
    BodyError, Parsed,
    family::{Families, OmSample, Taken},
    line::{Blanks, Line, LineError, unescape},
    number::{Nanos, parse_float, parse_nanos, to_timestamp},
    rows::{Label, Rows},
    shown::Shown,
};
use crate::model::{Limits, MetricKind, Timestamp};

/// Characters that the names and values of an exemplar's labels may have together.
const EXEMPLAR_CHARS_MAX: usize = 128;

/// Reads an OpenMetrics body; samples without a timestamp get `at`.
pub(super) fn parse_openmetrics(
    body: &str,
    at: Timestamp,
    honor_labels: bool,
    limits: &Limits,
) -> Result<Parsed, BodyError> {
    let mut document = OpenMetrics {
        at,
        rows: Rows::new(limits, honor_labels),
        families: Families::default(),
        labels: Vec::new(),
        exemplar_labels: Vec::new(),
    };
    let mut rest = body;
    let mut number = 0;
    while !rest.is_empty() {
        number += 1;
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        if line == "# EOF" {
            if !after.is_empty() {
                return Err(LineError::rule("there is text after `# EOF`").in_line(number + 1));
            }
            document
                .families
                .finish(&mut document.rows.parsed.batch.metadata)?;
            return Ok(document.rows.parsed);
        }
        document.line(line, number)?;
        rest = after;
    }
    Err(LineError::rule("the text ends without `# EOF`").in_line(number + 1))
}

struct OpenMetrics<'a, 'l> {
    at: Timestamp,
    rows: Rows<'l>,
    families: Families<'a>,
    labels: Vec<Label<'a>>,
    exemplar_labels: Vec<Label<'a>>,
}

impl<'a> OpenMetrics<'a, '_> {
    fn line(&mut self, text: &'a str, number: usize) -> Result<(), BodyError> {
        let mut line = Line::new(text);
        match line.peek() {
            None => Err(LineError::rule("a line must not be empty").in_line(number)),
            Some(b'#') => self.description(line, number),
            Some(_) => {
                let (name, value, time, exemplar) =
                    self.sample(&mut line).map_err(|e| e.in_line(number))?;
                self.take(&name, value, time, exemplar, number)
            }
        }
    }

    fn description(&mut self, mut line: Line<'a>, number: usize) -> Result<(), BodyError> {
        let (word, name, text) = read_description(&mut line).map_err(|e| e.in_line(number))?;
        let metadata = &mut self.rows.parsed.batch.metadata;
        let family = self.families.described(name, number, metadata)?;
        match word {
            "HELP" => family.tell_help(unescape(text, true)),
            "UNIT" => family.tell_unit(text, number),
            _ => match parse_kind(text) {
                Some(kind) => family.tell_kind(kind),
                None => Err(line.mistake_in("", format!("unknown metric type {}", Shown(text)))),
            },
        }
        .map_err(|e| e.in_line(number))
    }

    /// A sample's name, value, time and whether it has an exemplar; its labels are left in `labels`.
    fn sample(
        &mut self,
        line: &mut Line<'a>,
    ) -> Result<(Cow<'a, str>, f64, Option<Nanos>, bool), LineError> {
        let mut name = match line.metric_name() {
            "" if line.peek() == Some(b'{') => None,
            "" => return Err(line.expected("a metric name")),
            name => Some(Cow::Borrowed(name)),
        };
        if line.eat(b'{') {
            let limits = self.rows.limits;
            line.labels(Blanks::Strict, Some(&mut name), &mut self.labels, limits)?;
        } else {
            self.labels.clear();
        }
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Err(line.mistake("the sample has no metric name"));
        };
        line.expect(b' ', "one blank before the value")?;
        let value = number(line)?;
        let mut time = None;
        if !line.is_at_end() {
            line.expect(b' ', "one blank or the end of the line after the value")?;
            if line.peek() != Some(b'#') {
                time = Some(nanos(line)?);
                if line.is_at_end() {
                    return Ok((name, value, time, false));
                }
                line.expect(
                    b' ',
                    "the end of the line or an exemplar after the timestamp",
                )?;
            }
            self.exemplar(line)?;
            return Ok((name, value, time, true));
        }
        Ok((name, value, time, false))
    }

    fn exemplar(&mut self, line: &mut Line<'a>) -> Result<(), LineError> {
        line.expect(b'#', "an exemplar, which begins with `#`,")?;
        line.expect(b' ', "one blank after `#`")?;
        line.expect(b'{', "the exemplar's labels")?;
        let labels = &mut self.exemplar_labels;
        line.labels(Blanks::Strict, None, labels, self.rows.limits)?;
        let chars: usize = labels
            .iter()
            .map(|(k, v)| k.chars().count() + v.chars().count())
            .sum();
        if chars > EXEMPLAR_CHARS_MAX {
            return Err(line.mistake(format!(
                "the exemplar's labels have {chars} characters; {EXEMPLAR_CHARS_MAX} are allowed"
            )));
        }
        labels.sort_unstable();
        if let Some(pair) = labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(line.mistake(format!(
                "the exemplar's label {} is given twice",
                Shown(&pair[0].0)
            )));
        }
        line.expect(b' ', "one blank before the exemplar's value")?;
        number(line)?;
        if !line.is_at_end() {
            line.expect(b' ', "one blank before the exemplar's timestamp")?;
            nanos(line)?;
        }
        if line.is_at_end() {
            Ok(())
        } else {
            Err(line.expected("the end of the line"))
        }
    }

    fn take(
        &mut self,
        name: &Cow<'a, str>,
        value: f64,
        nanos: Option<Nanos>,
        has_exemplar: bool,
        number: usize,
    ) -> Result<(), BodyError> {
        let parsed = &mut self.rows.parsed;
        let sample = OmSample {
            name,
            labels: &self.labels,
            value,
            time: nanos,
            has_exemplar,
        };
        let taken = self
            .families
            .sample(&sample, number, &mut parsed.batch.metadata)?;
        parsed.exemplars_dropped += u64::from(has_exemplar);
        parsed.total += 1;
        if taken == Taken::Again {
            return Ok(());
        }
        let time = match nanos.map(to_timestamp) {
            None => self.at,
            Some(Some(time)) => time,
            Some(None) => {
                let reason = format!("metric {}: its timestamp is out of range", Shown(name));
                parsed.refuse(number, reason);
                return Ok(());
            }
        };
        self.rows
            .push(name, &mut self.labels, time, value, number)
            .map_err(|refusal| LineError::refused(name, refusal).in_line(number))
    }
}

/// `# HELP name text` and its like: the word, the name and the text.
fn read_description<'a>(
    line: &mut Line<'a>,
) -> Result<(&'a str, Cow<'a, str>, &'a str), LineError> {
    line.eat(b'#');
    line.expect(b' ', "one blank after `#`")?;
    let word = line.token();
    if !matches!(word, "HELP" | "TYPE" | "UNIT") {
        return Err(line.mistake_in(word, "expected HELP, TYPE, UNIT or EOF after `#`"));
    }
    line.expect(b' ', &format!("one blank after {word}"))?;
    let name = if line.peek() == Some(b'"') {
        line.quoted()?
    } else {
        Cow::Borrowed(line.metric_name())
    };
    if name.is_empty() {
        return Err(line.expected(&format!("a metric name after {word}")));
    }
    line.expect(b' ', "one blank after the metric's name")?;
    Ok((word, name, line.rest()))
}

fn number(line: &mut Line<'_>) -> Result<f64, LineError> {
    let token = line.token();
    parse_float(token)
        .ok_or_else(|| line.mistake_in(token, format!("{} is not a number", Shown(token))))
}

fn nanos(line: &mut Line<'_>) -> Result<Nanos, LineError> {
    let token = line.token();
    parse_nanos(token).ok_or_else(|| {
        let reason = format!("{} is not a timestamp in seconds", Shown(token));
        line.mistake_in(token, reason)
    })
}

fn parse_kind(word: &str) -> Option<MetricKind> {
    Some(match word {
        "counter" => MetricKind::Counter,
        "gauge" => MetricKind::Gauge,
        "histogram" => MetricKind::Histogram,
        "gaugehistogram" => MetricKind::GaugeHistogram,
        "stateset" => MetricKind::StateSet,
        "info" => MetricKind::Info,
        "summary" => MetricKind::Summary,
        "unknown" => MetricKind::Unknown,
        _ => return None,
    })
}
