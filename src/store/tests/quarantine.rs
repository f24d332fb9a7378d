//! Damaged blocks and rollups: the rest stays readable, and whoever asks is told what is missing.

use std::sync::Arc;

use proptest::prelude::*;
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata};

use super::{
    disk::SimulatedDisk,
    model::{NOW, agent, open, open_with},
};
use crate::{
    model::{
        Batch, Bucket, DAY_MS, History, ManualClock, ReadError, SeriesNo, Timestamp, Unreadable,
        Window, names,
    },
    store::{
        self, Append, Settings, Store, Urgency, View,
        committer::begin,
        retention,
        tables::{self, BlockKey, Tier},
    },
    telemetry::OwnMetrics,
};

const YESTERDAY: i64 = 19_999;
const DAY_START: i64 = YESTERDAY * DAY_MS;
const HOUR_MS: i64 = 3_600_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn push(store: &Store, samples: impl IntoIterator<Item = (i64, f64)>) {
    let mut batch = Batch::new();
    for (time, value) in samples {
        for name in [names::SYSTEM_CPU_USAGE, "other"] {
            batch.push(name, &mut [], at(time), value).unwrap();
        }
    }
    let append = Append {
        agent: agent(0),
        batch,
        contact: None,
        urgency: Urgency::Prompt,
    };
    assert!(store.append_blocking(append).unwrap().rejected.is_empty());
}

/// A sample each minute of an hour of yesterday.
fn hour(hour: i64) -> impl Iterator<Item = (i64, f64)> {
    (0..60).map(move |minute| {
        let value = ((hour * 60 + minute) * 7 % 990) as f64 / 10.0;
        (DAY_START + hour * HOUR_MS + minute * 60_000, value)
    })
}

/// Yesterday in a block an hour.
fn in_hours(store: &Store) {
    for n in 0..24 {
        push(store, hour(n));
        store.checkpoint_blocking().unwrap();
    }
}

fn block_keys(store: &Store) -> Vec<BlockKey> {
    let transaction = store.shared().database().begin_read().unwrap();
    let blocks = transaction.open_table(tables::BLOCKS).unwrap();
    blocks
        .iter()
        .unwrap()
        .map(|row| row.unwrap().0.value())
        .collect()
}

/// Changes the bytes of a block behind the store's back.
fn change_block(store: &Store, key: BlockKey, change: impl FnOnce(&mut Vec<u8>)) {
    let transaction = begin(&store.shared().database()).unwrap();
    {
        let mut blocks = transaction.open_table(tables::BLOCKS).unwrap();
        let mut bytes = blocks.get(key).unwrap().unwrap().value().to_vec();
        change(&mut bytes);
        blocks.insert(key, bytes.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
}

fn change_rollup(store: &Store, tier: Tier) {
    let transaction = begin(&store.shared().database()).unwrap();
    {
        let mut rollups = transaction.open_table(tables::ROLLUPS).unwrap();
        let key = (tier.key(), YESTERDAY as i32, 0);
        let mut bytes = rollups.get(key).unwrap().unwrap().value().to_vec();
        bytes[20] ^= 1;
        rollups.insert(key, bytes.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
}

fn break_directory(bytes: &mut [u8]) {
    bytes[10] ^= 4;
}

fn break_data(bytes: &mut [u8]) {
    let last = bytes.len() - 1;
    bytes[last - 5] ^= 4;
}

fn count_rows(store: &Store) -> (u64, u64) {
    let transaction = store.shared().database().begin_read().unwrap();
    let rollups = transaction.open_table(tables::ROLLUPS).unwrap();
    let unsettled = transaction.open_table(tables::UNSETTLED).unwrap();
    (rollups.len().unwrap(), unsettled.len().unwrap())
}

fn samples(view: &dyn History) -> Vec<(i64, u64)> {
    let mut found = Vec::new();
    let no = view.agent(&agent(0), Timestamp::MAX).unwrap().no;
    let everything = Window::until(Timestamp::MAX);
    view.scan(no, &[SeriesNo(0)], everything, &mut |_, times, values| {
        let bits = values.iter().map(|v| v.to_bits());
        found.extend(times.iter().copied().zip(bits));
    })
    .unwrap();
    found
}

fn summed(view: &dyn History, window: Window) -> (u64, Option<f64>) {
    let no = view.agent(&agent(0), Timestamp::MAX).unwrap().no;
    let summary = view
        .summarise(no, &[SeriesNo(0)], window)
        .unwrap()
        .remove(0);
    (summary.samples, summary.mean())
}

fn counted(view: &dyn History, window: Window) -> u64 {
    let no = view.agent(&agent(0), Timestamp::MAX).unwrap().no;
    let extents = view.extents(no, window).unwrap();
    extents.iter().map(|extent| extent.samples).sum()
}

/// Buckets of five minutes that there are of yesterday.
fn in_steps(view: &dyn History) -> usize {
    let no = view.agent(&agent(0), Timestamp::MAX).unwrap().no;
    let mut buckets = 0;
    let mut count = |_, found: Vec<Bucket>| buckets += found.len();
    view.buckets(no, &[SeriesNo(0)], yesterday(), 300_000, false, &mut count)
        .unwrap();
    buckets
}

fn lacking(view: &dyn History) -> Vec<Unreadable> {
    let no = view.agent(&agent(0), Timestamp::MAX).unwrap().no;
    view.unreadable(no, Window::until(Timestamp::MAX))
}

fn yesterday() -> Window {
    Window::closed(at(DAY_START), at(DAY_START + DAY_MS - 1))
}

#[test]
fn a_block_without_its_directory_costs_its_own_samples_alone() {
    let store = open(&SimulatedDisk::default(), Settings::default());
    in_hours(&store);
    let whole = samples(&*store.view());
    assert_eq!(whole.len(), 1_440);
    change_block(&store, block_keys(&store)[5], |bytes| {
        break_directory(bytes);
    });

    let view = store.view();
    assert_eq!(lacking(&*view), [], "nothing was asked yet");
    let left = samples(&*view);
    let is_lost = |t: i64| (DAY_START + 5 * HOUR_MS..DAY_START + 6 * HOUR_MS).contains(&t);
    let expected: Vec<_> = whole.into_iter().filter(|s| !is_lost(s.0)).collect();
    assert_eq!(left, expected);
    // Where it ends cannot be told without its directory.
    let lacks = lacking(&*view);
    assert_eq!(lacks.len(), 1);
    assert_eq!(lacks[0].first, at(DAY_START + 5 * HOUR_MS));
    assert_eq!(lacks[0].last, at(DAY_START + DAY_MS - 1));
    assert!(
        lacks[0].reason.contains("fails its checksum"),
        "{}",
        lacks[0].reason
    );

    for ask in [
        (|view| assert_eq!(summed(view, yesterday()).0, 1_380)) as fn(&dyn History),
        |view| assert_eq!(counted(view, yesterday()), 2 * 1_380),
    ] {
        // The second view is answered from what is remembered of the day.
        for _ in 0..2 {
            let view = store.view();
            ask(&*view);
            assert_eq!(lacking(&*view), lacks);
        }
    }
    let before = Window::closed(at(DAY_START), at(DAY_START + 5 * HOUR_MS - 1));
    let view = store.view();
    assert_eq!(summed(&*view, before).0, 300);
    assert_eq!(lacking(&*view), [], "an answer that lacks nothing says so");

    let status = store.status();
    assert_eq!(status.quarantined, 1);
    assert_eq!(status.quarantined_first[0].agent_id, "agent-0");
    assert_eq!(store.shared().metrics.blocks_quarantined.get(), 1);
}

#[test]
fn a_directory_answers_for_data_that_is_damaged() {
    let store = open(&SimulatedDisk::default(), Settings::default());
    in_hours(&store);
    let whole = summed(&*store.view(), yesterday());
    change_block(&store, block_keys(&store)[7], |bytes| break_data(bytes));

    let view = store.view();
    assert_eq!(summed(&*view, yesterday()), whole);
    assert_eq!(counted(&*view, yesterday()), 2 * 1_440);
    assert_eq!(lacking(&*view), []);

    // A window that cuts through the block needs its samples.
    let cut = Window::closed(at(DAY_START), at(DAY_START + 7 * HOUR_MS + HOUR_MS / 2));
    assert_eq!(summed(&*view, cut).0, 420);
    let lacks = lacking(&*view);
    assert_eq!(lacks.len(), 1);
    let (first, last) = (7 * HOUR_MS, 8 * HOUR_MS - 60_000);
    assert_eq!(
        (lacks[0].first, lacks[0].last),
        (at(DAY_START + first), at(DAY_START + last))
    );
    assert_eq!(samples(&*view).len(), 1_380);
    assert_eq!(lacking(&*view), lacks, "told once");
}

#[test]
fn merges_leave_damaged_blocks_and_what_overlaps_them() {
    let store = open(&SimulatedDisk::default(), Settings::default());
    in_hours(&store);
    // A late sample's block reaches over the hours 3 to 5.
    push(
        &store,
        [
            (DAY_START + 3 * HOUR_MS + 1, 1.0),
            (DAY_START + 5 * HOUR_MS + 1, 2.0),
        ],
    );
    store.checkpoint_blocking().unwrap();
    let keys = block_keys(&store);
    assert_eq!(keys.len(), 25);
    // In the order of their starts the late one is the fifth; that of hour 4 follows it.
    assert_eq!(keys[4].3, DAY_START + 3 * HOUR_MS + 1);
    change_block(&store, keys[5], |bytes| break_data(bytes));
    let before = samples(&*store.view());
    assert_eq!(before.len(), 1_440 + 2 - 60);

    store.settle_blocking().unwrap();
    let left = block_keys(&store);
    // Hours 3 to 5 and the late block stay; what lies before and after them is merged on its own.
    assert_eq!(&left[1..5], &keys[3..7]);
    assert_eq!(left.len(), 6, "{left:?}");
    assert_eq!(samples(&*store.view()), before);
    assert_eq!(count_rows(&store), (0, 0), "settled, without rollups");
    assert_eq!(store.status().quarantined, 1);
    // It is not tried again.
    let merges = store.shared().metrics.merges.get();
    store.settle_blocking().unwrap();
    assert_eq!(store.shared().metrics.merges.get(), merges);

    // Further samples of the day settle it once more.
    push(&store, [(DAY_START + 20 * HOUR_MS + 1, 3.0)]);
    store.settle_blocking().unwrap();
    assert_eq!(samples(&*store.view()).len(), before.len() + 1);
    assert_eq!(count_rows(&store), (0, 0));
    assert_eq!(&block_keys(&store)[1..5], &keys[3..7]);
}

#[test]
fn a_damaged_rollup_is_read_from_samples_and_made_anew() {
    // Each day is made anew once in the life of a store.
    for tier in [Tier::Day, Tier::FiveMinutes] {
        let store = open(&SimulatedDisk::default(), Settings::default());
        in_hours(&store);
        store.settle_blocking().unwrap();
        assert_eq!(count_rows(&store), (3, 0));
        let whole = summed(&*store.view(), yesterday());
        change_rollup(&store, tier);
        let view = store.view();
        assert_eq!(summed(&*view, yesterday()), whole);
        assert_eq!(counted(&*view, yesterday()), 2 * 1_440);
        assert_eq!(in_steps(&*view), 289);
        assert_eq!(lacking(&*view), []);
        assert_eq!(store.status().quarantined, 1, "{tier:?}");
        drop(view);
        // The first round unsettles the day, the second one settles it.
        store.settle_blocking().unwrap();
        store.settle_blocking().unwrap();
        assert_eq!(count_rows(&store), (3, 0));
        assert_eq!(store.status().quarantined, 0, "{tier:?}");
        let view = store.view();
        assert_eq!(summed(&*view, yesterday()), whole);
        assert_eq!(in_steps(&*view), 289);
        assert_eq!(store.status().quarantined, 0);
    }
}

#[test]
fn a_damaged_rollup_whose_samples_have_expired_is_missed() {
    let clock = Arc::new(ManualClock::new(at(NOW)));
    let settings = Settings {
        retention_ms: 3 * DAY_MS,
        ..Settings::default()
    };
    let store = open_with(&SimulatedDisk::default(), settings, Arc::clone(&clock));
    in_hours(&store);
    store.settle_blocking().unwrap();
    let whole = summed(&*store.view(), yesterday());
    change_block(&store, block_keys(&store)[0], |bytes| break_data(bytes));
    assert!(samples(&*store.view()).len() < 1_440);
    assert_eq!(store.status().quarantined, 1);
    clock.set(at(NOW + 4 * DAY_MS));
    push(&store, [(NOW + 4 * DAY_MS, 1.0)]);
    assert!(retention::apply(store.shared()).unwrap());
    assert_eq!(store.status().quarantined, 0, "what is gone is not damaged");
    assert_eq!(summed(&*store.view(), yesterday()), whole);

    change_rollup(&store, Tier::Day);
    for _ in 0..2 {
        let view = store.view();
        assert_eq!(summed(&*view, yesterday()), (0, None));
        let lacks = lacking(&*view);
        assert_eq!(lacks.len(), 1);
        let (first, last) = (at(DAY_START), at(DAY_START + DAY_MS - 1));
        assert_eq!((lacks[0].first, lacks[0].last), (first, last));
        let view = store.view();
        assert_eq!(counted(&*view, yesterday()), 0);
        assert_eq!(lacking(&*view), lacks);
    }
    // Nothing is left to make it from, so the row stays, and stays told.
    store.settle_blocking().unwrap();
    assert_eq!(store.status().quarantined, 1);
}

#[test]
fn a_newer_format_is_an_error_and_no_damage() {
    let store = open(&SimulatedDisk::default(), Settings::default());
    push(&store, hour(0));
    store.checkpoint_blocking().unwrap();
    let key = block_keys(&store)[0];
    let ask = |view: View| {
        let no = view.agent(&agent(0), Timestamp::MAX).unwrap().no;
        view.summarise(no, &[SeriesNo(0)], Window::until(Timestamp::MAX))
            .map(|found| found[0].samples)
    };
    // A first byte that was flipped fails the checksum that it is under.
    change_block(&store, key, |bytes| bytes[0] = 2);
    assert_eq!(ask(store.view()).unwrap(), 0);
    // One that was written does not.
    change_block(&store, key, |bytes| {
        let mut rest = &bytes[1..];
        crate::codec::varint::take_bytes(&mut rest).unwrap();
        let end = bytes.len() - rest.len();
        let checksum = crc32c::crc32c(&bytes[..end]).to_le_bytes();
        bytes[end..end + 4].copy_from_slice(&checksum);
    });
    let told = ask(store.view()).unwrap_err();
    assert!(matches!(told, ReadError::Newer(_)), "{told}");
    store.settle_blocking().unwrap();
    assert_eq!(block_keys(&store), [key], "it is left alone");
    assert_eq!(count_rows(&store), (0, 1), "for a binary that can read it");
}

#[test]
fn a_snapshot_of_a_damaged_store_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&SimulatedDisk::default(), Settings::default());
    in_hours(&store);
    change_block(&store, block_keys(&store)[5], |bytes| {
        break_directory(bytes);
    });
    change_block(&store, block_keys(&store)[9], |bytes| break_data(bytes));
    let path = folder.path().join("copy.redb");
    let transaction = store.shared().database().begin_read().unwrap();
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    store::copies::write_snapshot(&transaction, file, &mut |_| Ok(()), &mut |_, _| {}).unwrap();
    drop(transaction);
    let (live, copy) = (store.view(), store::open_copy(&path).unwrap());
    assert_eq!(samples(&*live), samples(&*copy));
    assert_eq!(lacking(&*live), lacking(&*copy));
    assert_eq!(lacking(&*copy).len(), 2);
    let facts = store::inspect(&path).unwrap();
    assert_eq!(facts.quarantined, 2);
    assert_eq!(facts.quarantined_first.len(), 2);
    let report = store::verify(&path, &mut |_, _| {}).unwrap();
    assert_eq!(report.bad.len(), 2, "{:?}", report.bad);
}

#[test]
fn rollups_are_held_against_what_they_are_made_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("live.redb");
    let clock = Arc::new(ManualClock::new(at(NOW)));
    let metrics = Arc::new(OwnMetrics::default());
    let store = Store::open(&path, Settings::default(), clock, metrics).unwrap();
    in_hours(&store);
    store.settle_blocking().unwrap();
    let check = |what: &str| {
        let copy = folder.path().join(format!("{what}.redb"));
        std::fs::copy(&path, &copy).unwrap();
        store::verify(&copy, &mut |_, _| {}).unwrap()
    };
    let sound = check("sound");
    assert_eq!((sound.rollups, sound.bad), (3, vec![]));

    // Two rows that can be read, each in the place of the other.
    let transaction = begin(&store.shared().database()).unwrap();
    {
        let mut rollups = transaction.open_table(tables::ROLLUPS).unwrap();
        let key = |tier: Tier| (tier.key(), YESTERDAY as i32, 0);
        let [hours, five_minutes] = [Tier::Hour, Tier::FiveMinutes]
            .map(|tier| rollups.get(key(tier)).unwrap().unwrap().value().to_vec());
        rollups.insert(key(Tier::Hour), &*five_minutes).unwrap();
        rollups.insert(key(Tier::FiveMinutes), &*hours).unwrap();
    }
    transaction.commit().unwrap();
    let bad = check("swapped").bad;
    assert_eq!(bad.len(), 2, "{bad:?}");
    assert!(bad.iter().all(|b| b.contains("add up to")), "{bad:?}");

    // Beside a damaged block they are only read.
    change_block(&store, block_keys(&store)[0], |bytes| break_data(bytes));
    let bad = check("beside").bad;
    assert_eq!(bad.len(), 1, "{bad:?}");
    change_rollup(&store, Tier::Day);
    assert_eq!(check("both").bad.len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever byte of whatever block changes: each sample is as it was, or it is missing and that is told.
    #[test]
    fn a_changed_byte_of_a_block_never_gives_other_numbers(
        block in any::<prop::sample::Index>(), at_byte in any::<prop::sample::Index>(), change in 1u8..,
        is_settled in any::<bool>(),
    ) {
        let store = open(&SimulatedDisk::default(), Settings::default());
        for n in 0..4 {
            push(&store, hour(n * 3).chain(hour(n * 3 + 1)));
            store.checkpoint_blocking().unwrap();
        }
        if is_settled {
            store.settle_blocking().unwrap();
        }
        let whole = samples(&*store.view());
        let keys = block_keys(&store);
        change_block(&store, keys[block.index(keys.len())], |bytes| {
            let at = at_byte.index(bytes.len());
            bytes[at] ^= change;
        });
        let view = store.view();
        let left = samples(&*view);
        let lacks = lacking(&*view);
        prop_assert!(left.len() == whole.len() || !lacks.is_empty());
        let is_told = |t: i64| lacks.iter().any(|l| l.first <= at(t) && at(t) <= l.last);
        let mut left = left.iter().peekable();
        for sample in &whole {
            if left.next_if_eq(&sample).is_none() {
                prop_assert!(is_told(sample.0), "{} is missing, told is {:?}", sample.0, lacks);
            }
        }
        prop_assert_eq!(left.next(), None);
    }
}
