//! The log as a spool: what waits stays, also through checkpoints and power cuts, and within its bounds.

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    disk::SimulatedDisk,
    model::{Model, NOW, agent, append_to, open_with},
};
use crate::{
    model::{ManualClock, Timestamp},
    store::{Settings, SpoolBounds, Store, copies, file},
};

const AGE_MS: i64 = 3_600_000;

fn settings(bytes_max: u64) -> Settings {
    Settings {
        spool: Some(SpoolBounds {
            bytes_max,
            age_ms_max: AGE_MS,
        }),
        ..Settings::default()
    }
}

fn open_at(disk: &SimulatedDisk, settings: Settings, now: i64) -> Store {
    let clock = ManualClock::new(Timestamp::from_millis(now));
    open_with(disk, settings, Arc::new(clock))
}

/// Appends the sample of a number; its time and value say which it is.
fn put(store: &Store, n: i64) {
    append_to(store, &mut Model::default(), 1, &[(1, NOW + n, n as f64)]).unwrap();
}

/// Numbers of the samples that wait.
fn waiting(store: &Store) -> Vec<i64> {
    let records = store.log_after(store.forwarded_to(), usize::MAX).unwrap();
    let samples = records.into_iter().flat_map(|record| record.samples);
    samples
        .flat_map(|(_, rows)| rows)
        .map(|(_, _, value)| value as i64)
        .collect()
}

/// Forwards the first `count` records that wait.
fn forward(store: &Store, count: usize) {
    let records = store.log_after(store.forwarded_to(), usize::MAX).unwrap();
    if let Some(last) = records[..records.len().min(count)].last() {
        store.note_forwarded(last.sequence);
    }
}

fn log_records(store: &Store) -> u64 {
    store.status().wal_records
}

#[test]
fn what_was_sent_leaves_the_log_and_what_waits_stays() {
    let disk = SimulatedDisk::default();
    let store = open_at(&disk, settings(u64::MAX), NOW);
    (0..10).for_each(|n| put(&store, n));
    store.checkpoint_blocking().unwrap();
    assert_eq!(log_records(&store), 10);
    assert_eq!(waiting(&store), (0..10).collect::<Vec<_>>());
    (10..20).for_each(|n| put(&store, n));
    forward(&store, 10);
    store.checkpoint_blocking().unwrap();
    assert_eq!(log_records(&store), 10, "the first segment is sent");
    forward(&store, 4);
    store.checkpoint_blocking().unwrap();
    assert_eq!(log_records(&store), 10, "a segment goes as a whole");
    assert_eq!(waiting(&store), (14..20).collect::<Vec<_>>());
    let disk = disk.cut_power(0);
    // Recovery has nothing to do with what waits.
    let store = open_at(&disk, settings(u64::MAX), NOW);
    assert_eq!(store.status().head_samples, 0);
    assert_eq!(waiting(&store), (14..20).collect::<Vec<_>>());
    forward(&store, 6);
    store.checkpoint_blocking().unwrap();
    assert_eq!((log_records(&store), waiting(&store)), (0, vec![]));
    assert_eq!(store.spool_status().unwrap().dropped, 0);
    let disk = disk.cut_power(0);
    // Without forwarding nothing waits.
    let store = open_at(&disk, settings(u64::MAX), NOW);
    (20..25).for_each(|n| put(&store, n));
    store.checkpoint_blocking().unwrap();
    assert_eq!(log_records(&store), 5);
    assert_eq!(waiting(&store), (20..25).collect::<Vec<_>>());
    let disk = disk.cut_power(0);
    let store = open_at(&disk, Settings::default(), NOW);
    store.checkpoint_blocking().unwrap();
    assert_eq!(log_records(&store), 0);
}

#[test]
fn beyond_its_bounds_the_oldest_is_dropped_and_counted() {
    let disk = SimulatedDisk::default();
    // A record of one sample has some 30 bytes; a piece is a sixteenth.
    let store = open_at(&disk, settings(3_200), NOW);
    (0..1_000).for_each(|n| put(&store, n));
    forward(&store, 100);
    store.checkpoint_blocking().unwrap();
    let left = waiting(&store);
    assert!((60..120).contains(&left.len()), "{}", left.len());
    let first = 1_000 - left.len() as i64;
    assert_eq!(left, (first..1_000).collect::<Vec<_>>());
    let dropped = store.spool_status().unwrap().dropped;
    assert_eq!(dropped, 900 - left.len() as u64);
    let disk = disk.cut_power(0);
    // Then they are too old.
    let store = open_at(&disk, settings(3_200), NOW + AGE_MS + 1_000);
    put(&store, 1_000);
    store.checkpoint_blocking().unwrap();
    assert_eq!(waiting(&store), [1_000]);
    let dropped = store.spool_status().unwrap().dropped;
    assert_eq!(dropped, left.len() as u64);
}

#[test]
fn a_database_at_rest_keeps_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("live.redb");
    let clock = || Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
    let open = |settings| Store::open(&path, settings, clock(), Arc::default()).unwrap();
    let store = open(settings(u64::MAX));
    (0..10).for_each(|n| put(&store, n));
    forward(&store, 3);
    drop(store);
    until_closed(&path);
    crate::store::compact(&path, None, &mut |_| {}).unwrap();
    let report = crate::store::verify(&path, &mut |_, _| {}).unwrap();
    assert_eq!((report.bad.len(), report.samples), (0, 10));
    assert_eq!(copies::inspect(&path).unwrap().wal_records, 0);
    let store = open(settings(u64::MAX));
    assert_eq!(waiting(&store), (3..10).collect::<Vec<_>>());
    put(&store, 10);
    store.checkpoint_blocking().unwrap();
    assert_eq!(waiting(&store), (3..11).collect::<Vec<_>>());
    assert_eq!(
        agent(1),
        store
            .view()
            .agent_id(store.view().known_agents()[0])
            .unwrap()
    );
}

/// A store that is dropped lets go of its file a little later.
fn until_closed(path: &std::path::Path) {
    while file::open_existing(path, 1 << 20).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Put,
    Forward(usize),
    Checkpoint,
    /// Reopened from what the disk kept; at most so much of what was not synced.
    Cut(u64),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens, what was appended and not forwarded waits, in order; after a power cut some of what was
    /// forwarded may wait again.
    #[test]
    fn nothing_is_lost_on_the_way(steps in prop::collection::vec(prop_oneof![
        4 => Just(Step::Put),
        2 => (1usize..6).prop_map(Step::Forward),
        1 => Just(Step::Checkpoint),
        1 => any::<u64>().prop_map(Step::Cut),
    ], 1..40)) {
        let mut disk = SimulatedDisk::default();
        let mut store = open_at(&disk, settings(u64::MAX), NOW);
        let (mut next, mut sent) = (0_i64, 0_i64);
        for step in steps {
            match step {
                Step::Put => {
                    put(&store, next);
                    next += 1;
                }
                Step::Forward(count) => {
                    forward(&store, count);
                    sent = (sent + count as i64).min(next);
                }
                Step::Checkpoint => store.checkpoint_blocking().unwrap(),
                Step::Cut(kept) => {
                    disk = disk.cut_power(kept);
                    store = open_at(&disk, settings(u64::MAX), NOW);
                    let first = waiting(&store).first().copied().unwrap_or(next);
                    prop_assert!(first <= sent, "{first} waits, {sent} were sent");
                    sent = first;
                }
            }
            prop_assert_eq!(waiting(&store), (sent..next).collect::<Vec<_>>());
        }
    }
}
