//! What pushes become.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::model::{MetricKind, SeriesKey};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn parse(text: &str) -> Result<Parsed, BodyError> {
    parse_push(text.as_bytes(), NOW, &Limits::default())
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

/// The reason for which the only metric of a document is refused.
fn refusal(metric: &str) -> String {
    let parsed = parse(&format!(
        r#"{{"metrics":[{metric},{{"name":"good","value":1}}]}}"#
    ))
    .unwrap_or_else(|e| panic!("{metric}: {e}"));
    assert_eq!(
        (parsed.total, parsed.origin.as_slice()),
        (2, &[1][..]),
        "{metric}"
    );
    assert_eq!(parsed.errors.len(), 1, "{metric}");
    assert_eq!(parsed.errors[0].index, 0);
    parsed.errors[0].reason.clone()
}

#[test]
fn a_document_becomes_rows() {
    let parsed = parse(
        r#" {"agent":"x", "metrics": [
            {"name":"cpu","value":12.5,"type":"gauge","labels":{"core":"0","empty":"","none":null}},
            {"value":"3","name":"requests","type":"counter","timestamp":1700000001.25,"extra":[{}]},
            {"name":"cpu","value":"-Inf","timestamp":"2023-11-14T22:13:22+00:00"},
            {"name":"m\u00e9t","value":7,"type":null,"labels":null,"timestamp":null},
            {"name":"requests","value":-0.5e1,"timestamp":"1700000003","labels":{"job":"own"}}
        ], "more": {"metrics": []}} "#,
    )
    .unwrap();
    assert_eq!(
        rows(&parsed),
        [
            (r#"cpu{core="0"}"#.to_owned(), 1_700_000_000_000, 12.5),
            ("requests".to_owned(), 1_700_000_001_250, 3.0),
            ("cpu".to_owned(), 1_700_000_002_000, f64::NEG_INFINITY),
            ("mét".to_owned(), 1_700_000_000_000, 7.0),
            (
                r#"requests{exported_job="own"}"#.to_owned(),
                1_700_000_003_000,
                -5.0
            ),
        ]
    );
    assert_eq!(parsed.origin, [0, 1, 2, 3, 4]);
    assert_eq!((parsed.total, parsed.errors.len()), (5, 0));
    let kinds: Vec<_> = parsed
        .batch
        .metadata
        .iter()
        .map(|m| (m.name.as_str(), m.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            ("cpu", MetricKind::Gauge),
            ("requests", MetricKind::Counter),
            ("mét", MetricKind::Gauge)
        ]
    );
}

#[test]
fn empty_documents_are_documents() {
    for text in [
        r#"{"metrics":[]}"#,
        "\u{feff}{ \"a\" : 1 , \"metrics\" : [ ] }\n",
    ] {
        assert_eq!(parse(text).unwrap(), Parsed::default());
    }
}

#[test]
fn a_value_may_be_text() {
    let parsed = parse(
        r#"{"metrics":[{"name":"a","value":"NaN"},{"name":"a","value":"Inf"},
        {"name":"a","value":"+Inf"},{"name":"a","value":"1e3"},{"name":"a","value":18446744073709551615}]}"#,
    )
    .unwrap();
    let values: Vec<f64> = parsed.batch.rows().iter().map(|r| r.value).collect();
    assert_eq!(values[0].to_bits(), f64::NAN.to_bits());
    assert_eq!(
        values[1..],
        [
            f64::INFINITY,
            f64::INFINITY,
            1000.0,
            18_446_744_073_709_551_615.0
        ]
    );
}

#[test]
fn a_bad_metric_is_named_and_the_others_are_kept() {
    for (metric, reason) in [
        ("1", "a metric must be an object, found the number 1"),
        ("null", "a metric must be an object, found null"),
        ("[[1]]", "a metric must be an object, found an array"),
        (r#""x""#, "a metric must be an object, found the string `x`"),
        (r#"{"value":1}"#, "a metric needs a `name`"),
        (
            r#"{"name":true,"value":1}"#,
            "`name` must be a string, found a boolean",
        ),
        (
            r#"{"name":"","value":1}"#,
            "metric ``: a metric name must not be empty",
        ),
        (r#"{"name":"a"}"#, "metric `a`: a metric needs a `value`"),
        (
            r#"{"name":"a","value":null}"#,
            "metric `a`: `value` must be a number, found null",
        ),
        (
            r#"{"name":"a","value":{"x":1}}"#,
            "metric `a`: `value` must be a number, found an object",
        ),
        (
            r#"{"name":"a","value":"high"}"#,
            "metric `a`: `value` must be a number, found the string `high`",
        ),
        (r#"{"name":"a","value":1e999}"#, "number out of range"),
        (
            r#"{"name":"a\ud800","value":1}"#,
            "unexpected end of hex escape",
        ),
        (
            r#"{"name":"a","value":1,"type":"meter"}"#,
            "metric `a`: unknown metric type `meter`: expected counter, gauge, histogram or summary",
        ),
        (
            r#"{"name":"a","value":1,"type":4}"#,
            "metric `a`: `type` must be a string, found the number 4",
        ),
        (
            r#"{"name":"a","value":1,"labels":[]}"#,
            "metric `a`: `labels` must be an object, found an array",
        ),
        (
            r#"{"name":"a","value":1,"labels":{"x":"y","code":200}}"#,
            "metric `a`: label `code` must be a string, found the number 200",
        ),
        (
            r#"{"name":"a","value":1,"labels":{"x":"1","x":"2"}}"#,
            "metric `a`: label `x` is given twice",
        ),
        (
            r#"{"name":"a","value":1,"labels":{"":"1"}}"#,
            "metric `a`: a label name must not be empty",
        ),
        (
            r#"{"name":"a","value":1,"labels":{"__name__":"b"}}"#,
            "metric `a`: label `__name__` is reserved for the metric's name",
        ),
        (
            r#"{"name":"a","value":1,"value":2}"#,
            "metric `a`: `value` is given twice",
        ),
        (
            r#"{"name":"a\nb","value":1}"#,
            r"metric `a\nb`: a name must not hold control characters",
        ),
        (
            r#"{"name":"a","value":1,"labels":{"a\u0007":"x"}}"#,
            "metric `a`: a name must not hold control characters",
        ),
        (
            r#"{"name":"a","value":1,"timestamp":1700000000000}"#,
            "metric `a`: timestamp `1700000000000` is too large for unix seconds; is it milliseconds?",
        ),
        (
            r#"{"name":"a","value":1,"timestamp":"1700000000000"}"#,
            "metric `a`: timestamp `1700000000000` is too large for unix seconds; is it milliseconds?",
        ),
        (
            r#"{"name":"a","value":1,"timestamp":-99999999999}"#,
            "metric `a`: timestamp `-99999999999` is out of range",
        ),
        (
            r#"{"name":"a","value":1,"timestamp":"now"}"#,
            "metric `a`: timestamp `now` is not a time: give RFC 3339 or unix seconds",
        ),
        (
            r#"{"name":"a","value":1,"timestamp":"-5m"}"#,
            "metric `a`: timestamp `-5m` is not a time: give RFC 3339 or unix seconds",
        ),
        (
            r#"{"name":"a","value":1,"timestamp":"2023-13-01T00:00:00Z"}"#,
            "metric `a`: timestamp `2023-13-01T00:00:00Z` is not a time: give RFC 3339 or unix seconds",
        ),
        (
            r#"{"name":"a","value":1,"timestamp":{}}"#,
            "metric `a`: `timestamp` must be RFC 3339 or unix seconds, found an object",
        ),
    ] {
        assert_eq!(refusal(metric), reason, "{metric}");
    }
}

#[test]
fn long_names_are_cut_in_messages() {
    let name = "n".repeat(257);
    assert_eq!(
        refusal(&json!({"name": name, "value": 1}).to_string()),
        format!(
            "metric `{}...`: the metric's name has 257 bytes; the limit is 256",
            "n".repeat(80)
        )
    );
    let labels: serde_json::Map<_, _> = (0..70).map(|i| (format!("l{i}"), "v".into())).collect();
    assert_eq!(
        refusal(&json!({"name": "a", "value": 1, "labels": labels}).to_string()),
        "metric `a`: more labels than the limit of 64"
    );
}

#[test]
fn bytes_that_are_not_utf8_cost_one_metric() {
    let body = b"{\"metrics\":[{\"name\":\"\xff\",\"value\":1},{\"name\":\"b\",\"value\":1}]}";
    let parsed = parse_push(body, NOW, &Limits::default()).unwrap();
    assert_eq!(parsed.origin, [1]);
    assert_eq!(parsed.errors[0].reason, "invalid unicode code point");
}

#[test]
fn what_is_no_document_is_refused_with_its_place() {
    for (text, error) in [
        ("", "line 1, column 1: the body is empty"),
        (
            "[]",
            "line 1, column 1: the document must be an object with `metrics`, found an array",
        ),
        (
            " 5",
            "line 1, column 2: the document must be an object with `metrics`, found the number 5",
        ),
        ("{}", "line 1, column 1: the document has no `metrics`"),
        (
            r#"{"metric":[]}"#,
            "line 1, column 1: the document has no `metrics`",
        ),
        (
            r#"{"metrics":{}}"#,
            "line 1, column 12: `metrics` must be an array, found an object",
        ),
        (
            r#"{"metrics":null}"#,
            "line 1, column 12: `metrics` must be an array, found null",
        ),
        (
            r#"{"metrics":"#,
            "line 1, column 12: the document ends too early",
        ),
        (
            "{\"metrics\":[],\n \"metrics\":[]}",
            "line 2, column 2: `metrics` is given twice",
        ),
        (
            r#"{"metrics":[]"#,
            "line 1, column 14: the document ends too early",
        ),
        (
            r#"{"metrics":[]} x"#,
            "line 1, column 16: there is more after the document's end",
        ),
        (
            r"{metrics:[]}",
            "line 1, column 2: expected a key in double quotes",
        ),
        (
            r#"{"metrics" []}"#,
            "line 1, column 12: expected `:` after a key",
        ),
        (
            r#"{"metrics":[],}"#,
            "line 1, column 15: expected a key in double quotes",
        ),
        (
            "{\"metrics\":[\n{\"name\":\"a\"}\n{}]}",
            "line 3, column 1: expected `,` or `]`",
        ),
        (
            "{\"metrics\":[\n{\"name\":\"a\" \"value\":1}]}",
            "line 2, column 13: expected `,` or `}`",
        ),
        (
            "{\"metrics\":[{\n\"name\":nope}]}",
            "line 2, column 9: expected ident",
        ),
        ("{\"metrics\":[{},]}", "line 1, column 16: expected value"),
        (
            "{\"metrics\":[{\"name\":\"a",
            "line 1, column 22: EOF while parsing a string",
        ),
        ("{\"metrics\":[NaN]}", "line 1, column 13: expected value"),
        (
            "{\"a\":tru,\"metrics\":[]}",
            "line 1, column 9: expected ident",
        ),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), error, "{text}");
    }
}

#[test]
fn depth_and_length_are_harmless() {
    let deep = "[".repeat(1_000_000);
    assert!(parse(&deep).is_err());
    assert!(parse(&format!(r#"{{"metrics":[{{"name":{deep}"#)).is_err());
    let closed = "[".repeat(100_000) + &"]".repeat(100_000);
    assert_eq!(
        refusal(&format!(r#"{{"name":"a","value":{closed}}}"#)),
        "metric `a`: `value` must be a number, found an array"
    );
    let nulls = "null,".repeat(super::super::ROW_ERRORS_MAX + 5) + "null";
    let parsed = parse(&format!(r#"{{"metrics":[{nulls}]}}"#)).unwrap();
    assert_eq!(parsed.total, super::super::ROW_ERRORS_MAX + 6);
    assert_eq!(parsed.errors.len(), super::super::ROW_ERRORS_MAX);
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_push(&body, NOW, &Limits::default());
    }

    #[test]
    fn mutated_documents_do_not_panic(at in 0usize..200, byte in any::<u8>(), cut in 0usize..200) {
        let mut body = br#"{"metrics":[{"name":"cpu","value":12.5,"type":"gauge","labels":{"core":"\u00e9"},"timestamp":"2023-11-14T22:13:22Z"},{"name":"b","value":"NaN","timestamp":1700000000}]}"#.to_vec();
        let at = at % body.len();
        body[at] = byte;
        if let Ok(parsed) = parse_push(&body, NOW, &Limits::default()) {
            prop_assert_eq!(parsed.total, parsed.batch.len() + parsed.errors.len());
            prop_assert_eq!(parsed.origin.len(), parsed.batch.len());
        }
        body.truncate(cut);
        let _ = parse_push(&body, NOW, &Limits::default());
    }

    /// What serde takes for JSON with `metrics` is taken, and nothing else.
    #[test]
    fn agrees_with_serde(text in r#"[\[\]{},:"a1 ]{0,12}"#) {
        let body = format!(r#"{{"x":1,"metrics":[{text}]}}"#);
        let ours = parse(&body).is_ok();
        let serde = serde_json::from_str::<serde_json::Value>(&body).is_ok();
        prop_assert_eq!(ours, serde, "{}", body);
    }

    #[test]
    fn documents_round_trip(
        metrics in proptest::collection::vec(
            ("[^\\p{Cc}]{1,60}", any::<f64>(), proptest::collection::btree_map("[a-z]{1,9}", "\\PC{0,9}", 0..4), 0i64..4_000_000_000_000),
            0..20,
        ),
    ) {
        let elements: Vec<_> = metrics.iter().map(|(name, value, labels, ms)| json!({
            "name": name,
            "value": if value.is_finite() { json!(value) } else { json!(format!("{value}")) },
            "labels": labels,
            "timestamp": Timestamp::from_millis(*ms).to_rfc3339(),
        })).collect();
        let text = json!({"metrics": elements}).to_string();
        let parsed = parse(&text).unwrap();
        prop_assert_eq!(&parsed.errors, &[]);
        prop_assert_eq!(parsed.batch.len(), metrics.len());
        for (row, (name, value, labels, ms)) in parsed.batch.rows().iter().zip(&metrics) {
            let labels: Vec<_> = labels.iter().map(|(k, v)| {
                let name = if k == "job" { "exported_job" } else { k.as_str() };
                (name, v.as_str())
            }).collect();
            let key = SeriesKey::new(name, &labels).unwrap();
            prop_assert_eq!(parsed.batch.key(row), key.as_bytes());
            prop_assert_eq!(row.time.as_millis(), *ms);
            prop_assert!(row.value == *value || (row.value.is_nan() && value.is_nan()));
        }
    }
}
