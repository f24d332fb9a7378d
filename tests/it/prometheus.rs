//! Prometheus' API and protocols through the real binary: remote write and OTLP in, PromQL out, over HTTP, on the command
//! line and of a copied file.

use std::{fs, path::Path};

use longwatch::ingest::{snappy, write_request_v1};
use serde_json::{Value, json};

use crate::server::{Answer, QUIET, Server, now_ms};

const WRITE: &str = "/prometheus/api/v1/write";
const QUERY: &str = "/prometheus/api/v1/query";

/// Labels, and samples as milliseconds and values.
type Series<'a> = (&'a [(&'a str, &'a str)], &'a [(i64, f64)]);

fn packed(series: &[Series<'_>]) -> Vec<u8> {
    let columns: Vec<(Vec<i64>, Vec<f64>)> = series
        .iter()
        .map(|(_, samples)| samples.iter().copied().unzip())
        .collect();
    let all = series.iter().zip(&columns);
    let all = all.map(|((labels, _), (times, values))| {
        (labels.iter().copied(), times.as_slice(), values.as_slice())
    });
    snappy(&write_request_v1(all)).unwrap()
}

async fn write(server: &Server, series: &[Series<'_>]) -> Answer {
    post(server, WRITE, "application/x-protobuf", packed(series)).await
}

async fn post(server: &Server, path: &str, kind: &str, body: Vec<u8>) -> Answer {
    let request = server
        .client
        .post(server.url(path))
        .header("content-type", kind);
    let request = if path == WRITE {
        request.header("content-encoding", "snappy")
    } else {
        request
    };
    Answer::of(request.body(body)).await
}

/// A GET with parameters.
async fn ask(server: &Server, path: &str, parameters: &[(&str, &str)]) -> Answer {
    let url = url::Url::parse_with_params(&server.url(path), parameters).unwrap();
    Answer::of(server.client.get(url)).await
}

/// The result of an instant query.
async fn query(server: &Server, expression: &str, at_ms: i64) -> Value {
    let time = format!("{}", at_ms as f64 / 1000.0);
    let answer = ask(server, QUERY, &[("query", expression), ("time", &time)]).await;
    answer.expect(200).json()["data"]["result"].clone()
}

fn requests(path: &'static str) -> [(&'static str, &'static str); 4] {
    [
        ("__name__", "requests_total"),
        ("instance", "h:1"),
        ("job", "web"),
        ("path", path),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn remote_written_series_come_back_as_they_were_sent() {
    let server = Server::with(QUIET, &[]);
    let now = now_ms() / 1000 * 1000;
    let rising: Vec<(i64, f64)> = (0..10)
        .map(|i| (now - (10 - i) * 15_000, i as f64 * 30.0))
        .collect();
    let (a, b) = (requests("/a"), requests("/b"));
    write(&server, &[(&a, &rising), (&b, &[(now - 15_000, 5.0)])])
        .await
        .expect(204);
    // No label is added, and the agent is told from job and instance.
    let found = query(&server, "requests_total", now).await;
    assert_eq!(
        found[0]["metric"],
        json!({"__name__": "requests_total", "instance": "h:1", "job": "web", "path": "/a"})
    );
    assert_eq!(found.as_array().unwrap().len(), 2);
    server.get("/api/v1/agents/web%2Fh:1").await.expect(200);
    let rate = query(
        &server,
        r#"rate(requests_total{path="/a"}[1m])"#,
        now - 15_000,
    )
    .await;
    assert_eq!(rate[0]["value"][1], "2");
    assert_eq!(
        rate[0]["metric"],
        json!({"instance": "h:1", "job": "web", "path": "/a"})
    );
    // The same from a copy, and by the command, which prints what promtool prints.
    let expression = "sum by (job) (rate(requests_total[1m]))";
    let at = format!("{}", (now - 15_000) / 1000);
    let url = server.url("");
    let online = server
        .run(&["query", expression, "--at", &at, "--url", &url])
        .ok();
    let text = String::from_utf8(online.clone()).unwrap();
    assert!(text.starts_with("{job=\"web\"} => 2 @["), "{text}");
    let mut server = server;
    server.kill();
    let db = server.db();
    let db = db.to_str().unwrap();
    let offline = server
        .run(&["query", expression, "--at", &at, "--db", db])
        .ok();
    assert_eq!(offline, online);
    let wrong = server.run(&["query", "sum(", "--db", db]);
    assert_eq!(wrong.status, Some(2), "{}", wrong.err);
    assert!(wrong.err.contains("1:5: parse error"), "{}", wrong.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_remote_write_refuses_is_told_and_the_rest_is_kept() {
    let server = Server::with(QUIET, &[]);
    let now = now_ms();
    let (a, b) = (requests("/a"), requests("/b"));
    let answer = write(
        &server,
        &[(&a, &[(now + 3_600_000, 1.0)]), (&b, &[(now, 2.0)])],
    )
    .await;
    let answer = answer.expect(400);
    assert!(answer.text().contains("1 rejected"), "{}", answer.text());
    assert_eq!(
        answer.header("x-prometheus-remote-write-samples-written"),
        "1"
    );
    assert_eq!(
        query(&server, "requests_total", now).await[0]["value"][1],
        "2"
    );
    let unnamed: &[(&str, &str)] = &[("job", "web")];
    let answer = write(&server, &[(unnamed, &[(now, 1.0)])])
        .await
        .expect(400);
    assert!(answer.text().contains("__name__"), "{}", answer.text());
    for (kind, body, status) in [
        ("application/json", packed(&[]), 415),
        (
            "application/x-protobuf;proto=some.Message",
            packed(&[]),
            415,
        ),
        (
            "application/x-protobuf",
            b"\xff\xff\xff\xff\x0f".to_vec(),
            413,
        ),
        (
            "application/x-protobuf",
            b"nothing of the kind".to_vec(),
            400,
        ),
        ("application/x-protobuf", snappy(b"\x0a\xff").unwrap(), 400),
        (
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            packed(&[]),
            204,
        ),
    ] {
        post(&server, WRITE, kind, body).await.expect(status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_bounded_and_its_mistakes_have_a_place() {
    let mut config = QUIET.to_owned();
    config.push_str("[query]\nmax_samples = 100\nmax_series = 3\nmax_points = 1000\n");
    let server = Server::with(&config, &[]);
    let now = now_ms();
    let samples: Vec<(i64, f64)> = (0..200).map(|i| (now - i * 1000, 1.0)).rev().collect();
    let a = requests("/a");
    write(&server, &[(&a, &samples)]).await.expect(204);
    for (expression, status, kind, part) in [
        ("sum(", 400, "bad_data", "1:5: parse error"),
        ("nothing(up)", 400, "bad_data", "unknown function"),
        (
            "count_over_time(requests_total[5m])",
            422,
            "execution",
            "query.max_samples",
        ),
    ] {
        let answer = ask(&server, QUERY, &[("query", expression)])
            .await
            .expect(status);
        let told = answer.json();
        assert_eq!(told["status"], "error");
        assert_eq!(told["errorType"], kind, "{told}");
        assert!(told["error"].as_str().unwrap().contains(part), "{told}");
    }
    for (path, names) in [("/b", 3), ("/c", 4)] {
        let series: Vec<String> = (0..names).map(|i| format!("series_{i}")).collect();
        for name in &series {
            let labels: &[(&str, &str)] = &[("__name__", name), ("path", path)];
            write(&server, &[(labels, &[(now, 1.0)])]).await.expect(204);
        }
    }
    let answer = ask(&server, QUERY, &[("query", r#"count({path=~"/[bc]"})"#)]).await;
    assert!(answer.expect(422).text().contains("query.max_series"));
    let range = [
        ("query", "1"),
        ("start", "0"),
        ("end", "1000"),
        ("step", "1"),
    ];
    let answer = ask(&server, "/prometheus/api/v1/query_range", &range).await;
    assert!(answer.expect(400).text().contains("query.max_points"));
    for repeated in ["(", "-", "1+"] {
        let form = format!("query={}1", repeated.replace('+', "%2B").repeat(20_000));
        let kind = "application/x-www-form-urlencoded";
        post(&server, QUERY, kind, form.into_bytes())
            .await
            .expect(400);
    }
}

/// What Grafana's data source calls, and how.
#[tokio::test(flavor = "multi_thread")]
async fn grafana_finds_what_it_looks_for() {
    let server = Server::with(QUIET, &[]);
    let now = now_ms();
    let a = requests("/a");
    write(&server, &[(&a, &[(now, 1.0)])]).await.expect(204);
    let api = |path: &str| format!("/prometheus/api/v1/{path}");
    let form = b"query=1%2B1&time=4".to_vec();
    let kind = "application/x-www-form-urlencoded";
    let answer = post(&server, QUERY, kind, form).await.expect(200).json();
    assert_eq!(
        answer["data"],
        json!({"resultType": "scalar", "result": [4, "2"]})
    );
    let info = ask(&server, &api("status/buildinfo"), &[])
        .await
        .expect(200)
        .json();
    assert!(info["data"]["version"].is_string() && info["data"].get("features").is_none());
    let data = |answer: Answer| answer.expect(200).json()["data"].clone();
    let names = data(
        ask(
            &server,
            &api("label/__name__/values"),
            &[("limit", "40000")],
        )
        .await,
    );
    assert!(
        names.as_array().unwrap().contains(&json!("requests_total")),
        "{names}"
    );
    let selector = r#"{job="web"}"#;
    let labels = data(ask(&server, &api("labels"), &[("match[]", selector)]).await);
    assert_eq!(labels, json!(["__name__", "instance", "job", "path"]));
    let seconds = (now / 1000 + 1).to_string();
    let window = [
        ("match[]", selector),
        ("start", "1"),
        ("end", &seconds),
        ("limit", "1"),
    ];
    let series = data(ask(&server, &api("series"), &window).await);
    assert_eq!(series[0]["path"], "/a");
    let before = [("match[]", selector), ("start", "1"), ("end", "2")];
    assert_eq!(data(ask(&server, &api("series"), &before).await), json!([]));
    let far = [
        ("query", "up"),
        ("start", "1795829901000"),
        ("end", "1795829902000"),
    ];
    assert_eq!(
        data(ask(&server, &api("query_exemplars"), &far).await),
        json!([])
    );
    for path in [
        "rules",
        "alerts",
        "metadata",
        "targets",
        "status/tsdb",
        "status/runtimeinfo",
    ] {
        ask(&server, &api(path), &[]).await.expect(200);
    }
    let pretty = data(
        ask(
            &server,
            &api("format_query"),
            &[("query", "sum  (up)by(job)")],
        )
        .await,
    );
    assert_eq!(pretty, "sum by (job) (up)");
    let tree = data(ask(&server, &api("parse_query"), &[("query", "up")]).await);
    assert_eq!(tree["type"], "vectorSelector");
    ask(&server, &api("series"), &[]).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_opentelemetry_have_the_names_of_prometheus() {
    let server = Server::with(QUIET, &[]);
    let now = now_ms();
    let nanos = format!("{}", now * 1_000_000);
    let point =
        |value: i64| json!([{"asInt": value, "timeUnixNano": nanos, "startTimeUnixNano": "1"}]);
    let body = |value: i64, temporality: u8| {
        json!({"resourceMetrics": [{
            "resource": {"attributes": [
                {"key": "service.name", "value": {"stringValue": "team"}},
                {"key": "agent.id", "value": {"stringValue": "planner"}},
            ]},
            "scopeMetrics": [{"metrics": [{"name": "tasks.done", "unit": "1", "sum": {
                "aggregationTemporality": temporality, "isMonotonic": true, "dataPoints": point(value),
            }}]}],
        }]})
    };
    let send = |body: Value| {
        post(
            &server,
            "/v1/metrics",
            "application/json",
            body.to_string().into_bytes(),
        )
    };
    let answer = send(body(7, 2)).await.expect(200).json();
    assert_eq!(answer, json!({"partialSuccess": {}}));
    let found = query(&server, "tasks_done_total", now).await;
    assert_eq!(found[0]["value"][1], "7");
    assert_eq!(found[0]["metric"]["job"], "team");
    server.get("/api/v1/agents/planner").await.expect(200);
    let damaged = post(&server, "/v1/metrics", "application/json", b"{".to_vec()).await;
    damaged.expect(400);
}

/// Labels that longwatch adds are on what it scraped or was pushed, and nowhere else.
#[tokio::test(flavor = "multi_thread")]
async fn pushed_series_get_the_labels_of_their_agent() {
    let server = Server::with(QUIET, &[]);
    let body = json!({"metrics": [{"name": "depth", "value": 3, "labels": {"job": "mine"}}]});
    let path = "/api/v1/agents/a7/metrics";
    post(
        &server,
        path,
        "application/json",
        body.to_string().into_bytes(),
    )
    .await
    .expect(200);
    let found = query(&server, "depth", now_ms()).await;
    let labels = json!({"__name__": "depth", "agent_id": "a7", "exported_job": "mine", "job": "multi-agent-system"});
    assert_eq!(found[0]["metric"], labels);
    let by_agent = query(&server, r#"depth{agent_id=~"a.", job!="mine"}"#, now_ms()).await;
    assert_eq!(by_agent.as_array().unwrap().len(), 1);
}

/// The queries of Prometheus' compliance suite, without data: those that must fail do, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn the_compliance_suites_queries_are_understood() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/conformance/promql-compliance/queries.json"
    );
    let Ok(text) = fs::read_to_string(Path::new(path)) else {
        eprintln!("skipped: {path} is not here");
        return;
    };
    let server = Server::with(QUIET, &[]);
    let document: Value = serde_json::from_str(&text).unwrap();
    let queries = document["queries"].as_array().unwrap();
    assert!(queries.len() > 300);
    for case in queries {
        let expression = case["query"].as_str().unwrap();
        let must_fail = case["should_fail"] == true;
        // Two series would become one, which takes some.
        if must_fail && expression.contains("\"instance\", \"\"") {
            continue;
        }
        let range = [
            ("query", expression),
            ("start", "0"),
            ("end", "600"),
            ("step", "10"),
        ];
        let answer = ask(&server, "/prometheus/api/v1/query_range", &range).await;
        assert_eq!(
            (answer.status != 200),
            must_fail,
            "{expression}: {}",
            answer.text()
        );
    }
}

/// Out of one file, into another and into a server: what PromQL sees stays the same.
#[tokio::test(flavor = "multi_thread")]
async fn series_are_exported_and_imported() {
    let mut server = Server::with(QUIET, &[]);
    let now = now_ms() / 1000 * 1000;
    let (a, b) = (requests("/a\"\n"), requests("/b"));
    let samples: Vec<(i64, f64)> = (0..50)
        .map(|i| (now - i * 1000, i as f64 / 7.0))
        .rev()
        .collect();
    write(
        &server,
        &[(&a, &samples), (&b, &[(now - 500, f64::INFINITY)])],
    )
    .await
    .expect(204);
    server
        .push("a7", &json!([{"name": "depth", "value": 3}]))
        .await;
    let expression = "last_over_time({job=~\".+\",agent_id!=\"longwatch\"}[1h]) or sum_over_time(requests_total[1h])";
    let at = format!("{}", now / 1000 + 1);
    server.kill();
    let db = server.db();
    let db = db.to_str().unwrap();
    let ask_file = |file: &str| {
        server
            .run(&["query", expression, "--at", &at, "--db", file])
            .ok()
    };
    let expected = ask_file(db);
    assert!(!expected.is_empty());
    for (format, name) in [("openmetrics", "all.om"), ("jsonl", "all.jsonl")] {
        let selector = "{job=~\".+\",agent_id!=\"longwatch\"}";
        let exported = server.run(&["db", "export", db, "--format", format, "--match", selector]);
        let text = exported.ok();
        fs::write(server.folder().join(name), &text).unwrap();
        let other = format!("{name}.redb");
        let imported = server.run(&["db", "import", name, "--db", &other]).ok();
        let told = String::from_utf8(imported).unwrap();
        assert!(told.ends_with(" samples taken in, 0 refused\n"), "{told}");
        assert_eq!(
            String::from_utf8(ask_file(&other)).unwrap(),
            String::from_utf8(expected.clone()).unwrap()
        );
        // Once more changes nothing.
        server.run(&["db", "import", name, "--db", &other]).ok();
        assert_eq!(ask_file(&other), expected);
        let fresh = Server::with(QUIET, &[]);
        server
            .run(&["db", "import", name, "--url", &fresh.url("")])
            .ok();
        let online = server.run(&["query", expression, "--at", &at, "--url", &fresh.url("")]);
        assert_eq!(online.ok(), expected);
    }
    let window = ["--from", &at, "--to", &at];
    let nothing = server
        .run(&[&["db", "export", db][..], &window].concat())
        .ok();
    assert_eq!(nothing, b"# EOF\n");
    let text = format!("up 1 {}\nup x\n", now / 1000);
    fs::write(server.folder().join("bad.om"), text).unwrap();
    let bad = server.run(&["db", "import", "bad.om", "--db", "bad.redb"]);
    assert_eq!(bad.status, Some(1));
    assert!(bad.err.contains("bad.om: line 2, column 4"), "{}", bad.err);
    let told = String::from_utf8(bad.out).unwrap();
    assert!(told.starts_with("1 samples taken in"), "{told}");
}
