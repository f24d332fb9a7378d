//! Traces in the file, against a slow and obvious model.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;

use super::{
    disk::SimulatedDisk,
    model::{NOW, agent, open, open_with},
};
use crate::{
    model::{
        AttributeValue, DAY_MS, ManualClock, PriceTable, Span, SpanEvent, SpanFilter, SpanId,
        SpanStatus, Timestamp, TraceHistory, TraceId, TraceQuery, Window, own_attributes,
    },
    store::{
        Kept, Settings, SpanAppend, SpanChange, SpanChanged, Store, TracePin, retention,
        traces::apply_retention,
    },
};

const NOW_NS: i64 = NOW * 1_000_000;
const MS: i64 = 1_000_000;

/// A span of a trace; everything about it follows from its numbers.
fn span(trace: u128, id: u64, of: u8, start_ms: i64, duration_ms: i64) -> Span {
    let mut span = Span::new(
        TraceId::new(trace).unwrap(),
        SpanId::new(id).unwrap(),
        agent(of),
        ["plan", "search", "write"][id as usize % 3],
        NOW_NS + start_ms * MS,
    );
    span.parent_id = SpanId::new(id - 1);
    span.end_ns = Some(span.start_ns + duration_ms * MS);
    if id.is_multiple_of(5) {
        span.status = SpanStatus::Error;
        span.status_message = format!("tool {id} gave up").into();
    }
    let value = AttributeValue::Text(format!("gpt-{}", id % 4).into());
    span.attributes.set("gen_ai.request.model", value);
    span.attributes
        .set("try", AttributeValue::Int(id as i64 % 7));
    span
}

fn append(store: &Store, spans: Vec<Span>) {
    let count = spans.len();
    let appended = store
        .append_spans_blocking(SpanAppend {
            spans,
            contacts: Vec::new(),
        })
        .unwrap();
    assert_eq!((appended.accepted, appended.rejected), (count, Vec::new()));
}

fn everything() -> Window {
    Window::until(Timestamp::from_millis(NOW + 600_000))
}

fn query(filter: SpanFilter, limit: usize) -> TraceQuery {
    TraceQuery {
        window: everything(),
        filter,
        after: None,
        limit,
    }
}

fn ids(history: &dyn TraceHistory, filter: SpanFilter) -> Vec<u128> {
    let page = history.find_traces(&query(filter, 1_000)).unwrap();
    page.traces
        .iter()
        .map(|trace| trace.trace_id.as_u128())
        .collect()
}

fn reopened(disk: &SimulatedDisk, store: Store, settings: Settings) -> (SimulatedDisk, Store) {
    drop(store);
    let left = SimulatedDisk::of(disk.cut_power(0).bytes());
    let store = open(&left, settings);
    (left, store)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

fn change(store: &Store, change: SpanChange) -> SpanChanged {
    runtime()
        .block_on(store.change_spans(change, Vec::new()))
        .unwrap()
}

/// Traces of the model that fit, newest first.
fn expected(model: &BTreeMap<u128, Vec<Span>>, filter: &SpanFilter) -> Vec<u128> {
    let mut traces: Vec<(i64, u128)> = model
        .iter()
        .filter(|(_, spans)| spans.iter().any(|span| filter.fits(span)))
        .map(|(id, spans)| (spans.iter().map(|span| span.start_ns).min().unwrap(), *id))
        .collect();
    traces.sort_unstable_by(|a, b| b.cmp(a));
    traces.into_iter().map(|(_, id)| id).collect()
}

fn filters() -> Vec<SpanFilter> {
    let attribute = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    vec![
        SpanFilter::default(),
        SpanFilter {
            agent: Some(agent(1)),
            ..SpanFilter::default()
        },
        SpanFilter {
            agent: Some(agent(9)),
            ..SpanFilter::default()
        },
        SpanFilter {
            operation: Some("search".into()),
            agent: Some(agent(0)),
            ..SpanFilter::default()
        },
        SpanFilter {
            status: Some("failed".into()),
            ..SpanFilter::default()
        },
        SpanFilter {
            min_duration_ns: Some(40 * MS),
            max_duration_ns: Some(60 * MS),
            ..SpanFilter::default()
        },
        SpanFilter {
            attributes: attribute("gen_ai.request.model", "gpt-3"),
            ..SpanFilter::default()
        },
        SpanFilter {
            attributes: attribute("try", "6"),
            status: Some("completed".into()),
            ..SpanFilter::default()
        },
        SpanFilter {
            error_text: Some("TOOL 5 ".into()),
            ..SpanFilter::default()
        },
        SpanFilter {
            operation: Some("nobody".into()),
            ..SpanFilter::default()
        },
    ]
}

/// One batch: spans by trace, agent, start and duration in milliseconds.
fn batches() -> impl Strategy<Value = Vec<Vec<(u128, u8, i64, i64)>>> {
    let span = (1..12u128, 0..3u8, -9_000_000..0i64, 0..100i64);
    prop::collection::vec(prop::collection::vec(span, 1..12), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is in memory, in the log, in blocks: the same traces, found by the same searches, page by page.
    #[test]
    fn traces_are_the_same_wherever_they_are(batches in batches(), checkpoints: u8, limit in 1..4usize) {
        let disk = SimulatedDisk::default();
        let settings = Settings::default();
        let store = open(&disk, settings.clone());
        let mut model: BTreeMap<u128, Vec<Span>> = BTreeMap::new();
        let mut next = 1;
        for (number, batch) in batches.iter().enumerate() {
            let mut spans = Vec::new();
            for (trace, of, start, duration) in batch {
                next += 1;
                let span = span(*trace, next, *of, *start, *duration);
                model.entry(*trace).or_default().push(span.clone());
                spans.push(span);
            }
            append(&store, spans);
            if checkpoints & (1 << number) != 0 {
                store.checkpoint_blocking().unwrap();
            }
        }
        model.values_mut().for_each(|spans| spans.sort_by_key(|span| (span.start_ns, span.span_id)));
        let check = |store: &Store| -> Result<(), TestCaseError> {
            let view = store.view();
            for (id, spans) in &model {
                prop_assert_eq!(&view.trace(TraceId::new(*id).unwrap()).unwrap(), spans);
            }
            prop_assert_eq!(view.trace(TraceId::new(99).unwrap()).unwrap(), Vec::new());
            for filter in filters() {
                let wanted = expected(&model, &filter);
                prop_assert_eq!(ids(&*view, filter.clone()), wanted.clone(), "{:?}", filter);
                let mut paged = Vec::new();
                let mut after = None;
                loop {
                    let question = TraceQuery { after, ..query(filter.clone(), limit) };
                    let page = view.find_traces(&question).unwrap();
                    prop_assert!(page.traces.len() <= limit);
                    paged.extend(page.traces.iter().map(|trace| trace.trace_id.as_u128()));
                    after = page.next;
                    if after.is_none() { break }
                }
                prop_assert_eq!(paged, wanted.clone());
                let mut visited = Vec::new();
                view.each_trace(everything(), &filter, &mut |id, spans| {
                    assert_eq!(spans, model[&id.as_u128()]);
                    visited.push(id.as_u128());
                    true
                }).unwrap();
                visited.sort_unstable();
                let mut wanted = wanted;
                wanted.sort_unstable();
                prop_assert_eq!(visited, wanted);
            }
            let page = view.find_traces(&query(SpanFilter::default(), 100)).unwrap();
            for told in page.traces {
                let spans = &model[&told.trace_id.as_u128()];
                prop_assert_eq!(told.spans as usize, spans.len());
                prop_assert_eq!(told.failed_spans as usize, spans.iter().filter(|s| s.is_failed()).count());
                prop_assert_eq!(told.end_ns, spans.iter().filter_map(|s| s.end_ns).max().unwrap());
            }
            Ok(())
        };
        check(&store)?;
        let (disk, store) = reopened(&disk, store, settings.clone());
        check(&store)?;
        store.checkpoint_blocking().unwrap();
        check(&store)?;
        let (_, store) = reopened(&disk, store, settings);
        check(&store)?;
    }
}

#[test]
fn an_open_span_is_there_at_once_and_ends_once() {
    let disk = SimulatedDisk::default();
    let store = open(&disk, Settings::default());
    let mut begun = span(7, 2, 1, -5_000, 0);
    begun.end_ns = None;
    begun.attributes.set(
        own_attributes::TRACE_NAME,
        AttributeValue::Text("run 7".into()),
    );
    let started = change(&store, SpanChange::Start(Box::new(begun.clone())));
    assert_eq!(started, SpanChanged::Span(Arc::new(begun.clone())));
    assert_eq!(
        change(&store, SpanChange::Start(Box::new(begun.clone()))),
        SpanChanged::Exists
    );
    let view = store.view();
    assert_eq!(view.open_spans(), [Arc::new(begun.clone())]);
    assert_eq!(
        ids(
            &*view,
            SpanFilter {
                status: Some("open".into()),
                ..SpanFilter::default()
            }
        ),
        [7]
    );
    let told = view
        .find_traces(&query(SpanFilter::default(), 1))
        .unwrap()
        .traces
        .remove(0);
    assert_eq!(
        (told.open_spans, told.spans, told.name.as_deref()),
        (1, 1, Some("run 7"))
    );
    let event = SpanEvent {
        time_ns: NOW_NS,
        name: "thinking".into(),
        ..SpanEvent::default()
    };
    let log = SpanChange::Log {
        trace_id: begun.trace_id,
        span_id: begun.span_id,
        event: event.clone(),
    };
    assert!(matches!(change(&store, log.clone()), SpanChanged::Span(_)));
    // It is there after a kill, and its trace's other spans come in between.
    let (disk, store) = reopened(&disk, store, Settings::default());
    append(&store, vec![span(7, 3, 2, -4_000, 10)]);
    store.checkpoint_blocking().unwrap();
    let finish = SpanChange::Finish {
        trace_id: begun.trace_id,
        span_id: begun.span_id,
        end_ns: None,
        status: SpanStatus::Ok,
        message: String::new(),
        attributes: [("answer".into(), AttributeValue::Int(42))]
            .into_iter()
            .collect(),
        prices: Arc::new(PriceTable::built_in()),
    };
    let SpanChanged::Span(ended) = change(&store, finish.clone()) else {
        panic!()
    };
    assert_eq!(
        (ended.end_ns, ended.status_word()),
        (Some(NOW_NS), "completed")
    );
    assert_eq!(ended.events, [event]);
    assert_eq!(
        ended.attributes.get("answer"),
        Some(&AttributeValue::Int(42))
    );
    assert_eq!(change(&store, finish), SpanChanged::NotOpen);
    assert_eq!(change(&store, log), SpanChanged::NotOpen);
    let (_, store) = reopened(&disk, store, Settings::default());
    let view = store.view();
    assert!(view.open_spans().is_empty());
    let spans = view.trace(begun.trace_id).unwrap();
    assert_eq!(spans.len(), 2);
    assert_eq!(spans[0], *ended);
}

#[test]
fn a_span_that_ends_elsewhere_is_no_longer_open() {
    let store = open(&SimulatedDisk::default(), Settings::default());
    let mut told = span(7, 2, 1, -5_000, 0);
    told.end_ns = None;
    change(&store, SpanChange::Report(vec![told.clone(), told.clone()]));
    assert_eq!(store.view().open_spans().len(), 1);
    append(&store, vec![span(7, 2, 1, -5_000, 10)]);
    assert!(store.view().open_spans().is_empty());
    change(&store, SpanChange::Report(vec![told.clone()]));
    change(
        &store,
        SpanChange::Close(vec![(told.trace_id, told.span_id)]),
    );
    let spans = store.view().trace(told.trace_id).unwrap();
    assert_eq!(spans.last().unwrap().status_word(), "closed");
}

#[test]
fn whole_traces_go_and_those_with_errors_or_a_pin_stay() {
    let disk = SimulatedDisk::default();
    let settings = Settings {
        traces: Kept {
            retention_ms: DAY_MS,
            errors_ms: 3 * DAY_MS,
            ..Kept::default()
        },
        ..Settings::default()
    };
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
    let store = open_with(&disk, settings, Arc::clone(&clock));
    // Ids that are multiples of five fail.
    append(
        &store,
        vec![span(1, 11, 0, -1_000, 5), span(1, 12, 1, 500_000, 5)],
    );
    append(
        &store,
        vec![span(2, 10, 0, -1_000, 5), span(2, 13, 1, -900, 5)],
    );
    append(&store, vec![span(3, 21, 1, -1_000, 5)]);
    let pin = TracePin {
        by: "me".into(),
        comment: "look into it".into(),
        at: Timestamp::from_millis(NOW),
    };
    change(&store, SpanChange::Pin(TraceId::new(3).unwrap(), Some(pin)));
    store.checkpoint_blocking().unwrap();
    let after = |hours: i64| {
        clock.set(Timestamp::from_millis(NOW + hours * 3_600_000));
        append(
            &store,
            vec![span(100 + hours as u128, 31, 2, hours * 3_600_000, 1)],
        );
        store.checkpoint_blocking().unwrap();
        while apply_retention(&store.shared).unwrap() {}
        retention::apply(&store.shared).unwrap();
        let view = store.view();
        let page = view.find_traces(&TraceQuery {
            window: Window::until(Timestamp::from_millis(NOW + DAY_MS / 4)),
            ..query(SpanFilter::default(), 100)
        });
        let mut left: Vec<u128> = page
            .unwrap()
            .traces
            .iter()
            .map(|t| t.trace_id.as_u128())
            .collect();
        left.sort_unstable();
        left
    };
    assert_eq!(after(20), [1, 2, 3]);
    assert_eq!(after(26), [2, 3]);
    let view = store.view();
    assert!(
        view.trace(TraceId::new(1).unwrap()).unwrap().is_empty(),
        "also its late span"
    );
    assert_eq!(view.trace(TraceId::new(2).unwrap()).unwrap().len(), 2);
    assert_eq!(after(80), [3]);
    change(&store, SpanChange::Pin(TraceId::new(3).unwrap(), None));
    assert_eq!(after(81), [] as [u128; 0]);
}

/// Blocks that a search opened and those whose spans it decoded.
fn work(store: &Store, filter: SpanFilter) -> (u64, u64) {
    let (_, work) = store.shared.moment().search(&query(filter, 20)).unwrap();
    (work.opened, work.decoded)
}

/// The filter of words in a block's header is wrong once in a hundred questions; decoding the block then took most of
/// the time of a search among many.
#[test]
fn a_block_without_what_is_wanted_is_not_decoded() {
    let disk = SimulatedDisk::default();
    let store = open(&disk, Settings::default());
    let duration = |id: u64| if id == 512 { 20 } else { 10 };
    let spans = (1..=512).map(|id| span(id.into(), id, 0, -9_000, duration(id)));
    append(&store, spans.collect());
    let asked = |key: &str, value: String| SpanFilter {
        attributes: vec![(key.to_owned(), value)],
        ..SpanFilter::default()
    };
    let check = || {
        let (mut opened, mut decoded) = (0, 0);
        for number in 0..1_000 {
            let text = asked("gen_ai.request.model", format!("gpt-{}", number + 10));
            let whole = asked("try", (number + 10).to_string());
            for filter in [text, whole] {
                let (more_opened, more_decoded) = work(&store, filter);
                opened += more_opened;
                decoded += more_decoded;
            }
        }
        assert!(opened > 0, "no question was let through by mistake");
        assert_eq!(decoded, 0, "of {opened} opened");
        let there = asked("gen_ai.request.model", "gpt-3".to_owned());
        assert_eq!(work(&store, there), (1, 1));
        // Failed spans and slow ones are there, failed ones that are slow are not.
        let failed_and_slow = SpanFilter {
            status: Some("failed".into()),
            min_duration_ns: Some(15 * MS),
            ..SpanFilter::default()
        };
        assert_eq!(work(&store, failed_and_slow), (1, 0));
    };
    check();
    store.checkpoint_blocking().unwrap();
    check();
}

/// Adding a trace up takes a look at every hour of the file, and nearly all of a block's traces are older than the page.
#[test]
fn traces_that_cannot_come_onto_the_page_are_not_added_up() {
    let store = open(&SimulatedDisk::default(), Settings::default());
    let spans = (1..=500).map(|id| span(id.into(), id, 0, -9_000 + id as i64, 10));
    append(&store, spans.collect());
    let check = || {
        let (page, work) = store
            .shared
            .moment()
            .search(&query(SpanFilter::default(), 20))
            .unwrap();
        let newest: Vec<u128> = page.traces.iter().map(|t| t.trace_id.as_u128()).collect();
        assert_eq!(newest, (481..=500).rev().collect::<Vec<_>>());
        // One more says that there is another page.
        assert_eq!((work.decoded, work.summed), (1, 21));
    };
    check();
    store.checkpoint_blocking().unwrap();
    check();
}

#[test]
fn operations_are_known_as_long_as_their_traces() {
    let disk = SimulatedDisk::default();
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
    let settings = Settings {
        traces: Kept {
            retention_ms: DAY_MS,
            ..Kept::default()
        },
        ..Settings::default()
    };
    let store = open_with(&disk, settings, Arc::clone(&clock));
    let names = || -> Vec<String> {
        let all = store
            .view()
            .operations(Timestamp::from_millis(i64::MIN))
            .unwrap();
        let shown = all.iter();
        shown
            .map(|of| format!("{} {}", of.service, of.name))
            .collect()
    };
    let (first, second) = (agent(0), agent(1));
    let of_first = |names: &[&str]| -> Vec<String> {
        let names = names.iter();
        names.map(|name| format!("{first} {name}")).collect()
    };
    append(&store, vec![span(1, 3, 0, 0, 5), span(1, 4, 0, 0, 5)]);
    assert_eq!(names(), of_first(&["plan", "search"]));
    store.checkpoint_blocking().unwrap();
    assert_eq!(names(), of_first(&["plan", "search"]));
    let mut open = span(2, 5, 1, 10, 0);
    open.end_ns = None;
    change(&store, SpanChange::Report(vec![open]));
    assert_eq!(names()[2..], [format!("{second} write")]);
    change(
        &store,
        SpanChange::Forget(vec![(TraceId::new(2).unwrap(), SpanId::new(5).unwrap())]),
    );
    // A later hour has one of them again; the other goes with its trace.
    append(&store, vec![span(3, 6, 0, 500_000, 5)]);
    clock.set(Timestamp::from_millis(NOW + 20 * 3_600_000));
    append(&store, vec![span(4, 6, 0, 20 * 3_600_000, 5)]);
    store.checkpoint_blocking().unwrap();
    let recent = store
        .view()
        .operations(Timestamp::from_millis(NOW + 19 * 3_600_000));
    assert_eq!(recent.unwrap().len(), 1);
    clock.set(Timestamp::from_millis(NOW + 26 * 3_600_000));
    append(&store, vec![span(5, 9, 0, 26 * 3_600_000, 5)]);
    store.checkpoint_blocking().unwrap();
    apply_retention(&store.shared).unwrap();
    retention::apply(&store.shared).unwrap();
    assert_eq!(names(), of_first(&["plan"]));
}

#[test]
fn spans_of_the_future_are_refused_alone_and_old_ones_are_kept_from_when_they_come() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
    let disk = SimulatedDisk::default();
    let store = open_with(&disk, Settings::default(), Arc::clone(&clock));
    let spans = vec![
        span(1, 2, 0, 3_600_000, 5),
        span(1, 3, 0, -800 * DAY_MS, 5),
        span(1, 4, 0, 0, 5),
    ];
    let appended = store
        .append_spans_blocking(SpanAppend {
            spans,
            contacts: Vec::new(),
        })
        .unwrap();
    assert_eq!(appended.accepted, 2);
    let refused: Vec<_> = appended
        .rejected
        .iter()
        .map(|r| (r.span_id.as_u64(), r.reason.contains("ahead")))
        .collect();
    assert_eq!(refused, [(2, true)]);
    store.checkpoint_blocking().unwrap();
    apply_retention(&store.shared).unwrap();
    assert_eq!(ids(&*store.view(), SpanFilter::default()), [1]);
}

#[test]
fn pages_of_traces_that_begin_together_lose_none() {
    let store = open(&SimulatedDisk::default(), Settings::default());
    for trace in [5, 1, 2, 6, 3, 4] {
        append(&store, vec![span(trace, 7, 1, 0, 1)]);
    }
    let view = store.view();
    let mut told = Vec::new();
    let mut after = None;
    loop {
        let question = TraceQuery {
            after,
            ..query(SpanFilter::default(), 2)
        };
        let page = view.find_traces(&question).unwrap();
        told.extend(page.traces.iter().map(|trace| trace.trace_id.as_u128()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(told, [6, 5, 4, 3, 2, 1]);
}

#[test]
fn a_trace_of_days_is_told_as_one_and_its_fresh_spans_stay() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
    let settings = Settings {
        traces: Kept {
            retention_ms: DAY_MS,
            ..Kept::default()
        },
        ..Settings::default()
    };
    let store = open_with(&SimulatedDisk::default(), settings, Arc::clone(&clock));
    let hour = 3_600_000;
    for (id, hours) in [(11, 0), (12, 20), (13, 30)] {
        clock.set(Timestamp::from_millis(NOW + hours * hour));
        append(&store, vec![span(1, id, 1, hours * hour, 5)]);
        store.checkpoint_blocking().unwrap();
    }
    let told = |store: &Store| {
        let question = TraceQuery {
            window: Window::until(Timestamp::from_millis(NOW + 100 * hour)),
            ..query(SpanFilter::default(), 10)
        };
        let page = store.view().find_traces(&question).unwrap();
        page.traces
            .iter()
            .map(|trace| trace.spans)
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&store), [3]);
    while apply_retention(&store.shared).unwrap() {}
    assert_eq!(told(&store), [1], "what came today is kept");
}
