//! Agents from registration to deregistration; scrapes, probes and the health alert; restarts.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use longwatch::model::Timestamp;
use serde_json::{Value, json};

use crate::{
    server::{QUIET, Server, eventually, now_ms, past},
    target::Target,
};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; version=0.0.4";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

async fn register(server: &Server, agent: &str, target: &Target, key: &str) {
    let body = json!({"agent_id": agent, key: target.url(), "collection_interval_seconds": 0.5});
    server.post_json("/api/v1/agents", &body).await.expect(201);
}

async fn status_of(server: &Server, agent: &str) -> Value {
    let shown = server.get(&format!("/api/v1/agents/{agent}")).await;
    shown.json()["status"].clone()
}

async fn until_status(server: &Server, agent: &str, status: &str) {
    eventually(&format!("{agent} is {status}"), async || {
        (status_of(server, agent).await == status).then_some(())
    })
    .await;
}

fn ids(agents: &Value) -> Vec<&str> {
    let agents = agents["agents"].as_array().unwrap();
    agents
        .iter()
        .map(|a| a["agent_id"].as_str().unwrap())
        .filter(|id| *id != "longwatch")
        .collect()
}

#[tokio::test]
async fn from_registration_to_deregistration() {
    let server = Server::start();
    let id = "a%207%2F%C3%A4";
    let path = format!("/api/v1/agents/{id}");
    let body =
        json!({"agent_id": "a 7/ä", "labels": {"job": "planning"}, "info": {"deep": [1, {}]}});
    let created = server.post_json("/api/v1/agents", &body).await.expect(201);
    assert_eq!(created.header("location"), path);
    assert_eq!(created.json()["status"], "unknown");

    let body = json!({"agent_id": "a 7/ä", "collection_interval_seconds": 2.5});
    let updated = server.post_json("/api/v1/agents", &body).await.expect(200);
    assert_eq!(updated.json()["collection_interval_seconds"], 2.5);
    assert_eq!(
        updated.json()["registration_time"],
        created.json()["registration_time"]
    );

    assert_eq!(ids(&server.get_json("/api/v1/agents").await), ["a 7/ä"]);
    let heartbeat = format!("{path}/heartbeat");
    let beaten = server.post(&heartbeat, "").await.expect(204);
    assert!(beaten.body.is_empty());
    let shown = server.get_json(&path).await;
    assert_eq!(shown["status"], "active");
    assert!(shown["last_heartbeat"].is_string(), "{shown}");

    server.push(id, &json!([{"name": "m", "value": 7}])).await;
    let before = now_ms();
    past(before).await;
    server.delete(&path).await.expect(204);
    server.delete(&path).await.problem(404);
    assert!(ids(&server.get_json("/api/v1/agents").await).is_empty());
    let overview = server.get_json("/api/v1/overview").await;
    assert!(overview["system_overview"]["agents"]["agents_detail"]["a 7/ä"].is_null());

    // Its history stays: by id, and by the moment before.
    let gone = server.get_json(&path).await;
    assert!(gone["deregistered_at"].is_string(), "{gone}");
    let samples = server
        .samples(&format!("agent_id={id}&metric_name=m"))
        .await;
    assert_eq!(samples.len(), 1);
    assert_eq!(samples[0].1, 7.0);
    let before = Timestamp::from_millis(before);
    let then = format!("/api/v1/agents?at={before}");
    assert_eq!(ids(&server.get_json(&then).await), ["a 7/ä"]);
    server.get("/api/v1/agents/nobody").await.problem(404);
}

#[tokio::test]
async fn pushes_and_heartbeats_register_by_themselves() {
    let server = Server::start();
    server
        .push("pusher", &json!([{"name": "m", "value": 1}]))
        .await;
    server
        .post("/api/v1/agents/beater/heartbeat", "")
        .await
        .expect(204);
    let agents = server.get_json("/api/v1/agents").await;
    assert_eq!(ids(&agents), ["beater", "pusher"]);
    for agent in ["pusher", "beater"] {
        assert_eq!(status_of(&server, agent).await, "active");
        let up = server
            .samples(&format!("agent_id={agent}&metric_name=up"))
            .await;
        assert_eq!(up.len(), 1, "once an interval");
    }
    server.delete("/api/v1/agents/pusher").await.expect(204);
    server
        .push("pusher", &json!([{"name": "m", "value": 2}]))
        .await;
    let agents = server.get_json("/api/v1/agents").await;
    assert_eq!(ids(&agents), ["beater", "pusher"]);
    assert_eq!(status_of(&server, "pusher").await, "active");
}

#[tokio::test]
async fn agents_of_the_configuration_are_not_changed_over_http() {
    let config = format!("{QUIET}[[agents]]\nagent_id = \"owned\"\nlabels = {{ job = \"x\" }}\n");
    let server = Server::with(&config, &[]);
    // longwatch registers itself soon after it listens.
    until_status(&server, "longwatch", "active").await;
    for agent in ["owned", "longwatch"] {
        let body = json!({"agent_id": agent, "labels": {"job": "other"}});
        let problem = server.post_json("/api/v1/agents", &body).await.problem(409);
        assert!(problem["detail"].as_str().unwrap().contains(agent));
        let path = format!("/api/v1/agents/{agent}");
        server.delete(&path).await.problem(409);
    }
    let owned = server.get_json("/api/v1/agents/owned").await;
    assert_eq!(owned["labels"], json!({"job": "x"}));
    server
        .push("owned", &json!([{"name": "m", "value": 1}]))
        .await;
    assert_eq!(status_of(&server, "owned").await, "active");
}

#[tokio::test]
async fn the_three_formats_are_scraped() {
    let server = Server::start();
    let document = json!({"metrics": [
        {"name": "system_cpu_usage", "type": "gauge", "value": 12.5, "labels": {"core": "0"}},
        {"name": "broken", "value": "many"},
        {"name": "tasks_total", "type": "counter", "value": 3}]});
    let text = "# TYPE system_cpu_usage gauge\nsystem_cpu_usage{core=\"0\"} 12.5\n\
        # TYPE tasks_total counter\ntasks_total 3\n";
    let openmetrics = "# TYPE system_cpu_usage gauge\nsystem_cpu_usage{core=\"0\"} 12.5\n\
        # TYPE tasks counter\ntasks_total 3\n# EOF\n";
    let targets = [
        ("json", Target::start(JSON, &document.to_string()).await),
        ("text", Target::start(TEXT, text).await),
        ("om", Target::start(OPENMETRICS, openmetrics).await),
    ];
    for (agent, target) in &targets {
        register(&server, agent, target, "metrics_endpoint").await;
    }
    for (agent, _) in &targets {
        let cpu = format!("agent_id={agent}&metric_name=system_cpu_usage&label.core=0");
        eventually("a scrape", async || {
            server.samples(&cpu).await.first().cloned()
        })
        .await;
        let found = server
            .get_json(&format!("/api/v1/samples?agent_id={agent}"))
            .await;
        let series = found["series"].as_array().unwrap();
        let of = |name: &str| {
            let one = series.iter().find(|s| s["metric_name"] == name);
            one.map(|s| (s["metric_type"].clone(), s["samples"][0][1].clone()))
        };
        assert_eq!(of("up"), Some((json!("gauge"), json!(1.0))), "{found}");
        assert_eq!(of("system_cpu_usage"), Some((json!("gauge"), json!(12.5))));
        assert_eq!(of("tasks_total"), Some((json!("counter"), json!(3.0))));
        assert_eq!(of("broken"), None);
        assert_eq!(status_of(&server, agent).await, "active");
    }
    let log = server.log();
    assert!(
        log.lines()
            .any(|l| l.contains("json") && l.contains("broken")),
        "the bad metric is told: {log}"
    );
}

#[tokio::test]
async fn a_failing_target_raises_one_alert_until_it_is_back() {
    let server = Server::start();
    let target = Target::start(TEXT, "m 1\n").await;
    register(&server, "shaky", &target, "metrics_endpoint").await;
    until_status(&server, "shaky", "active").await;

    target.answer_with(500);
    until_status(&server, "shaky", "unhealthy").await;
    let overview = server.get_json("/api/v1/overview").await;
    let counts = &overview["system_overview"]["alerts"];
    assert_eq!(
        (&counts["critical_alerts"], &counts["active_alerts"]),
        (&json!(1), &json!(1))
    );
    let detail = &overview["system_overview"]["agents"]["agents_detail"]["shaky"];
    assert_eq!(detail["status"], "unhealthy");
    let firing = server.get_json("/api/v1/alerts?state=firing").await;
    let alert = &firing["alerts"][0];
    assert_eq!(alert["alert_id"], "agent_health:shaky");
    assert_eq!(alert["alert_name"], "Agent Health Issue");
    assert_eq!(alert["affected_agents"], json!(["shaky"]));
    let description = alert["description"].as_str().unwrap();
    assert!(
        description.starts_with("Agent shaky is experiencing health issues: ")
            && description.contains("500"),
        "{description}"
    );
    let shown = server.get_json("/api/v1/agents/shaky").await;
    let error = shown["last_error"].as_str().unwrap();
    assert!(
        description.ends_with(error) && error.starts_with("status 500"),
        "{error}"
    );
    let health = server.get_json("/api/v1/agents/shaky/health").await;
    // 50 for the status, 10 for the alert.
    assert_eq!(health["health_score"], 40.0, "{health}");

    // More failures are the same occurrence.
    eventually("more failures", async || {
        let up = server.samples("agent_id=shaky&metric_name=up").await;
        (up.iter().filter(|(_, v)| *v == 0.0).count() >= 3).then_some(())
    })
    .await;
    target.answer_with(200);
    until_status(&server, "shaky", "active").await;
    let all = server.get_json("/api/v1/alerts?state=all").await;
    assert_eq!(all["alerts"].as_array().unwrap().len(), 1, "{all}");
    assert_eq!(all["alerts"][0]["state"], "resolved");
    assert!(all["alerts"][0]["resolution_timestamp"].is_string());
    let id = all["alerts"][0]["id"].as_str().unwrap();
    let shown = server.get_json(&format!("/api/v1/alerts/{id}")).await;
    let events: Vec<_> = shown["history"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&events[0]["event"], &events[1]["event"]),
        (&json!("fired"), &json!("resolved"))
    );
    let overview = server.get_json("/api/v1/overview").await;
    let counts = &overview["system_overview"]["alerts"];
    assert_eq!(
        (&counts["critical_alerts"], &counts["total_alerts"]),
        (&json!(0), &json!(1))
    );

    // The failures ended the series with markers, which are no samples to anybody.
    let now = server.get_json("/api/v1/status").await["time"].clone();
    let query = format!("agent_id=shaky&metric_name=m&to={}", now.as_str().unwrap());
    let samples = server.samples(&query).await;
    assert!(samples.iter().all(|(_, v)| *v == 1.0), "{samples:?}");
    let up = server.samples(&query.replace("=m&", "=up&")).await;
    let ups = up.iter().filter(|(_, v)| *v == 1.0).count();
    assert_eq!(samples.len(), ups, "one for each scrape that succeeded");
    let series = server.get_json(&format!("/api/v1/series?{query}")).await;
    assert_eq!(series["series"][0]["samples"], samples.len(), "{series}");
    let counted = server
        .samples(&format!("{query}&step=365d&aggregate=count"))
        .await;
    assert_eq!(counted[0].1, samples.len() as f64);
}

/// Text and OpenMetrics are all or nothing, wherever the mistake is.
#[tokio::test]
async fn a_late_mistake_leaves_nothing_of_its_scrape() {
    let server = Server::start();
    let lines = (0..500).fold(String::new(), |lines, n| {
        lines + &format!("late{{n=\"{n}\"}} 2\n")
    });
    for (agent, media, end) in [("text", TEXT, ""), ("om", OPENMETRICS, "# EOF\n")] {
        let target = Target::start(media, &format!("m 1\n{end}")).await;
        register(&server, agent, &target, "metrics_endpoint").await;
        until_status(&server, agent, "active").await;
        target.say(media, &format!("m 2\n{lines}m{{ 3\n{end}"));
        until_status(&server, agent, "unhealthy").await;
        let shown = server.get_json(&format!("/api/v1/agents/{agent}")).await;
        let error = shown["last_error"].as_str().unwrap();
        assert!(error.starts_with("line 502, column "), "{error}");
        target.say(media, &format!("m 4\n{end}"));
        until_status(&server, agent, "active").await;
        let samples = server
            .samples(&format!("agent_id={agent}&metric_name=m"))
            .await;
        let values: Vec<_> = samples.iter().filter_map(|(_, v)| v.as_f64()).collect();
        assert!(values.contains(&1.0) && values.contains(&4.0), "{values:?}");
        assert!(
            !values.contains(&2.0) && !values.contains(&3.0),
            "{values:?}"
        );
        let late = format!("/api/v1/series?agent_id={agent}&metric_name=late");
        assert_eq!(server.get_json(&late).await["series"], json!([]));
    }
}

#[tokio::test]
async fn a_probe_alone_tells_health() {
    let server = Server::start();
    let target = Target::start(TEXT, "well").await;
    register(&server, "probed", &target, "health_endpoint").await;
    until_status(&server, "probed", "active").await;
    target.answer_with(503);
    until_status(&server, "probed", "unhealthy").await;
    let shown = server.get_json("/api/v1/agents/probed").await;
    let error = shown["last_error"].as_str().unwrap();
    assert!(
        error.contains("health check") && error.contains("503"),
        "{error}"
    );
    target.answer_with(204);
    until_status(&server, "probed", "active").await;
    let probes = server
        .samples("agent_id=probed&metric_name=health_probe_up")
        .await;
    let first_and_last = (&probes[0].1, &probes[probes.len() - 1].1);
    assert_eq!(first_and_last, (&json!(1.0), &json!(1.0)));
    assert!(probes.iter().any(|(_, v)| *v == 0.0));
}

/// What must be the same after a restart: everything told as of one moment of the past.
async fn memory(server: &Server, at: &str) -> Vec<Value> {
    let mut told = Vec::new();
    for path in [
        format!("/api/v1/agents?at={at}"),
        format!("/api/v1/alerts?at={at}"),
        format!("/api/v1/samples?to={at}"),
        format!("/api/v1/series?to={at}"),
        format!("/api/v1/overview?at={at}"),
    ] {
        told.push(server.get_json(&path).await);
    }
    told
}

#[tokio::test]
async fn a_restart_forgets_nothing() {
    let mut server = Server::start();
    let target = Target::start(TEXT, "m 1\n").await;
    register(&server, "scraped", &target, "metrics_endpoint").await;
    server
        .push(
            "pushed",
            &json!([{"name": "m", "value": 1, "labels": {"a": "ä"}}]),
        )
        .await;
    until_status(&server, "scraped", "active").await;
    target.answer_with(404);
    until_status(&server, "scraped", "unhealthy").await;
    let now = server.get_json("/api/v1/status").await["time"].clone();
    let at = now.as_str().unwrap();
    // Whatever was stamped by then is committed once a later scrape is.
    eventually("a later scrape", async || {
        let up = format!("agent_id=scraped&metric_name=up&from={at}");
        (server.samples(&up).await.len() >= 2).then_some(())
    })
    .await;
    let told = memory(&server, at).await;
    assert!(told[1]["alerts"][0]["state"] == "firing", "{}", told[1]);

    server.restart();
    assert_eq!(memory(&server, at).await, told, "after SIGKILL");
    let (status, log) = server.terminate();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("SIGTERM"), "{log}");
    server.restart();
    assert_eq!(memory(&server, at).await, told, "after SIGTERM");
    // It still fires, and resolves when the target is back.
    target.answer_with(200);
    until_status(&server, "scraped", "active").await;
    let all = server.get_json("/api/v1/alerts?state=all").await;
    assert_eq!(all["alerts"].as_array().unwrap().len(), 1, "{all}");
    assert_eq!(all["alerts"][0]["resolved"], true);
}

#[tokio::test]
async fn nobody_takes_the_name_of_longwatch_before_itself() {
    // Each a first start, asked as soon as it says that it listens.
    for _ in 0..5 {
        let server = Server::start();
        let body = json!({"agent_id": "longwatch", "labels": {"job": "other"}});
        server.post_json("/api/v1/agents", &body).await.problem(409);
        until_status(&server, "longwatch", "active").await;
    }
}
