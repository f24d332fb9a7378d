use std::{fs, path::PathBuf};

use super::{check_round_trip, conformance};
use crate::{
    ingest::{BodyError, traces::*},
    model::{AgentId, AgentOrigin, Span, SpanId, SpanKind, SpanStatus},
};

fn json(body: &serde_json::Value) -> Result<Received, BodyError> {
    parse_otlp_json(body.to_string().as_bytes(), &SpanLimits::default())
}

/// A body of one span with an id, a start, an end and what is given.
fn with(more: &serde_json::Value) -> serde_json::Value {
    let mut span = serde_json::json!({
        "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "n",
        "startTimeUnixNano": 1_544_712_660_000_000_000_u64, "endTimeUnixNano": "1544712661000000000",
    });
    let more = more.as_object().unwrap().clone();
    span.as_object_mut().unwrap().extend(more);
    serde_json::json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
}

fn one(more: &serde_json::Value) -> Span {
    let mut received = json(&with(more)).unwrap();
    assert_eq!((received.spans.len(), received.rejected), (1, 0));
    received.spans.remove(0)
}

#[test]
fn documents_of_the_specification_are_taken() {
    for (name, count) in [
        ("trace.json", 1),
        ("jaeger-otlp-in.json", 2),
        ("jaeger-ui-multi-service.json", 4),
    ] {
        let Some(body) = conformance(&format!("otlp/{name}")) else {
            return;
        };
        let received = parse_otlp_json(&body, &SpanLimits::default()).unwrap();
        assert_eq!(
            (received.spans.len(), received.rejected),
            (count, 0),
            "{name}"
        );
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&otlp_response(
                &received,
                OtlpFormat::Json
            ))
            .unwrap(),
            serde_json::json!({"partialSuccess": {}})
        );
        assert!(otlp_response(&received, OtlpFormat::Protobuf).is_empty());
        check_round_trip(&received.spans);
    }
    let body = conformance("otlp/invalid-otlp.json").unwrap();
    let refused = parse_otlp_json(&body, &SpanLimits::default()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "no span of the body can be taken: span e127af99e3b3e074: its resource has no `service.name` and nothing names its agent"
    );
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/conformance/jaeger-search/traces");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let received = parse_otlp_json(&fs::read(&path).unwrap(), &SpanLimits::default()).unwrap();
        assert_eq!(received.rejected, 0, "{}", path.display());
        check_round_trip(&received.spans);
    }
}

#[test]
fn json_is_read_leniently() {
    let span = one(&serde_json::json!({
        "parentSpanId": null, "kind": "SPAN_KIND_SERVER", "traceState": null, "unknown": [{}],
        "status": {"code": "STATUS_CODE_ERROR", "message": "m"},
        "attributes": [
            {"key": "list", "value": {"arrayValue": {}}},
            {"key": "nan", "value": {"doubleValue": "NaN"}},
            {"key": "inf", "value": {"doubleValue": "-Infinity"}},
            {"key": "int", "value": {"intValue": "-9223372036854775808"}},
            {"key": "number", "value": {"intValue": 7}},
            {"key": "bytes", "value": {"bytesValue": "AAAwOQ"}},
            {"key": "map", "value": {"kvlistValue": {"values": [{"key": "a", "value": {"boolValue": true}}]}}},
            {"key": "nothing", "value": null},
            {"key": "snake", "value": {"string_value": "s\n"}},
        ],
        "events": [{"timeUnixNano": "5", "name": "e"}], "links": null,
    }));
    assert_eq!((span.parent_id, span.kind), (None, SpanKind::Server));
    assert_eq!(
        (&span.status, &*span.status_message),
        (&SpanStatus::Error, "m")
    );
    assert_eq!(span.events[0].time_ns, 5);
    assert_eq!(
        span.attributes.to_json(),
        serde_json::json!({
            "list": [], "nan": "NaN", "inf": "-inf", "int": i64::MIN, "number": 7, "bytes": "AAAwOQ==",
            "map": {"a": true}, "nothing": null, "snake": "s\n",
        })
    );
    check_round_trip(&[span]);
    let snake = r#"{"resource_spans":[{"scope_spans":[{"spans":[{"trace_id":"5B8EFFF798038103D269B633813FC60C",
        "span_id":"7uGbfsPBsXQ=","start_time_unix_nano":"7","parent_span_id":""}]}]}]}"#;
    let received = parse_otlp_json(snake.as_bytes(), &SpanLimits::default()).unwrap();
    assert_eq!(received.spans[0].span_id.to_string(), "eee19b7ec3c1b174");
    assert!(received.spans[0].is_open());
}

#[test]
fn bad_spans_leave_the_others_alone() {
    let mut body = with(&serde_json::json!({}));
    let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"]
        .as_array_mut()
        .unwrap();
    for change in [
        serde_json::json!({"traceId": "5b8efff7"}),
        serde_json::json!({"spanId": "0000000000000000"}),
        serde_json::json!({"spanId": "xyz"}),
        serde_json::json!({"startTimeUnixNano": 0}),
        serde_json::json!({"endTimeUnixNano": u64::MAX}),
        serde_json::json!({"parentSpanId": "12"}),
        serde_json::json!({"name": 7}),
    ] {
        let mut span = spans[0].clone();
        span.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        spans.push(span);
    }
    spans.push(7.into());
    let received = json(&body).unwrap();
    assert_eq!((received.spans.len(), received.rejected), (1, 8));
    let errors: Vec<_> = received.errors.iter().map(String::as_str).collect();
    assert_eq!(
        errors[0],
        "span 1 (eee19b7ec3c1b174): its trace id has 4 bytes, expected 16"
    );
    assert_eq!(
        errors[1],
        "span 2 (0000000000000000): its span id is all zero"
    );
    assert!(
        errors[2].starts_with("span 3: line 1, column ")
            && errors[2].ends_with(": an id is not hexadecimal"),
        "{}",
        errors[2]
    );
    assert_eq!(errors[3], "span 4 (eee19b7ec3c1b174): it has no start time");
    assert!(errors[4].ends_with("its end time 18446744073709551615 lies beyond what 64 bits hold"));
    assert!(errors[5].ends_with("its parent's span id has 1 bytes, expected 8"));
    assert!(
        errors[6].contains("invalid type: integer `7`, expected a text"),
        "{}",
        errors[6]
    );
    assert_eq!(errors[7], "span 8: it is no object");
    let answer: serde_json::Value =
        serde_json::from_slice(&otlp_response(&received, OtlpFormat::Json)).unwrap();
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "8");
    let bad = parse_otlp_json(b"{\"resourceSpans\":\n[}", &SpanLimits::default()).unwrap_err();
    assert_eq!(bad.to_string(), "line 2, column 2: expected value");
    for body in ["", "[]", "7", "{\"resourceSpans\":7}", "{} {}"] {
        assert!(
            matches!(
                parse_otlp_json(body.as_bytes(), &SpanLimits::default()),
                Err(BodyError::Syntax { .. })
            ),
            "{body}"
        );
    }
    assert!(parse_otlp_protobuf(b"\x0a\xff", &SpanLimits::default()).is_err());
    assert_eq!(
        parse_otlp_protobuf(b"", &SpanLimits::default()),
        Ok(Received::default())
    );
}

#[test]
fn what_exceeds_is_left_out_and_counted() {
    let limits = SpanLimits {
        attributes: 2,
        value_bytes: 5,
        name_bytes: 3,
        events: 1,
        links: 1,
        nesting: 2,
        ..SpanLimits::default()
    };
    let value = |text: &str| serde_json::json!({ "stringValue": text });
    let link = serde_json::json!({"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174"});
    let list = |inner: serde_json::Value| serde_json::json!({"arrayValue": {"values": [inner]}});
    let body = with(&serde_json::json!({
        "name": "nämlich",
        "attributes": [
            {"key": "a", "value": value("ääää")}, {"key": "long", "value": value("")},
            {"key": "b", "value": list(list(list(value("x"))))}, {"key": "c", "value": value("")},
        ],
        "droppedAttributesCount": 5,
        "events": [{"timeUnixNano": u64::MAX}, {"name": "e"}, {}], "links": [{}, link, link],
    }));
    let received = parse_otlp_json(body.to_string().as_bytes(), &limits).unwrap();
    let span = &received.spans[0];
    assert_eq!((&*span.name, received.cut), ("nä", 2));
    assert_eq!(
        span.attributes.to_json(),
        serde_json::json!({"a": "ää", "b": [[[]]]})
    );
    assert_eq!(
        (
            span.dropped_attributes,
            span.events.len(),
            span.dropped_events
        ),
        (8, 1, 2)
    );
    assert_eq!((span.links.len(), span.dropped_links), (1, 2));
    assert_eq!(received.message(), "2 texts were too long and are cut");
    let few = SpanLimits { spans: 0, ..limits };
    assert!(matches!(
        parse_otlp_json(body.to_string().as_bytes(), &few),
        Err(BodyError::Limit(_))
    ));
}

#[test]
fn deep_values_are_cut_or_their_span_is_rejected() {
    let deep = |levels: usize| {
        let value = r#"{"arrayValue":{"values":["#.repeat(levels) + "{}" + &"]}}".repeat(levels);
        with(&serde_json::json!({"attributes": ["HERE"]}))
            .to_string()
            .replace("\"HERE\"", &format!(r#"{{"key":"a","value":{value}}}"#))
    };
    for levels in [1, NESTING_MAX, NESTING_MAX + 1, 200, 10_000] {
        let received = parse_otlp_json(deep(levels).as_bytes(), &SpanLimits::default()).unwrap();
        let dropped = u32::from(levels > NESTING_MAX);
        assert_eq!(received.spans[0].dropped_attributes, dropped, "{levels}");
        check_round_trip(&received.spans);
    }
}

#[test]
fn open_spans_are_understood() {
    assert!(one(&serde_json::json!({"endTimeUnixNano": "0"})).is_open());
    let attribute =
        |key: &str, text: &str| serde_json::json!({"key": key, "value": {"stringValue": text}});
    let pending = one(&serde_json::json!({
        "parentSpanId": "00000000000000aa",
        "attributes": [attribute("logfire.span_type", "pending_span"), attribute("logfire.pending_parent_id", "00000000000000bb")],
    }));
    assert_eq!(
        (pending.span_id, pending.parent_id),
        (SpanId::new(0xaa).unwrap(), SpanId::new(0xbb))
    );
    assert!(pending.is_open() && pending.attributes.is_empty());
    let root = one(&serde_json::json!({
        "parentSpanId": "00000000000000aa",
        "attributes": [attribute("logfire.span_type", "pending_span"), attribute("logfire.pending_parent_id", "0000000000000000")],
    }));
    assert_eq!(root.parent_id, None);
    check_round_trip(&[pending]);
}

#[test]
fn senders_that_say_nothing_are_told() {
    use serde_json::json as value;
    let body = |resource: serde_json::Value, attributes: serde_json::Value| {
        let mut body = with(&serde_json::json!({ "attributes": attributes }));
        body["resourceSpans"][0]["resource"] = resource;
        json(&body).map(|received| received.spans.len())
    };
    assert!(body(value!({}), value!([])).is_err());
    assert_eq!(body(value!(null), value!([])), Ok(1));
    let agent = value!([{"key": "gen_ai.agent.name", "value": {"stringValue": "a"}}]);
    assert_eq!(body(value!({"attributes": []}), agent.clone()), Ok(1));
    assert_eq!(body(value!({"attributes": agent}), value!([])), Ok(1));
}

#[test]
fn what_otlp_has_no_field_for_comes_back() {
    let mut span = one(&serde_json::json!({}));
    span.status = SpanStatus::Other("cancelled".into());
    span.is_shared = true;
    span.agent = AgentId::new("planner").unwrap();
    span.agent_origin = AgentOrigin::Own;
    check_round_trip(&[span]);
}

#[test]
fn errors_are_in_the_format_of_the_request() {
    assert_eq!(
        otlp_error(OtlpFormat::Json, 3, "bad"),
        br#"{"code":3,"message":"bad"}"#
    );
    assert_eq!(
        otlp_error(OtlpFormat::Protobuf, 3, "bad"),
        b"\x08\x03\x12\x03bad"
    );
    assert_eq!(
        OtlpFormat::of_media_type("Application/JSON; charset=utf-8"),
        Some(OtlpFormat::Json)
    );
}
