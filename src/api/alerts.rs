//! Alerts, read-only: the list and one occurrence with its history.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::{Value, json};

use super::{context::Edge, parameters::Parameters, problem::Problem, selection::agent_parameter};
use crate::model::{Alert, History, OccurrenceNo, Severity, Timestamp, Window};

const SEVERITIES: [(&str, Severity); 4] = [
    ("info", Severity::Info),
    ("warning", Severity::Warning),
    ("critical", Severity::Critical),
    ("emergency", Severity::Emergency),
];

/// Which states a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StateFilter {
    Pending,
    Firing,
    Resolved,
    All,
}

/// What is active is pending or firing. Health alerts fire at once, so that none is ever pending.
const STATES: [(&str, StateFilter); 5] = [
    ("active", StateFilter::Firing),
    ("pending", StateFilter::Pending),
    ("firing", StateFilter::Firing),
    ("resolved", StateFilter::Resolved),
    ("all", StateFilter::All),
];

/// Which alerts are asked for: states as of `at`, open at some time of `from..=to`.
#[derive(Clone, Debug)]
struct Filter {
    at: Timestamp,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    state: StateFilter,
    severity: Option<Severity>,
    agent: Option<String>,
}

impl Filter {
    fn read(parameters: &Parameters, now: Timestamp) -> Result<Self, Problem> {
        let from = parameters.time("from", now)?;
        let to = parameters.time("to", now)?;
        if let (Some(from), Some(to)) = (from, to)
            && from > to
        {
            let why = format!("{from} lies after the end, {to}");
            return Err(Problem::parameter("from", why));
        }
        Ok(Self {
            at: parameters.at(now)?,
            from,
            to,
            state: parameters
                .choice("state", &STATES)?
                .unwrap_or(StateFilter::All),
            severity: parameters.choice("severity", &SEVERITIES)?,
            agent: agent_parameter(parameters)?.map(|id| id.to_string()),
        })
    }

    /// Whether the alert, as it stood at `self.at`, is asked for.
    fn takes(&self, alert: &Alert) -> bool {
        let overlaps = self.to.is_none_or(|to| alert.active_at <= to)
            && self
                .from
                .is_none_or(|from| alert.resolved_at.is_none_or(|end| end >= from));
        let in_state = match self.state {
            StateFilter::All => true,
            StateFilter::Pending => false,
            StateFilter::Firing => alert.resolved_at.is_none(),
            StateFilter::Resolved => alert.resolved_at.is_some(),
        };
        overlaps && in_state && self.severity.is_none_or(|s| s == alert.severity)
    }
}

pub(super) async fn list(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    let filter = Filter::read(&parameters, edge.now())?;
    edge.read(move |view| {
        let window = match filter.from {
            // What resolved before `from` need not be looked at.
            Some(from) if from <= filter.at => Window::closed(from, filter.at),
            Some(_) | None => Window::until(filter.at),
        };
        let alerts: Vec<Value> = view
            .alerts(window)?
            .iter()
            .filter(|alert| filter.takes(alert))
            .map(|alert| (agent_of(&*view, alert), alert))
            .filter(|(agent, _)| filter.agent.as_ref().is_none_or(|asked| asked == agent))
            .map(|(agent, alert)| alert_json(alert, &agent))
            .collect();
        Ok(Json(json!({ "alerts": alerts })))
    })
    .await
}

pub(super) async fn show(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    let at = parameters.at(edge.now())?;
    edge.read(move |view| {
        let unknown = || {
            Problem::new(
                StatusCode::NOT_FOUND,
                format!("no alert `{id}` had fired by {at}"),
            )
        };
        let asked = id.parse().map(OccurrenceNo).map_err(|_| unknown())?;
        let alert = view
            .alerts(Window::until(at))?
            .into_iter()
            .find(|alert| alert.occurrence == asked)
            .ok_or_else(unknown)?;
        let history: Vec<Value> = view
            .alert_events(&alert)?
            .iter()
            .filter(|event| event.time <= at)
            .map(|event| {
                json!({
                    "time": event.time.to_rfc3339(),
                    "event": event.kind.as_str(),
                    "reason": event.reason,
                })
            })
            .collect();
        let mut shown = alert_json(&alert, &agent_of(&*view, &alert));
        shown["history"] = Value::Array(history);
        Ok(Json(shown))
    })
    .await
}

fn agent_of(history: &dyn History, alert: &Alert) -> String {
    history
        .agent_id(alert.agent)
        .map(|id| id.to_string())
        .unwrap_or_default()
}

fn alert_json(alert: &Alert, agent: &str) -> Value {
    let severity = alert.severity.as_str();
    let is_resolved = alert.resolved_at.is_some();
    json!({
        "id": alert.occurrence.0.to_string(),
        "alert_id": alert.alert_id,
        "alert_name": alert.name,
        "severity": severity,
        "description": alert.description,
        "affected_agents": [agent],
        "state": if is_resolved { "resolved" } else { "firing" },
        "timestamp": alert.fired_at.unwrap_or(alert.active_at).to_rfc3339(),
        "resolved": is_resolved,
        "resolution_timestamp": alert.resolved_at.map(Timestamp::to_rfc3339),
        "value": null,
        "labels": {"alertname": alert.name, "agent_id": agent, "severity": severity},
        "acknowledged": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AgentNo;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn alert(fired_ago_s: i64, resolved_ago_s: Option<i64>) -> Alert {
        let fired = NOW.plus_millis(-1000 * fired_ago_s);
        let (id, name) = ("agent_health:a", "Agent Health Issue");
        Alert {
            description: "d".into(),
            resolved_at: resolved_ago_s.map(|s| NOW.plus_millis(-1000 * s)),
            ..Alert::fired(
                OccurrenceNo(1),
                AgentNo(1),
                id,
                name,
                Severity::Critical,
                fired,
            )
        }
    }

    fn takes(query: &str, alert: &Alert) -> bool {
        let known = ["state", "severity", "agent_id", "from", "to", "at"];
        let parameters = Parameters::read(Some(query), &known).unwrap();
        Filter::read(&parameters, NOW).unwrap().takes(alert)
    }

    #[test]
    fn lists_choose_by_state_and_overlap() {
        let open = alert(100, None);
        let over = alert(100, Some(50));
        for (query, takes_open, takes_over) in [
            ("", true, true),
            ("state=all", true, true),
            ("state=active", true, false),
            ("state=firing&severity=critical", true, false),
            ("state=resolved", false, true),
            ("state=pending", false, false),
            ("severity=warning", false, false),
            ("from=-50s", true, true),
            ("from=-49s", true, false),
            ("to=-100s", true, true),
            ("to=-101s", false, false),
            ("from=-60s&to=-55s", true, true),
        ] {
            assert_eq!(takes(query, &open), takes_open, "{query}");
            assert_eq!(takes(query, &over), takes_over, "{query}");
        }
    }

    #[test]
    fn an_alert_has_the_fields_of_the_contract() {
        assert_eq!(
            alert_json(&alert(100, Some(50)), "a"),
            json!({"id": "1", "alert_id": "agent_health:a", "alert_name": "Agent Health Issue",
                "severity": "critical", "description": "d", "affected_agents": ["a"],
                "state": "resolved", "timestamp": "2023-11-14T22:11:40.000Z", "resolved": true,
                "resolution_timestamp": "2023-11-14T22:12:30.000Z", "value": null,
                "labels": {"alertname": "Agent Health Issue", "agent_id": "a", "severity": "critical"},
                "acknowledged": false})
        );
    }
}
