//! Rules and their alerts in Prometheus' shapes.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use axum::extract::State;
use serde_json::{Map, Value, json};

use super::{
    answer::{Failure, Success},
    asked::Asked,
};
use crate::{
    api::context::Edge,
    model::{Alert, AlertBook, AlertSource, AlertState, LabelPairs, StoredRule, Timestamp},
    query::show_number,
    rules::RulesStatus,
};

pub(in crate::api) async fn alerts(State(edge): State<Arc<Edge>>) -> Result<Success, Failure> {
    let alerts = edge.read(|view| {
        let book = view.book();
        let open: Vec<Value> = open(&book).map(|alert| alert_json(alert)).collect();
        Ok(Success::of(&json!({ "alerts": open })))
    });
    Ok(alerts.await?)
}

pub(in crate::api) async fn rules(
    State(edge): State<Arc<Edge>>,
    asked: Asked,
) -> Result<Success, Failure> {
    let kind = asked.text("type").unwrap_or("alert");
    if !["alert", "record"].contains(&kind) {
        return Err(Failure::parameter(
            "type",
            format!("not supported value {kind:?}"),
        ));
    }
    let wants_alerting = asked.text("type").is_none_or(|kind| kind == "alert");
    let names: HashSet<String> = asked.all("rule_name[]").map(str::to_owned).collect();
    let leaves_alerts_out = asked.text("exclude_alerts") == Some("true");
    let status = edge.context.rules.borrow().clone();
    let groups = edge.read(move |view| {
        let book = view.book();
        let mut groups: BTreeMap<&'static str, Vec<Value>> = BTreeMap::new();
        for stored in book.rules.values().filter(|_| wants_alerting) {
            if !names.is_empty() && !names.contains(&stored.rule.name) {
                continue;
            }
            let rule = rule_json(stored, &book, &status, leaves_alerts_out);
            groups.entry("longwatch").or_default().push(rule);
        }
        let interval_ms = view.policy(Timestamp::MAX).interval_ms;
        let groups: Vec<Value> = groups
            .into_iter()
            .map(|(name, rules)| {
                json!({
                    "name": name,
                    "file": "",
                    "interval": interval_ms as f64 / 1000.0,
                    "limit": 0,
                    "rules": rules,
                    "evaluationTime": status.seconds,
                    "lastEvaluation": status.evaluated_at.map(Timestamp::to_rfc3339),
                })
            })
            .collect();
        Ok(Success::of(&json!({ "groups": groups })))
    });
    Ok(groups.await?)
}

fn open(book: &AlertBook) -> impl Iterator<Item = &Arc<Alert>> {
    book.open.values().flatten()
}

fn rule_json(
    stored: &StoredRule,
    book: &AlertBook,
    status: &RulesStatus,
    leaves_alerts_out: bool,
) -> Value {
    let rule = &stored.rule;
    let is_of_rule =
        |alert: &&Arc<Alert>| alert.source == AlertSource::Rule && alert.name == rule.name;
    let alerts: Vec<&Arc<Alert>> = open(book).filter(is_of_rule).collect();
    let state = if alerts.iter().any(|alert| alert.fired_at.is_some()) {
        "firing"
    } else if alerts.is_empty() {
        "inactive"
    } else {
        "pending"
    };
    let error = status.errors.get(&rule.name);
    let mut shown = json!({
        "type": "alerting",
        "name": rule.name,
        "state": state,
        // A native rule is written in another form than PromQL: its definition tells what it asks.
        "query": stored.definition,
        "duration": rule.for_ms as f64 / 1000.0,
        "keepFiringFor": rule.keep_firing_for_ms as f64 / 1000.0,
        "labels": pairs(&rule.add_labels),
        "annotations": pairs(&rule.annotations),
        "health": if error.is_some() { "err" } else if status.evaluated_at.is_some() { "ok" } else { "unknown" },
        "evaluationTime": status.seconds,
        "lastEvaluation": status.evaluated_at.map(Timestamp::to_rfc3339),
    });
    if let Some(error) = error {
        shown["lastError"] = error.as_str().into();
    }
    if !leaves_alerts_out {
        shown["alerts"] = alerts.into_iter().map(|alert| alert_json(alert)).collect();
    }
    shown
}

fn alert_json(alert: &Arc<Alert>) -> Value {
    let state = if alert.state() == AlertState::Pending {
        "pending"
    } else {
        "firing"
    };
    json!({
        "labels": pairs(&alert.labels),
        "annotations": pairs(&alert.annotations),
        "state": state,
        "activeAt": alert.active_at.to_rfc3339(),
        "value": alert.value.map_or_else(String::new, show_number),
    })
}

fn pairs(labels: &LabelPairs) -> Map<String, Value> {
    labels
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect()
}
