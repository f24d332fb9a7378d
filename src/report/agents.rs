//! An agent as the API shows it.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::{
    alerts::{HEALTH_ALERT_NAME, health_alert_error},
    model::{Agent, AgentNo, Alert, History, ReadError, Timestamp, Window, names},
};

use super::{
    firing::AlertBook,
    health::health_score_with,
    shape::{number_value, seconds_value, text_value},
    status::agent_status,
};

/// The agent as JSON, as of the moment; `deregistered_at` stands in it only when it is set.
pub fn agent_json(history: &dyn History, agent: &Agent, at: Timestamp) -> Result<Value, ReadError> {
    let mut all = agents_json(history, std::slice::from_ref(agent), at)?;
    Ok(all.pop().unwrap_or(Value::Null))
}

/// Several agents as JSON, in the order given; alerts are read once for all of them.
pub fn agents_json(
    history: &dyn History,
    agents: &[Agent],
    at: Timestamp,
) -> Result<Vec<Value>, ReadError> {
    let firing = AlertBook::firing_at(history, at)?;
    let alerts = history.alerts(Window::until(at))?;
    let errors = last_errors(&alerts, at);
    agents
        .iter()
        .map(|agent| one(history, agent, at, &firing, &errors))
        .collect()
}

fn one(
    history: &dyn History,
    agent: &Agent,
    at: Timestamp,
    firing: &AlertBook,
    errors: &HashMap<AgentNo, &Alert>,
) -> Result<Value, ReadError> {
    let policy = history.policy(at);
    let window = Window::ending_at(at, policy.health_window_ms);
    let verdict = agent_status(history, agent, at)?;
    let health = health_score_with(history, agent, window, firing)?;
    let registration = &agent.registration;
    let heartbeat_ago = verdict
        .last_heartbeat
        .map_or(Value::Null, |time| seconds_value(at.since(time)));
    let labels: Map<String, Value> = registration
        .labels
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    let info: Value =
        serde_json::from_str(&registration.info).unwrap_or_else(|_| Value::Object(Map::new()));
    let last_error = match errors.get(&agent.no) {
        Some(alert) => Some(health_alert_error(&agent.id, &alert.description).to_owned()),
        None => lost_process(history, agent, at)?,
    };
    let interval_ms = registration.interval_ms.unwrap_or(policy.interval_ms);
    let mut shown = json!({
        "agent_id": agent.id.as_str(),
        "status": verdict.status.as_str(),
        "registration_time": agent.registered_at.to_rfc3339(),
        "last_heartbeat": text_value(verdict.last_heartbeat),
        "last_heartbeat_seconds_ago": heartbeat_ago,
        "metrics_endpoint": registration.metrics_endpoint.as_deref().map(without_credentials),
        "health_endpoint": registration.health_endpoint.as_deref().map(without_credentials),
        "collection_interval_seconds": seconds_value(interval_ms),
        "labels": labels,
        "info": info,
        "health_score": number_value(health.score),
        "last_error": last_error,
    });
    if let (Some(time), Some(map)) = (agent.deregistered_at, shown.as_object_mut()) {
        map.insert("deregistered_at".to_owned(), json!(time.to_rfc3339()));
    }
    Ok(shown)
}

/// What there is to say of an agent that is well but whose process is not the one that was registered.
fn lost_process(
    history: &dyn History,
    agent: &Agent,
    at: Timestamp,
) -> Result<Option<String>, ReadError> {
    if agent.registration.pid.is_none() {
        return Ok(None);
    }
    let series = history.series(agent.no, Some(names::PROCESS_UP));
    let Some(own) = series.iter().find(|s| s.key.labels().next().is_none()) else {
        return Ok(None);
    };
    let last = history.last_sample(agent.no, own.no, at, None)?;
    let is_lost = last.is_some_and(|s| s.value == 0.0 && s.time >= agent.registered_at);
    Ok(is_lost.then(|| {
        "the agent's process is not there and not sampled; register the agent again with its new pid"
            .to_owned()
    }))
}

/// The health alert of each agent that fires: an agent that is back has no error.
fn last_errors(alerts: &[Alert], at: Timestamp) -> HashMap<AgentNo, &Alert> {
    alerts
        .iter()
        .filter(|a| a.name == HEALTH_ALERT_NAME && a.is_firing_at(at))
        .map(|a| (a.agent, a))
        .collect()
}

/// The URL with a user's name and password replaced, so that answers hold no secret.
fn without_credentials(endpoint: &str) -> String {
    let Ok(mut url) = url::Url::parse(endpoint) else {
        return endpoint.to_owned();
    };
    if url.username().is_empty() && url.password().is_none() {
        return endpoint.to_owned();
    }
    let hidden = url.set_username("redacted").is_ok() && url.set_password(None).is_ok();
    if hidden {
        url.to_string()
    } else {
        "redacted".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::without_credentials;

    #[test]
    fn credentials_are_not_shown() {
        let shown = without_credentials;
        assert_eq!(shown("http://a:9/metrics"), "http://a:9/metrics");
        assert_eq!(shown("http://u:p@a/m"), "http://redacted@a/m");
        assert_eq!(shown("http://:p@a/m"), "http://redacted@a/m");
        assert_eq!(shown("not a url"), "not a url");
    }
}
