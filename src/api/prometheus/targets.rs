//! What is scraped, as Prometheus lists targets.

use std::sync::Arc;

use axum::extract::State;
use serde_json::{Value, json};

use super::{
    answer::{Failure, Success},
    asked::Asked,
};
use crate::{
    api::context::Edge,
    model::{Agent, History, Timestamp},
    query::OwnedLabels,
    report,
};

pub(in crate::api) async fn targets(
    State(edge): State<Arc<Edge>>,
    asked: Asked,
) -> Result<Success, Failure> {
    let wants_active = asked.text("state").is_none_or(|state| state != "dropped");
    let now = edge.now();
    let targets = edge.read(move |view| {
        let agents = if wants_active {
            view.agents(now)
        } else {
            Vec::new()
        };
        let scraped = agents
            .iter()
            .filter(|agent| agent.registration.metrics_endpoint.is_some());
        let active = scraped.map(|agent| target(&*view, agent, now));
        let active = active.collect::<Result<Vec<_>, _>>()?;
        Ok(Success::of(&json!({
            "activeTargets": active,
            "droppedTargets": [],
            "droppedTargetCounts": {},
        })))
    });
    Ok(targets.await?)
}

fn target(
    history: &dyn History,
    agent: &Agent,
    now: Timestamp,
) -> Result<Value, crate::model::ReadError> {
    let shown = report::agent_json(history, agent, now)?;
    let owned = OwnedLabels::of(history, agent.no, now);
    let health = match shown["status"].as_str() {
        Some("active") => "up",
        Some("unknown") | None => "unknown",
        Some(_) => "down",
    };
    let interval = agent
        .registration
        .interval_ms
        .unwrap_or(history.policy(now).interval_ms);
    let mut labels = serde_json::Map::new();
    for (name, value) in owned.pairs() {
        labels.insert(name.to_owned(), value.into());
    }
    Ok(json!({
        "discoveredLabels": {"__address__": labels.get("instance").cloned().unwrap_or_default()},
        "labels": labels,
        "scrapePool": labels.get("job").cloned().unwrap_or_default(),
        "scrapeUrl": agent.registration.metrics_endpoint,
        "globalUrl": agent.registration.metrics_endpoint,
        "lastError": shown["last_error"].as_str().unwrap_or_default(),
        "lastScrape": shown["last_heartbeat"],
        "health": health,
        "scrapeInterval": crate::model::format_duration_ms(interval),
    }))
}
