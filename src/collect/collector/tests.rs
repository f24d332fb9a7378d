use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::{
    model::{History, Registration, RegistrationSource, Sample, SystemClock, Window, names},
    net::{Reply, ScriptedServer},
    store,
};

struct Stage {
    store: Store,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), net::BuildError>>,
}

fn open(folder: &tempfile::TempDir) -> Store {
    let settings = store::Settings {
        scrape_commit_delay_ms: 20,
        // The disk may be nearly full.
        disk_reserve: Some(0),
        ..store::Settings::default()
    };
    let path = folder.path().join("test.redb");
    Store::open(&path, settings, Arc::new(SystemClock), Arc::default()).unwrap()
}

fn start(store: &Store, host_enabled: bool) -> Stage {
    let shutdown = CancellationToken::new();
    let collector = Collector {
        store: store.clone(),
        settings: Settings {
            host_enabled,
            host_agent_id: Some("this-host".to_owned()),
            host_interval_ms: Some(200),
            ..Settings::default()
        },
        policy: Policy::default(),
        limits: Limits::default(),
        clock: Arc::new(SystemClock),
        metrics: Arc::default(),
    };
    Stage {
        store: store.clone(),
        task: {
            let shutdown = shutdown.clone();
            tokio::spawn(async move {
                let builtin = collector.register_builtin().await;
                collector.run(builtin, shutdown).await
            })
        },
        shutdown,
    }
}

impl Stage {
    /// Waits for something to become true of the file.
    async fn until(&self, what: &str, holds: impl Fn(&dyn History) -> bool) {
        let met = async {
            while !holds(&*self.store.view()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), met)
            .await
            .unwrap_or_else(|_| panic!("never: {what}"));
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
        self.store.close().await.unwrap();
    }
}

fn id(text: &str) -> AgentId {
    AgentId::new(text).unwrap()
}

fn is_registered(history: &dyn History, agent: &str) -> bool {
    let now = SystemClock.now();
    history.agents(now).iter().any(|a| a.id.as_str() == agent)
}

/// Last sample of an agent's metric, markers skipped.
fn last(history: &dyn History, agent: &str, metric: &str) -> Option<Sample> {
    let now = SystemClock.now();
    let agent = history.agent(&id(agent), now)?;
    let series = history.series(agent.no, Some(metric));
    let no = series.first()?.no;
    history.last_sample(agent.no, no, now, None).unwrap()
}

/// Whether the last thing said of the series is that it ended.
fn has_ended(history: &dyn History, agent: &str, metric: &str) -> bool {
    let now = SystemClock.now();
    let agent = history.agent(&id(agent), now).unwrap();
    let no = history.series(agent.no, Some(metric))[0].no;
    let mut ended = false;
    let mut visit = |_, _: &[i64], values: &[f64]| {
        ended = values
            .last()
            .copied()
            .is_some_and(crate::model::is_stale_marker);
    };
    history
        .scan(agent.no, &[no], Window::until(now), &mut visit)
        .unwrap();
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_s_life_is_in_the_file() {
    let up = Arc::new(AtomicBool::new(true));
    let is_up = Arc::clone(&up);
    let server = ScriptedServer::start(move |_, n| {
        if is_up.load(Ordering::SeqCst) {
            Reply::ok("text/plain; version=0.0.4", &format!("m {n}\n"))
        } else {
            Reply::status(500)
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let stage = start(&store, false);
    let registration = Registration {
        metrics_endpoint: Some(server.url("/metrics")),
        interval_ms: Some(100),
        ..Registration::bare(RegistrationSource::Api)
    };
    store.register(id("a"), registration).await.unwrap();
    let up_is =
        |value| move |h: &dyn History| last(h, "a", names::UP).map(|s| s.value) == Some(value);
    stage.until("scraped", up_is(1.0)).await;
    stage
        .until("its metric", |h| last(h, "a", "m").is_some())
        .await;

    up.store(false, Ordering::SeqCst);
    stage.until("failed", up_is(0.0)).await;
    let window = Window::until(crate::model::Timestamp::MAX);
    let firing = |h: &dyn History| {
        let alerts = h.alerts(window).unwrap();
        alerts.iter().any(|a| a.resolved_at.is_none())
    };
    stage.until("the health alert", firing).await;
    assert!(has_ended(&*store.view(), "a", "m"));
    up.store(true, Ordering::SeqCst);
    stage.until("back", up_is(1.0)).await;
    stage.until("alert resolved", |h| !firing(h)).await;

    assert!(store.deregister(id("a")).await.unwrap());
    stage
        .until("its end", |h| has_ended(h, "a", names::UP))
        .await;
    assert!(has_ended(&*store.view(), "a", "m"));
    let asked = server.count();
    assert!(!is_registered(&*store.view(), "a"), "the end is no contact");
    stage.stop().await;
    assert_eq!(server.count(), asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_host_and_longwatch_are_agents() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let bare = Registration::bare(RegistrationSource::Builtin);
    store.register(id("former-host"), bare).await.unwrap();
    let stage = start(&store, true);
    for agent in ["this-host", "longwatch"] {
        for metric in [
            names::UP,
            names::SYSTEM_CPU_USAGE,
            names::SYSTEM_MEMORY_USAGE,
        ] {
            let what = format!("{metric} of {agent}");
            stage
                .until(&what, |h| last(h, agent, metric).is_some())
                .await;
        }
    }
    stage
        .until("own counters", |h| {
            last(h, "longwatch", "longwatch_commits_total").is_some()
        })
        .await;
    assert!(!is_registered(&*store.view(), "former-host"));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_takes_no_other_agent_s_place() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let other = Registration::bare(RegistrationSource::Api);
    store
        .register(id("this-host"), other.clone())
        .await
        .unwrap();
    let stage = start(&store, true);
    stage
        .until("longwatch itself", |h| {
            last(h, "longwatch", names::UP).is_some()
        })
        .await;
    let now = SystemClock.now();
    let held = store.view().agent(&id("this-host"), now).unwrap();
    assert_eq!(held.registration, other);
    assert_eq!(last(&*store.view(), "this-host", names::UP), None);
    stage.stop().await;
}

/// A process that got the pid of the one that was registered is a stranger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pid_of_another_process_is_not_sampled() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let stage = start(&store, false);
    let own = Registration {
        interval_ms: Some(200),
        pid: Some(std::process::id()),
        pid_start: crate::collect::pid_start(std::process::id()),
        ..Registration::bare(RegistrationSource::Api)
    };
    let reused = Registration {
        pid_start: Some("this boot:1".to_owned()),
        ..own.clone()
    };
    store.register(id("reused"), reused).await.unwrap();
    store.register(id("own"), own).await.unwrap();
    stage
        .until("its process", |h| {
            last(h, "own", "process_threads").is_some()
        })
        .await;
    stage
        .until("the stranger refused", |h| {
            last(h, "reused", names::UP).is_some_and(|s| s.value == 0.0)
        })
        .await;
    let view = store.view();
    let reused = view.agent(&id("reused"), SystemClock.now()).unwrap();
    let mut told: Vec<_> = view
        .series(reused.no, None)
        .iter()
        .map(|s| s.key.name().to_owned())
        .collect();
    told.sort();
    assert_eq!(told, [names::PROCESS_UP, names::UP]);
    let alerts = view
        .alerts(Window::until(crate::model::Timestamp::MAX))
        .unwrap();
    let why = &alerts
        .iter()
        .find(|a| a.agent == reused.no)
        .unwrap()
        .description;
    assert!(why.contains("another process has its pid now"), "{why}");
    stage.stop().await;
}
