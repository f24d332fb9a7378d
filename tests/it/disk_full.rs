//! A disk without room, a real one: a small file system in memory. Where mounting is not permitted, the tests say
//! that they are skipped, and pass.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use longwatch::model::Timestamp;
use serde_json::{Value, json};

use crate::server::{Answer, Server, eventually, now_ms};

const MIB: usize = 1 << 20;
/// Size of the file system.
const DISK: usize = 48 * MIB;
/// Bytes of the file that is deleted to make room.
const BALLAST: usize = 28 * MIB;

/// A small file system; it is unmounted when it goes.
pub(crate) struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` where this process may not mount.
    pub(crate) fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={DISK}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(folder.path())
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self { folder });
        }
        eprintln!("skipped: a file system cannot be mounted here");
        None
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes room with a file.
    fn load(&self) -> PathBuf {
        let ballast = self.path().join("ballast");
        std::fs::write(&ballast, vec![0; BALLAST]).unwrap();
        ballast
    }

    /// A server whose database lies here.
    fn serve(&self, reserve: usize) -> Server {
        let config = format!(
            "[host]\nenabled = false\ninterval = \"24h\"\n[storage]\nscrape_commit_delay = \"0s\"\n\
            disk_reserve = {reserve}\n"
        );
        let folder = tempfile::tempdir_in(self.path()).unwrap();
        Server::within(folder, &config, &[])
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

/// Pushes of one agent, each with its number as a sample.
struct Pushes {
    base_ms: i64,
    next: i64,
    acknowledged: Vec<i64>,
    refused: Vec<i64>,
}

impl Pushes {
    fn new() -> Self {
        Self {
            base_ms: now_ms() - 3_600_000,
            next: 0,
            acknowledged: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// A push that takes room: a series whose labels are long.
    async fn push_large(&mut self, server: &Server) -> Answer {
        let labels: Value = (0..60)
            .map(|i| {
                (
                    format!("label_{i}"),
                    json!(format!("{}{}", self.next, "x".repeat(4_000))),
                )
            })
            .collect::<serde_json::Map<_, _>>()
            .into();
        let filler = json!({"name": "filler", "value": 1, "labels": labels});
        self.push(server, vec![filler]).await
    }

    async fn push(&mut self, server: &Server, mut metrics: Vec<Value>) -> Answer {
        let number = self.next;
        self.next += 1;
        let time = Timestamp::from_millis(self.base_ms + number).to_rfc3339();
        metrics.push(json!({"name": "number", "value": number, "timestamp": time}));
        let body = json!({ "metrics": metrics });
        let answer = server
            .post_json("/api/v1/agents/filler/metrics", &body)
            .await;
        match answer.status {
            200 => self.acknowledged.push(number),
            _ => self.refused.push(number),
        }
        answer
    }

    /// Pushes until there is no room; returns that answer.
    async fn fill(&mut self, server: &Server) -> Answer {
        loop {
            let answer = self.push_large(server).await;
            if answer.status != 200 {
                return answer;
            }
            assert!(self.next < 1_000, "it is never full");
        }
    }

    /// Everything acknowledged is there once; `maybe` says whether what was refused may be there too.
    async fn check(&self, server: &Server, maybe: bool) {
        let query = "agent_id=filler&metric_name=number&from=-2h";
        let found = server.samples(query).await;
        let numbers: Vec<i64> = found
            .iter()
            .map(|(_, value)| value.as_f64().unwrap() as i64)
            .collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        for (time, number) in found.iter().map(|s| s.0).zip(&numbers) {
            assert_eq!(time, self.base_ms + number);
        }
        for number in &self.acknowledged {
            assert!(numbers.binary_search(number).is_ok(), "{number} is missing");
        }
        for number in numbers {
            let is_known = self.acknowledged.contains(&number);
            assert!(
                is_known || maybe && self.refused.contains(&number),
                "{number}"
            );
        }
    }
}

fn told_of_room(answer: &Answer, because: &str) {
    let problem = answer.problem(507);
    assert_eq!(problem["title"], "Insufficient Storage");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(because), "{detail}");
    let seconds: u32 = answer.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds));
}

async fn until_ready(server: &Server) {
    eventually("it is ready again", async || {
        (server.get("/readyz").await.status == 200).then_some(())
    })
    .await;
}

/// Ends the server in order and looks at every page of its file.
fn end_in_order(mut server: Server) {
    let (status, log) = server.terminate();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    let verified = server.run(&["db", "verify", "live.redb"]).ok();
    let verified = String::from_utf8(verified).unwrap();
    assert!(verified.contains(": ok: "), "{verified}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_reserve_new_data_is_refused_until_there_is_room() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let ballast = disk.load();
    let server = disk.serve(6 * MIB);
    until_ready(&server).await;
    let mut pushes = Pushes::new();
    let refused = pushes.fill(&server).await;
    told_of_room(&refused, "storage.disk_reserve");
    assert!(pushes.acknowledged.len() > 5);

    let unready = server.get("/readyz").await.expect(503).text();
    assert!(unready.contains("storage.disk_reserve"), "{unready}");
    let status = server.get_json("/api/v1/status").await;
    assert_eq!(status["writes"], "disk_low");
    assert_eq!(status["disk_reserve_bytes"], 6 * MIB);
    let metrics = server.get("/metrics").await.text();
    assert!(
        metrics.contains("\nlongwatch_writes_refused 1\n"),
        "{metrics}"
    );
    // Nothing of what was refused is there, everything else can be read, and contact is still noted.
    pushes.check(&server, false).await;
    server.get("/api/v1/reports/performance").await.expect(200);
    let heartbeat = "/api/v1/agents/filler/heartbeat";
    server.post(heartbeat, "").await.expect(204);
    let registration = json!({"agent_id": "new"});
    let refused = server.post_json("/api/v1/agents", &registration).await;
    told_of_room(&refused, "storage.disk_reserve");
    let snapshot = server.get("/api/v1/admin/snapshot").await;
    told_of_room(&snapshot, "storage.disk_reserve");
    let entered = server.log().matches("new samples are refused").count();
    assert_eq!(entered, 1, "{}", server.log());

    std::fs::remove_file(ballast).unwrap();
    until_ready(&server).await;
    pushes.push(&server, Vec::new()).await.expect(200);
    server
        .post_json("/api/v1/agents", &registration)
        .await
        .expect(201);
    pushes.check(&server, false).await;
    assert_eq!(
        server.get_json("/api/v1/status").await["writes"],
        "accepted"
    );
    end_in_order(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_to_the_last_byte_is_survived() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let ballast = disk.load();
    let server = disk.serve(0);
    let mut pushes = Pushes::new();
    for _ in 0..3 {
        let refused = pushes.fill(&server).await;
        told_of_room(&refused, "No space left");
        // It is open again for reading, whatever becomes of writing.
        eventually("the file can be read", async || {
            let query = "/api/v1/series?agent_id=filler&metric_name=number";
            (server.get(query).await.status == 200).then_some(())
        })
        .await;
        pushes.check(&server, true).await;
    }
    let log = server.log();
    assert!(log.contains("the database cannot be written"), "{log}");

    std::fs::remove_file(ballast).unwrap();
    eventually("writes are taken again", async || {
        let answer = pushes.push(&server, Vec::new()).await;
        (answer.status == 200).then_some(())
    })
    .await;
    until_ready(&server).await;
    pushes.push_large(&server).await.expect(200);
    pushes.check(&server, true).await;
    let status = server.get_json("/api/v1/status").await;
    assert_eq!(status["writes"], "accepted");
    assert!(status["writes_problem"].is_null());
    assert!(
        server.log().contains("the database is written again"),
        "{}",
        server.log()
    );
    end_in_order(server);
}
