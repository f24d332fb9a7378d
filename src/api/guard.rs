//! What stands before every handler: the host that was addressed, the origin, the token, the names of
//! the query parameters.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, RawPathParams, Request, State},
    http::{HeaderMap, Method, StatusCode, Version, header, request::Parts},
    middleware::Next,
    response::Response,
};

use super::{
    access::{Denied, Permission},
    context::Edge,
    parameters::Parameters,
    problem::Problem,
    server::Peer,
};

/// What one route asks for.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) edge: Arc<Edge>,
    pub(super) needs: Permission,
    pub(super) parameters: &'static [&'static str],
}

pub(super) async fn guard(
    State(gate): State<Gate>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    // A balancer's probe knows neither our name nor our tokens.
    if gate.needs == Permission::Open {
        return Ok(next.run(request).await);
    }
    let (mut parts, body) = request.into_parts();
    check_host(&gate, &parts)?;
    check_origin(&parts)?;
    check_token(&gate, &mut parts).await?;
    let parameters = Parameters::read(parts.uri.query(), gate.parameters)?;
    parts.extensions.insert(parameters);
    Ok(next.run(Request::from_parts(parts, body)).await)
}

/// The host that the request is addressed to: of the URI in absolute form, else the one `Host` header.
fn addressed_host(parts: &Parts) -> Result<Option<&str>, Problem> {
    if let Some(authority) = parts.uri.authority() {
        return Ok(Some(authority.as_str()));
    }
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host
            .to_str()
            .map(Some)
            .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the Host header is not ASCII")),
        (None, _) if parts.version < Version::HTTP_11 => Ok(None),
        _ => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "a request has exactly one Host header",
        )),
    }
}

fn check_host(gate: &Gate, parts: &Parts) -> Result<(), Problem> {
    match addressed_host(parts)? {
        Some(host) if !gate.edge.access.answers_to(host) => Err(Problem::new(
            StatusCode::FORBIDDEN,
            format!(
                "this server is not `{host}`; http.allowed_hosts names the hosts it answers to"
            ),
        )),
        _ => Ok(()),
    }
}

/// A page of another site must not change anything through its visitor's browser.
fn check_origin(parts: &Parts) -> Result<(), Problem> {
    if matches!(parts.method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    let Some(origin) = parts.headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let from = origin
        .to_str()
        .ok()
        .and_then(|o| o.split_once("://"))
        .map(|(_, authority)| authority);
    let own = addressed_host(parts)?;
    match (from, own) {
        (Some(from), Some(own)) if from.eq_ignore_ascii_case(own) => Ok(()),
        _ => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "pages of other sites may not change anything here",
        )),
    }
}

async fn check_token(gate: &Gate, parts: &mut Parts) -> Result<(), Problem> {
    let path = RawPathParams::from_request_parts(parts, &()).await.ok();
    let agent = path
        .iter()
        .flatten()
        .find(|(name, _)| *name == "agent_id")
        .map(|(_, value)| value);
    let peer = parts.extensions.get::<Peer>().map(|peer| peer.0.ip());
    let judged = gate
        .edge
        .access
        .judge(peer, authorization(&parts.headers), gate.needs, agent);
    let bound = judged.map_err(denial)?;
    parts.extensions.insert(bound);
    Ok(())
}

fn authorization(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()
}

fn denial(why: Denied) -> Problem {
    match why {
        Denied::Missing => Problem::new(
            StatusCode::UNAUTHORIZED,
            "a bearer token is needed: Authorization: Bearer ...",
        )
        .challenge(r#"Bearer realm="longwatch""#),
        Denied::Unknown => Problem::new(StatusCode::UNAUTHORIZED, "this token is not known here")
            .challenge(r#"Bearer realm="longwatch", error="invalid_token""#),
        Denied::Forbidden => Problem::new(
            StatusCode::FORBIDDEN,
            "this token does not allow this request: its role, or the agent it is bound to, is another",
        ),
    }
}
