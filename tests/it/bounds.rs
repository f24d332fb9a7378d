//! Requests that are too long, too slow, too deep or misdirected: each is told, and the server goes on.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{io::Write, time::Duration};

use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::server::{Answer, DEADLINE, QUIET, Server, eventually};

const PUSH: &str = "/api/v1/agents/a/metrics";

async fn connect(server: &Server) -> TcpStream {
    let address = server.url("").replace("http://", "");
    TcpStream::connect(address).await.unwrap()
}

/// Everything until the server ends the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset after the answer ends it as well.
    let read = timeout(DEADLINE, stream.read_to_end(&mut bytes)).await;
    assert!(read.is_ok(), "the connection stays open");
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn alive(server: &Server) {
    server.get("/healthz").await.expect(200);
    let answer = server
        .push("alive", &json!([{"name": "m", "value": 1}]))
        .await;
    assert_eq!(answer["accepted"], 1);
}

#[tokio::test]
async fn slow_clients_are_cut_off() {
    let config = format!("{QUIET}[http]\nheader_timeout = \"300ms\"\nbody_timeout = \"300ms\"\n");
    let server = Server::with(&config, &[]);
    // Nothing at all, half a head, half a body.
    let mut silent = connect(&server).await;
    let mut half = connect(&server).await;
    half.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n")
        .await
        .unwrap();
    let mut body = connect(&server).await;
    let head = format!("POST {PUSH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{{");
    body.write_all(head.as_bytes()).await.unwrap();
    // A byte at a time earns no more time.
    let mut trickle = connect(&server).await;
    let trickled = async {
        loop {
            if trickle.write_all(b"G").await.is_err() {
                return;
            }
            let mut byte = [0];
            let read = timeout(Duration::from_millis(50), trickle.read(&mut byte)).await;
            if let Ok(Ok(0) | Err(_)) = read {
                return;
            }
        }
    };
    assert!(
        timeout(DEADLINE, trickled).await.is_ok(),
        "a trickle is cut off"
    );
    assert!(!rest(&mut silent).await.contains("200"));
    assert!(!rest(&mut half).await.contains("200"));
    let told = rest(&mut body).await;
    assert!(
        told.starts_with("HTTP/1.1 408 ") && told.contains("application/problem+json"),
        "{told}"
    );
    alive(&server).await;
}

#[tokio::test]
async fn connections_are_counted() {
    let server = Server::with(&format!("{QUIET}[http]\nconnections_max = 3\n"), &[]);
    let idle = [
        connect(&server).await,
        connect(&server).await,
        connect(&server).await,
    ];
    let told = rest(&mut connect(&server).await).await;
    assert!(
        told.starts_with("HTTP/1.1 503 ") && told.contains("retry-after: "),
        "{told}"
    );
    drop(idle);
    eventually("a free place", async || {
        let answer = Answer::try_of(server.client.get(server.url("/healthz"))).await;
        answer.is_ok_and(|a| a.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn large_bodies_are_refused_however_they_come() {
    let config =
        format!("{QUIET}[http]\nbody_size_max = \"64KiB\"\ndecompressed_size_max = \"1MiB\"\n");
    let server = Server::with(&config, &[]);
    let large = format!("{{\"metrics\":[]{}}}", " ".repeat(64 << 10));
    for path in [PUSH, "/api/v1/agents"] {
        let problem = server.post(path, large.clone()).await.problem(413);
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("http.body_size_max")
        );
    }
    // Without a length in advance.
    let mut stream = connect(&server).await;
    let head =
        format!("POST {PUSH} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 16 << 10, " ".repeat(16 << 10));
    for _ in 0..5 {
        // It may be refused before all of it is sent.
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let _ = stream.write_all(b"0\r\n\r\n").await;
    let told = rest(&mut stream).await;
    assert!(told.starts_with("HTTP/1.1 413 "), "{told}");

    // 50 MB of blanks in 50 kB.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let blanks = vec![b' '; 1 << 20];
    for _ in 0..50 {
        encoder.write_all(&blanks).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 64 << 10);
    let request = server
        .client
        .post(server.url(PUSH))
        .header("content-encoding", "gzip");
    Answer::of(request.body(bomb)).await.problem(413);
    alive(&server).await;
    let right = format!("{{\"metrics\":[]{}}}", " ".repeat(60 << 10));
    server.post(PUSH, right).await.expect(200);
}

#[tokio::test]
async fn depth_is_no_way_in() {
    let server = Server::start();
    let deep = "[".repeat(200_000);
    let closed = format!("{deep}{}", "]".repeat(200_000));
    let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    for body in [deep.clone(), closed.clone(), objects.clone()] {
        for path in [PUSH, "/api/v1/agents"] {
            server.post(path, body.clone()).await.problem(400);
        }
    }
    for inner in [&closed, &objects] {
        for body in [
            format!("{{\"metrics\":[{inner}]}}"),
            format!("{{\"metrics\":[],\"other\":{inner}}}"),
            format!("{{\"metrics\":[{{\"name\":\"m\",\"value\":1,\"labels\":{inner}}}]}}"),
        ] {
            // What is passed over need not be understood.
            let answer = server.post(PUSH, body).await;
            match answer.status {
                200 => assert_eq!(answer.json()["accepted"], 0),
                _ => drop(answer.problem(400)),
            }
        }
        let info = format!("{{\"agent_id\":\"a\",\"info\":{inner}}}");
        server.post("/api/v1/agents", info).await.problem(400);
    }
    alive(&server).await;
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there() {
    let server = Server::start();
    for path in [
        "/nothing",
        "/api/v1",
        "/api/v1/agents/a/b/c",
        "/API/v1/agents",
        "//",
    ] {
        let problem = server.get(path).await.problem(404);
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("/openapi.json")
        );
    }
    let long = format!("/{}", "x".repeat(40_000));
    server.get(&long).await.problem(404);
    let mut stream = connect(&server).await;
    let longer = "x".repeat(100_000);
    let head = format!("GET /{longer} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    // It may be refused before all of it is sent.
    let _ = stream.write_all(head.as_bytes()).await;
    let told = rest(&mut stream).await;
    assert!(told.is_empty() || told.starts_with("HTTP/1.1 4"), "{told}");
    let query = format!("/api/v1/samples?agent_id={}", "x".repeat(30_000));
    server.get(&query).await.problem(414);
    for path in ["/api/v1/agents/%ff", "/api/v1/agents/%00"] {
        let answer = server.get(path).await;
        assert!(matches!(answer.status, 400 | 422), "{path}");
        answer.problem(answer.status);
    }

    for (path, allowed) in [
        ("/api/v1/agents", &["GET", "HEAD", "POST"][..]),
        ("/api/v1/agents/a", &["GET", "HEAD", "DELETE"]),
        (PUSH, &["POST"]),
        ("/api/v1/overview", &["GET", "HEAD"]),
        ("/healthz", &["GET", "HEAD"]),
    ] {
        for method in ["PUT", "PATCH", "BREW"] {
            let method = method.parse().unwrap();
            let answer = Answer::of(server.client.request(method, server.url(path))).await;
            answer.problem(405);
            let mut told: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
            let mut allowed = allowed.to_vec();
            told.sort_unstable();
            allowed.sort_unstable();
            assert_eq!(told, allowed, "{path}");
        }
    }
    for path in [
        "/",
        "/healthz",
        "/metrics",
        "/api/v1/agents",
        "/api/v1/admin/snapshot",
    ] {
        let head = Answer::of(server.client.head(server.url(path)))
            .await
            .expect(200);
        let get = server.get(path).await.expect(200);
        assert!(head.body.is_empty());
        assert_eq!(
            head.header("content-type"),
            get.header("content-type"),
            "{path}"
        );
    }
    let head = Answer::of(server.client.head(server.url("/api/v1/agents/nobody"))).await;
    assert_eq!((head.status, head.body.len()), (404, 0));
    alive(&server).await;
}

#[tokio::test]
async fn heads_that_are_no_http_are_ended() {
    let server = Server::start();
    let many = format!(
        "GET / HTTP/1.1\r\nhost: localhost\r\n{}\r\n",
        "a: b\r\n".repeat(500)
    );
    let fat = format!(
        "GET / HTTP/1.1\r\nhost: localhost\r\na: {}\r\n\r\n",
        "b".repeat(200_000)
    );
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and more of a TLS hello\r\n\r\n".as_slice(),
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\nconnection: close\r\n\r\n",
        b"GET /api/v1/agents HTTP/1.1\r\nconnection: close\r\n\r\n",
        b"POST /api/v1/agents HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        many.as_bytes(),
        fat.as_bytes(),
    ] {
        let mut stream = connect(&server).await;
        // It may be ended before all of it is sent.
        let _ = stream.write_all(bytes).await;
        let told = rest(&mut stream).await;
        assert!(told.is_empty() || told.starts_with("HTTP/1.1 4"), "{told}");
    }
    alive(&server).await;
}
