use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::{
    net::{Reply, ScriptedServer},
    notify::NET,
};

fn heart(url: &str, shutdown: &CancellationToken) -> Heartbeat {
    Heartbeat {
        url: Secret::Text(url.to_owned()),
        interval: Duration::from_millis(2),
        timeout: Duration::from_mins(1),
        http: Client::new(&NET).unwrap(),
        metrics: Arc::default(),
        shutdown: shutdown.clone(),
    }
}

#[tokio::test]
async fn it_beats_while_healthy_and_only_then() {
    let server = ScriptedServer::start(|_, before| match before {
        0 => Reply::status(500),
        1 => Reply::Close,
        _ => Reply::status(200),
    })
    .await;
    let shutdown = CancellationToken::new();
    let heartbeat = heart(&server.url("/ping/hunter2"), &shutdown);
    let metrics = Arc::clone(&heartbeat.metrics);
    let (asked, end) = (AtomicUsize::new(0), shutdown.clone());
    let healthy = move || {
        let n = asked.fetch_add(1, Ordering::SeqCst);
        if n == 5 {
            end.cancel();
        }
        n < 3
    };
    heartbeat.run(healthy).await;
    let paths: Vec<_> = server
        .requests
        .lock()
        .iter()
        .map(|r| r.lines().next().unwrap_or_default().to_owned())
        .collect();
    // A connection that was closed under it is asked once more.
    assert_eq!(paths.len(), 4, "{paths:?}");
    assert!(
        paths.iter().all(|p| p == "GET /ping/hunter2 HTTP/1.1"),
        "{paths:?}"
    );
    let text = metrics.to_openmetrics();
    for line in [
        "longwatch_heartbeats_total{by=\"ok\"} 2",
        "longwatch_heartbeats_total{by=\"failed\"} 1",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_nothing_up() {
    let server = ScriptedServer::start(|_, _| Reply::Hang).await;
    let shutdown = CancellationToken::new();
    let heartbeat = heart(&server.url("/"), &shutdown);
    let task = tokio::spawn(heartbeat.run(|| true));
    while server.count() == 0 {
        tokio::task::yield_now().await;
    }
    shutdown.cancel();
    task.await.unwrap();
}
