//! What commits cost on disks that wear: bytes written a commit and GB a day, on files of several sizes.
//!
//! A commit that leaves its file quick to open writes the engine's allocator state too, which grows with the file.
//! Three servers are imitated through the store: an idle one that watches its host and itself; one that scrapes 100
//! agents x 20 metrics every 10 s; one that gets single pushes without an end. The first two are scaled from a stretch of
//! their commits to a day; the third is watched for a while. Bytes are counted, so that the speed of the machine plays
//! no part but for the third.
//!
//! `LONGWATCH_BENCH_GB` has the sizes in gigabytes (`0.1,1` unless set), `LONGWATCH_BENCH_DIR` chooses the disk.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a bench stops when it cannot go on"
)]

#[path = "fleet/mod.rs"]
#[allow(dead_code, reason = "each bench uses its part")]
mod fleet;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use longwatch::{
    model::{Batch, Clock, ManualClock, Timestamp},
    store::{Append, Settings, Store, Urgency},
    telemetry::OwnMetrics,
};
use redb::TableDefinition;

/// Where blocks lie in the file.
const BLOCKS: TableDefinition<(i32, u32, u32, i64, u64), &[u8]> = TableDefinition::new("blocks_v1");
/// Bytes of a block, and with its key not more than a page of 64 KiB holds.
const BLOCK_BYTES: usize = 64_000;
/// Blocks of one transaction while the file is filled.
const BLOCKS_A_TRANSACTION: u64 = 1_000;
const DAY_SECONDS: f64 = 86_400.0;
/// Single commits that are counted.
const SINGLE_COMMITS: u64 = 100;
/// The stream of pushes is watched for so long, once it has used up what a quiet time had saved.
const WATCHED: Duration = Duration::from_secs(20);
const PUSHERS: u64 = 4;

/// Fills a file with blocks that nobody reads and that no file system makes smaller.
fn fill(path: &Path, gigabytes: f64) {
    open(path, u64::MAX).close_blocking().unwrap();
    // The store lets go of its file on a thread of its own.
    let database = loop {
        match redb::Database::open(path) {
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => std::thread::yield_now(),
            opened => break opened.unwrap(),
        }
    };
    let mut noise = 1u64;
    let mut block = vec![0; BLOCK_BYTES];
    let blocks = (gigabytes * 1e9 / BLOCK_BYTES as f64) as u64;
    let day = (fleet::END_MS / 86_400_000) as i32;
    for first in (0..blocks).step_by(BLOCKS_A_TRANSACTION as usize) {
        let transaction = database.begin_write().unwrap();
        let mut table = transaction.open_table(BLOCKS).unwrap();
        for number in first..(first + BLOCKS_A_TRANSACTION).min(blocks) {
            for word in block.chunks_exact_mut(8) {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                word.copy_from_slice(&noise.to_le_bytes());
            }
            // Of an agent that the file does not know.
            let key = (day, u32::MAX, 0, number as i64, number);
            table.insert(key, block.as_slice()).unwrap();
        }
        drop(table);
        transaction.commit().unwrap();
    }
}

fn open(path: &Path, commit_write_budget: u64) -> Store {
    let settings = Settings {
        commit_write_budget,
        disk_reserve: Some(0),
        ..Settings::default()
    };
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::from_millis(fleet::END_MS)));
    Store::open(path, settings, clock, Arc::new(OwnMetrics::default())).unwrap()
}

/// One scrape of an agent with so many series.
fn scrape(agent: u64, series: usize, time_ms: i64) -> Append {
    let mut batch = Batch::new();
    for number in 0..series {
        let value = ((time_ms / 1_000) * (number as i64 + 1) % 1_000) as f64 / 10.0;
        let time = Timestamp::from_millis(time_ms);
        batch
            .push(&format!("metric_{number}"), &mut [], time, value)
            .unwrap();
    }
    Append {
        agent: fleet::agent_id(agent),
        batch,
        contact: None,
        urgency: Urgency::Relaxed,
    }
}

/// Appends several at once, so that they share a commit.
fn commit(runtime: &tokio::runtime::Runtime, store: &Store, mut appends: Vec<Append>) {
    // The last one does not let the others wait.
    appends.last_mut().unwrap().urgency = Urgency::News;
    let all = appends.into_iter().map(|append| store.append(append));
    for appended in runtime.block_on(futures_util::future::join_all(all)) {
        appended.unwrap();
    }
}

/// Bytes written and commits done by `work`.
fn counted(store: &Store, work: impl FnOnce()) -> (f64, f64) {
    let before = store.status();
    work();
    let after = store.status();
    (
        (after.bytes_written - before.bytes_written) as f64,
        (after.commits - before.commits) as f64,
    )
}

/// GB a day of a server whose commits come every `seconds`, with `append_at` giving what the n-th one holds; and the
/// share of checkpoints in it. `commits` are counted, and a checkpoint after them.
fn a_day(
    store: &Store,
    commits: i64,
    seconds: f64,
    append_at: impl Fn(i64) -> Vec<Append>,
) -> (f64, f64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    // Series and agents are made before.
    (-2..0).for_each(|n| commit(&runtime, store, append_at(n)));
    store.checkpoint_blocking().unwrap();
    let (bytes, _) = counted(store, || {
        (0..commits).for_each(|n| commit(&runtime, store, append_at(n)));
    });
    let (checkpoint, _) = counted(store, || store.checkpoint_blocking().unwrap());
    let stretches = DAY_SECONDS / (commits as f64 * seconds);
    (
        (bytes + checkpoint) * stretches / 1e9,
        checkpoint / (bytes + checkpoint),
    )
}

/// 81 series of the host and of longwatch itself every 30 s, each in a commit of its own, and their scores.
fn idle(store: &Store) -> (f64, f64) {
    // An hour's worth, which is when the checkpoint comes.
    a_day(store, 240, 15.0, |n| {
        let time = fleet::END_MS - 7_200_000 + n * 15_000;
        match n.rem_euclid(2) {
            0 => vec![scrape(500, 41, time)],
            _ => vec![scrape(501, 40, time), scrape(502, 2, time)],
        }
    })
}

/// 100 agents of 20 metrics, and the five series of each scrape, every 10 s; a commit every 5 s has half of them.
fn scraping(store: &Store) -> (f64, f64) {
    // A million samples, which is when the checkpoint comes.
    a_day(store, 800, 5.0, |n| {
        let agents = (0..100).filter(|agent| agent % 2 == n.rem_euclid(2));
        let time = fleet::END_MS - 8_000_000 + n.div_euclid(2) * 10_000;
        agents
            .map(|agent| scrape(agent as u64, 25, time + agent * 97))
            .collect()
    })
}

/// GB a day and commits a second of pushes without an end, under the default budget.
fn pushes(path: &Path) -> (f64, f64) {
    let budget = Settings::default().commit_write_budget;
    let store = open(path, budget);
    // Nearly all of what a quiet minute has saved, and what is added while that is used up.
    let opened = Instant::now();
    let saved = || budget as f64 * (59.5 + opened.elapsed().as_secs_f64());
    let start = store.status().bytes_written;
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let measured = std::thread::scope(|scope| {
        for pusher in 0..PUSHERS {
            let (store, is_over) = (&store, &is_over);
            scope.spawn(move || {
                let mut time = fleet::END_MS - 86_400_000;
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    time += 1;
                    let mut append = scrape(600 + pusher, 1, time);
                    append.urgency = Urgency::Prompt;
                    store.append_blocking(append).unwrap();
                }
            });
        }
        while ((store.status().bytes_written - start) as f64) < saved() {
            std::thread::sleep(Duration::from_millis(50));
        }
        let began = Instant::now();
        let (bytes, commits) = counted(&store, || std::thread::sleep(WATCHED));
        let seconds = began.elapsed().as_secs_f64();
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        (bytes / seconds * DAY_SECONDS / 1e9, commits / seconds)
    });
    store.close_blocking().unwrap();
    measured
}

fn main() {
    let sizes = std::env::var("LONGWATCH_BENCH_GB").unwrap_or_else(|_| "0.1,1".to_owned());
    println!("| file | a commit of one sample | idle | 100 agents scraped | single pushes |");
    println!("|---|---|---|---|---|");
    for size in sizes.split(',') {
        let folder = match std::env::var_os("LONGWATCH_BENCH_DIR") {
            Some(dir) => tempfile::tempdir_in(dir).unwrap(),
            None => tempfile::tempdir().unwrap(),
        };
        let path = folder.path().join("commits.redb");
        fill(&path, size.trim().parse().unwrap());
        let store = open(&path, u64::MAX);
        let single = |n: u64| {
            let mut append = scrape(700, 1, fleet::END_MS - 1_000_000 + n as i64);
            append.urgency = Urgency::Prompt;
            store.append_blocking(append).unwrap();
        };
        single(0);
        let (bytes, commits) = counted(&store, || (1..=SINGLE_COMMITS).for_each(single));
        let (idle, idle_checkpoints) = idle(&store);
        let (scraping, scraping_checkpoints) = scraping(&store);
        let file_gb = store.status().file_bytes as f64 / 1e9;
        store.close_blocking().unwrap();
        drop(store);
        let (pushes, commits_a_second) = pushes(&path);
        println!(
            "| {size} GB ({file_gb:.2} long) | {:.0} kB | {idle:.2} GB a day ({:.0} % checkpoints) | {scraping:.2} GB a day ({:.0} %) | {pushes:.0} GB a day, {commits_a_second:.1} commits a second |",
            bytes / commits / 1e3,
            idle_checkpoints * 100.0,
            scraping_checkpoints * 100.0,
        );
    }
}
