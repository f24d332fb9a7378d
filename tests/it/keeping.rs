//! What becomes of history with time: merged, rolled up, expired by age and by bytes, compacted; and copied while it grows.

use std::fs;

use longwatch::model::{DAY_MS, Timestamp};
use serde_json::{Value, json};

use crate::{
    offline::Load,
    server::{QUIET, Server, eventually, now_ms, run},
};

const DAYS: i64 = 31;
/// Copies that are taken under load.
const COPIES_DEFAULT: u64 = 10;
/// Milliseconds between two samples of the month.
const STEP_MS: i64 = 120_000;

fn rfc3339(ms: i64) -> String {
    Timestamp::from_millis(ms).to_rfc3339()
}

/// Pushes a month of two series, a day a push, and returns its end.
async fn a_month(server: &Server) -> i64 {
    let end = now_ms() / STEP_MS * STEP_MS;
    for day in (0..DAYS).rev() {
        let first = end - (day + 1) * DAY_MS;
        let metrics: Vec<Value> = (1..=DAY_MS / STEP_MS)
            .flat_map(|i| {
                let time = rfc3339(first + i * STEP_MS);
                let wave = (i % 97) as f64 / 2.0 + day as f64;
                [
                    json!({"name": "system_cpu_usage", "value": wave, "timestamp": time}),
                    json!({"name": "jobs_total", "type": "counter", "value": i, "timestamp": time}),
                ]
            })
            .collect();
        let told = server.push("old-hand", &json!(metrics)).await;
        assert_eq!(told["rejected"], 0, "{told}");
    }
    end
}

async fn first_sample(server: &Server, to: &str) -> i64 {
    let query = format!("agent_id=old-hand&metric_name=system_cpu_usage&from=-40d&to={to}");
    server.samples(&query).await[0].0
}

fn report_of_the_month(server: &Server, to: &str) -> Vec<u8> {
    let arguments = [
        "report",
        "--db",
        "live.redb",
        "--window",
        "30d",
        "--to",
        to,
        "--format",
        "json",
    ];
    server.run(&arguments).ok()
}

async fn in_hours(server: &Server, to: &str, aggregate: &str) -> Vec<(i64, Value)> {
    let query = format!(
        "agent_id=old-hand&metric_name=system_cpu_usage&from=-29d&to={to}&step=1h&aggregate={aggregate}"
    );
    server.samples(&query).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_is_compacted_and_expires_by_age_and_by_bytes() {
    let mut server = Server::with(QUIET, &["--retention", "40d"]);
    let end = a_month(&server).await;
    let to = rfc3339(end);
    let means = in_hours(&server, &to, "avg").await;
    let peaks = in_hours(&server, &to, "max").await;
    server.kill();

    // Compacting says the same, digit for digit, and takes less.
    let before = report_of_the_month(&server, &to);
    let compacted = server
        .run(&["db", "compact", "live.redb", "--format", "json"])
        .ok();
    let compacted: Value = serde_json::from_slice(&compacted).unwrap();
    // The days of longwatch itself may be among them.
    assert!(
        compacted["merged_days"].as_i64() > Some(DAYS),
        "{compacted}"
    );
    assert_eq!(compacted["left"], json!([]));
    assert!(compacted["bytes_after"].as_u64() < compacted["bytes_before"].as_u64());
    assert!(report_of_the_month(&server, &to) == before);
    server.run(&["db", "verify", "live.redb"]).ok();
    server.restart();
    assert_eq!(in_hours(&server, &to, "avg").await, means);
    assert_eq!(in_hours(&server, &to, "max").await, peaks);
    assert!(first_sample(&server, &to).await < end - 30 * DAY_MS);
    server.kill();

    // By age: samples go, what their days added up to stays.
    let mut server = server.with_flags(&["--retention", "10d"]);
    eventually("old samples to go", async || {
        (first_sample(&server, &to).await > end - 12 * DAY_MS).then_some(())
    })
    .await;
    assert!(first_sample(&server, &to).await <= end - 10 * DAY_MS);
    // The window cuts through the first hour.
    let left = in_hours(&server, &to, "avg").await;
    assert!(means.len() <= left.len() + 1);
    let whole = means.len() - 1;
    for (found, expected) in left.iter().rev().zip(means.iter().rev()).take(whole) {
        assert_eq!(found, expected);
    }
    server.kill();

    // By bytes: as few as there is room for, and the day under way in any case.
    let folder = server.folder().join("longwatch.toml");
    fs::write(folder, format!("{QUIET}retention_size = \"64KB\"\n")).unwrap();
    server.restart();
    eventually("more samples to go", async || {
        (first_sample(&server, &to).await > end - 9 * DAY_MS).then_some(())
    })
    .await;
    server.run(&["db", "verify", "live.redb"]);
    let (status, log) = server.terminate();
    assert_eq!(status.code(), Some(0), "{log}");
    server.run(&["db", "verify", "live.redb"]).ok();
}

const RULE: &str = "[[storage.retention_rules]]\nmetric = \"debug_*\"\nlabels = { env = \"dev\" }\nkeep = \"3d\"\n";

/// Pushes twelve days of three series, a sample an hour, and returns their end.
async fn twelve_days(server: &Server) -> i64 {
    let end = now_ms() / STEP_MS * STEP_MS;
    let metrics: Vec<Value> = (0..12 * 24)
        .flat_map(|hour| {
            let time = rfc3339(end - hour * 3_600_000);
            let value = (hour % 50) as f64 / 2.0;
            [
                json!({"name": "debug_calls", "value": value, "timestamp": time, "labels": {"env": "dev"}}),
                json!({"name": "debug_calls", "value": value, "timestamp": time, "labels": {"env": "prod"}}),
                json!({"name": "system_cpu_usage", "value": value, "timestamp": time}),
            ]
        })
        .collect();
    let told = server.push("old-hand", &json!(metrics)).await;
    assert_eq!(told["rejected"], 0, "{told}");
    end
}

/// Samples of a series of the agent, as `/api/v1/series` counts them.
async fn counted(server: &Server, metric: &str, env: Option<&str>) -> u64 {
    let query = format!("/api/v1/series?agent_id=old-hand&metric_name={metric}&from=-40d");
    let answer = server.get_json(&query).await;
    let series = answer["series"].as_array().unwrap().iter();
    let of_env = series.filter(|s| s["labels"]["env"].as_str() == env);
    of_env.map(|s| s["samples"].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_shortens_what_its_series_are_kept() {
    let mut server = Server::start();
    let end = twelve_days(&server).await;
    // Of a time before its registration a report does not know the agent.
    let to = rfc3339(now_ms());
    assert_eq!(counted(&server, "debug_calls", Some("dev")).await, 12 * 24);
    server.kill();
    server.run(&["db", "compact", "live.redb"]).ok();
    let before: Value = serde_json::from_slice(&report_of_the_month(&server, &to)).unwrap();

    let config = server.folder().join("longwatch.toml");
    fs::write(&config, format!("{QUIET}{RULE}")).unwrap();
    server.restart();
    // Since the first day that is kept began.
    let kept_from = (end - 3 * DAY_MS).div_euclid(DAY_MS) * DAY_MS;
    let kept = ((end - kept_from) / 3_600_000 + 1) as u64;
    eventually("what the rule does not keep to go", async || {
        let left = counted(&server, "debug_calls", Some("dev")).await;
        // Midnight may pass meanwhile.
        (left == kept || left + 24 == kept).then_some(())
    })
    .await;
    assert_eq!(counted(&server, "debug_calls", Some("prod")).await, 12 * 24);
    assert_eq!(counted(&server, "system_cpu_usage", None).await, 12 * 24);
    let status = server.get_json("/api/v1/status").await;
    assert_eq!(
        status["retention_rules"],
        json!([{"metric": "debug_*", "agent_id": null, "labels": {"env": "dev"}, "keep": "3d", "keep_seconds": 259_200.0}])
    );
    // What is late for its rule is refused, and told why.
    let late = rfc3339(end - 4 * DAY_MS);
    let told = server
        .push(
            "old-hand",
            &json!([
                {"name": "debug_calls", "value": 1, "timestamp": late, "labels": {"env": "dev"}},
                {"name": "debug_calls", "value": 1, "timestamp": late, "labels": {"env": "prod"}},
            ]),
        )
        .await;
    assert_eq!(
        (&told["accepted"], &told["rejected"]),
        (&json!(1), &json!(1)),
        "{told}"
    );
    assert!(told.to_string().contains("retention rule 1"), "{told}");
    let (exit, log) = server.terminate();
    assert_eq!(exit.code(), Some(0), "{log}");
    assert!(
        log.contains("retention rule 1: metric \"debug_*\""),
        "{log}"
    );

    // The file holds, and a report from it says what is left.
    server.run(&["db", "verify", "live.redb"]).ok();
    let after: Value = serde_json::from_slice(&report_of_the_month(&server, &to)).unwrap();
    let total = |report: &Value| {
        let of_agent = &report["performance_report"]["agent_performance"]["old-hand"];
        of_agent["total_metrics"].as_u64().unwrap()
    };
    let gone = total(&before) - total(&after);
    // The late one took the place of another.
    assert!(
        [12 * 24 - kept, 13 * 24 - kept].contains(&gone),
        "{gone}, {kept} kept"
    );
    server.run(&["db", "compact", "live.redb"]).ok();
    server.run(&["db", "verify", "live.redb"]).ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_leave_with_their_samples_and_come_back() {
    const RUNS: u64 = 200;
    let run = |no: u64, ms: i64| json!({"name": "run_seconds", "value": no, "timestamp": rfc3339(ms), "labels": {"run": no.to_string()}});
    let mut server = Server::with(QUIET, &["--retention", "40d"]);
    let end = now_ms();
    let mut metrics: Vec<Value> = (0..RUNS).map(|no| run(no, end - 20 * DAY_MS)).collect();
    metrics.push(json!({"name": "load", "value": 1}));
    let told = server.push("old-hand", &json!(metrics)).await;
    assert_eq!(told["rejected"], 0, "{told}");
    let known = async |server: &Server| {
        let status = server.get_json("/api/v1/status").await;
        status["series"].as_u64().unwrap()
    };
    let listed = async |server: &Server, from: &str| -> (usize, u64) {
        let query = format!("/api/v1/series?agent_id=old-hand&metric_name=run_seconds&from={from}");
        let answer = server.get_json(&query).await;
        let series = answer["series"].as_array().unwrap();
        let samples = series.iter().map(|s| s["samples"].as_u64().unwrap());
        (series.len(), samples.sum())
    };
    let before = known(&server).await;
    assert_eq!(listed(&server, "-40d").await, (RUNS as usize, RUNS));
    server.kill();
    server.run(&["db", "compact", "live.redb"]).ok();

    let mut server = server.with_flags(&["--retention", "10d"]);
    eventually("series without samples to leave", async || {
        (known(&server).await + RUNS <= before).then_some(())
    })
    .await;
    // Their sums are told of by name.
    assert_eq!(listed(&server, "-40d").await, (RUNS as usize, RUNS));
    assert_eq!(listed(&server, "-1d").await, (0, 0));
    let few = known(&server).await;
    let told = server.push("old-hand", &json!([run(7, now_ms())])).await;
    assert_eq!(told["accepted"], 1, "{told}");
    assert_eq!(known(&server).await, few + 1);
    assert_eq!(listed(&server, "-40d").await, (RUNS as usize, RUNS + 1));
    server.kill();
    server.run(&["db", "verify", "live.redb"]).ok();
    server.restart();
    assert_eq!(known(&server).await, few + 1);
    assert_eq!(listed(&server, "-40d").await, (RUNS as usize, RUNS + 1));
    let (status, log) = server.terminate();
    assert_eq!(status.code(), Some(0), "{log}");
    // And from a copy.
    let copy = ["db", "snapshot", "live.redb", "--out", "copy.redb"];
    server.run(&copy).ok();
    server.run(&["db", "verify", "copy.redb"]).ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_files_that_nobody_uses_are_compacted() {
    let server = Server::start();
    let refused = server.run(&["db", "compact", "live.redb"]);
    assert_eq!(refused.status, Some(3));
    assert!(refused.err.contains("in use"), "{}", refused.err);
    let missing = server.run(&["db", "compact", "nothing.redb"]);
    assert_eq!(missing.status, Some(3));
    assert!(!server.folder().join("nothing.redb").exists());
    fs::write(
        server.folder().join("text.redb"),
        "a text, long enough to be looked at",
    )
    .unwrap();
    let foreign = server.run(&["db", "compact", "text.redb"]);
    assert_eq!(foreign.status, Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_taken_under_load_are_whole() {
    let config = format!("{QUIET}wal_samples_max = 1000\ncheckpoint_interval = \"1s\"\n");
    let server = Server::with(&config, &[]);
    let load = Load::on(&server);
    let copies =
        std::env::var("LONGWATCH_TEST_COPIES").map_or(COPIES_DEFAULT, |n| n.parse().unwrap());
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("copy.redb");
    let name = copy.to_str().unwrap();
    for round in 0..copies {
        load.more(20).await;
        let acknowledged = server
            .get_json("/api/v1/series?agent_id=load-0&metric_name=load&from=-1h")
            .await["series"][0]["samples"]
            .as_u64()
            .unwrap();
        fs::copy(server.db(), &copy).unwrap();
        let verified = run(&["db", "verify", name], elsewhere.path());
        assert_eq!(verified.status, Some(0), "copy {round}: {}", verified.err);
        let report = run(
            &["report", "--db", name, "--window", "1h", "--format", "json"],
            elsewhere.path(),
        );
        let report: Value = serde_json::from_slice(&report.ok()).unwrap();
        let held = &report["performance_report"]["agent_performance"]["load-0"]["total_metrics"];
        assert!(
            held.as_u64() >= Some(2 * acknowledged),
            "copy {round}: {held} < 2 x {acknowledged}"
        );
    }
    load.end().await;
}
