//! Too much at once, and too little room.

use std::sync::Arc;

use super::{
    disk::SimulatedDisk,
    faults::{until, until_sound},
    model::{Model, NOW, agent, append_to, open, open_with},
};
use crate::{
    alerts::health_alert_id,
    model::{
        Batch, Contact, ManualClock, Registration, RegistrationSource, Timestamp, Window, names,
    },
    store::{
        Append, Appended, Condition, Registered, Settings, Store, Urgency, WriteError,
        queue::COMMIT,
    },
    telemetry::By,
};

const EVERYTHING: Window = Window::until(Timestamp::from_millis(NOW + 600_000));

fn rows(agent_no: u8, urgency: Urgency, first: i64, count: i64) -> Append {
    let mut batch = Batch::new();
    for i in 0..count {
        let time = Timestamp::from_millis(first - i);
        batch.push("m", &mut [], time, 1.0).unwrap();
    }
    Append {
        agent: agent(agent_no),
        batch,
        contact: None,
        urgency,
    }
}

#[test]
fn while_the_disk_is_slow_each_class_has_its_own_room() {
    let disk = SimulatedDisk::default();
    let settings = Settings {
        queue_rows_max: 1_000,
        ..Settings::default()
    };
    let store = open(&disk, settings);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let commits = store.status().commits;
    disk.hold();
    let local = tokio::task::LocalSet::new();
    let told = local.block_on(&runtime, async {
        let mut told = Vec::new();
        let mut put = |append: Append| {
            let store = store.clone();
            told.push(tokio::task::spawn_local(async move {
                store.append(append).await
            }));
        };
        // The first one's commit is under way; when it was taken from the queue, the rest waits.
        put(rows(0, Urgency::Prompt, NOW, 1));
        let length = |class| {
            let metrics = &store.shared().metrics;
            metrics.queue_length.get_or_create(&By { by: class }).get()
        };
        while !disk.is_waited_for() || length("push") > 0 {
            tokio::task::yield_now().await;
        }
        for n in 1..=4 {
            put(rows(1, Urgency::Prompt, NOW - n * 1_000, 300));
            put(rows(2, Urgency::Relaxed, NOW - n * 1_000, 300));
        }
        let registering = {
            let store = store.clone();
            let registration = Registration::bare(RegistrationSource::Api);
            tokio::task::spawn_local(async move { store.register(agent(3), registration).await })
        };
        while length("push") < 3 || length("scrape") < 3 || length("control") < 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(store.status().commits, commits);
        disk.release();
        let mut results = Vec::new();
        for task in told {
            results.push(task.await.unwrap());
        }
        assert_eq!(registering.await.unwrap(), Ok(Registered::Created));
        results
    });
    let refused: Vec<bool> = told.iter().map(Result::is_err).collect();
    let last_two = [false, false, false, false, false, false, false, true, true];
    assert_eq!(refused, last_two);
    for error in told.into_iter().filter_map(Result::err) {
        assert!(
            matches!(
                error,
                WriteError::Busy {
                    retry_after_seconds: 1..=60
                }
            ),
            "{error:?}"
        );
    }
    let rejected = &store.shared().metrics.samples_rejected;
    assert_eq!(rejected.get_or_create(&By { by: "queue_full" }).get(), 600);
    assert_eq!(
        store.status().commits,
        commits + 2,
        "one for the first, one for all that waited"
    );
    let view = store.view();
    for agent_no in [1, 2] {
        let no = view.agent(&agent(agent_no), Timestamp::MAX).unwrap().no;
        assert_eq!(view.extents(no, EVERYTHING).unwrap()[0].samples, 900);
    }
}

#[test]
fn nobody_is_called_silent_whose_contact_waits() {
    let disk = SimulatedDisk::default();
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
    let settings = Settings {
        scrape_commit_delay_ms: 0,
        ..Settings::default()
    };
    let store = open_with(&disk, settings, Arc::clone(&clock));
    let (heard, silent, busy, first) = (1, 2, 3, 4);
    for agent_no in [heard, silent] {
        register(&store, agent_no, RegistrationSource::Api).unwrap();
        let up = contact(agent_no, NOW, 1.0, None);
        store.append_blocking(up).unwrap();
    }
    let later = NOW + 120_000;
    clock.set(Timestamp::from_millis(later));
    let length = |class| {
        let metrics = &store.shared().metrics;
        metrics.queue_length.get_or_create(&By { by: class }).get()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    disk.hold();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let append = |append: Append| {
            let store = store.clone();
            tokio::task::spawn_local(async move { store.append(append).await.unwrap() })
        };
        let mut tasks = vec![append(rows(first, Urgency::Prompt, later, 1))];
        while !disk.is_waited_for() || length("push") > 0 {
            tokio::task::yield_now().await;
        }
        // More than one commit takes, and the contact comes after it.
        let most = COMMIT.rows as i64;
        tasks.push(append(rows(busy, Urgency::Relaxed, later, most)));
        tasks.push(append(contact(heard, later, 1.0, None)));
        let judge = store.clone();
        let judging = tokio::task::spawn_local(async move { judge.judge_stale().await });
        while length("scrape") < 2 || length("control") < 1 {
            tokio::task::yield_now().await;
        }
        disk.release();
        judging.await.unwrap().unwrap();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let fired = store.view().alerts(EVERYTHING).unwrap();
    let of: Vec<_> = fired.iter().map(|alert| alert.alert_id.clone()).collect();
    assert_eq!(of, [health_alert_id(&agent(silent))]);
    // Judging again changes nothing and costs nothing.
    let commits = store.status().commits;
    runtime.block_on(store.judge_stale()).unwrap();
    assert_eq!(store.status().commits, commits);
}

fn contact(agent_no: u8, time: i64, up: f64, error: Option<&str>) -> Append {
    let mut append = rows(agent_no, Urgency::News, time, 3);
    let at = Timestamp::from_millis(time);
    append.batch.push(names::UP, &mut [], at, up).unwrap();
    append.contact = Some(Contact::Scrape {
        error: error.map(str::to_owned),
    });
    append
}

fn is_refused(result: &Result<Appended, WriteError>) -> bool {
    matches!(result, Err(WriteError::DiskFull { why, .. }) if why.contains("storage.disk_reserve"))
}

fn register(
    store: &Store,
    agent_no: u8,
    source: RegistrationSource,
) -> Result<Registered, WriteError> {
    store.register_blocking(agent(agent_no), Registration::bare(source))
}

#[test]
fn below_the_reserve_samples_are_refused_and_the_rest_goes_on() {
    let disk = SimulatedDisk::default();
    let settings = Settings {
        disk_reserve: Some(1_000_000),
        scrape_commit_delay_ms: 0,
        ..Settings::default()
    };
    let store = open(&disk, settings.clone());
    let mut model = Model::new();
    append_to(&store, &mut model, 1, &[(0, NOW, 1.0)]).unwrap();
    register(&store, 0, RegistrationSource::Api).unwrap();
    store
        .append_blocking(contact(0, NOW - 9, 1.0, None))
        .unwrap();
    disk.set_available(999_999);
    until("the reserve is touched", || {
        matches!(store.condition(), Condition::DiskLow(_))
    });
    let status = store.status();
    assert_eq!(status.disk_available_bytes, Some(999_999));
    assert_eq!(status.disk_reserve_bytes, Some(1_000_000));
    assert_eq!(store.shared().metrics.writes_refused.get(), 1);

    // New samples, new agents and changes of agents are refused.
    let refused = store.append_blocking(rows(1, Urgency::Prompt, NOW + 1, 1));
    assert!(is_refused(&refused), "{refused:?}");
    let refused = store.append_blocking(rows(7, Urgency::Prompt, NOW, 1));
    assert!(is_refused(&refused), "{refused:?}");
    assert!(register(&store, 7, RegistrationSource::Api).is_err());
    assert_eq!(
        register(&store, 0, RegistrationSource::Api),
        Ok(Registered::Unchanged)
    );
    // A server with this configuration must be able to start.
    assert_eq!(
        register(&store, 2, RegistrationSource::Config),
        Ok(Registered::Created)
    );

    // Contacts are recorded, so that alerts stay true: one fires and is resolved.
    let firing = |store: &Store| {
        let alerts = store.view().alerts(EVERYTHING).unwrap();
        alerts.iter().filter(|a| a.resolved_at.is_none()).count()
    };
    let down = store.append_blocking(contact(0, NOW - 5, 0.0, Some("refused")));
    assert!(is_refused(&down), "{down:?}");
    assert_eq!(firing(&store), 1);
    let up = store.append_blocking(contact(0, NOW + 1, 1.0, None));
    assert!(is_refused(&up), "{up:?}");
    assert_eq!(firing(&store), 0);
    // A contact alone, a heartbeat, is taken.
    let mut heartbeat = rows(0, Urgency::Prompt, NOW, 0);
    let at = Timestamp::from_millis(NOW + 2);
    heartbeat.batch.push(names::UP, &mut [], at, 1.0).unwrap();
    heartbeat.contact = Some(Contact::Push);
    assert_eq!(store.append_blocking(heartbeat).unwrap().accepted, 1);
    store.checkpoint_blocking().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(store.judge_stale()).unwrap();
    assert_eq!(runtime.block_on(store.deregister_owned(agent(2))), Ok(true));
    let rejected = &store.shared().metrics.samples_rejected;
    let counted = rejected.get_or_create(&By { by: "disk_full" }).get();
    assert_eq!(counted, 1 + 1 + 3 + 3);

    let view = store.view();
    let no = view.agent(&agent(0), Timestamp::MAX).unwrap().no;
    let of_series = |name: &str| {
        let series = view.series(no, Some(name));
        let extents = view.extents(no, EVERYTHING).unwrap();
        let extent = extents
            .iter()
            .find(|e| Some(e.no) == series.first().map(|s| s.no));
        extent.map_or(0, |e| e.samples)
    };
    assert_eq!(
        (of_series("m"), of_series(names::UP)),
        (3, 4),
        "the gap shows"
    );

    disk.set_available(2_000_000);
    until_sound(&store);
    assert_eq!(store.shared().metrics.writes_refused.get(), 0);
    append_to(&store, &mut model, 1, &[(0, NOW + 1, 2.0)]).unwrap();
    store.close_blocking().unwrap();
    drop((view, store));
    // A server starts on a disk without room, too.
    disk.set_available(0);
    let store = open(&disk, settings);
    assert!(is_refused(&store.append_blocking(rows(
        1,
        Urgency::Prompt,
        NOW + 2,
        1
    ))));
    let view = store.view();
    assert!(view.agent(&agent(7), Timestamp::MAX).is_none());
    let no = view.agent(&agent(1), Timestamp::MAX).unwrap().no;
    assert_eq!(view.extents(no, EVERYTHING).unwrap()[0].samples, 2);
}
