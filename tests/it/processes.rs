//! Agents with a pid: their process is sampled until it ends, and never another one.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::{
    server::{Server, eventually},
    target::Target,
};

const TEXT: &str = "text/plain; version=0.0.4";

/// A process that does nothing until it is dropped.
struct Idle(Child);

impl Idle {
    fn start() -> Self {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Ends it. Nobody waits for it yet, as with an agent whose parent is careless.
    fn kill(&mut self) {
        self.0.kill().unwrap();
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn register(server: &Server, agent: &str, with: Value) {
    let mut body = json!({"agent_id": agent, "collection_interval_seconds": 0.5});
    let more = with.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    let answer = server.post_json("/api/v1/agents", &body).await;
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
}

async fn until_status(server: &Server, agent: &str, status: &str) -> Value {
    eventually(&format!("{agent} is {status}"), async || {
        let shown = server.get_json(&format!("/api/v1/agents/{agent}")).await;
        (shown["status"] == status).then_some(shown)
    })
    .await
}

async fn samples(server: &Server, agent: &str, metric: &str) -> Vec<(i64, f64)> {
    let query = format!("agent_id={agent}&metric_name={metric}");
    let samples = server.samples(&query).await;
    samples
        .iter()
        .map(|(t, v)| (*t, v.as_f64().unwrap()))
        .collect()
}

/// Waits for more samples of a series than there are.
async fn more(server: &Server, agent: &str, metric: &str) {
    let before = samples(server, agent, metric).await.len();
    eventually(&format!("more of {metric}"), async || {
        (samples(server, agent, metric).await.len() > before + 1).then_some(())
    })
    .await;
}

/// Without those of its alerts, which come when rules are evaluated.
async fn metrics_of(server: &Server, agent: &str) -> Vec<String> {
    let found = server
        .get_json(&format!("/api/v1/series?agent_id={agent}"))
        .await;
    let series = found["series"].as_array().unwrap();
    let mut names: Vec<_> = series
        .iter()
        .map(|s| s["metric_name"].as_str().unwrap().to_owned())
        .filter(|name| !name.starts_with("ALERTS"))
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_process_alone_is_an_agent() {
    let mut server = Server::start();
    let mut process = Idle::start();
    let pid = process.pid();
    register(&server, "p", json!({ "pid": pid })).await;
    until_status(&server, "p", "active").await;
    assert_eq!(
        metrics_of(&server, "p").await,
        [
            "process_cpu_seconds_total",
            "process_io_storage_read_bytes_total",
            "process_io_storage_written_bytes_total",
            "process_open_fds",
            "process_resident_memory_bytes",
            "process_start_time_seconds",
            "process_threads",
            "process_up",
            "process_virtual_memory_bytes",
            "system_cpu_usage",
            "system_memory_usage",
            "up",
        ]
    );
    let of = async |metric: &str| samples(&server, "p", metric).await[0].1;
    assert_eq!(of("process_threads").await, 1.0);
    assert!((0.0..=100.0).contains(&of("system_cpu_usage").await));
    let (share, bytes) = (
        of("system_memory_usage").await,
        of("process_resident_memory_bytes").await,
    );
    assert!(
        share > 0.0 && share < 50.0 && bytes > 100_000.0,
        "{share} {bytes}"
    );
    let found = server
        .get_json("/api/v1/samples?agent_id=p&metric_name=system_memory_usage")
        .await;
    let series = &found["series"][0];
    assert_eq!(
        (&series["labels"], &series["metric_type"]),
        (&json!({"unit": "percent"}), &json!("gauge"))
    );

    // Its end is told at once, and nothing is sampled after it.
    process.kill();
    let shown = until_status(&server, "p", "unhealthy").await;
    let error = shown["last_error"].as_str().unwrap();
    assert!(
        error.starts_with(&format!("process {pid} has ended")),
        "{error}"
    );
    more(&server, "p", "up").await;
    let up = samples(&server, "p", "up").await;
    let ended = up.iter().find(|(_, v)| *v == 0.0).unwrap().0;
    for metric in ["process_threads", "system_cpu_usage", "system_memory_usage"] {
        let last = samples(&server, "p", metric).await.last().unwrap().0;
        assert!(last < ended, "{metric}");
    }
    assert_eq!(
        samples(&server, "p", "process_up").await.last().unwrap().1,
        0.0
    );
    // Neither does a restart take up whatever has the pid.
    server.restart();
    more(&server, "p", "up").await;
    until_status(&server, "p", "unhealthy").await;

    // Registered anew, it is bound anew.
    let successor = Idle::start();
    register(&server, "p", json!({ "pid": successor.pid() })).await;
    let shown = until_status(&server, "p", "active").await;
    assert_eq!(shown["last_error"], Value::Null);
    more(&server, "p", "process_threads").await;
    // A restart goes on with the same process.
    server.restart();
    more(&server, "p", "process_threads").await;
    let up = samples(&server, "p", "up").await;
    assert_eq!(up.last().unwrap().1, 1.0);
}

#[tokio::test]
async fn a_pid_that_nobody_has_is_told() {
    let server = Server::start();
    let pid = {
        let process = Idle::start();
        process.pid()
    };
    register(&server, "p", json!({ "pid": pid })).await;
    let shown = until_status(&server, "p", "unhealthy").await;
    let error = shown["last_error"].as_str().unwrap();
    assert!(
        error.starts_with(&format!(
            "there was no process {pid} when the agent was registered"
        )),
        "{error}"
    );
    assert_eq!(metrics_of(&server, "p").await, ["process_up", "up"]);
    register(&server, "p", json!({"pid": std::process::id()})).await;
    until_status(&server, "p", "active").await;
}

/// Both together: the endpoint tells whether the agent answers, and what it tells itself is not sampled.
#[tokio::test]
async fn an_endpoint_and_a_process() {
    let server = Server::start();
    let target = Target::start(
        TEXT,
        "m 1\nprocess_resident_memory_bytes 42\nsystem_cpu_usage{core=\"0\"} 7\n",
    )
    .await;
    let mut process = Idle::start();
    register(
        &server,
        "both",
        json!({"pid": process.pid(), "metrics_endpoint": target.url()}),
    )
    .await;
    until_status(&server, "both", "active").await;
    more(&server, "both", "process_threads").await;
    let is_own = async || {
        let memory = samples(&server, "both", "process_resident_memory_bytes").await;
        let cpu = samples(&server, "both", "system_cpu_usage").await;
        assert!(memory.iter().all(|(_, v)| *v == 42.0), "{memory:?}");
        assert!(cpu.iter().all(|(_, v)| *v == 7.0), "{cpu:?}");
    };
    is_own().await;
    let scraped = samples(&server, "both", "scrape_samples_post_metric_relabeling").await;
    assert!(scraped.iter().all(|(_, v)| *v == 3.0), "{scraped:?}");
    // One round, one time.
    let threads = samples(&server, "both", "process_threads").await;
    let up = samples(&server, "both", "up").await;
    assert!(threads.iter().all(|(t, _)| up.iter().any(|(u, _)| u == t)));

    // An endpoint that hangs is when the process's figures are needed most.
    target.answer_with(500);
    let shown = until_status(&server, "both", "unhealthy").await;
    assert!(
        shown["last_error"]
            .as_str()
            .unwrap()
            .starts_with("status 500")
    );
    more(&server, "both", "process_threads").await;
    is_own().await;
    assert_eq!(
        samples(&server, "both", "process_up")
            .await
            .last()
            .unwrap()
            .1,
        1.0
    );

    // The process ends and the endpoint answers, as after a restart of the agent: it is well, and what is missing
    // is told.
    target.answer_with(200);
    until_status(&server, "both", "active").await;
    process.kill();
    eventually("the process's end", async || {
        let last = samples(&server, "both", "process_up").await.last().copied();
        last.is_some_and(|(_, v)| v == 0.0).then_some(())
    })
    .await;
    let shown = server.get_json("/api/v1/agents/both").await;
    assert_eq!(shown["status"], "active");
    let error = shown["last_error"].as_str().unwrap();
    assert!(error.contains("process is not there"), "{error}");
    let before = samples(&server, "both", "process_threads").await.len();
    more(&server, "both", "m").await;
    assert_eq!(
        samples(&server, "both", "process_threads").await.len(),
        before
    );
    is_own().await;
}

/// A push of an agent with a process proves contact, and its `up` stays the process's.
#[tokio::test]
async fn a_push_beside_a_process() {
    let server = Server::start();
    let process = Idle::start();
    register(
        &server,
        "pushing",
        json!({"pid": process.pid(), "collection_interval_seconds": 3600}),
    )
    .await;
    until_status(&server, "pushing", "active").await;
    server
        .push("pushing", &json!([{"name": "m", "value": 1}]))
        .await;
    assert_eq!(samples(&server, "pushing", "agent_contact").await.len(), 1);
    assert_eq!(samples(&server, "pushing", "up").await.len(), 1);
    let told = server
        .push("pushing", &json!([{"name": "process_up", "value": 0}]))
        .await;
    assert_eq!(told["rejected"], 1, "{told}");
}
