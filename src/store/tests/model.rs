//! Property: whatever is appended, flushed, closed, cut off and opened again, the store answers as a map
//! of (agent, series, millisecond) -> value would.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use proptest::prelude::*;
use redb::ReadableDatabase;

use super::disk::SimulatedDisk;
use crate::{
    model::{
        AgentId, AgentNo, Asked, Batch, BucketFold, DAY_MS, ExactSum, Glob, History, Increase,
        ManualClock, RetentionRule, STALE_MARKER, Sample, SeriesNo, Spread, Summary, Timestamp,
        Window, is_stale_marker, names,
    },
    store::{
        Append, Settings, Store, Urgency, WriteError,
        backend::FileCounters,
        committer::begin,
        file::{self, Opened},
        merge::{Applied, Extent, Task, merge, unsettled},
    },
    telemetry::OwnMetrics,
};

pub(super) const NOW: i64 = 20_000 * DAY_MS + DAY_MS / 3;

/// A store on a simulated disk whose clock stands still.
pub(super) fn open(disk: &SimulatedDisk, settings: Settings) -> Store {
    open_with(
        disk,
        settings,
        Arc::new(ManualClock::new(Timestamp::from_millis(NOW))),
    )
}

/// The same with a clock that the test moves.
pub(super) fn open_with(
    disk: &SimulatedDisk,
    settings: Settings,
    clock: Arc<ManualClock>,
) -> Store {
    let opened = opened(disk);
    let metrics = Arc::new(OwnMetrics::default());
    Store::start(Path::new("simulated"), opened, settings, clock, metrics).unwrap()
}

/// The file on a simulated disk, made when it is empty.
pub(super) fn opened(disk: &SimulatedDisk) -> Opened {
    let path = Path::new("simulated");
    let counters = Arc::new(FileCounters::default());
    let is_new = redb::StorageBackend::len(disk).unwrap() == 0;
    let engine = file::attach(path, disk, &counters, 1 << 20).unwrap();
    if is_new {
        file::initialise(&engine.database, [7; 16], NOW).unwrap();
    }
    let facts = file::read_facts(path, &engine.database).unwrap();
    Opened {
        engine,
        facts,
        medium: Box::new(disk.clone()),
        counters,
    }
}

pub(super) fn agent(n: u8) -> AgentId {
    AgentId::new(&format!("agent-{n}")).unwrap()
}

pub(super) fn metric(n: u8) -> String {
    // The first is one whose values are counted.
    if n == 0 {
        return names::SYSTEM_CPU_USAGE.to_owned();
    }
    format!("metric_{n}")
}

/// Milliseconds around two midnights, dense enough that samples collide.
fn any_time() -> impl Strategy<Value = i64> {
    prop_oneof![
        (0i64..60).prop_map(|s| NOW - s * 1_000),
        (-30i64..30).prop_map(|s| 20_000 * DAY_MS + s * 1_000),
        (-30i64..30).prop_map(|s| 19_998 * DAY_MS + s * 1_000),
    ]
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => (0i32..1000).prop_map(|v| f64::from(v) / 10.0),
        1 => Just(STALE_MARKER),
        1 => prop_oneof![Just(0.0), Just(-0.0)],
        1 => any::<u64>().prop_map(f64::from_bits),
    ]
}

/// Rules under which days of the model expire: [`metric`] 1 everywhere, and all of agent 2.
pub(super) fn rules() -> Vec<RetentionRule> {
    let rule = |metric: Option<String>, agent_id: Option<String>, keep_ms| RetentionRule {
        metric: metric.map(Glob::new),
        agent_id: agent_id.map(Glob::new),
        labels: Vec::new(),
        keep_ms,
    };
    vec![
        rule(Some(metric(1)), None, KEPT_OF_METRIC_1_MS),
        rule(None, Some("*-2".to_owned()), KEPT_OF_AGENT_2_MS),
    ]
}

const KEPT_OF_METRIC_1_MS: i64 = 2 * DAY_MS;
const KEPT_OF_AGENT_2_MS: i64 = DAY_MS;

pub(super) fn with_rules() -> Settings {
    Settings {
        retention_rules: rules(),
        ..Settings::default()
    }
}

/// How long [`rules`] keep a series of the model.
fn kept_ms(agent: u8, metric: u8) -> Option<i64> {
    match (agent, metric) {
        (_, 1) => Some(KEPT_OF_METRIC_1_MS),
        (2, _) => Some(KEPT_OF_AGENT_2_MS),
        _ => None,
    }
}

/// Takes out of the model what expires by [`rules`].
pub(super) fn expire(model: &mut Model) {
    for ((agent, metric), samples) in model {
        if let Some(kept_ms) = kept_ms(*agent, *metric) {
            let first = (NOW - kept_ms).div_euclid(DAY_MS);
            samples.retain(|time, _| time.div_euclid(DAY_MS) >= first);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append {
        agent: u8,
        samples: Vec<(u8, i64, f64)>,
    },
    /// A regular stretch, long enough for statistics.
    Stretch {
        agent: u8,
        metric: u8,
        start: i64,
        count: u8,
    },
    Checkpoint,
    /// Merges what came since the last merge, as a day under way has it done.
    MergeRecent,
    /// Merges everything and works out rollups.
    Settle,
    Reopen,
    /// Reopens with [`rules`] or without, and settles, so that they are applied.
    Rules(bool),
    CutPower(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    let samples = prop::collection::vec((0u8..4, any_time(), any_value()), 1..20);
    prop_oneof![
        5 => (0u8..3, samples).prop_map(|(agent, samples)| Step::Append { agent, samples }),
        3 => (0u8..3, 0u8..4, any_time(), 17u8..60).prop_map(|(agent, metric, start, count)| {
            Step::Stretch { agent, metric, start: start - 100_000, count }
        }),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::MergeRecent),
        2 => Just(Step::Settle),
        1 => Just(Step::Reopen),
        2 => any::<bool>().prop_map(Step::Rules),
        2 => any::<u64>().prop_map(Step::CutPower),
    ]
}

/// Value of each millisecond of each (agent, metric).
pub(super) type Model = BTreeMap<(u8, u8), BTreeMap<i64, f64>>;

fn append(store: &Store, model: &mut Model, agent_no: u8, samples: &[(u8, i64, f64)]) {
    append_to(store, model, agent_no, samples).unwrap();
}

/// Appends samples to the store and puts them into the model, whatever becomes of them in the store.
pub(super) fn append_to(
    store: &Store,
    model: &mut Model,
    agent_no: u8,
    samples: &[(u8, i64, f64)],
) -> Result<(), WriteError> {
    let has_rules = !store.shared().settings.retention_rules.is_empty();
    let mut refused = 0;
    let mut batch = Batch::new();
    for (metric_no, time, value) in samples {
        let time_stamp = Timestamp::from_millis(*time);
        batch
            .push(&metric(*metric_no), &mut [], time_stamp, *value)
            .unwrap();
        let kept_ms = kept_ms(agent_no, *metric_no).filter(|_| has_rules);
        if kept_ms.is_some_and(|kept_ms| *time < NOW - kept_ms) {
            refused += 1;
            continue;
        }
        model
            .entry((agent_no, *metric_no))
            .or_default()
            .insert(*time, *value);
    }
    let appended = store.append_blocking(Append {
        agent: agent(agent_no),
        batch,
        contact: None,
        urgency: Urgency::Prompt,
    })?;
    assert_eq!(
        (appended.accepted, appended.rejected.len()),
        (samples.len() - refused, refused)
    );
    Ok(())
}

/// Merges in every day what no merge has taken in yet.
pub(super) fn merge_recent(store: &Store) {
    let shared = store.shared();
    let read = || shared.database().begin_read().unwrap();
    let catalog = Arc::clone(&shared.live.lock().catalog);
    for ((day, agent), basis) in unsettled(&read()).unwrap() {
        let task = Task {
            day,
            agent,
            extent: Extent::Recent,
            basis: Some(basis),
        };
        let entry = catalog.agent(agent).unwrap();
        let merged = merge(&read(), task, entry, Vec::new()).unwrap();
        let transaction = begin(&shared.database()).unwrap();
        merged.write(&transaction, &mut Applied::default()).unwrap();
        transaction.commit().unwrap();
        let mut live = shared.live.lock();
        live.block_epoch += 1;
        shared.inventory().change(agent, day, live.block_epoch);
    }
}

/// Series of the store by (agent, metric) as the model numbers them.
fn series_of(view: &dyn History) -> BTreeMap<(u8, u8), (AgentNo, SeriesNo)> {
    let mut found = BTreeMap::new();
    for agent_no in 0..3 {
        let Some(a) = view.agent(&agent(agent_no), Timestamp::MAX) else {
            continue;
        };
        for metric_no in 0..4 {
            for info in view.series(a.no, Some(&metric(metric_no))) {
                assert!(
                    found
                        .insert((agent_no, metric_no), (a.no, info.no))
                        .is_none()
                );
            }
        }
    }
    found
}

/// All samples of a view, as the model has them.
pub(super) fn read(view: &dyn History) -> Model {
    let mut model = Model::new();
    for (key, (agent, no)) in series_of(view) {
        let samples = model.entry(key).or_default();
        let everything = Window::until(Timestamp::MAX);
        view.scan(agent, &[no], everything, &mut |_, times, values| {
            samples.extend(times.iter().copied().zip(values.iter().copied()));
        })
        .unwrap();
    }
    model
}

/// To the digit where drops were seen one by one; else drops of a stretch may have been rounded together.
fn assert_increase(found: &Summary, numbers: &[f64]) {
    let mut increase = Increase::default();
    numbers.iter().for_each(|v| increase.push(*v));
    let expected = (numbers.len() > 1).then(|| increase.total()).flatten();
    let (Some(expected), Some(told)) = (expected, found.increased_by()) else {
        assert_eq!(found.increased_by(), expected);
        return;
    };
    let size: f64 = numbers.iter().map(|v| v.abs()).sum();
    let is_same = told.to_bits() == expected.to_bits();
    let is_near = found.increase.has_joined_drops() && (told - expected).abs() <= size * 1e-9;
    let is_beyond = !expected.is_finite() || !size.is_finite();
    assert!(is_same || is_near || is_beyond, "{told} is not {expected}");
}

/// Holds a view against the model.
pub(super) fn check(view: &dyn History, model: &Model, window: Window) {
    let series = series_of(view);
    // A series without samples may have left.
    for (key, samples) in model {
        assert!(series.contains_key(key) || samples.is_empty(), "{key:?}");
    }
    assert!(series.keys().all(|key| model.contains_key(key)));
    for (key, (agent_no, no)) in &series {
        let expected: Vec<(i64, f64)> = model[key]
            .iter()
            .filter(|(t, _)| window.contains(Timestamp::from_millis(**t)))
            .map(|(t, v)| (*t, *v))
            .collect();
        let mut found = Vec::new();
        view.scan(*agent_no, &[*no], window, &mut |_, times, values| {
            found.extend(times.iter().copied().zip(values.iter().copied()));
        })
        .unwrap();
        let bits = |samples: &[(i64, f64)]| -> Vec<(i64, u64)> {
            samples.iter().map(|(t, v)| (*t, v.to_bits())).collect()
        };
        assert_eq!(bits(&found), bits(&expected), "{key:?} {window:?}");

        let samples: Vec<(i64, f64)> = expected
            .into_iter()
            .filter(|(_, v)| !is_stale_marker(*v))
            .collect();
        let extents = view.extents(*agent_no, window).unwrap();
        let extent = extents.iter().find(|e| e.no == *no);
        let as_told = extent.map(|e| (e.first.as_millis(), e.last.as_millis(), e.samples));
        let as_is = samples
            .first()
            .map(|f| (f.0, samples[samples.len() - 1].0, samples.len() as u64));
        assert_eq!(as_told, as_is);

        let summary = view.summarise(*agent_no, &[*no], window).unwrap().remove(0);
        let mut sum = ExactSum::default();
        let numbers: Vec<f64> = samples
            .iter()
            .map(|s| s.1)
            .filter(|v| !v.is_nan())
            .collect();
        numbers.iter().for_each(|v| sum.add(*v));
        assert_eq!(summary.samples as usize, samples.len());
        assert_eq!(summary.numbers() as usize, numbers.len());
        assert_eq!(summary.sum, sum);
        // To the bit: zeros of either sign must not depend on the layout.
        let bits = |value: Option<f64>| value.map(f64::to_bits);
        let sorted = |a: &f64, b: &f64| a.total_cmp(b);
        assert_eq!(
            bits(summary.min),
            bits(numbers.iter().copied().min_by(sorted))
        );
        assert_eq!(
            bits(summary.max),
            bits(numbers.iter().copied().max_by(sorted))
        );
        assert_increase(&summary, &numbers);
        let last = samples.last().map(|(t, v)| (*t, v.to_bits()));
        let told = |s: Option<Sample>| s.map(|s| (s.time.as_millis(), s.value.to_bits()));
        assert_eq!(told(summary.last), last);
        for step_ms in [300_000, 900_000, 3_600_000, 7_000] {
            let mut spread = Spread::new(step_ms);
            for (time, value) in &samples {
                spread.extend(&[*time], &[*value]);
            }
            let asked = [Asked {
                no: *no,
                spread: true,
            }];
            let survey = view.survey(*agent_no, &asked, window, step_ms).unwrap();
            assert_eq!(survey.extents, view.extents(*agent_no, window).unwrap());
            let profiled = &survey.profiles[0].summary;
            assert_increase(profiled, &numbers);
            let without_increase = |summary: &Summary| {
                let increase = Increase::default();
                // Texts, so that NaN equals NaN.
                format!(
                    "{:?}",
                    Summary {
                        increase,
                        ..summary.clone()
                    }
                )
            };
            assert_eq!(without_increase(profiled), without_increase(&summary));
            let found = survey.profiles[0].spread.as_ref().unwrap();
            assert_eq!(found.distribution, spread.distribution);
            assert_eq!(
                format!("{:?}", found.steps.steps()),
                format!("{:?}", spread.steps.steps())
            );
            let mut fold = BucketFold::new(*no, step_ms);
            for (time, value) in &samples {
                fold.extend(&[*time], &[*value]);
            }
            let mut found = Vec::new();
            view.buckets(
                *agent_no,
                &[*no],
                window,
                step_ms,
                true,
                &mut |_, buckets| {
                    found = buckets;
                },
            )
            .unwrap();
            // Debug texts, so that NaN equals NaN.
            assert_eq!(format!("{found:?}"), format!("{:?}", fold.finish()));
        }
        let known_last = model[key]
            .range(..=window.to.as_millis())
            .rev()
            .find(|(_, v)| !is_stale_marker(**v))
            .map(|(t, v)| (*t, v.to_bits()));
        assert_eq!(
            told(view.last_sample(*agent_no, *no, window.to, None).unwrap()),
            known_last
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_store_equals_a_map(
        steps in prop::collection::vec(any_step(), 1..14),
        windows in prop::collection::vec((any_time(), any_time()), 3),
    ) {
        let mut disk = SimulatedDisk::default();
        let mut settings = Settings::default();
        let mut store = open(&disk, settings.clone());
        let mut model = Model::new();
        let everything = Window::until(Timestamp::from_millis(NOW + 600_000));
        for step in steps {
            match step {
                Step::Append { agent, samples } => append(&store, &mut model, agent, &samples),
                Step::Stretch { agent, metric, start, count } => {
                    let samples: Vec<_> = (0..i64::from(count))
                        .map(|i| (metric, start + i * 1_000, (i * 7 % 50) as f64 / 10.0))
                        .collect();
                    append(&store, &mut model, agent, &samples);
                }
                Step::Checkpoint => store.checkpoint_blocking().unwrap(),
                Step::MergeRecent => merge_recent(&store),
                Step::Settle => store.settle_blocking().unwrap(),
                Step::Reopen => {
                    store.close_blocking().unwrap();
                    drop(store);
                    store = open(&disk, settings.clone());
                }
                Step::Rules(are_set) => {
                    store.close_blocking().unwrap();
                    drop(store);
                    settings = if are_set { with_rules() } else { Settings::default() };
                    store = open(&disk, settings.clone());
                    store.settle_blocking().unwrap();
                    if are_set {
                        expire(&mut model);
                    }
                }
                Step::CutPower(kept) => {
                    disk = disk.cut_power(kept);
                    drop(store);
                    store = open(&disk, settings.clone());
                }
            }
            check(&*store.view(), &model, everything);
        }
        for (a, b) in windows {
            let window = Window::new(Timestamp::from_millis(a.min(b)), Timestamp::from_millis(a.max(b)));
            check(&*store.view(), &model, window);
        }
        store.close_blocking().unwrap();
    }
}
