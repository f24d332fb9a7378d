//! What scrapes answer, against the cases of the formats' own test suites.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers fail by panicking"
)]

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

use base64_of_cases::decode;
use longwatch::{
    ingest::{BodyError, Parsed, parse_scrape},
    model::{Limits, SeriesKey, Timestamp},
};
use serde::Deserialize;

const AT: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Cases that the letter of OpenMetrics refuses and that are taken here, with the line that is noted for it and
/// why. The data contradicts itself: `alltypes.5mfs.om.txt`, which a scrape must take whole, is what the Go client
/// library writes once it has observed negative values, and it does exactly this. Nothing but the signs of the
/// observations tells the document from the cases, and a scrape must not come and go with those. So the line is
/// noted with its place, counted (`longwatch_format_departures_total`) and logged, and the document is taken.
const NOTED: &[(&str, &str)] = &[
    (
        "bad_histograms_3",
        "line 5, column 1: a histogram with a bucket below zero must not have a sum",
    ),
    (
        "bad_counter_values_19",
        "line 2, column 1: metric `a`: a quantile must not be below zero",
    ),
];

/// Samples of good documents, by case and index, that are refused alone, with what is said of them. This one lies
/// 390 thousand million years ahead: no number of milliseconds in 64 bits, which is what samples are stored with
/// here and in Prometheus, can say it, and a sample stored at another time would be one that the document does not
/// have. (Any sample more than `limits.future` ahead is refused later on in any case.)
const BEYOND_TIME: &[(&str, usize, &str)] = &[(
    "timestamps",
    3,
    "line 6, column 20: metric `a_total`: its timestamp is out of range",
)];

#[derive(Deserialize)]
struct Suite {
    content_type: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    input: Option<String>,
    input_base64: Option<String>,
    should_parse: bool,
    /// Absent where nothing comes of the input.
    #[serde(default)]
    expected: Expected,
}

#[derive(Default, Deserialize)]
struct Expected {
    families: BTreeMap<String, Family>,
    samples: Vec<Sample>,
}

#[derive(Deserialize)]
struct Family {
    #[serde(rename = "type")]
    kind: String,
    unit: String,
    help: String,
}

#[derive(Deserialize)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: String,
    timestamp_seconds: Option<f64>,
    exemplar: Option<serde_json::Value>,
}

mod base64_of_cases {
    /// The standard alphabet with padding, as far as the cases need it.
    pub(super) fn decode(text: &str) -> Vec<u8> {
        let digit = |c: u8| match c {
            b'A'..=b'Z' => u32::from(c - b'A'),
            b'a'..=b'z' => u32::from(c - b'a') + 26,
            b'0'..=b'9' => u32::from(c - b'0') + 52,
            b'+' => 62,
            b'/' => 63,
            other => panic!("{other} is not base64"),
        };
        let (mut bits, mut held, mut out) = (0u32, 0, Vec::new());
        for c in text.trim_end_matches('=').bytes() {
            bits = bits << 6 | digit(c);
            held += 6;
            if held >= 8 {
                held -= 8;
                out.push((bits >> held) as u8);
            }
        }
        out
    }
}

/// A file of the cases; `None`, said aloud, where they are absent.
fn file(name: &str) -> Option<Vec<u8>> {
    let path = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/conformance/exposition"
    ))
    .join(name);
    let read = fs::read(&path);
    if read.is_err() {
        println!("SKIPPED: {} is absent", path.display());
    }
    read.ok()
}

fn scrape(content_type: &str, body: &[u8]) -> Result<Parsed, BodyError> {
    parse_scrape(Some(content_type), body, AT, true, &Limits::default())
}

/// Series, milliseconds and value of each row. Values are compared as their texts, so that NaN is NaN.
type Rows = Vec<(String, i64, String)>;

fn rows_of(parsed: &Parsed) -> Rows {
    let batch = &parsed.batch;
    let key = |row| SeriesKey::from_bytes(batch.key(row)).unwrap().to_string();
    batch
        .rows()
        .iter()
        .map(|row| (key(row), row.time.as_millis(), row.value.to_string()))
        .collect()
}

/// The name of a sample as the input has it: from text 0.0.4 the reference parser tells samples of a
/// counter `a` as `a_total`. What a target writes is kept here.
fn name_as_written<'s>(case: &Case, expected: &Expected, sample: &'s Sample) -> &'s str {
    let written = case
        .input
        .as_ref()
        .is_some_and(|text| text.contains("_total"));
    match sample.name.strip_suffix("_total") {
        Some(family) if !written && expected.families[family].kind == "counter" => family,
        _ => &sample.name,
    }
}

fn rows_expected(case: &Case, expected: &Expected) -> Rows {
    let mut rows = Vec::new();
    for (i, sample) in expected.samples.iter().enumerate() {
        if BEYOND_TIME
            .iter()
            .any(|(name, at, _)| *name == case.name && *at == i)
        {
            continue;
        }
        let labels: Vec<_> = sample.labels.iter().map(|(k, v)| (&**k, &**v)).collect();
        let name = name_as_written(case, expected, sample);
        let key = SeriesKey::new(name, &labels).unwrap().to_string();
        let millis = sample
            .timestamp_seconds
            .map_or(AT.as_millis(), |s| (s * 1000.0).round() as i64);
        let value: f64 = sample.value.parse().unwrap();
        rows.push((key, millis, value.to_string()));
    }
    rows
}

fn check_good(case: &Case, parsed: &Parsed, wrong: &mut Vec<String>) {
    let name = &case.name;
    let expected = &case.expected;
    let rows = rows_expected(case, expected);
    if rows_of(parsed) != rows {
        wrong.push(format!(
            "{name}: rows {:?}, expected {rows:?}",
            rows_of(parsed)
        ));
    }
    let exemplars = expected
        .samples
        .iter()
        .filter(|s| s.exemplar.is_some())
        .count();
    if parsed.exemplars_dropped != exemplars as u64 {
        wrong.push(format!(
            "{name}: {} exemplars, expected {exemplars}",
            parsed.exemplars_dropped
        ));
    }
    let refused: Vec<_> = parsed.errors.iter().map(ToString::to_string).collect();
    let beyond = BEYOND_TIME.iter().filter(|(case, ..)| case == name);
    if refused != beyond.map(|(.., said)| *said).collect::<Vec<_>>() {
        wrong.push(format!("{name}: refused rows {refused:?}"));
    }
    if !parsed.departures.is_empty() {
        wrong.push(format!("{name}: departures {:?}", parsed.departures));
    }
    for (family, told) in &expected.families {
        let names = [
            family.clone(),
            format!("{family}_total"),
            format!("{family}_info"),
        ];
        let metadata = parsed
            .batch
            .metadata
            .iter()
            .find(|m| names.contains(&m.name));
        let kind = metadata.map_or("unknown", |m| m.kind.as_str());
        let help = metadata.map_or("", |m| &m.help);
        let unit = metadata.map_or("", |m| &m.unit);
        if (kind, help, unit) != (&told.kind, &told.help, &told.unit) {
            wrong.push(format!(
                "{name}: family {family} is told as {kind} {help:?} {unit:?}"
            ));
        }
    }
}

fn run(suite: &str) {
    let Some(bytes) = file(suite) else { return };
    let suite: Suite = serde_json::from_slice(&bytes).unwrap();
    let mut wrong = Vec::new();
    for case in &suite.cases {
        let name = &case.name;
        let input = match (&case.input, &case.input_base64) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, base64) => decode(base64.as_ref().expect("a case has an input")),
        };
        let noted = NOTED.iter().find(|(case, _)| case == name);
        match scrape(&suite.content_type, &input) {
            Ok(parsed) if case.should_parse => check_good(case, &parsed, &mut wrong),
            Ok(parsed) if noted.is_some() => {
                let said: Vec<_> = parsed.departures.iter().map(ToString::to_string).collect();
                if said != noted.map(|(_, said)| *said).into_iter().collect::<Vec<_>>() {
                    wrong.push(format!("{name}: departures {said:?}"));
                }
            }
            Ok(parsed) => wrong.push(format!("{name}: taken as {:?}", rows_of(&parsed))),
            Err(error) if case.should_parse || noted.is_some() => {
                wrong.push(format!("{name}: {error}"));
            }
            Err(BodyError::Syntax {
                line,
                column,
                reason,
            }) => {
                // A missing end is found on the line after the last, or right after a last line without its end.
                let lines: Vec<_> = input.split(|b| *b == b'\n').collect();
                let length = line
                    .checked_sub(1)
                    .map(|n| lines.get(n).map_or(0, |l| l.len()));
                let is_there = length.is_some_and(|length| (1..=length + 1).contains(&column));
                if !is_there || line > lines.len() + 1 || reason.is_empty() {
                    wrong.push(format!("{name}: line {line}, column {column}: {reason}"));
                }
            }
            Err(other) => wrong.push(format!("{name}: {other:?}")),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        suite.cases.len(),
        wrong.join("\n")
    );
}

#[test]
fn openmetrics_cases() {
    run("openmetrics-cases.json");
}

#[test]
fn more_openmetrics_cases() {
    run("openmetrics-more-cases.json");
}

#[test]
fn text_cases() {
    run("text-cases.json");
}

#[test]
fn documents_of_real_programs() {
    #[derive(Deserialize)]
    struct Count {
        samples: usize,
        types: usize,
    }
    for (name, content_type) in [
        ("alltypes.237mfs.prom.txt", "text/plain; version=0.0.4"),
        (
            "alltypes.5mfs.om.txt",
            "application/openmetrics-text; version=1.0.0",
        ),
    ] {
        let (Some(body), Some(count)) = (file(name), file(&format!("{name}.count.json"))) else {
            return;
        };
        let count: Count = serde_json::from_slice(&count).unwrap();
        let parsed = scrape(content_type, &body).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(parsed.batch.len(), count.samples, "{name}");
        assert_eq!(parsed.total, count.samples, "{name}");
        assert_eq!(parsed.batch.metadata.len(), count.types, "{name}");
        assert_eq!(parsed.errors, [], "{name}");
        // The signs of what the Go client observed, and nothing else.
        let departed: Vec<_> = parsed.departures.iter().map(|d| &*d.reason).collect();
        let rules = [
            "metric `rpc_durations_histogram_seconds_sum`: a sum must not be below zero",
            "a histogram with a bucket below zero must not have a sum",
            "metric `rpc_durations_seconds`: a quantile must not be below zero",
            "metric `rpc_durations_seconds_sum`: a sum must not be below zero",
        ];
        let expected = if name.contains(".om.") {
            &rules[..]
        } else {
            &[]
        };
        assert_eq!(departed, expected, "{name}");
    }
}

/// An exporter that repeats itself must cost time by its length, not by its square: at 150,000 families
/// a scan per family would not end within the life of a test.
#[test]
fn many_families_are_read_in_one_pass() {
    let families = 150_000;
    let mut text = String::from("# TYPE huge gauge\n");
    for i in 0..families {
        writeln!(text, "huge{{i=\"{i}\"}} 1").unwrap();
    }
    for i in 0..families {
        writeln!(text, "# TYPE m{i} gauge\nm{i} {i}").unwrap();
    }
    text.push_str("# EOF\n");
    for content_type in ["text/plain", "application/openmetrics-text"] {
        let parsed = scrape(content_type, text.as_bytes()).unwrap();
        assert_eq!(parsed.batch.len(), 2 * families);
        assert_eq!(parsed.batch.metadata.len(), families + 1);
    }
}
