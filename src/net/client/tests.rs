use reqwest::header::{ACCEPT, HeaderValue};

use super::*;
use crate::net::{Reply, ScriptedServer};

const LONG: Duration = Duration::from_secs(30);

fn client() -> Client {
    Client::new(&Settings {
        body_bytes_max: 10_000,
        ..Settings::default()
    })
    .unwrap()
}

async fn get(url: &str) -> Result<Fetched, FetchError> {
    client().get(url, LONG, &HeaderMap::new()).await
}

#[tokio::test]
async fn brings_body_type_and_sends_headers() {
    let server = ScriptedServer::start(|_, _| Reply::ok("text/x; a=b", "hello")).await;
    let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("a/b"))]);
    let fetched = client()
        .get(&server.url("/m"), LONG, &headers)
        .await
        .unwrap();
    assert_eq!(fetched.status, 200);
    assert_eq!(fetched.content_type.as_deref(), Some("text/x; a=b"));
    assert_eq!(fetched.content_encoding, None);
    assert_eq!(&fetched.body[..], b"hello");
    let sent = server.requests.lock()[0].to_lowercase();
    assert!(sent.contains("accept: a/b\r\n"), "{sent}");
    let agent = concat!("user-agent: longwatch/", env!("CARGO_PKG_VERSION"), "\r\n");
    assert!(sent.contains(agent), "{sent}");
    assert!(!sent.contains("authorization"), "{sent}");
}

#[tokio::test]
async fn other_statuses_are_failures() {
    let server = ScriptedServer::start(|path, _| match path {
        "/500" => Reply::status(500),
        "/304" => Reply::status(304),
        _ => Reply::status(204),
    })
    .await;
    assert_eq!(get(&server.url("/500")).await, Err(FetchError::Status(500)));
    assert_eq!(get(&server.url("/304")).await, Err(FetchError::Status(304)));
    assert_eq!(get(&server.url("/")).await.unwrap().status, 204);
    assert_eq!(client().probe(&server.url("/"), LONG).await, Ok(204));
    assert_eq!(
        client().probe(&server.url("/500"), LONG).await,
        Err(FetchError::Status(500))
    );
}

#[tokio::test]
async fn redirect_loops_end() {
    let server = ScriptedServer::start(|_, n| Reply::redirect(&format!("/next{n}"))).await;
    let failed = get(&server.url("/")).await.unwrap_err();
    assert_eq!(failed, FetchError::TooManyRedirects(3));
    assert_eq!(server.count(), 4, "the first request and 3 redirects");
}

#[tokio::test]
async fn credentials_stay_with_their_origin() {
    let other = ScriptedServer::start(|_, _| Reply::ok("text/plain", "other")).await;
    let there = other.url("/").replace("http://", "http://x:y@");
    let server = ScriptedServer::start(move |path, _| match path {
        "/m" => Reply::redirect("/again"),
        _ => Reply::redirect(&there),
    })
    .await;
    let url = server
        .url("/m")
        .replace("http://", "http://us%40er:se%3acret@");
    assert_eq!(&get(&url).await.unwrap().body[..], b"other");
    for head in server.requests.lock().iter() {
        // us@er:se:cret
        assert!(head.contains("Basic dXNAZXI6c2U6Y3JldA=="), "{head}");
    }
    assert_eq!(server.count(), 2);
    let leaked = other.requests.lock()[0].to_lowercase();
    assert!(!leaked.contains("authorization"), "{leaked}");
    assert!(!leaked.contains("referer"), "{leaked}");
}

#[tokio::test]
async fn link_local_addresses_are_refused_also_by_redirect() {
    let server = ScriptedServer::start(|path, _| match path {
        "/ip" => Reply::redirect("http://169.254.169.254/latest/meta-data"),
        "/int" => Reply::redirect("http://2852039166/latest/meta-data"),
        _ => Reply::redirect("http://[::ffff:a9fe:a9fe]/"),
    })
    .await;
    for url in [
        "http://169.254.169.254/",
        "http://0xa9.254.169.254/",
        "http://[fe80::1]:80/",
        "http://0.0.0.0:1/",
        &server.url("/ip"),
        &server.url("/int"),
        &server.url("/mapped"),
    ] {
        let failed = get(url).await.unwrap_err();
        assert!(matches!(failed, FetchError::Refused(_)), "{url}: {failed}");
    }
    let failed = get("http://169.254.169.254/").await.unwrap_err();
    assert_eq!(
        failed.to_string(),
        "169.254.169.254 is a link-local address: refused"
    );
}

#[tokio::test]
async fn other_schemes_are_refused_also_by_redirect() {
    let server = ScriptedServer::start(|_, _| Reply::redirect("file:///etc/passwd")).await;
    for url in [
        "file:///etc/passwd",
        "ftp://h/",
        "nonsense",
        &server.url("/"),
    ] {
        let failed = get(url).await.unwrap_err();
        assert!(matches!(failed, FetchError::BadUrl(_)), "{url}: {failed}");
    }
}

#[tokio::test]
async fn bodies_are_bounded() {
    let server = ScriptedServer::start(|path, _| match path {
        "/endless" => Reply::Endless,
        "/announced" => {
            Reply::Raw("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_owned())
        }
        _ => Reply::ok("text/plain", &"x".repeat(10_000)),
    })
    .await;
    let too_large = Err(FetchError::BodyTooLarge { limit: 10_000 });
    assert_eq!(get(&server.url("/endless")).await, too_large);
    assert_eq!(get(&server.url("/announced")).await, too_large);
    assert_eq!(get(&server.url("/")).await.unwrap().body.len(), 10_000);
    assert_eq!(client().probe(&server.url("/endless"), LONG).await, Ok(200));
}

#[tokio::test]
async fn silence_and_half_a_body_time_out() {
    let server = ScriptedServer::start(|path, _| match path {
        "/hang" => Reply::Hang,
        _ => Reply::Half,
    })
    .await;
    let short = Duration::from_millis(100);
    for path in ["/hang", "/half"] {
        let failed = client()
            .get(&server.url(path), short, &HeaderMap::new())
            .await;
        assert_eq!(failed, Err(FetchError::TimedOut(short)), "{path}");
    }
    let probed = client().probe(&server.url("/hang"), short).await;
    assert_eq!(probed, Err(FetchError::TimedOut(short)));
}

#[tokio::test]
async fn errors_name_the_place_and_no_secret() {
    let gone = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let closing = ScriptedServer::start(|_, _| Reply::Close).await;
    let babbling = ScriptedServer::start(|_, _| Reply::Raw("SSH-2.0-x\r\n\r\n".to_owned())).await;
    for (place, expected) in [
        (
            gone.to_string(),
            format!("cannot connect to {gone}: connection refused"),
        ),
        (
            closing.address.clone(),
            format!(
                "{} closed the connection before it answered",
                closing.address
            ),
        ),
        (
            babbling.address.clone(),
            format!("{}: invalid HTTP version parsed", babbling.address),
        ),
        (
            "no-such-host.invalid".to_owned(),
            "cannot resolve `no-such-host.invalid`: ".to_owned(),
        ),
    ] {
        let url = format!("http://user:hunter2@{place}/metrics?token=hunter2");
        let failed = get(&url).await.unwrap_err().to_string();
        assert!(failed.starts_with(&expected), "{failed}");
        assert!(
            !failed.contains("hunter2") && !failed.contains("user"),
            "{failed}"
        );
    }
    for url in [
        "http://user:hunter2@:x/",
        "https://user:hunter2@/",
        "user:hunter2",
    ] {
        let failed = get(url).await.unwrap_err().to_string();
        assert!(!failed.contains("hunter2"), "{failed}");
    }
}

#[tokio::test]
async fn a_lost_connection_is_tried_once_more() {
    let server = ScriptedServer::start(|_, n| match n {
        0 => Reply::Close,
        _ => Reply::ok("text/plain", "here"),
    })
    .await;
    assert_eq!(&get(&server.url("/")).await.unwrap().body[..], b"here");
    assert_eq!(server.count(), 2);
}
