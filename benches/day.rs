//! A day and an hour of 100 agents x 20 metrics at 10 s (18 M samples): the 24-hour report warm and from a file
//! just opened, the overview, opening after a kill, opening a copy; and the file's size.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a bench stops when it cannot go on"
)]

#[path = "fleet/mod.rs"]
#[allow(dead_code, reason = "each bench uses its part")]
mod fleet;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use longwatch::{
    model::{Timestamp, Window},
    report::{self, Format, ReportRequest},
    store::{self, Store, View},
};

const AGENTS: u64 = 100;
/// An hour more than is asked about, so that windows cut through blocks where they begin.
const HOURS: i64 = 25;
const ASKED_AT_MS: i64 = fleet::END_MS;

fn day() -> ReportRequest {
    let end = Timestamp::from_millis(ASKED_AT_MS);
    ReportRequest {
        window: Window::ending_at(end, 24 * 3_600_000),
        agent: None,
    }
}

fn report_json(view: &View) -> String {
    let report = report::performance_report(&**view, &day()).unwrap();
    report::render(&**view, &report, Format::Json).unwrap()
}

/// The file as a kill leaves it: the last records are in the log alone. Filling it wrote faster than
/// pins can keep pages, so the copy waits until a plain copy is safe again.
fn killed_copy(store: &Store, path: &Path, folder: &Path) -> PathBuf {
    while store.status().copy_safe_seconds < 20.0 {
        std::thread::sleep(Duration::from_millis(200));
    }
    let copy = folder.join("killed.redb");
    std::fs::copy(path, &copy).unwrap();
    copy
}

/// Tells what the file and a snapshot of it take; returns the snapshot.
fn sizes(what: &str, store: &Store, samples: f64, folder: &Path) -> PathBuf {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut snapshot = runtime.block_on(store.snapshot()).unwrap();
    let copy = folder.join("snapshot.redb");
    let mut named = std::fs::File::create(&copy).unwrap();
    let copy_bytes = std::io::copy(&mut snapshot, &mut named).unwrap();
    let status = store.status();
    eprintln!(
        "{what}: {samples} samples: file {:.2} B/sample, snapshot {:.2} B/sample, {:.2} B written per sample, {} blocks",
        status.file_bytes as f64 / samples,
        copy_bytes as f64 / samples,
        status.bytes_written as f64 / samples,
        status.blocks,
    );
    copy
}

fn a_day(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("day.redb");
    let store = fleet::open(&path);
    fleet::fill(&store, AGENTS, HOURS);
    let killed = killed_copy(&store, &path, folder.path());
    let in_log = store.status();
    let samples = (AGENTS * fleet::METRICS as u64 * HOURS as u64 * 360) as f64;
    store.checkpoint_blocking().unwrap();
    sizes("filled", &store, samples, folder.path());
    eprintln!(
        "killed with {} records and {} samples in the log",
        in_log.wal_records, in_log.head_samples,
    );
    let started = Instant::now();
    store.settle_blocking().unwrap();
    eprintln!("settled in {:.1?}", started.elapsed());
    let copy = sizes("settled", &store, samples, folder.path());

    let mut group = c.benchmark_group("day_of_100_agents");
    group.sample_size(10);
    let view = store.view();
    group.bench_function("report_json_warm", |b| b.iter(|| report_json(&view)));
    group.bench_function("report_html_warm", |b| {
        b.iter(|| {
            let report = report::performance_report(&*view, &day()).unwrap();
            report::render(&*view, &report, Format::Html).unwrap()
        });
    });
    let end = Timestamp::from_millis(ASKED_AT_MS);
    group.bench_function("overview_warm", |b| {
        b.iter(|| report::overview(&*view, end).unwrap());
    });
    drop(view);
    store.close_blocking().unwrap();
    drop(store);

    // A store ends on a thread of its own, so each round closes its own before the next one begins.
    group.bench_function("open_after_kill", |b| {
        b.iter_custom(|rounds| {
            let opening = |_| {
                let copy = folder.path().join("again.redb");
                std::fs::copy(&killed, &copy).unwrap();
                let started = Instant::now();
                let store = fleet::open(&copy);
                let took = started.elapsed();
                store.close_blocking().unwrap();
                took
            };
            (0..rounds).map(opening).sum()
        });
    });
    group.bench_function("report_json_from_a_file_just_opened", |b| {
        b.iter_custom(|rounds| {
            let opening = |_| {
                let started = Instant::now();
                let store = fleet::open(&path);
                report_json(&store.view());
                let took = started.elapsed();
                store.close_blocking().unwrap();
                took
            };
            (0..rounds).map(opening).sum()
        });
    });
    group.bench_function("open_copy_checking_every_page", |b| {
        b.iter(|| store::open_copy(&copy).unwrap());
    });
    group.finish();
}

criterion_group!(benches, a_day);
criterion_main!(benches);
