use std::sync::Arc;

use tokio::sync::mpsc;

use super::*;
use crate::{
    collect::{rounds::PARSED_INLINE_MAX, writes::Write},
    model::{Contact, SeriesKey, SystemClock, is_stale_marker},
    net::{Reply, ScriptedServer},
};

/// What the tasks of these tests share, and where their appends come out.
pub(in crate::collect) fn context(timeout_ms: i64) -> (Arc<Context>, mpsc::Receiver<Write>) {
    let (writes, written) = Writes::channel();
    let ctx = Context {
        client: net::Client::new(&net::Settings::default()).unwrap(),
        writes,
        permits: Semaphore::new(4),
        large_reads: Arc::new(Semaphore::new(1)),
        timeout_ms,
        decompressed_bytes_max: 1 << 20,
        limits: Limits::default(),
        clock: Arc::new(SystemClock),
        metrics: Arc::new(OwnMetrics::default()),
        quiet: Quiet::default(),
    };
    (Arc::new(ctx), written)
}

fn plan(metrics: Option<String>, health: Option<String>) -> Plan {
    Plan {
        metrics_endpoint: metrics,
        health_endpoint: health,
        interval_ms: 500,
        timeout_ms: None,
        honor_labels: false,
        process: None,
    }
}

struct Watch {
    plan: watch::Sender<Option<Plan>>,
    written: mpsc::Receiver<Write>,
    ctx: Arc<Context>,
    task: tokio::task::JoinHandle<()>,
}

fn start(plan: Plan, timeout_ms: i64) -> Watch {
    let (ctx, written) = context(timeout_ms);
    let (sender, plans) = watch::channel(Some(plan));
    let agent = AgentId::new("a").unwrap();
    let task = tokio::spawn(watch_agent(Arc::clone(&ctx), agent, plans));
    Watch {
        plan: sender,
        written,
        ctx,
        task,
    }
}

impl Watch {
    /// The next append; says that it became durable.
    async fn next(&mut self) -> Append {
        let write = self.written.recv().await.unwrap();
        let _ = write.durable.send(true);
        write.append
    }

    /// The next append that fits.
    async fn next_that(&mut self, fits: impl Fn(&Append) -> bool) -> Append {
        loop {
            let append = self.next().await;
            if fits(&append) {
                return append;
            }
        }
    }
}

fn value(append: &Append, name: &str) -> Option<f64> {
    let key = SeriesKey::new(name, &[]).unwrap();
    let batch = &append.batch;
    let row = batch
        .rows()
        .iter()
        .find(|row| batch.key(row) == key.as_bytes())?;
    Some(row.value)
}

fn error(append: &Append) -> Option<&str> {
    match append.contact.as_ref()? {
        Contact::Scrape { error } | Contact::Probe { error } => error.as_deref(),
        Contact::Push => None,
    }
}

#[tokio::test]
async fn scrapes_until_deregistered_and_marks_the_end() {
    let server = ScriptedServer::start(|_, n| {
        Reply::ok("text/plain; version=0.0.4", &format!("m {n}\nn 1\n"))
    })
    .await;
    let mut watch = start(plan(Some(server.url("/metrics")), None), 10_000);
    for n in 0..2 {
        let append = watch.next().await;
        assert_eq!(value(&append, "m"), Some(f64::from(n)));
        assert_eq!(value(&append, "up"), Some(1.0));
        let times: Vec<_> = append.batch.rows().iter().map(|r| r.time).collect();
        assert!(times.iter().all(|t| *t == times[0]), "one time: {times:?}");
    }
    watch.plan.send_replace(None);
    let end = watch.next_that(|a| a.contact.is_none()).await;
    assert!(is_stale_marker(value(&end, "m").unwrap()));
    assert!(is_stale_marker(value(&end, "up").unwrap()));
    watch.task.await.unwrap();

    let head = server.requests.lock()[0].to_lowercase();
    for line in [
        "get /metrics http/1.1",
        "accept-encoding: gzip",
        "accept: text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;",
        "x-prometheus-scrape-timeout-seconds: 0.5",
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
    let shown = watch.ctx.metrics.to_openmetrics();
    let ok = server.count();
    assert!(
        shown.contains(&format!("longwatch_scrapes_total{{by=\"ok\"}} {ok}\n")),
        "{shown}"
    );
}

#[tokio::test]
async fn a_server_that_stops_leaves_no_marker() {
    let server = ScriptedServer::start(|_, _| Reply::ok("text/plain", "m 1\n")).await;
    let mut watch = start(plan(Some(server.url("/")), None), 10_000);
    watch.next().await;
    drop(watch.plan);
    watch.task.await.unwrap();
    drop(watch.ctx);
    while let Some(write) = watch.written.recv().await {
        assert!(write.append.contact.is_some(), "{write:?}");
    }
}

#[tokio::test]
async fn failures_say_why_and_end_when_it_answers_again() {
    let server = ScriptedServer::start(|_, n| match n {
        0 | 4 => Reply::ok("text/plain", "m 1\n"),
        1 => Reply::status(500),
        2 => Reply::Hang,
        _ => Reply::ok("text/plain", "m one\n"),
    })
    .await;
    let mut watch = start(plan(Some(server.url("/")), None), 300);
    assert_eq!(error(&watch.next().await), None);
    let failed = watch.next().await;
    assert_eq!(error(&failed), Some("status 500 Internal Server Error"));
    assert_eq!(value(&failed, "up"), Some(0.0));
    assert!(is_stale_marker(value(&failed, "m").unwrap()));
    let failed = watch.next().await;
    assert_eq!(error(&failed), Some("timed out after 300ms"));
    assert_eq!(value(&failed, "m"), None, "marked already");
    let failed = watch.next().await;
    assert!(error(&failed).unwrap().contains("line 1"), "{failed:?}");
    let back = watch.next().await;
    assert_eq!((error(&back), value(&back, "up")), (None, Some(1.0)));
    let shown = watch.ctx.metrics.to_openmetrics();
    assert!(
        shown.contains("longwatch_scrapes_total{by=\"failed\"} 3\n"),
        "{shown}"
    );
}

#[tokio::test]
async fn the_health_endpoint_is_asked_too() {
    let server = ScriptedServer::start(|path, n| match path {
        "/metrics" => Reply::ok("text/plain", "m 1\n"),
        _ if n < 4 => Reply::status(204),
        _ => Reply::status(503),
    })
    .await;
    let urls = (server.url("/metrics"), server.url("/health"));
    let mut watch = start(plan(Some(urls.0), Some(urls.1)), 10_000);
    let good = watch
        .next_that(|a| value(a, "health_probe_up") == Some(1.0))
        .await;
    assert_eq!(good.contact, Some(Contact::Probe { error: None }));
    assert_eq!(good.batch.len(), 1);
    let bad = watch
        .next_that(|a| value(a, "health_probe_up") == Some(0.0))
        .await;
    let why = "health check: status 503 Service Unavailable";
    assert_eq!(error(&bad), Some(why));
    let scraped = watch.next_that(|a| value(a, "up").is_some()).await;
    assert_eq!(value(&scraped, "up"), Some(1.0), "scrapes go on");
}

#[tokio::test]
async fn an_agent_with_health_alone_is_only_probed() {
    let server = ScriptedServer::start(|_, _| Reply::status(200)).await;
    let mut watch = start(plan(None, Some(server.url("/health"))), 10_000);
    for _ in 0..3 {
        let append = watch.next().await;
        assert_eq!(value(&append, "health_probe_up"), Some(1.0));
        assert_eq!(
            value(&append, "up"),
            Some(1.0),
            "nothing else tells that it is there"
        );
    }
}

#[tokio::test]
async fn a_changed_endpoint_goes_on_with_the_same_series() {
    let server = ScriptedServer::start(|path, _| match path {
        "/old" => Reply::ok("text/plain", "both 1\nold 1\n"),
        "/hang" => Reply::Hang,
        _ => Reply::ok("text/plain", "both 1\nnew 1\n"),
    })
    .await;
    let mut watch = start(plan(Some(server.url("/old")), None), 10_000);
    watch.next().await;
    // A scrape under way of an endpoint that no longer holds is given up.
    let mut slow = plan(Some(server.url("/hang")), None);
    slow.interval_ms = 3_600_000;
    watch.plan.send_replace(Some(slow));
    while !server.requests.lock().iter().any(|r| r.contains("/hang")) {
        tokio::task::yield_now().await;
    }
    watch
        .plan
        .send_replace(Some(plan(Some(server.url("/new")), None)));
    let changed = watch.next_that(|a| value(a, "new").is_some()).await;
    assert!(is_stale_marker(value(&changed, "old").unwrap()));
    assert_eq!(value(&changed, "both"), Some(1.0));
    assert_eq!(value(&changed, "scrape_series_added"), Some(1.0));
    // Without the endpoint the scrapes end, and the task goes on for what may come.
    watch.plan.send_replace(Some(plan(None, None)));
    let end = watch.next_that(|a| a.contact.is_none()).await;
    assert!(is_stale_marker(value(&end, "both").unwrap()));
    assert!(!watch.task.is_finished());
}

#[tokio::test]
async fn scrapes_of_one_agent_do_not_wait_for_commits() {
    let server = ScriptedServer::start(|_, _| Reply::ok("text/plain", "m 1\n")).await;
    let mut watch = start(plan(Some(server.url("/")), None), 10_000);
    // Nothing is ever committed, and rounds follow each other all the same.
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(watch.written.recv().await.unwrap());
    }
    drop(held);
    watch.next().await;
}

#[tokio::test]
async fn large_bodies_are_read_elsewhere() {
    let body = Arc::new("m 1\n".repeat(20_000));
    let sent = Arc::clone(&body);
    let server = ScriptedServer::start(move |_, _| Reply::ok("text/plain", &sent)).await;
    let mut watch = start(plan(Some(server.url("/")), None), 10_000);
    assert!(body.len() > PARSED_INLINE_MAX);
    let append = watch.next().await;
    assert_eq!(value(&append, "scrape_samples_scraped"), Some(20_000.0));
}
