//! A block that the disk damaged: the real server goes on with the rest and says what is missing.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{fs, path::Path};

use longwatch::model::Timestamp;
use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use serde_json::{Value, json};

use crate::server::{QUIET, Server, eventually, now_ms};

const BLOCKS: TableDefinition<(i32, u32, u32, i64, u64), &[u8]> = TableDefinition::new("blocks_v1");
/// Blocks at once, so that the file has one of each push.
const BUSY: &str = "checkpoint_interval = \"1s\"\n";
const SAMPLES: usize = 200;
const STEP_MS: i64 = 1_000;

/// Flips a bit in the data of the block that begins first. The engine does not check its pages when it reads.
pub(crate) fn damage_first_block(path: &Path) {
    let copy = path.with_extension("copy");
    fs::copy(path, &copy).unwrap();
    let value = {
        let database = redb::Database::open(&copy).unwrap();
        let transaction = database.begin_read().unwrap();
        let blocks = transaction.open_table(BLOCKS).unwrap();
        let mut all: Vec<(i64, Vec<u8>)> = blocks
            .iter()
            .unwrap()
            .map(|row| {
                let (key, value) = row.unwrap();
                (key.value().3, value.value().to_vec())
            })
            .collect();
        all.sort();
        all.swap_remove(0).1
    };
    fs::remove_file(&copy).unwrap();
    let mut bytes = fs::read(path).unwrap();
    let places: Vec<usize> = bytes
        .windows(value.len())
        .enumerate()
        .filter_map(|(at, window)| (window == value).then_some(at))
        .collect();
    assert!(!places.is_empty(), "the block is somewhere in the file");
    // Pages that were freed may hold it as well.
    for at in places {
        bytes[at + value.len() - 10] ^= 0x10;
    }
    fs::write(path, bytes).unwrap();
}

/// Samples of an agent, a second apart up to `end`, in a block of their own.
async fn push_block(server: &Server, agent: &str, end: i64, blocks: u64) {
    let metrics: Vec<Value> = (0..SAMPLES)
        .map(|i| {
            let time = end - (SAMPLES - 1 - i) as i64 * STEP_MS;
            let time = Timestamp::from_millis(time).to_rfc3339();
            json!({"name": "system_cpu_usage", "value": i as f64 / 7.0, "timestamp": time})
        })
        .collect();
    server.push(agent, &json!(metrics)).await;
    eventually("a block", async || {
        let status = server.get_json("/api/v1/status").await;
        (status["head_samples"] == 0 && status["blocks"].as_u64() >= Some(blocks)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_block_is_left_out_and_told() {
    let mut server = Server::with(&format!("{QUIET}{BUSY}"), &[]);
    // Noon, so that both blocks lie in one day whatever the time is.
    let noon = (now_ms() / 86_400_000 - 1) * 86_400_000 + 43_200_000;
    let later = noon + 3_600_000;
    push_block(&server, "hit", noon, 1).await;
    push_block(&server, "hit", later, 2).await;
    push_block(&server, "spared", later, 3).await;
    let (status, log) = server.terminate();
    assert_eq!(status.code(), Some(0), "{log}");
    damage_first_block(&server.db());

    // What reads a file for others refuses pages that fail the engine's checksums, or names the block.
    let verified = server.run(&["db", "verify", "live.redb"]);
    assert_eq!(verified.status, Some(1), "{}", verified.err);
    assert!(
        verified.err.contains("data fails its checksum"),
        "{}",
        verified.err
    );
    assert_eq!(server.run(&["db", "info", "live.redb"]).status, Some(3));

    server.restart();
    let time = |ms: i64| Timestamp::from_millis(ms).to_rfc3339();
    let asked = |agent: &str| {
        let (from, to) = (time(noon - 300_000), time(later));
        format!("/api/v1/samples?agent_id={agent}&metric_name=system_cpu_usage&from={from}&to={to}")
    };
    let spared = server.get_json(&asked("spared")).await;
    assert_eq!(
        spared["series"][0]["samples"].as_array().unwrap().len(),
        SAMPLES
    );
    assert_eq!(spared.get("warnings"), None);
    assert_eq!(
        server.get_json("/api/v1/status").await["quarantined_blocks"]["count"],
        0
    );
    for _ in 0..2 {
        let hit = server.get_json(&asked("hit")).await;
        let samples = hit["series"][0]["samples"].as_array().unwrap();
        assert_eq!(samples.len(), SAMPLES);
        assert_eq!(samples[SAMPLES - 1][0], later);
        let warnings = hit["warnings"].as_array().unwrap();
        assert_eq!(warnings.len(), 1, "{hit}");
        let warning = warnings[0].as_str().unwrap();
        let from = time(noon - (SAMPLES as i64 - 1) * STEP_MS);
        assert!(
            warning.contains("agent `hit`") && warning.contains(&from),
            "{warning}"
        );
    }
    // The directory still counts what it cannot hand out.
    let series = server
        .get_json("/api/v1/series?agent_id=hit&metric_name=system_cpu_usage")
        .await;
    assert_eq!(series["series"][0]["samples"], 2 * SAMPLES);
    assert_eq!(series.get("warnings"), None);

    let status = server.get_json("/api/v1/status").await;
    let quarantined = &status["quarantined_blocks"];
    assert_eq!(quarantined["count"], 1, "{quarantined}");
    assert_eq!(quarantined["first"][0]["agent_id"], "hit");
    assert_eq!(quarantined["first"][0]["to"], time(noon));
    let metrics = server.get("/metrics").await.expect(200).text();
    assert!(metrics.contains("longwatch_blocks_quarantined 1"));
    let told = server.log().matches("left out of answers").count();
    assert_eq!(told, 1, "{}", server.log());

    // The report cuts through the damaged block, so that its samples are needed.
    let from = time(noon - 100_000);
    let path = format!("/api/v1/reports/performance?from={from}");
    let report = server.get_json(&path).await;
    let report = &report["performance_report"];
    assert!(report["coverage"].as_f64().unwrap() < 1.0, "{report}");
    let findings = report["findings"].as_array().unwrap();
    let finding = findings.iter().find(|f| {
        f["message"]
            .as_str()
            .unwrap()
            .starts_with("1 damaged block left out")
    });
    assert_eq!(finding.unwrap()["agent_id"], "hit");
    let overview = server.get_json("/api/v1/overview").await;
    assert_eq!(overview.get("warnings"), None, "counts need no samples");

    // A snapshot takes rows over as they are, into pages whose checksums hold.
    let out = server.folder().join("snapshot.redb");
    let url = server.url("");
    server
        .run(&[
            "db",
            "snapshot",
            "--url",
            &url,
            "--out",
            out.to_str().unwrap(),
        ])
        .ok();
    let info = server
        .run(&["db", "info", "snapshot.redb", "--format", "json"])
        .ok();
    let info: Value = serde_json::from_slice(&info).unwrap();
    assert_eq!(info["quarantined_blocks"]["count"], 1, "{info}");
    assert_eq!(info["quarantined_blocks"]["first"][0]["agent_id"], "hit");
    let verified = server.run(&["db", "verify", "snapshot.redb"]);
    assert_eq!(verified.status, Some(1), "{}", verified.err);
}
