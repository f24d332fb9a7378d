//! Who may do what: loopback, tokens and their roles, hosts, origins, TLS.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{fmt::Write, fs};

use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::server::{Answer, QUIET, Server, client_builder, run};

const READ: &str = "read-token-0123456789";
const INGEST: &str = "ingest-token-0123456789";
const BOUND: &str = "bound-token-0123456789";
const ADMIN: &str = "admin-token-0123456789";
const UNKNOWN: &str = "unknown-token-0123456789";
const METRICS: &str = r#"{"metrics":[{"name":"m","value":1}]}"#;

fn with_tokens() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut digest = String::new();
    for byte in Sha256::digest(ADMIN) {
        write!(digest, "{byte:02x}").unwrap();
    }
    let tokens = format!(
        "[[tokens]]\nname = \"r\"\nrole = \"read\"\ntoken = \"{READ}\"\n\
        [[tokens]]\nname = \"i\"\nrole = \"ingest\"\ntoken = \"{INGEST}\"\n\
        [[tokens]]\nname = \"b\"\nrole = \"ingest\"\nagent_id = \"a7\"\ntoken = \"{BOUND}\"\n\
        [[tokens]]\nname = \"a\"\nrole = \"admin\"\nsha256 = \"{digest}\"\n"
    );
    fs::write(folder.path().join("tokens.toml"), tokens).unwrap();
    folder
}

async fn ask(server: &Server, method: &str, path: &str, token: Option<&str>) -> Answer {
    let method = method.parse().unwrap();
    let body = if path.ends_with("/metrics") && method == "POST" {
        METRICS
    } else {
        r#"{"agent_id":"new"}"#
    };
    let mut request = server.client.request(method, server.url(path)).body(body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    Answer::of(request).await
}

#[tokio::test]
async fn each_role_may_do_what_it_says() {
    let flags = [
        "--listen",
        "0.0.0.0:0",
        "--tokens-file",
        "tokens.toml",
        "--log-level",
        "trace",
    ];
    let mut server = Server::within(with_tokens(), QUIET, &flags);
    let requests = [
        ("POST", "/api/v1/agents/a7/metrics", [403, 200, 200, 200]),
        ("POST", "/api/v1/agents/a%37/metrics", [403, 200, 200, 200]),
        ("POST", "/api/v1/agents/a8/metrics", [403, 200, 403, 200]),
        ("POST", "/api/v1/agents/a7%2F/metrics", [403, 200, 403, 200]),
        ("POST", "/api/v1/agents/a7/heartbeat", [403, 204, 204, 204]),
        ("GET", "/api/v1/agents", [200, 403, 403, 200]),
        ("GET", "/api/v1/agents/a7", [200, 403, 403, 200]),
        ("GET", "/api/v1/overview", [200, 403, 403, 200]),
        ("GET", "/", [200, 403, 403, 200]),
        ("GET", "/metrics", [200, 403, 403, 200]),
        ("GET", "/openapi.json", [200, 403, 403, 200]),
        ("GET", "/api/v1/admin/snapshot", [403, 403, 403, 200]),
        ("POST", "/api/v1/agents", [403, 403, 403, 201]),
        ("DELETE", "/api/v1/agents/new", [403, 403, 403, 204]),
    ];
    for (method, path, statuses) in requests {
        for token in [None, Some(UNKNOWN), Some("")] {
            let answer = ask(&server, method, path, token).await;
            answer.problem(401);
            assert!(
                answer.header("www-authenticate").starts_with("Bearer"),
                "{path}"
            );
        }
        for (token, status) in [READ, INGEST, BOUND, ADMIN].into_iter().zip(statuses) {
            let answer = ask(&server, method, path, Some(token)).await;
            assert_eq!(
                answer.status, status,
                "{token} {method} {path}: {:?}",
                answer.body
            );
            if status == 403 {
                answer.problem(403);
            }
        }
    }
    for path in ["/healthz", "/readyz"] {
        for token in [None, Some(UNKNOWN)] {
            ask(&server, "GET", path, token).await.expect(200);
        }
    }
    let in_url = format!("/api/v1/agents?token={ADMIN}");
    ask(&server, "GET", &in_url, None).await.problem(401);
    let url = server.url("");
    fs::write(server.folder().join("token"), format!("{ADMIN}\n")).unwrap();
    server
        .run(&["agents", "list", "--url", &url, "--token-file", "token"])
        .ok();
    let without = server.run(&["agents", "list", "--url", &url]);
    assert_eq!(without.status, Some(1), "{}", without.err);

    let (status, log) = server.terminate();
    assert_eq!(status.code(), Some(0));
    assert!(log.contains("/api/v1/agents"), "requests are traced: {log}");
    for token in [READ, INGEST, BOUND, UNKNOWN] {
        assert!(!log.contains(token), "{token} in the log");
    }
    // One sender wrote it into an address, where anybody may read it, and still it is not repeated.
    assert!(!log.contains(ADMIN), "the token of an address in the log");
}

#[tokio::test]
async fn loopback_needs_no_token_and_the_network_does() {
    let server = Server::within(with_tokens(), QUIET, &["--tokens-file", "tokens.toml"]);
    for token in [None, Some(READ), Some(UNKNOWN)] {
        ask(&server, "POST", "/api/v1/agents/a7/metrics", token)
            .await
            .expect(200);
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("none.toml"), "").unwrap();
    fs::write(
        folder.path().join("role.toml"),
        format!("[[tokens]]\nname = \"x\"\nrole = \"king\"\ntoken = \"{READ}\"\n"),
    )
    .unwrap();
    for (flags, reason) in [
        (&["--listen", "0.0.0.0:0"][..], "--insecure"),
        (&["--listen", "[::]:0"], "--insecure"),
        (
            &["--listen", "0.0.0.0:0", "--tokens-file", "missing.toml"],
            "missing.toml",
        ),
        (
            &["--listen", "0.0.0.0:0", "--tokens-file", "none.toml"],
            "none.toml",
        ),
        (
            &["--listen", "0.0.0.0:0", "--tokens-file", "role.toml"],
            "role.toml:3",
        ),
        (
            &["--listen", "127.0.0.1:0", "--tls-cert", "missing.pem"],
            "tls_key",
        ),
    ] {
        let arguments = [&["serve", "--db", "never.redb"], flags].concat();
        let ran = run(&arguments, folder.path());
        assert_eq!(ran.status, Some(2), "{flags:?}: {}", ran.err);
        assert!(ran.err.contains(reason), "{flags:?}: {}", ran.err);
        assert!(!ran.err.contains(READ), "{flags:?}: {}", ran.err);
    }
    assert!(
        !folder.path().join("never.redb").exists(),
        "refused before anything is made"
    );

    let open = Server::with(QUIET, &["--listen", "0.0.0.0:0", "--insecure"]);
    ask(&open, "POST", "/api/v1/agents", None).await.expect(201);
    assert!(open.log().contains("WARN"), "{}", open.log());
}

#[tokio::test]
async fn strange_hosts_and_origins_change_nothing() {
    let server = Server::with(
        &format!("{QUIET}[http]\nallowed_hosts = [\"monitor.example\"]\n"),
        &[],
    );
    let own = server.url("").replace("http://", "");
    let with_host = async |path: &str, host: &str| {
        Answer::of(server.client.get(server.url(path)).header("host", host)).await
    };
    for host in [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:80",
        "10.1.2.3",
    ] {
        for path in ["/api/v1/agents", "/", "/metrics", "/api/v1/admin/snapshot"] {
            with_host(path, host).await.problem(403);
        }
        with_host("/healthz", host).await.expect(200);
    }
    for host in [
        "localhost",
        "LOCALHOST:1",
        "[::1]",
        "monitor.example:443",
        &own,
    ] {
        with_host("/api/v1/agents", host).await.expect(200);
    }
    let with_origin = async |method: &str, path: &str, origin: &str| {
        let method = method.parse().unwrap();
        let request = server.client.request(method, server.url(path));
        let body = json!({"agent_id": "a"}).to_string();
        Answer::of(request.header("origin", origin).body(body)).await
    };
    let near = format!("http://{own}");
    for origin in [
        "http://evil.example",
        "null",
        "http://127.0.0.1:1",
        "https://monitor.example",
    ] {
        with_origin("POST", "/api/v1/agents", origin)
            .await
            .problem(403);
        with_origin("POST", "/api/v1/agents/a/heartbeat", origin)
            .await
            .problem(403);
        with_origin("DELETE", "/api/v1/agents/a", origin)
            .await
            .problem(403);
        with_origin("GET", "/api/v1/agents", origin)
            .await
            .expect(200);
    }
    server.get("/api/v1/agents/a").await.problem(404);
    with_origin("POST", "/api/v1/agents", &near)
        .await
        .expect(201);
    let answer = with_origin("GET", "/api/v1/agents", &near).await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn tls_works_end_to_end() {
    let folder = with_tokens();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(
        folder.path().join("key.pem"),
        made.signing_key.serialize_pem(),
    )
    .unwrap();
    let flags = [
        "--listen",
        "0.0.0.0:0",
        "--tokens-file",
        "tokens.toml",
        "--tls-cert",
        "cert.pem",
        "--tls-key",
        "key.pem",
    ];
    let mut server = Server::within(folder, QUIET, &flags);
    let url = server.url("");
    assert!(url.starts_with("https://"), "{url}");
    // Nobody vouches for its certificate but itself.
    assert!(
        server
            .client
            .get(server.url("/healthz"))
            .send()
            .await
            .is_err()
    );
    let known = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    server.client = client_builder().tls_certs_only([known]).build().unwrap();
    server.get("/healthz").await.expect(200);
    server.get("/api/v1/agents").await.problem(401);
    ask(&server, "POST", "/api/v1/agents/a7/metrics", Some(BOUND))
        .await
        .expect(200);
    ask(&server, "GET", "/api/v1/agents/a7", Some(READ))
        .await
        .expect(200);
    let plain = server.client.get(url.replace("https://", "http://"));
    assert!(plain.send().await.is_err(), "no plain text on this port");
    server.get("/healthz").await.expect(200);

    let other = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap();
    fs::write(
        server.folder().join("other.pem"),
        other.signing_key.serialize_pem(),
    )
    .unwrap();
    for key in ["other.pem", "cert.pem", "missing.pem"] {
        let ran = server.run(&[
            "serve",
            "--db",
            "never.redb",
            "--listen",
            "127.0.0.1:0",
            "--tls-cert",
            "cert.pem",
            "--tls-key",
            key,
        ]);
        assert_eq!(ran.status, Some(2), "{key}: {}", ran.err);
        assert!(ran.err.contains(key), "{key}: {}", ran.err);
    }
}

/// A token that is bound to one agent neither ends nor takes over what another has begun.
#[tokio::test(flavor = "multi_thread")]
async fn open_spans_of_others_are_left_alone() {
    // On loopback everybody may do everything.
    let flags = ["--listen", "0.0.0.0:0", "--tokens-file", "tokens.toml"];
    let server = Server::within(with_tokens(), QUIET, &flags);
    let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let send = async |path: &str, token: &str, body: serde_json::Value| {
        let request = server.client.post(server.url(path)).bearer_auth(token);
        let request = request.header("content-type", "application/json");
        Answer::of(request.body(body.to_string())).await
    };
    let spans = format!("/api/v1/traces/{trace}/spans");
    let begun = json!({"operation": "plan", "agent_id": "other", "span_id": span});
    send(&spans, INGEST, begun).await.expect(201);
    let of_span = |call: &str| format!("{spans}/{span}/{call}");
    send(&of_span("finish"), BOUND, json!({})).await.expect(403);
    let log = json!({"message": "hello"});
    send(&of_span("logs"), BOUND, log).await.expect(403);
    let forged = json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "gen_ai.agent.name", "value": {"stringValue": "a7"}}]},
        "scopeSpans": [{"spans": [{
            "traceId": trace, "spanId": span, "name": "forged",
            "startTimeUnixNano": "1", "endTimeUnixNano": "2",
        }]}],
    }]});
    let told = send("/v1/traces", BOUND, forged).await.expect(200).json();
    assert_eq!(told["partialSuccess"]["rejectedSpans"], "1", "{told}");
    let open = ask(&server, "GET", "/api/v1/spans/open", Some(READ)).await;
    let open = open.expect(200).json();
    assert_eq!(open["spans"][0]["agent_id"], "other", "{open}");
    assert_eq!(open["spans"][0]["operation"], "plan", "{open}");
    send(&of_span("finish"), INGEST, json!({}))
        .await
        .expect(200);
}
