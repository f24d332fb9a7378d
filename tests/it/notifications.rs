//! Notifications against the real binary: from a transition to a webhook that counts, through kills and outages.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{collections::HashSet, process::Command};

use serde_json::{Value, json};

use crate::{
    receiver::{Mood, Receiver},
    server::{QUIET, Server, eventually},
};

fn config(more: &str) -> String {
    format!(
        "{QUIET}[rules]\nevaluation_interval = \"1s\"\n[notify]\ngroup_wait = \"0s\"\ngroup_interval = \"1s\"\n{more}"
    )
}

fn webhook(name: &str, url: &str) -> String {
    format!("[[notify.webhook]]\nname = \"{name}\"\nurl = \"{url}\"\ntimeout = \"1s\"\n")
}

async fn rule(server: &Server, name: &str, more: Value) {
    let mut rule = json!({"name": name, "description": "{agent_id} at {value}", "condition_type": "threshold",
        "metric_name": "m", "threshold": 1});
    rule.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    server.post_json("/api/v1/rules", &rule).await.expect(201);
}

async fn push(server: &Server, agent: &str, value: f64) {
    server
        .push(agent, &json!([{"name": "m", "value": value}]))
        .await;
}

async fn firing(server: &Server, agent: &str) -> Value {
    eventually("an alert fires", async || {
        let path = format!("/api/v1/alerts?state=firing&agent_id={agent}");
        server.get_json(&path).await["alerts"]
            .as_array()
            .unwrap()
            .first()
            .cloned()
    })
    .await
}

async fn told(receiver: &Receiver, alert: &Value, status: &str) {
    let id = alert["id"].as_str().unwrap();
    eventually(&format!("{status} is told"), async || {
        (!receiver.told(id, status).is_empty()).then_some(())
    })
    .await;
}

async fn outbox_is_empty(server: &Server) {
    eventually("the outbox is empty", async || {
        let waiting = server.get_json("/api/v1/notifications").await;
        (waiting["notifications"] == json!([])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_webhook_is_told_in_alertmanager_s_form_once_and_when_it_is_over() {
    let receiver = Receiver::start().await;
    let server = Server::with(&config(&webhook("hook", receiver.url())), &[]);
    rule(
        &server,
        "hot",
        json!({"severity": "critical", "annotations": {"runbook_url": "http://r"}}),
    )
    .await;
    push(&server, "a", 5.0).await;
    let alert = firing(&server, "a").await;
    told(&receiver, &alert, "firing").await;
    push(&server, "a", 0.0).await;
    told(&receiver, &alert, "resolved").await;
    outbox_is_empty(&server).await;
    let attempts = receiver.attempts();
    assert_eq!(attempts.len(), 2, "{attempts:?}");
    let body = &attempts[0].body;
    assert_eq!(
        (&body["version"], &body["status"], &body["receiver"]),
        (&json!("4"), &json!("firing"), &json!("hook"))
    );
    assert_eq!(body["groupLabels"], json!({"alertname": "hot"}));
    let one = &body["alerts"][0];
    assert_eq!(
        one["labels"],
        json!({"alertname": "hot", "agent_id": "a", "metric_name": "m", "severity": "critical"})
    );
    assert_eq!(
        one["annotations"],
        json!({"description": "a at 5", "runbook_url": "http://r"})
    );
    assert_eq!(
        (&one["startsAt"], &one["endsAt"]),
        (&alert["timestamp"], &json!("0001-01-01T00:00:00Z"))
    );
    assert_ne!(attempts[0].key, attempts[1].key);

    let id = alert["id"].as_str().unwrap();
    let history = server.get_json(&format!("/api/v1/alerts/{id}")).await["history"].clone();
    let events: Vec<&str> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["event"].as_str().unwrap())
        .collect();
    let ways = [
        "fired",
        "notification_queued",
        "notification_delivered",
        "resolved",
        "notification_queued",
        "notification_delivered",
    ];
    assert_eq!(events, ways, "{history}");
}

#[tokio::test]
async fn the_health_alert_takes_the_same_way() {
    let receiver = Receiver::start().await;
    let target = "127.0.0.1:1";
    let more = format!(
        "{}[[agents]]\nagent_id = \"x\"\nmetrics_endpoint = \"http://{target}/metrics\"\ncollection_interval = \"1s\"\n",
        webhook("hook", receiver.url())
    );
    let server = Server::with(&config(&more), &[]);
    let alert = firing(&server, "x").await;
    assert_eq!(alert["alert_id"], "agent_health:x");
    told(&receiver, &alert, "firing").await;
    let labels = &receiver.attempts()[0].body["alerts"][0]["labels"];
    assert_eq!(
        labels,
        &json!({"alertname": "Agent Health Issue", "agent_id": "x", "severity": "critical"})
    );
}

#[tokio::test]
async fn an_outage_of_one_channel_is_outlived_and_delays_no_other() {
    let (good, bad) = (Receiver::start().await, Receiver::start().await);
    bad.answers(Mood::Hang);
    let channels = webhook("good", good.url()) + &webhook("bad", bad.url());
    let mut server = Server::with(&config(&channels), &[]);
    rule(&server, "hot", json!({})).await;
    push(&server, "a", 5.0).await;
    let alert = firing(&server, "a").await;
    told(&good, &alert, "firing").await;
    eventually("an attempt failed", async || {
        let waiting = server.get_json("/api/v1/notifications?state=waiting").await;
        let first = waiting["notifications"][0].clone();
        (first["attempts"].as_u64()? > 0).then_some(first)
    })
    .await;
    bad.answers(Mood::Status(500));
    push(&server, "a", 0.0).await;
    told(&good, &alert, "resolved").await;
    // A restart in the middle of it.
    server.restart();
    bad.answers(Mood::Status(200));
    told(&bad, &alert, "resolved").await;
    outbox_is_empty(&server).await;
    let id = alert["id"].as_str().unwrap();
    let keys: HashSet<String> = bad.told(id, "firing").into_iter().map(|a| a.key).collect();
    assert_eq!(
        keys.len(),
        1,
        "every attempt carries the same key: {keys:?}"
    );
    let order: Vec<String> = bad
        .attempts()
        .iter()
        .map(|a| a.body["status"].as_str().unwrap().to_owned())
        .collect();
    let first_resolved = order.iter().position(|s| s == "resolved").unwrap();
    assert!(
        order[first_resolved..].iter().all(|s| s == "resolved"),
        "{order:?}"
    );
    assert_eq!(good.told(id, "firing").len(), 1);
    // The kill may have come between an arrival and its note; then it is told again, with its key.
    let keys: HashSet<String> = good
        .told(id, "resolved")
        .into_iter()
        .map(|a| a.key)
        .collect();
    assert_eq!(keys.len(), 1);
}

#[tokio::test]
async fn what_a_receiver_refuses_is_a_dead_letter_that_can_be_retried() {
    let receiver = Receiver::start().await;
    receiver.answers(Mood::Status(400));
    let server = Server::with(&config(&webhook("hook", receiver.url())), &[]);
    rule(&server, "hot", json!({})).await;
    push(&server, "a", 5.0).await;
    let dead = eventually("given up", async || {
        let dead = server.get_json("/api/v1/notifications?state=dead").await;
        dead["notifications"].as_array()?.first().cloned()
    })
    .await;
    assert!(
        dead["last_error"].as_str().unwrap().contains("400"),
        "{dead}"
    );
    assert_eq!(
        server.get_json("/api/v1/status").await["notifications"]["dead"],
        1
    );
    receiver.answers(Mood::Status(200));
    let path = format!(
        "/api/v1/notifications/{}/retry",
        dead["id"].as_str().unwrap()
    );
    server.post(&path, "").await.expect(202);
    outbox_is_empty(&server).await;
    server.post(&path, "").await.problem(404);
    let keys: HashSet<String> = receiver.attempts().into_iter().map(|a| a.key).collect();
    assert_eq!(keys.len(), 1);
}

#[tokio::test]
async fn silences_windows_and_inhibition_keep_alerts_from_being_told() {
    let receiver = Receiver::start().await;
    let more = webhook("hook", receiver.url())
        + "[[notify.inhibit]]\nsource = [\"alertname=source\"]\ntarget = [\"alertname=target\"]\nequal = [\"agent_id\"]\n\
           [[notify.maintenance]]\nname = \"works\"\nmatchers = [\"agent_id=w\"]\nat = \"00:00\"\nduration = \"7d\"\n";
    let server = Server::with(&config(&more), &[]);
    let silence = json!({"matchers": ["agent_id=s"], "duration": "1h", "createdBy": "me", "comment": "known"});
    let id = server
        .post_json("/api/v1/silences", &silence)
        .await
        .expect(201)
        .json()["id"]
        .clone();
    let id = id.as_str().unwrap();
    rule(&server, "target", json!({})).await;
    rule(&server, "source", json!({"agent_id": "i"})).await;
    for agent in ["s", "w", "i"] {
        push(&server, agent, 5.0).await;
    }
    let muted = async |agent: &str, by: &str| {
        eventually(&format!("{agent} is muted"), async || {
            let path = format!("/api/v1/alerts?state=firing&agent_id={agent}");
            let alerts = server.get_json(&path).await["alerts"].as_array()?.clone();
            let target = alerts.iter().find(|a| a["alert_name"] == "target")?;
            let shown = server
                .get_json(&format!("/api/v1/alerts/{}", target["id"].as_str()?))
                .await;
            let history = shown["history"].as_array()?;
            let event = history.iter().find(|e| e["event"] == "muted")?;
            assert!(event["reason"].as_str()?.contains(by), "{event}");
            Some(target.clone())
        })
        .await
    };
    let silenced = muted("s", "known").await;
    muted("w", "works").await;
    muted("i", "inhibited").await;
    let names: HashSet<String> = receiver
        .attempts()
        .iter()
        .flat_map(|a| a.body["alerts"].as_array().unwrap().clone())
        .map(|a| a["labels"]["alertname"].as_str().unwrap().to_owned())
        .collect();
    assert!(!names.contains("target"), "{names:?}");
    // It costs health all the same.
    let health = server.get_json("/api/v1/agents/s/health").await;
    assert!(
        health["deductions"].to_string().contains("alerts"),
        "{health}"
    );
    server
        .delete(&format!("/api/v1/silences/{id}"))
        .await
        .expect(204);
    told(&receiver, &silenced, "firing").await;
}

#[tokio::test]
async fn routes_choose_and_nobody_s_acknowledgement_leads_to_the_next_in_line() {
    let (team, boss) = (Receiver::start().await, Receiver::start().await);
    let more = webhook("team", team.url())
        + &webhook("boss", boss.url())
        + "[[notify.route]]\nname = \"db\"\nmatchers = [\"alertname=db\"]\nchannels = [\"team\"]\n\
           escalate_after = \"2s\"\nescalate_to = [\"boss\"]\n";
    let server = Server::with(&config(&more), &[]);
    rule(&server, "db", json!({"agent_id": "*"})).await;
    push(&server, "a", 5.0).await;
    let alert = firing(&server, "a").await;
    told(&team, &alert, "firing").await;
    assert!(boss.attempts().is_empty());
    told(&boss, &alert, "firing").await;
    // Whoever was told is told the end, too.
    push(&server, "a", 0.0).await;
    told(&boss, &alert, "resolved").await;
    told(&team, &alert, "resolved").await;

    push(&server, "b", 5.0).await;
    let second = firing(&server, "b").await;
    let path = format!("/api/v1/alerts/{}/ack", second["id"].as_str().unwrap());
    server
        .post_json(&path, &json!({"by": "me"}))
        .await
        .expect(200);
    told(&team, &second, "firing").await;
    push(&server, "b", 0.0).await;
    told(&team, &second, "resolved").await;
    assert!(
        boss.told(second["id"].as_str().unwrap(), "firing")
            .is_empty()
    );
}

/// Kills between the commit of a transition and its delivery: told at least once, and every attempt of one
/// notification carries the same key. `LONGWATCH_TEST_KILL_ROUNDS` sets the rounds.
#[tokio::test]
async fn kills_lose_no_notification() {
    let rounds = std::env::var("LONGWATCH_TEST_KILL_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok());
    let rounds: usize = rounds.unwrap_or(6);
    let receiver = Receiver::start().await;
    // Each start has another port, and links would differ.
    let more = format!(
        "external_url = \"http://watch.example\"\n{}",
        webhook("hook", receiver.url())
    );
    let mut server = Server::with(&config(&more), &[]);
    rule(&server, "hot", json!({"window": "1h"})).await;
    let mut alerts = Vec::new();
    for round in 0..rounds {
        let agent = format!("a{round}");
        push(&server, &agent, 5.0).await;
        alerts.push(firing(&server, &agent).await);
        // The alert is on disk; whether its notification left is not known.
        server.restart();
    }
    for (round, alert) in alerts.iter().enumerate() {
        told(&receiver, alert, "firing").await;
        push(&server, &format!("a{round}"), 0.0).await;
    }
    for alert in &alerts {
        told(&receiver, alert, "resolved").await;
    }
    outbox_is_empty(&server).await;
    let attempts = receiver.attempts();
    let keys: HashSet<&String> = attempts.iter().map(|a| &a.key).collect();
    for key in keys {
        let same: Vec<_> = attempts.iter().filter(|a| a.key == *key).collect();
        assert!(same.iter().all(|a| a.body == same[0].body), "{same:?}");
    }
    // Not one alert is told anew for a restart: each key tells of it once.
    for alert in &alerts {
        let id = alert["id"].as_str().unwrap();
        let now = server.get_json(&format!("/api/v1/alerts/{id}")).await;
        assert_eq!(now["timestamp"], alert["timestamp"]);
        let queued = now["history"].as_array().unwrap().iter();
        let queued = queued
            .filter(|e| e["event"] == "notification_queued")
            .count();
        let keys: HashSet<String> = receiver
            .told(id, "firing")
            .into_iter()
            .map(|a| a.key)
            .collect();
        assert!(
            keys.len() < queued,
            "firing {} times, queued {queued}",
            keys.len()
        );
    }
}

#[tokio::test]
async fn another_prometheus_sends_its_alerts_here() {
    let receiver = Receiver::start().await;
    let server = Server::with(&config(&webhook("hook", receiver.url())), &[]);
    push(&server, "a", 0.0).await;
    let path = "/alertmanager/api/v2/alerts";
    let alert = |ends: &str| {
        json!([{"labels": {"alertname": "Remote", "agent_id": "a", "severity": "critical"},
            "annotations": {"summary": "far away"}, "startsAt": "2026-01-01T00:00:00Z", "endsAt": ends,
            "generatorURL": "http://prometheus/g"}])
    };
    server
        .post_json(path, &alert("0001-01-01T00:00:00Z"))
        .await
        .expect(200);
    let firing = firing(&server, "a").await;
    assert_eq!(
        (&firing["alert_name"], &firing["timestamp"]),
        (&json!("Remote"), &json!("2026-01-01T00:00:00.000Z"))
    );
    assert_eq!(firing["description"], "far away");
    told(&receiver, &firing, "firing").await;
    // Sent again it stays the same one, until its sender ends it.
    server
        .post_json(path, &alert("0001-01-01T00:00:00Z"))
        .await
        .expect(200);
    let listed = server
        .get_json(&format!(
            "{path}?filter=alertname%3DRemote&filter=agent_id%3Da"
        ))
        .await;
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["status"]["state"], "active");
    server
        .post_json(path, &alert("2026-01-02T00:00:00Z"))
        .await
        .expect(200);
    told(&receiver, &firing, "resolved").await;
    server
        .post_json(path, &json!([{"labels": {}}]))
        .await
        .problem(400);
    server
        .post_json(path, &json!({"labels": {}}))
        .await
        .problem(422);
}

/// Debian's `amtool`, if it is there.
fn amtool(server: &Server, arguments: &[&str]) -> Option<(bool, String)> {
    let url = format!("--alertmanager.url={}", server.url("/alertmanager"));
    let output = ["amtool", "prometheus-amtool"]
        .iter()
        .find_map(|name| Command::new(name).arg(&url).args(arguments).output().ok())?;
    // On standard error it says that its version is another.
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let is_done = output.status.success();
    let said = if is_done {
        &output.stdout
    } else {
        &output.stderr
    };
    Some((is_done, text(said)))
}

#[tokio::test]
async fn amtool_works_against_it() {
    let server = Server::with(&config(""), &[]);
    rule(&server, "hot", json!({})).await;
    push(&server, "a", 5.0).await;
    firing(&server, "a").await;
    let run = |arguments: &[&str]| {
        let found = amtool(&server, arguments)?;
        assert!(found.0, "amtool {arguments:?}: {}", found.1);
        Some(found.1)
    };
    let Some(listed) = run(&["alert", "query"]) else {
        eprintln!("skipped: there is no amtool (Debian's prometheus-alertmanager)");
        return;
    };
    assert!(listed.contains("hot"), "{listed}");
    let id = run(&[
        "silence",
        "add",
        "agent_id=a",
        "--duration=1h",
        "--author=me",
        "--comment=known",
    ])
    .unwrap();
    let id = id.trim();
    let silences = run(&["silence", "query"]).unwrap();
    assert!(
        silences.contains(id) && silences.contains("known"),
        "{silences}"
    );
    let active = run(&["alert", "query"]).unwrap();
    assert!(
        !active.contains("hot"),
        "silenced alerts are not active: {active}"
    );
    let silenced = run(&["alert", "query", "--silenced"]).unwrap();
    assert!(silenced.contains("hot"), "{silenced}");
    run(&["silence", "expire", id]).unwrap();
    assert!(!run(&["silence", "query"]).unwrap().contains(id));
    run(&["alert", "add", "alertname=byhand", "agent_id=a"]).unwrap();
    assert!(
        run(&["alert", "query", "alertname=byhand"])
            .unwrap()
            .contains("byhand")
    );
    assert!(run(&["config", "show"]).unwrap().contains("longwatch"));
}

#[tokio::test]
async fn the_command_line_lists_acknowledges_and_silences() {
    let server = Server::with(&config(""), &[]);
    rule(&server, "hot", json!({})).await;
    push(&server, "a", 5.0).await;
    let alert = firing(&server, "a").await;
    let id = alert["id"].as_str().unwrap();
    let url = server.url("");
    let run = |arguments: &[&str]| {
        let all: Vec<&str> = arguments.iter().copied().chain(["--url", &url]).collect();
        String::from_utf8(server.run(&all).ok()).unwrap()
    };
    assert!(run(&["alerts", "list"]).contains("hot:a:m"));
    assert_eq!(
        run(&["alerts", "ack", id, "--by", "me"]),
        "hot:a:m acknowledged\n"
    );
    let listed: Value =
        serde_json::from_str(&run(&["alerts", "list", "--format", "json"])).unwrap();
    assert_eq!(listed["alerts"][0]["acknowledged"]["by"], "me");
    assert!(run(&["alerts", "show", id]).contains("acknowledged by me"));
    let silence = run(&[
        "alerts",
        "silence",
        "add",
        "agent_id=~a|b",
        "--duration",
        "1h",
        "--by",
        "me",
    ]);
    assert!(run(&["alerts", "silence", "list"]).contains("agent_id=~a|b"));
    assert_eq!(
        run(&["alerts", "silence", "expire", silence.trim()]),
        "expired\n"
    );
    assert_eq!(run(&["alerts", "silence", "list"]), "no silences\n");
    assert_eq!(run(&["alerts", "resolve", id]), "hot:a:m resolved\n");
    let refused = server.run(&["alerts", "ack", id, "--url", &url]);
    assert_eq!(refused.status, Some(1), "{}", refused.err);
    assert!(refused.err.contains("is over"), "{}", refused.err);
}
