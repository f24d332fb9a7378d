//! Alerts: the list, one occurrence with its history and evidence, acknowledging and resolving.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::{Value, json};

use super::{
    body::Payload, context::Edge, parameters::Parameters, problem::Problem,
    selection::agent_parameter, texts::Texts,
};
use crate::{
    model::{
        Acknowledgement, AgentNo, Alert, AlertState, Evidence, History, OccurrenceNo, Severity,
        Timestamp, Window,
    },
    rules::{labels_json, number_json},
    store::{Change, Changed},
};

/// Names and comments of people; bytes.
const WORDS_BYTES_MAX: usize = 1_024;

/// Which states a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StateFilter {
    Active,
    Pending,
    Firing,
    Resolved,
    Ended,
    All,
}

/// What is active is pending or firing. What ended without having fired is shown when it is asked for.
const STATES: [(&str, StateFilter); 6] = [
    ("active", StateFilter::Active),
    ("pending", StateFilter::Pending),
    ("firing", StateFilter::Firing),
    ("resolved", StateFilter::Resolved),
    ("ended", StateFilter::Ended),
    ("all", StateFilter::All),
];

impl StateFilter {
    const fn takes(self, state: AlertState) -> bool {
        match self {
            Self::Active => matches!(state, AlertState::Pending | AlertState::Firing),
            Self::Pending => matches!(state, AlertState::Pending),
            Self::Firing => matches!(state, AlertState::Firing),
            Self::Resolved => matches!(state, AlertState::Resolved),
            Self::Ended => matches!(state, AlertState::Ended),
            Self::All => !matches!(state, AlertState::Ended),
        }
    }
}

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
            severity: parameters.choice("severity", &Severity::ALL.map(|s| (s.as_str(), s)))?,
            agent: agent_parameter(parameters)?.map(|id| id.to_string()),
        })
    }

    /// Whether the alert, as it stood at `self.at`, is asked for.
    fn takes(&self, alert: &Alert) -> bool {
        let began = alert.fired_at.unwrap_or(alert.active_at);
        let overlaps = self.to.is_none_or(|to| began <= to)
            && self
                .from
                .is_none_or(|from| alert.resolved_at.is_none_or(|end| end >= from));
        overlaps
            && self.state.takes(alert.state())
            && self.severity.is_none_or(|s| s == alert.severity)
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
            .episodes(window)?
            .iter()
            .filter(|alert| filter.takes(alert))
            .map(|alert| (agent_of(&*view, alert), alert))
            .filter(|(agent, _)| filter.agent.is_none() || filter.agent == *agent)
            .map(|(agent, alert)| alert_json(alert, agent.as_deref()))
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
            let detail = format!("no alert `{id}` had fired by {at}");
            Problem::new(StatusCode::NOT_FOUND, detail)
        };
        let asked = occurrence(&id).ok_or_else(unknown)?;
        let alert = view
            .episodes(Window::until(at))?
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
                    "actor": event.actor,
                })
            })
            .collect();
        let evidence = view.evidence(&alert)?;
        let evidence: Vec<Value> = evidence
            .iter()
            .filter(|evidence| evidence.time <= at)
            .map(evidence_json)
            .collect();
        let mut shown = alert_json(&alert, agent_of(&*view, &alert).as_deref());
        shown["history"] = Value::Array(history);
        shown["evidence"] = Value::Array(evidence);
        Ok(Json(shown))
    })
    .await
}

pub(super) async fn acknowledge(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
    payload: Payload,
) -> Result<Json<Value>, Problem> {
    let (by, comment) = words(payload, "api").await?;
    let ack = Acknowledgement {
        by,
        comment,
        at: edge.now(),
    };
    let no = occurrence(&id).ok_or_else(|| unknown(&id))?;
    let changed = edge
        .context
        .store
        .alerting(Change::Acknowledge(no, ack))
        .await?;
    answer(&edge, &id, changed).await
}

pub(super) async fn resolve(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
    payload: Payload,
) -> Result<Json<Value>, Problem> {
    let (by, comment) = words(payload, "api").await?;
    let occurrence = occurrence(&id).ok_or_else(|| unknown(&id))?;
    let change = Change::Resolve {
        occurrence,
        by,
        comment,
    };
    let changed = edge.context.store.alerting(change).await?;
    answer(&edge, &id, changed).await
}

async fn answer(edge: &Edge, id: &str, changed: Changed) -> Result<Json<Value>, Problem> {
    match changed {
        Changed::Alert(alert) => {
            edge.read(move |view| {
                let agent = agent_of(&*view, &alert);
                Ok(Json(alert_json(&alert, agent.as_deref())))
            })
            .await
        }
        Changed::Conflict(why) => Err(Problem::new(StatusCode::CONFLICT, why)),
        _ => Err(unknown(id)),
    }
}

/// Who says what; an empty body says nothing.
async fn words(payload: Payload, somebody: &str) -> Result<(String, String), Problem> {
    let body = payload.json_or_nothing().await?;
    let mut texts = Texts::of(&body)?;
    texts.only(&["by", "comment"]);
    let by = texts.optional("by", WORDS_BYTES_MAX);
    let comment = texts.optional("comment", WORDS_BYTES_MAX);
    texts.finish()?;
    Ok((
        by.unwrap_or_else(|| somebody.to_owned()),
        comment.unwrap_or_default(),
    ))
}

fn occurrence(id: &str) -> Option<OccurrenceNo> {
    id.parse().ok().map(OccurrenceNo)
}

fn unknown(id: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no alert `{id}`"))
}

pub(super) fn agent_of(history: &dyn History, alert: &Alert) -> Option<String> {
    if alert.agent == AgentNo::NONE {
        return None;
    }
    history.agent_id(alert.agent).map(|id| id.to_string())
}

fn evidence_json(evidence: &Evidence) -> Value {
    let samples: Vec<Value> = evidence
        .samples
        .iter()
        .map(|s| json!([s.0.as_millis(), number_json(Some(s.1))]))
        .collect();
    let rule: Value = serde_json::from_str(&evidence.rule).unwrap_or(Value::Null);
    json!({
        "time": evidence.time.to_rfc3339(),
        "event": evidence.kind.as_str(),
        "rule": rule,
        "threshold": number_json(evidence.threshold),
        "value": number_json(evidence.value),
        "samples": samples,
        "spans": evidence.spans,
        "traces": evidence.traces,
    })
}

pub(super) fn alert_json(alert: &Alert, agent: Option<&str>) -> Value {
    let is_resolved = alert.resolved_at.is_some();
    let acknowledged = alert
        .acknowledged
        .as_ref()
        .map(|ack| json!({"by": ack.by, "comment": ack.comment, "at": ack.at.to_rfc3339()}));
    json!({
        "id": alert.occurrence.0.to_string(),
        "alert_id": alert.alert_id,
        "alert_name": alert.name,
        "severity": alert.severity.as_str(),
        "description": alert.description,
        "affected_agents": agent.into_iter().collect::<Vec<_>>(),
        "state": alert.state().as_str(),
        "timestamp": alert.fired_at.unwrap_or(alert.active_at).to_rfc3339(),
        "pending_at": alert.active_at.to_rfc3339(),
        "resolved": is_resolved,
        "resolution_timestamp": alert.resolved_at.map(Timestamp::to_rfc3339),
        "value": number_json(alert.value),
        "labels": labels_json(&alert.labels),
        "annotations": labels_json(&alert.annotations),
        "no_data_since": alert.no_data_since.filter(|_| !is_resolved).map(Timestamp::to_rfc3339),
        "kept_firing_since": alert.kept_since.filter(|_| !is_resolved).map(Timestamp::to_rfc3339),
        "acknowledged": acknowledged.unwrap_or(Value::Bool(false)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn alert(fired_ago_s: i64, resolved_ago_s: Option<i64>) -> Alert {
        let fired = NOW.plus_millis(-1000 * fired_ago_s);
        let (id, name) = ("agent_health:a", "Agent Health Issue");
        Alert {
            description: "d".into(),
            labels: vec![("alertname".into(), name.into())],
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
        let pending = Alert {
            fired_at: None,
            ..open.clone()
        };
        let ended = Alert {
            fired_at: None,
            ..over.clone()
        };
        for (query, expected) in [
            ("", [true, true, true, false]),
            ("state=all", [true, true, true, false]),
            ("state=active", [true, false, true, false]),
            (
                "state=firing&severity=critical",
                [true, false, false, false],
            ),
            ("state=resolved", [false, true, false, false]),
            ("state=pending", [false, false, true, false]),
            ("state=ended", [false, false, false, true]),
            ("severity=warning", [false; 4]),
            ("from=-50s", [true, true, true, false]),
            ("from=-49s", [true, false, true, false]),
            ("to=-100s", [true, true, true, false]),
            ("to=-101s", [false; 4]),
            ("from=-60s&to=-55s", [true, true, true, false]),
        ] {
            let found = [&open, &over, &pending, &ended].map(|alert| takes(query, alert));
            assert_eq!(found, expected, "{query}");
        }
    }

    #[test]
    fn an_alert_has_the_fields_of_the_contract() {
        assert_eq!(
            alert_json(&alert(100, Some(50)), Some("a")),
            json!({"id": "1", "alert_id": "agent_health:a", "alert_name": "Agent Health Issue",
                "severity": "critical", "description": "d", "affected_agents": ["a"],
                "state": "resolved", "timestamp": "2023-11-14T22:11:40.000Z", "resolved": true,
                "pending_at": "2023-11-14T22:11:40.000Z",
                "resolution_timestamp": "2023-11-14T22:12:30.000Z", "value": null,
                "labels": {"alertname": "Agent Health Issue"}, "annotations": {},
                "no_data_since": null, "kept_firing_since": null, "acknowledged": false})
        );
    }
}
