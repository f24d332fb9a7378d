//! Reports from files: of a live server by `cp`, of a killed one, of snapshots. Damaged, foreign and busy
//! files are told, never guessed at.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use longwatch::model::Timestamp;
use redb::TableDefinition;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::server::{Answer, QUIET, Ran, Server, eventually, now_ms, run};

const FORMATS: [&str; 5] = ["json", "html", "md", "csv", "text"];
/// Bytes of each file that are flipped, spread over it.
const FLIPS_DEFAULT: u64 = 20;
/// Blocks soon, so that a file holds blocks and a log.
const BUSY: &str = "wal_samples_max = 1000\ncheckpoint_interval = \"1s\"\n";

/// A server with an hour of data of three agents, one that cannot be reached, and one that went.
async fn furnished() -> Server {
    let server = Server::with(&format!("{QUIET}{BUSY}"), &[]);
    let now = now_ms();
    for (agent, level) in [("calm", 20.0), ("busy ü", 75.0), ("gone", 50.0)] {
        let metrics: Vec<Value> = (1..=500)
            .flat_map(|i| {
                let time = Timestamp::from_millis(now - i * 7_000).to_rfc3339();
                let value = level + f64::from(i as i32 % 13) / 3.0;
                ["system_cpu_usage", "system_memory_usage"]
                    .map(|name| json!({"name": name, "value": value, "timestamp": time}))
            })
            .collect();
        server
            .push(
                &agent.replace(' ', "%20").replace('ü', "%C3%BC"),
                &json!(metrics),
            )
            .await;
    }
    server.delete("/api/v1/agents/gone").await.expect(204);
    let unreachable = json!({"agent_id": "unreachable", "metrics_endpoint": "http://127.0.0.1:1/",
        "collection_interval_seconds": 0.5});
    server
        .post_json("/api/v1/agents", &unreachable)
        .await
        .expect(201);
    eventually("blocks, an alert, longwatch's own samples", async || {
        let status = server.get_json("/api/v1/status").await;
        let alerts = server.get_json("/api/v1/alerts?state=firing").await;
        let own = server.samples("agent_id=longwatch&metric_name=up").await;
        (status["blocks"] != 0 && alerts["alerts"] != json!([]) && !own.is_empty()).then_some(())
    })
    .await;
    server
}

/// Agents that push as fast as they are answered, until told to stop.
pub(crate) struct Load {
    pushes: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn on(server: &Server) -> Self {
        let pushes = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = (0..2)
            .map(|i| {
                let url = server.url(&format!("/api/v1/agents/load-{i}/metrics"));
                let client = server.client.clone();
                let (pushes, stop) = (Arc::clone(&pushes), Arc::clone(&stop));
                tokio::spawn(async move {
                    let body = json!({"metrics": [{"name": "system_cpu_usage", "value": 12.5},
                        {"name": "load", "value": 1}]});
                    while !stop.load(Ordering::SeqCst) {
                        let request = client.post(&url).body(body.to_string());
                        match Answer::try_of(request).await {
                            Ok(answer) => drop(answer.expect(200)),
                            // It was killed.
                            Err(_) => return,
                        }
                        pushes.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        Self {
            pushes,
            stop,
            tasks,
        }
    }

    /// Waits for so many more answers; enough of them that what was under way before is done.
    pub(crate) async fn more(&self, count: u64) {
        let before = self.pushes.load(Ordering::SeqCst);
        eventually("pushes", async || {
            (self.pushes.load(Ordering::SeqCst) >= before + count).then_some(())
        })
        .await;
    }

    pub(crate) async fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

/// A moment with everything stamped by it committed.
async fn settled(server: &Server, load: &Load) -> String {
    let to = server.get_json("/api/v1/status").await["time"].clone();
    let to = to.as_str().unwrap().to_owned();
    load.more(10).await;
    eventually("a later scrape", async || {
        let later = format!("agent_id=unreachable&metric_name=up&from={to}");
        (server.samples(&later).await.len() >= 2).then_some(())
    })
    .await;
    to
}

/// The server's report in each format.
async fn reports_of(server: &Server, to: &str) -> Vec<Vec<u8>> {
    let mut reports = Vec::new();
    for format in FORMATS {
        let path = format!("/api/v1/reports/performance?format={format}&window=1h&to={to}");
        reports.push(server.get(&path).await.expect(200).body);
    }
    reports
}

fn report(db: &Path, to: &str, format: &str, folder: &Path) -> Ran {
    let db = db.to_str().unwrap();
    let arguments = [
        "report", "--db", db, "--window", "1h", "--to", to, "--format", format,
    ];
    run(&arguments, folder)
}

#[track_caller]
fn assert_same(db: &Path, to: &str, expected: &[Vec<u8>], what: &str) {
    let elsewhere = tempfile::tempdir().unwrap();
    for (format, expected) in FORMATS.iter().zip(expected) {
        let found = report(db, to, format, elsewhere.path()).ok();
        assert!(
            found == *expected,
            "{what}, {format}:\n{}\n--- server:\n{}",
            String::from_utf8_lossy(&found),
            String::from_utf8_lossy(expected)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_says_what_its_server_says() {
    let mut server = furnished().await;
    let load = Load::on(&server);
    load.more(4).await;
    let to = settled(&server, &load).await;
    let expected = reports_of(&server, &to).await;
    let told: Value = serde_json::from_slice(&expected[0]).unwrap();
    let agents = told["performance_report"]["agent_performance"]
        .as_object()
        .unwrap();
    let ids: Vec<_> = agents.keys().map(String::as_str).collect();
    assert_eq!(
        ids,
        [
            "busy ü",
            "calm",
            "load-0",
            "load-1",
            "longwatch",
            "unreachable"
        ]
    );

    let copy = server.folder().join("copy.redb");
    let copied = std::process::Command::new("cp")
        .args([server.db(), copy.clone()])
        .status();
    assert!(copied.unwrap().success());
    assert_same(&copy, &to, &expected, "cp under load");

    // A copy that takes its time: the server commits many times between two pieces of it.
    let slow = server.folder().join("slow.redb");
    let before = load.pushes.load(Ordering::SeqCst);
    copy_slowly(&server, &load, &slow).await;
    assert!(load.pushes.load(Ordering::SeqCst) > before + 10);
    assert_same(&slow, &to, &expected, "slow copy under load");

    let taken = server.get("/api/v1/admin/snapshot").await.expect(200);
    let snapshot = server.folder().join("snapshot.redb");
    fs::write(&snapshot, &taken.body).unwrap();
    assert_same(&snapshot, &to, &expected, "snapshot under load");
    let url = server.url("");
    server
        .run(&["db", "snapshot", "--url", &url, "--out", "by-url.redb"])
        .ok();
    assert_same(
        &server.folder().join("by-url.redb"),
        &to,
        &expected,
        "db snapshot --url",
    );
    let arguments = [
        "report", "--url", &url, "--window", "1h", "--to", &to, "--format", "json",
    ];
    assert!(server.run(&arguments).ok() == expected[0], "report --url");

    assert!(
        reports_of(&server, &to).await == expected,
        "and the server says it again"
    );
    load.more(4).await;
    let killed = server.db();
    server.kill();
    load.end().await;
    assert_same(&killed, &to, &expected, "killed under load");
    server
        .run(&[
            "db",
            "snapshot",
            "--db",
            "live.redb",
            "--out",
            "of-file.redb",
        ])
        .ok();
    assert_same(
        &server.folder().join("of-file.redb"),
        &to,
        &expected,
        "db snapshot --db",
    );
    for file in ["copy", "slow", "snapshot", "by-url", "live", "of-file"] {
        let file = format!("{file}.redb");
        let verified = server.run(&["db", "verify", &file]);
        assert_eq!(verified.status, Some(0), "{file}: {}", verified.err);
    }
    // The killed one goes on where it was.
    server.restart();
    assert!(
        reports_of(&server, &to).await == expected,
        "after a restart"
    );
}

async fn copy_slowly(server: &Server, load: &Load, to: &Path) {
    let mut from = fs::File::open(server.db()).unwrap();
    let mut copy = fs::File::create(to).unwrap();
    let length = from.metadata().unwrap().len() as usize;
    let mut piece = vec![0; length / 32 + 1];
    loop {
        let read = from.read(&mut piece).unwrap();
        if read == 0 {
            break;
        }
        copy.write_all(&piece[..read]).unwrap();
        load.more(1).await;
    }
}

/// A killed server's file, the end of its window, and the report as JSON.
struct Killed {
    folder: TempDir,
    to: String,
    report: Vec<u8>,
}

async fn killed() -> Killed {
    let mut server = furnished().await;
    let load = Load::on(&server);
    let to = settled(&server, &load).await;
    let report = reports_of(&server, &to).await.swap_remove(0);
    server.kill();
    load.end().await;
    let folder = tempfile::tempdir().unwrap();
    fs::copy(server.db(), folder.path().join("killed.redb")).unwrap();
    Killed { folder, to, report }
}

fn listing(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_a_file_leaves_no_trace() {
    let Killed {
        folder,
        to,
        report: expected,
    } = killed().await;
    let file = folder.path().join("killed.redb");
    let allow = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    // For the superuser the modes change nothing, the checksum and the listing hold all the same.
    allow(&file, 0o444);
    allow(folder.path(), 0o555);
    let digest = Sha256::digest(fs::read(&file).unwrap());
    let before = (
        listing(folder.path()),
        fs::metadata(&file).unwrap().modified().unwrap(),
    );
    let elsewhere = tempfile::tempdir().unwrap();
    assert!(report(&file, &to, "json", elsewhere.path()).ok() == expected);
    let name = file.to_str().unwrap();
    for arguments in [
        &["db", "verify", name][..],
        &["db", "info", name],
        &["report", "--db", name],
        &["db", "snapshot", "--db", name, "--out", "copy.redb"],
    ] {
        run(arguments, elsewhere.path()).ok();
    }
    assert_eq!(Sha256::digest(fs::read(&file).unwrap()), digest);
    let after = (
        listing(folder.path()),
        fs::metadata(&file).unwrap().modified().unwrap(),
    );
    assert_eq!(after, before);
    assert_eq!(
        listing(elsewhere.path()),
        BTreeSet::from(["copy.redb".to_owned()])
    );
    allow(folder.path(), 0o755);
}

/// Refused with 3 and one line that says why; the line.
#[track_caller]
fn refusal(ran: &Ran) -> String {
    assert_eq!(ran.status, Some(3), "{}", ran.err);
    assert!(
        ran.out.is_empty() && !ran.err.contains("panicked"),
        "{}",
        ran.err
    );
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    ran.err.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_unusable_file_has_its_reason() {
    let Killed { folder, to, .. } = killed().await;
    let at = |name: &str| folder.path().join(name);
    let whole = fs::read(at("killed.redb")).unwrap();
    fs::write(
        at("foreign"),
        b"SQLite format 3\0 and more of it".repeat(1000),
    )
    .unwrap();
    fs::write(at("empty"), b"").unwrap();
    fs::write(at("truncated"), &whole[..whole.len() / 2]).unwrap();
    fs::create_dir(at("directory")).unwrap();
    redb::Database::create(at("strange")).unwrap();
    run(
        &["db", "snapshot", "--db", "killed.redb", "--out", "newer"],
        folder.path(),
    )
    .ok();
    write_newer_schema(&at("newer"));

    let reasons = [
        ("foreign", "not a longwatch file"),
        ("empty", "not a longwatch file"),
        ("strange", "not a longwatch file"),
        ("truncated", "damaged"),
        ("newer", "newer longwatch"),
        ("directory", "directory"),
        ("missing", "no such file"),
    ];
    for (name, reason) in reasons {
        let told = refusal(&report(&at(name), &to, "json", folder.path()));
        assert!(
            told.contains(name) && told.contains(reason),
            "{name}: {told}"
        );
        for arguments in [
            &["db", "info", name][..],
            &["db", "verify", name],
            &["db", "snapshot", "--db", name, "--out", "never"],
            &["serve", "--db", name, "--listen", "127.0.0.1:0"],
        ] {
            // A server makes the file that is missing.
            if (name, arguments[0]) == ("missing", "serve") {
                continue;
            }
            let ran = run(arguments, folder.path());
            assert_eq!(ran.status, Some(3), "{arguments:?}: {}", ran.err);
            assert!(ran.err.contains(reason), "{arguments:?}: {}", ran.err);
            assert!(!ran.err.contains("panicked"), "{arguments:?}: {}", ran.err);
        }
        assert!(!at("never").exists(), "{name}");
    }
    assert_eq!(
        fs::read(at("empty")).unwrap(),
        b"",
        "not made into a database"
    );
}

fn write_newer_schema(path: &Path) {
    const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
    let database = redb::Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut table = transaction.open_table(META).unwrap();
    assert!(
        table
            .insert("schema_version", &999_u32.to_le_bytes()[..])
            .unwrap()
            .is_some()
    );
    drop(table);
    transaction.commit().unwrap();
}

#[tokio::test]
async fn a_file_in_use_is_left_alone() {
    let server = Server::start();
    for arguments in [
        &["report", "--db", "live.redb"][..],
        &["db", "info", "live.redb"],
        &["db", "verify", "live.redb"],
        &["db", "snapshot", "--db", "live.redb", "--out", "never.redb"],
    ] {
        let told = refusal(&server.run(arguments));
        assert!(told.contains("in use by another process"), "{told}");
        assert!(
            told.contains("db snapshot --url"),
            "says what to do: {told}"
        );
    }
    let second = server.run(&["serve", "--db", "live.redb", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.status, Some(3), "{}", second.err);
    assert!(second.err.contains("in use"), "{}", second.err);
    assert!(!server.folder().join("never.redb").exists());
    server.get("/healthz").await.expect(200);
}

/// Numbers that look like chance and are the same every time.
fn spread(seed: u64) -> u64 {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 27)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_copy_is_refused_or_harmless() {
    let Killed {
        folder,
        to,
        report: expected,
    } = killed().await;
    let arguments = [
        "db",
        "snapshot",
        "--db",
        "killed.redb",
        "--out",
        "clean.redb",
    ];
    run(&arguments, folder.path()).ok();
    // One that the engine repairs as it opens it, and one that it does not.
    for name in ["killed.redb", "clean.redb"] {
        let whole = fs::read(folder.path().join(name)).unwrap();
        let refused = damage_everywhere(folder.path(), &whole, &to, &expected);
        assert!(refused > 0, "{name}: some of these bytes mean something");
    }
}

/// How many of the damaged copies were refused.
fn damage_everywhere(folder: &Path, whole: &[u8], to: &str, expected: &[u8]) -> usize {
    let judge = |bytes: &[u8], what: &str| {
        fs::write(folder.join("damaged.redb"), bytes).unwrap();
        let ran = report(&folder.join("damaged.redb"), to, "json", folder);
        let verified = run(&["db", "verify", "damaged.redb"], folder);
        for ran in [&ran, &verified] {
            assert!(!ran.err.contains("panicked"), "{what}: {}", ran.err);
        }
        let told = &verified.err;
        assert!(matches!(verified.status, Some(0 | 1 | 3)), "{what}: {told}");
        if ran.status == Some(0) {
            let found = String::from_utf8_lossy(&ran.out);
            assert!(ran.out == expected, "{what}: other numbers: {found}");
            return 0;
        }
        refusal(&ran);
        assert_ne!(
            verified.status,
            Some(0),
            "{what}: called sound: {}",
            ran.err
        );
        1
    };
    let length = whole.len() as u64;
    let mut refused = 0;
    let parts = flips();
    for i in 0..parts {
        let place = length * i / parts + spread(i) % (length / parts);
        let mut bytes = whole.to_vec();
        bytes[place as usize] ^= 1 << (spread(i + 1000) % 8);
        refused += judge(&bytes, &format!("byte {place} of {length}"));
    }
    // What every page hangs on: the first bytes, both commit slots.
    for place in [0, 9, 12, 16, 64, 65, 80, 120, 128, 192, 193, 210, 256] {
        let mut bytes = whole.to_vec();
        bytes[place] ^= 1 << (spread(place as u64) % 8);
        refused += judge(&bytes, &format!("byte {place} of {length}"));
    }
    // Pages of zeros, as a file system leaves them where nothing was written.
    for i in 0..4 {
        let place = (length * i / 4) as usize & !4095;
        let mut bytes = whole.to_vec();
        bytes[place..place + 4096].fill(0);
        refused += judge(&bytes, &format!("page at {place} of {length}"));
    }
    for i in 1..6 {
        let kept = (length * i / 6) as usize;
        refused += judge(&whole[..kept], &format!("{kept} of {length} bytes"));
    }
    refused
}

fn flips() -> u64 {
    std::env::var("LONGWATCH_TEST_FLIPS")
        .ok()
        .map_or(FLIPS_DEFAULT, |n| n.parse().unwrap())
}
