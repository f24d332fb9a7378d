//! The power goes in the middle of what is done behind the scenes: merges, retention, migration, compacting. Whatever
//! of it had reached the disk, the file opens and says the same.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use redb::ReadableDatabase;

use super::{
    disk::{Fault, SimulatedDisk},
    model::{Model, NOW, append_to, check, expire, open, open_with, read, with_rules},
};
use crate::{
    model::{DAY_MS, ManualClock, Timestamp, Window},
    store::{
        Settings, Store,
        backend::FileCounters,
        compact::{move_together, settle_opened},
        departure, file, retention,
    },
};

/// Moments at which the power goes, spread over the work.
const MOMENTS_MAX: u64 = 40;
/// Which of the writes since the last sync the disk keeps: none, all, every other one.
const KEPT: [u64; 3] = [0, u64::MAX, 0xaaaa_aaaa_aaaa_aaaa];

fn everything() -> Window {
    Window::until(Timestamp::from_millis(NOW + 600_000))
}

/// Three days of three agents in many small blocks, one of the days settled and unsettled again, and a log.
fn furnished(settings: &Settings) -> (SimulatedDisk, Model) {
    let disk = SimulatedDisk::default();
    let store = open(&disk, settings.clone());
    let mut model = Model::new();
    let mut put = |store: &Store, agent: u8, start: i64, count: i64| {
        let samples: Vec<(u8, i64, f64)> = (0..count)
            .flat_map(|i| {
                let value = move |metric: i64| (i * (7 + metric) % 50) as f64 / 10.0;
                (0..3).map(move |metric| (metric as u8, start + i * 60_000, value(metric)))
            })
            .collect();
        append_to(store, &mut model, agent, &samples).unwrap();
    };
    for day in [19_997, 19_998, 19_999] {
        for part in 0..4 {
            for agent in 0..3 {
                put(&store, agent, day * DAY_MS + part * 20 * 60_000, 20);
            }
            store.checkpoint_blocking().unwrap();
        }
        if day == 19_997 {
            store.settle_blocking().unwrap();
            put(&store, 1, day * DAY_MS + 30_000, 10);
        }
    }
    put(&store, 0, NOW - 600_000, 10);
    store.close_blocking().unwrap();
    drop(store);
    (SimulatedDisk::of(disk.bytes()), model)
}

/// Does the work on copies of a disk. Each time the power goes a little later, and `check` gets what the disk has then.
fn at_every_moment<T>(
    image: &SimulatedDisk,
    open: impl Fn(&SimulatedDisk) -> T,
    work: impl Fn(&mut T),
    check: impl Fn(&SimulatedDisk),
) {
    let whole = SimulatedDisk::of(image.bytes());
    let mut opened = open(&whole);
    let before = whole.operations(false);
    work(&mut opened);
    let operations = whole.operations(false) - before;
    assert!(operations > 3, "there is something to interrupt");
    drop(opened);
    check(&whole.cut_power(u64::MAX));
    for after in (0..operations).step_by(operations.div_ceil(MOMENTS_MAX) as usize) {
        for kept in KEPT {
            let disk = SimulatedDisk::of(image.bytes());
            let mut opened = open(&disk);
            disk.fail(Fault {
                after,
                times: u64::MAX,
                kind: std::io::ErrorKind::Other,
                with_reads: false,
                kept,
            });
            work(&mut opened);
            let left = disk.cut_power(kept);
            drop(opened);
            check(&left);
        }
    }
}

#[test]
fn a_merge_that_is_cut_off_changes_nothing() {
    let (image, model) = furnished(&Settings::default());
    at_every_moment(
        &image,
        |disk| open(disk, Settings::default()),
        |store| {
            // It is cut off, so it may fail.
            let _ = store.settle_blocking();
        },
        |left| {
            let store = open(left, Settings::default());
            check(&*store.view(), &model, everything());
            store.settle_blocking().unwrap();
            check(&*store.view(), &model, everything());
            store.close_blocking().unwrap();
        },
    );
}

#[test]
fn retention_that_is_cut_off_goes_on_later() {
    let settings = Settings {
        retention_ms: DAY_MS + DAY_MS / 2,
        rollup_retention_ms: DAY_MS + DAY_MS / 2,
        ..Settings::default()
    };
    // Filled while there was room for more.
    let (image, mut model) = furnished(&Settings::default());
    let oldest = Timestamp::from_millis(NOW - settings.retention_ms).day();
    for samples in model.values_mut() {
        samples.retain(|time, _| Timestamp::from_millis(*time).day() >= oldest);
    }
    let clock = || Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
    at_every_moment(
        &image,
        |disk| {
            let all = Settings::default();
            let store = open_with(disk, all, clock());
            store.checkpoint_blocking().unwrap();
            store.close_blocking().unwrap();
            drop(store);
            // The committer looks for old data itself; here it has nothing to find yet.
            open_with(disk, Settings::default(), clock())
        },
        |store| {
            let mut shared = store.shared().settings.clone();
            shared.retention_ms = settings.retention_ms;
            shared.rollup_retention_ms = settings.rollup_retention_ms;
            let _ = retention::apply_with(store.shared(), &shared);
        },
        |left| {
            let store = open_with(left, settings.clone(), clock());
            retention::apply(store.shared()).unwrap();
            check(&*store.view(), &model, everything());
            store.close_blocking().unwrap();
        },
    );
}

/// The same disk with everything in merged blocks and rollups.
fn settled(image: &SimulatedDisk) -> SimulatedDisk {
    let store = open(image, Settings::default());
    store.settle_blocking().unwrap();
    store.close_blocking().unwrap();
    drop(store);
    SimulatedDisk::of(image.bytes())
}

/// Samples of an agent's day, by series.
fn of_day(model: &Model, agent: u8, day: i64) -> Vec<((u8, u8), i64, u64)> {
    let series = model.iter().filter(|(key, _)| key.0 == agent);
    let samples = series.flat_map(|(key, samples)| {
        let of_day = samples.range(day * DAY_MS..(day + 1) * DAY_MS);
        of_day.map(|(time, value)| (*key, *time, value.to_bits()))
    });
    samples.collect()
}

#[test]
fn rules_that_are_cut_off_leave_days_as_they_were_or_swept() {
    let (image, whole) = furnished(&Settings::default());
    let image = settled(&image);
    let mut swept = whole.clone();
    expire(&mut swept);
    at_every_moment(
        &image,
        |disk| open(disk, with_rules()),
        |store| {
            // It is cut off, so it may fail.
            let _ = store.settle_blocking();
        },
        |left| {
            let store = open(left, Settings::default());
            let found = read(&*store.view());
            for agent in 0..3 {
                for day in 19_997..=20_000 {
                    let found = of_day(&found, agent, day);
                    let states = [&whole, &swept].map(|model| of_day(model, agent, day));
                    assert!(states.contains(&found), "agent {agent}, day {day}");
                }
            }
            store.close_blocking().unwrap();
            drop(store);
            let store = open(left, with_rules());
            store.settle_blocking().unwrap();
            check(&*store.view(), &swept, everything());
            store.close_blocking().unwrap();
        },
    );
}

#[test]
fn series_that_are_cut_off_while_leaving_are_known_or_have_left() {
    let image = settled(&furnished(&Settings::default()).0);
    let short = Settings {
        retention_ms: DAY_MS / 4,
        ..Settings::default()
    };
    let names = |store: &Store| {
        let view = store.view();
        let agents = view.agents(Timestamp::MAX);
        let series = agents.iter().flat_map(|agent| {
            view.series_within(agent.no, None, everything())
                .unwrap()
                .into_iter()
                .map(|info| (info.no, info.agent, info.key.to_string()))
        });
        series.collect::<BTreeSet<_>>()
    };
    let before = {
        let store = open(&SimulatedDisk::of(image.bytes()), Settings::default());
        names(&store)
    };
    assert_eq!(before.len(), 9);
    at_every_moment(
        &image,
        |disk| open(disk, Settings::default()),
        |store| {
            let _ = retention::apply_with(store.shared(), &short);
            let _ = departure::let_go(store.shared(), &short);
        },
        |left| {
            // Of agents 1 and 2 rollups alone are left, which still know the names.
            let store = open(left, short.clone());
            assert_eq!(names(&store), before);
            store.checkpoint_blocking().unwrap();
            store.checkpoint_blocking().unwrap();
            assert_eq!(names(&store), before);
            assert_eq!(store.status().series, 3);
            let mut model = Model::new();
            append_to(&store, &mut model, 1, &[(9, NOW, 1.0)]).unwrap();
            let after = names(&store);
            let added: Vec<_> = after.difference(&before).collect();
            assert_eq!(added.len(), 1);
            assert!(before.iter().all(|(no, ..)| *no < added[0].0));
            store.close_blocking().unwrap();
        },
    );
}

#[test]
fn compacting_that_is_cut_off_leaves_a_whole_file() {
    let (image, model) = furnished(&Settings::default());
    let path = Path::new("simulated");
    let attach = |disk: &SimulatedDisk| {
        let counters = Arc::new(FileCounters::default());
        file::attach(path, disk, &counters, 1 << 20).unwrap()
    };
    at_every_moment(
        &image,
        attach,
        |engine| {
            let facts = file::read_facts(path, &engine.database).unwrap();
            let settled = settle_opened(path, &engine.database, &facts, None, &mut |_, _| {});
            let _ = settled.and_then(|_| move_together(path, &mut engine.database));
        },
        |left| {
            let store = open(left, Settings::default());
            check(&*store.view(), &model, everything());
            store.close_blocking().unwrap();
        },
    );
}

#[test]
fn a_migration_that_is_cut_off_is_done_again() {
    let old = SimulatedDisk::of(include_bytes!("../../../migrations/fixtures/v1.redb").to_vec());
    let path = Path::new("simulated");
    let attach = |disk: &SimulatedDisk| {
        let counters = Arc::new(FileCounters::default());
        file::attach(path, disk, &counters, 1 << 20).unwrap()
    };
    at_every_moment(
        &old,
        attach,
        |engine| {
            let _ = file::migrate(path, &engine.database, 1);
        },
        |left| {
            let engine = attach(left);
            let facts = file::read_facts(path, &engine.database).unwrap();
            file::migrate(path, &engine.database, facts.schema_version).unwrap();
            drop(engine);
            let store = open(left, Settings::default());
            let view = store.view();
            let agents = view.agents(Timestamp::MAX);
            let samples = |window| -> u64 {
                let extents = view.extents(agents[0].no, window).unwrap();
                extents.iter().map(|extent| extent.samples).sum()
            };
            assert_eq!(samples(Window::until(Timestamp::MAX)), 110);
            let unsettled = store.shared().database().begin_read().unwrap();
            let unsettled = unsettled
                .open_table(crate::store::tables::UNSETTLED)
                .unwrap();
            assert_eq!(redb::ReadableTableMetadata::len(&unsettled).unwrap(), 2);
            drop(view);
            store.close_blocking().unwrap();
        },
    );
}
