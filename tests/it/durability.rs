//! SIGKILL in the middle of pushes: what was acknowledged is there, whole and once.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{collections::BTreeMap, sync::Arc};

use longwatch::model::Timestamp;
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinHandle, time::timeout};

use crate::server::{Answer, DEADLINE, QUIET, Server, eventually, now_ms};

const PUSHERS: usize = 4;
const ROUNDS_DEFAULT: u64 = 20;
/// Times of one push; each has a sample of two series.
const TIMES_PER_PUSH: i64 = 10;
const SERIES: [&str; 2] = ["first", "second"];

/// Small enough a log that checkpoints fall between and into the rounds.
const BUSY: &str = "wal_samples_max = 1000\ncheckpoint_interval = \"1s\"\n";

/// One agent that pushes: push `n` holds the times `n * TIMES_PER_PUSH ..` with values to tell them by.
#[derive(Clone, Debug)]
struct Pusher {
    agent: String,
    base_ms: i64,
    /// Whether a push without an answer is sent again, or given up.
    repeats: bool,
    next: i64,
    acknowledged: Vec<i64>,
    unanswered: Vec<i64>,
}

impl Pusher {
    fn body(&self, push: i64) -> String {
        let times = push * TIMES_PER_PUSH..(push + 1) * TIMES_PER_PUSH;
        let metrics: Vec<Value> = times
            .flat_map(|n| {
                let time = Timestamp::from_millis(self.base_ms + n).to_rfc3339();
                SERIES.map(|name| json!({"name": name, "value": n, "timestamp": time}))
            })
            .collect();
        json!({ "metrics": metrics }).to_string()
    }

    /// Pushes until the server is gone.
    async fn push_on(mut self, client: reqwest::Client, url: String, acks: Arc<Semaphore>) -> Self {
        loop {
            let push = self.next;
            let request = client.post(&url).body(self.body(push));
            let answer = Answer::try_of(request).await.ok();
            // One that is told that the server ends is not acknowledged either.
            let Some(answer) = answer.filter(|a| a.status != 503) else {
                if !self.unanswered.contains(&push) {
                    self.unanswered.push(push);
                }
                self.next += i64::from(!self.repeats);
                return self;
            };
            let told = answer.expect(200).json();
            assert_eq!(told["rejected"], 0, "{told}");
            self.acknowledged.push(push);
            self.unanswered.retain(|other| *other != push);
            self.next += 1;
            acks.add_permits(1);
        }
    }

    /// Holds what the server has against what it had answered.
    async fn check(&self, server: &Server) {
        let mut found: Vec<BTreeMap<i64, i64>> = Vec::new();
        for name in SERIES {
            let query = format!("agent_id={}&metric_name={name}&from=-7h", self.agent);
            let samples = server.samples(&query).await;
            let by_time: BTreeMap<i64, i64> = samples
                .iter()
                .map(|(time, value)| (time - self.base_ms, value.as_f64().unwrap() as i64))
                .collect();
            assert_eq!(samples.len(), by_time.len(), "no time twice");
            let counted = server.get_json(&format!("/api/v1/series?{query}")).await;
            let count = counted["series"][0]["samples"].as_u64().unwrap_or(0);
            assert_eq!(count, by_time.len() as u64, "nothing counted twice");
            assert!(by_time.iter().all(|(time, value)| time == value));
            found.push(by_time);
        }
        assert_eq!(found[0], found[1], "a push is there whole or not at all");
        let held: Vec<i64> = found[0].keys().copied().collect();
        for push in &self.acknowledged {
            let first = push * TIMES_PER_PUSH;
            let range = held.partition_point(|t| *t < first)
                ..held.partition_point(|t| *t < first + TIMES_PER_PUSH);
            assert_eq!(
                range.len() as i64,
                TIMES_PER_PUSH,
                "push {push} of {}",
                self.agent
            );
        }
        for time in held {
            let push = time / TIMES_PER_PUSH;
            assert!(
                self.acknowledged.contains(&push) || self.unanswered.contains(&push),
                "{time} was never sent"
            );
        }
    }
}

fn new_pushers() -> Vec<Pusher> {
    let base_ms = now_ms() - 6 * 3_600_000;
    (0..PUSHERS)
        .map(|i| Pusher {
            agent: format!("pusher-{i}"),
            base_ms,
            repeats: i % 2 == 0,
            next: 0,
            acknowledged: Vec::new(),
            unanswered: Vec::new(),
        })
        .collect()
}

fn set_to_work(
    pushers: &mut Vec<Pusher>,
    server: &Server,
    acks: &Arc<Semaphore>,
) -> Vec<JoinHandle<Pusher>> {
    pushers
        .drain(..)
        .map(|pusher| {
            let url = server.url(&format!("/api/v1/agents/{}/metrics", pusher.agent));
            tokio::spawn(pusher.push_on(server.client.clone(), url, Arc::clone(acks)))
        })
        .collect()
}

fn rounds() -> u64 {
    std::env::var("LONGWATCH_TEST_KILL_ROUNDS")
        .ok()
        .map_or(ROUNDS_DEFAULT, |n| n.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_kill_once() {
    let mut server = Server::with(&format!("{QUIET}{BUSY}"), &[]);
    let mut pushers = new_pushers();
    let mut blocks = false;
    for round in 0..rounds() {
        let acks = Arc::new(Semaphore::new(0));
        let tasks = set_to_work(&mut pushers, &server, &acks);
        // From right after the first one on to many, in no order.
        let enough = 1 + (round * 17 % 61) as u32;
        let acknowledged = timeout(DEADLINE, acks.acquire_many(enough)).await;
        assert!(acknowledged.is_ok(), "no answers: {}", server.log());
        server.kill();
        for task in tasks {
            pushers.push(task.await.unwrap());
        }

        // The file as the kill left it can be checked and read, without being written to.
        let verified = server.run(&["db", "verify", "live.redb"]);
        assert_eq!(verified.status, Some(0), "round {round}: {}", verified.err);
        let report = server.run(&["report", "--db", "live.redb", "--format", "json"]);
        let report: Value = serde_json::from_slice(&report.ok()).unwrap();
        for pusher in &pushers {
            let counted = &report["performance_report"]["agent_performance"][&pusher.agent];
            let per_push = TIMES_PER_PUSH as u64 * SERIES.len() as u64;
            let least = pusher.acknowledged.len() as u64 * per_push;
            let most = least + pusher.unanswered.len() as u64 * per_push;
            let total = counted["total_metrics"].as_u64().unwrap_or(0);
            assert!(
                (least..=most).contains(&total),
                "round {round}: {least} <= {total} <= {most}"
            );
        }

        server.restart();
        for pusher in &pushers {
            if !pusher.acknowledged.is_empty() {
                pusher.check(&server).await;
            }
        }
        blocks |= server.get_json("/api/v1/status").await["blocks"] != 0;
    }
    let acknowledged: usize = pushers.iter().map(|p| p.acknowledged.len()).sum();
    assert!(acknowledged as u64 >= rounds());
    // Once more when everything has become blocks.
    eventually("a checkpoint", async || {
        let status = server.get_json("/api/v1/status").await;
        (status["head_samples"] == 0).then_some(())
    })
    .await;
    for pusher in &pushers {
        pusher.check(&server).await;
    }
    let (status, log) = server.terminate();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    assert!(
        blocks || rounds() < ROUNDS_DEFAULT,
        "checkpoints fell into the rounds"
    );
    let verified = server.run(&["db", "verify", "live.redb"]).ok();
    assert!(String::from_utf8(verified).unwrap().contains(": ok: "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_end_under_load_loses_nothing() {
    let mut server = Server::with(&format!("{QUIET}{BUSY}"), &[]);
    let mut pushers = new_pushers();
    for round in 0..3 {
        let acks = Arc::new(Semaphore::new(0));
        let tasks = set_to_work(&mut pushers, &server, &acks);
        let acknowledged = timeout(DEADLINE, acks.acquire_many(20 + round)).await;
        assert!(acknowledged.is_ok(), "no answers: {}", server.log());
        let (status, log) = server.terminate();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
        for task in tasks {
            pushers.push(task.await.unwrap());
        }
        server.run(&["db", "verify", "live.redb"]).ok();
        server.restart();
        for pusher in &pushers {
            pusher.check(&server).await;
        }
    }
}
