//! Stories of merged days and their rollups.

use redb::{ReadableDatabase, ReadableTableMetadata};

use super::{
    disk::SimulatedDisk,
    model::{NOW, agent, merge_recent, open, open_with},
};
use crate::{
    model::{Batch, DAY_MS, History, ManualClock, SeriesNo, Timestamp, Window, names},
    store::{Append, Settings, Store, Urgency, retention, tables},
};

const TODAY: i64 = 20_000;

fn push(store: &Store, name: &str, samples: impl IntoIterator<Item = (i64, f64)>) {
    let mut batch = Batch::new();
    for (time, value) in samples {
        let time = Timestamp::from_millis(time);
        batch.push(name, &mut [], time, value).unwrap();
    }
    let append = Append {
        agent: agent(0),
        batch,
        contact: None,
        urgency: Urgency::Prompt,
    };
    assert!(store.append_blocking(append).unwrap().rejected.is_empty());
}

/// A sample each minute of a day.
fn minutes(day: i64) -> impl Iterator<Item = (i64, f64)> {
    (0..1_440).map(move |minute| (day * DAY_MS + minute * 60_000, (minute % 90) as f64 / 10.0))
}

struct Rows {
    blocks: u64,
    rollups: u64,
    unsettled: u64,
    bytes: u64,
}

fn rows(store: &Store) -> Rows {
    let transaction = store.shared().database().begin_read().unwrap();
    let bytes = transaction.open_table(tables::DAY_BYTES).unwrap();
    Rows {
        blocks: transaction
            .open_table(tables::BLOCKS)
            .unwrap()
            .len()
            .unwrap(),
        rollups: transaction
            .open_table(tables::ROLLUPS)
            .unwrap()
            .len()
            .unwrap(),
        unsettled: transaction
            .open_table(tables::UNSETTLED)
            .unwrap()
            .len()
            .unwrap(),
        bytes: redb::ReadableTable::iter(&bytes)
            .unwrap()
            .map(|row| row.unwrap().1.value())
            .sum(),
    }
}

fn mean_of_day(store: &Store, day: i64) -> Option<f64> {
    let window = Window::closed(
        Timestamp::from_millis(day * DAY_MS),
        Timestamp::from_millis((day + 1) * DAY_MS - 1),
    );
    let view = store.view();
    let no = view.agent(&agent(0), Timestamp::MAX).unwrap().no;
    let summary = view
        .summarise(no, &[SeriesNo(0)], window)
        .unwrap()
        .remove(0);
    summary.mean()
}

fn in_steps(view: &dyn History, window: Window, step_ms: i64) -> Vec<(i64, u64, f64)> {
    let no = view.agent(&agent(0), Timestamp::MAX).unwrap().no;
    let mut found = Vec::new();
    view.buckets(
        no,
        &[SeriesNo(0)],
        window,
        step_ms,
        false,
        &mut |_, buckets| {
            found = buckets
                .iter()
                .map(|b| (b.end_ms, b.samples, b.sum))
                .collect();
        },
    )
    .unwrap();
    found
}

#[test]
fn a_settled_day_is_one_merge_and_three_rows() {
    let store = open(&SimulatedDisk::default(), Settings::default());
    for hour in 0..24 {
        let all: Vec<_> = minutes(TODAY - 1).collect();
        push(&store, "load", all[hour * 60..][..60].iter().copied());
        store.checkpoint_blocking().unwrap();
    }
    let before = rows(&store);
    assert_eq!(
        (before.blocks, before.rollups, before.unsettled),
        (24, 0, 1)
    );
    let mean = mean_of_day(&store, TODAY - 1);
    store.settle_blocking().unwrap();
    let after = rows(&store);
    assert_eq!((after.blocks, after.rollups, after.unsettled), (1, 3, 0));
    assert!(
        after.bytes < before.bytes,
        "{} < {}",
        after.bytes,
        before.bytes
    );
    assert_eq!(mean_of_day(&store, TODAY - 1), mean);
    // Settling again finds nothing to do.
    let merges = store.shared().metrics.merges.get();
    assert_eq!(merges, 1);
    store.settle_blocking().unwrap();
    assert_eq!(store.shared().metrics.merges.get(), merges);
}

#[test]
fn late_samples_make_the_days_rollups_anew() {
    let store = open(&SimulatedDisk::default(), Settings::default());
    push(&store, "load", minutes(TODAY - 1));
    store.settle_blocking().unwrap();
    // One sample is corrected, one comes between two others.
    let noon = (TODAY - 1) * DAY_MS + DAY_MS / 2;
    push(&store, "load", [(noon, 1e6), (noon + 1, 2e6)]);
    let from_heads = mean_of_day(&store, TODAY - 1);
    assert!(from_heads > Some(2_000.0));
    store.checkpoint_blocking().unwrap();
    let unsettled = rows(&store);
    assert_eq!((unsettled.rollups, unsettled.unsettled), (0, 1));
    assert_eq!(mean_of_day(&store, TODAY - 1), from_heads);
    store.settle_blocking().unwrap();
    assert_eq!(rows(&store).rollups, 3);
    assert_eq!(mean_of_day(&store, TODAY - 1), from_heads);
}

#[test]
fn small_blocks_of_a_day_under_way_are_merged_once() {
    let store = open(&SimulatedDisk::default(), Settings::default());
    let all: Vec<_> = minutes(TODAY - 1).collect();
    for part in 0..8 {
        push(&store, "load", all[part * 60..][..60].iter().copied());
        store.checkpoint_blocking().unwrap();
    }
    merge_recent(&store);
    assert_eq!(rows(&store).blocks, 1);
    for part in 8..10 {
        push(&store, "load", all[part * 60..][..60].iter().copied());
        store.checkpoint_blocking().unwrap();
    }
    // The merged block is not taken again, since nothing newer overlaps it.
    merge_recent(&store);
    assert_eq!(rows(&store).blocks, 2);
    // Something that overlaps it is merged with it.
    push(&store, "load", [all[5]]);
    store.checkpoint_blocking().unwrap();
    merge_recent(&store);
    assert_eq!(rows(&store).blocks, 2);
}

#[test]
fn rollups_outlive_samples_and_go_in_their_turn() {
    let clock = std::sync::Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
    let settings = Settings {
        retention_ms: 3 * DAY_MS,
        rollup_retention_ms: 10 * DAY_MS,
        ..Settings::default()
    };
    let store = open_with(
        &SimulatedDisk::default(),
        settings,
        std::sync::Arc::clone(&clock),
    );
    push(&store, "load", minutes(TODAY - 2));
    push(&store, "load", minutes(TODAY - 1));
    store.settle_blocking().unwrap();
    let mean = mean_of_day(&store, TODAY - 2);
    let day = Window::closed(
        Timestamp::from_millis((TODAY - 2) * DAY_MS),
        Timestamp::from_millis((TODAY - 1) * DAY_MS - 1),
    );
    let steps = in_steps(&*store.view(), day, 900_000);
    assert_eq!(steps.len(), 97);

    clock.set(Timestamp::from_millis(NOW + 2 * DAY_MS));
    // Retention trusts the clock no further than a day beyond the last commit.
    push(&store, "load", [(NOW + 2 * DAY_MS, 1.0)]);
    assert!(retention::apply(store.shared()).unwrap());
    let left = rows(&store);
    assert_eq!((left.blocks, left.rollups), (1, 6));
    assert_eq!(mean_of_day(&store, TODAY - 2), mean);
    assert_eq!(in_steps(&*store.view(), day, 900_000), steps);

    clock.set(Timestamp::from_millis(NOW + 9 * DAY_MS));
    push(&store, "load", [(NOW + 9 * DAY_MS, 1.0)]);
    assert!(retention::apply(store.shared()).unwrap());
    let left = rows(&store);
    assert_eq!((left.blocks, left.rollups), (0, 3));
    assert_eq!(mean_of_day(&store, TODAY - 2), None);
}

#[test]
fn the_oldest_days_go_when_there_is_too_much() {
    let store = open(&SimulatedDisk::default(), Settings::default());
    for day in 1..=6 {
        push(&store, names::SYSTEM_CPU_USAGE, minutes(TODAY - day));
    }
    store.settle_blocking().unwrap();
    let all = rows(&store);
    assert_eq!((all.blocks, all.rollups), (6, 18));
    assert!(
        !retention::apply(store.shared()).unwrap(),
        "no limit, nothing to do"
    );

    // A byte too much: the samples of the oldest day go, its rollups stay.
    let limited = open(
        &SimulatedDisk::default(),
        Settings {
            retention_bytes: all.bytes - 1,
            ..Settings::default()
        },
    );
    for day in 1..=6 {
        push(&limited, names::SYSTEM_CPU_USAGE, minutes(TODAY - day));
    }
    limited.settle_blocking().unwrap();
    assert!(retention::apply(limited.shared()).unwrap());
    let left = rows(&limited);
    assert_eq!((left.blocks, left.rollups), (5, 18));
    assert!(left.bytes < all.bytes);
    assert!(mean_of_day(&limited, TODAY - 6).is_some());
    assert!(!retention::apply(limited.shared()).unwrap());
}
