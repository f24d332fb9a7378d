//! Percentiles, trends, gaps, traffic, and what changed from one window to another: over files that are
//! written beforehand, told alike by a server that keeps the file and by a command on a copy of it.

use std::{fs, path::Path, sync::Arc};

use longwatch::{
    model::{
        AgentId, Batch, Contact, ManualClock, Registration, RegistrationSource, Timestamp, names,
    },
    store::{Append, Settings, Store, Urgency},
    telemetry::OwnMetrics,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::{QUIET, Ran, Server, now_ms, run};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const PERFORMANCE: &str = "/api/v1/reports/performance";

fn rfc3339(ms: i64) -> String {
    Timestamp::from_millis(ms).to_rfc3339()
}

fn id(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

/// A minute that is over, a few minutes ago.
fn recently() -> i64 {
    now_ms() / MINUTE_MS * MINUTE_MS - 2 * MINUTE_MS
}

/// A store and the hands of its clock.
struct Written {
    store: Store,
    clock: Arc<ManualClock>,
}

impl Written {
    fn begin(path: &Path, at: i64) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(at)));
        let settings = Settings {
            disk_reserve: Some(0),
            ..Settings::default()
        };
        let own = Arc::new(OwnMetrics::default());
        let store = Store::open(path, settings, Arc::clone(&clock) as _, own).unwrap();
        Self { store, clock }
    }

    fn register(&self, agent: &str, at: i64) {
        self.clock.set(Timestamp::from_millis(at));
        let registration = Registration::bare(RegistrationSource::Push);
        self.store
            .register_blocking(id(agent), registration)
            .unwrap();
    }

    /// Appends all of an agent at once, so that nothing is overdue in between.
    fn append(
        &self,
        agent: &str,
        at: i64,
        rows: impl IntoIterator<Item = (&'static str, i64, f64)>,
    ) {
        self.clock.set(Timestamp::from_millis(at));
        let mut batch = Batch::new();
        for (name, time, value) in rows {
            let time = Timestamp::from_millis(time);
            batch.push(name, &mut [], time, value).unwrap();
        }
        let append = Append {
            agent: id(agent),
            batch,
            contact: Some(Contact::Push),
            urgency: Urgency::Prompt,
        };
        let appended = self.store.append_blocking(append).unwrap();
        assert!(appended.rejected.is_empty());
    }
}

/// Contacts every half a minute from one moment to another.
fn contacts(from: i64, to: i64) -> impl Iterator<Item = (&'static str, i64, f64)> {
    let times = (0..=(to - from) / 30_000).map(move |i| from + i * 30_000);
    times.map(|time| (names::UP, time, 1.0))
}

/// Two hours that end at `end`. In the first, `steady` has `level` percent of cpu and of memory all the time;
/// in the second cpu is 1 to 60, a minute each, and memory rises by a point a minute; it is silent for ten
/// minutes, and its counter of bytes goes back to zero once. `gone` ends early, `new` comes late.
fn write(path: &Path, end: i64, level: f64) {
    let minute = |m: i64| end - HOUR_MS + m * MINUTE_MS;
    let written = Written::begin(path, minute(-90));
    written.register("steady", minute(-90));
    written.register("gone", minute(-90));
    let cpu = |m: i64| (names::SYSTEM_CPU_USAGE, minute(m), 50.0);
    let rows = contacts(minute(-60), minute(15)).chain((-60..=15).map(cpu));
    written.append("gone", minute(15), rows);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    assert!(
        runtime
            .block_on(written.store.deregister(id("gone")))
            .unwrap()
    );
    written.register("new", minute(40));
    let rows = contacts(minute(-90), minute(20)).chain(contacts(minute(30), end));
    let measured = (-59..=60).flat_map(|m| {
        let (cpu, memory) = if m <= 0 {
            (level, level)
        } else {
            (m as f64, level + m as f64)
        };
        let sent = if m < 30 { m + 100 } else { m - 30 };
        [
            (names::SYSTEM_CPU_USAGE, minute(m), cpu),
            (names::SYSTEM_MEMORY_USAGE, minute(m), memory),
            (names::NETWORK_BYTES_SENT, minute(m), sent as f64 * 1e6),
        ]
    });
    written.append("steady", end, rows.chain(measured));
    written.store.close_blocking().unwrap();
}

/// A folder with a file in it, as `write` makes it.
fn file(name: &str, end: i64, level: f64) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join(name), end, level);
    folder
}

/// The report of the hour that ends then, from a file in the folder.
fn of_file(folder: &Path, db: &str, end: i64, more: &[&str]) -> Ran {
    let end = rfc3339(end);
    let arguments = ["report", "--db", db, "--window", "1h", "--to", &end];
    run(&[&arguments[..], more].concat(), folder)
}

fn told(ran: Ran) -> Value {
    let report: Value = serde_json::from_slice(&ran.ok()).unwrap();
    report["performance_report"].clone()
}

fn change(before: f64, after: f64) -> Value {
    json!({"before": before, "after": after, "change": after - before})
}

/// The same but for whether a whole number is written with a fraction.
#[track_caller]
fn assert_change(found: &Value, expected: &Value) {
    for key in ["before", "after", "change"] {
        assert_eq!(
            found[key].as_f64(),
            expected[key].as_f64(),
            "{key}: {found}"
        );
    }
}

#[test]
fn an_hour_adds_up() {
    let end = recently();
    let folder = file("a.redb", end, 20.0);
    let report = told(of_file(folder.path(), "a.redb", end, &["--format", "json"]));
    let steady = &report["agent_performance"]["steady"];
    for (name, value) in [
        ("p50_cpu_usage", 30.0),
        ("p95_cpu_usage", 57.0),
        ("p99_cpu_usage", 60.0),
        ("p50_memory_usage", 50.0),
        ("p95_memory_usage", 77.0),
        ("p99_memory_usage", 80.0),
        ("cpu_trend_per_hour", 60.0),
        ("memory_trend_per_hour", 60.0),
        ("gap_count", 1.0),
        ("gap_seconds", 600.0),
        // From 101 to 129, from 0 to 30.
        ("network_bytes_sent", 58e6),
    ] {
        assert_eq!(steady[name].as_f64(), Some(value), "{name}: {steady}");
    }
    let gap = json!([{"from": rfc3339(end - 40 * MINUTE_MS), "to": rfc3339(end - 30 * MINUTE_MS),
        "seconds": 600}]);
    assert_eq!(steady["gaps"], gap);
    // For 90 s after a contact the next may still come: 510 s of the hour were lost.
    let reached = steady["availability"].as_f64().unwrap();
    assert!((reached - 3090.0 / 3600.0).abs() < 1e-6, "{steady}");
    let rate = steady["network_bytes_sent_per_second"].as_f64().unwrap();
    assert!((rate - 58e6 / 3540.0).abs() < 1e-6, "{steady}");
    assert_eq!(steady["network_bytes_received"], Value::Null);
    let trends = &report["system_trends"];
    assert_eq!(
        trends["p95_system_cpu"], 57.0,
        "gone is not in it: {trends}"
    );
    assert_eq!(trends["network_bytes_sent"], 58_000_000);
    let new = &report["agent_performance"]["new"];
    assert_eq!(
        (&new["availability"], &new["gap_count"]),
        (&Value::Null, &json!(1))
    );

    let findings = report["findings"].as_array().unwrap();
    let messages: Vec<&str> = findings
        .iter()
        .filter(|f| f["agent_id"] == "steady")
        .map(|f| f["message"].as_str().unwrap())
        .collect();
    let until = rfc3339(end - 30 * MINUTE_MS)[..19].replace('T', " ");
    assert_eq!(
        messages,
        [
            format!("no contact for 10m until {until} UTC"),
            "cpu rising by 60.00 points an hour, at that rate 100 % in 40m".to_owned(),
            "memory rising by 60.00 points an hour, at that rate 100 % in 20m".to_owned(),
        ]
    );
}

#[tokio::test]
async fn the_window_before_is_told_alike_by_server_and_file() {
    let end = recently();
    let writing = tokio::task::spawn_blocking(move || file("live.redb", end, 20.0));
    let folder = writing.await.unwrap();
    fs::copy(
        folder.path().join("live.redb"),
        folder.path().join("copy.redb"),
    )
    .unwrap();
    let server = Server::within(folder, QUIET, &[]);
    let address = server.url("");
    for format in ["json", "html", "md", "csv", "text"] {
        let query = format!("window=1h&to={}&compare=previous", rfc3339(end));
        let path = format!("{PERFORMANCE}?{query}&format={format}");
        let online = server.get(&path).await.expect(200).body;
        let more = ["--compare", "previous", "--format", format];
        let offline = of_file(server.folder(), "copy.redb", end, &more).ok();
        assert!(
            online == offline,
            "{format}:\n{}\n--- server:\n{}",
            String::from_utf8_lossy(&offline),
            String::from_utf8_lossy(&online)
        );
        let to = rfc3339(end);
        let arguments = ["report", "--url", &address, "--window", "1h", "--to", &to];
        let passed_on = server.run(&[&arguments[..], &more].concat()).ok();
        assert!(passed_on == online, "{format} --url");
    }

    let path = format!("{PERFORMANCE}?window=1h&to={}", rfc3339(end));
    let report = server.get_json(&format!("{path}&compare=previous")).await;
    let report = &report["performance_report"];
    let comparison = &report["comparison"];
    assert_eq!(comparison["from"], rfc3339(end - 2 * HOUR_MS));
    assert_eq!(comparison["to"], rfc3339(end - HOUR_MS));
    assert_eq!(
        (&comparison["source"], &comparison["coverage"]),
        (&json!("previous"), &json!(1))
    );
    let steady = &comparison["agents"]["steady"];
    assert_change(&steady["avg_cpu_usage"], &change(20.0, 30.5));
    assert_change(&steady["p95_memory_usage"], &change(20.0, 77.0));
    assert_change(&steady["max_cpu_usage"], &change(20.0, 60.0));
    assert_change(&steady["gap_seconds"], &change(0.0, 600.0));
    assert_change(&steady["total_metrics"], &change(180.0, 180.0));
    assert_change(&steady["network_bytes_sent"], &change(59e6, 58e6));
    // 60 of its samples at 20, and 60 of the other at 50.
    assert_change(
        &comparison["system"]["average_system_cpu"],
        &change(35.0, 30.5),
    );
    assert_eq!(comparison["appeared"], json!(["new"]));
    assert_eq!(comparison["disappeared"], json!(["gone"]));
    // Beside it nothing is different.
    let mut without = server.get_json(&path).await["performance_report"].clone();
    without["comparison"] = comparison.clone();
    assert_eq!(without, *report);
    let one = format!("{path}&compare=previous&agent_id=new");
    let one = server.get_json(&one).await;
    let one = &one["performance_report"]["comparison"];
    assert_eq!(
        (&one["appeared"], &one["disappeared"]),
        (&json!(["new"]), &json!([]))
    );
}

#[test]
fn another_file_stands_for_another_time() {
    let end = recently();
    let folder = file("after.redb", end, 20.0);
    let earlier = end - 5 * HOUR_MS;
    write(&folder.path().join("before.redb"), earlier, 12.5);
    let compared = |more: &[&str]| {
        let file = ["--format", "json", "--compare-db", "before.redb"];
        let ran = of_file(
            folder.path(),
            "after.redb",
            end,
            &[&file[..], more].concat(),
        );
        told(ran)["comparison"].clone()
    };
    // Up to its last commit.
    let comparison = compared(&[]);
    assert_eq!(
        (&comparison["source"], &comparison["file"]),
        (&json!("file"), &json!("before.redb"))
    );
    assert_eq!(comparison["to"], rfc3339(earlier));
    assert_eq!(comparison["from"], rfc3339(earlier - HOUR_MS));
    let steady = &comparison["agents"]["steady"];
    assert_change(&steady["avg_cpu_usage"], &change(30.5, 30.5));
    assert_change(&steady["avg_memory_usage"], &change(43.0, 50.5));
    assert_eq!(
        (&comparison["appeared"], &comparison["disappeared"]),
        (&json!([]), &json!([]))
    );
    // Up to a moment, relative to that commit or by itself.
    let an_hour_before = compared(&["--compare-to", "-1h"]);
    assert_change(
        &an_hour_before["agents"]["steady"]["avg_cpu_usage"],
        &change(12.5, 30.5),
    );
    assert_eq!(an_hour_before["disappeared"], json!(["gone"]));
    let by_itself = rfc3339(earlier - HOUR_MS);
    assert_eq!(compared(&["--compare-to", &by_itself]), an_hour_before);
    // An agent that one of the files does not know is no mistake.
    let one = compared(&["--agent", "steady"]);
    assert_eq!(one["agents"].as_object().unwrap().len(), 1);

    let told = |more: &[&str]| of_file(folder.path(), "after.redb", end, more);
    let text = String::from_utf8(told(&["--compare-db", "before.redb"]).ok()).unwrap();
    assert!(text.contains("Compared  with before.redb, "), "{text}");
    let missing = told(&["--compare-db", "missing.redb"]);
    assert_eq!(missing.status, Some(3), "{}", missing.err);
    assert!(missing.err.contains("missing.redb"), "{}", missing.err);
    for wrong in [
        &["--compare-db", "before.redb", "--compare", "previous"][..],
        &["--compare-db", "before.redb", "--compare-to", "soon"],
        &["--compare-to", "-1h"],
        &["--compare", "next"],
    ] {
        let ran = told(wrong);
        assert_eq!(ran.status, Some(2), "{wrong:?}: {}", ran.err);
        assert!(ran.out.is_empty());
    }
    let online = [
        "report",
        "--url",
        "http://127.0.0.1:1",
        "--compare-db",
        "before.redb",
    ];
    assert_eq!(run(&online, folder.path()).status, Some(2));
}
