//! Traces through the real binary: native calls, OTLP and Zipkin in, questions over HTTP, on the command line and of a
//! copied file, kills in between.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::server::{Answer, Server, eventually, now_ms};

/// Trace `trace` of three spans: a planner that calls a researcher, who calls a tool that fails.
fn otlp(trace: u64, start_ms: i64) -> Value {
    let span = |id: u64,
                parent: Option<u64>,
                agent: &str,
                name: &str,
                from: i64,
                to: i64,
                code: u8| {
        let nanos = |ms: i64| format!("{}", (start_ms + ms) * 1_000_000);
        json!({
            "traceId": format!("{trace:032x}"),
            "spanId": format!("{id:016x}"),
            "parentSpanId": parent.map_or_else(String::new, |p| format!("{p:016x}")),
            "name": name,
            "kind": 1,
            "startTimeUnixNano": nanos(from),
            "endTimeUnixNano": nanos(to),
            "attributes": [
                {"key": "gen_ai.agent.name", "value": {"stringValue": agent}},
                {"key": "try", "value": {"intValue": trace.to_string()}},
            ],
            "status": {"code": code, "message": if code == 2 { "no route to host" } else { "" }},
        })
    };
    json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "trip"}}]},
        "scopeSpans": [{"scope": {"name": "test"}, "spans": [
            span(1, None, "planner", "plan", 0, 100, 1),
            span(2, Some(1), "researcher", "research", 10, 90, 0),
            span(3, Some(2), "researcher", "fetch", 20, 50, 2),
        ]}],
    }]})
}

async fn send(server: &Server, body: &Value) -> Answer {
    let request = server.client.post(server.url("/v1/traces"));
    let request = request.header("content-type", "application/json");
    Answer::of(request.body(body.to_string())).await
}

fn ids(list: &Value) -> Vec<u64> {
    let traces = list["traces"].as_array().unwrap();
    let id = |trace: &Value| u64::from_str_radix(trace["trace_id"].as_str().unwrap(), 16).unwrap();
    traces.iter().map(id).collect()
}

fn shared(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/conformance")
        .join(folder);
    if !path.is_dir() {
        eprintln!("skipped: {} is not here", path.display());
        return None;
    }
    Some(path)
}

fn json_files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                fs::read(&path).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn a_span_is_started_logged_and_finished_by_calls() {
    let mut server = Server::start();
    let spans = "/api/v1/traces/run%207/spans";
    let root = server
        .post_json(spans, &json!({"operation": "plan", "agent_id": "planner", "metadata": {"city": "Oslo", "n": 2}}))
        .await
        .expect(201)
        .json();
    assert_eq!(root["trace_id"], "run 7");
    let id = root["span_id"].as_str().unwrap().to_owned();
    let child = json!({"operation": "search", "agent_id": "researcher", "parent_span_id": id, "span_id": "step 1"});
    server.post_json(spans, &child).await.expect(201);
    assert!(
        server.post_json(spans, &child).await.problem(409)["detail"]
            .as_str()
            .unwrap()
            .contains("step 1")
    );

    // Open spans are there at once, and after a kill.
    let open = server.get_json("/api/v1/spans/open").await;
    assert_eq!(open["spans"].as_array().unwrap().len(), 2);
    let conflict = server
        .get("/api/v1/traces/run%207/analysis")
        .await
        .problem(409);
    assert!(
        conflict["detail"]
            .as_str()
            .unwrap()
            .starts_with("No completed spans in trace")
    );
    server.kill();
    server.restart();
    let log = json!({"message": "found it", "fields": {"hits": [1, 2]}});
    server
        .post_json(&format!("{spans}/step%201/logs"), &log)
        .await
        .expect(204);
    let finish = json!({"status": "failed", "message": "no room", "metadata": {"city": "Bergen"}});
    let ended = server
        .post_json(&format!("{spans}/step%201/finish"), &finish)
        .await
        .expect(200)
        .json();
    assert_eq!(ended["status"], "failed");
    assert_eq!(ended["logs"][0]["fields"], json!({"hits": [1, 2]}));
    server
        .post(&format!("{spans}/{id}/finish"), "")
        .await
        .expect(200);
    server
        .post(&format!("{spans}/{id}/finish"), "")
        .await
        .problem(409);
    server
        .post(&format!("{spans}/nobody/finish"), "")
        .await
        .problem(404);
    server
        .post("/api/v1/traces/other/spans/x/finish", "")
        .await
        .problem(404);

    let shown = server.get_json("/api/v1/traces/run%207").await;
    assert_eq!(shown["trace_id"], "run 7");
    let told: Vec<_> = shown["spans"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| {
            (
                s["span_id"].as_str().unwrap(),
                s["status"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(told, [(id.as_str(), "completed"), ("step 1", "failed")]);
    assert_eq!(
        shown["spans"][0]["metadata"],
        json!({"city": "Oslo", "n": 2})
    );
    let analysis = server.get_json("/api/v1/traces/run%207/analysis").await;
    assert_eq!(
        (&analysis["total_spans"], &analysis["failed_spans"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(
        analysis["agent_participation"]["researcher"]["operations"],
        json!(["search"])
    );
    let agents = server.get_json("/api/v1/agents").await;
    let known: Vec<_> = agents["agents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["agent_id"].as_str().unwrap())
        .collect();
    assert!(
        known.contains(&"planner") && known.contains(&"researcher"),
        "{known:?}"
    );
}

#[tokio::test]
async fn bad_calls_say_what_and_where() {
    let server = Server::start();
    let spans = "/api/v1/traces/t/spans";
    let problem = server
        .post_json(
            spans,
            &json!({"agent_id": "..", "metadata": 7, "kind": "odd", "typo": 1}),
        )
        .await
        .problem(422);
    let pointers: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["pointer"].as_str().unwrap())
        .collect();
    for pointer in [
        "#/typo",
        "#/operation",
        "#/agent_id",
        "#/metadata",
        "#/kind",
    ] {
        assert!(pointers.contains(&pointer), "{pointer}: {problem}");
    }
    server.get("/api/v1/traces/nobody").await.problem(404);
    server
        .get("/api/v1/traces/nobody/analysis")
        .await
        .problem(404);
    server
        .get("/api/v1/traces?min_duration=2s&max_duration=1s")
        .await
        .problem(400);
    server.get("/api/v1/traces?cursor=x").await.problem(400);
    server.get("/api/v1/traces?limit=0").await.problem(400);
    let request = server
        .client
        .post(server.url("/v1/traces"))
        .header("content-type", "text/plain");
    Answer::of(request.body("x")).await.problem(415);
    // Errors of OTLP are a google.rpc.Status in the form of the request.
    let request = server
        .client
        .post(server.url("/v1/traces"))
        .header("content-type", "application/json");
    let answer = Answer::of(request.body("{")).await.expect(400);
    assert_eq!(
        (answer.json()["code"].clone(), answer.header("content-type")),
        (json!(3), "application/json")
    );
    let request = server
        .client
        .post(server.url("/v1/traces"))
        .header("content-type", "application/x-protobuf");
    let answer = Answer::of(request.body(vec![0xff; 40])).await.expect(400);
    assert_eq!(answer.header("content-type"), "application/x-protobuf");
}

#[tokio::test]
async fn traces_are_found_analysed_and_read_from_a_copy() {
    let mut server = Server::start();
    let start = now_ms() - 60_000;
    for trace in 1..=9 {
        let answer = send(&server, &otlp(trace, start + trace as i64 * 1_000))
            .await
            .expect(200);
        assert_eq!(answer.json(), json!({"partialSuccess": {}}));
    }
    let list = async |query: &str| ids(&server.get_json(&format!("/api/v1/traces?{query}")).await);
    assert_eq!(list("").await, [9, 8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(list("attr.try=4").await, [4]);
    assert_eq!(list("error=ROUTE&limit=2").await, [9, 8]);
    assert_eq!(
        list("agent_id=planner&status=failed").await,
        [0; 0],
        "one span must fit in every respect"
    );
    assert_eq!(
        list("agent_id=researcher&operation=fetch&status=failed&max_duration=30ms&limit=1").await,
        [9]
    );
    let from = start + 7_500;
    assert_eq!(
        list(&format!("from={}.{:03}", from / 1_000, from % 1_000)).await,
        [9, 8]
    );
    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server
            .get_json(&format!("/api/v1/traces?limit=4{cursor}"))
            .await;
        paged.extend(ids(&page));
        let Some(next) = page["next"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(paged, [9, 8, 7, 6, 5, 4, 3, 2, 1]);

    let trace = format!("{:032x}", 5);
    let analysis = server
        .get_json(&format!("/api/v1/traces/{trace}/analysis"))
        .await;
    assert_eq!(
        analysis["critical_path"],
        json!([
            "planner:plan",
            "researcher:research",
            "researcher:fetch",
            "researcher:research",
            "planner:plan"
        ])
    );
    let sum: f64 = analysis["critical_path_segments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["duration_ms"].as_f64().unwrap())
        .sum();
    assert!((sum - 100.0).abs() < 1e-9);
    assert_eq!(analysis["total_duration_ms"], 100.0);
    let graph = server.get_json("/api/v1/agent-graph").await;
    assert_eq!(
        (
            &graph["edges"][0]["source"],
            &graph["edges"][0]["target"],
            &graph["edges"][0]["count"]
        ),
        (&json!("planner"), &json!("researcher"), &json!(9))
    );
    let profile = server
        .get_json("/api/v1/traces/profile?operation=plan&what_if=researcher:0.5")
        .await;
    assert_eq!(profile["traces"], 9);
    assert_eq!(profile["what_if"]["p50"]["saved_ms"], 40.0);

    // The command line says the same of the server, of the file of a killed one and of an import of its export.
    let url = server.url("");
    let online = server.run(&["traces", "show", &trace, "--url", &url]).ok();
    let analysed = server
        .run(&["traces", "analyze", &trace, "--url", &url])
        .ok();
    let exported = server.run(&[
        "traces", "export", &trace, "--url", &url, "--format", "jaeger", "--out", "t.json",
    ]);
    exported.ok();
    server.kill();
    fs::copy(server.db(), server.folder().join("copy.redb")).unwrap();
    let offline = server
        .run(&["traces", "show", &trace, "--db", "copy.redb"])
        .ok();
    assert_eq!(
        String::from_utf8(online).unwrap(),
        String::from_utf8(offline).unwrap()
    );
    assert_eq!(
        server
            .run(&["traces", "analyze", &trace, "--db", "copy.redb"])
            .ok(),
        analysed
    );
    let found = server
        .run(&[
            "traces",
            "search",
            "--attr",
            "try=4",
            "--db",
            "copy.redb",
            "--format",
            "json",
        ])
        .ok();
    assert_eq!(ids(&serde_json::from_slice(&found).unwrap()), [4]);
    assert_eq!(
        server
            .run(&["traces", "show", "nobody", "--db", "copy.redb"])
            .status,
        Some(1)
    );
    let svg = server
        .run(&["traces", "profile", "--db", "copy.redb", "--format", "svg"])
        .ok();
    assert!(String::from_utf8(svg).unwrap().starts_with("<svg"));
    let said = server
        .run(&["traces", "import", "--db", "other.redb", "t.json"])
        .ok();
    assert_eq!(
        String::from_utf8(said).unwrap(),
        "3 spans taken in, 0 refused\n"
    );
    assert_eq!(
        server
            .run(&["traces", "analyze", &trace, "--db", "other.redb"])
            .ok()
            .len(),
        analysed.len()
    );
}

#[tokio::test]
async fn what_was_acknowledged_of_traces_survives_kills() {
    let mut server = Server::with(
        "[traces]\nhead_size = \"1MiB\"\n[storage]\ncheckpoint_interval = \"1s\"\n",
        &[],
    );
    let rounds: u64 = std::env::var("LONGWATCH_TEST_KILL_ROUNDS").map_or(5, |n| n.parse().unwrap());
    let mut sent = 0;
    for round in 0..rounds {
        for _ in 0..=(round * 7 % 23) {
            sent += 1;
            send(&server, &otlp(sent, now_ms() - 1_000))
                .await
                .expect(200);
        }
        let url = server.url("/v1/traces");
        let (client, body) = (
            server.client.clone(),
            otlp(1_000_000 + round, now_ms()).to_string(),
        );
        // One that nobody waits for is in the middle of it.
        let unanswered = tokio::spawn(async move {
            let request = client.post(url).header("content-type", "application/json");
            let _ = Answer::try_of(request.body(body)).await;
        });
        tokio::task::yield_now().await;
        server.kill();
        unanswered.await.unwrap();
        let verified = server.run(&["db", "verify", "live.redb"]);
        assert_eq!(verified.status, Some(0), "{}", verified.err);
        server.restart();
        let list = server.get_json("/api/v1/traces?limit=1000").await;
        let mut found: Vec<u64> = ids(&list)
            .into_iter()
            .filter(|id| *id < 1_000_000)
            .collect();
        found.sort_unstable();
        assert_eq!(found, (1..=sent).collect::<Vec<_>>());
        for trace in list["traces"].as_array().unwrap() {
            assert_eq!(trace["total_spans"], 3, "whole and once: {trace}");
        }
    }
}

#[tokio::test]
async fn an_import_into_a_file_deletes_nothing() {
    let config = "[storage]\nretention = \"400d\"\ncheckpoint_interval = \"1s\"\n";
    let mut server = Server::with(config, &[]);
    let time = now_ms() / 1_000 - 90 * 86_400;
    server
        .push(
            "old",
            &json!([{"name": "load", "value": 7, "timestamp": time}]),
        )
        .await;
    // Retention is about what is in blocks.
    eventually("a checkpoint", async || {
        let status = server.get_json("/api/v1/status").await;
        (status["blocks"].as_u64()? > 0).then_some(())
    })
    .await;
    server.kill();
    fs::write(
        server.folder().join("t.json"),
        otlp(1, now_ms() - 1_000).to_string(),
    )
    .unwrap();
    server
        .run(&["traces", "import", "--db", "live.redb", "t.json"])
        .ok();
    server.restart();
    let kept = server
        .samples("agent_id=old&metric_name=load&from=-100d")
        .await;
    assert_eq!(kept, [(time * 1_000, json!(7.0))]);
    let list = server.get_json("/api/v1/traces").await;
    assert_eq!(ids(&list), [1]);
}

#[tokio::test]
async fn documents_of_other_projects_are_taken() {
    let Some(folder) = shared("otlp") else { return };
    let server = Server::start();
    for (name, body) in json_files(&folder) {
        let path = if name == "logs.json" {
            "/v1/logs"
        } else {
            "/v1/traces"
        };
        let status = match name.as_str() {
            "metrics.json" | "jaeger-otlp-in.expected-jaeger-api.json" => continue,
            "invalid-otlp.json" => 400,
            _ => 200,
        };
        let request = server
            .client
            .post(server.url(path))
            .header("content-type", "application/json");
        let answer = Answer::of(request.body(body)).await.expect(status);
        if status == 200 && name != "logs.json" {
            assert_eq!(answer.json(), json!({"partialSuccess": {}}), "{name}");
        }
    }
    for (name, body) in json_files(&shared("zipkin").unwrap()) {
        let request = server
            .client
            .post(server.url("/api/v2/spans"))
            .header("content-type", "application/json");
        let answer = Answer::of(request.body(body)).await;
        assert_eq!(answer.status, 202, "{name}: {}", answer.text());
    }
}
