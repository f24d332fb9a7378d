//! Series come, fall silent, leave and come back. Whatever they do, answers are those of a map, numbers name one series
//! for ever, and memory knows those alone that have samples.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use proptest::prelude::*;
use redb::{ReadableDatabase, TableHandle};

use super::{
    disk::SimulatedDisk,
    model::{Model, agent, check, metric, open_with},
};
use crate::{
    model::{
        AgentId, AgentNo, Batch, DAY_MS, Glob, History, ManualClock, RetentionRule, SeriesInfo,
        SeriesKey, SeriesNo, Timestamp, Window,
    },
    store::{
        Append, Settings, Store, Urgency,
        catalog::Catalog,
        copies,
        draft::{Draft, Past, Prepared, PreparedRow, Times},
        head::Heads,
        liveness::Liveness,
        series_table::{NO_DAY, SeriesEntry},
        traces::{LiveTraces, SpanDraft},
    },
    telemetry::OwnMetrics,
};

const FIRST_DAY: i64 = 20_000;
const RETENTION_DAYS: i64 = 3;
const ROLLUP_DAYS: i64 = 6;
/// Days that rules keep: metric 1 of all agents, and all of agent 2.
const RULE_DAYS: [i64; 2] = [1, 2];

fn settings(has_rules: bool) -> Settings {
    let rule = |metric: Option<String>, agent_id: Option<&str>, days: i64| RetentionRule {
        metric: metric.map(Glob::new),
        agent_id: agent_id.map(Glob::new),
        labels: Vec::new(),
        keep_ms: days * DAY_MS,
    };
    let rules = vec![
        rule(Some(metric(1)), None, RULE_DAYS[0]),
        rule(None, Some("*-2"), RULE_DAYS[1]),
    ];
    Settings {
        retention_ms: RETENTION_DAYS * DAY_MS,
        rollup_retention_ms: ROLLUP_DAYS * DAY_MS,
        retention_rules: if has_rules { rules } else { Vec::new() },
        ..Settings::default()
    }
}

/// One day: how many pass before it, and what is sent on it.
#[derive(Clone, Debug)]
struct Day {
    passed: i64,
    has_rules: bool,
    cut: Option<u64>,
    sent: Vec<(u8, u8, i64)>,
}

fn any_day() -> impl Strategy<Value = Day> {
    let sent = prop::collection::vec((0u8..3, 0u8..4, 1i64..6), 0..5);
    let cut = prop::option::of(any::<u64>());
    (1i64..4, any::<bool>(), cut, sent).prop_map(|(passed, has_rules, cut, sent)| Day {
        passed,
        has_rules,
        cut,
        sent,
    })
}

/// A store whose days pass, and what it should say.
struct Story {
    disk: SimulatedDisk,
    clock: Arc<ManualClock>,
    now: i64,
    has_rules: bool,
    store: Option<Store>,
    /// All that rollups know.
    whole: Model,
    numbers: HashMap<(u8, u8), SeriesNo>,
    names: HashMap<SeriesNo, (u8, u8)>,
}

impl Story {
    fn new() -> Self {
        let now = FIRST_DAY * DAY_MS + DAY_MS / 3;
        let mut story = Self {
            disk: SimulatedDisk::default(),
            clock: Arc::new(ManualClock::new(Timestamp::from_millis(now))),
            now,
            has_rules: false,
            store: None,
            whole: Model::new(),
            numbers: HashMap::new(),
            names: HashMap::new(),
        };
        story.open();
        story
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn open(&mut self) {
        let settings = settings(self.has_rules);
        self.store = Some(open_with(&self.disk, settings, Arc::clone(&self.clock)));
        // The retention is applied after the first command at the latest.
        self.store().checkpoint_blocking().unwrap();
        self.store().checkpoint_blocking().unwrap();
    }

    fn reopen(&mut self) {
        if let Some(store) = self.store.take() {
            store.close_blocking().unwrap();
        }
        self.open();
    }

    fn send(&mut self, agent_no: u8, metric_no: u8, count: i64) {
        let mut batch = Batch::new();
        let samples = self.whole.entry((agent_no, metric_no)).or_default();
        for i in 0..count {
            let (time, value) = (self.now - i * 1_000, (i * 7 % 5) as f64);
            let at = Timestamp::from_millis(time);
            batch.push(&metric(metric_no), &mut [], at, value).unwrap();
            samples.insert(time, value);
        }
        let append = Append {
            agent: agent(agent_no),
            batch,
            contact: None,
            urgency: Urgency::Prompt,
        };
        let appended = self.store().append_blocking(append).unwrap();
        assert!(appended.rejected.is_empty());
    }

    fn first_kept(&self, days: i64) -> i64 {
        (self.now - days * DAY_MS).div_euclid(DAY_MS)
    }

    /// Lets days pass, and what is due then happen.
    fn pass(&mut self, day: &Day) {
        self.store().settle_blocking().unwrap();
        self.now += day.passed * DAY_MS;
        self.clock.set(Timestamp::from_millis(self.now));
        self.has_rules = day.has_rules;
        if let Some(kept) = day.cut {
            self.disk = self.disk.cut_power(kept);
            self.store = None;
            self.open();
        } else {
            self.reopen();
        }
        // A clock is trusted no further than a day beyond the last commit.
        self.send(0, 0, 1);
        self.store().settle_blocking().unwrap();
        self.reopen();
        self.store().settle_blocking().unwrap();
        // What rules have taken leaves with the next look.
        self.reopen();
        let first_rollup = self.first_kept(ROLLUP_DAYS);
        let first_of_rules = RULE_DAYS.map(|days| self.first_kept(days));
        for ((agent, metric), samples) in &mut self.whole {
            let first = match (*agent, *metric) {
                (_, 1) if day.has_rules => first_of_rules[0],
                (2, _) if day.has_rules => first_of_rules[1],
                _ => first_rollup,
            };
            samples.retain(|time, _| time.div_euclid(DAY_MS) >= first);
        }
        self.whole.retain(|_, samples| !samples.is_empty());
        let whole = &self.whole;
        self.numbers.retain(|key, _| whole.contains_key(key));
    }

    fn check(&mut self) {
        let first = self.first_kept(RETENTION_DAYS);
        let mut live = self.whole.clone();
        for samples in live.values_mut() {
            samples.retain(|time, _| time.div_euclid(DAY_MS) >= first);
        }
        live.retain(|_, samples| !samples.is_empty());
        let view = self.store().view();
        let since = Window::closed(Timestamp::from_millis(first * DAY_MS), Timestamp::MAX);
        check(&*view, &live, since);
        assert_eq!(self.store().status().series as usize, live.len());

        let mut found = BTreeMap::new();
        for agent_no in 0..3 {
            let Some(known) = view.agent(&agent(agent_no), Timestamp::MAX) else {
                continue;
            };
            for (key, no, samples) in counted(&*view, known.no) {
                let metric_no = (0..4).find(|n| metric(*n) == key).unwrap();
                // A name whose sums a rule has taken stays as long as they would have.
                if samples > 0 {
                    assert!(found.insert((agent_no, metric_no), samples).is_none());
                }
                let name = self.names.entry(no).or_insert((agent_no, metric_no));
                assert_eq!(*name, (agent_no, metric_no), "a number names one series");
                let number = self.numbers.entry((agent_no, metric_no)).or_insert(no);
                assert_eq!(*number, no, "a series that is known keeps its number");
            }
        }
        let expected = self.whole.iter();
        let expected: BTreeMap<(u8, u8), u64> = expected
            .map(|(key, samples)| (*key, samples.len() as u64))
            .collect();
        assert_eq!(found, expected);
    }
}

/// Name, number and samples of all series of an agent, those included of which sums alone are left.
fn counted(view: &dyn History, agent: AgentNo) -> Vec<(String, SeriesNo, u64)> {
    let everything = Window::until(Timestamp::MAX);
    let series = view.series_within(agent, None, everything).unwrap();
    let numbers: Vec<SeriesNo> = series.iter().map(|info| info.no).collect();
    let summaries = view.summarise(agent, &numbers, everything).unwrap();
    let name = |info: &SeriesInfo| info.key.name().to_owned();
    let rows = series.iter().zip(summaries);
    rows.map(|(info, summary)| (name(info), info.no, summary.samples))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn churn_changes_no_answer(days in prop::collection::vec(any_day(), 1..9)) {
        let mut story = Story::new();
        for day in days {
            story.pass(&day);
            story.check();
            for (agent, metric, count) in day.sent {
                story.send(agent, metric, count);
            }
            story.check();
        }
        story.store().close_blocking().unwrap();
    }
}

#[test]
fn a_series_that_comes_back_is_the_same_while_rollups_know_it() {
    let mut story = Story::new();
    let pass = |story: &mut Story, passed: i64| {
        story.pass(&Day {
            passed,
            has_rules: false,
            cut: None,
            sent: Vec::new(),
        });
        story.check();
    };
    story.send(1, 2, 5);
    story.send(1, 3, 5);
    story.check();
    let first = story.numbers[&(1, 2)];
    pass(&mut story, 4);
    assert_eq!(story.numbers[&(1, 2)], first, "it is known by its sums");
    assert_eq!(story.store().status().series, 1);
    story.send(1, 2, 2);
    story.check();
    assert_eq!(story.numbers[&(1, 2)], first);
    // The other one is forgotten altogether, and so is its number.
    pass(&mut story, 3);
    story.send(1, 3, 1);
    story.check();
    assert!(story.numbers[&(1, 3)] > first);
    assert_eq!(story.names.len(), 4);
    story.store().close_blocking().unwrap();
}

#[test]
fn a_snapshot_has_every_table() {
    let mut story = Story::new();
    story.send(1, 2, 5);
    story.pass(&Day {
        passed: 4,
        has_rules: true,
        cut: None,
        sent: Vec::new(),
    });
    let transaction = story.store().shared().database().begin_read().unwrap();
    let to = tempfile::NamedTempFile::new().unwrap();
    let file = to.reopen().unwrap();
    copies::write_snapshot(&transaction, file, &mut |_| Ok(()), &mut |_, _| {}).unwrap();
    let copy = redb::Database::open(to.path()).unwrap();
    let copied = copy.begin_read().unwrap();
    let names = |transaction: &redb::ReadTransaction| -> BTreeSet<String> {
        let tables = transaction.list_tables().unwrap();
        tables.map(|table| table.name().to_owned()).collect()
    };
    assert_eq!(names(&copied), names(&transaction));
    drop((transaction, copied));
    let view = crate::store::open_copy(to.path());
    drop(copy);
    let view = view
        .or_else(|_| crate::store::open_copy(to.path()))
        .unwrap();
    let known = view.agent(&agent(1), Timestamp::MAX).unwrap();
    assert_eq!(counted(&*view, known.no).len(), 1);
    story.store().close_blocking().unwrap();
}

#[test]
fn a_row_that_waited_while_series_left_finds_its_series() {
    let mut catalog = Catalog::default();
    let (no, id) = (AgentNo(0), AgentId::new("a").unwrap());
    catalog.add_agent(no, id.clone());
    let key = |n: u32| SeriesKey::new(&format!("m{n}"), &[]).unwrap();
    for n in 0..4 {
        catalog.add_series(
            no,
            &SeriesEntry {
                no: SeriesNo(n),
                group: 0,
                key: key(n),
                last_day: NO_DAY,
            },
        );
    }
    let mut batch = Batch::new();
    for n in 0..4 {
        let time = Timestamp::from_millis(i64::from(n));
        batch
            .push(&format!("m{n}"), &mut [], time, f64::from(n))
            .unwrap();
    }
    let rows = (0..4u32).map(|n| PreparedRow {
        row: n,
        series: Some((SeriesNo(n), n)),
        sign: None,
        time: i64::from(n),
        value: f64::from(n),
    });
    let prepared = Prepared {
        append: Append {
            agent: id,
            batch,
            contact: None,
            urgency: Urgency::Prompt,
        },
        rows: rows.collect(),
        rejected: Vec::new(),
    };
    let (table, _) = catalog.agent(no).unwrap().series.without(&[0, 2]);
    catalog.replace_series(no, table);
    assert_eq!(catalog.series_total(), 2);

    let (settings, metrics) = (Settings::default(), OwnMetrics::default());
    let now = Timestamp::from_millis(1_000);
    let times = Times {
        commit: now,
        clock: now,
    };
    let recent = parking_lot::Mutex::default();
    let spans = SpanDraft::new(LiveTraces::default(), &recent, now);
    let mut draft = Draft::new(&settings, &metrics, times, Arc::new(catalog), spans, None);
    let mut past = Past {
        liveness: &mut |_| Liveness::default(),
        returning: &|_, _| None,
    };
    let appended = draft.append(prepared, &mut past).unwrap();
    assert_eq!((appended.accepted, appended.new_series), (4, 2));
    let mut heads = Heads::default();
    draft.publish(1, &mut heads, &mut LiveTraces::default());
    let table = &draft.catalog.agent(no).unwrap().series;
    let head = heads.agent(no).unwrap();
    for n in 0..4 {
        let slot = table.find(key(n).as_bytes()).unwrap();
        let samples = head.series(slot).unwrap().arrived();
        assert_eq!(samples, [(i64::from(n), f64::from(n))]);
    }
    // Numbers are not given again.
    let numbers: Vec<u32> = table.by_number().map(|(_, no)| no.0).collect();
    assert_eq!(numbers, [1, 3, 4, 5]);
}
