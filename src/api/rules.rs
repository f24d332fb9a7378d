//! Alert rules: list, show, put, delete, try on history.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use super::{
    body::Payload,
    context::Edge,
    problem::{InputError, Problem},
    texts::Texts,
};
use crate::{
    alerts::{GROUP_KEY, MISSING, Mistake, check_rule_name},
    model::{AlertBook, AlertSource, History, Rule, RuleOrigin, StoredRule, Timestamp, Window},
    rules::{self, RulesStatus},
    store::{Change, Changed},
};

/// Keys that the API adds to a rule; whoever sends them back means no change.
const ADDED: [&str; 6] = [
    "origin",
    "updated_at",
    "pending",
    "firing",
    "health",
    "last_error",
];
/// Longest window of a backtest over HTTP, in milliseconds.
const BACKTEST_MS_MAX: i64 = 400 * crate::model::DAY_MS;

pub(super) async fn list(State(edge): State<Arc<Edge>>) -> Result<Json<Value>, Problem> {
    let status = edge.context.rules.borrow().clone();
    edge.read(move |view| {
        let open = open_counts(&*view);
        let rules: Vec<Value> = view
            .book()
            .rules
            .values()
            .map(|rule| rule_json(rule, &status, &open))
            .collect();
        Ok(Json(json!({ "rules": rules })))
    })
    .await
}

pub(super) async fn show(
    State(edge): State<Arc<Edge>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    described(&edge, name).await.map(Json)
}

async fn described(edge: &Edge, name: String) -> Result<Value, Problem> {
    let status = edge.context.rules.borrow().clone();
    edge.read(move |view| {
        let book = view.book();
        let rule = book.rules.get(&name).ok_or_else(|| unknown(&name))?;
        Ok(rule_json(rule, &status, &open_counts(&*view)))
    })
    .await
}

pub(super) async fn create(
    State(edge): State<Arc<Edge>>,
    payload: Payload,
) -> Result<Response, Problem> {
    let rule = read_body(payload.json().await?, None)?;
    let name = rule.rule.name.clone();
    let known = edge.context.store.view().book().rules.get(&name).cloned();
    if known.is_some_and(|known| known.definition != rule.definition) {
        let why = format!("there is a rule `{name}` already; PUT changes it");
        return Err(Problem::new(StatusCode::CONFLICT, why));
    }
    put_rule(&edge, rule).await
}

pub(super) async fn put(
    State(edge): State<Arc<Edge>>,
    Path(name): Path<String>,
    payload: Payload,
) -> Result<Response, Problem> {
    check_rule_name(&name).map_err(|why| fault("name", why))?;
    let rule = read_body(payload.json().await?, Some(&name))?;
    put_rule(&edge, rule).await
}

async fn put_rule(edge: &Edge, rule: StoredRule) -> Result<Response, Problem> {
    let name = rule.rule.name.clone();
    let changed = edge.context.store.alerting(Change::PutRule(rule)).await?;
    let status = match changed {
        Changed::Created => StatusCode::CREATED,
        Changed::Conflict(why) => return Err(Problem::new(StatusCode::CONFLICT, why)),
        _ => StatusCode::OK,
    };
    let rule = described(edge, name).await?;
    Ok((status, Json(rule)).into_response())
}

pub(super) async fn remove(
    State(edge): State<Arc<Edge>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let change = Change::DeleteRule(name.clone());
    match edge.context.store.alerting(change).await? {
        Changed::Unknown => Err(unknown(&name)),
        Changed::Conflict(why) => Err(Problem::new(StatusCode::CONFLICT, why)),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

pub(super) async fn backtest(
    State(edge): State<Arc<Edge>>,
    payload: Payload,
) -> Result<Json<Value>, Problem> {
    let body = payload.json().await?;
    let now = edge.now();
    let mut texts = Texts::of(&body)?;
    texts.only(&["rule", "from", "to"]);
    let to = texts.time(&["to"], now).unwrap_or(now);
    let from = texts.time(&["from"], now);
    let from = from.unwrap_or_else(|| to.plus_millis(-crate::model::DAY_MS));
    if from >= to {
        texts.fault("from", format!("{from} does not lie before the end, {to}"));
    } else if to.since(from) > BACKTEST_MS_MAX {
        texts.fault("from", "a backtest covers at most 400 days");
    }
    if texts.any(&["rule"]).is_none() {
        texts.fault("rule", "is missing");
    }
    texts.finish()?;
    let given = body.get("rule").cloned().unwrap_or_default();
    let rule = if let Value::String(name) = &given {
        let book = edge.context.store.view().book();
        let stored = book.rules.get(name).ok_or_else(|| unknown(name))?;
        stored.rule.clone()
    } else {
        read_tried(given)?
    };
    let store = edge.context.store.clone();
    edge.read(move |view| {
        let window = Window::new(from, to);
        let routing = store.routing();
        let mut reports = rules::backtest(&*view, &[rule], window, routing, &mut |_, _| {})?;
        let report = reports
            .pop()
            .ok_or_else(|| Problem::internal("no report"))?;
        Ok(Json(rules::backtest_json(&report, window)))
    })
    .await
}

/// How the evaluation of rules goes, as `/api/v1/status` shows it.
pub(super) fn status_json(status: &RulesStatus, book: &AlertBook) -> Value {
    let directory = status.directory.as_ref().map(|directory| {
        json!({
            "path": directory.path,
            "rules": directory.rules,
            "read_at": directory.read_at.map(Timestamp::to_rfc3339),
            "error": directory.error,
        })
    });
    json!({
        "rules": book.rules.len(),
        "evaluated_at": status.evaluated_at.map(Timestamp::to_rfc3339),
        "evaluation_seconds": status.seconds,
        "judged": status.judged,
        "errors": status.errors,
        "directory": directory,
    })
}

/// A rule of a body. `name` is that of the path.
fn read_body(body: Value, name: Option<&str>) -> Result<StoredRule, Problem> {
    let Value::Object(mut object) = body else {
        return Err(fault("", "must be an object"));
    };
    ADDED.iter().for_each(|key| drop(object.remove(*key)));
    if let Some(name) = name {
        let given = object.entry("name").or_insert_with(|| json!(name));
        if given.as_str() != Some(name) {
            let why = format!("is not the name in the path, `{name}`");
            return Err(fault("name", why));
        }
    }
    let rule = rules::read_rule(&object).map_err(|mistakes| problem(&object, mistakes))?;
    Ok(stored(rule, object))
}

/// A rule that is tried: one of a Prometheus rule file in the form in which it is kept will do.
fn read_tried(body: Value) -> Result<Rule, Problem> {
    match body {
        Value::Object(mut object) if object.contains_key(GROUP_KEY) => {
            ADDED.iter().for_each(|key| drop(object.remove(*key)));
            rules::check_definition(&object).map_err(|mistakes| problem(&object, mistakes))
        }
        own => Ok(read_body(own, None)?.rule),
    }
}

fn stored(rule: Rule, object: Map<String, Value>) -> StoredRule {
    StoredRule {
        rule,
        definition: Value::Object(object).to_string(),
        origin: RuleOrigin::Api,
        updated_at: Timestamp::from_millis(0),
    }
}

fn problem(object: &Map<String, Value>, mistakes: Vec<Mistake>) -> Problem {
    let lacks = ["name", "description", "condition_type"]
        .iter()
        .any(|key| object.get(*key).is_none_or(Value::is_null));
    let errors = mistakes.into_iter().map(|mistake| InputError {
        pointer: pointer(&mistake.key),
        detail: mistake.reason,
    });
    let mut problem = Problem::invalid_body(errors.collect());
    if lacks {
        MISSING.clone_into(&mut problem.detail);
    }
    problem
}

fn pointer(key: &str) -> String {
    if key.is_empty() {
        return "#".to_owned();
    }
    // Only the first dot parts a table from a key in it; names of labels may hold more.
    let escaped = key.replace('~', "~0").replace('/', "~1");
    format!("#/{}", escaped.replacen('.', "/", 1))
}

fn fault(key: &str, why: impl Into<String>) -> Problem {
    Problem::invalid_body(vec![InputError {
        pointer: pointer(key),
        detail: why.into(),
    }])
}

fn unknown(name: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no rule `{name}`"))
}

/// How many alerts of each rule are pending and fire.
fn open_counts(history: &dyn History) -> HashMap<String, (usize, usize)> {
    let mut counts: HashMap<String, (usize, usize)> = HashMap::new();
    for alert in history.book().all_open() {
        if alert.source == AlertSource::Rule {
            let (pending, firing) = counts.entry(alert.rule_name().to_owned()).or_default();
            match alert.fired_at {
                None => *pending += 1,
                Some(_) => *firing += 1,
            }
        }
    }
    counts
}

fn rule_json(
    rule: &StoredRule,
    status: &RulesStatus,
    open: &HashMap<String, (usize, usize)>,
) -> Value {
    let mut shown: Value = serde_json::from_str(&rule.definition).unwrap_or_default();
    let name = &rule.rule.name;
    let (pending, firing) = open.get(name).copied().unwrap_or_default();
    let error = status.errors.get(name);
    if shown.get("description").is_none() {
        shown["description"] = json!(rule.rule.description);
    }
    shown["severity"] = json!(rule.rule.severity.as_str());
    shown["origin"] = json!(rule.origin.as_str());
    shown["updated_at"] = json!(rule.updated_at.to_rfc3339());
    shown["pending"] = json!(pending);
    shown["firing"] = json!(firing);
    shown["health"] = json!(if error.is_some() { "err" } else { "ok" });
    shown["last_error"] = json!(error);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_in_the_document_s_words() {
        let problem = read_body(json!({"name": "a"}), None).unwrap_err();
        assert_eq!(
            problem.detail,
            "Alert rule must contain: ['name', 'description', 'condition_type']"
        );
        let pointers: Vec<&str> = problem.errors.iter().map(|e| e.pointer.as_str()).collect();
        assert_eq!(pointers, ["#/description", "#/condition_type"]);
    }

    #[test]
    fn a_rule_that_was_shown_can_be_put_back() {
        let given = json!({"name": "a", "description": "d", "condition_type": "absent"});
        let rule = read_body(given.clone(), None).unwrap();
        let shown = rule_json(&rule, &RulesStatus::default(), &HashMap::new());
        let again = read_body(shown, Some("a")).unwrap();
        assert_eq!(again.rule, rule.rule);
        assert_eq!(
            read_body(given, Some("b")).unwrap_err().errors[0].pointer,
            "#/name"
        );
    }

    #[test]
    fn pointers_lead_into_tables() {
        assert_eq!(pointer("labels.a.b/c"), "#/labels/a.b~1c");
    }
}
