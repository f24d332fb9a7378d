//! `longwatch db compact` in adversity: killed, on a damaged file, on a disk that takes nothing.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use longwatch::model::Timestamp;
use serde_json::{Value, json};

use crate::{
    damage::damage_first_block,
    disk_full::SmallDisk,
    server::{QUIET, Ran, Server, command, eventually, now_ms, run},
};

/// A checkpoint each second, so that there are many small blocks.
const BUSY: &str = "checkpoint_interval = \"1s\"\n";
const DAY_MS: i64 = 86_400_000;

/// A file of some days of three agents, with a log, as a kill leaves it. Its server has gone.
async fn furnished() -> Server {
    let mut server = Server::with(&format!("{QUIET}{BUSY}"), &[]);
    let now = now_ms();
    for part in 0..6i64 {
        for agent in ["one", "two", "three"] {
            let metrics: Vec<Value> = (0..800)
                .map(|i| {
                    let time = now - 3 * DAY_MS + part * DAY_MS / 2 + i * 50_000;
                    let time = Timestamp::from_millis(time).to_rfc3339();
                    let value = f64::from(((part * 800 + i) * 7_919 % 9_973) as i32) / 100.0;
                    json!({"name": "system_cpu_usage", "value": value, "timestamp": time})
                })
                .collect();
            server.push(agent, &json!(metrics)).await;
        }
        if part < 5 {
            eventually("a checkpoint", async || {
                let status = server.get_json("/api/v1/status").await;
                (status["head_samples"] == 0).then_some(())
            })
            .await;
        }
    }
    server.kill();
    server
}

/// The report of everything, which a compaction must not change.
fn report(path: &Path, to: &str) -> Vec<u8> {
    let folder = path.parent().unwrap();
    let name = path.to_str().unwrap();
    let arguments = [
        "report", "--db", name, "--window", "5d", "--to", to, "--format", "json",
    ];
    run(&arguments, folder).ok()
}

fn compact(path: &Path, more: &[&str]) -> Ran {
    let mut arguments = vec!["db", "compact", path.to_str().unwrap()];
    arguments.extend(more);
    run(&arguments, path.parent().unwrap())
}

fn verify(path: &Path) {
    run(
        &["db", "verify", path.to_str().unwrap()],
        path.parent().unwrap(),
    )
    .ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_waits_in_a_compacted_file_and_old_days_go_when_asked() {
    let mut server = furnished().await;
    let live = server.db();
    let told = |more: &[&str]| -> Value {
        let mut arguments = vec!["--format", "json"];
        arguments.extend(more);
        serde_json::from_slice(&compact(&live, &arguments).ok()).unwrap()
    };
    let first = told(&[]);
    assert!(first["merged_days"].as_u64().unwrap() >= 9, "{first}");
    assert_eq!(first["deleted_days"], 0, "{first}");
    let after = fs::metadata(&live).unwrap().len();
    assert_eq!(first["bytes_after"], after, "{first}");
    assert_eq!(told(&[])["merged_days"], 0);
    let old = told(&["--retention", "1d"]);
    assert!(old["deleted_days"].as_u64().unwrap() >= 1, "{old}");
    verify(&live);
    server.restart();
    assert_eq!(server.get_json("/api/v1/status").await["wal_records"], 0);
}

/// SIGKILL after each of the first changes of the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_compaction_leaves_a_whole_file() {
    let server = furnished().await;
    let to = Timestamp::from_millis(now_ms()).to_rfc3339();
    let whole = server.db();
    let before = report(&whole, &to);
    let mut killed = 0;
    for round in 0..5u32 {
        let path = server.folder().join("trial.redb");
        fs::copy(&whole, &path).unwrap();
        let changed = || fs::metadata(&path).unwrap().modified().unwrap();
        let mut last = changed();
        let mut child = command(&["db", "compact", "trial.redb"], server.folder())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Further in, each round.
        let mut changes = 0;
        while changes <= round * 5 && child.try_wait().unwrap().is_none() {
            let now = changed();
            changes += u32::from(now != last);
            last = now;
        }
        killed += u32::from(child.try_wait().unwrap().is_none());
        let _ = child.kill();
        child.wait().unwrap();
        verify(&path);
        assert_eq!(report(&path, &to), before, "round {round}");
        // And the next one goes through.
        compact(&path, &[]).ok();
        verify(&path);
        assert_eq!(report(&path, &to), before, "round {round}");
    }
    assert!(killed > 0, "every compaction was done before it was killed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_refused_and_left_alone() {
    // One damaged page is enough: moving it would give it a checksum that holds.
    let server = furnished().await;
    let torn = server.db();
    damage_first_block(&torn);
    let bytes = fs::read(&torn).unwrap();
    let refused = compact(&torn, &[]);
    assert_eq!(refused.status, Some(3), "{}", refused.err);
    assert!(refused.err.contains("damaged"), "{}", refused.err);
    assert!(fs::read(&torn).unwrap() == bytes);
    let wrong = compact(&torn, &["--retention", "soon"]);
    assert_eq!(wrong.status, Some(2), "{}", wrong.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_nothing_is_told() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let server = furnished().await;
    let to = Timestamp::from_millis(now_ms()).to_rfc3339();
    let before = report(&server.db(), &to);
    let path = disk.path().join("small.redb");
    // With holes where nothing was written yet: those need room that is not there.
    let copied = Command::new("cp")
        .arg("--sparse=always")
        .args([&server.db(), &path])
        .status();
    assert!(copied.unwrap().success());
    // Every byte of the disk is taken.
    let ballast = disk.path().join("ballast");
    let filled = fs::write(&ballast, vec![1; 64 << 20]);
    assert!(filled.is_err(), "the disk is larger than was thought");
    let refused = compact(&path, &[]);
    assert_eq!(refused.status, Some(3), "{}", refused.err);
    assert!(refused.err.contains("No space left"), "{}", refused.err);
    assert_eq!(report(&path, &to), before);
    fs::remove_file(&ballast).unwrap();
    compact(&path, &[]).ok();
    assert_eq!(report(&path, &to), before);

    let remounted = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(disk.path())
        .status();
    assert!(remounted.unwrap().success());
    let arguments = ["db", "compact", path.to_str().unwrap()];
    let refused = run(&arguments, server.folder());
    assert_eq!(refused.status, Some(3), "{}", refused.err);
    assert!(
        refused.err.contains("Read-only file system"),
        "{}",
        refused.err
    );
    let _ = Command::new("mount")
        .args(["-o", "remount,rw"])
        .arg(disk.path())
        .status();
}
