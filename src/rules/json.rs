//! Shapes of rules' results as JSON, the same over HTTP and on the command line.

use serde_json::{Map, Value, json};

use super::BacktestReport;
use crate::model::{Timestamp, Window};

/// Episodes that one answer names.
const EPISODES_MAX: usize = 10_000;

/// Labels as an object.
pub fn labels_json(labels: &[(String, String)]) -> Value {
    let pairs = labels
        .iter()
        .map(|(k, v)| (k.clone(), Value::String(v.clone())));
    Value::Object(pairs.collect::<Map<_, _>>())
}

/// A number: what JSON has no number for is a text.
pub fn number_json(value: Option<f64>) -> Value {
    match value {
        Some(value) if value.is_nan() => json!("NaN"),
        Some(value) if value.is_infinite() => json!(if value > 0.0 { "+Inf" } else { "-Inf" }),
        other => json!(other),
    }
}

/// A backtest over a window.
pub fn backtest_json(report: &BacktestReport, window: Window) -> Value {
    let episodes: Vec<Value> = report
        .episodes
        .iter()
        .take(EPISODES_MAX)
        .map(|episode| {
            json!({
                "agent_id": episode.agent_id,
                "labels": labels_json(&episode.labels),
                "pending_at": episode.pending_at.to_rfc3339(),
                "firing_at": episode.firing_at.map(Timestamp::to_rfc3339),
                "resolved_at": episode.resolved_at.map(Timestamp::to_rfc3339),
                "peak_value": number_json(episode.peak_value),
            })
        })
        .collect();
    json!({
        "rule": report.rule,
        "from": window.from.to_rfc3339(),
        "to": window.to.to_rfc3339(),
        "threshold": number_json(report.threshold),
        "episodes": episodes,
        "episodes_total": report.episodes.len(),
        "fired": report.fired(),
        "pending_only": report.episodes.len() - report.fired(),
        "firing_seconds": report.firing_seconds,
        "notifications": report.notifications,
        "coverage": report.coverage,
        "series": report.series,
        "evaluations": report.evaluations,
        "error": report.error,
    })
}
