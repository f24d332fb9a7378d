use serde_json::{Value, json};

use super::conformance;
use crate::{
    ingest::traces::*,
    model::{AgentOrigin, Span, SpanId, SpanKind, SpanStatus},
};

fn zipkin(body: &Value) -> Received {
    parse_zipkin(body.to_string().as_bytes(), &SpanLimits::default()).unwrap()
}

#[test]
fn documents_of_zipkin_are_taken() {
    for name in ["ascend", "envoy", "messaging", "skew", "yelp"] {
        let Some(body) = conformance(&format!("zipkin/{name}.json")) else {
            return;
        };
        let received = parse_zipkin(&body, &SpanLimits::default()).unwrap();
        let list: Vec<Value> = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (received.spans.len(), received.rejected),
            (list.len(), 0),
            "{name}"
        );
        for (span, told) in received.spans.iter().zip(list) {
            let us = |key: &str| told[key].as_i64().unwrap();
            assert_eq!(span.start_ns, us("timestamp") * 1000);
            assert_eq!(span.duration_ns(), Some(us("duration") * 1000));
            assert_eq!(span.is_shared, told["shared"] == true);
            assert_eq!(
                span.resource.service(),
                told["localEndpoint"]["serviceName"].as_str()
            );
        }
        super::check_round_trip(&received.spans);
    }
}

#[test]
fn parts_of_zipkin_go_where_the_model_has_them() {
    let span = zipkin(&json!([{
        "traceId": "1e223ff1f80f1c69", "id": "ab", "parentId": null, "kind": "client", "name": "get",
        "timestamp": "1470150004074202", "localEndpoint": {"serviceName": "a", "ipv6": "::1"},
        "remoteEndpoint": {"serviceName": "b", "ipv4": "10.0.0.1", "port": 80},
        "annotations": [{"timestamp": 1_470_150_004_074_300_u64, "value": "ws"}],
        "tags": {"error": "timeout", "n": 7, "otel.scope.name": "lib"}, "debug": true,
    }]))
    .spans
    .remove(0);
    assert_eq!(
        (span.trace_id.as_u128(), span.span_id),
        (0x1e22_3ff1_f80f_1c69, SpanId::new(0xab).unwrap())
    );
    assert_eq!((span.kind, span.parent_id), (SpanKind::Client, None));
    assert_eq!(
        (&span.status, &*span.status_message),
        (&SpanStatus::Error, "timeout")
    );
    assert_eq!(
        (&*span.events[0].name, span.duration_ns()),
        ("ws", Some(98_000))
    );
    assert_eq!(
        span.resource.attributes.to_json(),
        json!({"service.name": "a", "host.ip": "::1"})
    );
    assert_eq!(&*span.scope.name, "lib");
    assert_eq!(
        span.attributes.to_json(),
        json!({
            "error": "timeout", "n": "7", "peer.service": "b", "net.peer.ip": "10.0.0.1", "net.peer.port": 80,
            "zipkin.debug": true,
        })
    );
}

#[test]
fn zipkin_without_times_is_taken_where_something_tells_them() {
    let ids = |more: Value| {
        let mut span = json!({"traceId": "1", "id": "2"});
        span.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        span
    };
    let received = zipkin(&json!([
        ids(json!({})),
        ids(json!({"timestamp": 5})),
        ids(json!({"annotations": [{"timestamp": 9, "value": "sr"}, {"timestamp": 12, "value": "ss"}]})),
        ids(json!({"timestamp": u64::MAX})),
        ids(json!({"id": "0", "timestamp": 5})),
        {"timestamp": 5},
        "x",
    ]));
    let times: Vec<_> = received
        .spans
        .iter()
        .map(|s| (s.start_ns, s.end_ns))
        .collect();
    assert_eq!(times, [(5000, Some(5000)), (9000, Some(12000))]);
    assert_eq!(received.rejected, 5);
    assert_eq!(received.errors[0], "span 0 (2): it has no start time");
    assert!(
        received.errors[2].starts_with("span 4 (0): its id is not"),
        "{}",
        received.errors[2]
    );
    assert!(parse_zipkin(b"{}", &SpanLimits::default()).is_err());
    assert_eq!(
        parse_zipkin(b"[]", &SpanLimits::default()),
        Ok(Received::default())
    );
}

#[test]
fn jaeger_is_written_as_jaeger_does() {
    let Some(body) = conformance("otlp/jaeger-otlp-in.json") else {
        return;
    };
    let spans = parse_otlp_json(&body, &SpanLimits::default())
        .unwrap()
        .spans;
    let expected = conformance("otlp/jaeger-otlp-in.expected-jaeger-api.json").unwrap();
    let answer: Value = serde_json::from_slice(&expected).unwrap();
    assert_eq!(to_jaeger_json(&spans), answer["data"][0]);
    let read = parse_jaeger_json(&expected, &SpanLimits::default()).unwrap();
    assert_eq!((read.spans.len(), read.rejected), (2, 0));
    let bare = parse_jaeger_json(
        answer["data"][0].to_string().as_bytes(),
        &SpanLimits::default(),
    );
    assert_eq!(bare.as_ref(), Ok(&read));
    assert_eq!(to_jaeger_json(&read.spans), answer["data"][0]);
    let span = &read.spans[0];
    assert_eq!(
        (&*span.scope.name, span.kind),
        ("telemetrygen", SpanKind::Server)
    );
    assert_eq!(span.attributes, spans[0].attributes);
}

#[test]
fn jaeger_comes_back_but_for_what_it_has_no_field_for() {
    let body = r#"[{"traceId":"1","id":"2","parentId":"1","timestamp":5,"duration":7,"name":"n",
        "annotations":[{"timestamp":6,"value":"e"}],"tags":{"error":"bad","n":"7"},"localEndpoint":{"serviceName":"s"}},
        {"traceId":"1","id":"3","timestamp":5,"localEndpoint":{"serviceName":"t"}}]"#;
    let mut spans = parse_zipkin(body.as_bytes(), &SpanLimits::default())
        .unwrap()
        .spans;
    spans[0].links = vec![crate::model::SpanLink {
        span_id: SpanId::new(9).unwrap(),
        ..Default::default()
    }];
    let written = to_jaeger_json(&spans);
    assert_eq!(
        written["spans"][0]["references"][1]["refType"],
        "FOLLOWS_FROM"
    );
    assert_eq!(
        written["spans"][0]["logs"],
        json!([{"timestamp": 6, "fields": [{"key": "event", "type": "string", "value": "e"}]}])
    );
    assert_eq!(
        written["processes"]["p2"],
        json!({"serviceName": "t", "tags": []})
    );
    let read = parse_jaeger_json(written.to_string().as_bytes(), &SpanLimits::default());
    assert_eq!(read.unwrap().spans, spans);
}

#[test]
fn open_spans_and_agents_without_a_service_are_said_to_jaeger() {
    let mut spans = zipkin(&json!([{"traceId": "1", "id": "2", "timestamp": 5}])).spans;
    spans[0].end_ns = None;
    resolve_agents(&mut spans, None);
    let written = to_jaeger_json(&spans);
    assert_eq!(
        written["spans"][0]["warnings"],
        json!(["the span has not ended"])
    );
    assert_eq!(written["processes"]["p1"]["serviceName"], "unknown");
    assert_eq!(spans[0].agent_origin, AgentOrigin::Unknown);
}

#[test]
fn tags_of_jaeger_have_their_types() {
    let body = json!({"traceID": "1", "processes": {"p": {"serviceName": "s"}}, "spans": [{
        "traceID": "1", "spanID": "2", "startTime": 5, "duration": 1, "processID": "p",
        "tags": [
            {"key": "i", "type": "int64", "value": "9007199254740993"}, {"key": "f", "type": "float64", "value": 1},
            {"key": "b", "type": "bool", "value": true}, {"key": "x", "type": "binary", "value": "AAE="},
            {"key": "error", "type": "bool", "value": true}, {"key": "s", "value": "t"},
        ],
    }]});
    let read = parse_jaeger_json(body.to_string().as_bytes(), &SpanLimits::default()).unwrap();
    let span = &read.spans[0];
    assert_eq!(
        span.attributes.to_json(),
        json!({"i": 9_007_199_254_740_993_i64, "f": 1.0, "b": true, "x": "AAE=", "s": "t"})
    );
    assert!(span.is_failed());
    let tags = &to_jaeger_json(&read.spans)["spans"][0]["tags"];
    assert_eq!(
        tags[0],
        json!({"key": "i", "type": "int64", "value": "9007199254740993"})
    );
}

fn partial(event: &str, body: &Value) -> Value {
    json!({"resourceLogs": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "s"}}]},
        "scopeLogs": [{"logRecords": [{"attributes": [{"key": "partial.event", "value": {"stringValue": event}}], "body": body}]}]}]})
}

fn logs(body: &Value) -> ReceivedLogs {
    parse_otlp_logs_json(body.to_string().as_bytes(), &SpanLimits::default()).unwrap()
}

#[test]
fn log_records_tell_of_open_spans_or_are_ignored() {
    let text = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c",
        "spanId":"eee19b7ec3c1b174","startTimeUnixNano":"5","endTimeUnixNano":"9"}]}]}]}"#;
    let open = logs(&partial("heartbeat", &json!({ "stringValue": text })));
    let [PartialEvent::Open(span)] = &open.events[..] else {
        panic!("{open:?}");
    };
    assert!(span.is_open());
    assert_eq!(span.resource.service(), Some("s"));
    let stopped = logs(&partial("stop", &json!({ "stringValue": text })));
    assert_eq!(
        stopped.events,
        [PartialEvent::Stopped(span.trace_id, span.span_id)]
    );
    let bad = logs(&partial("heartbeat", &json!({"stringValue": "{"})));
    assert_eq!(
        bad.message(),
        "log record 0: its body: line 1, column 1: EOF while parsing an object"
    );
    let other = logs(&partial("pause", &json!(null)));
    assert_eq!(
        (other.ignored, other.rejected, other.events.len()),
        (1, 0, 0)
    );
    assert!(other.message().starts_with("1 log records are ignored"));
    if let Some(body) = conformance("otlp/logs.json") {
        let received = parse_otlp_logs_json(&body, &SpanLimits::default()).unwrap();
        assert_eq!((received.ignored, received.rejected), (1, 0));
    }
}

#[test]
fn log_records_in_protobuf_say_the_same() {
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, LogsData, ResourceLogs, ScopeLogs};
    use prost::Message;
    let record = LogRecord {
        attributes: vec![super::super::tags::pair(
            "partial.event",
            opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue("stop".into()),
        )],
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        ..LogRecord::default()
    };
    let data = LogsData {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs {
                log_records: vec![record, LogRecord::default()],
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    let received = parse_otlp_logs_protobuf(&data.encode_to_vec(), &SpanLimits::default()).unwrap();
    assert_eq!((received.events.len(), received.ignored), (1, 1));
    assert!(!otlp_logs_response(&received, OtlpFormat::Protobuf).is_empty());
}

#[test]
fn prices_follow_what_was_read() {
    let mut spans: Vec<Span> = zipkin(&json!([{"traceId": "1", "id": "2", "timestamp": 1_764_600_000_000_000_u64, "tags": {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": "1000000",
    }}]))
    .spans;
    assert_eq!(spans[0].usage.unwrap().cost, None);
    crate::model::price(&mut spans, &crate::model::PriceTable::built_in());
    assert_eq!(spans[0].usage.unwrap().cost, Some(2.5));
}
