//! Alertmanager's API v2, in and out: an existing Prometheus sends its alerts here, `amtool` works against longwatch.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::{Map, Value, json};

use super::{
    body::Payload,
    context::Edge,
    parameters::Parameters,
    problem::{InputError, Problem},
    silences::{self, silence_json},
};
use crate::{
    alerts::{Routing, fingerprint},
    model::{
        AgentId, AgentNo, Alert, AlertBook, History, LabelPairs, Matcher, Timestamp, parse_time,
    },
    rules::labels_json,
    store::{Change, Changed, ExternalAlert},
};

/// What is not sent again is over after this, as Alertmanager's `resolve_timeout`; milliseconds.
const RESOLVE_MS: i64 = 300_000;
/// Alerts of one request.
const ALERTS_MAX: usize = 10_000;
/// Labels or annotations of one alert, and bytes of a name or value.
const PAIRS_MAX: usize = 64;
const TEXT_BYTES_MAX: usize = 8_192;
/// An alert that its sender forgets must end some day; milliseconds.
const ENDS_MS_MAX: i64 = 7 * crate::model::DAY_MS;
/// When an alert that fires ends, as far as anybody knows; milliseconds ahead.
const OPEN_END_MS: i64 = RESOLVE_MS;

/// Parameters of the list of alerts and of groups.
pub(super) const ALERT_PARAMETERS: [&str; 7] = [
    "active",
    "silenced",
    "inhibited",
    "muted",
    "unprocessed",
    "filter",
    "receiver",
];

/// Which alerts are asked for.
struct Filter {
    active: bool,
    silenced: bool,
    inhibited: bool,
    matchers: Vec<Matcher>,
    receiver: Option<Matcher>,
}

impl Filter {
    fn read(parameters: &Parameters) -> Result<Self, Problem> {
        let switches = [("true", true), ("false", false)];
        let switch =
            |name: &str| Ok::<_, Problem>(parameters.choice(name, &switches)?.unwrap_or(true));
        let receiver = parameters.text("receiver").map(|pattern| {
            Matcher::new("receiver", crate::model::MatchOperator::Regex, pattern)
                .map_err(|e| Problem::parameter("receiver", e.to_string()))
        });
        Ok(Self {
            active: switch("active")?,
            silenced: switch("silenced")?,
            inhibited: switch("inhibited")?,
            matchers: filters(parameters)?,
            receiver: receiver.transpose()?,
        })
    }

    fn takes(&self, alert: &Alert, shown: &Shown) -> bool {
        let is_muted = !shown.silenced_by.is_empty() || !shown.inhibited_by.is_empty();
        let fits_receiver = self
            .receiver
            .as_ref()
            .is_none_or(|wanted| shown.receivers.iter().any(|name| wanted.matches(name)));
        self.matchers.iter().all(|m| m.fits(&alert.labels))
            && fits_receiver
            && (self.active || is_muted)
            && (self.silenced || shown.silenced_by.is_empty())
            && (self.inhibited || shown.inhibited_by.is_empty())
    }
}

/// What the list says of an alert beside the alert.
struct Shown {
    silenced_by: Vec<String>,
    inhibited_by: Vec<String>,
    muted_by: Vec<String>,
    receivers: Vec<String>,
}

impl Shown {
    fn of(
        alert: &Alert,
        inhibitors: &[Vec<Arc<Alert>>],
        book: &AlertBook,
        routing: &Routing,
        now: Timestamp,
    ) -> Self {
        let (silenced_by, inhibited_by) = routing.muting_ids(alert, inhibitors, book, now);
        let windows = routing.maintenance.iter();
        let channels = routing.routes_of(&alert.labels);
        let mut receivers: Vec<String> = channels
            .iter()
            .flat_map(|route| route.channels.clone())
            .collect();
        receivers.sort();
        receivers.dedup();
        Self {
            silenced_by,
            inhibited_by,
            muted_by: windows
                .filter(|window| window.mutes(&alert.labels, now))
                .map(|window| window.name.clone())
                .collect(),
            receivers,
        }
    }
}

fn filters(parameters: &Parameters) -> Result<Vec<Matcher>, Problem> {
    let read =
        |text: &str| Matcher::parse(text).map_err(|e| Problem::parameter("filter", e.to_string()));
    parameters.all("filter").map(read).collect()
}

pub(super) async fn alerts(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    let filter = Filter::read(&parameters)?;
    let now = edge.now();
    let store = edge.context.store.clone();
    edge.read(move |view| {
        let book = view.book();
        let inhibitors = store.routing().inhibitors(&book);
        let alerts: Vec<Value> = firing(&book)
            .iter()
            .filter_map(|alert| {
                let shown = Shown::of(alert, &inhibitors, &book, store.routing(), now);
                filter
                    .takes(alert, &shown)
                    .then(|| alert_json(alert, &shown, now))
            })
            .collect();
        Ok(Json(Value::Array(alerts)))
    })
    .await
}

fn firing(book: &AlertBook) -> Vec<Arc<Alert>> {
    let mut alerts = book.all_open();
    alerts.retain(|alert| alert.fired_at.is_some());
    alerts
}

pub(super) async fn groups(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    let filter = Filter::read(&parameters)?;
    let now = edge.now();
    let store = edge.context.store.clone();
    edge.read(move |view| {
        let (book, routing) = (view.book(), store.routing());
        let inhibitors = routing.inhibitors(&book);
        let mut groups: BTreeMap<(String, String), (LabelPairs, Vec<Value>)> = BTreeMap::new();
        for alert in firing(&book) {
            let shown = Shown::of(&alert, &inhibitors, &book, routing, now);
            if !filter.takes(&alert, &shown) {
                continue;
            }
            for route in routing.routes_of(&alert.labels) {
                for receiver in &route.channels {
                    let key = (route.group_key(&alert.labels), receiver.clone());
                    let group = groups.entry(key).or_insert_with(|| {
                        (route.group_labels(&alert.labels), Vec::new())
                    });
                    group.1.push(alert_json(&alert, &shown, now));
                }
            }
        }
        let groups: Vec<Value> = groups
            .into_iter()
            .map(|((_, receiver), (labels, alerts))| {
                json!({"labels": labels_json(&labels), "receiver": {"name": receiver}, "alerts": alerts})
            })
            .collect();
        Ok(Json(Value::Array(groups)))
    })
    .await
}

fn alert_json(alert: &Alert, shown: &Shown, now: Timestamp) -> Value {
    let is_muted = !(shown.silenced_by.is_empty()
        && shown.inhibited_by.is_empty()
        && shown.muted_by.is_empty());
    let mut annotations = alert.annotations.clone();
    if !alert.description.is_empty() && annotations.iter().all(|(name, _)| name != "description") {
        annotations.push(("description".to_owned(), alert.description.clone()));
    }
    let starts = alert.fired_at.unwrap_or(alert.active_at);
    let ends = alert
        .ends_at
        .unwrap_or_else(|| now.plus_millis(OPEN_END_MS));
    let receivers = shown.receivers.iter().map(|name| json!({"name": name}));
    json!({
        "labels": labels_json(&alert.labels),
        "annotations": labels_json(&annotations),
        "startsAt": starts.to_rfc3339(),
        "endsAt": ends.to_rfc3339(),
        "updatedAt": starts.to_rfc3339(),
        "fingerprint": fingerprint(&alert.labels),
        "generatorURL": "",
        "receivers": receivers.collect::<Vec<_>>(),
        "status": {
            "state": if is_muted { "suppressed" } else { "active" },
            "silencedBy": shown.silenced_by,
            "inhibitedBy": shown.inhibited_by,
            "mutedBy": shown.muted_by,
        },
    })
}

pub(super) async fn post_alerts(
    State(edge): State<Arc<Edge>>,
    payload: Payload,
) -> Result<StatusCode, Problem> {
    let body = payload.json().await?;
    let now = edge.now();
    let (alerts, faults) = read_alerts(&body, now)?;
    let view = edge.context.store.view();
    let alerts: Vec<ExternalAlert> = alerts
        .into_iter()
        .map(|mut alert| {
            alert.agent = agent_of(&*view, &alert.labels, now);
            alert
        })
        .collect();
    if !alerts.is_empty() {
        let change = Change::External(alerts);
        edge.context.store.alerting(change).await?;
    }
    // As Alertmanager has it: the good ones count, and the sender learns of the others.
    if faults.is_empty() {
        Ok(StatusCode::OK)
    } else {
        let mut problem = Problem::invalid_body(faults);
        problem.status = StatusCode::BAD_REQUEST;
        Err(problem)
    }
}

/// The agent that an alert's labels name, if longwatch knows it.
fn agent_of(history: &dyn History, labels: &LabelPairs, now: Timestamp) -> AgentNo {
    let named = labels.iter().find(|(name, _)| name == "agent_id");
    let id = named.and_then(|(_, value)| AgentId::new(value).ok());
    let agent = id.and_then(|id| history.agent(&id, now));
    agent.map_or(AgentNo::NONE, |agent| agent.no)
}

/// The good alerts, and what is wrong with the others.
fn read_alerts(
    body: &Value,
    now: Timestamp,
) -> Result<(Vec<ExternalAlert>, Vec<InputError>), Problem> {
    let fault = |pointer: String, detail: &str| InputError {
        pointer,
        detail: detail.to_owned(),
    };
    let Value::Array(given) = body else {
        let error = fault("#".to_owned(), "must be a list of alerts");
        return Err(Problem::invalid_body(vec![error]));
    };
    if given.len() > ALERTS_MAX {
        let count = given.len();
        let why = format!("{count} alerts, at most {ALERTS_MAX} are taken at once");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, why));
    }
    let mut faults = Vec::new();
    let mut alerts = Vec::new();
    for (i, alert) in given.iter().enumerate() {
        match read_alert(alert, now) {
            Ok(alert) => alerts.push(alert),
            Err((key, why)) => faults.push(fault(format!("#/{i}{key}"), &why)),
        }
    }
    Ok((alerts, faults))
}

type Fault = (&'static str, String);

fn read_alert(alert: &Value, now: Timestamp) -> Result<ExternalAlert, Fault> {
    let Value::Object(alert) = alert else {
        return Err(("", "must be an object".to_owned()));
    };
    let labels = pairs(alert, "labels").map_err(|why| ("/labels", why))?;
    if labels.is_empty() {
        return Err(("/labels", "an alert has at least one label".to_owned()));
    }
    let annotations = pairs(alert, "annotations").map_err(|why| ("/annotations", why))?;
    let starts_at = time(alert, "startsAt", now).map_err(|why| ("/startsAt", why))?;
    let ends_at = time(alert, "endsAt", now).map_err(|why| ("/endsAt", why))?;
    Ok(ExternalAlert {
        agent: AgentNo::NONE,
        labels,
        annotations,
        starts_at,
        ends_at: ends_at
            .unwrap_or_else(|| now.plus_millis(RESOLVE_MS))
            .min(now.plus_millis(ENDS_MS_MAX)),
    })
}

fn pairs(alert: &Map<String, Value>, key: &str) -> Result<LabelPairs, String> {
    let table = match alert.get(key) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(table)) => table,
        Some(_) => return Err("must be an object of texts".to_owned()),
    };
    if table.len() > PAIRS_MAX {
        return Err(format!(
            "has {} entries, at most {PAIRS_MAX} are allowed",
            table.len()
        ));
    }
    let mut pairs = LabelPairs::new();
    for (name, value) in table {
        let Value::String(value) = value else {
            return Err(format!("`{name}` must be a text"));
        };
        if name.is_empty() || name.len().max(value.len()) > TEXT_BYTES_MAX {
            return Err(format!(
                "`{name}`: names and values have at most {TEXT_BYTES_MAX} bytes"
            ));
        }
        if !value.is_empty() {
            pairs.push((name.clone(), value.clone()));
        }
    }
    pairs.sort();
    Ok(pairs)
}

/// A time; the zero time of Go means none.
fn time(
    alert: &Map<String, Value>,
    key: &str,
    now: Timestamp,
) -> Result<Option<Timestamp>, String> {
    match alert.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() || text.starts_with("0001-01-01") => Ok(None),
        Some(Value::String(text)) => parse_time(text, now).map(Some).map_err(|e| e.to_string()),
        Some(_) => Err("must be a time in RFC 3339".to_owned()),
    }
}

pub(super) async fn list_silences(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    let filters = filters(&parameters)?;
    let now = edge.now();
    edge.read(move |view| {
        let book = view.book();
        let mut found: Vec<_> = book
            .silences
            .values()
            .filter(|silence| {
                let labels: LabelPairs = silence
                    .matchers
                    .iter()
                    .map(|m| (m.name().to_owned(), m.value().to_owned()))
                    .collect();
                filters.iter().all(|filter| filter.fits(&labels))
            })
            .collect();
        // Active ones first, the soonest to end before others, as Alertmanager sorts them.
        let rank = |state: &str| {
            ["active", "pending", "expired"]
                .iter()
                .position(|s| *s == state)
        };
        found.sort_by_key(|silence| (rank(silence.state(now)), silence.ends_at));
        Ok(Json(
            found
                .iter()
                .map(|silence| silence_json(silence, now))
                .collect(),
        ))
    })
    .await
}

pub(super) async fn post_silence(
    State(edge): State<Arc<Edge>>,
    payload: Payload,
) -> Result<Json<Value>, Problem> {
    let body = payload.json().await?;
    let silence = silences::read(&body, edge.now())?;
    let id = silence.id.clone();
    edge.context
        .store
        .alerting(Change::PutSilence(silence))
        .await?;
    Ok(Json(json!({ "silenceID": id })))
}

pub(super) async fn show_silence(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let now = edge.now();
    edge.read(move |view| {
        let book = view.book();
        let silence = book.silences.get(&id).ok_or_else(|| unknown(&id))?;
        Ok(Json(silence_json(silence, now)))
    })
    .await
}

pub(super) async fn expire_silence(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let change = Change::ExpireSilence { id: id.clone() };
    match edge.context.store.alerting(change).await? {
        Changed::Unknown => Err(unknown(&id)),
        // Alertmanager answers so, too: what is asked for is the case.
        _ => Ok(StatusCode::OK),
    }
}

fn unknown(id: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no silence `{id}`"))
}

pub(super) async fn receivers(State(edge): State<Arc<Edge>>) -> Json<Value> {
    let routes = edge.context.store.routing().routes.iter();
    let mut names: Vec<&String> = routes.flat_map(|route| &route.channels).collect();
    names.sort();
    names.dedup();
    Json(names.iter().map(|name| json!({"name": name})).collect())
}

pub(super) async fn status(State(edge): State<Arc<Edge>>) -> Json<Value> {
    let version = env!("CARGO_PKG_VERSION");
    Json(json!({
        "cluster": {"status": "disabled", "peers": []},
        "versionInfo": {"version": version, "branch": "", "buildDate": "", "buildUser": "",
            "goVersion": "", "revision": ""},
        // The configuration may hold secrets and is in another language than Alertmanager's.
        "config": {"original": "# longwatch is configured by longwatch.toml\n"},
        "uptime": edge.context.started.to_rfc3339(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    #[test]
    fn alerts_of_prometheus_are_read() {
        let body = json!([{"labels": {"b": "2", "alertname": "x", "empty": ""}, "annotations": {"summary": "s"},
            "startsAt": "2023-11-14T22:00:00Z", "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://p"}]);
        let (alerts, faults) = read_alerts(&body, NOW).unwrap();
        assert!(faults.is_empty());
        assert_eq!(
            alerts[0].labels,
            [
                ("alertname".to_owned(), "x".to_owned()),
                ("b".to_owned(), "2".to_owned())
            ]
        );
        assert_eq!(alerts[0].ends_at, NOW.plus_millis(300_000));
        assert_eq!(
            alerts[0].starts_at.unwrap().to_rfc3339(),
            "2023-11-14T22:00:00.000Z"
        );
    }

    #[test]
    fn what_is_no_alert_is_told_with_its_place() {
        for (body, pointer) in [
            (json!({}), "#"),
            (
                json!([{"labels": {"a": "b"}}, {"labels": {}}]),
                "#/1/labels",
            ),
            (json!([{"labels": {"a": 1}}]), "#/0/labels"),
            (json!([7]), "#/0"),
            (
                json!([{"labels": {"a": "b"}, "startsAt": "soon"}]),
                "#/0/startsAt",
            ),
        ] {
            let errors = match read_alerts(&body, NOW) {
                Ok((_, faults)) => faults,
                Err(problem) => problem.errors,
            };
            assert_eq!(errors[0].pointer, pointer);
        }
    }
}
