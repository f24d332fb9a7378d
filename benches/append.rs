//! Durable append: how many samples a second are on disk and acknowledged, with 1, 4 and 16 writers of
//! batches of 2,000 samples. `LONGWATCH_BENCH_DIR` chooses the disk.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::unreadable_literal,
    reason = "a bench stops when it cannot go on"
)]

#[path = "fleet/mod.rs"]
#[allow(dead_code, reason = "each bench uses its part")]
mod fleet;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use longwatch::store::{Append, Store, Urgency};

const SCRAPES: i64 = 100;

/// Each writer appends `batches` batches of 2,000 samples of an agent of its own.
fn append(store: &Store, writers: u64, batches: u64, round: i64) -> Duration {
    let started = Instant::now();
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let store = store.clone();
            scope.spawn(move || {
                let mut agent = fleet::Agent::new(writer);
                for number in 0..batches {
                    let first = fleet::END_MS - 86_400_000 * 7
                        + (round * batches as i64 + number as i64) * SCRAPES * fleet::STEP_MS
                            % (86_400_000 * 6);
                    let append = Append {
                        agent: fleet::agent_id(writer),
                        batch: fleet::batch(&mut agent, first, SCRAPES),
                        contact: None,
                        urgency: Urgency::Prompt,
                    };
                    store.append_blocking(append).unwrap();
                }
            });
        }
    });
    started.elapsed()
}

fn durable_append(c: &mut Criterion) {
    let mut group = c.benchmark_group("durable_append");
    group.sample_size(10);
    for writers in [1, 4, 16] {
        let folder = match std::env::var_os("LONGWATCH_BENCH_DIR") {
            Some(dir) => tempfile::tempdir_in(dir).unwrap(),
            None => tempfile::tempdir().unwrap(),
        };
        let store = fleet::open(&folder.path().join("bench.redb"));
        let batches = 16;
        let samples = writers * batches * SCRAPES as u64 * fleet::METRICS as u64;
        group.throughput(Throughput::Elements(samples));
        let mut round = 0;
        group.bench_function(BenchmarkId::new("writers", writers), |b| {
            b.iter_custom(|iterations| {
                (0..iterations)
                    .map(|_| {
                        round += 1;
                        append(&store, writers, batches, round)
                    })
                    .sum()
            });
        });
        let status = store.status();
        eprintln!(
            "{writers} writers: {} commits, {:.1} bytes written per sample, checkpoints included",
            status.commits,
            status.bytes_written as f64 / (round as u64 * samples) as f64
        );
        store.close_blocking().unwrap();
    }
    group.finish();
}

criterion_group!(benches, durable_append);
criterion_main!(benches);
