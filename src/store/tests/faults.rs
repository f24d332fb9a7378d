//! Errors of the disk, one at every operation: the store goes on in the same process, and nothing that was
//! acknowledged is missing.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use super::{
    disk::{Fault, SimulatedDisk},
    model::{Model, NOW, agent, append_to, check, metric, open},
};
use crate::{
    model::{History, ReadError, Registration, RegistrationSource, Timestamp, Window},
    store::{Condition, Settings, Store, WriteError},
};

/// Faults that are tried of each kind, spread over the story; `LONGWATCH_TEST_EVERY_FAULT=1` tries them all.
const FAULTS_TRIED: u64 = 30;
/// Operations at the story's end that are all tried: its last commit has them, with every step that it takes.
const LAST_COMMIT: u64 = 60;

fn settings() -> Settings {
    Settings {
        retry_pause_ms: 1,
        cache_bytes: 1 << 20,
        disk_reserve: Some(0),
        ..Settings::default()
    }
}

/// Waits until writes are taken again.
pub(super) fn until_sound(store: &Store) {
    until("the store is sound", || {
        store.condition() == Condition::Sound
    });
}

/// Waits until something holds.
pub(super) fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_mins(1), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What a writer may be told of a disk that fails; it is not a reason to give up.
fn is_told_to_come_again(error: &WriteError) -> bool {
    matches!(
        error,
        WriteError::DiskFull { .. } | WriteError::Unavailable { .. }
    )
}

const EVERYTHING: Window = Window::until(Timestamp::from_millis(NOW + 600_000));

/// A story of appends, checkpoints and merges, told to the store and to the model. What was not acknowledged may be
/// there or not, as a whole.
struct Script {
    store: Store,
    model: Model,
    refused: u32,
}

impl Script {
    fn append(&mut self, agent_no: u8, samples: &[(u8, i64, f64)]) {
        let mut with = self.model.clone();
        match append_to(&self.store, &mut with, agent_no, samples) {
            Ok(()) => self.model = with,
            Err(error) => {
                assert!(is_told_to_come_again(&error), "{error}");
                self.refused += 1;
                until_sound(&self.store);
                if has_sample(&*self.store.view(), agent_no, samples[0]) {
                    self.model = with;
                }
            }
        }
    }

    /// Moves everything to blocks and merges them.
    fn settle(&mut self) {
        if let Err(error) = self.store.settle_blocking() {
            assert!(is_told_to_come_again(&error), "{error}");
            self.refused += 1;
            until_sound(&self.store);
        }
    }

    fn register(&mut self, agent_no: u8) {
        let registration = Registration::bare(RegistrationSource::Api);
        let registered = self.store.register_blocking(agent(agent_no), registration);
        if let Err(error) = registered {
            assert!(is_told_to_come_again(&error), "{error}");
            self.refused += 1;
            until_sound(&self.store);
        }
    }

    fn tell(&mut self) {
        for part in 0..4i64 {
            for agent_no in 0..3u8 {
                let first = NOW - part * 100_000 - 40_000;
                let samples: Vec<_> = (0..80i64)
                    .map(|i| ((i % 4) as u8, first + i / 4 * 1_000, (i * 7 % 50) as f64))
                    .collect();
                self.append(agent_no, &samples);
            }
            self.settle();
            self.register(part as u8 % 3);
            // Late, over what is in blocks already.
            self.append(0, &[(0, NOW - part * 100_000 - 40_000, -1.0)]);
        }
    }
}

fn has_sample(view: &dyn History, agent_no: u8, (metric_no, time, value): (u8, i64, f64)) -> bool {
    let Some(found) = view.agent(&agent(agent_no), Timestamp::MAX) else {
        return false;
    };
    let mut is_there = false;
    for info in view.series(found.no, Some(&metric(metric_no))) {
        view.scan(found.no, &[info.no], EVERYTHING, &mut |_, times, values| {
            let at = times.binary_search(&time);
            is_there |= at.is_ok_and(|at| values[at] == value);
        })
        .unwrap();
    }
    is_there
}

/// Tells the story on a disk on which one fault happens; returns the operations it took, and how many writes were
/// refused.
fn tell_with(fault: Option<Fault>) -> (u64, u32) {
    let with_reads = fault.is_none_or(|fault| fault.with_reads);
    let disk = SimulatedDisk::default();
    let store = open(&disk, settings());
    let before = disk.operations(with_reads);
    if let Some(fault) = fault {
        disk.fail(fault);
    }
    let mut script = Script {
        store,
        model: Model::new(),
        refused: 0,
    };
    script.tell();
    let operations = disk.operations(with_reads) - before;
    disk.heal();
    let Script {
        store,
        model,
        refused,
    } = script;
    until_sound(&store);
    // It goes on as if nothing had been.
    let mut model = model;
    append_to(&store, &mut model, 1, &[(3, NOW, 5.0)]).unwrap();
    check(&*store.view(), &model, EVERYTHING);
    // And the disk has it all: what a sync failed to make durable too.
    let disk = disk.cut_power(fault.map_or(0, |fault| fault.kept));
    drop(store);
    let store = open(&disk, settings());
    check(&*store.view(), &model, EVERYTHING);
    store.close_blocking().unwrap();
    (operations, refused)
}

/// Operations at which a fault is tried.
fn places(all: u64) -> impl Iterator<Item = u64> {
    let every = std::env::var_os("LONGWATCH_TEST_EVERY_FAULT").is_some();
    let step = if every {
        1
    } else {
        (all / FAULTS_TRIED).max(1)
    };
    (0..all).filter(move |place| place % step == 0 || place + LAST_COMMIT >= all)
}

#[test]
fn one_error_at_any_write_loses_nothing_acknowledged() {
    let (all, _) = tell_with(None);
    let mut refused = 0;
    for after in places(all) {
        let fault = Fault {
            after,
            times: 1,
            kind: ErrorKind::Other,
            with_reads: false,
            kept: 0x5555_3333_0f0f_aaaa_u64.rotate_left(after as u32),
        };
        refused += tell_with(Some(fault)).1;
    }
    assert!(refused > 0, "no fault was noticed");
}

#[test]
fn a_disk_that_stays_full_for_a_while_loses_nothing_acknowledged() {
    let (all, _) = tell_with(None);
    let mut refused = 0;
    for after in places(all).map(|place| place + 1) {
        let fault = Fault {
            after,
            times: 2 + after % 7,
            kind: ErrorKind::StorageFull,
            with_reads: false,
            kept: 0,
        };
        refused += tell_with(Some(fault)).1;
    }
    assert!(refused > 0, "no fault was noticed");
}

#[test]
fn errors_of_reading_too() {
    let (all, _) = tell_with(None);
    for after in places(all) {
        let fault = Fault {
            after,
            times: 1 + after % 7,
            kind: ErrorKind::Other,
            with_reads: true,
            kept: u64::MAX,
        };
        tell_with(Some(fault));
    }
}

fn broken() -> Fault {
    Fault {
        after: 0,
        times: u64::MAX,
        kind: ErrorKind::Other,
        with_reads: true,
        kept: 0,
    }
}

#[test]
fn while_the_disk_is_broken_the_store_says_so_and_ends_in_order() {
    let disk = SimulatedDisk::default();
    let store = open(&disk, settings());
    let mut model = Model::new();
    append_to(&store, &mut model, 0, &[(0, NOW, 1.0)]).unwrap();
    disk.fail(broken());
    for _ in 0..20 {
        let refused = append_to(&store, &mut Model::new(), 0, &[(0, NOW + 1, 1.0)]);
        assert!(
            matches!(&refused, Err(WriteError::Unavailable { retry_after_seconds, .. }) if *retry_after_seconds >= 1),
            "{refused:?}"
        );
    }
    assert!(matches!(store.condition(), Condition::Suspended(_)));
    assert!(store.status().condition.problem().is_some());
    // What is in memory can be told all the while.
    assert_eq!(store.view().agents(Timestamp::MAX).len(), 1);
    assert!(!*store.failed().borrow(), "the process need not end");
    disk.heal();
    until_sound(&store);
    check(&*store.view(), &model, EVERYTHING);
    append_to(&store, &mut model, 0, &[(0, NOW + 1, 2.0)]).unwrap();
    check(&*store.view(), &model, EVERYTHING);
    assert_eq!(store.view().runs().len(), 1, "the clock stands still");
    disk.fail(broken());
    assert!(append_to(&store, &mut Model::new(), 0, &[(0, NOW, 1.0)]).is_err());
    assert!(
        store.close_blocking().is_err(),
        "its end is not in the file"
    );
    drop(store);
    disk.heal();
    let store = open(&disk, settings());
    check(&*store.view(), &model, EVERYTHING);
}

#[test]
fn the_time_without_writing_is_the_end_of_a_run() {
    let disk = SimulatedDisk::default();
    let clock = std::sync::Arc::new(crate::model::ManualClock::new(Timestamp::from_millis(NOW)));
    let store = super::model::open_with(&disk, settings(), std::sync::Arc::clone(&clock));
    let mut model = Model::new();
    append_to(&store, &mut model, 0, &[(0, NOW, 1.0)]).unwrap();
    disk.fail(broken());
    append_to(&store, &mut Model::new(), 0, &[(0, NOW, 1.0)]).unwrap_err();
    let later = Timestamp::from_millis(NOW + 300_000);
    clock.set(later);
    disk.heal();
    until_sound(&store);
    let runs = store.view().runs();
    assert_eq!(runs.len(), 2, "{runs:?}");
    assert_eq!(runs[0].end, Timestamp::from_millis(NOW));
    assert_eq!(runs[1].start, later);
    store.close_blocking().unwrap();
    drop(store);
    let store = super::model::open_with(&disk, settings(), clock);
    assert_eq!(store.view().runs()[..2], runs[..2], "as the file has it");
}

#[test]
fn whoever_still_holds_the_engine_that_was_reads_nothing_wrong() {
    let disk = SimulatedDisk::default();
    let store = open(&disk, settings());
    let mut model = Model::new();
    // More than the engine's cache holds; no codec makes it smaller.
    let mut noise = 1u64;
    let mut noise = || {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        noise as f64
    };
    for agent_no in 0..3u8 {
        let samples: Vec<_> = (0..60_000i64)
            .map(|i| ((i % 4) as u8, NOW - i / 4 * 1_000, noise()))
            .collect();
        append_to(&store, &mut model, agent_no, &samples).unwrap();
    }
    store.checkpoint_blocking().unwrap();
    let before = store.view();
    let held = model.clone();
    disk.fail(Fault {
        times: 1,
        with_reads: false,
        ..broken()
    });
    append_to(&store, &mut Model::new(), 0, &[(0, NOW, 1.0)]).unwrap_err();
    until_sound(&store);
    // The engine that came after gives the pages of the one before to something else.
    for round in 0..40i64 {
        let samples: Vec<_> = (0..2_000i64)
            .map(|i| (0, NOW - 400_000_000 - (round * 2_000 + i) * 1_000, i as f64))
            .collect();
        append_to(&store, &mut model, 0, &samples).unwrap();
        store.checkpoint_blocking().unwrap();
    }
    check(&*store.view(), &model, EVERYTHING);
    let mut refused = 0;
    for ((agent_no, metric_no), expected) in &held {
        let found = before.agent(&agent(*agent_no), Timestamp::MAX).unwrap();
        let series = before.series(found.no, Some(&metric(*metric_no)));
        let mut samples = Vec::new();
        let read = before.scan(
            found.no,
            &[series[0].no],
            EVERYTHING,
            &mut |_, times, values| {
                samples.extend(times.iter().copied().zip(values.iter().copied()));
            },
        );
        match read {
            Ok(()) => assert!(
                samples
                    .iter()
                    .copied()
                    .eq(expected.iter().map(|(t, v)| (*t, *v)))
            ),
            Err(ReadError::Backend(_)) => refused += 1,
            Err(ReadError::Damaged(why) | ReadError::Newer(why)) => panic!("{why}"),
        }
    }
    assert!(refused > 0, "all of it was in the cache");
}
