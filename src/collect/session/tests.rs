use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::model::is_stale_marker;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn session() -> ScrapeSession {
    ScrapeSession::new(AgentId::new("a").unwrap())
}

/// A body with these series; `time` is the scrape's, or their own.
fn scraped(names: &[&str], time: Timestamp) -> Scraped {
    let mut batch = Batch::new();
    for name in names {
        batch.push(name, &mut [("l", "x")], time, 5.0).unwrap();
    }
    let total = batch.len();
    Scraped { batch, total }
}

fn rows(append: &Append) -> Vec<(String, f64)> {
    let batch = &append.batch;
    let name = |row| SeriesKey::from_bytes(batch.key(row)).unwrap().to_string();
    batch.rows().iter().map(|r| (name(r), r.value)).collect()
}

fn value(append: &Append, series: &str) -> Option<f64> {
    let found: Vec<f64> = rows(append)
        .into_iter()
        .filter_map(|(name, value)| (name == series).then_some(value))
        .collect();
    assert!(found.len() < 2, "{series} is there {} times", found.len());
    found.first().copied()
}

/// Series that the append ends.
fn ended(append: &Append) -> Vec<String> {
    let mut names: Vec<_> = rows(append)
        .into_iter()
        .filter_map(|(name, value)| is_stale_marker(value).then_some(name))
        .collect();
    names.sort();
    names
}

#[test]
fn a_good_scrape_tells_about_itself() {
    let mut session = session();
    let mut body = scraped(&["m", "n"], at(10));
    body.total = 3;
    let append = session.success(body, at(10), 0.25);
    assert_eq!(value(&append, "up"), Some(1.0));
    assert_eq!(value(&append, "scrape_duration_seconds"), Some(0.25));
    assert_eq!(value(&append, "scrape_samples_scraped"), Some(3.0));
    let kept = "scrape_samples_post_metric_relabeling";
    assert_eq!(value(&append, kept), Some(2.0));
    assert_eq!(value(&append, "scrape_series_added"), Some(2.0));
    assert_eq!(value(&append, r#"m{l="x"}"#), Some(5.0));
    assert_eq!(append.contact, Some(Contact::Scrape { error: None }));
    assert!(append.batch.rows().iter().all(|row| row.time == at(10)));

    let again = session.success(scraped(&["n", "o"], at(20)), at(20), 0.1);
    assert_eq!(value(&again, "scrape_series_added"), Some(1.0));
    assert_eq!(ended(&again), [r#"m{l="x"}"#]);
    assert!(again.batch.metadata.is_empty(), "told with the first");
}

#[test]
fn a_failed_scrape_ends_what_was_alive() {
    let mut session = session();
    session.success(scraped(&["m", "n"], at(10)), at(10), 0.1);
    let failed = session.failure("refused".to_owned(), at(20), 0.5);
    assert_eq!(value(&failed, "up"), Some(0.0));
    assert_eq!(value(&failed, "scrape_samples_scraped"), Some(0.0));
    assert_eq!(ended(&failed), [r#"m{l="x"}"#, r#"n{l="x"}"#]);
    let error = Some("refused".to_owned());
    assert_eq!(failed.contact, Some(Contact::Scrape { error }));
    let failed = session.failure("refused".to_owned(), at(30), 0.5);
    assert!(ended(&failed).is_empty());
    let back = session.success(scraped(&["m"], at(40)), at(40), 0.1);
    assert_eq!(value(&back, "scrape_series_added"), Some(1.0));
}

#[test]
fn a_change_of_up_is_urgent() {
    let mut session = session();
    let good = |s: &mut ScrapeSession, ms| s.success(scraped(&[], at(ms)), at(ms), 0.1).urgency;
    let bad = |s: &mut ScrapeSession, ms| s.failure("x".to_owned(), at(ms), 0.1).urgency;
    assert_eq!(good(&mut session, 1), Urgency::News);
    assert_eq!(good(&mut session, 2), Urgency::Relaxed);
    assert_eq!(bad(&mut session, 3), Urgency::News);
    assert_eq!(bad(&mut session, 4), Urgency::Relaxed);
    assert_eq!(good(&mut session, 5), Urgency::News);
}

/// Figures of a process: two of the names that are known, one of them with a label.
fn figures(time: Timestamp) -> Batch {
    let mut batch = Batch::new();
    let mut label = [("unit", "percent")];
    batch
        .push("system_cpu_usage", &mut label, time, 3.0)
        .unwrap();
    batch.push("process_threads", &mut [], time, 4.0).unwrap();
    batch.metadata.push(gauge("process_threads", "Threads", ""));
    batch
}

fn round(scrape: Option<Result<Scraped, &str>>, process: Option<Result<Batch, &str>>) -> Round {
    Round {
        scrape: scrape.map(|result| Scrape {
            result: result.map_err(str::to_owned),
            seconds: 0.1,
        }),
        process: process.map(|figures| figures.map_err(str::to_owned)),
    }
}

#[test]
fn a_process_alone_is_the_agent_s_up() {
    let mut session = session();
    let there = session.take(round(None, Some(Ok(figures(at(10))))), at(10));
    let names: Vec<_> = rows(&there).into_iter().map(|(name, _)| name).collect();
    let cpu = r#"system_cpu_usage{unit="percent"}"#;
    assert_eq!(names, [cpu, "process_threads", "up", "process_up"]);
    assert_eq!(value(&there, "up"), Some(1.0));
    assert_eq!(
        (session.up(), session.process_up()),
        (Some(true), Some(true))
    );
    assert!(there.batch.metadata.iter().any(|m| m.help == "Threads"));

    let gone = session.take(round(None, Some(Err("it has ended"))), at(20));
    assert_eq!(gone.urgency, Urgency::News);
    assert_eq!(
        (value(&gone, "up"), value(&gone, "process_up")),
        (Some(0.0), Some(0.0))
    );
    assert_eq!(ended(&gone), ["process_threads", cpu]);
    let error = Some("it has ended".to_owned());
    assert_eq!(gone.contact, Some(Contact::Scrape { error }));
    let still = session.take(round(None, Some(Err("it has ended"))), at(30));
    assert_eq!(still.urgency, Urgency::Relaxed);
    assert!(ended(&still).is_empty());
    assert_eq!(ended(&session.end(at(40)).unwrap()), ["process_up", "up"]);
}

#[test]
fn what_the_endpoint_tells_itself_is_not_sampled() {
    let mut session = session();
    let own = |ms| scraped(&["m", "system_cpu_usage"], at(ms));
    let both = session.take(round(Some(Ok(own(10))), Some(Ok(figures(at(10))))), at(10));
    let cpu = r#"system_cpu_usage{unit="percent"}"#;
    assert_eq!(
        value(&both, cpu),
        None,
        "the endpoint has it under other labels"
    );
    assert_eq!(value(&both, "process_threads"), Some(4.0));
    assert_eq!(
        value(&both, "scrape_samples_post_metric_relabeling"),
        Some(2.0)
    );
    assert_eq!(value(&both, "scrape_series_added"), Some(2.0));
    assert_eq!(value(&both, "process_up"), Some(1.0));

    // While scrapes fail, the rest goes on and nothing else takes the place of what is missing.
    let failed = session.take(
        round(Some(Err("refused")), Some(Ok(figures(at(20))))),
        at(20),
    );
    assert_eq!(
        (value(&failed, "up"), value(&failed, "process_up")),
        (Some(0.0), Some(1.0))
    );
    assert_eq!(value(&failed, "process_threads"), Some(4.0));
    assert_eq!(value(&failed, cpu), None);
    assert_eq!(
        ended(&failed),
        [r#"m{l="x"}"#, r#"system_cpu_usage{l="x"}"#]
    );

    // The process ends, the endpoint answers.
    let lost = session.take(round(Some(Ok(own(30))), Some(Err("it has ended"))), at(30));
    assert_eq!(
        (value(&lost, "up"), value(&lost, "process_up")),
        (Some(1.0), Some(0.0))
    );
    assert_eq!(lost.contact, Some(Contact::Scrape { error: None }));
    assert_eq!(ended(&lost), ["process_threads"]);

    // One of the two is taken out of the registration: what was its own ends.
    let scrape_alone = session.take(round(Some(Ok(own(40))), None), at(40));
    assert_eq!(ended(&scrape_alone), ["process_up"]);
    let process_alone = session.take(round(None, Some(Ok(figures(at(50))))), at(50));
    assert_eq!(value(&process_alone, cpu), Some(3.0));
    assert_eq!(
        ended(&process_alone),
        [
            r#"m{l="x"}"#,
            "scrape_duration_seconds",
            "scrape_samples_post_metric_relabeling",
            "scrape_samples_scraped",
            "scrape_series_added",
            r#"system_cpu_usage{l="x"}"#,
        ]
    );
}

#[test]
fn samples_with_their_own_time_end_by_themselves() {
    let mut session = session();
    session.success(scraped(&["m"], at(7)), at(10), 0.1);
    let again = session.success(scraped(&["m"], at(8)), at(20), 0.1);
    assert_eq!(value(&again, "scrape_series_added"), Some(0.0));
    assert!(ended(&session.failure("x".to_owned(), at(30), 0.1)).is_empty());
}

#[test]
fn the_end_marks_everything_once() {
    let mut session = session();
    assert!(session.end(at(1)).is_none());
    session.success(scraped(&["m"], at(10)), at(10), 0.1);
    let end = session.end(at(20)).unwrap();
    assert_eq!(
        ended(&end),
        [
            r#"m{l="x"}"#,
            "scrape_duration_seconds",
            "scrape_samples_post_metric_relabeling",
            "scrape_samples_scraped",
            "scrape_series_added",
            "up",
        ]
    );
    assert_eq!(end.contact, None);
    assert!(session.end(at(30)).is_none());
}

#[test]
fn an_agent_cannot_tell_its_own_status() {
    let mut session = session();
    let mut batch = Batch::new();
    for (name, labels) in [
        ("up", &mut [][..]),
        ("health_probe_up", &mut []),
        ("up", &mut [("job", "federated")]),
        ("m", &mut []),
    ] {
        batch.push(name, labels, at(5), 1.0).unwrap();
    }
    batch.metadata.push(gauge("m", "", ""));
    let append = session.success(Scraped { batch, total: 4 }, at(10), 0.1);
    let ups: Vec<_> = append
        .batch
        .rows()
        .iter()
        .filter(|row| append.batch.key(row) == SeriesKey::new("up", &[]).unwrap().as_bytes())
        .collect();
    assert_eq!(ups.len(), 1);
    assert_eq!(ups[0].time, at(10));
    assert_eq!(value(&append, "health_probe_up"), None);
    assert_eq!(value(&append, r#"up{job="federated"}"#), Some(1.0));
    assert_eq!(value(&append, "m"), Some(1.0));
    let kept = "scrape_samples_post_metric_relabeling";
    assert_eq!(value(&append, kept), Some(2.0));
    assert_eq!(append.batch.metadata[0].name, "m");
}

#[test]
fn probes_record_one_series() {
    let mut session = ProbeSession::new(AgentId::new("a").unwrap());
    assert!(session.end(at(0)).is_none());
    let good = session.result(None, at(1), false);
    assert_eq!(rows(&good), [("health_probe_up".to_owned(), 1.0)]);
    assert_eq!(good.contact, Some(Contact::Probe { error: None }));
    assert_eq!(good.urgency, Urgency::News);
    assert_eq!(session.result(None, at(2), false).urgency, Urgency::Relaxed);
    let bad = session.result(Some("status 500".to_owned()), at(3), false);
    assert_eq!(rows(&bad), [("health_probe_up".to_owned(), 0.0)]);
    assert_eq!(bad.urgency, Urgency::News);
    assert_eq!(ended(&session.end(at(4)).unwrap()), ["health_probe_up"]);
    assert!(session.end(at(5)).is_none());
    // Where nothing is scraped it is the agent's `up` as well.
    let alone = session.result(None, at(6), true);
    assert_eq!(value(&alone, "up"), Some(1.0));
    assert_eq!(
        ended(&session.end(at(7)).unwrap()),
        ["health_probe_up", "up"]
    );
}

const NAMES: [&str; 6] = ["m0", "m1", "m2", "m3", "m4", "m5"];

/// What a scrape brings: a set of the names, or a failure.
fn scrapes() -> impl Strategy<Value = Vec<Option<BTreeSet<usize>>>> {
    let body = prop::collection::btree_set(0..NAMES.len(), 0..NAMES.len());
    prop::collection::vec(prop::option::weighted(0.8, body), 1..30)
}

fn perform(session: &mut ScrapeSession, scrape: Option<&BTreeSet<usize>>, time: i64) -> Append {
    match scrape {
        Some(set) => {
            let names: Vec<&str> = set.iter().map(|n| NAMES[*n]).collect();
            session.success(scraped(&names, at(time)), at(time), 0.1)
        }
        None => session.failure("x".to_owned(), at(time), 0.1),
    }
}

proptest! {
    #[test]
    fn a_series_that_vanishes_gets_exactly_one_marker(scrapes in scrapes()) {
        let mut session = session();
        let mut alive = BTreeSet::new();
        for (n, scrape) in scrapes.iter().enumerate() {
            let append = perform(&mut session, scrape.as_ref(), n as i64);
            session.settle(true);
            let now = scrape.clone().unwrap_or_default();
            let gone: Vec<String> = alive
                .difference(&now)
                .map(|n: &usize| format!("{}{{l=\"x\"}}", NAMES[*n]))
                .collect();
            prop_assert_eq!(ended(&append), gone);
            alive = now;
        }
    }

    /// Some appends are lost, and that is known only some scrapes later.
    #[test]
    fn no_series_stays_alive_because_a_write_was_lost(
        scrapes in scrapes(),
        fates in prop::collection::vec((any::<bool>(), 0_usize..4), 31),
    ) {
        let mut session = session();
        let mut file: BTreeMap<String, f64> = BTreeMap::new();
        let mut open = VecDeque::new();
        // The last failure of all is durable and known of all others.
        for (n, (durable, lag)) in fates.into_iter().enumerate().take(scrapes.len() + 1) {
            let last = n == scrapes.len();
            while open.len() > if last { 0 } else { lag } {
                session.settle(open.pop_front().unwrap());
            }
            let append = perform(&mut session, scrapes.get(n).and_then(Option::as_ref), n as i64);
            if durable || last {
                file.extend(rows(&append));
            }
            open.push_back(durable);
        }
        for (series, value) in &file {
            let is_metric = series.starts_with('m');
            prop_assert!(!is_metric || is_stale_marker(*value), "{series} = {value}");
        }
    }
}
