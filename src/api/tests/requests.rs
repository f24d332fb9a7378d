//! What each resource answers.

use std::io::Write;

use axum::{
    body::{Body, Bytes},
    http::header,
};
use serde_json::json;

use super::*;
use crate::{
    model::{AgentId, Batch, Contact, Registration, RegistrationSource, names},
    store::{Append, Urgency},
};

fn push(value: impl std::fmt::Display) -> String {
    json!({"metrics": [{"name": "m", "value": value.to_string(), "labels": {"l": "1"}}]})
        .to_string()
}

#[tokio::test]
async fn an_agent_from_registration_to_its_end() {
    let edge = Edge::new();
    let body = json!({"agent_id": "a 7/ä", "metrics_endpoint": "http://127.0.0.1:9/metrics",
        "collection_interval_seconds": 30, "labels": {"job": "j"}})
    .to_string();
    let created = edge.post("/api/v1/agents", body.clone()).await;
    assert_eq!(created.json(201)["agent_id"], "a 7/ä");
    let path = "/api/v1/agents/a%207%2F%C3%A4";
    assert_eq!(created.header(header::LOCATION), path);
    edge.post("/api/v1/agents", body).await.json(200);
    let updated = json!({"agent_id": "a 7/ä", "metrics_endpoint": "http://127.0.0.1:10/metrics"});
    edge.advance(10);
    let shown = edge
        .post("/api/v1/agents", updated.to_string())
        .await
        .json(200);
    assert_eq!(shown["metrics_endpoint"], "http://127.0.0.1:10/metrics");
    assert_eq!(edge.get(path).await.json(200)["agent_id"], "a 7/ä");
    let list = edge.get("/api/v1/agents").await.json(200);
    assert_eq!(list["agents"].as_array().unwrap().len(), 1);

    edge.advance(10);
    assert_eq!(edge.delete(path).await.status, StatusCode::NO_CONTENT);
    edge.advance(10);
    edge.delete(path).await.json(404);
    let list = edge.get("/api/v1/agents").await.json(200);
    assert_eq!(list["agents"], json!([]));
    let before = edge.get("/api/v1/agents?at=-20s").await.json(200);
    assert_eq!(before["agents"].as_array().unwrap().len(), 1);
    assert!(edge.get(path).await.json(200)["deregistered_at"].is_string());
    edge.get(&format!("{path}?at=-1d")).await.json(404);
    edge.get("/api/v1/agents/never").await.json(404);
    edge.delete("/api/v1/agents/never").await.json(404);
}

#[tokio::test]
async fn registrations_that_are_refused() {
    let edge = Edge::new();
    edge.post("/api/v1/agents", "{").await.json(400);
    let answer = edge
        .post("/api/v1/agents", r#"{"agent_id":"a","metric_endpoint":""}"#)
        .await;
    assert_eq!(answer.pointers(422), ["#/metric_endpoint"]);
    for id in ["..", "%2e%2e", "%20a", &"x".repeat(129)] {
        if id != ".." {
            let answer = edge.get(&format!("/api/v1/agents/{id}")).await;
            assert_eq!(answer.pointers(422), ["agent_id"], "{id}");
        }
    }
    edge.get("/api/v1/agents/%ff").await.json(400);
    let owned = AgentId::new("owned").unwrap();
    edge.store
        .register(owned, Registration::bare(RegistrationSource::Config))
        .await
        .unwrap();
    edge.post("/api/v1/agents", r#"{"agent_id":"owned"}"#)
        .await
        .json(409);
    edge.delete("/api/v1/agents/owned").await.json(409);
}

#[tokio::test]
async fn pushed_metrics_are_read_back() {
    let edge = Edge::new();
    let at = |seconds: i64| START.plus_millis(seconds * 1_000).to_rfc3339();
    let body = json!({"metrics": [
        {"name": "m", "type": "counter", "value": 1, "labels": {"l": "1"}, "timestamp": at(-15)},
        {"name": "m", "value": "soon"},
        {"name": "m", "value": 4, "labels": {"l": "1"}, "timestamp": at(-5)},
        {"name": "m", "value": 1, "timestamp": at(86_400)},
        {"name": "m", "type": "counter", "value": "+Inf", "labels": {"l": "2"}, "timestamp": at(-5)},
        {"name": "n", "value": "NaN"},
    ]})
    .to_string();
    let answer = edge.post("/api/v1/agents/a/metrics", body).await.json(200);
    assert_eq!(
        (&answer["accepted"], &answer["rejected"]),
        (&json!(4), &json!(2))
    );
    let refused: Vec<_> = answer["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["index"].clone())
        .collect();
    assert_eq!(refused, [json!(1), json!(3)]);

    let ms = |seconds: i64| START.plus_millis(seconds * 1_000).as_millis();
    let samples = edge
        .get("/api/v1/samples?agent_id=a&metric_name=m")
        .await
        .json(200);
    assert_eq!(
        samples,
        json!({"series": [
            {"agent_id": "a", "metric_name": "m", "metric_type": "counter", "labels": {"l": "1"},
                "samples": [[ms(-15), 1.0], [ms(-5), 4.0]]},
            {"agent_id": "a", "metric_name": "m", "metric_type": "counter", "labels": {"l": "2"},
                "samples": [[ms(-5), "+Inf"]]},
        ]})
    );
    let only = edge
        .get("/api/v1/samples?label.l=2&from=-5s&to=-5s")
        .await
        .json(200);
    assert_eq!(only["series"][0]["samples"], json!([[ms(-5), "+Inf"]]));
    let stepped = edge
        .get("/api/v1/samples?metric_name=m&label.l=1&step=30s&aggregate=rate")
        .await
        .json(200);
    // 1,700,000,000 s lies 20 s after a border of 30 s.
    assert_eq!(stepped["series"][0]["samples"], json!([[ms(10), 0.3]]));
    let nan = edge.get("/api/v1/samples?metric_name=n").await.json(200);
    assert_eq!(nan["series"][0]["samples"], json!([[ms(0), "NaN"]]));
    let none = edge.get("/api/v1/samples?agent_id=b").await.json(200);
    assert_eq!(none, json!({"series": []}));

    let series = edge
        .get("/api/v1/series?agent_id=a&metric_name=m")
        .await
        .json(200);
    assert_eq!(
        series["series"][0],
        json!({"agent_id": "a", "metric_name": "m", "metric_type": "counter", "labels": {"l": "1"},
            "first": at(-15), "last": at(-5), "samples": 2})
    );
    let earlier = edge
        .get("/api/v1/series?metric_name=m&at=-12s")
        .await
        .json(200);
    assert_eq!(earlier["series"].as_array().unwrap().len(), 1);
    assert_eq!(earlier["series"][0]["samples"], 1);
    // The push was a contact.
    let up = edge.get("/api/v1/samples?metric_name=up").await.json(200);
    assert_eq!(up["series"][0]["samples"], json!([[ms(0), 1.0]]));
}

#[tokio::test]
async fn all_rejected_is_an_answer_and_no_json_is_none() {
    let edge = Edge::new();
    let path = "/api/v1/agents/a/metrics";
    let answer = edge
        .post(path, r#"{"metrics":[{"name":"m"}]}"#)
        .await
        .json(200);
    assert_eq!(
        (&answer["accepted"], &answer["rejected"]),
        (&json!(0), &json!(1))
    );
    edge.post(path, "{\"metrics\":").await.json(400);
    assert_eq!(
        edge.post("/api/v1/agents/%20/metrics", push(1))
            .await
            .pointers(422),
        ["agent_id"]
    );
}

#[tokio::test]
async fn heartbeats_register_and_are_recorded_once_an_interval() {
    let edge = Edge::new();
    for _ in 0..4 {
        let answer = edge
            .post("/api/v1/agents/hb/heartbeat", Body::empty())
            .await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        edge.advance(15);
    }
    edge.get("/api/v1/agents/hb").await.json(200);
    let up = edge
        .get("/api/v1/samples?agent_id=hb&metric_name=up")
        .await
        .json(200);
    assert_eq!(up["series"][0]["samples"].as_array().unwrap().len(), 2);
    // Deregistered, the next one registers anew, within the interval too.
    edge.delete("/api/v1/agents/hb").await;
    edge.advance(1);
    edge.post("/api/v1/agents/hb/heartbeat", Body::empty())
        .await;
    assert!(
        edge.get("/api/v1/agents/hb")
            .await
            .json(200)
            .get("deregistered_at")
            .is_none_or(Value::is_null)
    );
}

#[tokio::test]
async fn bodies_are_bounded_and_unpacked() {
    let edge = Edge::with(Settings {
        body_bytes_max: 1_000,
        decompressed_bytes_max: 4_000,
        ..Settings::default()
    });
    let path = "/api/v1/agents/a/metrics";
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let packed = |body: Vec<u8>, encoding: &'static str| {
        let mut request = request("POST", path, body);
        request
            .headers_mut()
            .insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
        request
    };
    assert_eq!(
        edge.send(packed(gzip(&push(1)), "gzip")).await.json(200)["accepted"],
        1
    );
    edge.send(packed(gzip(&" ".repeat(100_000)), "gzip"))
        .await
        .json(413);
    edge.send(packed(push(1).into(), "gzip")).await.json(400);
    edge.send(packed(push(1).into(), "br")).await.json(415);
    let long = edge.post(path, " ".repeat(1_001)).await;
    assert!(
        long.json(413)["detail"]
            .as_str()
            .unwrap()
            .contains("1000 bytes")
    );
    assert_eq!(long.header(header::CONNECTION), "close");
    // Without an announced length too.
    let pieces = futures_util::stream::iter(
        (0..11).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 100]))),
    );
    edge.post(path, Body::from_stream(pieces)).await.json(413);
    // An announced length is not believed to be memory.
    let mut lying = request("POST", path, push(2));
    lying
        .headers_mut()
        .insert(header::CONTENT_LENGTH, "999".parse().unwrap());
    edge.send(lying).await.json(200);
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut() {
    let edge = Edge::with(Settings {
        body_timeout_ms: 20,
        ..Settings::default()
    });
    let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
    let answer = edge
        .post("/api/v1/agents/a/metrics", Body::from_stream(never))
        .await;
    answer.json(408);
    assert_eq!(answer.header(header::CONNECTION), "close");
}

#[tokio::test]
async fn questions_that_cannot_be_understood() {
    let edge = Edge::new();
    for (uri, pointer) in [
        ("/api/v1/agents?att=now", "att"),
        ("/api/v1/agents?at=yesterday", "at"),
        ("/api/v1/agents/a/health?window=1", "window"),
        ("/api/v1/samples?agent=a", "agent"),
        ("/api/v1/samples?agent_id=a&agent_id=b", "agent_id"),
        ("/api/v1/samples?agent_id=%20", "agent_id"),
        ("/api/v1/samples?metric_name=", "metric_name"),
        ("/api/v1/samples?aggregate=avg", "aggregate"),
        ("/api/v1/samples?step=1m&aggregate=median", "aggregate"),
        ("/api/v1/samples?step=0s", "step"),
        ("/api/v1/samples?step=4000d", "step"),
        ("/api/v1/samples?from=1700000000000", "from"),
        ("/api/v1/reports/performance?compare=next", "compare"),
        ("/api/v1/reports/performance?format=pdf", "format"),
        ("/api/v1/alerts?state=open", "state"),
        ("/api/v1/alerts?severity=bad", "severity"),
        ("/api/v1/alerts?from=now&to=-1h", "from"),
        ("/api/v1/overview?window=1h", "window"),
        ("/metrics?x", "x"),
        ("/?x=1", "x"),
    ] {
        assert_eq!(edge.get(uri).await.pointers(400), [pointer], "{uri}");
    }
}

#[tokio::test]
async fn too_many_samples_name_the_limit() {
    let edge = Edge::with(Settings {
        samples_per_query_max: 3,
        ..Settings::default()
    });
    let metrics: Vec<_> = (0..4)
        .map(|i| json!({"name": "m", "value": i, "timestamp": START.plus_millis(-i * 1_000).to_rfc3339()}))
        .collect();
    edge.post(
        "/api/v1/agents/a/metrics",
        json!({"metrics": metrics}).to_string(),
    )
    .await
    .json(200);
    let refused = edge.get("/api/v1/samples?metric_name=m").await.json(422);
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("samples_per_query_max is 3")
    );
    edge.get("/api/v1/samples?metric_name=m&from=-2s")
        .await
        .json(200);
    // Few buckets of many samples are a small answer.
    edge.get("/api/v1/samples?metric_name=m&step=1h")
        .await
        .json(200);
    edge.get("/api/v1/samples?metric_name=m&step=1ms")
        .await
        .json(422);
}

#[tokio::test]
async fn alerts_with_their_history() {
    let edge = Edge::new();
    let scrape = |value: f64, error: Option<&str>| {
        let mut batch = Batch::new();
        batch
            .push(names::UP, &mut [], edge.clock.now(), value)
            .unwrap();
        Append {
            agent: AgentId::new("sick").unwrap(),
            batch,
            contact: Some(Contact::Scrape {
                error: error.map(str::to_owned),
            }),
            urgency: Urgency::Prompt,
        }
    };
    edge.store
        .append(scrape(0.0, Some("connection refused")))
        .await
        .unwrap();
    edge.advance(30);
    let firing = edge
        .get("/api/v1/alerts?state=active&agent_id=sick")
        .await
        .json(200);
    let alert = &firing["alerts"][0];
    assert_eq!(
        (&alert["alert_id"], &alert["state"]),
        (&json!("agent_health:sick"), &json!("firing"))
    );
    edge.store.append(scrape(1.0, None)).await.unwrap();
    edge.advance(30);
    let none = edge.get("/api/v1/alerts?state=firing").await.json(200);
    assert_eq!(none, json!({"alerts": []}));
    let before = edge.get("/api/v1/alerts?at=-40s").await.json(200);
    assert_eq!(before["alerts"][0]["state"], "firing");
    let other = edge.get("/api/v1/alerts?agent_id=well").await.json(200);
    assert_eq!(other, json!({"alerts": []}));
    let id = alert["id"].as_str().unwrap();
    let shown = edge.get(&format!("/api/v1/alerts/{id}")).await.json(200);
    assert_eq!(shown["resolved"], true);
    let events: Vec<_> = shown["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["event"].clone())
        .collect();
    assert_eq!(events, [json!("fired"), json!("resolved")]);
    for unknown in ["999999", "-1", "x"] {
        edge.get(&format!("/api/v1/alerts/{unknown}"))
            .await
            .json(404);
    }
    edge.get(&format!("/api/v1/alerts/{id}?at=-1d"))
        .await
        .json(404);
}

#[tokio::test]
async fn reports_overview_and_page() {
    let edge = Edge::new();
    edge.post("/api/v1/agents/a/metrics", push(1))
        .await
        .json(200);
    edge.advance(60);
    let report = edge
        .get("/api/v1/reports/performance?time_window_hours=2&to=1700000060")
        .await
        .json(200);
    let report = &report["performance_report"];
    assert_eq!(report["time_window_hours"].as_f64(), Some(2.0));
    assert_eq!(report["to"], "2023-11-14T22:14:20.000Z");
    edge.get("/api/v1/reports/performance?agent_id=nobody")
        .await
        .json(404);
    for (format, content_type) in [
        ("json", "application/json"),
        ("html", "text/html"),
        ("md", "text/markdown"),
        ("csv", "text/csv"),
        ("text", "text/plain"),
    ] {
        let answer = edge
            .get(&format!(
                "/api/v1/reports/performance?agent_id=a&format={format}"
            ))
            .await;
        assert_eq!(answer.status, 200);
        assert!(
            answer
                .header(header::CONTENT_TYPE)
                .starts_with(content_type),
            "{format}"
        );
    }
    let overview = edge.get("/api/v1/overview").await.json(200);
    assert_eq!(overview["system_overview"]["agents"]["total_agents"], 1);
    let health = edge
        .get("/api/v1/agents/a/health?window=1h")
        .await
        .json(200);
    assert_eq!(health["agent_id"], "a");
    assert!(health["health_score"].is_number() && health["deductions"].is_array());
    let page = edge.get("/").await;
    assert!(page.header(header::CONTENT_TYPE).starts_with("text/html"));
    assert!(
        page.header(header::CONTENT_SECURITY_POLICY)
            .starts_with("default-src 'none'")
    );
}

#[tokio::test]
async fn care_of_process_and_file() {
    let edge = Edge::new();
    assert_eq!(edge.get("/healthz").await.text(), "ok\n");
    assert_eq!(edge.get("/readyz?verbose").await.status, 200);
    edge.ready
        .send_replace(Readiness::NotReady("shutting down".into()));
    let unready = edge.get("/readyz").await;
    assert_eq!(
        (unready.status.as_u16(), unready.text()),
        (503, "shutting down\n")
    );
    edge.advance(90);
    let status = edge.get("/api/v1/status").await.json(200);
    assert_eq!(status["uptime_seconds"], 90.0);
    assert!(status["schema_version"].is_u64() && status["retention"].is_string());
    assert_eq!(status["retention_rules"], json!([]));

    let copy = edge.get("/api/v1/admin/snapshot").await;
    assert_eq!(copy.status, 200);
    assert_eq!(
        copy.header(header::CONTENT_LENGTH),
        copy.body.len().to_string()
    );
    assert!(copy.body.starts_with(b"redb"));
    assert_eq!(
        copy.header(header::CONTENT_DISPOSITION),
        "attachment; filename=\"longwatch-20231114T221450Z.redb\""
    );
    // Its place is free again; while one is on its way there is none.
    let first = edge
        .router
        .clone()
        .oneshot(request("GET", "/api/v1/admin/snapshot", Body::empty()))
        .await
        .unwrap();
    let second = edge.get("/api/v1/admin/snapshot").await;
    second.json(429);
    assert_eq!(second.header(header::RETRY_AFTER), "10");
    drop(first);
    assert_eq!(edge.get("/api/v1/admin/snapshot").await.status, 200);
}

#[tokio::test]
async fn own_metrics_count_requests_by_pattern() {
    let edge = Edge::new();
    edge.get("/api/v1/agents/some-name").await;
    edge.get("/no/such/path").await;
    let text = edge.get("/metrics").await;
    assert_eq!(
        text.header(header::CONTENT_TYPE),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    for line in [
        r#"longwatch_http_requests_total{route="/api/v1/agents/{agent_id}",status="404"} 1"#,
        r#"longwatch_http_requests_total{route="unmatched",status="404"} 1"#,
    ] {
        assert!(text.text().contains(line), "{}", text.text());
    }
    assert!(!text.text().contains("some-name"));
    let mut asked = request("GET", "/metrics", Body::empty());
    asked.headers_mut().insert(
        header::ACCEPT,
        "application/openmetrics-text".parse().unwrap(),
    );
    let open = edge.send(asked).await;
    assert!(
        open.header(header::CONTENT_TYPE)
            .starts_with("application/openmetrics-text")
    );
    assert!(open.text().ends_with("# EOF\n"));
}
