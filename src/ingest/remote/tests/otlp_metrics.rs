//! OTLP metrics: what they become, what is rejected, and that JSON says what protobuf says.

use std::{fs, path::PathBuf};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, ArrayValue, KeyValue, any_value},
    metrics::v1::{
        Exemplar, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
        number_data_point::Value,
    },
};
use proptest::prelude::*;
use prost::Message;
use serde_json::json;

use super::{batch_lines, lines, otlp_any::any_request, otlp_json::to_json};
use crate::{
    ingest::{
        BodyError, OtlpFormat,
        remote::{
            Accumulator, AgentRule, ReceivedMetrics, otlp_metrics_response,
            parse_otlp_metrics_json, parse_otlp_metrics_protobuf,
        },
    },
    model::{Limits, MetricKind, Timestamp},
};

fn parse_json(body: &serde_json::Value) -> Result<ReceivedMetrics, BodyError> {
    let body = body.to_string();
    parse_otlp_metrics_json(body.as_bytes(), &AgentRule::default(), &Limits::default())
}

fn parse_protobuf(body: &[u8]) -> Result<ReceivedMetrics, BodyError> {
    parse_otlp_metrics_protobuf(body, &AgentRule::default(), &Limits::default())
}

/// Metrics of the service `s` of instance `i`.
fn of(metrics: &serde_json::Value) -> serde_json::Value {
    json!({"resourceMetrics": [{
        "resource": {"attributes": [
            {"key": "service.name", "value": {"stringValue": "s"}},
            {"key": "service.instance.id", "value": {"stringValue": "i"}},
        ]},
        "scopeMetrics": [{"metrics": metrics}],
    }]})
}

/// The samples that the metrics become, without what all of them have.
fn lines_of(metrics: &serde_json::Value) -> Vec<String> {
    let received = parse_json(&of(metrics)).unwrap();
    assert_eq!(received.message(), "");
    let all = lines(&received).into_iter();
    all.map(|line| {
        line.replace(r#"instance="i",job="s""#, "*")
            .replace("s/i ", "")
    })
    .collect()
}

#[test]
fn the_document_of_the_specification_is_taken() {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance/otlp/metrics.json");
    let Ok(body) = fs::read(path) else {
        return;
    };
    let (rule, limits) = (AgentRule::default(), Limits::default());
    let received = parse_otlp_metrics_json(&body, &rule, &limits).unwrap();
    let time = 1_544_712_660_300_i64;
    let line = |metric: &str, labels: &str, value: i32| {
        let scope = r#"otel_scope_name="my.library",otel_scope_version="1.0.0""#;
        let labels = format!(r#"job="my.service",{labels}="some value",{scope}"#);
        format!("my.service my_{metric}{{{labels}}} {time} {value}")
    };
    assert_eq!(lines(&received), [line("gauge_ratio", "my_gauge_attr", 10)]);
    let counts = (received.samples, received.histograms, received.rejected);
    assert_eq!(counts, (2, 2, 0));
    let response = otlp_metrics_response(&received, OtlpFormat::Json);
    assert_eq!(response, br#"{"partialSuccess":{}}"#);
    let mut accumulator = Accumulator::new(1000);
    let sum = accumulator.add(&received.deltas[0], Timestamp::from_millis(time));
    let explicit = "my_histogram_attr";
    let exponential = "my_exponential_histogram_attr";
    let bucket = |metric, le, label, value| line(metric, &format!(r#"le="{le}",{label}"#), value);
    assert_eq!(
        batch_lines("my.service", &sum.batch),
        [
            line("counter_total", "my_counter_attr", 5),
            line("histogram_count", explicit, 2),
            line("histogram_sum", explicit, 2),
            bucket("histogram_bucket", "1", explicit, 1),
            bucket("histogram_bucket", "+Inf", explicit, 2),
            line("exponential_histogram_count", exponential, 3),
            line("exponential_histogram_sum", exponential, 10),
            bucket("exponential_histogram_bucket", "0", exponential, 1),
            bucket("exponential_histogram_bucket", "4", exponential, 1),
            bucket("exponential_histogram_bucket", "8", exponential, 3),
            bucket("exponential_histogram_bucket", "+Inf", exponential, 3),
        ]
    );
}

#[test]
fn numbers_become_gauges_and_counters() {
    let points = json!([
        {"timeUnixNano": "5000000", "asInt": "-7"},
        {"timeUnixNano": 6_999_999, "asDouble": "NaN", "attributes": [{"key": "a.b", "value": {"intValue": 1}}]},
        {"timeUnixNano": "7000000", "flags": 1},
    ]);
    assert_eq!(
        lines_of(&json!([
            {"name": "g", "unit": "1", "gauge": {"dataPoints": points}},
            {"name": "c.x", "unit": "By", "sum": {"dataPoints": [points[0]], "aggregationTemporality": 2, "isMonotonic": true}},
            {"name": "u", "sum": {"dataPoints": [points[0]], "aggregationTemporality": "AGGREGATION_TEMPORALITY_CUMULATIVE"}},
            {"name": "nothing", "gauge": {"dataPoints": null}},
            {"name": "no data"},
        ])),
        [
            "g_ratio{*} 5 -7",
            r#"g_ratio{a_b="1",*} 6 7ff8000000000000"#,
            "g_ratio{*} 7 7ff0000000000002",
            "c_x_bytes_total{*} 5 -7",
            "u{*} 5 -7",
        ]
    );
}

#[test]
fn distributions_become_families() {
    assert_eq!(
        lines_of(&json!([
            {"name": "h", "unit": "s", "histogram": {"aggregationTemporality": 2, "dataPoints": [
                {"timeUnixNano": 1e6, "count": "6", "sum": 2.5, "bucketCounts": ["1", 2, "3"], "explicitBounds": [0.5, 1]},
                {"timeUnixNano": 2e6, "count": 3, "bucketCounts": [], "explicitBounds": null},
                {"timeUnixNano": 3e6, "flags": 1, "bucketCounts": [0, 0], "explicitBounds": [0.5]},
            ]}},
            {"name": "e", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [
                {"timeUnixNano": 1e6, "count": 4, "zeroCount": 1, "zeroThreshold": 0.5, "scale": -1,
                    "positive": {"offset": 0, "bucketCounts": [1]}, "negative": {"offset": 1, "bucketCounts": ["2"]}},
            ]}},
            {"name": "q", "summary": {"dataPoints": [
                {"timeUnixNano": 1e6, "count": 4, "sum": 3, "quantileValues": [{"quantile": 0.5, "value": 1.5}, {"quantile": 1, "value": "Infinity"}]},
                {"timeUnixNano": 2e6, "flags": 1},
            ]}},
        ])),
        [
            "h_seconds_count{*} 1 6",
            "h_seconds_sum{*} 1 2.5",
            r#"h_seconds_bucket{*,le="0.5"} 1 1"#,
            r#"h_seconds_bucket{*,le="1"} 1 3"#,
            r#"h_seconds_bucket{*,le="+Inf"} 1 6"#,
            "h_seconds_count{*} 2 3",
            r#"h_seconds_bucket{*,le="+Inf"} 2 3"#,
            "h_seconds_count{*} 3 7ff0000000000002",
            "h_seconds_sum{*} 3 7ff0000000000002",
            r#"h_seconds_bucket{*,le="0.5"} 3 7ff0000000000002"#,
            r#"h_seconds_bucket{*,le="+Inf"} 3 7ff0000000000002"#,
            "e_count{*} 1 4",
            r#"e_bucket{*,le="-16"} 1 0"#,
            r#"e_bucket{*,le="-4"} 1 2"#,
            r#"e_bucket{*,le="-0.5"} 1 2"#,
            r#"e_bucket{*,le="0.5"} 1 3"#,
            r#"e_bucket{*,le="1"} 1 3"#,
            r#"e_bucket{*,le="4"} 1 4"#,
            r#"e_bucket{*,le="+Inf"} 1 4"#,
            r#"q{*,quantile="0.5"} 1 1.5"#,
            r#"q{*,quantile="1"} 1 inf"#,
            "q_sum{*} 1 3",
            "q_count{*} 1 4",
            "q_sum{*} 2 7ff0000000000002",
            "q_count{*} 2 7ff0000000000002",
        ]
    );
}

#[test]
fn resources_name_the_agent_and_are_told() {
    let text = |key: &str, text: &str| json!({"key": key, "value": {"stringValue": text}});
    let gauge = |time: &str| {
        json!({"name": "g", "description": "Help", "gauge": {"dataPoints": [
        {"timeUnixNano": time, "asInt": 1, "attributes": [text("job", "of the point"), text("x", "y")]}]}})
    };
    let group = |attributes: &[serde_json::Value], metrics: serde_json::Value| {
        json!({"resource": {"attributes": attributes}, "scopeMetrics": [
            {"scope": {"name": "lib", "version": "1"}, "metrics": metrics}]})
    };
    let service = [
        text("service.namespace", "eu"),
        text("service.name", "shop"),
        text("service.instance.id", "7"),
        text("host.name", "h"),
        json!({"key": "cpus", "value": {"intValue": "4"}}),
    ];
    let mut own = service.to_vec();
    own.push(text("gen_ai.agent.id", "planner"));
    let received = parse_json(&json!({"resourceMetrics": [
        group(&service, json!([gauge("9000000"), gauge("8000000")])),
        group(&own, json!([gauge("9000000")])),
        group(&[text("host.name", "h")], json!([gauge("9000000")])),
        {"scopeMetrics": [{"metrics": [gauge("1000000")]}]},
    ]}))
    .unwrap();
    let scope = r#"otel_scope_name="lib",otel_scope_version="1""#;
    assert_eq!(
        lines(&received),
        [
            format!(r#"eu/shop/7 g{{instance="7",job="eu/shop",{scope},x="y"}} 9 1"#),
            format!(r#"eu/shop/7 g{{instance="7",job="eu/shop",{scope},x="y"}} 8 1"#),
            r#"eu/shop/7 target_info{cpus="4",host_name="h",instance="7",job="eu/shop"} 9 1"#.to_owned(),
            format!(r#"planner g{{instance="7",job="eu/shop",{scope},x="y"}} 9 1"#),
            r#"planner target_info{cpus="4",gen_ai_agent_id="planner",host_name="h",instance="7",job="eu/shop"} 9 1"#.to_owned(),
            format!(r#"of the point g{{job="of the point",{scope},x="y"}} 9 1"#),
            r#"of the point g{job="of the point",x="y"} 1 1"#.to_owned(),
        ]
    );
    let told = &received.parts[0].1.metadata;
    assert_eq!(told.len(), 2, "each metric once");
    assert_eq!(
        (&*told[0].name, &*told[0].help, told[0].kind),
        ("g", "Help", MetricKind::Gauge)
    );
    assert_eq!(
        (&*told[1].name, told[1].kind),
        ("target_info", MetricKind::Info)
    );
}

#[test]
fn bad_points_are_rejected_alone() {
    let good = json!({"timeUnixNano": "1000000", "asInt": 1});
    let body = of(&json!([
        {"name": "g", "gauge": {"dataPoints": [
            good, {"timeUnixNano": "1"}, {"asInt": 1}, {"timeUnixNano": "x"}, 7,
            {"timeUnixNano": "1", "asInt": 1, "attributes": [{"key": "é", "value": {"boolValue": true}}]},
        ]}},
        {"name": "...", "gauge": {"dataPoints": [good]}},
        {"name": "s", "sum": {"dataPoints": [good], "aggregationTemporality": 1}},
        {"name": "s", "sum": {"dataPoints": [good]}},
        {"name": "h", "histogram": {"aggregationTemporality": 2, "dataPoints": [
            {"timeUnixNano": "1", "count": 1, "bucketCounts": [1], "explicitBounds": [1]},
            {"timeUnixNano": "1", "count": 1, "attributes": [{"key": "le", "value": {"stringValue": "1"}}]},
        ]}},
    ]));
    let received = parse_json(&body).unwrap();
    assert_eq!((received.samples, received.rejected), (1, 10));
    let mut reasons = received.reasons.clone();
    let place = reasons[2].rfind("line").unwrap();
    assert!(reasons[2][place..].contains("column"));
    reasons[2].truncate(place);
    assert_eq!(
        reasons,
        [
            "metric `g`: a point has no value",
            "metric `g`: a point has no time",
            "metric `g`: ",
            "metric `g`: it is no object",
            "metric `g`: attribute `é` has no letter or digit that a label's name may have",
            "metric `...`: its name has no letter or digit",
            "metric `s`: a sum that may fall needs cumulative temporality",
            "metric `s`: its aggregation temporality is neither delta nor cumulative",
            "metric `h`: it has 1 bounds and 1 bucket counts, one more is expected",
            "metric `h`: a histogram must not have a label `le` of its own",
        ]
    );
    let none = of(&json!([{"name": "g", "gauge": {"dataPoints": [{"asInt": 1}]}}]));
    assert_eq!(
        parse_json(&none).unwrap_err().to_string(),
        "no point of the body can be taken: 1 rejected: metric `g`: a point has no time"
    );
    assert!(matches!(
        parse_json(&json!([])),
        Err(BodyError::Syntax { .. })
    ));
    assert!(matches!(
        parse_json(&json!({"resourceMetrics": 1})),
        Err(BodyError::Syntax { .. })
    ));
    assert_eq!(
        parse_protobuf(b"\x0a\x05\x12\x03\x12\x09a")
            .unwrap_err()
            .to_string(),
        "the body is no OTLP in protobuf: it is damaged at byte 6: a field is longer than what is left of its message"
    );
}

#[test]
fn increments_come_apart() {
    let point = |start: &str, time: &str| json!({"startTimeUnixNano": start, "timeUnixNano": time, "asDouble": 2});
    let points = json!([point("1000000", "2000000"), point("0", "3000000"), {"timeUnixNano": "4000000", "flags": 1}]);
    let received = parse_json(&of(&json!([
        {"name": "c", "sum": {"dataPoints": points, "aggregationTemporality": 1, "isMonotonic": true}},
    ])))
    .unwrap();
    assert_eq!(
        lines(&received),
        [r#"s/i c_total{instance="i",job="s"} 4 7ff0000000000002"#]
    );
    let deltas = &received.deltas[0];
    assert_eq!(deltas.starts, [Timestamp::from_millis(1), Timestamp::MIN]);
    let sum = Accumulator::new(9).add(deltas, Timestamp::from_millis(5));
    assert_eq!(
        batch_lines("s/i", &sum.batch),
        [
            r#"s/i c_total{instance="i",job="s"} 2 2"#,
            r#"s/i c_total{instance="i",job="s"} 3 4"#,
        ]
    );
}

/// Little of the body may not make much in memory.
#[test]
fn what_a_body_makes_is_bounded() {
    let metric = |point: NumberDataPoint| ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![Metric {
                    name: "m".to_owned(),
                    data: Some(Data::Gauge(Gauge {
                        data_points: vec![point],
                    })),
                    ..Metric::default()
                }],
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    };
    let good = || NumberDataPoint {
        time_unix_nano: 1_000_000,
        value: Some(Value::AsInt(1)),
        ..NumberDataPoint::default()
    };
    let refused = |point: NumberDataPoint| {
        let body = metric(point).encode_to_vec();
        parse_protobuf(&body).unwrap_err().to_string()
    };
    let many = NumberDataPoint {
        attributes: vec![KeyValue::default(); 100_000],
        ..good()
    };
    assert!(refused(many).ends_with("it has more labels than the limit of 64"));
    let large = NumberDataPoint {
        exemplars: vec![Exemplar::default(); 600_000],
        ..good()
    };
    assert!(refused(large).ends_with("it has 1200018 bytes, at most 1048576 are taken"));
    let mut deep = AnyValue::default();
    for _ in 0..200 {
        let values = vec![deep];
        deep = AnyValue {
            value: Some(any_value::Value::ArrayValue(ArrayValue { values })),
        };
    }
    let nested = NumberDataPoint {
        attributes: vec![KeyValue {
            key: "deep".to_owned(),
            value: Some(deep),
            ..KeyValue::default()
        }],
        ..good()
    };
    assert!(refused(nested).contains("an attribute is damaged"));
    let wide = json!({"key": "x", "value": {"stringValue": "v".repeat(5000)}});
    let point = json!({"timeUnixNano": "1000000", "asInt": 1, "attributes": [wide]});
    let body = of(&json!([{"name": "g", "gauge": {"dataPoints": [point]}}]));
    let error = parse_json(&body).unwrap_err().to_string();
    assert!(error.ends_with("label `x` has a value of 5000 bytes; the limit is 4096"));
    // A resource that says too much, and one that says more than there is room for.
    let resource = |bytes: usize| {
        let long = json!({"key": "args", "value": {"stringValue": "v".repeat(bytes)}});
        let gauge = json!({"dataPoints": [{"timeUnixNano": "1", "asInt": 1}]});
        let mut body = of(&json!([{"name": "g", "gauge": gauge}]));
        let attributes = &mut body["resourceMetrics"][0]["resource"]["attributes"];
        let attributes = attributes.as_array_mut().unwrap();
        attributes.push(long);
        let more = (0..100).map(|i| json!({"key": format!("a{i}"), "value": {"intValue": i}}));
        attributes.extend(more);
        parse_json(&body)
    };
    let error = resource(2 << 20).unwrap_err().to_string();
    assert!(
        error.starts_with("a resource or scope is too large: it has 2"),
        "{error}"
    );
    let received = resource(5000).unwrap();
    assert_eq!(received.message(), "");
    let target = lines(&received).remove(1);
    assert!(
        target.contains("a0=") && !target.contains("args"),
        "{target}"
    );
    assert_eq!(target.matches('=').count(), 64);
    // Points of two bytes each.
    let mut points = Vec::new();
    for _ in 0..2_000_001 {
        points.extend_from_slice(b"\x0a\x00");
    }
    let wrap = |number: u8, inner: &[u8]| {
        let mut out = vec![number << 3 | 2];
        prost::encoding::encode_varint(inner.len() as u64, &mut out);
        out.extend_from_slice(inner);
        out
    };
    let body = wrap(1, &wrap(2, &wrap(2, &wrap(5, &points))));
    assert_eq!(
        parse_protobuf(&body).unwrap_err().to_string(),
        "the body has more than 2000000 points; send it in parts"
    );
}

/// All that a body becomes as text; `NaN` has no order and no equality.
fn shown(received: &Result<ReceivedMetrics, BodyError>) -> String {
    format!("{received:?}")
}

proptest! {
    #[test]
    fn json_says_what_protobuf_says(request in any_request(), loose: bool) {
        let protobuf = parse_protobuf(&request.encode_to_vec());
        let json = parse_json(&to_json(&request, loose));
        prop_assert_eq!(shown(&protobuf), shown(&json));
    }

    #[test]
    fn what_is_taken_adds_up(request in any_request()) {
        let points: usize = request
            .resource_metrics
            .iter()
            .flat_map(|group| &group.scope_metrics)
            .flat_map(|scoped| &scoped.metrics)
            .map(|metric| match &metric.data {
                None => 0,
                Some(Data::Gauge(gauge)) => gauge.data_points.len(),
                Some(Data::Sum(sum)) => sum.data_points.len(),
                Some(Data::Histogram(histogram)) => histogram.data_points.len(),
                Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
                Some(Data::Summary(summary)) => summary.data_points.len(),
            })
            .sum();
        if let Ok(received) = parse_protobuf(&request.encode_to_vec()) {
            let taken = received.samples + received.histograms + received.rejected;
            prop_assert_eq!(taken, points as u64);
            let _ = lines(&received);
            let mut accumulator = Accumulator::new(1000);
            for deltas in &received.deltas {
                let sum = accumulator.add(deltas, Timestamp::from_millis(1));
                prop_assert!(sum.batch.rows().len() + sum.rejected as usize >= deltas.len());
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_survived(
        body in prop::collection::vec(any::<u8>(), 0..300),
        request in any_request(),
        at: prop::sample::Index,
        to: u8,
    ) {
        let mut damaged = request.encode_to_vec();
        let mut text = to_json(&request, false).to_string().into_bytes();
        for body in [&mut damaged, &mut text] {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = to;
            }
        }
        let (rule, limits) = (AgentRule::default(), Limits::default());
        for body in [&body, &damaged, &text] {
            let _ = parse_otlp_metrics_protobuf(body, &rule, &limits);
            let _ = parse_otlp_metrics_json(body, &rule, &limits);
        }
    }
}
