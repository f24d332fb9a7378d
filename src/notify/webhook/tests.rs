use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    net::{Client, Reply, ScriptedServer},
    notify::{
        NET, Secret,
        backoff::Backoff,
        deliver::Deliverer,
        fake::{MemoryOutbox, RuntimeClock, START, delivery, firing, resolved},
    },
    telemetry::OwnMetrics,
};

fn around() -> Surroundings {
    Surroundings {
        http: Client::new(&NET).unwrap(),
        external_url: "https://watch.example".into(),
        clock: RuntimeClock::start(),
    }
}

fn hook(url: &str) -> Webhook {
    let settings = WebhookSettings::new(Secret::Text(url.to_owned()));
    Webhook::new("pager".to_owned(), settings, around())
}

fn error_of(outcome: &DeliveryOutcome) -> &str {
    match outcome {
        DeliveryOutcome::Failed { error, .. } | DeliveryOutcome::Refused { error } => error,
        DeliveryOutcome::Delivered => "",
    }
}

#[test]
fn the_body_is_alertmanagers() {
    let mut told = delivery(1, "route/{alertname=\"HighCpu\"}");
    told.notification.alerts = vec![firing(1), resolved(2)];
    told.notification.truncated = 3;
    let body: Value =
        serde_json::from_slice(&body(&told, "pager", "https://watch.example")).unwrap();
    let alert = |n: u64, status: &str, ends: &str| {
        json!({
            "status": status,
            "labels": {"agent_id": format!("agent-{n}"), "alertname": "HighCpu", "severity": "critical"},
            "annotations": {"description": format!("cpu of agent-{n} is 97"), "runbook": "https://runbooks.example/cpu"},
            "startsAt": "2026-01-01T00:00:00.000Z",
            "endsAt": ends,
            "generatorURL": format!("https://watch.example/api/v1/alerts/{n}"),
            "fingerprint": format!("{n:016x}"),
            "id": n.to_string(),
            "alert_id": format!("HighCpu:agent-{n}:cpu"),
            "value": "97",
        })
    };
    assert_eq!(
        body,
        json!({
            "version": "4",
            "groupKey": "route/{alertname=\"HighCpu\"}",
            "truncatedAlerts": 3,
            "status": "firing",
            "receiver": "pager",
            "groupLabels": {"alertname": "HighCpu"},
            "commonLabels": {"alertname": "HighCpu", "severity": "critical"},
            "commonAnnotations": {"runbook": "https://runbooks.example/cpu"},
            "externalURL": "https://watch.example",
            "alerts": [
                alert(1, "firing", "0001-01-01T00:00:00Z"),
                alert(2, "resolved", "2026-01-01T00:01:30.000Z"),
            ],
        })
    );
}

#[test]
fn a_group_that_is_over_is_resolved() {
    let mut told = delivery(1, "g");
    told.notification.alerts = vec![resolved(1)];
    told.notification.is_escalation = true;
    let body: Value = serde_json::from_slice(&body(&told, "r", "")).unwrap();
    assert_eq!(body["status"], "resolved");
    assert_eq!(body["escalation"], true);
    assert_eq!(body["alerts"][0]["generatorURL"], "");
}

fn deliverer(
    outbox: &MemoryOutbox,
    name: &str,
    url: &str,
    shutdown: &CancellationToken,
) -> Deliverer<MemoryOutbox, Webhook> {
    Deliverer {
        outbox: outbox.clone(),
        name: name.to_owned(),
        send_resolved: true,
        timeout: Duration::from_secs(30),
        channel: hook(url),
        backoff: Backoff {
            pauses_ms: 2..=10,
            give_up_after_ms: 60_000,
        },
        clock: RuntimeClock::start(),
        metrics: Arc::<OwnMetrics>::default(),
        shutdown: shutdown.clone(),
    }
}

fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = request.lines().filter_map(|line| line.split_once(": "));
    lines
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

#[tokio::test]
async fn a_receiver_that_fails_for_a_while_gets_everything_once_it_can() {
    let server = ScriptedServer::start(|_, before| match before {
        0..4 => Reply::status(500),
        _ => Reply::status(200),
    })
    .await;
    let outbox = MemoryOutbox::of([delivery(1, "a"), delivery(2, "a"), delivery(3, "b")]);
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(deliverer(&outbox, "c", &server.url("/hook"), &shutdown).run());
    outbox.until_empty().await;
    shutdown.cancel();
    task.await.unwrap();
    let requests = server.requests.lock();
    let keys: Vec<&str> = requests
        .iter()
        .map(|request| header(request, "Idempotency-Key").unwrap())
        .collect();
    assert_eq!(keys.len(), 7, "4 failures and 3 deliveries: {keys:?}");
    let of = |key: &str| keys.iter().filter(|k| **k == key).count();
    assert_eq!(of("key-2"), 1, "it waits for the one before it: {keys:?}");
    assert_eq!(of("key-1") + of("key-3"), 6);
    let at = |key: &str| keys.iter().rposition(|k| *k == key);
    assert!(at("key-1") < at("key-2"), "{keys:?}");
    let bodies: Vec<&str> = requests
        .iter()
        .filter(|r| header(r, "Idempotency-Key") == Some("key-1"))
        .filter_map(|r| r.split_once("\r\n\r\n"))
        .map(|(_, body)| body)
        .collect();
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    assert!(bodies[0].contains("\"groupKey\":\"a\""), "{bodies:?}");
    assert_eq!(
        header(&requests[0], "Content-Type"),
        Some("application/json")
    );
    assert!(requests[0].starts_with("POST /hook HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_receiver_that_hangs_is_left_and_others_are_served() {
    let hanging = ScriptedServer::start(|_, before| match before {
        0 => Reply::Hang,
        _ => Reply::status(204),
    })
    .await;
    let quick = ScriptedServer::start(|_, _| Reply::status(200)).await;
    let outbox = MemoryOutbox::of([
        delivery(1, "a"),
        Delivery {
            channel: "quick".to_owned(),
            ..delivery(2, "a")
        },
    ]);
    let shutdown = CancellationToken::new();
    let mut slow = deliverer(&outbox, "c", &hanging.url("/"), &shutdown);
    slow.timeout = Duration::from_millis(50);
    tokio::spawn(slow.run());
    tokio::spawn(deliverer(&outbox, "quick", &quick.url("/"), &shutdown).run());
    outbox.until_empty().await;
    shutdown.cancel();
    assert_eq!(quick.count(), 1);
    let settled = outbox.settled();
    let first = settled.iter().find(|s| s.0 == 1).unwrap();
    assert_eq!(error_of(&first.1), "timed out after 50ms");
}

#[tokio::test]
async fn a_receiver_that_is_gone_may_come_back() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let hook = hook(&format!("http://user:hunter2@{address}/hunter2"));
    let outcome = hook.deliver(&delivery(1, "g")).await;
    assert!(matches!(
        outcome,
        DeliveryOutcome::Failed { retry_at: None, .. }
    ));
    assert_eq!(
        error_of(&outcome),
        format!("cannot connect to {address}: connection refused")
    );
}

#[tokio::test]
async fn answers_are_judged() {
    let server = ScriptedServer::start(|path, _| match path {
        "/busy" => Reply::Raw(
            "HTTP/1.1 503 X\r\nRetry-After: 7\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                .to_owned(),
        ),
        "/moved" => Reply::redirect("/ok"),
        "/bad" => Reply::Raw(
            "HTTP/1.1 400 X\r\nContent-Length: 7\r\nConnection: close\r\n\r\nhunter2".to_owned(),
        ),
        "/half" => Reply::Half,
        _ => Reply::status(200),
    })
    .await;
    let ask = async |path: &str| hook(&server.url(path)).deliver(&delivery(1, "g")).await;
    let DeliveryOutcome::Failed { error, retry_at } = ask("/busy").await else {
        panic!()
    };
    assert_eq!(error, "status 503 Service Unavailable");
    let asked = retry_at.unwrap().since(START);
    assert!((7_000..67_000).contains(&asked), "{asked}");
    let bad = ask("/bad").await;
    assert!(matches!(bad, DeliveryOutcome::Refused { .. }));
    assert_eq!(error_of(&bad), "status 400 Bad Request");
    let moved = ask("/moved").await;
    assert!(error_of(&moved).starts_with("status 302 Found: redirects are not followed"));
    // The status counts, whatever becomes of the rest.
    assert_eq!(ask("/half").await, DeliveryOutcome::Delivered);
    assert_eq!(server.count(), 4, "no redirect was followed");
}

#[tokio::test]
async fn addresses_of_metadata_services_are_refused() {
    let outcome = hook("http://169.254.169.254/latest")
        .deliver(&delivery(1, "g"))
        .await;
    assert_eq!(
        error_of(&outcome),
        "169.254.169.254 is a link-local address: refused"
    );
}

#[tokio::test]
async fn secrets_are_read_at_each_attempt_and_never_told() {
    let server = ScriptedServer::start(|_, _| Reply::status(500)).await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "hunter2\n").unwrap();
    let url = server
        .url("/hunter3")
        .replace("http://", "http://user:hunter4@");
    let mut settings = WebhookSettings::new(Secret::Text(url));
    settings.add_header("X-Key", "hunter5").unwrap();
    settings.bearer_token = Some(Secret::File(token.clone()));
    assert!(!format!("{settings:?}").contains("hunter"), "{settings:?}");
    let hook = Webhook::new("pager".to_owned(), settings, around());
    let mut errors = Vec::new();
    for text in [Some("hunter2"), Some("hunter6"), Some("hunter\n7"), None] {
        match text {
            Some(text) => std::fs::write(&token, text).unwrap(),
            None => std::fs::remove_file(&token).unwrap(),
        }
        let outcome = hook.deliver(&delivery(1, "g")).await;
        assert!(matches!(outcome, DeliveryOutcome::Failed { .. }));
        errors.push(error_of(&outcome).to_owned());
    }
    assert!(errors.iter().all(|e| !e.contains("hunter")), "{errors:?}");
    assert!(
        errors[2].starts_with("the bearer token holds"),
        "{errors:?}"
    );
    assert!(errors[3].contains("token cannot be read"), "{errors:?}");
    let requests = server.requests.lock();
    assert_eq!(requests.len(), 2);
    for (request, token) in requests.iter().zip(["hunter2", "hunter6"]) {
        assert_eq!(header(request, "X-Key"), Some("hunter5"));
        let expected = format!("Bearer {token}");
        assert_eq!(header(request, "Authorization"), Some(&*expected));
        let count = request.to_lowercase().matches("authorization:").count();
        assert_eq!(count, 1, "the URL's user and password give way: {request}");
    }
}
