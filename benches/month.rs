//! A month of 100 agents x 20 metrics at 10 s (518 M samples; `LONGWATCH_BENCH_DAYS` for fewer or more days): the
//! size of the file, and reports of a day, a week and a month from it, warm and from a file just opened. It prints figures
//! and is no criterion bench, since filling takes minutes. `LONGWATCH_BENCH_DIR` says where the file is made, and keeps it.
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
    sync::Arc,
    time::{Duration, Instant},
};

use longwatch::{
    model::{DAY_MS, ManualClock, Timestamp, Window},
    report::{self, Format, ReportRequest},
    store::{Append, Settings, Store, Urgency, View},
    telemetry::OwnMetrics,
};

const AGENTS: u64 = 100;
const DAYS: i64 = 30;
/// Times that a question is asked warm; the best counts.
const ROUNDS: usize = 10;

fn open(path: &Path) -> Store {
    let settings = Settings {
        commit_write_budget: u64::MAX,
        retention_ms: 400 * DAY_MS,
        ..Settings::default()
    };
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(fleet::END_MS)));
    Store::open(path, settings, clock, Arc::new(OwnMetrics::default())).unwrap()
}

/// Fills the store day by day, each settled before the next, as time would have it.
fn fill(store: &Store, days: i64) {
    let mut agents: Vec<fleet::Agent> = (0..AGENTS).map(fleet::Agent::new).collect();
    let half_hour = 1_800_000;
    for half in 0..days * 48 {
        let first = fleet::END_MS - days * DAY_MS + half * half_hour + fleet::STEP_MS;
        for (number, agent) in (0..).zip(&mut agents) {
            let append = Append {
                agent: fleet::agent_id(number),
                batch: fleet::batch(agent, first, half_hour / fleet::STEP_MS),
                contact: None,
                urgency: Urgency::Prompt,
            };
            store.append_blocking(append).unwrap();
        }
        if half % 48 == 47 {
            store.settle_blocking().unwrap();
        }
    }
}

fn report_of(view: &View, days: i64, format: Format) -> Duration {
    let started = Instant::now();
    let request = ReportRequest {
        window: Window::ending_at(Timestamp::from_millis(fleet::END_MS), days * DAY_MS),
        agent: None,
    };
    let report = report::performance_report(&**view, &request).unwrap();
    assert!(!report::render(&**view, &report, format).unwrap().is_empty());
    started.elapsed()
}

fn main() {
    let days = std::env::var("LONGWATCH_BENCH_DAYS").map_or(DAYS, |d| d.parse().unwrap());
    let scratch = tempfile::tempdir().unwrap();
    let folder = std::env::var_os("LONGWATCH_BENCH_DIR").map(PathBuf::from);
    let path = folder
        .unwrap_or_else(|| scratch.path().to_owned())
        .join("month.redb");
    let store = open(&path);
    if store.status().series == 0 {
        let started = Instant::now();
        fill(&store, days);
        let samples = (AGENTS * fleet::METRICS as u64 * days as u64 * 8_640) as f64;
        let status = store.status();
        println!(
            "{samples} samples of {days} days in {:.0?}: {:.2} M/s; file {:.2} B/sample, {:.2} B written per sample, {} blocks",
            started.elapsed(),
            samples / started.elapsed().as_secs_f64() / 1e6,
            status.file_bytes as f64 / samples,
            status.bytes_written as f64 / samples,
            status.blocks,
        );
    }
    store.close_blocking().unwrap();
    drop(store);
    for (what, days) in [("a day", 1), ("a week", 7), ("a month", days)] {
        for (name, format) in [("JSON", Format::Json), ("HTML", Format::Html)] {
            let store = open(&path);
            let opened = report_of(&store.view(), days, format);
            let view = store.view();
            let warm = (0..ROUNDS)
                .map(|_| report_of(&view, days, format))
                .min()
                .unwrap();
            println!("report of {what} as {name}: first {opened:.1?}, warm {warm:.1?}");
            drop(view);
            store.close_blocking().unwrap();
        }
    }
}
