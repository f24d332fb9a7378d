//! What stands before and around the resources: addresses, methods, hosts, origins, tokens, headers.

use axum::{
    body::Body,
    http::{Method, header},
    routing::get,
};

use super::*;
use crate::api::access::Permission;

const PUSH: &str = r#"{"metrics":[{"name":"m","value":1}]}"#;

#[tokio::test]
async fn wrong_addresses_methods_and_heads() {
    let edge = Edge::new();
    edge.get("/api/v1/agent").await.json(404);
    edge.get("/api/v1/agents/").await.json(404);
    let wrong = edge
        .send(request("PUT", "/api/v1/agents/a", Body::empty()))
        .await;
    wrong.json(405);
    let mut allowed: Vec<_> = wrong.header(header::ALLOW).split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["DELETE", "GET", "HEAD"]);
    let head = edge
        .send(request("HEAD", "/api/v1/agents", Body::empty()))
        .await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    let head = edge
        .send(request("HEAD", "/api/v1/admin/snapshot", Body::empty()))
        .await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(wrong.header(name), value);
    }
}

#[tokio::test]
async fn answers_are_packed_when_asked() {
    let edge = Edge::new();
    let mut asked = request("GET", "/openapi.json", Body::empty());
    asked
        .headers_mut()
        .insert(header::ACCEPT_ENCODING, "gzip".parse().unwrap());
    let packed = edge.send(asked).await;
    assert_eq!(packed.header(header::CONTENT_ENCODING), "gzip");
    let plain = edge.get("/openapi.json").await;
    assert_eq!(plain.header(header::CONTENT_ENCODING), "");
    assert!(packed.body.len() * 3 < plain.body.len());
}

#[tokio::test]
async fn strangers_pages_are_turned_away() {
    let edge = Edge::new();
    let with = |method: &str, uri: &str, host: &str, origin: Option<&str>| {
        let mut request = request(method, uri, PUSH);
        request
            .headers_mut()
            .insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            request
                .headers_mut()
                .insert(header::ORIGIN, origin.parse().unwrap());
        }
        request
    };
    let path = "/api/v1/agents/a/metrics";
    edge.send(with("GET", "/api/v1/agents", "evil.example:7464", None))
        .await
        .json(403);
    assert_eq!(
        edge.send(with("GET", "/healthz", "evil.example", None))
            .await
            .status,
        200
    );
    edge.send(with(
        "POST",
        path,
        "localhost:7464",
        Some("http://localhost:7464"),
    ))
    .await
    .json(200);
    for origin in ["http://evil.example", "http://localhost:80", "null"] {
        edge.send(with("POST", path, "localhost:7464", Some(origin)))
            .await
            .json(403);
        edge.send(with(
            "DELETE",
            "/api/v1/agents/a",
            "localhost:7464",
            Some(origin),
        ))
        .await
        .json(403);
        edge.send(with(
            "GET",
            "/api/v1/agents",
            "localhost:7464",
            Some(origin),
        ))
        .await
        .json(200);
    }
    let mut twice = with("GET", "/api/v1/agents", "localhost", None);
    twice
        .headers_mut()
        .append(header::HOST, "evil.example".parse().unwrap());
    edge.send(twice).await.json(400);
    let mut without = with("GET", "/api/v1/agents", "localhost", None);
    without.headers_mut().remove(header::HOST);
    edge.send(without).await.json(400);
    // Absolute form: the URI names the host, the header does not count.
    edge.send(with(
        "GET",
        "http://evil.example/api/v1/agents",
        "localhost",
        None,
    ))
    .await
    .json(403);
}

#[tokio::test]
async fn each_route_asks_for_its_role() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens.toml");
    let entries = [
        ("read", ""),
        ("ingest", ""),
        ("ingest", "agent_id = 'one'"),
        ("admin", ""),
    ];
    let entry = |(i, (role, more)): (usize, &(&str, &str))| {
        format!(
            "[[tokens]]
name = 't{i}'
role = '{role}'
token = 'token-{i}-0123456789'
{more}
"
        )
    };
    let text: Vec<String> = entries.iter().enumerate().map(entry).collect();
    std::fs::write(&path, text.concat()).unwrap();
    let edge = Edge::with(Settings {
        listen: ([0, 0, 0, 0], 0).into(),
        tokens_file: Some(path),
        ..Settings::default()
    });
    let ask = |method: Method, path: &str, token: Option<usize>| {
        let mut request = request(method.as_str(), path, Body::empty());
        if let Some(i) = token {
            let value = format!("Bearer token-{i}-0123456789").parse().unwrap();
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        edge.send(request)
    };
    for route in crate::api::routes::table() {
        let path = route.path.replace("{agent_id}", "one").replace("{id}", "1");
        let allowed: &[usize] = match route.needs {
            Permission::Open => &[0, 1, 2, 3],
            Permission::Read => &[0, 3],
            // What is no agent's own is not for a token that is bound to one.
            Permission::Ingest if !path.contains("/agents/") => &[1, 3],
            Permission::Ingest | Permission::IngestAny => &[1, 2, 3],
            Permission::Admin => &[3],
        };
        for token in 0..entries.len() {
            let status = ask(route.method.clone(), &path, Some(token)).await.status;
            assert_eq!(
                status != 403,
                allowed.contains(&token),
                "{} {path} {token}",
                route.method
            );
            assert_ne!(status, 401);
        }
        let nobody = ask(route.method.clone(), &path, None).await;
        if route.needs == Permission::Open {
            assert_eq!(nobody.status, 200, "{path}");
        } else {
            nobody.json(401);
            assert!(
                nobody
                    .header(header::WWW_AUTHENTICATE)
                    .starts_with("Bearer")
            );
        }
        let writes = route.method != Method::GET;
        let secret = path.contains("/admin/");
        let expected = match (path.as_str(), writes, secret) {
            ("/healthz" | "/readyz" | "/prometheus/-/healthy" | "/prometheus/-/ready", ..) => {
                Permission::Open
            }
            ("/v1/metrics" | "/prometheus/api/v1/write", true, _) => Permission::IngestAny,
            // Questions in forms.
            (p, true, _) if p.starts_with("/prometheus/api/") => Permission::Read,
            (p, true, _) if p.ends_with("/metrics") || p.ends_with("/heartbeat") => {
                Permission::Ingest
            }
            ("/alertmanager/api/v2/alerts", true, _) => Permission::Ingest,
            ("/v1/traces" | "/v1/logs" | "/api/v2/spans", true, _) => Permission::IngestAny,
            (p, true, _) if p.starts_with("/api/v1/traces/") && p.contains("/spans") => {
                Permission::IngestAny
            }
            // It reads, and its question is a body.
            ("/api/v1/rules/backtest", ..) => Permission::Read,
            (_, true, _) | (_, _, true) => Permission::Admin,
            _ => Permission::Read,
        };
        assert_eq!(route.needs, expected, "{path}");
    }
    let bound = ask(Method::POST, "/api/v1/agents/other/heartbeat", Some(2)).await;
    bound.json(403);
    assert_eq!(
        ask(Method::POST, "/api/v1/agents/%6fne/heartbeat", Some(2))
            .await
            .status,
        204
    );
    let unknown = ask(Method::GET, "/api/v1/agents", Some(9)).await;
    unknown.json(401);
    assert!(
        unknown
            .header(header::WWW_AUTHENTICATE)
            .contains("invalid_token")
    );
}

#[tokio::test]
async fn a_panic_is_answered() {
    async fn fails() -> String {
        panic!("on purpose")
    }
    let edge = Edge::new();
    let router = Router::new().route("/", get(fails)).layer(
        tower_http::catch_panic::CatchPanicLayer::custom(crate::api::observe::answer_panic),
    );
    let response = router
        .oneshot(request("GET", "/", Body::empty()))
        .await
        .unwrap();
    let answer = Answer::read(response).await;
    assert!(!answer.json(500).to_string().contains("on purpose"));
    assert_eq!(edge.get("/healthz").await.status, 200);
}
