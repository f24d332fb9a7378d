//! Single stories that the property test does not tell.

use std::sync::Arc;

use super::{
    disk::SimulatedDisk,
    model::{NOW, agent, open, open_with},
};
use crate::{
    model::{
        Batch, Contact, DAY_MS, Limits, ManualClock, MetricKind, MetricMetadata, Registration,
        RegistrationSource, Timestamp, Window, names,
    },
    store::{
        Append, Appended, Registered, Settings, Store, Urgency, WriteError, catalog::EVENTS_MAX,
    },
};

fn push(
    store: &Store,
    rows: &[(&str, i64, f64)],
    contact: Option<Contact>,
) -> Result<Appended, WriteError> {
    let mut batch = Batch::new();
    for (name, time, value) in rows {
        batch
            .push(name, &mut [], Timestamp::from_millis(*time), *value)
            .unwrap();
    }
    store.append_blocking(Append {
        agent: agent(0),
        batch,
        contact,
        urgency: Urgency::Prompt,
    })
}

#[test]
fn a_limit_names_the_offender_and_spares_the_rest() {
    let disk = SimulatedDisk::default();
    let limits = Limits {
        series_per_agent: 2,
        ..Limits::default()
    };
    let store = open(
        &disk,
        Settings {
            limits,
            ..Settings::default()
        },
    );
    let appended = push(
        &store,
        &[
            ("a", NOW, 1.0),
            ("b", NOW, 2.0),
            ("c", NOW, 3.0),
            ("a", NOW - 1, 4.0),
        ],
        None,
    )
    .unwrap();
    assert_eq!(appended.accepted, 3);
    assert_eq!(appended.rejected.len(), 1);
    assert_eq!(appended.rejected[0].row, 2);
    let reason = &appended.rejected[0].reason;
    assert!(
        reason.contains("series c") && reason.contains("limits.series_per_agent"),
        "{reason}"
    );
}

#[test]
fn samples_beyond_the_clock_or_the_retention_are_refused() {
    let store = open(&SimulatedDisk::default(), Settings::default());
    let rows = [
        ("a", NOW + 600_001, 1.0),
        ("a", NOW + 600_000, 2.0),
        ("a", NOW - 31 * DAY_MS, 3.0),
    ];
    let appended = push(&store, &rows, None).unwrap();
    assert_eq!(appended.accepted, 1);
    let refused: Vec<usize> = appended.rejected.iter().map(|r| r.row).collect();
    assert_eq!(refused, [0, 2]);
}

#[test]
fn the_health_alert_is_committed_with_its_cause() {
    let mut disk = SimulatedDisk::default();
    let store = open(&disk, Settings::default());
    let scrape = |error: Option<&str>| {
        Some(Contact::Scrape {
            error: error.map(str::to_owned),
        })
    };
    let register = |store: &Store| {
        let mut registration = Registration::bare(RegistrationSource::Api);
        registration.metrics_endpoint = Some("http://127.0.0.1:1/".to_owned());
        store.register_blocking(agent(0), registration).unwrap()
    };
    assert_eq!(register(&store), Registered::Created);
    assert_eq!(register(&store), Registered::Unchanged);
    push(&store, &[(names::UP, NOW - 2, 1.0)], scrape(None)).unwrap();
    push(
        &store,
        &[(names::UP, NOW - 1, 0.0)],
        scrape(Some("connection refused")),
    )
    .unwrap();
    push(
        &store,
        &[(names::UP, NOW, 0.0)],
        scrape(Some("connection refused")),
    )
    .unwrap();
    let everything = Window::until(Timestamp::from_millis(NOW + 1));
    let firing = store.view().alerts(everything).unwrap();
    assert_eq!(firing.len(), 1, "raised once");
    assert!(
        firing[0].description.contains("connection refused"),
        "{}",
        firing[0].description
    );

    disk = disk.cut_power(0);
    drop(store);
    let store = open(&disk, Settings::default());
    assert_eq!(
        store.view().alerts(everything).unwrap(),
        firing,
        "the same after a power cut"
    );
    push(&store, &[(names::UP, NOW + 1, 1.0)], scrape(None)).unwrap();
    let view = store.view();
    let alerts = view.alerts(everything).unwrap();
    assert_eq!(alerts.len(), 1);
    assert!(alerts[0].resolved_at.is_some());
    assert_eq!(view.alert_events(&alerts[0]).unwrap().len(), 2);
}

#[test]
fn deregistering_keeps_the_history_under_the_same_number() {
    let store = open(&SimulatedDisk::default(), Settings::default());
    push(&store, &[("a", NOW, 1.0)], Some(Contact::Push)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    assert!(runtime.block_on(store.deregister(agent(0))).unwrap());
    assert!(!runtime.block_on(store.deregister(agent(0))).unwrap());
    let now = Timestamp::from_millis(NOW);
    let gone = store.view().agent(&agent(0), now).unwrap();
    assert!(gone.deregistered_at.is_some());
    assert!(store.view().agents(now).is_empty());
    push(&store, &[("a", NOW + 1, 2.0)], Some(Contact::Push)).unwrap();
    let back = store.view().agents(now).remove(0);
    assert_eq!(back.no, gone.no);
    assert_eq!(
        store
            .view()
            .extents(back.no, Window::until(now.plus_millis(5)))
            .unwrap()[0]
            .samples,
        2
    );
}

#[test]
fn old_days_are_deleted_whole() {
    let disk = SimulatedDisk::default();
    let store = open(
        &disk,
        Settings {
            retention_ms: 30 * DAY_MS,
            ..Settings::default()
        },
    );
    push(
        &store,
        &[
            ("a", NOW - 20 * DAY_MS, 1.0),
            ("a", NOW - 3 * DAY_MS, 2.0),
            ("a", NOW, 3.0),
        ],
        None,
    )
    .unwrap();
    store.checkpoint_blocking().unwrap();
    store.close_blocking().unwrap();
    drop(store);
    let store = open(
        &disk,
        Settings {
            retention_ms: 3 * DAY_MS,
            ..Settings::default()
        },
    );
    // The retention is applied after the first command at the latest.
    store.checkpoint_blocking().unwrap();
    push(&store, &[("b", NOW, 1.0)], None).unwrap();
    store.checkpoint_blocking().unwrap();
    let view = store.view();
    let no = view.agent(&agent(0), Timestamp::MAX).unwrap().no;
    let extents = view.extents(no, Window::until(Timestamp::MAX)).unwrap();
    assert_eq!(
        extents[0].samples, 2,
        "the day in which the retention begins stays"
    );
}

#[test]
fn many_writers_share_commits() {
    let store = open(&SimulatedDisk::default(), Settings::default());
    std::thread::scope(|scope| {
        for writer in 0..8u8 {
            let store = store.clone();
            scope.spawn(move || {
                for i in 0..50 {
                    let mut batch = Batch::new();
                    batch
                        .push("m", &mut [], Timestamp::from_millis(NOW - i), 1.0)
                        .unwrap();
                    let append = Append {
                        agent: agent(writer),
                        batch,
                        contact: None,
                        urgency: Urgency::Prompt,
                    };
                    store.append_blocking(append).unwrap();
                }
            });
        }
    });
    let commits = store.status().commits;
    assert!(commits < 400, "{commits} commits for 400 appends");
    assert_eq!(store.view().agents(Timestamp::MAX).len(), 8);
}

#[test]
fn no_metadata_keeps_the_file_from_opening_and_none_comes_with_refused_rows() {
    let disk = SimulatedDisk::default();
    let limits = Limits {
        series_per_agent: 3,
        ..Limits::default()
    };
    let settings = Settings {
        limits,
        ..Settings::default()
    };
    let store = open(&disk, settings.clone());
    let metadata = |name: &str, help: String| MetricMetadata {
        name: name.to_owned(),
        kind: MetricKind::Counter,
        help,
        unit: String::new(),
    };
    let append = |rows: &[(&str, i64)], told: Vec<MetricMetadata>| {
        let mut batch = Batch::new();
        for (name, time) in rows {
            batch
                .push(name, &mut [], Timestamp::from_millis(*time), 1.0)
                .unwrap();
        }
        batch.metadata = told;
        let append = Append {
            agent: agent(0),
            batch,
            contact: None,
            urgency: Urgency::Prompt,
        };
        store.append_blocking(append).unwrap()
    };
    append(&[("m", NOW)], vec![metadata("m", "ä".repeat(1_000_000))]);
    // Refused rows bring no metadata, and many names no more than series are allowed.
    append(
        &[("old", NOW - 300 * DAY_MS)],
        vec![metadata("old", String::new())],
    );
    append(
        &[("m", NOW + 1)],
        (0..50)
            .map(|i| metadata(&format!("x{i}"), String::new()))
            .collect(),
    );
    let known = |store: &Store| {
        let live = store.shared().live.lock();
        let (_, entry) = live.catalog.agents().next().unwrap();
        let mut names: Vec<String> = entry.metrics.keys().cloned().collect();
        names.sort();
        names
    };
    let before = known(&store);
    assert_eq!(before.len(), 3, "{before:?}");
    assert!(!before.contains(&"old".to_owned()));
    store.close_blocking().unwrap();
    drop(store);
    let store = open(&disk, settings);
    assert_eq!(known(&store), before);
}

#[test]
fn a_registration_that_changes_all_the_time_stays_bounded() {
    let disk = SimulatedDisk::default();
    let store = open(&disk, Settings::default());
    for i in 0..EVENTS_MAX + 30 {
        let mut registration = Registration::bare(RegistrationSource::Api);
        registration.info = format!("{{\"n\":{i}}}");
        store.register_blocking(agent(0), registration).unwrap();
    }
    let last = |store: &Store| {
        let told = store.view().agent(&agent(0), Timestamp::MAX).unwrap();
        (told.registered_at, told.registration.info)
    };
    let before = last(&store);
    assert_eq!(before.1, format!("{{\"n\":{}}}", EVENTS_MAX + 29));
    store.close_blocking().unwrap();
    drop(store);
    let store = open(&disk, Settings::default());
    assert_eq!(last(&store), before);
    let live = store.shared().live.lock();
    let (_, entry) = live.catalog.agents().next().unwrap();
    assert_eq!(entry.events.len(), EVENTS_MAX);
}

#[test]
fn an_agent_with_too_many_series_is_still_seen() {
    let limits = Limits {
        series_per_agent: 2,
        series_total: 2,
        ..Limits::default()
    };
    let store = open(
        &SimulatedDisk::default(),
        Settings {
            limits,
            ..Settings::default()
        },
    );
    push(&store, &[("a", NOW, 1.0), ("b", NOW, 2.0)], None).unwrap();
    let appended = push(
        &store,
        &[("c", NOW, 1.0), (names::UP, NOW, 1.0)],
        Some(Contact::Push),
    )
    .unwrap();
    assert_eq!((appended.accepted, appended.rejected.len()), (1, 1));
    let view = store.view();
    let no = view.agent(&agent(0), Timestamp::MAX).unwrap().no;
    assert_eq!(view.series(no, Some(names::UP)).len(), 1);
}

#[test]
fn a_start_of_the_server_brings_nobody_back() {
    let disk = SimulatedDisk::default();
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
    let settings = Settings {
        scrape_commit_delay_ms: 0,
        ..Settings::default()
    };
    let store = open_with(&disk, settings.clone(), Arc::clone(&clock));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    // Silent for longer than a push-only agent may be. The registration is made before, as of the contact.
    push(
        &store,
        &[(names::UP, NOW - 29_000, 1.0)],
        Some(Contact::Push),
    )
    .unwrap();
    clock.set(Timestamp::from_millis(NOW + 120_000));
    runtime.block_on(store.judge_stale()).unwrap();
    let everything = Window::until(Timestamp::MAX);
    let fired = store.view().alerts(everything).unwrap();
    assert_eq!(fired.len(), 1);
    store.close_blocking().unwrap();
    drop(store);
    clock.set(Timestamp::from_millis(NOW + 121_000));
    let store = open_with(&disk, settings, clock);
    runtime.block_on(store.judge_stale()).unwrap();
    assert_eq!(
        store.view().alerts(everything).unwrap(),
        fired,
        "it fires on"
    );
}
