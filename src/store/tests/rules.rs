//! Stories of rules of retention: what they take, what they leave, and that they are applied once.

use std::{collections::BTreeSet, sync::Arc};

use redb::{ReadableDatabase, ReadableTable};

use super::{
    disk::SimulatedDisk,
    model::{
        Model, NOW, agent, append_to, check, expire, metric, open, open_with, opened, read, rules,
        with_rules,
    },
};
use crate::{
    model::{DAY_MS, Glob, History, ManualClock, RetentionRule, Timestamp, Window},
    store::{
        Settings, Store,
        compact::settle_opened,
        merge::rollups_of_blocks,
        rollups::{same_buckets, same_day},
        tables::{self, BYTES_OF_BLOCKS, BYTES_OF_ROLLUPS, Tier},
    },
};

const TODAY: i64 = 20_000;
const DAYS: i64 = 12;
/// Samples of a metric and day.
const HOURS: i64 = 24;

fn everything() -> Window {
    Window::until(Timestamp::from_millis(NOW + DAY_MS))
}

/// Some days of three agents with four metrics, a sample an hour, in merged blocks.
fn some_days() -> (SimulatedDisk, Model) {
    let disk = SimulatedDisk::default();
    let store = open(&disk, Settings::default());
    let mut model = Model::new();
    for day in TODAY - DAYS..TODAY {
        for agent_no in 0..3 {
            let samples: Vec<(u8, i64, f64)> = (0..4 * HOURS)
                .map(|i| {
                    let (metric, hour) = ((i % 4) as u8, i / 4);
                    let value = ((i * 7 + day) % 90) as f64 / 10.0;
                    (metric, day * DAY_MS + hour * 3_600_000, value)
                })
                .collect();
            append_to(&store, &mut model, agent_no, &samples).unwrap();
        }
    }
    store.settle_blocking().unwrap();
    close(store);
    (disk, model)
}

fn close(store: Store) {
    store.close_blocking().unwrap();
    drop(store);
}

/// (day, agent number) of all blocks.
fn days_with_blocks(store: &Store) -> BTreeSet<(i32, u32)> {
    let transaction = store.shared().database().begin_read().unwrap();
    let blocks = transaction.open_table(tables::BLOCKS).unwrap();
    let keys = blocks.iter().unwrap().map(|row| row.unwrap().0.value());
    keys.map(|key| (key.0, key.1)).collect()
}

/// Bytes of pages that blocks and rollups take, as days are reckoned.
fn bytes(store: &Store) -> [u64; 2] {
    let transaction = store.shared().database().begin_read().unwrap();
    let days = transaction.open_table(tables::DAY_BYTES).unwrap();
    [BYTES_OF_BLOCKS, BYTES_OF_ROLLUPS].map(|kind| {
        let rows = days.range((kind, i32::MIN)..=(kind, i32::MAX)).unwrap();
        rows.map(|row| row.unwrap().1.value()).sum()
    })
}

/// Holds all rollups against what the blocks of their days add up to; returns how many there are.
fn check_rollups(store: &Store) -> usize {
    let transaction = store.shared().database().begin_read().unwrap();
    let catalog = Arc::clone(&store.shared().live.lock().catalog);
    let rollups = transaction.open_table(tables::ROLLUPS).unwrap();
    let mut count = 0;
    for row in rollups.iter().unwrap() {
        let (key, stored) = row.unwrap();
        let (tier, day, agent) = key.value();
        let (tier, agent) = (Tier::of_key(tier).unwrap(), crate::model::AgentNo(agent));
        let entry = catalog.agent(agent).unwrap();
        let computed = rollups_of_blocks(&transaction, day, agent, entry).unwrap();
        let computed = computed.expect("rollups have blocks here");
        let is_same = match tier {
            Tier::Day => same_day(stored.value(), &computed.day),
            Tier::Hour => same_buckets(stored.value(), &computed.hours),
            Tier::FiveMinutes => same_buckets(stored.value(), &computed.five_minutes),
        };
        assert!(is_same.unwrap(), "{tier:?} of day {day}");
        count += 1;
    }
    count
}

fn total(view: &dyn History) -> u64 {
    let agents = view.agents(Timestamp::MAX);
    let extents = agents
        .iter()
        .flat_map(|agent| view.extents(agent.no, everything()).unwrap());
    extents.map(|extent| extent.samples).sum()
}

#[test]
fn days_lose_what_their_rules_no_longer_keep() {
    let (disk, mut model) = some_days();
    let plain = open(&disk, Settings::default());
    let bytes_before = bytes(&plain);
    assert_eq!(check_rollups(&plain), DAYS as usize * 3 * 3);
    close(plain);

    let store = open(&disk, with_rules());
    let before = store.view();
    store.settle_blocking().unwrap();
    check(&*before, &model, everything());
    drop(before);
    expire(&mut model);
    let view = store.view();
    check(&*view, &model, everything());
    let part = Window::new(
        Timestamp::from_millis((TODAY - 8) * DAY_MS + 5_000_000),
        Timestamp::from_millis((TODAY - 2) * DAY_MS + 5_000_000),
    );
    check(&*view, &model, part);
    let samples = model.values().map(|samples| samples.len() as u64);
    assert_eq!(total(&*view), samples.sum::<u64>());
    drop(view);

    // All of agent 2 is gone but for two days; of the others a quarter of the days before.
    assert_eq!(check_rollups(&store), DAYS as usize * 3 * 2 + 2 * 3);
    let days = days_with_blocks(&store);
    let of_agent_2 = days.iter().filter(|(_, agent)| *agent == 2);
    let of_agent_2: Vec<i32> = of_agent_2.map(|(day, _)| *day).collect();
    assert_eq!(of_agent_2, [TODAY as i32 - 2, TODAY as i32 - 1]);
    let bytes_after = bytes(&store);
    for (after, before) in bytes_after.iter().zip(bytes_before) {
        assert!(*after < before * 7 / 10, "{bytes_after:?} {bytes_before:?}");
    }

    // Again, and after a restart, there is nothing to do.
    let merges = store.shared().metrics.merges.get();
    assert!(merges > 0);
    store.settle_blocking().unwrap();
    assert_eq!(store.shared().metrics.merges.get(), merges);
    close(store);
    let store = open(&disk, with_rules());
    store.settle_blocking().unwrap();
    assert_eq!(store.shared().metrics.merges.get(), 0);
    check(&*store.view(), &model, everything());
    close(store);
}

#[test]
fn a_group_too_large_for_one_merge_loses_its_series_in_parts() {
    let disk = SimulatedDisk::default();
    let store = open(&disk, Settings::default());
    let mut model = Model::new();
    let day = TODAY - 4;
    for part in 0..6 {
        let samples: Vec<_> = (0..4_000)
            .map(|i| {
                let time = day * DAY_MS + part * 14_000_000 + i / 4 * 7_000;
                ((i % 4) as u8, time, (i % 50) as f64)
            })
            .collect();
        append_to(&store, &mut model, 0, &samples).unwrap();
        store.checkpoint_blocking().unwrap();
    }
    store.settle_blocking().unwrap();
    let before = check_rollups(&store);
    close(store);
    let store = open(&disk, with_rules());
    store.settle_blocking().unwrap();
    expire(&mut model);
    check(&*store.view(), &model, everything());
    assert_eq!(check_rollups(&store), before);
    close(store);
}

#[test]
fn days_that_a_rule_passes_later_are_swept_then() {
    let (disk, mut model) = some_days();
    close({
        let store = open(&disk, with_rules());
        store.settle_blocking().unwrap();
        store
    });
    expire(&mut model);
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
    let store = open_with(&disk, with_rules(), Arc::clone(&clock));
    store.settle_blocking().unwrap();
    check(&*store.view(), &model, everything());
    clock.set(Timestamp::from_millis(NOW + DAY_MS));
    store.settle_blocking().unwrap();
    // A day of metric 1 in all agents, and the last day of agent 2.
    assert_eq!(store.shared().metrics.merges.get(), 4);
    for ((agent, metric), samples) in &mut model {
        samples.retain(|time, _| match (*agent, *metric) {
            (_, 1) => *time >= (TODAY - 1) * DAY_MS,
            (2, _) => *time >= TODAY * DAY_MS,
            _ => true,
        });
    }
    check(&*store.view(), &model, everything());
    close(store);
}

#[test]
fn other_rules_are_applied_to_all_days() {
    let (disk, mut model) = some_days();
    let store = open(&disk, with_rules());
    store.settle_blocking().unwrap();
    expire(&mut model);
    close(store);
    // Samples of what was kept for a short time may come again, and do not stay.
    let store = open(&disk, Settings::default());
    let late: Vec<_> = (0..20)
        .map(|i| (1, (TODAY - 10) * DAY_MS + i * 60_000, 1.0))
        .collect();
    append_to(&store, &mut model, 0, &late).unwrap();
    store.settle_blocking().unwrap();
    check(&*store.view(), &model, everything());
    close(store);
    let store = open(&disk, with_rules());
    store.settle_blocking().unwrap();
    expire(&mut model);
    check(&*store.view(), &model, everything());
    close(store);

    // Another rule in front.
    let mut settings = with_rules();
    settings.retention_rules.insert(
        0,
        RetentionRule {
            metric: Some(Glob::new("metric_*")),
            agent_id: Some(Glob::new("*-0")),
            labels: Vec::new(),
            keep_ms: 5 * DAY_MS,
        },
    );
    let store = open(&disk, settings);
    store.settle_blocking().unwrap();
    for ((agent, metric), samples) in &mut model {
        if *agent == 0 && *metric > 0 {
            samples.retain(|time, _| *time >= (TODAY - 5) * DAY_MS);
        }
    }
    check(&*store.view(), &model, everything());
    check_rollups(&store);
    close(store);
}

#[test]
fn what_waits_in_memory_when_its_rule_passes_goes_with_its_merge() {
    let disk = SimulatedDisk::default();
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
    let store = open_with(&disk, with_rules(), Arc::clone(&clock));
    let mut model = Model::new();
    let day = TODAY - 1;
    let samples: Vec<_> = (0..40)
        .map(|i| {
            let time = day * DAY_MS + DAY_MS / 2 + i * 60_000;
            ((i % 4) as u8, time, i as f64)
        })
        .collect();
    append_to(&store, &mut model, 2, &samples).unwrap();
    // Nothing is there that could be swept.
    clock.set(Timestamp::from_millis(NOW + DAY_MS));
    let no = store.view().agent(&agent(2), Timestamp::MAX).unwrap().no;
    let series = store.view().series(no, Some(&metric(0)))[0].no;
    let last = |view: &dyn History| view.last_sample(no, series, Timestamp::MAX, None).unwrap();
    assert!(last(&*store.view()).is_some());
    store.settle_blocking().unwrap();
    assert_eq!(last(&*store.view()), None, "not even the newest is known");
    let view = store.view();
    assert_eq!(
        total(&*view),
        10,
        "of metric 1 two days are kept, of the rest one"
    );
    drop(view);
    close(store);
}

#[test]
fn days_that_compacting_settles_are_swept_again() {
    let (disk, mut model) = some_days();
    let store = open(&disk, with_rules());
    store.settle_blocking().unwrap();
    expire(&mut model);
    close(store);
    // What is late lies in the log.
    let store = open(&disk, Settings::default());
    let late: Vec<_> = (0..20)
        .map(|i| (1, (TODAY - 10) * DAY_MS + i * 60_000, 1.0))
        .collect();
    append_to(&store, &mut model, 0, &late).unwrap();
    // The rules that the file remembers have not been taken back.
    let disk = disk.cut_power(u64::MAX);
    drop(store);
    let path = std::path::Path::new("simulated");
    let file = opened(&disk);
    settle_opened(
        path,
        &file.engine.database,
        &file.facts,
        None,
        &mut |_, _| {},
    )
    .unwrap();
    drop(file);
    let store = open(&disk, with_rules());
    assert_eq!(read(&*store.view()), model);
    store.settle_blocking().unwrap();
    expire(&mut model);
    check(&*store.view(), &model, everything());
    close(store);
}

#[test]
fn rollups_whose_samples_have_expired_lose_their_series_too() {
    let (disk, _) = some_days();
    let short = Settings {
        retention_ms: 3 * DAY_MS,
        ..Settings::default()
    };
    let store = open(&disk, short.clone());
    crate::store::retention::apply(store.shared()).unwrap();
    let before = total(&*store.view());
    close(store);
    let store = open(
        &disk,
        Settings {
            retention_rules: rules(),
            ..short
        },
    );
    store.settle_blocking().unwrap();
    let no = |n| store.view().agent(&agent(n), Timestamp::MAX).unwrap().no;
    let samples = |agent_no: u8, metric_no: u8| {
        let view = store.view();
        let series = view.series(no(agent_no), Some(&metric(metric_no)))[0].no;
        let summaries = view.summarise(no(agent_no), &[series], everything());
        summaries.unwrap()[0].samples
    };
    assert_eq!(samples(0, 0), (DAYS * HOURS) as u64);
    assert_eq!(samples(0, 1), 2 * HOURS as u64);
    assert_eq!(samples(2, 0), HOURS as u64);
    let after = total(&*store.view());
    assert_eq!(before, (DAYS * 12 * HOURS) as u64);
    assert_eq!(after, ((2 * (3 * DAYS + 2) + 2 + 3) * HOURS) as u64);
    close(store);
}
