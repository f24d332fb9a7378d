//! Is it alive, is it ready, how is the file.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use super::{
    context::{Edge, Readiness, blocking},
    problem::Problem,
    rules,
};
use crate::{
    model::{Glob, RetentionRule, Timestamp, format_duration_ms},
    store::{Condition, Quarantined},
};

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(edge): State<Arc<Edge>>) -> Response {
    let readiness = edge.context.ready.borrow().clone();
    let condition = edge.context.store.condition();
    let why = match (&readiness, condition.problem()) {
        (Readiness::NotReady(why), _) => why,
        (Readiness::Ready, Some(problem)) => problem,
        (Readiness::Ready, None) => return "ready\n".into_response(),
    };
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
}

pub(super) async fn status(State(edge): State<Arc<Edge>>) -> Result<Json<Value>, Problem> {
    let store = edge.context.store.clone();
    let status = blocking(move || Ok(store.status())).await?;
    let now = edge.now();
    let book = edge.context.store.view().book();
    let time = |ms: i64| Timestamp::from_millis(ms).to_rfc3339();
    Ok(Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "schema_version": status.schema_version,
        "file_id": status.file_id,
        "created": time(status.created_ms),
        "started": edge.context.started.to_rfc3339(),
        "uptime_seconds": now.since(edge.context.started) as f64 / 1000.0,
        "time": now.to_rfc3339(),
        "agents": status.agents,
        "series": status.series,
        "head_samples": status.head_samples,
        "head_bytes": status.head_bytes,
        "wal_records": status.wal_records,
        "blocks": status.blocks,
        "quarantined_blocks": {
            "count": status.quarantined,
            "first": status.quarantined_first.iter().map(quarantined).collect::<Vec<_>>(),
        },
        "file_bytes": status.file_bytes,
        "bytes_written": status.bytes_written,
        "commits": status.commits,
        "last_commit": status.last_commit_ms.map(time),
        "retention": format_duration_ms(status.retention_ms),
        "retention_seconds": status.retention_ms as f64 / 1000.0,
        "retention_rules": status.retention_rules.iter().map(retention_rule).collect::<Vec<_>>(),
        "copy_safe_seconds": status.copy_safe_seconds,
        "copy_advice": copy_advice(status.copy_safe_seconds),
        "writes": match status.condition {
            Condition::Sound => "accepted",
            Condition::DiskLow(_) => "disk_low",
            Condition::Suspended(_) => "suspended",
        },
        "writes_problem": status.condition.problem(),
        "disk_available_bytes": status.disk_available_bytes,
        "disk_reserve_bytes": status.disk_reserve_bytes,
        "rules": rules::status_json(&edge.context.rules.borrow(), &book),
        "notifications": {
            "waiting": book.outbox.values().filter(|delivery| !delivery.is_dead()).count(),
            "dead": book.outbox.values().filter(|delivery| delivery.is_dead()).count(),
        },
        "forwarding": edge.context.store.spool_status().map(|spool| json!({
            "waiting_commits": spool.waiting_records,
            "samples_dropped": spool.dropped,
            "delay_seconds": edge.context.metrics.forward_delay_seconds.get(),
        })),
        "target_files": edge.context.target_files.borrow().to_json(),
    })))
}

fn retention_rule(rule: &RetentionRule) -> Value {
    let labels = rule.labels.iter();
    let labels: Map<String, Value> = labels
        .map(|(name, glob)| (name.clone(), glob.as_str().into()))
        .collect();
    json!({
        "metric": rule.metric.as_ref().map(Glob::as_str),
        "agent_id": rule.agent_id.as_ref().map(Glob::as_str),
        "labels": labels,
        "keep": format_duration_ms(rule.keep_ms),
        "keep_seconds": rule.keep_ms as f64 / 1000.0,
    })
}

/// A block that cannot be read. Its day is that of its first moment: a block lies within one UTC day.
fn quarantined(block: &Quarantined) -> Value {
    json!({
        "day": &block.first.to_rfc3339()[..10],
        "agent_id": block.agent_id,
        "from": block.first.to_rfc3339(),
        "to": block.last.to_rfc3339(),
        "reason": block.reason,
        "seen": block.seen.map(Timestamp::to_rfc3339),
    })
}

fn copy_advice(seconds: f64) -> String {
    if seconds >= 1.0 {
        format!("plain cp safe for {} s", seconds.floor())
    } else {
        "plain cp is not safe now; use longwatch db snapshot".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_never_promises_more_than_there_is() {
        assert_eq!(copy_advice(12.9), "plain cp safe for 12 s");
        for seconds in [0.0, 0.99, -1.0, f64::NAN] {
            assert!(copy_advice(seconds).contains("not safe"), "{seconds}");
        }
    }
}
