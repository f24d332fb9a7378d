//! `[forward]` and `longwatch agent`: samples sent on by remote write, through restarts and refusals.

use std::{
    collections::VecDeque,
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use longwatch::{
    ingest::{AgentRule, RemoteWriteVersion, SeriesCache, parse_remote_write, unsnappy},
    model::{Batch, Limits, Row, SeriesKey},
};
use serde_json::{Value, json};

use crate::server::{Answer, QUIET, Server, command, now_ms, run};

const DEADLINE: Duration = Duration::from_mins(1);

/// What a receiver was sent, and what it answers next; when nothing is planned, what it should.
#[derive(Clone, Debug, Default)]
struct Told {
    answers: Arc<Mutex<VecDeque<u16>>>,
    /// Answered with 204: series with value, in order of arrival.
    taken: Arc<Mutex<Vec<(String, f64)>>>,
    headers: Arc<Mutex<Vec<HeaderMap>>>,
}

/// A value of `steps` that the receiver refuses.
const REFUSED: f64 = 3.0;

fn key_of(batch: &Batch, row: &Row) -> SeriesKey {
    SeriesKey::from_bytes(batch.key(row)).unwrap()
}

async fn take(State(told): State<Told>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let planned = told.answers.lock().unwrap().pop_front();
    if let Some(planned) = planned {
        return StatusCode::from_u16(planned).unwrap();
    }
    let body = unsnappy(&body, 1 << 20).unwrap();
    let (rule, limits) = (AgentRule::default(), Limits::default());
    let received = parse_remote_write(
        RemoteWriteVersion::V1,
        &body,
        &rule,
        &limits,
        &SeriesCache::default(),
    )
    .unwrap();
    let steps = received
        .parts
        .iter()
        .filter(|(agent, _)| agent.as_str() == "worker-1");
    let steps: Vec<f64> = steps
        .flat_map(|(_, batch)| {
            batch
                .rows()
                .iter()
                .filter(|row| key_of(batch, row).name() == "steps")
        })
        .map(|row| row.value)
        .collect();
    if steps.contains(&REFUSED) {
        return StatusCode::BAD_REQUEST;
    }
    if steps.len() > 2 {
        return StatusCode::PAYLOAD_TOO_LARGE;
    }
    told.headers.lock().unwrap().push(headers);
    for (agent, batch) in received.parts {
        for row in batch.rows() {
            let key = key_of(&batch, row);
            let labels: Vec<String> = key.labels().map(|(n, v)| format!("{n}={v}")).collect();
            let series = format!("{agent} {}{{{}}}", key.name(), labels.join(","));
            told.taken.lock().unwrap().push((series, row.value));
        }
    }
    StatusCode::NO_CONTENT
}

async fn receiver(told: Told) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new()
        .route("/api/v1/push", post(take))
        .with_state(told);
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    format!("http://{address}/api/v1/push")
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < DEADLINE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn push(server: &Server, value: f64) {
    let metrics = json!([{ "name": "steps", "value": value, "type": "counter" }]);
    server.push("worker-1", &metrics).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_arrive_in_order_whatever_the_receiver_answers() {
    let told = Told::default();
    let url = receiver(told.clone()).await;
    let config = format!(
        "{QUIET}\n[forward]\nurl = \"{url}\"\nheaders = [\"X-Scope-OrgID: team\"]\nexternal_labels = [\"vm=one\"]\ntoken_file = \"token\"\n"
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "s3cret\n").unwrap();
    let mut server = Server::within(folder, &config, &[]);
    let values = |told: &Told| -> Vec<f64> {
        let taken = told.taken.lock().unwrap();
        let steps = taken
            .iter()
            .filter(|(s, _)| s.starts_with("worker-1 steps"));
        steps.map(|(_, value)| *value).collect()
    };

    // 503 is tried again, and so is a wrong token.
    told.answers.lock().unwrap().extend([503, 401]);
    push(&server, 1.0).await;
    push(&server, 2.0).await;
    until("two samples", async || values(&told) == [1.0, 2.0]).await;
    let headers = told.headers.lock().unwrap()[0].clone();
    assert_eq!(headers["authorization"], "Bearer s3cret");
    assert_eq!(headers["x-scope-orgid"], "team");
    assert_eq!(headers["content-encoding"], "snappy");
    let series = told.taken.lock().unwrap().clone();
    let (steps, _) = series.iter().find(|(s, _)| s.contains("steps")).unwrap();
    assert_eq!(
        steps,
        "worker-1 steps{agent_id=worker-1,job=multi-agent-system,vm=one}"
    );

    // What is refused for what it is is dropped and counted, and what follows still comes.
    push(&server, REFUSED).await;
    push(&server, 4.0).await;
    until("the next", async || values(&told) == [1.0, 2.0, 4.0]).await;
    let metrics = server.get("/metrics").await.text();
    let dropped = r#"forward_samples_dropped_total{by="refused"} 1"#;
    assert!(metrics.contains(dropped), "{metrics}");

    let status = server.get_json("/api/v1/status").await;
    assert_eq!(status["forwarding"]["samples_dropped"], 0, "{status}");

    // A request that is too large is sent in halves.
    let time = now_ms();
    let metrics: Vec<Value> = (5..9)
        .map(|i| json!({ "name": "steps", "value": i, "timestamp": (time + i) as f64 / 1e3, "type": "counter" }))
        .collect();
    server.push("worker-1", &json!(metrics)).await;
    let all = [1.0, 2.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    until("the halves", async || values(&told).len() == all.len()).await;
    assert_eq!(values(&told), all);

    // While it is away samples wait in the file, also through a checkpoint and a kill.
    told.answers.lock().unwrap().extend([503; 1000]);
    push(&server, 9.0).await;
    server.terminate();
    server.restart();
    push(&server, 10.0).await;
    server.restart();
    let status = server.get_json("/api/v1/status").await;
    assert!(
        status["forwarding"]["waiting_commits"].as_u64() >= Some(2),
        "{status}"
    );
    told.answers.lock().unwrap().clear();
    until("what waited", async || {
        values(&told).ends_with(&[9.0, 10.0])
    })
    .await;
    assert!(!server.log().contains("s3cret"), "{}", server.log());
}

/// A process that is killed when the test ends.
struct Agent(Child);

impl Agent {
    fn start(arguments: &[&str], folder: &std::path::Path) -> Self {
        let child = command(arguments, folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

async fn count(server: &Server, metric: &str) -> u64 {
    let query = format!("sum(count_over_time({metric}{{agent_id=\"vm-2\"}}[1h]))");
    let url = server.url("/prometheus/api/v1/query");
    let url = reqwest::Url::parse_with_params(&url, [("query", &query)]).unwrap();
    let answer = Answer::of(server.client.get(url)).await.expect(200).json();
    let value = answer["data"]["result"][0]["value"][1].as_str();
    value.map_or(0, |text| text.parse().unwrap())
}

/// The values and times of a metric, as `longwatch query` tells them of a file or a server.
fn samples(source: [&str; 2], end_ms: i64, folder: &std::path::Path) -> Value {
    let at = format!("{}.{:03}", end_ms / 1000, end_ms % 1000);
    let query = r#"system_memory_usage{agent_id="vm-2"}[1h]"#;
    let [flag, source] = source;
    let asked = [
        "query", query, flag, source, "--at", &at, "--format", "json",
    ];
    let mut answer: Value = serde_json::from_slice(&run(&asked, folder).ok()).unwrap();
    let all = answer["data"]["result"][0]["values"].take();
    assert!(all.as_array().is_some_and(|all| all.len() > 3), "{answer}");
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_loses_and_doubles_nothing() {
    let address = free_address();
    let mut server = Server::with(QUIET, &["--listen", &address]);
    let folder = tempfile::tempdir().unwrap();
    let config = "[host]\ninterval = \"1s\"\n[storage]\nscrape_commit_delay = \"0s\"\ncheckpoint_interval = \"2s\"\n";
    std::fs::write(folder.path().join("agent.toml"), config).unwrap();
    let to = format!("http://{address}");
    let arguments = [
        "agent",
        "--to",
        &to,
        "--agent-id",
        "vm-2",
        "--spool",
        "spool.redb",
    ];
    let arguments = [&arguments[..], &["--config", "agent.toml"]].concat();
    let agent = Agent::start(&arguments, folder.path());
    until("the agent's host", async || {
        count(&server, "system_memory_usage").await > 2
    })
    .await;

    // The server is away, longer than the agent keeps its log for itself; then the agent is killed, too.
    server.kill();
    tokio::time::sleep(Duration::from_secs(5)).await;
    drop(agent);
    let agent = Agent::start(&arguments, folder.path());
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.restart();
    let restarted = count(&server, "system_memory_usage").await;
    until("more samples", async || {
        count(&server, "system_memory_usage").await > restarted + 5
    })
    .await;
    // What is older than this has arrived: it comes in order.
    let end = now_ms() - 3_000;
    let at_server = samples(["--url", &server.url("")], end, folder.path());
    drop(agent);
    let of_agent = samples(["--db", "spool.redb"], end, folder.path());
    assert_eq!(at_server, of_agent);

    // A spool is no database, and the other way round.
    let arguments = ["serve", "--db", "spool.redb", "--listen", "127.0.0.1:0"];
    let refused = run(&arguments, folder.path());
    assert!(
        refused
            .err
            .contains("this is the spool of `longwatch agent`"),
        "{}",
        refused.err
    );
    // The host has a report like any other.
    let report = server
        .get_json("/api/v1/reports/performance?agent_id=vm-2&window=1h")
        .await;
    assert!(report.to_string().contains("memory"), "{report}");
}
