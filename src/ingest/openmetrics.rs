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
            document.rows.parsed.departures = document.families.take_departures();
            return Ok(document.rows.parsed);
        }
        document.line(line, number)?;
        rest = after;
    }
    Err(LineError::rule("the text ends without `# EOF`").in_line(number + 1))
}

/// What a sample's line says beside the labels.
struct SampleLine<'a> {
    name: Cow<'a, str>,
    value: f64,
    time: Option<Nanos>,
    /// The byte at which the time begins.
    time_at: usize,
    has_exemplar: bool,
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
                let sample = self.sample(&mut line).map_err(|e| e.in_line(number))?;
                self.take(&sample, number)
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

    /// Reads a sample; its labels are left in `labels`.
    fn sample(&mut self, line: &mut Line<'a>) -> Result<SampleLine<'a>, LineError> {
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
        let mut sample = SampleLine {
            name,
            value: number(line)?,
            time: None,
            time_at: 0,
            has_exemplar: false,
        };
        if line.is_at_end() {
            return Ok(sample);
        }
        line.expect(b' ', "one blank or the end of the line after the value")?;
        if line.peek() != Some(b'#') {
            sample.time_at = line.at();
            sample.time = Some(nanos(line)?);
            if line.is_at_end() {
                return Ok(sample);
            }
            line.expect(
                b' ',
                "the end of the line or an exemplar after the timestamp",
            )?;
        }
        self.exemplar(line)?;
        sample.has_exemplar = true;
        Ok(sample)
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

    fn take(&mut self, line: &SampleLine<'a>, number: usize) -> Result<(), BodyError> {
        let parsed = &mut self.rows.parsed;
        let sample = OmSample {
            name: &line.name,
            labels: &self.labels,
            value: line.value,
            time: line.time,
            has_exemplar: line.has_exemplar,
        };
        let taken = self
            .families
            .sample(&sample, number, &mut parsed.batch.metadata)?;
        parsed.exemplars_dropped += u64::from(line.has_exemplar);
        parsed.total += 1;
        if taken == Taken::Again {
            return Ok(());
        }
        let name = &line.name;
        let time = match line.time.map(to_timestamp) {
            None => self.at,
            Some(Some(time)) => time,
            Some(None) => {
                let reason = format!("metric {}: its timestamp is out of range", Shown(name));
                parsed.refuse(number, line.time_at + 1, reason);
                return Ok(());
            }
        };
        self.rows
            .push(name, &mut self.labels, time, line.value, number)
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

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::model::SeriesKey;

    const AT: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn parse(text: &str) -> Result<Parsed, BodyError> {
        parse_openmetrics(text, AT, false, &Limits::default())
    }

    fn keys(parsed: &Parsed) -> Vec<String> {
        let batch = &parsed.batch;
        let key = |row| SeriesKey::from_bytes(batch.key(row)).unwrap().to_string();
        batch.rows().iter().map(key).collect()
    }

    const GOOD: &str = "# TYPE a counter
# HELP a he\\lp \\\"x\\\"
a_total{job=\"x\"} 1 # {trace_id=\"7\"} 0.5 1.5
a_created{job=\"x\"} 1.7e+09
# TYPE h_seconds histogram
# UNIT h_seconds seconds
h_seconds_bucket{le=\"1.0\"} 2
h_seconds_bucket{le=\"+Inf\"} 3
h_seconds_count 3
h_seconds_sum 4.5
# TYPE s summary
s{quantile=\"0.5\"} -1
# TYPE state stateset
state{state=\"on\"} 1
state{state=\"off\"} 0
# TYPE build info
build_info{version=\"1\"} 1
{\"per.cent\",unit=\"%\"} 12 1700000001.5
# EOF
";

    #[test]
    fn a_document_becomes_rows() {
        let parsed = parse(GOOD).unwrap();
        assert_eq!(
            keys(&parsed),
            [
                r#"a_total{exported_job="x"}"#,
                r#"a_created{exported_job="x"}"#,
                r#"h_seconds_bucket{le="1.0"}"#,
                r#"h_seconds_bucket{le="+Inf"}"#,
                "h_seconds_count",
                "h_seconds_sum",
                r#"s{quantile="0.5"}"#,
                r#"state{state="on"}"#,
                r#"state{state="off"}"#,
                r#"build_info{version="1"}"#,
                r#"per.cent{unit="%"}"#,
            ]
        );
        assert_eq!(parsed.origin, [3, 4, 7, 8, 9, 10, 12, 14, 15, 17, 18]);
        assert_eq!(parsed.exemplars_dropped, 1);
        assert_eq!(parsed.batch.rows()[0].time, AT);
        assert_eq!(parsed.batch.rows()[10].time.as_millis(), 1_700_000_001_500);
        let told: Vec<_> = parsed
            .batch
            .metadata
            .iter()
            .map(|m| (&*m.name, m.kind, &*m.help, &*m.unit))
            .collect();
        assert_eq!(
            told,
            [
                ("a_total", MetricKind::Counter, "he\\lp \"x\"", ""),
                ("h_seconds", MetricKind::Histogram, "", "seconds"),
                ("s", MetricKind::Summary, "", ""),
                ("state", MetricKind::StateSet, "", ""),
                ("build_info", MetricKind::Info, "", ""),
            ]
        );
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, error) in [
            ("", "line 1, column 1: the text ends without `# EOF`"),
            ("a 1\n", "line 2, column 1: the text ends without `# EOF`"),
            ("# EOF\n\n", "line 2, column 1: there is text after `# EOF`"),
            (
                "a 1\n\n# EOF\n",
                "line 2, column 1: a line must not be empty",
            ),
            ("a 1\r\n# EOF\n", "line 1, column 3: `1\\r` is not a number"),
            ("a  1\n# EOF\n", "line 1, column 3: `` is not a number"),
            (
                "a{b=\"c\"}1\n# EOF\n",
                "line 1, column 9: expected one blank before the value, found `1`",
            ),
            (
                "# TYPE a meter\n# EOF\n",
                "line 1, column 10: unknown metric type `meter`",
            ),
            (
                "# TYPE a gauge\n# TYPE a gauge\n# EOF\n",
                "line 2, column 1: family `a` has more than one TYPE",
            ),
            (
                "# TYPE a gauge\na 1\n# HELP a x\n# EOF\n",
                "line 3, column 1: family `a` is described after its samples",
            ),
            (
                "a 1\nb 1\na 1\n# EOF\n",
                "line 3, column 1: the name `a` of family `a` is that of an earlier family or of its samples",
            ),
            (
                "# TYPE a gauge\n# UNIT a s\n# EOF\n",
                "line 2, column 1: unit `s` is not the end of the family's name `a`",
            ),
            (
                "a 1\na 1\n# EOF\n",
                "line 2, column 1: metric `a`: the series is given twice",
            ),
            (
                "a{x=\"1\"} 1\na{x=\"2\"} 1\na{x=\"1\"} 1\n# EOF\n",
                "line 3, column 1: metric `a`: its group of samples is interrupted by others",
            ),
            (
                "a 1 2\na 1 1\n# EOF\n",
                "line 2, column 1: metric `a`: timestamps go back within its group of samples",
            ),
            (
                "# TYPE a histogram\na_bucket{le=\"1\"} 1\n# TYPE b gauge\n# EOF\n",
                "line 2, column 1: the histogram has no bucket le=\"+Inf\"",
            ),
            (
                "# TYPE a counter\na_total -1\n# EOF\n",
                "line 2, column 1: metric `a_total`: the value must not be below zero",
            ),
            (
                "a 1 # {} 1\n# EOF\n",
                "line 1, column 1: metric `a`: only counters and buckets may have an exemplar",
            ),
            (
                "# TYPE a counter\na_total 1 # {x=\"1\",x=\"2\"} 1\n# EOF\n",
                "line 2, column 26: the exemplar's label `x` is given twice",
            ),
            (
                "a{__name__=\"b\"} 1\n# EOF\n",
                "line 1, column 1: metric `a`: label `__name__` is reserved for the metric's name",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), error, "{text:?}");
        }
    }

    #[test]
    fn a_point_given_twice_counts_once() {
        let text = "a 1 1.0000000001\na 2 1.0000000002\na 3 1.1\n# EOF\n";
        let parsed = parse(text).unwrap();
        assert_eq!((parsed.origin, parsed.total), (vec![1, 3], 3));
    }

    #[test]
    fn a_time_beyond_all_years_costs_its_sample_alone() {
        let parsed = parse("a 1 1e300\nb 1 1\n# EOF\n").unwrap();
        assert_eq!((keys(&parsed), parsed.total), (vec!["b".to_owned()], 2));
        assert_eq!(parsed.errors.len(), 1);
        assert_eq!(parsed.errors[0].index, 1);
        assert_eq!(
            parsed.errors[0].reason,
            "metric `a`: its timestamp is out of range"
        );
    }

    proptest! {
        #[test]
        fn arbitrary_text_does_not_panic(text in "\\PC{0,200}", lines in "[ab_# {}\"=,.0-9eE+\\\\\n-]{0,120}") {
            let _ = parse(&text);
            let _ = parse(&lines);
        }

        #[test]
        fn mutated_documents_do_not_panic(at in 0..GOOD.len(), byte in any::<u8>(), cut in 0..GOOD.len()) {
            let mut body = GOOD.as_bytes().to_vec();
            body[at] = byte;
            if let Ok(parsed) = std::str::from_utf8(&body).map_err(|_| ()).and_then(|t| parse(t).map_err(|_| ())) {
                prop_assert_eq!(parsed.origin.len(), parsed.batch.len());
                prop_assert!(parsed.total >= parsed.batch.len() + parsed.errors.len());
            }
            body.truncate(cut);
            let _ = std::str::from_utf8(&body).map(parse);
        }

        #[test]
        fn gauges_round_trip(
            samples in proptest::collection::btree_map("[a-z]{1,5}", ("\\PC{0,9}", any::<f64>(), 0i64..4_000_000_000_000), 0..20),
        ) {
            let mut text = String::new();
            for (name, (label, value, ms)) in &samples {
                let label = label.replace('\\', r"\\").replace('"', "\\\"");
                let (seconds, millis) = (ms / 1000, ms % 1000);
                writeln!(text, "# TYPE {name} gauge\n{name}{{l=\"{label}\"}} {value:?} {seconds}.{millis:03}").unwrap();
            }
            text.push_str("# EOF\n");
            let parsed = parse(&text).unwrap();
            prop_assert_eq!(parsed.batch.len(), samples.len());
            for (row, (name, (label, value, ms))) in parsed.batch.rows().iter().zip(&samples) {
                let key = SeriesKey::new(name, &[("l", label)]).unwrap();
                prop_assert_eq!(parsed.batch.key(row), key.as_bytes());
                prop_assert_eq!(row.time.as_millis(), *ms);
                prop_assert!(row.value == *value || (row.value.is_nan() && value.is_nan()));
            }
        }
    }
}
