//! Agents: register, list, show, deregister, health.

use std::{fmt::Write, sync::Arc};

use axum::{
    Json,
    extract::{FromRequestParts, Path, State},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    body::Payload,
    context::{Edge, blocking},
    parameters::Parameters,
    problem::Problem,
    registration,
    warnings::warnings,
};
use crate::{
    collect,
    model::{Agent, AgentId, History, Timestamp, Window},
    report,
    store::Registered,
};

/// The agent that a path names.
#[derive(Clone, Debug)]
pub(super) struct AgentPath(pub(super) AgentId);

impl<S: Send + Sync> FromRequestParts<S> for AgentPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|why| Problem::new(StatusCode::BAD_REQUEST, why.body_text()))?;
        AgentId::new(&text)
            .map(Self)
            .map_err(|why| Problem::agent_id("agent_id", &why))
    }
}

pub(super) async fn list(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    let at = parameters.at(edge.now())?;
    edge.read(move |view| {
        let agents = view.agents(at);
        let mut answer = json!({ "agents": report::agents_json(&*view, &agents, at)? });
        put_warnings(&mut answer, &*view, &agents, at);
        Ok(Json(answer))
    })
    .await
}

pub(super) async fn show(
    State(edge): State<Arc<Edge>>,
    AgentPath(id): AgentPath,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    let at = parameters.at(edge.now())?;
    described(&edge, id, at).await.map(Json)
}

async fn described(edge: &Edge, id: AgentId, at: Timestamp) -> Result<Value, Problem> {
    edge.read(move |view| {
        let agent = view
            .agent(&id, at)
            .ok_or_else(|| Problem::unknown_agent(&id, at))?;
        let mut answer = report::agent_json(&*view, &agent, at)?;
        put_warnings(&mut answer, &*view, std::slice::from_ref(&agent), at);
        Ok(answer)
    })
    .await
}

pub(super) async fn register(
    State(edge): State<Arc<Edge>>,
    payload: Payload,
) -> Result<Response, Problem> {
    let body = payload.json().await?;
    let (id, mut registration) =
        registration::read(&body, &edge.context.limits).map_err(Problem::invalid_body)?;
    if let Some(pid) = registration.pid {
        registration.pid_start = blocking(move || Ok(collect::pid_start(pid))).await?;
    }
    let registered = edge
        .context
        .store
        .register(id.clone(), registration)
        .await?;
    let agent = described(&edge, id.clone(), edge.now()).await?;
    if registered != Registered::Created {
        return Ok(Json(agent).into_response());
    }
    let mut response = (StatusCode::CREATED, Json(agent)).into_response();
    if let Ok(location) = HeaderValue::from_str(&location_of(&id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Path of an agent, its id percent-encoded by the rules of a path segment.
fn location_of(id: &AgentId) -> String {
    let mut path = "/api/v1/agents/".to_owned();
    for byte in id.as_str().bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            path.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(path, "%{byte:02X}");
        }
    }
    path
}

pub(super) async fn deregister(
    State(edge): State<Arc<Edge>>,
    AgentPath(id): AgentPath,
) -> Result<StatusCode, Problem> {
    if edge.context.store.deregister(id.clone()).await? {
        // Its next push registers anew and is a contact of the new registration.
        edge.context.ledger.forget(&id);
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::new(
            StatusCode::NOT_FOUND,
            format!("no agent `{id}` is registered"),
        ))
    }
}

pub(super) async fn health(
    State(edge): State<Arc<Edge>>,
    AgentPath(id): AgentPath,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    let at = parameters.at(edge.now())?;
    let window_ms = parameters.duration_ms("window")?;
    edge.read(move |view| {
        let agent = view
            .agent(&id, at)
            .ok_or_else(|| Problem::unknown_agent(&id, at))?;
        let window_ms = window_ms.unwrap_or_else(|| view.policy(at).health_window_ms);
        let window = Window::ending_at(at, window_ms);
        let health = report::health_score(&*view, &agent, window)?;
        let mut answer = json!({
            "agent_id": id.as_str(),
            "health_score": health.score,
            "deductions": health.deductions,
        });
        if let Some(traces) = report::agent_traces(&*view, &id, window)? {
            answer["traces"] = json!(traces);
        }
        put_warnings(&mut answer, &*view, std::slice::from_ref(&agent), at);
        Ok(Json(answer))
    })
    .await
}

/// Says what status and score could not take into account, however long ago it was.
fn put_warnings(answer: &mut Value, history: &dyn History, agents: &[Agent], at: Timestamp) {
    let lacks = warnings(history, agents, Window::until(at));
    if !lacks.is_empty() {
        answer["warnings"] = json!(lacks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_percent_encoded() {
        let id = AgentId::new("a b/ä%~").unwrap();
        assert_eq!(location_of(&id), "/api/v1/agents/a%20b%2F%C3%A4%25~");
    }
}
