//! Connections against the server.

use std::{net::SocketAddr, time::Duration};

use axum::routing::{get, post};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::api::{Server, ServerError, TlsFiles};

/// Far longer than anything here takes; what is waited for is the other side.
const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    address: SocketAddr,
    metrics: Arc<OwnMetrics>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

async fn start(router: Router, settings: Settings) -> Running {
    let settings = Settings {
        listen: ([127, 0, 0, 1], 0).into(),
        ..settings
    };
    let metrics = Arc::new(OwnMetrics::default());
    let server = Server::bind(&settings, Arc::clone(&metrics)).await.unwrap();
    let address = server.local_addr();
    assert_ne!(address.port(), 0);
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(server.run(router, shutdown.clone()));
    Running {
        address,
        metrics,
        shutdown,
        task,
    }
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Everything until the server closes.
async fn rest(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut seen = Vec::new();
    // A reset ends a connection as well as a close.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut seen))
        .await
        .expect("the server closes the connection");
    String::from_utf8(seen).unwrap()
}

/// Reads until what was read ends so.
async fn until(stream: &mut (impl AsyncReadExt + Unpin), end: &str) -> String {
    let mut seen = String::new();
    let reading = async {
        while !seen.ends_with(end) {
            seen.push(char::from(stream.read_u8().await.unwrap()));
        }
    };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("the server answers");
    seen
}

#[tokio::test]
async fn answers_and_keeps_the_connection() {
    let running = start(hello(), Settings::default()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    for _ in 0..2 {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        assert!(
            until(&mut stream, "hello")
                .await
                .starts_with("HTTP/1.1 200 OK\r\n")
        );
    }
    running.shutdown.cancel();
    assert_eq!(rest(&mut stream).await, "");
    running.task.await.unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn slow_and_idle_clients_are_cut() {
    let settings = Settings {
        header_timeout_ms: 50,
        ..Settings::default()
    };
    let running = start(hello(), settings).await;
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    let mut slow = TcpStream::connect(running.address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow")
        .await
        .unwrap();
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    until(&mut idle, "hello").await;
    for stream in [&mut silent, &mut slow, &mut idle] {
        let said = rest(stream).await;
        assert!(!said.contains("200 OK"), "{said}");
    }
    running.shutdown.cancel();
    running.task.await.unwrap();
}

#[tokio::test]
async fn heads_are_bounded() {
    let running = start(hello(), Settings::default()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "x".repeat(100_000)
    );
    let _ = stream.write_all(head.as_bytes()).await;
    assert!(!rest(&mut stream).await.contains("200 OK"));
    let mut many = TcpStream::connect(running.address).await.unwrap();
    let head = format!(
        "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "X: y\r\n".repeat(200)
    );
    many.write_all(head.as_bytes()).await.unwrap();
    assert!(rest(&mut many).await.starts_with("HTTP/1.1 431 "));
    running.shutdown.cancel();
    running.task.await.unwrap();
}

#[tokio::test]
async fn one_connection_too_many_is_told_and_counted() {
    let settings = Settings {
        connections_max: 1,
        ..Settings::default()
    };
    let running = start(hello(), settings).await;
    let mut first = TcpStream::connect(running.address).await.unwrap();
    first
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    until(&mut first, "hello").await;
    let mut second = TcpStream::connect(running.address).await.unwrap();
    let said = rest(&mut second).await;
    assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("content-length: {}\r\n", body.len())),
        "{said}"
    );
    let problem: Value = serde_json::from_str(body).unwrap();
    assert_eq!(problem["status"], 503);
    assert_eq!(running.metrics.http_connections_refused.get(), 1);
    running.shutdown.cancel();
    running.task.await.unwrap();
}

#[tokio::test]
async fn requests_under_way_are_finished() {
    let (began, mut begins) = tokio::sync::mpsc::channel::<()>(1);
    let finish = Arc::new(tokio::sync::Notify::new());
    let waits = Arc::clone(&finish);
    let router = Router::new().route(
        "/",
        get(move || async move {
            began.send(()).await.unwrap();
            waits.notified().await;
            "finished"
        }),
    );
    let running = start(router, Settings::default()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    begins.recv().await.unwrap();
    running.shutdown.cancel();
    finish.notify_one();
    let said = rest(&mut stream).await;
    assert!(said.ends_with("finished"), "{said}");
    running.task.await.unwrap();
}

#[tokio::test]
async fn requests_that_do_not_end_are_cut_off() {
    let (began, mut begins) = tokio::sync::mpsc::channel::<()>(1);
    let router = Router::new().route(
        "/",
        get(move || async move {
            began.send(()).await.unwrap();
            std::future::pending::<&str>().await
        }),
    );
    let settings = Settings {
        listen: ([127, 0, 0, 1], 0).into(),
        ..Settings::default()
    };
    let mut server = Server::bind(&settings, Arc::default()).await.unwrap();
    server.grace = Duration::from_millis(10);
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    stream.write_all(GET).await.unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(server.run(router, shutdown.clone()));
    begins.recv().await.unwrap();
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
    assert_eq!(rest(&mut stream).await, "");
}

/// A client that is still sending must see the refusal, not a reset.
#[tokio::test]
async fn a_long_body_is_refused_where_its_sender_sees_it() {
    let edge = Edge::with(Settings {
        body_bytes_max: 1_000,
        ..Settings::default()
    });
    let running = start(edge.router.clone(), edge.settings.clone()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let length = 8 << 20;
    let head = format!(
        "POST /api/v1/agents/a/metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; length]).await.unwrap();
    let said = rest(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 413 "), "{said}");
    running.shutdown.cancel();
    running.task.await.unwrap();
}

/// The server tells handlers where a connection comes from.
#[tokio::test]
async fn a_near_caller_needs_no_token() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens.toml");
    std::fs::write(
        &path,
        "[[tokens]]\nname='a'\nrole='read'\ntoken='0123456789abcdef'\n",
    )
    .unwrap();
    let edge = Edge::with(Settings {
        tokens_file: Some(path),
        ..Settings::default()
    });
    let running = start(edge.router.clone(), edge.settings.clone()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream
        .write_all(b"GET /api/v1/agents HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200 "));
    running.shutdown.cancel();
    running.task.await.unwrap();
}

fn write_certificate(dir: &std::path::Path) -> (TlsFiles, rcgen::CertifiedKey<rcgen::KeyPair>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        cert: dir.join("cert.pem"),
        key: dir.join("key.pem"),
    };
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    (files, made)
}

#[tokio::test]
async fn tls_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let (files, made) = write_certificate(dir.path());
    let settings = Settings {
        tls: Some(files),
        header_timeout_ms: 2_000,
        ..Settings::default()
    };
    let running = start(hello(), settings).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let tcp = TcpStream::connect(running.address).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, tcp).await.unwrap();
    stream.write_all(GET).await.unwrap();
    assert!(rest(&mut stream).await.ends_with("hello"));
    // Plain HTTP gets no answer, and the server goes on.
    let mut plain = TcpStream::connect(running.address).await.unwrap();
    plain.write_all(GET).await.unwrap();
    let mut seen = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, plain.read_to_end(&mut seen))
        .await
        .unwrap();
    assert!(!seen.starts_with(b"HTTP"));
    running.shutdown.cancel();
    running.task.await.unwrap();
}

#[tokio::test]
async fn files_of_tls_are_named_when_they_are_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (files, _) = write_certificate(dir.path());
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let (strange, _) = write_certificate(&other);
    let garbage = dir.path().join("garbage.pem");
    std::fs::write(
        &garbage,
        "-----BEGIN PRIVATE KEY-----\nSECRET!\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    let missing = dir.path().join("missing.pem");
    for (cert, key, named) in [
        (&missing, &files.key, &missing),
        (&files.cert, &missing, &missing),
        (&files.cert, &garbage, &garbage),
        (&files.key, &files.key, &files.key),
        (&files.cert, &files.cert, &files.cert),
        (&files.cert, &strange.key, &strange.key),
    ] {
        let settings = Settings {
            listen: ([127, 0, 0, 1], 0).into(),
            tls: Some(TlsFiles {
                cert: cert.clone(),
                key: key.clone(),
            }),
            ..Settings::default()
        };
        let error = Server::bind(&settings, Arc::default()).await.unwrap_err();
        assert!(
            matches!(&error, ServerError::Tls { path, .. } if path == named),
            "{error}"
        );
        assert!(!error.to_string().contains("SECRET"), "{error}");
    }
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let running = start(
        Router::new().route("/", post(|| async {})),
        Settings::default(),
    )
    .await;
    let settings = Settings {
        listen: running.address,
        ..Settings::default()
    };
    let error = Server::bind(&settings, Arc::default()).await.unwrap_err();
    assert!(
        error.to_string().contains(&running.address.to_string()),
        "{error}"
    );
    running.shutdown.cancel();
    running.task.await.unwrap();
}
