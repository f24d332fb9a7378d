//! Tempo's query API, as Grafana calls it.

use prost::Message;
use serde_json::json;

use super::*;

const ONE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A trace of two services: a root of 400 ms and a failed call of 100 ms.
async fn one_trace(edge: &Edge) {
    let start = START.as_millis() - 5_000;
    let ns = |ms: i64| ((start + ms) * 1_000_000).to_string();
    let service = |name: &str| json!({"attributes": [{"key": "service.name", "value": {"stringValue": name}}]});
    let document = json!({"resourceSpans": [
        {"resource": service("front"), "scopeSpans": [{"spans": [
            {"traceId": ONE, "spanId": "0000000000000001", "name": "GET /", "kind": 2, "startTimeUnixNano": ns(0),
             "endTimeUnixNano": ns(400), "attributes": [{"key": "http.status_code", "value": {"intValue": "500"}}]}]}]},
        {"resource": service("back"), "scopeSpans": [{"spans": [
            {"traceId": ONE, "spanId": "0000000000000002", "parentSpanId": "0000000000000001", "name": "work", "kind": 2,
             "startTimeUnixNano": ns(100), "endTimeUnixNano": ns(200), "status": {"code": 2},
             "attributes": [{"key": "retry", "value": {"boolValue": true}}]}]}]},
    ]});
    edge.append_otlp(document.to_string().as_bytes()).await;
}

async fn search(edge: &Edge, pairs: &[(&str, &str)]) -> Answer {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs);
    edge.get(&format!("/tempo/api/search?{}", query.finish()))
        .await
}

#[tokio::test]
async fn it_is_there() {
    let edge = Edge::new();
    assert_eq!(edge.get("/tempo/api/echo").await.text(), "echo");
    let info = edge.get("/tempo/api/status/buildinfo").await.json(200);
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn a_trace_is_told_in_json_and_protobuf() {
    #[derive(Clone, PartialEq, Message)]
    struct Wrapped {
        #[prost(bytes = "vec", tag = "1")]
        trace: Vec<u8>,
    }
    let edge = Edge::new();
    one_trace(&edge).await;
    let v1 = edge
        .get(&format!("/tempo/api/traces/{ONE}"))
        .await
        .json(200);
    assert_eq!(v1["batches"].as_array().unwrap().len(), 2);
    let v2 = edge
        .get(&format!("/tempo/api/v2/traces/{ONE}"))
        .await
        .json(200);
    assert_eq!(v2["trace"]["resourceSpans"], v1["batches"]);
    let binary = async |path: &str| {
        let mut asked = request("GET", &format!("{path}/{ONE}"), Body::empty());
        let headers = asked.headers_mut();
        headers.insert(header::ACCEPT, "application/protobuf".parse().unwrap());
        let answer = edge.send(asked).await;
        assert_eq!(answer.header(header::CONTENT_TYPE), "application/protobuf");
        answer.body
    };
    let plain = binary("/tempo/api/traces").await;
    let wrapped = binary("/tempo/api/v2/traces").await;
    assert_eq!(Wrapped::decode(wrapped.as_slice()).unwrap().trace, plain);
    let spans = ingest::parse_otlp_protobuf(&plain, &ingest::SpanLimits::default());
    assert_eq!(spans.unwrap().spans.len(), 2);
    for path in ["/tempo/api/traces", "/tempo/api/v2/traces"] {
        edge.get(&format!("{path}/77")).await.json(404);
        edge.get(&format!("{path}/xyz")).await.json(400);
    }
}

#[tokio::test]
async fn traceql_finds_traces_with_the_spans_that_fit() {
    let edge = Edge::new();
    one_trace(&edge).await;
    let start = START.as_millis() - 5_000;
    for _ in 0..2 {
        let found = search(
            &edge,
            &[
                ("q", "{ span.http.status_code >= 500 }"),
                ("limit", "20"),
                ("spss", "3"),
            ],
        )
        .await;
        let found = found.json(200);
        let set = json!({"matched": 1, "spans": [{"spanID": "0000000000000001", "name": "GET /",
            "startTimeUnixNano": (start * 1_000_000).to_string(), "durationNanos": "400000000",
            "attributes": [{"key": "http.status_code", "value": {"intValue": "500"}}]}]});
        assert_eq!(
            found["traces"],
            json!([{"traceID": ONE, "rootServiceName": "front", "rootTraceName": "GET /",
                "startTimeUnixNano": (start * 1_000_000).to_string(), "durationMs": 400,
                "spanSets": [set], "spanSet": set}])
        );
        assert_eq!(found["metrics"]["inspectedTraces"], 1);
        edge.store.checkpoint().await.unwrap();
    }
    let count = async |pairs: &[(&str, &str)]| {
        let found = search(&edge, pairs).await.json(200);
        let traces = found["traces"].as_array().unwrap();
        traces
            .iter()
            .map(|t| t["spanSet"]["matched"].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(count(&[("q", "{}")]).await, 2);
    assert_eq!(count(&[]).await, 2);
    assert_eq!(
        count(&[(
            "q",
            "{ resource.service.name = \"back\" && status = error }"
        )])
        .await,
        1
    );
    assert_eq!(
        count(&[("q", "{ status = error } && { name = \"GET /\" }")]).await,
        2
    );
    assert_eq!(count(&[("q", "{ status = ok }")]).await, 0);
    assert_eq!(count(&[("q", "{ traceDuration > 1s }")]).await, 0);
    assert_eq!(count(&[("tags", "service.name=back retry=true")]).await, 1);
    assert_eq!(
        count(&[("tags", "service.name=back"), ("minDuration", "300ms")]).await,
        1
    );
    assert_eq!(count(&[("tags", "root.name=\"GET /\" name=work")]).await, 1);
    assert_eq!(count(&[("maxDuration", "300ms")]).await, 0);
    let second = |ms: i64| (ms / 1_000).to_string();
    let (before, after) = (second(start - 2_000), second(start + 2_000));
    assert_eq!(
        count(&[("q", "{}"), ("start", &before), ("end", &after)]).await,
        2
    );
    assert_eq!(count(&[("q", "{}"), ("start", &after)]).await, 0);
    for (pairs, pointer) in [
        (&[("q", "{ nestedSetParent < 0 }")][..], "q"),
        (&[("q", "{}"), ("tags", "a=b")], "tags"),
        (&[("limit", "many")], "limit"),
        (&[("start", "x")], "start"),
        (&[("start", "5"), ("end", "1")], "start"),
        (&[("minDuration", "5")], "minDuration"),
    ] {
        let refused = search(&edge, pairs).await;
        assert_eq!(refused.pointers(400), [pointer]);
    }
    let why = search(&edge, &[("q", "{} | rate()")]).await.json(400);
    assert!(
        why["detail"].as_str().unwrap().contains("column 4"),
        "{why}"
    );
}

#[tokio::test]
async fn names_and_values_are_offered() {
    let edge = Edge::new();
    one_trace(&edge).await;
    let get = async |path: &str| edge.get(&format!("/tempo/api/{path}")).await.json(200);
    let scopes = get("v2/search/tags").await;
    assert_eq!(
        scopes["scopes"][0],
        json!({"name": "resource", "tags": ["service.name"]})
    );
    assert_eq!(
        scopes["scopes"][1],
        json!({"name": "span", "tags": ["http.status_code", "retry"]})
    );
    assert_eq!(scopes["scopes"][2]["name"], "intrinsic");
    let of_spans = get("v2/search/tags?scope=span&limit=100").await;
    assert_eq!(of_spans["scopes"].as_array().unwrap().len(), 1);
    let names = get("search/tags").await;
    assert!(
        names["tagNames"]
            .as_array()
            .unwrap()
            .contains(&json!("retry"))
    );
    let services = get("v2/search/tag/resource.service.name/values").await;
    let text = |text: &str| json!({"type": "string", "value": text});
    assert_eq!(
        services,
        json!({"tagValues": [text("back"), text("front")]})
    );
    let of_failed = get("v2/search/tag/resource.service.name/values?q=%7Bstatus%3Derror%7D").await;
    assert_eq!(of_failed, json!({"tagValues": [text("back")]}));
    assert_eq!(
        get("search/tag/service.name/values").await,
        json!({"tagValues": ["back", "front"]})
    );
    let status = get("v2/search/tag/span.http.status_code/values").await;
    assert_eq!(
        status,
        json!({"tagValues": [{"type": "int", "value": "500"}]})
    );
    let kinds = get("v2/search/tag/status/values").await;
    assert_eq!(
        kinds["tagValues"][0],
        json!({"type": "keyword", "value": "error"})
    );
    assert_eq!(
        get("v2/search/tag/name/values").await,
        json!({"tagValues": [text("GET /"), text("work")]})
    );
    assert_eq!(
        get("v2/search/tag/rootName/values").await,
        json!({"tagValues": [text("GET /")]})
    );
    assert_eq!(
        get("v2/search/tag/.nothing/values").await,
        json!({"tagValues": []})
    );
    let refused = edge.get("/tempo/api/v2/search/tags?scope=x").await;
    assert_eq!(refused.pointers(400), ["scope"]);
}
