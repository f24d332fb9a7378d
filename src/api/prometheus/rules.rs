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
    model::{
        Alert, AlertBook, AlertSource, AlertState, Condition, LabelPairs, StoredRule, Timestamp,
    },
    query::show_number,
    rules::RulesStatus,
};

/// The group of rules that are in no group of a file.
const OWN_GROUP: &str = "longwatch";

pub(in crate::api) async fn alerts(State(edge): State<Arc<Edge>>) -> Result<Success, Failure> {
    let alerts = edge.read(|view| {
        let book = view.book();
        let open: Vec<Value> = open(&book).map(alert_json).collect();
        Ok(Success::of(&json!({ "alerts": open })))
    });
    Ok(alerts.await?)
}

pub(in crate::api) async fn rules(
    State(edge): State<Arc<Edge>>,
    asked: Asked,
) -> Result<Success, Failure> {
    let kind = match asked.text("type") {
        None => None,
        Some(kind @ ("alert" | "record")) => Some(kind == "record"),
        Some(other) => {
            return Err(Failure::parameter(
                "type",
                format!("not supported value {other:?}"),
            ));
        }
    };
    let names: HashSet<String> = asked.all("rule_name[]").map(str::to_owned).collect();
    let groups: HashSet<String> = asked.all("rule_group[]").map(str::to_owned).collect();
    let leaves_alerts_out = asked.text("exclude_alerts") == Some("true");
    let status = edge.context.rules.borrow().clone();
    let found = edge.read(move |view| {
        let book = view.book();
        let mut found: BTreeMap<&str, Vec<&StoredRule>> = BTreeMap::new();
        for stored in book.rules.values() {
            let rule = &stored.rule;
            let is_recording = matches!(rule.condition, Condition::Record { .. });
            let group = rule
                .member
                .as_ref()
                .map_or(OWN_GROUP, |member| &member.group);
            let is_wanted = kind.is_none_or(|wants_recording| wants_recording == is_recording)
                && (names.is_empty() || names.contains(rule.alert_name()))
                && (groups.is_empty() || groups.contains(group));
            if is_wanted {
                found.entry(group).or_default().push(stored);
            }
        }
        let told = found.into_iter().map(|(group, mut rules)| {
            rules.sort_by_key(|stored| stored.rule.member.as_ref().map_or(0, |m| m.position));
            let member = rules.first().and_then(|stored| stored.rule.member.as_ref());
            let interval_ms = member.and_then(|member| u64::try_from(member.interval_ms?).ok());
            let told = rules
                .iter()
                .map(|stored| rule_json(stored, &book, &status, leaves_alerts_out));
            json!({
                "name": group,
                "file": status.directory.as_ref().map_or("", |directory| &directory.path),
                "interval": interval_ms.unwrap_or(status.interval_ms) as f64 / 1000.0,
                "limit": member.map_or(0, |member| member.limit),
                "rules": told.collect::<Vec<_>>(),
                "evaluationTime": status.seconds,
                "lastEvaluation": last_evaluation(&status),
            })
        });
        let told: Vec<Value> = told.collect();
        Ok(Success::of(&json!({ "groups": told })))
    });
    Ok(found.await?)
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
    let error = status.errors.get(&rule.name);
    let health = match (error, status.evaluated_at) {
        (Some(_), _) => "err",
        (None, Some(_)) => "ok",
        (None, None) => "unknown",
    };
    let mut shown = json!({
        "name": rule.alert_name(),
        // A native rule is written in another form than PromQL: its definition tells what it asks.
        "query": rule.condition.expression().unwrap_or(&stored.definition),
        "labels": pairs(&rule.add_labels),
        "health": health,
        "evaluationTime": status.seconds,
        "lastEvaluation": last_evaluation(status),
    });
    if let Some(error) = error {
        shown["lastError"] = error.as_str().into();
    }
    if matches!(rule.condition, Condition::Record { .. }) {
        shown["type"] = "recording".into();
        return shown;
    }
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
    shown["type"] = "alerting".into();
    shown["state"] = state.into();
    shown["duration"] = (rule.for_ms as f64 / 1000.0).into();
    shown["keepFiringFor"] = (rule.keep_firing_for_ms as f64 / 1000.0).into();
    shown["annotations"] = pairs(&rule.annotations).into();
    if !leaves_alerts_out {
        shown["alerts"] = alerts.into_iter().map(alert_json).collect();
    }
    shown
}

/// When rules were evaluated last; the zero time of Go before the first time, which clients expect there.
fn last_evaluation(status: &RulesStatus) -> String {
    let never = || "0001-01-01T00:00:00Z".to_owned();
    status
        .evaluated_at
        .map_or_else(never, Timestamp::to_rfc3339)
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
        "value": show_number(alert.value.unwrap_or(f64::NAN)),
    })
}

fn pairs(labels: &LabelPairs) -> Map<String, Value> {
    labels
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect()
}
