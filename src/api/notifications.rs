//! Deliveries of notifications that are not done: the list, and those given up tried again.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::{Value, json};

use super::{context::Edge, parameters::Parameters, problem::Problem};
use crate::{
    model::{Delivery, Timestamp},
    store::{Change, Changed},
};

/// `dead` are those that were given up.
const STATES: [(&str, Option<bool>); 3] = [
    ("waiting", Some(false)),
    ("dead", Some(true)),
    ("all", None),
];

pub(super) async fn list(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    let state = parameters.choice("state", &STATES)?.flatten();
    edge.read(move |view| {
        let notifications: Vec<Value> = view
            .book()
            .outbox
            .values()
            .filter(|delivery| state.is_none_or(|dead| delivery.is_dead() == dead))
            .map(|delivery| delivery_json(delivery))
            .collect();
        Ok(Json(json!({ "notifications": notifications })))
    })
    .await
}

pub(super) async fn retry(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let unknown = || {
        let why = format!("there is no delivery `{id}`");
        Problem::new(StatusCode::NOT_FOUND, why)
    };
    let sequence = id.parse().map_err(|_| unknown())?;
    match edge.context.store.alerting(Change::Retry(sequence)).await? {
        Changed::Unknown => Err(unknown()),
        Changed::Conflict(why) => Err(Problem::new(StatusCode::CONFLICT, why)),
        _ => Ok(StatusCode::ACCEPTED),
    }
}

fn delivery_json(delivery: &Delivery) -> Value {
    let alerts = delivery.notification.alerts.iter();
    json!({
        "id": delivery.sequence.to_string(),
        "channel": delivery.channel,
        "state": if delivery.is_dead() { "dead" } else { "waiting" },
        "status": if delivery.notification.is_firing() { "firing" } else { "resolved" },
        "group_key": delivery.notification.group_key,
        "alerts": alerts.map(|a| json!({"id": a.occurrence.0.to_string(), "alert_id": a.alert_id})).collect::<Vec<_>>(),
        "idempotency_key": delivery.idempotency_key,
        "created_at": delivery.created_at.to_rfc3339(),
        "attempts": delivery.attempts,
        "next_attempt": delivery.next_attempt.map(Timestamp::to_rfc3339),
        "last_error": delivery.last_error,
    })
}
