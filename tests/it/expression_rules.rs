//! Rules in PromQL against the real binary: rows are alerts, groups record, a restart goes on exactly.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use serde_json::{Value, json};

use crate::server::{QUIET, Server, eventually, now_ms, past, run};

fn config(more: &str) -> String {
    format!("{QUIET}[rules]\nevaluation_interval = \"1s\"\n{more}")
}

async fn push(server: &Server, agent: &str, values: &[(&str, f64)]) {
    let metrics: Vec<Value> = values
        .iter()
        .map(|(core, value)| json!({"name": "m", "value": value, "labels": {"core": core}}))
        .collect();
    server.push(agent, &json!(metrics)).await;
}

async fn in_state(server: &Server, name: &str, state: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} of {name} {state}"), async || {
        let path = format!("/api/v1/alerts?state={state}");
        let answer = server.get_json(&path).await;
        let all = answer["alerts"].as_array().unwrap().clone();
        let of_rule: Vec<Value> = all
            .into_iter()
            .filter(|a| a["alert_name"] == name)
            .collect();
        (of_rule.len() == count).then_some(of_rule)
    })
    .await
}

fn hot(more: &Value) -> Value {
    let mut rule = json!({"name": "hot", "description": "{agent_id}/{labels.core}: {value}", "condition_type": "expr",
        "expr": "m > 90", "severity": "critical", "add_labels": {"team": "x"}});
    rule.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    rule
}

#[tokio::test]
async fn each_row_is_an_alert_and_ends_with_it() {
    let mut server = Server::with(&config(""), &[]);
    let put = server.post_json("/api/v1/rules", &hot(&json!({}))).await;
    assert_eq!(put.status, 201, "{}", put.text());
    push(&server, "a", &[("0", 95.0), ("1", 99.0), ("2", 5.0)]).await;
    push(&server, "b", &[("0", 91.0)]).await;
    let mut firing = in_state(&server, "hot", "firing", 3).await;
    firing.sort_by_key(|alert| alert["alert_id"].as_str().unwrap().to_owned());
    let ids: Vec<&str> = firing
        .iter()
        .map(|a| a["alert_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids[2], "hot:b:m");
    assert!(
        ids[0].starts_with("hot:a:m{core=\"0\"") && ids[1].starts_with("hot:a:m{core=\"1\""),
        "{ids:?}"
    );
    assert_eq!(firing[0]["description"], "a/0: 95");
    assert_eq!(firing[0]["affected_agents"], json!(["a"]));
    assert_eq!(firing[0]["value"], 95.0);
    assert_eq!(
        firing[0]["labels"],
        json!({"alertname": "hot", "agent_id": "a", "metric_name": "m", "severity": "critical", "core": "0",
            "team": "x", "job": "multi-agent-system"})
    );
    // It goes on after a kill: the same occurrences, fired at the same time.
    server.kill();
    server.restart();
    let mut again = in_state(&server, "hot", "firing", 3).await;
    again.sort_by_key(|alert| alert["alert_id"].as_str().unwrap().to_owned());
    for (before, after) in firing.iter().zip(&again) {
        assert_eq!(
            (&before["id"], &before["timestamp"]),
            (&after["id"], &after["timestamp"])
        );
    }
    push(&server, "a", &[("0", 5.0)]).await;
    let over = in_state(&server, "hot", "resolved", 1).await;
    assert_eq!(over[0]["id"], firing[0]["id"]);
    in_state(&server, "hot", "firing", 2).await;
}

#[tokio::test]
async fn rows_that_are_no_agent_s_and_pending_ones() {
    let server = Server::with(&config(""), &[]);
    let rule = json!({"name": "many", "description": "{value}", "condition_type": "expr", "expr": "sum(m) > 10",
        "for": "2s", "keep_firing_for": "1h"});
    server.post_json("/api/v1/rules", &rule).await.expect(201);
    let scalar =
        json!({"name": "always", "description": "d", "condition_type": "expr", "expr": "1"});
    server.post_json("/api/v1/rules", &scalar).await.expect(201);
    push(&server, "a", &[("0", 95.0)]).await;
    in_state(&server, "many", "pending", 1).await;
    let firing = in_state(&server, "many", "firing", 1).await;
    assert_eq!(
        firing[0]["labels"],
        json!({"alertname": "many", "severity": "warning"})
    );
    let always = in_state(&server, "always", "firing", 1).await;
    assert_eq!(always[0]["value"], 1.0);
    push(&server, "a", &[("0", 1.0)]).await;
    let kept = eventually("kept", async || {
        let firing = in_state(&server, "many", "firing", 1).await;
        (!firing[0]["kept_firing_since"].is_null()).then_some(firing)
    });
    assert_eq!(kept.await[0]["id"], firing[0]["id"]);
}

#[tokio::test]
async fn what_cannot_be_evaluated_leaves_alerts_alone_and_is_told() {
    let server = Server::with(&config(""), &[]);
    for (expr, place) in [
        ("sum(", "1:5"),
        ("m > 90 and\n  foo(", "2:"),
        ("m[5m]", "range vector"),
    ] {
        let answer = server
            .post_json("/api/v1/rules", &hot(&json!({"expr": expr})))
            .await;
        let problem = answer.problem(422);
        assert_eq!(problem["errors"][0]["pointer"], "#/expr", "{problem}");
        assert!(
            problem["errors"][0]["detail"]
                .as_str()
                .unwrap()
                .contains(place),
            "{problem}"
        );
    }
    let joins =
        json!({"expr": "sum by (core) (m) > 90 or on() (m * on(core) m)", "name": "joined"});
    server
        .post_json("/api/v1/rules", &hot(&joins))
        .await
        .expect(201);
    push(&server, "a", &[("0", 95.0)]).await;
    in_state(&server, "joined", "firing", 1).await;
    // Now two series of a core: many to many is an error.
    push(&server, "b", &[("0", 95.0)]).await;
    let failed = eventually("the error is told", async || {
        let rule = server.get_json("/api/v1/rules/joined").await;
        (rule["health"] == "err").then_some(rule)
    });
    let failed = failed.await;
    assert!(
        failed["last_error"]
            .as_str()
            .unwrap()
            .contains("many-to-many"),
        "{failed}"
    );
    past(now_ms() + 1_500).await;
    in_state(&server, "joined", "firing", 1).await;
}

const GROUPS: &str = "groups:\n- name: cores\n  labels: {zone: z}\n  rules:\n  - record: agent:m:max\n    \
    expr: max by (agent_id) (m)\n  - alert: Hot\n    expr: agent:m:max > 90\n    labels: {severity: critical}\n    \
    annotations:\n      summary: \"{{ $labels.agent_id }} is at {{ $value | humanize }}\"\n      link: \"{{ $externalURL }}/x\"\n  \
    - alert: Hot\n    expr: m > 95\n    labels: {severity: emergency}\n";

#[tokio::test]
async fn groups_of_prometheus_record_and_alert() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    std::fs::write(folder.path().join("rules/cores.yml"), GROUPS).unwrap();
    let server = Server::within(
        folder,
        &config("dir = \"rules\"\n[notify]\nexternal_url = \"http://watch.example\"\n"),
        &[],
    );
    push(&server, "a", &[("0", 93.0), ("1", 5.0)]).await;
    let firing = in_state(&server, "Hot", "firing", 1).await;
    assert_eq!(firing[0]["description"], "a is at 93");
    assert_eq!(firing[0]["severity"], "critical");
    assert_eq!(
        firing[0]["labels"],
        json!({"alertname": "Hot", "agent_id": "a", "severity": "critical", "zone": "z"})
    );
    assert_eq!(
        firing[0]["annotations"],
        json!({"summary": "a is at 93", "link": "http://watch.example/x"})
    );
    assert_eq!(firing[0]["alert_id"], "cores/Hot:a:agent:m:max");
    let recorded = eventually("recorded", async || {
        let path = "/api/v1/samples?agent_id=a&metric_name=agent:m:max&from=-1h";
        let found = server.get_json(path).await["series"]
            .as_array()
            .unwrap()
            .clone();
        found.first().cloned()
    });
    let recorded = recorded.await;
    assert_eq!(
        recorded["labels"],
        json!({"agent_id": "a", "zone": "z"}),
        "{recorded}"
    );
    assert_eq!(recorded["samples"][0][1], 93.0);
    let rules = server.get_json("/api/v1/rules").await;
    let names: Vec<&str> = rules["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["cores/Hot", "cores/Hot#2", "cores/agent:m:max"]);
    assert_eq!(rules["rules"][0]["health"], "ok");
    push(&server, "a", &[("0", 97.0)]).await;
    in_state(&server, "Hot", "firing", 2).await;
    push(&server, "a", &[("0", 1.0)]).await;
    in_state(&server, "Hot", "resolved", 2).await;
}

#[tokio::test]
async fn a_backtest_tells_what_would_have_fired() {
    let mut server = Server::start();
    let end = now_ms() / 60_000 * 60_000;
    let samples: Vec<Value> = (0..60)
        .map(|minute| {
            let value = if (10..20).contains(&minute) { 100 } else { 50 };
            json!({"name": "m", "value": value, "timestamp": (end - (60 - minute) * 60_000) as f64 / 1000.0})
        })
        .collect();
    server.push("a", &json!(samples)).await;
    std::fs::write(
        server.folder().join("rules.yml"),
        GROUPS.replace("agent:m:max > 90", "m > 90"),
    )
    .unwrap();
    std::fs::write(
        server.folder().join("rules.toml"),
        "[[rule]]\nname = \"hot\"\ndescription = \"d\"\ncondition_type = \"expr\"\nexpr = \"m > 90\"\nfor = \"2m\"\n",
    )
    .unwrap();
    server.kill();
    let to = longwatch::model::Timestamp::from_millis(end).to_rfc3339();
    let tried = |file: &str| -> Value {
        let arguments = [
            "rules",
            "backtest",
            file,
            "--db",
            "live.redb",
            "--window",
            "1h",
            "--to",
            &to,
            "--format",
            "json",
        ];
        serde_json::from_slice(&server.run(&arguments).ok()).unwrap()
    };
    let own = &tried("rules.toml")["backtests"][0];
    assert_eq!(
        (&own["fired"], &own["series"], &own["error"]),
        (&json!(1), &json!(1), &Value::Null),
        "{own}"
    );
    // Ten minutes above, two of them pending.
    assert_eq!(own["firing_seconds"], 480.0, "{own}");
    assert_eq!(own["episodes"][0]["peak_value"], 100.0);
    assert_eq!(own["episodes"][0]["agent_id"], "a");
    let groups = tried("rules.yml");
    let fired: Vec<&Value> = groups["backtests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["fired"])
        .collect();
    assert_eq!(fired, [&json!(0), &json!(1), &json!(1)], "{groups}");
}

#[test]
fn mistakes_in_expressions_and_groups_are_told_with_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("good.yml", GROUPS);
    write("twice.yml", &GROUPS.replace("emergency", "critical"));
    write(
        "bad.yml",
        &GROUPS
            .replace("m > 95", "m >")
            .replace("  labels: {zone: z}", "  lables: {}"),
    );
    write("torn.yml", &GROUPS.replace("m > 95", "m > on"));
    write(
        "bad.toml",
        "[[rule]]\nname = \"x\"\ndescription = \"d\"\ncondition_type = \"expr\"\nexpr = \"up ==\"\n",
    );
    assert_eq!(
        run(&["check", "rules", "good.yml"], folder.path()).ok(),
        b"good.yml: ok\n"
    );
    let twice = run(&["check", "rules", "twice.yml"], folder.path());
    assert_eq!(twice.status, Some(0));
    assert!(twice.err.contains("`Hot` is a duplicate"), "{}", twice.err);
    for (file, told) in [
        ("bad.yml", "bad.yml:3:3"),
        ("torn.yml", "torn.yml:14:11: expr: 1:"),
        ("bad.toml", "bad.toml:5:8: rule.expr: 1:"),
    ] {
        let bad = run(&["check", "rules", file], folder.path());
        assert_eq!(bad.status, Some(1), "{file}");
        assert!(bad.err.contains(told), "{}", bad.err);
    }
}
