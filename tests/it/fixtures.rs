//! Files of every released version, as they were written then: each opens, and says what it said.
//!
//! `LONGWATCH_WRITE_FIXTURES=1 cargo test --test it fixtures` writes the newest version's file anew; do that
//! only before its release.

use std::{fmt::Write, path::PathBuf, sync::Arc};

use longwatch::{
    model::{
        AgentId, Batch, Contact, DAY_MS, ManualClock, MetricKind, MetricMetadata, Registration,
        RegistrationSource, STALE_MARKER, Timestamp, Window, names,
    },
    store::{self, Append, Settings, Store, Urgency, View},
    telemetry::OwnMetrics,
};

/// Every released version of the schema.
const VERSIONS: [&str; 3] = ["v1", "v2", "v3"];
const NOW: i64 = 20_000 * DAY_MS + 5_000;

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "migrations", "fixtures", name]
        .iter()
        .collect()
}

fn open(path: &std::path::Path) -> Store {
    open_at(path, NOW)
}

fn open_at(path: &std::path::Path, now: i64) -> Store {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(now)));
    Store::open(
        path,
        Settings {
            disk_reserve: Some(0),
            ..Settings::default()
        },
        clock,
        Arc::new(OwnMetrics::default()),
    )
    .unwrap()
}

/// A little of everything that version 3 can hold: a series of which sums alone are left, a settled day with its rollups,
/// one that late samples unsettled, a log, an alert, events.
fn write_v3(path: &std::path::Path) {
    let store = open_at(path, 19_960 * DAY_MS + DAY_MS / 2);
    let mut batch = Batch::new();
    for i in 0..50 {
        let time = Timestamp::from_millis(19_960 * DAY_MS + i * 600_000);
        let labels = &mut [("zone", "b")];
        batch.push("gone", labels, time, (i % 9) as f64).unwrap();
    }
    append(&store, &AgentId::new("agent 7/ä").unwrap(), batch, None);
    store.settle_blocking().unwrap();
    store.close_blocking().unwrap();
    drop(store);
    let store = open(path);
    // A clock is trusted no further than a day beyond the last commit, and old days go at the next start.
    append(&store, &AgentId::new("agent 7/ä").unwrap(), at_now(), None);
    store.close_blocking().unwrap();
    drop(store);
    let store = open(path);
    let agent = AgentId::new("agent 7/ä").unwrap();
    let mut registration = Registration::bare(RegistrationSource::Api);
    registration.metrics_endpoint = Some("http://127.0.0.1:9/metrics".into());
    registration.labels = vec![("job".into(), "fleet".into())];
    registration.info = r#"{"team":"red"}"#.into();
    store
        .register_blocking(agent.clone(), registration)
        .unwrap();
    for day in [19_990, 19_995] {
        let mut batch = Batch::new();
        for i in 0..120 {
            let time = Timestamp::from_millis(day * DAY_MS + i * 700_000);
            let cpu = (i * 7 % 90) as f64 / 10.0;
            batch
                .push(names::SYSTEM_CPU_USAGE, &mut [], time, cpu)
                .unwrap();
            let total = (i % 80 * 3) as f64;
            batch.push("jobs_total", &mut [], time, total).unwrap();
        }
        append(&store, &agent, batch, None);
    }
    store.settle_blocking().unwrap();
    let mut batch = Batch::new();
    for i in 0..40 {
        let time = Timestamp::from_millis(20_000 * DAY_MS - 200_000 + i * 10_000);
        let value = if i == 30 {
            STALE_MARKER
        } else {
            (i * 3 % 17) as f64 / 10.0
        };
        batch
            .push("load", &mut [("zone", "a")], time, value)
            .unwrap();
        batch
            .push("jobs_total", &mut [], time, (i % 25) as f64)
            .unwrap();
        if i % 4 != 0 {
            batch.push("sparse", &mut [], time, f64::NAN).unwrap();
        }
    }
    batch.metadata.push(MetricMetadata {
        name: "jobs_total".into(),
        kind: MetricKind::Counter,
        help: "Jobs done".into(),
        unit: String::new(),
    });
    append(&store, &agent, batch, None);
    store.checkpoint_blocking().unwrap();
    let mut batch = Batch::new();
    batch
        .push(names::UP, &mut [], Timestamp::from_millis(NOW), 0.0)
        .unwrap();
    let error = Some("connection refused".to_owned());
    append(&store, &agent, batch, Some(Contact::Scrape { error }));
    store.close_blocking().unwrap();
}

fn at_now() -> Batch {
    let mut batch = Batch::new();
    let now = Timestamp::from_millis(NOW);
    batch.push("load", &mut [("zone", "c")], now, 1.5).unwrap();
    batch
}

fn append(store: &Store, agent: &AgentId, batch: Batch, contact: Option<Contact>) {
    let append = Append {
        agent: agent.clone(),
        batch,
        contact,
        urgency: Urgency::Prompt,
    };
    assert!(store.append_blocking(append).unwrap().rejected.is_empty());
}

/// Everything that a view tells, as text.
fn dump(view: &View) -> String {
    let end = Timestamp::from_millis(NOW + 3_600_000);
    let mut out = String::new();
    for agent in view.agents(end) {
        writeln!(out, "{agent:?}").unwrap();
        for series in view.series(agent.no, None) {
            writeln!(out, "  {} {} {}", series.no.0, series.key, series.kind).unwrap();
            view.scan(
                agent.no,
                &[series.no],
                Window::until(end),
                &mut |_, times, values| {
                    for (time, value) in times.iter().zip(values) {
                        writeln!(out, "    {time} {value} {:016x}", value.to_bits()).unwrap();
                    }
                },
            )
            .unwrap();
        }
    }
    for alert in view.alerts(Window::until(end)).unwrap() {
        writeln!(out, "{alert:?} {:?}", view.alert_events(&alert).unwrap()).unwrap();
    }
    writeln!(out, "{:?}", view.policy(end)).unwrap();
    out
}

/// Steps and whole days of all series, as text.
fn dump_rollups(view: &View) -> String {
    let end = Timestamp::from_millis(NOW + 3_600_000);
    let mut out = String::new();
    for agent in view.agents(end) {
        let window = Window::until(end);
        for series in view.series_within(agent.no, None, window).unwrap() {
            let summary = view.summarise(agent.no, &[series.no], window).unwrap();
            let summary = &summary[0];
            writeln!(
                out,
                "{}: {} samples, sum {:?}, {:?} to {:?}, {:?} to {:?}, rose by {:?}",
                series.key,
                summary.samples,
                summary.sum,
                summary.min,
                summary.max,
                summary.first,
                summary.last,
                summary.increased_by(),
            )
            .unwrap();
            view.buckets(
                agent.no,
                &[series.no],
                window,
                6 * 3_600_000,
                true,
                &mut |_, b| {
                    b.iter().for_each(|b| writeln!(out, "  {b:?}").unwrap());
                },
            )
            .unwrap();
        }
    }
    out
}

fn expected(name: &str, view: &View) -> String {
    // The first version's text was written when there were no rollups.
    match name {
        "v1" => dump(view),
        _ => dump(view) + &dump_rollups(view),
    }
}

#[test]
fn files_of_every_version_open_and_say_what_they_said() {
    if std::env::var_os("LONGWATCH_WRITE_FIXTURES").is_some() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v3.redb");
        write_v3(&path);
        let to = fixture("v3.redb");
        let _ = std::fs::remove_file(&to);
        store::snapshot_file(&path, &to, &mut |_, _| {}).unwrap();
        let text = expected("v3", &store::open_copy(&to).unwrap());
        std::fs::write(fixture("v3.txt"), text).unwrap();
    }
    for version in VERSIONS {
        let file = fixture(&format!("{version}.redb"));
        let text = std::fs::read_to_string(fixture(&format!("{version}.txt"))).unwrap();
        assert_eq!(
            expected(version, &store::open_copy(&file).unwrap()),
            text,
            "{version} read as a copy"
        );
        let report = store::verify(&file, &mut |_, _| {}).unwrap();
        assert_eq!(report.bad, Vec::<String>::new(), "{version}");

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("opened.redb");
        std::fs::copy(&file, &path).unwrap();
        let store = open(&path);
        assert_eq!(
            expected(version, &store.view()),
            text,
            "{version} opened for writing"
        );
        // What is merged and rolled up now says the same.
        store.settle_blocking().unwrap();
        assert_eq!(expected(version, &store.view()), text, "{version} settled");
        store.close_blocking().unwrap();
    }
}
