//! Pushes: what is accepted, what is refused and how that is told, what becomes of it.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use crate::server::{Answer, QUIET, Server, now_ms};

const PATH: &str = "/api/v1/agents/a/metrics";

fn rfc3339(ms: i64) -> String {
    longwatch::model::Timestamp::from_millis(ms).to_rfc3339()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Indices that were refused, after checking that each has a reason.
fn refused(answer: &Value) -> Vec<u64> {
    let errors = answer["errors"].as_array().unwrap();
    errors
        .iter()
        .map(|error| {
            assert!(!error["reason"].as_str().unwrap().is_empty());
            error["index"].as_u64().unwrap()
        })
        .collect()
}

#[tokio::test]
async fn bad_metrics_are_told_by_place_and_the_others_kept() {
    let server = Server::start();
    let metrics = json!([
        {"name": "good", "value": 1},
        {"name": "", "value": 1},
        {"value": 1},
        {"name": "no_value"},
        {"name": "word", "value": "many"},
        {"name": "null", "value": null},
        {"name": "kind", "value": 1, "type": "speedometer"},
        {"name": "labels", "value": 1, "labels": ["a"]},
        {"name": "label", "value": 1, "labels": {"a": 1}},
        {"name": "control\n", "value": 1},
        {"name": "reserved", "value": 1, "labels": {"__name__": "x"}},
        {"name": "n".repeat(257), "value": 1},
        {"name": "good", "value": 2, "labels": {"l": "ä", "empty": ""}, "type": "counter", "unknown": {}},
        7,
        {"name": "time", "value": 1, "timestamp": "yesterday"},
        {"name": "milliseconds", "value": 1, "timestamp": now_ms()},
    ]);
    let answer = server.push("a", &metrics).await;
    assert_eq!(
        (&answer["accepted"], &answer["rejected"]),
        (&json!(2), &json!(14))
    );
    let expected: Vec<u64> = (1..=11).chain(13..=15).collect();
    assert_eq!(refused(&answer), expected, "{answer}");
    let reason = |at: usize| answer["errors"][at]["reason"].as_str().unwrap();
    assert!(reason(3).contains("many") && reason(3).contains("word"));
    assert!(reason(13).contains("milliseconds?"), "{}", reason(13));

    let series = server
        .get_json("/api/v1/series?agent_id=a&metric_name=good")
        .await;
    let labels: Vec<_> = series["series"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["labels"])
        .collect();
    assert_eq!(labels, [&json!({}), &json!({"l": "ä"})]);
    assert_eq!(
        series["series"][0]["metric_type"], "counter",
        "the kind is the metric's"
    );
    let all = server.get_json("/api/v1/series?agent_id=a").await;
    assert_eq!(
        all["series"].as_array().unwrap().len(),
        3,
        "with `up`: {all}"
    );

    // All refused is still an answer.
    let answer = server
        .push("a", &json!([{"name": "word", "value": "x"}]))
        .await;
    assert_eq!(
        (&answer["accepted"], &answer["rejected"]),
        (&json!(0), &json!(1))
    );
    let answer = server.push("a", &json!([])).await;
    assert_eq!(answer, json!({"accepted": 0, "rejected": 0, "errors": []}));
}

#[tokio::test]
async fn values_come_back_as_they_were() {
    let server = Server::start();
    let base = now_ms() / 1000 * 1000 - 60_000;
    let values = [
        (json!("NaN"), json!("NaN")),
        (json!("+Inf"), json!("+Inf")),
        (json!("Inf"), json!("+Inf")),
        (json!("-Inf"), json!("-Inf")),
        (json!("12.5"), json!(12.5)),
        (json!(0.1), json!(0.1)),
        (json!(-0.0), json!(-0.0)),
        (json!(5e-324), json!(5e-324)),
        (json!(f64::MAX), json!(f64::MAX)),
        (
            json!(9_007_199_254_740_993_i64),
            json!(9_007_199_254_740_992.0),
        ),
    ];
    let metrics: Vec<Value> = values
        .iter()
        .zip(0..)
        .map(|((value, _), i)| {
            json!({"name": "v", "value": value, "timestamp": (base + i * 1000) / 1000})
        })
        .collect();
    let answer = server.push("a", &json!(metrics)).await;
    assert_eq!(answer["accepted"], values.len(), "{answer}");
    let samples = server.samples("agent_id=a&metric_name=v").await;
    let expected: Vec<_> = values
        .iter()
        .zip(0..)
        .map(|((_, value), i)| (base + i * 1000, value.clone()))
        .collect();
    assert_eq!(samples, expected);
}

#[tokio::test]
async fn timestamps_take_every_form_and_none_of_the_future() {
    let server = Server::start();
    let ms = now_ms() / 1000 * 1000 - 30_000;
    let forms = [
        ("a", json!(ms / 1000)),
        ("b", json!(ms as f64 / 1000.0 + 0.25)),
        ("c", json!((ms / 1000).to_string())),
        ("d", json!(rfc3339(ms))),
        ("e", json!(rfc3339(ms).replace(".000Z", "Z"))),
        (
            "f",
            json!(rfc3339(ms + 7_200_000).replace(".000Z", "+02:00")),
        ),
        ("g", Value::Null),
    ];
    let metrics: Vec<Value> = forms
        .iter()
        .map(|(name, time)| json!({"name": name, "value": 1, "timestamp": time}))
        .collect();
    let before = now_ms();
    let answer = server.push("a", &json!(metrics)).await;
    assert_eq!(answer["rejected"], 0, "{answer}");
    for (name, _) in &forms {
        let samples = server
            .samples(&format!("agent_id=a&metric_name={name}"))
            .await;
        let time = samples[0].0;
        match *name {
            "b" => assert_eq!(time, ms + 250),
            "g" => assert!((before..=now_ms()).contains(&time)),
            _ => assert_eq!(time, ms, "{name}"),
        }
    }
    let future = (now_ms() + 1_200_000) / 1000;
    let near = (now_ms() + 300_000) / 1000;
    let answer = server
        .push(
            "a",
            &json!([
            {"name": "near", "value": 1, "timestamp": near},
            {"name": "far", "value": 1, "timestamp": future},
            {"name": "now", "value": 1, "timestamp": "now"}]),
        )
        .await;
    assert_eq!(answer["accepted"], 1);
    assert_eq!(refused(&answer), [1, 2]);
    let reason = answer["errors"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("10m"), "names the limit: {reason}");
    assert!(
        server
            .samples("agent_id=a&metric_name=far&from=-1h&to=%2B1d")
            .await
            .is_empty()
    );
    assert_eq!(
        server
            .samples("agent_id=a&metric_name=near&from=-1h&to=%2B1d")
            .await
            .len(),
        1
    );
}

#[tokio::test]
async fn bodies_that_are_no_push_are_problems() {
    let server = Server::start();
    for body in [
        "",
        "{",
        "[]",
        "{}",
        "null",
        r#"{"metrics":{}}"#,
        r#"{"metrics":[{"name":"m","value":1}"#,
        r#"{"metrics":[]} x"#,
        r#"{"metrics":[],"metrics":[]}"#,
        r#"{"metrics":[{"name":"m","value":NaN}]}"#,
    ] {
        let problem = server.post(PATH, body).await.problem(400);
        assert_eq!(problem["title"], "Bad Request", "{body}");
    }
    server
        .post(PATH, b"{\"metrics\":[\xff]}".as_slice())
        .await
        .problem(400);
    for agent in ["%20a", "%2e%2e", &"x".repeat(129), "a%0Ab"] {
        let path = format!("/api/v1/agents/{agent}/metrics");
        // Clients resolve dots themselves, so this one may be told as a path that is not there.
        let answer = server.post(&path, r#"{"metrics":[]}"#).await;
        if agent == "%2e%2e" {
            assert!(
                matches!(answer.status, 404 | 405 | 422),
                "{}",
                answer.status
            );
        } else {
            assert!(answer.problem(422)["errors"][0]["detail"].is_string());
        }
    }
    let body =
        json!({"agent_id": "a", "metrics_endpoint": "ftp://a/", "labels": {"a": 1}, "surprise": 1});
    let problem = server.post_json("/api/v1/agents", &body).await.problem(422);
    let pointers: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(pointers, ["#/surprise", "#/metrics_endpoint", "#/labels/a"]);
    assert!(
        server.get("/api/v1/agents/a").await.status == 404,
        "nothing of it was kept"
    );
}

#[tokio::test]
async fn gzip_is_read_and_other_encodings_are_not() {
    let server = Server::start();
    let body = json!({"metrics": [{"name": "m", "value": 4}]}).to_string();
    let send = async |encoding: &str, bytes: Vec<u8>| {
        let request = server.client.post(server.url(PATH));
        Answer::of(request.header("content-encoding", encoding).body(bytes)).await
    };
    send("gzip", gzip(body.as_bytes())).await.expect(200);
    assert_eq!(server.samples("agent_id=a&metric_name=m").await[0].1, 4.0);
    send("identity", body.clone().into_bytes())
        .await
        .expect(200);
    send("gzip", body.clone().into_bytes()).await.problem(400);
    let mut torn = gzip(body.as_bytes());
    torn.truncate(torn.len() - 9);
    send("gzip", torn).await.problem(400);
    let answer = send("br", body.into_bytes()).await;
    assert!(matches!(answer.status, 400 | 415), "{}", answer.status);
    answer.problem(answer.status);
}

#[tokio::test]
async fn a_runaway_agent_is_named_and_harms_nobody() {
    let config = format!(
        "{QUIET}[limits]\nseries_per_agent = 5\nlabels_per_series = 2\nlabel_value_bytes = 8\n"
    );
    let server = Server::with(&config, &[]);
    let many: Vec<Value> = (0..10)
        .map(|i| json!({"name": "m", "value": i, "labels": {"id": i.to_string()}}))
        .collect();
    let answer = server.push("runaway", &json!(many)).await;
    let kept = answer["accepted"].as_u64().unwrap();
    assert!((4..=5).contains(&kept), "`up` may take a place: {answer}");
    assert_eq!(answer["rejected"], 10 - kept);
    let reason = answer["errors"][0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("runaway")
            && reason.contains("limits.series_per_agent")
            && reason.contains("id="),
        "{reason}"
    );
    // Its old series go on, others are not affected.
    let answer = server
        .push(
            "runaway",
            &json!([{"name": "m", "value": 9, "labels": {"id": "0"}}, {"name": "new", "value": 1}]),
        )
        .await;
    assert_eq!(refused(&answer), [1]);
    let answer = server
        .push(
            "other",
            &json!([
            {"name": "m", "value": 1, "labels": {"a": "1", "b": "2"}},
            {"name": "m", "value": 1, "labels": {"a": "1", "b": "2", "c": "3"}},
            {"name": "m", "value": 1, "labels": {"a": "123456789"}}]),
        )
        .await;
    assert_eq!(refused(&answer), [1, 2], "{answer}");
}

#[tokio::test]
async fn duplicates_are_no_error_and_the_last_written_wins() {
    let server = Server::start();
    let time = now_ms() / 1000 - 60;
    let sample = |value: f64| json!({"name": "m", "value": value, "timestamp": time});
    let answer = server.push("a", &json!([sample(1.0), sample(1.0)])).await;
    assert_eq!(
        (&answer["accepted"], &answer["rejected"]),
        (&json!(2), &json!(0))
    );
    assert_eq!(
        server.samples("agent_id=a&metric_name=m").await,
        [(time * 1000, json!(1.0))]
    );
    server.push("a", &json!([sample(2.0)])).await;
    server.push("a", &json!([sample(3.0), sample(4.0)])).await;
    assert_eq!(
        server.samples("agent_id=a&metric_name=m").await,
        [(time * 1000, json!(4.0))]
    );
    let overview = server
        .get_json("/api/v1/series?agent_id=a&metric_name=m")
        .await;
    assert_eq!(overview["series"][0]["samples"], 1);
}

#[tokio::test]
async fn no_pusher_writes_as_another_agent() {
    let server = Server::start();
    let labels = json!({"agent_id": "victim", "job": "j", "instance": "i", "own": "1"});
    server
        .push("a", &json!([{"name": "m", "value": 1, "labels": labels}]))
        .await;
    assert!(server.samples("agent_id=victim").await.is_empty());
    let found = server
        .get_json("/api/v1/series?agent_id=a&metric_name=m")
        .await;
    assert_eq!(
        found["series"][0]["labels"],
        json!({"exported_agent_id": "victim", "exported_job": "j", "exported_instance": "i", "own": "1"})
    );
}

#[tokio::test]
async fn what_longwatch_records_itself_is_not_pushed() {
    let server = Server::start();
    let body = json!({"metrics": [
        {"name": "up", "value": 0},
        {"name": "agent_health_score", "value": 100},
        {"name": "up", "value": 0, "labels": {"target": "other"}},
        {"name": "mine", "value": 1},
    ]});
    let told = server
        .post_json("/api/v1/agents/p/metrics", &body)
        .await
        .expect(200)
        .json();
    assert_eq!(
        (told["accepted"].as_u64(), told["rejected"].as_u64()),
        (Some(2), Some(2)),
        "{told}"
    );
    assert_eq!(told["errors"][0]["index"], 0, "{told}");
    let agent = server.get_json("/api/v1/agents/p").await;
    assert_eq!(agent["status"], "active", "{agent}");
    let metrics = server.get("/metrics").await.expect(200).text();
    assert!(
        metrics.contains("longwatch_samples_rejected_total{by=\"malformed\"} 2"),
        "{metrics}"
    );
}
