//! Rules and alerts against the real binary: each condition fires and resolves on pushed data, state survives
//! restarts and kills, bad rules are refused whole.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use serde_json::{Value, json};

use crate::{
    server::{QUIET, Server, eventually, now_ms},
    target::Target,
};

/// Evaluations come every second.
fn config(more: &str) -> String {
    format!("{QUIET}[rules]\nevaluation_interval = \"1s\"\n{more}")
}

fn server() -> Server {
    Server::with(&config(""), &[])
}

fn ago(seconds: i64) -> Value {
    json!((now_ms() - seconds * 1000) as f64 / 1000.0)
}

async fn put_rule(server: &Server, rule: &Value) {
    let answer = server.post_json("/api/v1/rules", rule).await;
    assert!([200, 201].contains(&answer.status), "{}", answer.text());
}

async fn push(server: &Server, value: f64) {
    let pushed = server
        .push("a", &json!([{"name": "m", "value": value}]))
        .await;
    assert_eq!(pushed["accepted"], 1, "{pushed}");
}

async fn alerts(server: &Server, query: &str) -> Vec<Value> {
    let answer = server.get_json(&format!("/api/v1/alerts?{query}")).await;
    answer["alerts"].as_array().unwrap().clone()
}

/// Waits until exactly one alert of the rule is in a state, and returns it.
async fn in_state(server: &Server, rule: &str, state: &str) -> Value {
    eventually(&format!("{rule} {state}"), async || {
        let found = alerts(server, &format!("state={state}")).await;
        let mut of_rule = found.into_iter().filter(|a| a["alert_name"] == rule);
        let first = of_rule.next()?;
        assert_eq!(of_rule.next(), None, "one alert of {rule}");
        Some(first)
    })
    .await
}

async fn shown(server: &Server, alert: &Value) -> Value {
    let id = alert["id"].as_str().unwrap();
    server.get_json(&format!("/api/v1/alerts/{id}")).await
}

fn events(alert: &Value) -> Vec<String> {
    let history = alert["history"].as_array().unwrap();
    let names = history
        .iter()
        .map(|e| e["event"].as_str().unwrap().to_owned());
    names
        .filter(|name| !name.starts_with("notification"))
        .collect()
}

#[tokio::test]
async fn a_threshold_fires_on_arrival_and_resolves_with_hysteresis() {
    let server = server();
    let rule = json!({"name": "hot", "description": "{agent_id}: {metric_name} is {value} {operator} {threshold}",
        "condition_type": "threshold", "metric_name": "m", "operator": ">", "threshold": 90,
        "resolve_threshold": 80, "severity": "critical", "annotations": {"runbook_url": "http://r/{labels.no}"}});
    put_rule(&server, &rule).await;
    push(&server, 90.0).await;
    push(&server, 95.5).await;
    let firing = in_state(&server, "hot", "firing").await;
    assert_eq!(firing["alert_id"], "hot:a:m");
    assert_eq!(firing["description"], "a: m is 95.5 > 90");
    assert_eq!(firing["affected_agents"], json!(["a"]));
    assert_eq!(
        (&firing["severity"], &firing["value"]),
        (&json!("critical"), &json!(95.5))
    );
    assert_eq!(
        firing["labels"],
        json!({"alertname": "hot", "agent_id": "a", "metric_name": "m", "severity": "critical"})
    );
    // Below the threshold, above what resolves it.
    push(&server, 85.0).await;
    push(&server, 99.0).await;
    push(&server, 80.0).await;
    let over = in_state(&server, "hot", "resolved").await;
    assert_eq!(
        (&over["id"], &over["resolved"]),
        (&firing["id"], &json!(true))
    );
    assert_eq!(over["timestamp"], firing["timestamp"]);
    let shown = shown(&server, &over).await;
    assert_eq!(events(&shown), ["fired", "resolved"]);
    let evidence = shown["evidence"].as_array().unwrap();
    assert_eq!(evidence[0]["threshold"], 90.0);
    assert_eq!(evidence[1]["threshold"], 80.0);
    assert_eq!(evidence[0]["rule"]["name"], "hot");
    let samples = evidence[0]["samples"].as_array().unwrap();
    assert_eq!(samples.last().unwrap()[1], 95.5);

    // It costs points while it fires, and is a new occurrence the next time.
    push(&server, 91.0).await;
    let again = in_state(&server, "hot", "firing").await;
    assert_ne!(again["id"], firing["id"]);
    let health = server.get_json("/api/v1/agents/a/health").await;
    let factors: Vec<&Value> = health["deductions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| &d["factor"])
        .collect();
    assert!(factors.contains(&&json!("alerts")), "{health}");
}

#[tokio::test]
async fn pending_comes_first_and_ends_without_a_word() {
    let server = server();
    let rule = json!({"name": "slow", "description": "d", "condition_type": "threshold", "metric_name": "m",
        "threshold": 1, "for": "1h"});
    put_rule(&server, &rule).await;
    push(&server, 2.0).await;
    let pending = in_state(&server, "slow", "pending").await;
    assert_eq!(pending["state"], "pending");
    assert!(alerts(&server, "state=firing").await.is_empty());
    push(&server, 1.0).await;
    let ended = in_state(&server, "slow", "ended").await;
    assert_eq!(ended["id"], pending["id"]);
    assert_eq!(events(&shown(&server, &ended).await), ["pending", "ended"]);
    assert!(alerts(&server, "state=all").await.is_empty());
    let overview = server.get_json("/api/v1/overview").await;
    assert_eq!(overview["system_overview"]["alerts"]["total_alerts"], 0);
}

#[tokio::test]
async fn for_runs_out_on_the_clock_without_another_sample() {
    let server = server();
    let rule = json!({"name": "slow", "description": "d", "condition_type": "threshold", "metric_name": "m",
        "threshold": 1, "for": "1s", "keep_firing_for": "1s"});
    put_rule(&server, &rule).await;
    push(&server, 2.0).await;
    let firing = in_state(&server, "slow", "firing").await;
    push(&server, 0.0).await;
    let over = in_state(&server, "slow", "resolved").await;
    assert_eq!(over["id"], firing["id"]);
    assert_eq!(
        events(&shown(&server, &over).await),
        ["pending", "fired", "kept_firing", "resolved"]
    );
}

#[tokio::test]
async fn rates_are_taken_over_real_times_and_know_resets() {
    let server = server();
    let rate = |name: &str, more: Value| {
        let mut rule = json!({"name": name, "description": "{value}/s", "condition_type": "rate_of_change",
            "metric_name": "requests", "rate_threshold": 4});
        let more = more.as_object().unwrap().clone();
        rule.as_object_mut().unwrap().extend(more);
        rule
    };
    put_rule(&server, &rate("last two", json!({}))).await;
    put_rule(&server, &rate("window", json!({"window": "5m"}))).await;
    put_rule(
        &server,
        &rate("falling", json!({"operator": "<", "rate_threshold": 0})),
    )
    .await;
    // 20 s apart, as a missed scrape would leave it: 100/20 = 5 per second, not 10.
    let metrics = json!([
        {"name": "requests", "value": 1000, "type": "counter", "timestamp": ago(60)},
        {"name": "requests", "value": 1100, "type": "counter", "timestamp": ago(40)},
    ]);
    server.push("a", &metrics).await;
    let firing = in_state(&server, "last two", "firing").await;
    assert_eq!(firing["description"], "5/s");
    in_state(&server, "window", "firing").await;
    // A restart of the agent: 20 since zero in 30 s, and (100 + 20) / 50 s over the window.
    let metrics =
        json!([{"name": "requests", "value": 20, "type": "counter", "timestamp": ago(10)}]);
    server.push("a", &metrics).await;
    in_state(&server, "last two", "resolved").await;
    let over = in_state(&server, "window", "resolved").await;
    assert!(
        (over["value"].as_f64().unwrap() - 2.4).abs() < 0.01,
        "{over}"
    );
    assert!(
        alerts(&server, "state=all")
            .await
            .iter()
            .all(|a| a["alert_name"] != "falling")
    );
}

#[tokio::test]
async fn each_known_series_and_agent_that_vanished_is_named_with_its_last_sign_of_life() {
    let server = Server::with(&config(""), &[]);
    // The server must have listened for the window.
    let rule = json!({"name": "gone", "description": "{metric_name}{labels.core} last seen {last_seen}",
        "condition_type": "absent", "metric_name": "m", "window": "2s", "agent_id": "a*"});
    put_rule(&server, &rule).await;
    let rule = json!({"name": "silent", "description": "{agent_id} last seen {last_seen}",
        "condition_type": "absent", "window": "2s", "agent_id": "b"});
    put_rule(&server, &rule).await;
    let old = ago(3600);
    let metrics = json!([
        {"name": "m", "value": 1, "labels": {"core": "0"}},
        {"name": "m", "value": 1, "labels": {"core": "1"}, "timestamp": old},
        {"name": "other", "value": 1},
    ]);
    server.push("a", &metrics).await;
    server.push("b", &json!([{"name": "x", "value": 1}])).await;
    let gone = eventually("two series gone", async || {
        let found = alerts(&server, "state=firing&agent_id=a").await;
        let gone: Vec<Value> = found
            .into_iter()
            .filter(|a| a["alert_name"] == "gone")
            .collect();
        (gone.len() == 2).then_some(gone)
    })
    .await;
    let ids: Vec<&Value> = gone.iter().map(|a| &a["alert_id"]).collect();
    assert!(ids.contains(&&json!("gone:a:m{core=\"1\"}")), "{ids:?}");
    let seen =
        longwatch::model::Timestamp::from_millis((old.as_f64().unwrap() * 1000.0).round() as i64);
    assert!(
        gone.iter()
            .any(|a| a["description"] == format!("m1 last seen {seen}")),
        "{gone:?}"
    );
    let silent = in_state(&server, "silent", "firing").await;
    assert_eq!(silent["alert_id"], "silent:b");
    server.push("b", &json!([{"name": "y", "value": 1}])).await;
    // Back for a moment: it resolves before it is silent again.
    eventually("back", async || {
        let found = alerts(&server, "state=resolved&agent_id=b").await;
        found.iter().any(|a| a["id"] == silent["id"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_unusual_for_a_series_is_found_by_its_own_past() {
    let server = server();
    let rule = json!({"name": "odd", "description": "{value} scores {score}", "condition_type": "anomaly",
        "metric_name": "m", "threshold": 5, "window": "1d", "min_samples": 50});
    put_rule(&server, &rule).await;
    // Two hours of a value around 100, up to the last full hour and beyond.
    let past: Vec<Value> = (1..=120)
        .map(|minute| json!({"name": "m", "value": 100 + minute % 5, "timestamp": ago(minute * 60 + 60)}))
        .collect();
    server.push("a", &json!(past)).await;
    push(&server, 104.0).await;
    push(&server, 150.0).await;
    let firing = in_state(&server, "odd", "firing").await;
    assert!(
        firing["description"]
            .as_str()
            .unwrap()
            .starts_with("150 scores 3"),
        "{firing}"
    );
    push(&server, 101.0).await;
    in_state(&server, "odd", "resolved").await;
}

#[tokio::test]
async fn a_disk_that_will_be_full_is_told_before_it_is() {
    let server = server();
    let rule = json!({"name": "full", "description": "will be {value}", "condition_type": "forecast",
        "metric_name": "m", "operator": "<", "threshold": 0, "window": "1h", "within": "10m"});
    put_rule(&server, &rule).await;
    // 10 a minute are used, and 60 are left: empty in six minutes.
    let past: Vec<Value> = (0..10)
        .map(
            |minute| json!({"name": "m", "value": 60 + 10 * minute, "timestamp": ago(minute * 60)}),
        )
        .collect();
    server.push("a", &json!(past)).await;
    let firing = in_state(&server, "full", "firing").await;
    let value = firing["value"].as_f64().unwrap();
    assert!((-41.0..-38.0).contains(&value), "{firing}");
    // Somebody cleans up; the line rises.
    let rise: Vec<Value> = (0..5)
        .map(|i| json!({"name": "m", "value": 900, "timestamp": ago(i)}))
        .collect();
    server.push("a", &json!(rise)).await;
    in_state(&server, "full", "resolved").await;
}

#[tokio::test]
async fn no_data_means_what_the_rule_says() {
    let server = server();
    for policy in ["unknown", "keep", "alert", "resolve"] {
        let rule = json!({"name": policy, "description": "d", "condition_type": "threshold", "metric_name": "m",
            "threshold": 1, "window": "3s", "no_data": policy});
        put_rule(&server, &rule).await;
    }
    push(&server, 2.0).await;
    for policy in ["unknown", "keep", "alert", "resolve"] {
        in_state(&server, policy, "firing").await;
    }
    // Nothing more is heard.
    in_state(&server, "resolve", "resolved").await;
    let unknown = eventually("no data is told", async || {
        let alert = in_state(&server, "unknown", "firing").await;
        alert["no_data_since"].is_string().then_some(alert)
    })
    .await;
    assert_eq!(
        events(&shown(&server, &unknown).await),
        ["fired", "no_data"]
    );
    for policy in ["keep", "alert"] {
        in_state(&server, policy, "firing").await;
    }
    // An agent that has been heard of, and whose series is silent, raises the alert by itself.
    let old = json!([{"name": "m", "value": 0, "timestamp": ago(60)}]);
    server.push("b", &old).await;
    eventually("an alert for want of data", async || {
        let found = alerts(&server, "state=firing&agent_id=b").await;
        found
            .iter()
            .any(|a| a["alert_name"] == "alert")
            .then_some(())
    })
    .await;
    push(&server, 0.0).await;
    in_state(&server, "unknown", "resolved").await;
}

#[tokio::test]
async fn some_of_the_last_samples_must_breach() {
    let server = server();
    let rule = json!({"name": "often", "description": "d", "condition_type": "threshold", "metric_name": "m",
        "threshold": 1, "breaches": "3 of 5"});
    put_rule(&server, &rule).await;
    for value in [2.0, 0.0, 2.0, 0.0] {
        push(&server, value).await;
    }
    assert!(alerts(&server, "").await.is_empty());
    push(&server, 2.0).await;
    in_state(&server, "often", "firing").await;
    push(&server, 0.0).await;
    in_state(&server, "often", "resolved").await;
}

#[tokio::test]
async fn an_alert_that_comes_and_goes_is_held() {
    let server = server();
    let rule = json!({"name": "flaps", "description": "d", "condition_type": "threshold", "metric_name": "m",
        "threshold": 1, "flap_damping": {"firings": 3, "within": "10m"}});
    put_rule(&server, &rule).await;
    for _ in 0..2 {
        push(&server, 2.0).await;
        let firing = in_state(&server, "flaps", "firing").await;
        push(&server, 0.0).await;
        eventually("resolved", async || {
            let over = alerts(&server, "state=resolved").await;
            over.iter().any(|a| a["id"] == firing["id"]).then_some(())
        })
        .await;
    }
    push(&server, 2.0).await;
    in_state(&server, "flaps", "firing").await;
    push(&server, 0.0).await;
    let held = eventually("held", async || {
        let alert = in_state(&server, "flaps", "firing").await;
        alert["kept_firing_since"].is_string().then_some(alert)
    })
    .await;
    let history = shown(&server, &held).await["history"].to_string();
    assert!(history.contains("came and went too often"), "{history}");
}

#[tokio::test]
async fn alerts_go_on_after_a_kill_as_if_nothing_had_been() {
    let mut server = server();
    let rule = |name: &str, more: Value| {
        let mut rule = json!({"name": name, "description": "d", "condition_type": "threshold", "metric_name": "m",
            "threshold": 1, "window": "1h"});
        rule.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        rule
    };
    put_rule(&server, &rule("firing", json!({}))).await;
    put_rule(&server, &rule("pending", json!({"for": "1h"}))).await;
    put_rule(
        &server,
        &rule("kept", json!({"keep_firing_for": "1h", "threshold": 5})),
    )
    .await;
    push(&server, 9.0).await;
    let before_kept = in_state(&server, "kept", "firing").await;
    push(&server, 2.0).await;
    eventually("kept", async || {
        let alert = in_state(&server, "kept", "firing").await;
        alert["kept_firing_since"].is_string().then_some(())
    })
    .await;
    let firing = in_state(&server, "firing", "firing").await;
    let pending = in_state(&server, "pending", "pending").await;
    let id = firing["id"].as_str().unwrap();
    let ack = json!({"by": "me", "comment": "looking"});
    let acknowledged = server
        .post_json(&format!("/api/v1/alerts/{id}/ack"), &ack)
        .await
        .expect(200)
        .json();
    assert_eq!(acknowledged["acknowledged"]["by"], "me");
    server.restart();
    // Evaluated anew, nothing has changed.
    push(&server, 2.0).await;
    let again = in_state(&server, "firing", "firing").await;
    assert_eq!(
        (&again["id"], &again["timestamp"]),
        (&firing["id"], &firing["timestamp"])
    );
    assert_eq!(again["acknowledged"], acknowledged["acknowledged"]);
    let again = in_state(&server, "pending", "pending").await;
    assert_eq!(
        (&again["id"], &again["pending_at"]),
        (&pending["id"], &pending["pending_at"])
    );
    let again = in_state(&server, "kept", "firing").await;
    assert_eq!(again["id"], before_kept["id"]);
    assert_eq!(
        events(&shown(&server, &firing).await),
        ["fired", "acknowledged"]
    );
    // What cleared meanwhile resolves by data, not by time.
    push(&server, 0.0).await;
    let over = in_state(&server, "firing", "resolved").await;
    assert_eq!(over["id"], firing["id"]);
}

#[tokio::test]
async fn rules_change_without_losing_their_alerts_and_go_with_them() {
    let server = server();
    let rule = |threshold: u32| {
        json!({"name": "r/1", "description": "d", "condition_type": "threshold", "metric_name": "m",
            "threshold": threshold})
    };
    put_rule(&server, &rule(1)).await;
    push(&server, 5.0).await;
    let firing = in_state(&server, "r/1", "firing").await;
    let path = "/api/v1/rules/r%2F1";
    let put = |body: Value| {
        server
            .client
            .put(server.url(path))
            .body(body.to_string())
            .send()
    };
    assert_eq!(put(rule(2)).await.unwrap().status(), 200);
    assert_eq!(server.get_json(path).await["threshold"], 2);
    assert_eq!(in_state(&server, "r/1", "firing").await["id"], firing["id"]);
    // A threshold that the value no longer exceeds ends it, without another sample.
    assert_eq!(put(rule(10)).await.unwrap().status(), 200);
    in_state(&server, "r/1", "resolved").await;
    assert_eq!(put(rule(1)).await.unwrap().status(), 200);
    let firing = in_state(&server, "r/1", "firing").await;
    server
        .post_json("/api/v1/rules", &rule(3))
        .await
        .problem(409);
    server.delete(path).await.expect(204);
    server.delete(path).await.problem(404);
    eventually("the rule's alert goes with it", async || {
        let over = alerts(&server, "state=resolved").await;
        over.iter().any(|a| a["id"] == firing["id"]).then_some(())
    })
    .await;
    let last = shown(&server, &firing).await;
    let reason = last["history"].as_array().unwrap().last().unwrap()["reason"].clone();
    assert_eq!(reason, "the rule was deleted");
}

#[tokio::test]
async fn alerts_are_acknowledged_resolved_and_told_of_any_past_moment() {
    let server = server();
    let rule = json!({"name": "hot", "description": "d", "condition_type": "threshold", "metric_name": "m", "threshold": 1});
    put_rule(&server, &rule).await;
    let before = now_ms();
    push(&server, 2.0).await;
    let firing = in_state(&server, "hot", "firing").await;
    let id = firing["id"].as_str().unwrap();
    let path = |what: &str| format!("/api/v1/alerts/{id}/{what}");
    server
        .post_json(&path("ack"), &json!({"by": 7}))
        .await
        .problem(422);
    server
        .post_json("/api/v1/alerts/99/ack", &json!({}))
        .await
        .problem(404);
    let acked_at = now_ms();
    crate::server::past(acked_at).await;
    server
        .post_json(&path("ack"), &json!({"by": "me"}))
        .await
        .expect(200);
    let during = format!("at={}", acked_at as f64 / 1000.0);
    let then = server.get_json(&format!("/api/v1/alerts?{during}")).await;
    assert_eq!(then["alerts"][0]["acknowledged"], false, "{then}");
    server.delete("/api/v1/rules/hot").await.expect(204);
    server
        .post_json(&path("ack"), &json!({"by": "me"}))
        .await
        .problem(409);
    server
        .post_json(&path("resolve"), &json!({"by": "me"}))
        .await
        .problem(409);
    let then = server.get_json(&format!("/api/v1/alerts?{during}")).await;
    assert_eq!(then["alerts"][0]["state"], "firing");
    let none = format!("/api/v1/alerts?at={}", (before - 1000) as f64 / 1000.0);
    assert_eq!(server.get_json(&none).await["alerts"], json!([]));

    // By hand: it comes back as another occurrence while its condition holds.
    put_rule(&server, &rule).await;
    let second = in_state(&server, "hot", "firing").await;
    let second_id = second["id"].as_str().unwrap();
    let words = json!({"by": "me", "comment": "nonsense"});
    let over = server
        .post_json(&format!("/api/v1/alerts/{second_id}/resolve"), &words)
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&over["state"], &over["id"]),
        (&json!("resolved"), &second["id"])
    );
    let third = in_state(&server, "hot", "firing").await;
    assert_ne!(third["id"], second["id"]);
    let history = shown(&server, &over).await["history"].clone();
    let last = history.as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&last["actor"], &last["reason"]),
        (&json!("me"), &json!("nonsense"))
    );
}

#[tokio::test]
async fn open_alerts_are_recorded_as_series_that_end_with_them() {
    let server = server();
    let rule = json!({"name": "hot", "description": "d", "condition_type": "threshold", "metric_name": "m", "threshold": 1});
    put_rule(&server, &rule).await;
    push(&server, 2.0).await;
    in_state(&server, "hot", "firing").await;
    eventually("ALERTS is recorded", async || {
        let samples = server
            .samples("agent_id=a&metric_name=ALERTS&label.alertstate=firing")
            .await;
        samples
            .last()
            .is_some_and(|(_, value)| *value == json!(1.0))
            .then_some(())
    })
    .await;
    let since = server
        .samples("agent_id=a&metric_name=ALERTS_FOR_STATE")
        .await;
    assert!(since.last().unwrap().1.as_f64().unwrap() > 1e9, "{since:?}");
    // They count neither as the agent's samples nor as its metrics.
    let report = server.get_json("/api/v1/reports/performance").await;
    let of_a = &report["performance_report"]["agent_performance"]["a"];
    assert_eq!(of_a["total_metrics"], 1, "{of_a}");
}

#[tokio::test]
async fn bad_rules_are_refused_whole() {
    let server = server();
    let good =
        json!({"name": "r", "description": "d", "condition_type": "threshold", "metric_name": "m"});
    let missing = server
        .post_json("/api/v1/rules", &json!({"name": "r"}))
        .await;
    let problem = missing.problem(422);
    assert_eq!(
        problem["detail"],
        "Alert rule must contain: ['name', 'description', 'condition_type']"
    );
    for (key, value, pointer, why) in [
        ("operator", json!("=>"), "#/operator", "none of"),
        ("threshold", json!("NaN"), "#/threshold", "finite"),
        ("for", json!("365d"), "#/for", "out of range"),
        ("for", json!("soon"), "#/for", "duration"),
        (
            "description",
            json!("{secret}"),
            "#/description",
            "unknown placeholder",
        ),
        (
            "description",
            json!("{agent_id"),
            "#/description",
            "counterpart",
        ),
        (
            "labels",
            json!({"path": "=~(a+)+(x{1000}){1000}"}),
            "#/labels/path",
            "too large",
        ),
        (
            "condition_type",
            json!("magic"),
            "#/condition_type",
            "unknown condition type",
        ),
        ("severity", json!("bad"), "#/severity", "none of"),
        ("no_data", json!("panic"), "#/no_data", "none of"),
        ("name", json!("a\nb"), "#/name", "control"),
        ("name", json!(".."), "#/name", "must not be"),
        ("surprise", json!(1), "#/surprise", "unknown key"),
        ("within", json!("1h"), "#/within", "has no meaning"),
        ("breaches", json!("6 of 5"), "#/breaches", "expected"),
        (
            "resolve_threshold",
            json!(5),
            "#/resolve_threshold",
            "other side",
        ),
    ] {
        let mut rule = good.clone();
        rule[key] = value;
        let problem = server.post_json("/api/v1/rules", &rule).await.problem(422);
        let error = &problem["errors"][0];
        assert_eq!(error["pointer"], pointer, "{problem}");
        assert!(error["detail"].as_str().unwrap().contains(why), "{problem}");
    }
    server.post("/api/v1/rules", "{").await.problem(400);
    server.post("/api/v1/rules", "[]").await.problem(422);
    assert_eq!(server.get_json("/api/v1/rules").await["rules"], json!([]));
}

#[tokio::test]
async fn a_rules_directory_is_followed_and_its_last_good_state_kept() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    let file = folder.path().join("rules/a.toml");
    let rule = |name: &str, threshold: &str| {
        format!(
            "[[rule]]\nname = \"{name}\"\ndescription = \"d\"\ncondition_type = \"threshold\"\n\
            metric_name = \"m\"\nthreshold = {threshold}\n"
        )
    };
    std::fs::write(&file, rule("one", "1") + &rule("two", "2")).unwrap();
    let text = config(
        "dir = \"rules\"\n[[rule]]\nname = \"fixed\"\ndescription = \"d\"\ncondition_type = \"absent\"\n",
    );
    let server = Server::within(folder, &text, &[]);
    let names = async || {
        let rules = server.get_json("/api/v1/rules").await["rules"].clone();
        let rules = rules.as_array().unwrap().clone();
        let shown = rules.iter().map(|r| {
            format!(
                "{}:{}",
                r["name"].as_str().unwrap(),
                r["origin"].as_str().unwrap()
            )
        });
        shown.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names().await, "fixed:config one:directory two:directory");
    push(&server, 9.0).await;
    let firing = in_state(&server, "one", "firing").await;

    // A mistake leaves everything as it was, and says where it is.
    std::fs::write(&file, rule("one", "true") + &rule("three", "1")).unwrap();
    let status = eventually("the mistake is told", async || {
        let status = server.get_json("/api/v1/status").await;
        status["rules"]["directory"]["error"]
            .is_string()
            .then_some(status)
    })
    .await;
    let error = status["rules"]["directory"]["error"].as_str().unwrap();
    assert!(error.contains("a.toml:6:13: rule.threshold"), "{error}");
    assert_eq!(names().await, "fixed:config one:directory two:directory");
    let metrics = server.get("/metrics").await.text();
    assert!(
        metrics.contains("longwatch_rule_directory_is_good 0"),
        "{metrics}"
    );

    std::fs::write(&file, rule("one", "2") + &rule("three", "1")).unwrap();
    eventually("the change is in force", async || {
        (names().await == "fixed:config one:directory three:directory").then_some(())
    })
    .await;
    assert_eq!(in_state(&server, "one", "firing").await["id"], firing["id"]);
    // What a file owns is changed there.
    server.delete("/api/v1/rules/one").await.problem(409);
    let taken = json!({"name": "fixed", "description": "other", "condition_type": "absent"});
    server.post_json("/api/v1/rules", &taken).await.problem(409);

    // The directory disappears: its rules stay.
    std::fs::remove_dir_all(server.folder().join("rules")).unwrap();
    eventually("the loss is told", async || {
        let status = server.get_json("/api/v1/status").await;
        status["rules"]["directory"]["error"]
            .as_str()
            .is_some_and(|e| e.contains("cannot be listed"))
            .then_some(())
    })
    .await;
    assert_eq!(names().await, "fixed:config one:directory three:directory");
}

#[tokio::test]
async fn a_backtest_finds_what_fired_live() {
    let server = server();
    let rule = json!({"name": "hot", "description": "d", "condition_type": "threshold", "metric_name": "m",
        "threshold": 90, "resolve_threshold": 80});
    put_rule(&server, &rule).await;
    for value in [95.0, 85.0, 70.0, 99.0, 97.0, 10.0, 91.0] {
        push(&server, value).await;
        // Each is evaluated by itself.
        eventually("evaluated", async || {
            let firing = alerts(&server, "state=firing").await.len();
            let expected = usize::from(value > 80.0);
            (firing == expected).then_some(())
        })
        .await;
    }
    let live = alerts(&server, "state=all").await;
    assert_eq!(live.len(), 3);
    let body = json!({"rule": rule, "from": "-1h"});
    let report = server
        .post_json("/api/v1/rules/backtest", &body)
        .await
        .expect(200)
        .json();
    let episodes = report["episodes"].as_array().unwrap();
    assert_eq!(episodes.len(), 3, "{report}");
    for (episode, alert) in episodes.iter().zip(&live) {
        assert_eq!(episode["agent_id"], "a");
        assert_eq!(episode["labels"], alert["labels"]);
        assert_eq!(
            episode["resolved_at"].is_null(),
            !alert["resolved"].as_bool().unwrap()
        );
    }
    assert_eq!(episodes[1]["peak_value"], 99.0);
    assert_eq!(
        (&report["fired"], &report["pending_only"]),
        (&json!(3), &json!(0))
    );
    assert!(report["coverage"].as_f64().unwrap() > 0.0);
    let named = server
        .post_json(
            "/api/v1/rules/backtest",
            &json!({"rule": "hot", "from": "-1h"}),
        )
        .await;
    assert_eq!(named.expect(200).json()["fired"], 3);
    let bad = json!({"rule": {"name": "x"}, "from": "-1h"});
    server
        .post_json("/api/v1/rules/backtest", &bad)
        .await
        .problem(422);
    let bad = json!({"rule": rule, "from": "-1h", "to": "-2h"});
    server
        .post_json("/api/v1/rules/backtest", &bad)
        .await
        .problem(422);
}

#[tokio::test]
async fn an_alert_s_identity_has_labels_where_a_metric_has_several_series_and_stays_what_it_was() {
    let server = server();
    let rule = json!({"name": "hot", "description": "{labels.core}", "condition_type": "threshold", "metric_name": "m",
        "threshold": 1});
    put_rule(&server, &rule).await;
    let core =
        |core: &str, value: f64| json!({"name": "m", "value": value, "labels": {"core": core}});
    server.push("a", &json!([core("0", 5.0)])).await;
    let first = in_state(&server, "hot", "firing").await;
    assert_eq!(
        (&first["alert_id"], &first["labels"]["core"]),
        (&json!("hot:a:m"), &json!("0"))
    );
    server.push("a", &json!([core("1", 5.0)])).await;
    let ids = eventually("the other series fires", async || {
        let firing = alerts(&server, "state=firing").await;
        let ids: Vec<Value> = firing.iter().map(|a| a["alert_id"].clone()).collect();
        (ids.len() == 2).then_some(ids)
    })
    .await;
    assert_eq!(ids, [json!("hot:a:m"), json!("hot:a:m{core=\"1\"}")]);
    server
        .push("a", &json!([core("0", 0.0), core("1", 0.0)]))
        .await;
    eventually("both resolve", async || {
        let over = alerts(&server, "state=resolved").await;
        (over.len() == 2 && over.iter().any(|a| a["id"] == first["id"])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_was_silent_before_a_restart_is_so_after_it() {
    let mut server = server();
    let rule = json!({"name": "gone", "description": "d", "condition_type": "absent", "metric_name": "m", "window": "3s"});
    put_rule(&server, &rule).await;
    push(&server, 1.0).await;
    let before = in_state(&server, "gone", "firing").await;
    server.restart();
    // Two evaluations later nothing has changed.
    let evaluated = async |after: Option<Value>| {
        eventually("an evaluation", async || {
            let at = server.get_json("/api/v1/status").await["rules"]["evaluated_at"].clone();
            (at.is_string() && Some(&at) != after.as_ref()).then_some(at)
        })
        .await
    };
    let first = evaluated(None).await;
    evaluated(Some(first)).await;
    let after = in_state(&server, "gone", "firing").await;
    assert_eq!(
        (&after["id"], &after["timestamp"]),
        (&before["id"], &before["timestamp"])
    );
}

#[tokio::test]
async fn a_failed_scrape_is_no_data_at_once() {
    let target = Target::start("text/plain", "m 5\n").await;
    let more = format!(
        "[[agents]]\nagent_id = \"x\"\nmetrics_endpoint = \"{}\"\ncollection_interval = \"1s\"\n",
        target.url()
    );
    let server = Server::with(&config(&more), &[]);
    for policy in ["resolve", "unknown"] {
        let rule = json!({"name": policy, "description": "d", "condition_type": "threshold", "metric_name": "m",
            "threshold": 1, "no_data": policy});
        put_rule(&server, &rule).await;
        in_state(&server, policy, "firing").await;
    }
    target.answer_with(500);
    in_state(&server, "resolve", "resolved").await;
    let unknown = in_state(&server, "unknown", "firing").await;
    assert!(unknown["no_data_since"].is_string(), "{unknown}");
}
