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
const VERSIONS: [&str; 1] = ["v1"];
const NOW: i64 = 20_000 * DAY_MS + 5_000;

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "migrations", "fixtures", name]
        .iter()
        .collect()
}

fn open(path: &std::path::Path) -> Store {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
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

/// A little of everything that version 1 can hold: blocks over a midnight, a log, an alert, events.
fn write_v1(path: &std::path::Path) {
    let store = open(path);
    let agent = AgentId::new("agent 7/ä").unwrap();
    let mut registration = Registration::bare(RegistrationSource::Api);
    registration.metrics_endpoint = Some("http://127.0.0.1:9/metrics".into());
    registration.labels = vec![("job".into(), "fleet".into())];
    registration.info = r#"{"team":"red"}"#.into();
    store
        .register_blocking(agent.clone(), registration)
        .unwrap();
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

#[test]
fn files_of_every_version_open_and_say_what_they_said() {
    if std::env::var_os("LONGWATCH_WRITE_FIXTURES").is_some() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v1.redb");
        write_v1(&path);
        let to = fixture("v1.redb");
        let _ = std::fs::remove_file(&to);
        store::snapshot_file(&path, &to, &mut |_, _| {}).unwrap();
        std::fs::write(fixture("v1.txt"), dump(&store::open_copy(&to).unwrap())).unwrap();
    }
    for version in VERSIONS {
        let file = fixture(&format!("{version}.redb"));
        let expected = std::fs::read_to_string(fixture(&format!("{version}.txt"))).unwrap();
        assert_eq!(
            dump(&store::open_copy(&file).unwrap()),
            expected,
            "{version} read as a copy"
        );
        let report = store::verify(&file, &mut |_, _| {}).unwrap();
        assert_eq!(report.bad, Vec::<String>::new(), "{version}");

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("opened.redb");
        std::fs::copy(&file, &path).unwrap();
        let store = open(&path);
        assert_eq!(
            dump(&store.view()),
            expected,
            "{version} opened for writing"
        );
        store.close_blocking().unwrap();
    }
}
