//! `longwatch demo`: something on every screen, soon.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;

use longwatch::{
    ingest::parse_scrape,
    model::{Limits, Timestamp},
};
use serde_json::{Value, json};

use crate::server::{Answer, Server, eventually};

/// Every address that these tests use, as the description writes it.
const USED: [(&str, &str); 19] = [
    ("/", "get"),
    ("/healthz", "get"),
    ("/readyz", "get"),
    ("/metrics", "get"),
    ("/openapi.json", "get"),
    ("/api/v1/agents", "get"),
    ("/api/v1/agents", "post"),
    ("/api/v1/agents/{agent_id}", "get"),
    ("/api/v1/agents/{agent_id}", "delete"),
    ("/api/v1/agents/{agent_id}/heartbeat", "post"),
    ("/api/v1/agents/{agent_id}/metrics", "post"),
    ("/api/v1/agents/{agent_id}/health", "get"),
    ("/api/v1/samples", "get"),
    ("/api/v1/series", "get"),
    ("/api/v1/overview", "get"),
    ("/api/v1/reports/performance", "get"),
    ("/api/v1/alerts", "get"),
    ("/api/v1/status", "get"),
    ("/api/v1/admin/snapshot", "get"),
];

fn simulated(agents: &Value) -> impl Iterator<Item = &Value> {
    let agents = agents["agents"].as_array().unwrap();
    agents.iter().filter(|a| a["info"]["simulated"] == true)
}

#[tokio::test]
async fn the_demo_has_something_to_show() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::command(folder, &["demo", "--listen", "127.0.0.1:0"]);
    // One crashes and one goes silent at times, so that each counts once it was seen active.
    let mut seen = BTreeSet::new();
    eventually("twelve active agents", async || {
        let agents = server.get_json("/api/v1/agents").await;
        assert_eq!(simulated(&agents).count(), 12);
        let active = simulated(&agents).filter(|a| a["status"] == "active");
        seen.extend(active.map(|a| a["agent_id"].as_str().unwrap().to_owned()));
        (seen.len() == 12).then_some(())
    })
    .await;
    let overview = server.get_json("/api/v1/overview").await;
    let metrics = &overview["system_overview"]["metrics"];
    assert!(
        metrics["total_metrics_collected"].as_u64().unwrap() > 12 * 10,
        "{metrics}"
    );

    let page = server.get("/").await.expect(200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let page = page.text();
    assert!(page.contains("<svg") && !page.contains("<script"));
    for agent in &seen {
        assert!(page.contains(agent.as_str()), "{agent}");
    }

    own_metrics(&server, "", "text/plain; version=0.0.4; charset=utf-8").await;
    let asked = "application/openmetrics-text; version=1.0.0";
    own_metrics(
        &server,
        asked,
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    )
    .await;
    server.get("/readyz").await.expect(200);

    let described = server.get("/openapi.json").await.expect(200);
    assert_eq!(described.header("content-type"), "application/json");
    let described = described.json();
    assert!(described["openapi"].as_str().unwrap().starts_with("3."));
    for (path, method) in USED {
        assert!(
            described["paths"][path][method].is_object(),
            "{method} {path}"
        );
    }

    let url = server.url("");
    let told = server
        .run(&["report", "--url", &url, "--window", "5m"])
        .ok();
    assert!(
        String::from_utf8(told)
            .unwrap()
            .starts_with("Performance report")
    );
    let list = server
        .run(&["agents", "list", "--url", &url, "--format", "json"])
        .ok();
    let list: Value = serde_json::from_slice(&list).unwrap();
    assert!(list.to_string().contains("simulated"), "{list}");

    let body = json!({"agent_id": seen.first(), "labels": {}});
    server.post_json("/api/v1/agents", &body).await.expect(200);
    let (status, log) = server.terminate();
    assert_eq!(status.code(), Some(0), "{log}");
    let left: Vec<_> = std::fs::read_dir(server.folder()).unwrap().collect();
    assert!(left.is_empty(), "the temporary database is gone: {left:?}");
}

/// Own metrics, read as a scraper reads them.
async fn own_metrics(server: &Server, accept: &str, content_type: &str) {
    let request = server.client.get(server.url("/metrics"));
    let answer = Answer::of(request.header("accept", accept))
        .await
        .expect(200);
    assert_eq!(answer.header("content-type"), content_type);
    let (at, limits) = (Timestamp::from_millis(0), Limits::default());
    let parsed = parse_scrape(Some(content_type), &answer.body, at, false, &limits).unwrap();
    assert_eq!(parsed.errors.len(), 0);
    assert!(parsed.total > 20, "{}", answer.text());
    assert!(
        answer
            .text()
            .contains("\nlongwatch_scrapes_total{by=\"ok\"} ")
    );
}
