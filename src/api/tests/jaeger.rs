//! Jaeger's query API: its own project's fixtures, and what its clients see of spans told here.

use std::{fs, path::PathBuf};

use serde_json::json;

use super::*;

/// 2017-01-27T00:00:00Z, just after the traces of Jaeger's fixtures.
const AFTER_FIXTURES: Timestamp = Timestamp::from_millis(1_485_475_200_000);

/// A folder of others' test data; `None`, and said so, where it is not there.
fn fixtures(of: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance");
    let path = path.join(of);
    if path.exists() {
        return Some(path);
    }
    println!("SKIPPED: {} is not there", path.display());
    None
}

/// A query string; empty values are left out.
fn query(pairs: &[(&str, &str)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs.iter().filter(|(_, value)| !value.is_empty()));
    query.finish()
}

/// An answer of Jaeger's version 1 that went well.
#[track_caller]
fn data(answer: &Answer) -> Value {
    let mut told = answer.json(200);
    assert_eq!(told["errors"], Value::Null);
    told["data"].take()
}

/// The status and message of one that did not.
#[track_caller]
fn error(answer: &Answer) -> (u16, String) {
    let told: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(told["data"], Value::Null);
    let error = &told["errors"][0];
    let status = answer.status.as_u16();
    assert_eq!(error["code"], status);
    assert_eq!(answer.header(header::CONTENT_TYPE), "application/json");
    (status, error["msg"].as_str().unwrap().to_owned())
}

/// A document of OTLP: service, spans as (id, parent, name, kind, milliseconds after START, milliseconds).
fn otlp(trace: &str, service: Option<&str>, spans: &[(u64, u64, &str, u8, i64, i64)]) -> Vec<u8> {
    let id = |id: u64| {
        if id == 0 {
            String::new()
        } else {
            format!("{id:016x}")
        }
    };
    let nanoseconds = |ms: i64| ((START.as_millis() + ms) * 1_000_000).to_string();
    let spans: Vec<Value> = spans
        .iter()
        .map(|(own, parent, name, kind, start, length)| {
            json!({"traceId": trace, "spanId": id(*own), "parentSpanId": id(*parent), "name": name, "kind": kind,
                "startTimeUnixNano": nanoseconds(*start), "endTimeUnixNano": nanoseconds(start + length),
                "attributes": [
                    {"key": "try", "value": {"intValue": own.to_string()}},
                    // Counts where no service names itself.
                    {"key": "gen_ai.agent.name", "value": {"stringValue": "thinker"}},
                ]})
        })
        .collect();
    let attributes: Vec<Value> = service
        .map(|name| json!({"key": "service.name", "value": {"stringValue": name}}))
        .into_iter()
        .collect();
    let document = json!({"resourceSpans": [{"resource": {"attributes": attributes},
        "scopeSpans": [{"scope": {}, "spans": spans}]}]});
    document.to_string().into_bytes()
}

const ONE: &str = "0af7651916cd43dd8448eb211c80319c";
const SHORT: &str = "0000000000000000b7ad6b7169203331";

/// Two traces: a call of `back` by `front`, and a later one of `front` alone.
async fn two_traces(edge: &Edge) {
    let front = [
        (1, 0, "GET /", 2, -5_000, 400),
        (2, 1, "call", 3, -4_900, 200),
    ];
    edge.append_otlp(&otlp(ONE, Some("front"), &front)).await;
    edge.append_otlp(&otlp(ONE, Some("back"), &[(3, 2, "work", 2, -4_800, 100)]))
        .await;
    edge.append_otlp(&otlp(
        SHORT,
        Some("front"),
        &[(4, 0, "GET /", 2, -1_000, 20)],
    ))
    .await;
}

#[tokio::test]
async fn searches_find_what_jaegers_own_fixtures_expect() {
    let Some(folder) = fixtures("jaeger-search") else {
        return;
    };
    let edge = Edge::since(AFTER_FIXTURES, Settings::default());
    let document = |name: &str| fs::read(folder.join("traces").join(name)).unwrap();
    for file in fs::read_dir(folder.join("traces")).unwrap() {
        let name = file.unwrap().file_name();
        edge.append_otlp(&document(name.to_str().unwrap())).await;
    }
    let queries: Value =
        serde_json::from_slice(&fs::read(folder.join("queries.json")).unwrap()).unwrap();
    // From memory, and from blocks.
    for _ in 0..2 {
        for case in queries.as_array().unwrap() {
            let asked = &case["Query"];
            let text = |key: &str| asked[key].as_str().unwrap().to_owned();
            let us = |key: &str| {
                let time = chrono::DateTime::parse_from_rfc3339(asked[key].as_str().unwrap());
                time.unwrap().timestamp_micros().to_string()
            };
            let ns = |key: &str| format!("{}ns", asked[key].as_i64().unwrap());
            let tags = match &asked["Tags"] {
                Value::Null => String::new(),
                tags => tags.to_string(),
            };
            let query = query(&[
                ("service", &text("ServiceName")),
                ("operation", &text("OperationName")),
                ("tags", &tags),
                ("start", &us("StartTimeMin")),
                ("end", &us("StartTimeMax")),
                ("minDuration", &ns("DurationMin")),
                ("maxDuration", &ns("DurationMax")),
                ("limit", &asked["NumTraces"].to_string()),
            ]);
            let found = data(&edge.get(&format!("/jaeger/api/traces?{query}")).await);
            let mut found: Vec<(String, usize)> = found
                .as_array()
                .unwrap()
                .iter()
                .map(|trace| {
                    let id = trace["traceID"].as_str().unwrap().to_owned();
                    (id, trace["spans"].as_array().unwrap().len())
                })
                .collect();
            let mut expected: Vec<(String, usize)> = case["ExpectedFixtures"]
                .as_array()
                .unwrap()
                .iter()
                .map(|name| {
                    let name = format!("{}.json", name.as_str().unwrap());
                    let limits = ingest::SpanLimits::default();
                    let spans = ingest::parse_otlp_json(&document(&name), &limits)
                        .unwrap()
                        .spans;
                    (spans[0].trace_id.to_string(), spans.len())
                })
                .collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{}", case["Caption"]);
        }
        edge.store.checkpoint().await.unwrap();
    }
}

#[tokio::test]
async fn a_trace_is_told_as_jaeger_tells_it() {
    let Some(folder) = fixtures("otlp") else {
        return;
    };
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    // 2024-01-31, just after it.
    let edge = Edge::since(
        Timestamp::from_millis(1_706_680_000_000),
        Settings::default(),
    );
    edge.append_otlp(&read("jaeger-otlp-in.json")).await;
    let expected: Value =
        serde_json::from_slice(&read("jaeger-otlp-in.expected-jaeger-api.json")).unwrap();
    let path = "/jaeger/api/traces/83a9efd15c1c98a977e0711cc93ee28b";
    assert_eq!(edge.get(path).await.json(200), expected);
    edge.store.checkpoint().await.unwrap();
    assert_eq!(edge.get(path).await.json(200), expected);
}

#[tokio::test]
async fn services_and_operations_are_listed_wherever_the_spans_are() {
    let edge = Edge::new();
    assert_eq!(data(&edge.get("/jaeger/api/services").await), json!([]));
    two_traces(&edge).await;
    for _ in 0..2 {
        let services = edge.get("/jaeger/api/services").await;
        assert_eq!(services.json(200)["total"], 2);
        assert_eq!(data(&services), json!(["back", "front"]));
        let of_front = edge.get("/jaeger/api/services/front/operations").await;
        assert_eq!(data(&of_front), json!(["GET /", "call"]));
        let unknown = edge.get("/jaeger/api/services/nobody/operations").await;
        assert_eq!(data(&unknown), json!([]));
        let with_kinds = edge
            .get("/jaeger/api/operations?service=front&spanKind=")
            .await;
        assert_eq!(
            data(&with_kinds),
            json!([{"name": "GET /", "spanKind": "server"}, {"name": "call", "spanKind": "client"}])
        );
        let servers = edge
            .get("/jaeger/api/operations?service=front&spanKind=SERVER")
            .await;
        assert_eq!(
            data(&servers),
            json!([{"name": "GET /", "spanKind": "server"}])
        );
        let v3 = edge.get("/jaeger/api/v3/services").await.json(200);
        assert_eq!(v3, json!({"services": ["back", "front"]}));
        let v3 = edge
            .get("/jaeger/api/v3/operations?service=back")
            .await
            .json(200);
        assert_eq!(
            v3,
            json!({"operations": [{"name": "work", "spanKind": "server"}]})
        );
        edge.store.checkpoint().await.unwrap();
    }
    let missing = edge.get("/jaeger/api/operations").await;
    assert_eq!(error(&missing).0, 400);
    let unknown_kind = edge
        .get("/jaeger/api/operations?service=a&spanKind=x")
        .await;
    assert_eq!(error(&unknown_kind).0, 400);
}

#[tokio::test]
async fn an_agent_without_a_service_is_one() {
    let edge = Edge::new();
    edge.append_otlp(&otlp(ONE, None, &[(1, 0, "think", 1, -1_000, 5)]))
        .await;
    for _ in 0..2 {
        let services = data(&edge.get("/jaeger/api/services").await);
        assert_eq!(services, json!(["thinker"]));
        let found = data(&edge.get("/jaeger/api/traces?service=thinker").await);
        assert_eq!(found[0]["traceID"], ONE);
        assert_eq!(found[0]["processes"]["p1"]["serviceName"], "thinker");
        edge.store.checkpoint().await.unwrap();
    }
}

#[tokio::test]
async fn searches_answer_whole_traces_newest_first() {
    let edge = Edge::new();
    two_traces(&edge).await;
    let edge = &edge;
    let ids = async |query: &str| -> Vec<String> {
        let found = data(&edge.get(&format!("/jaeger/api/traces?{query}")).await);
        let traces = found.as_array().unwrap().iter();
        traces
            .map(|trace| {
                let spans = trace["spans"].as_array().unwrap().len();
                format!("{} {spans}", trace["traceID"].as_str().unwrap())
            })
            .collect()
    };
    let (one, short) = (format!("{ONE} 3"), format!("{SHORT} 1"));
    assert_eq!(ids("service=front&lookback=1h").await, [&*short, &one]);
    assert_eq!(ids("service=front&limit=1").await, [&*short]);
    assert_eq!(ids("service=back&raw=true&prettyPrint=true").await, [&*one]);
    assert_eq!(ids("service=front&operation=call").await, [&*one]);
    assert_eq!(
        ids("service=front&tag=try:2&tag=span.kind:client").await,
        [&*one]
    );
    assert_eq!(
        ids("service=front&tag=try:2&tag=span.kind:server").await,
        [""; 0]
    );
    assert_eq!(
        ids("service=front&minDuration=0.3s&maxDuration=").await,
        [&*one]
    );
    assert_eq!(ids("service=front&maxDuration=20000").await, [&*short]);
    assert_eq!(ids("service=front&lookback=2s").await, [&*short]);
    let end = START.as_millis() * 1_000 - 5_000_000;
    let at = |start: i64, end: i64| format!("service=front&start={start}&end={end}");
    assert_eq!(ids(&at(end, end)).await, [&*one]);
    assert_eq!(ids(&at(end - 9, end - 1)).await, [""; 0]);
    assert_eq!(ids(&at(end + 1, end + 9)).await, [""; 0]);
    assert_eq!(
        ids(&format!("traceID={ONE}&traceID=b7ad6b7169203331")).await,
        [&*one, &short]
    );
    let missing = edge
        .get(&format!("/jaeger/api/traces?traceID={ONE}&traceID=77"))
        .await;
    let missing = missing.json(200);
    assert_eq!(missing["data"].as_array().unwrap().len(), 1);
    assert_eq!(missing["errors"][0]["traceID"], "77");
}

#[tokio::test]
async fn errors_have_jaegers_shape() {
    let edge = Edge::new();
    let unknown = edge.get("/jaeger/api/traces/77").await;
    assert_eq!(error(&unknown), (404, "trace not found".to_owned()));
    for (query, part) in [
        ("", "service"),
        (
            "service=a&minDuration=20ms&maxDuration=10ms",
            "should be greater",
        ),
        ("service=a&minDuration=fast", "minDuration"),
        ("service=a&start=today", "start"),
        ("service=a&limit=-1", "limit"),
        ("service=a&tag=x", "tag"),
        ("service=a&tags=%7B%22x%22:%5B%5D%7D", "tags"),
        ("service=a&tags=x", "tags"),
        ("traceID=xyz", "traceID"),
    ] {
        let (status, message) = error(&edge.get(&format!("/jaeger/api/traces?{query}")).await);
        assert_eq!(status, 400, "{query}");
        assert!(message.contains(part), "{query}: {message}");
    }
    assert_eq!(error(&edge.get("/jaeger/api/traces/xyz").await).0, 400);
    assert_eq!(
        error(&edge.get("/jaeger/api/dependencies?endTs=x").await).0,
        400
    );
    let v3 = edge.get("/jaeger/api/v3/traces/77").await;
    let told: Value = serde_json::from_slice(&v3.body).unwrap();
    assert_eq!(v3.status, 404);
    assert_eq!(
        told,
        json!({"error": {"httpCode": 404, "message": "trace not found"}})
    );
}

#[tokio::test]
async fn version_3_answers_otlp() {
    let edge = Edge::new();
    two_traces(&edge).await;
    let query = query(&[
        ("query.service_name", "front"),
        ("query.operation_name", "call"),
        ("query.attributes", r#"{"try":2}"#),
        ("query.start_time_min", "2023-11-14T00:00:00Z"),
        ("query.start_time_max", "2023-11-15T00:00:00Z"),
        ("query.duration_min", "100ms"),
        ("query.num_traces", "5"),
    ]);
    let found = edge
        .get(&format!("/jaeger/api/v3/traces?{query}"))
        .await
        .json(200);
    let shown = edge.get(&format!("/jaeger/api/v3/traces/{ONE}")).await;
    assert_eq!(found, shown.json(200));
    let resources = found["result"]["resourceSpans"].as_array().unwrap();
    assert_eq!(resources.len(), 2);
    assert_eq!(resources[0]["scopeSpans"][0]["spans"][0]["traceId"], ONE);
    let none = edge.get("/jaeger/api/v3/traces?query.service_name=x").await;
    assert_eq!(none.json(200), json!({"result": {"resourceSpans": []}}));
}

#[tokio::test]
async fn dependencies_count_calls() {
    let edge = Edge::new();
    two_traces(&edge).await;
    let now = START.as_millis();
    let asked = |end: i64| format!("/jaeger/api/dependencies?endTs={end}&lookback=3600000");
    let calls = data(&edge.get(&asked(now)).await);
    assert_eq!(
        calls,
        json!([{"parent": "front", "child": "back", "callCount": 1}])
    );
    assert_eq!(data(&edge.get(&asked(now - 60_000)).await), json!([]));
}
