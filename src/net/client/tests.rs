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
    for status in [500, 304] {
        let failed = get(&server.url(&format!("/{status}"))).await.unwrap_err();
        assert_eq!(failed, FetchError::Status(status));
    }
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
    for path in ["/endless", "/announced"] {
        let failed = get(&server.url(path)).await.unwrap_err();
        assert_eq!(failed, FetchError::BodyTooLarge { limit: 10_000 });
    }
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
        assert_eq!(failed.unwrap_err(), FetchError::TimedOut(short), "{path}");
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

#[tokio::test]
async fn names_lead_to_no_refused_address() {
    let target = ScriptedServer::start(|path, _| match path {
        "/away" => Reply::redirect("http://metadata.test/"),
        _ => Reply::ok("text/plain", "here"),
    })
    .await;
    let address: std::net::SocketAddr = target.address.parse().unwrap();
    let link_local: std::net::SocketAddr = "169.254.169.254:80".parse().unwrap();
    let translated: std::net::SocketAddr = "[64:ff9b::169.254.169.254]:80".parse().unwrap();
    let known = [
        ("metadata.test", vec![link_local]),
        ("translated.test", vec![translated, link_local]),
        ("mixed.test", vec![link_local, address, translated]),
        ("empty.test", vec![]),
    ];
    let known = known.map(|(name, addresses)| (name.to_owned(), addresses));
    let names = Names::Fixed(known.into_iter().collect());
    let client = Client::with_names(&Settings::default(), &names).unwrap();
    let get = async |url: &str| client.get(url, LONG, &HeaderMap::new()).await;
    for url in [
        "http://metadata.test/latest/meta-data",
        "http://translated.test/",
        &target.url("/away"),
    ] {
        let failed = get(url).await.unwrap_err();
        assert!(matches!(failed, FetchError::Refused(_)), "{url}: {failed}");
    }
    assert_eq!(target.count(), 1, "no more than the redirect");
    // Of several addresses only those that are allowed are tried.
    let url = format!("http://mixed.test:{}/", address.port());
    assert_eq!(&get(&url).await.unwrap().body[..], b"here");
    let failed = get("http://empty.test/").await.unwrap_err().to_string();
    assert_eq!(failed, "cannot resolve `empty.test`: no address");
}

#[tokio::test]
async fn large_bodies_take_turns_and_small_ones_never_wait() {
    let body = "x".repeat(LARGE_BODY + 1);
    let server = ScriptedServer::start(move |path, _| match path {
        "/small" => Reply::ok("text/plain", "small"),
        _ => Reply::ok("text/plain", &body),
    })
    .await;
    let client = Client::new(&Settings::default()).unwrap();
    let get = async |path: &str, time: Duration| {
        client.get(&server.url(path), time, &HeaderMap::new()).await
    };
    let mut held = Vec::new();
    for _ in 0..LARGE_BODIES_MAX {
        held.push(get("/large", LONG).await.unwrap());
    }
    let short = Duration::from_millis(200);
    let failed = get("/large", short).await.unwrap_err();
    assert_eq!(failed, FetchError::TimedOut(short));
    assert_eq!(get("/small", LONG).await.unwrap().body.len(), 5);
    held.pop();
    get("/large", LONG).await.unwrap();
}

#[tokio::test]
async fn encodings_are_told_as_a_whole() {
    let server = ScriptedServer::start(|_, _| {
        let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\ncontent-encoding: br\r\n";
        Reply::Raw(format!(
            "{head}Content-Length: 0\r\nConnection: close\r\n\r\n"
        ))
    })
    .await;
    let fetched = get(&server.url("/")).await.unwrap();
    assert_eq!(fetched.content_encoding.as_deref(), Some("gzip, br"));
}

#[tokio::test]
async fn a_post_sends_its_body_once_and_brings_any_status() {
    let server = ScriptedServer::start(|path, _| {
        match path {
        "/long" => Reply::ok("text/plain", &"x".repeat(100_000)),
        "/moved" => Reply::redirect("/"),
        _ => Reply::Raw(
            "HTTP/1.1 429 X\r\nRetry-After: 3\r\nContent-Length: 4\r\nConnection: close\r\n\r\nslow"
                .to_owned(),
        ),
    }
    })
    .await;
    let post = async |path: &str| {
        let url = server.url(path).replace("http://", "http://user:pw@");
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("a/b"))]);
        let body = Bytes::from_static(b"hello");
        client().post(&url, LONG, &headers, body).await.unwrap()
    };
    let answer = post("/").await;
    assert_eq!(
        (answer.status, answer.retry_after.as_deref()),
        (429, Some("3"))
    );
    assert_eq!(&answer.excerpt[..], b"slow");
    assert_eq!(post("/long").await.excerpt.len(), EXCERPT_BYTES_MAX);
    assert_eq!(post("/moved").await.status, 302);
    let requests = server.requests.lock().clone();
    assert_eq!(requests.len(), 3, "no redirect is followed");
    for request in requests {
        assert!(request.starts_with("POST /") && request.ends_with("\r\n\r\nhello"));
        let head = request.to_lowercase();
        assert!(head.contains("accept: a/b\r\n"), "{head}");
        assert!(
            head.contains("authorization: basic dxnlcjpwdw==\r\n"),
            "{head}"
        );
    }
    let refused = client()
        .post(
            "http://169.254.169.254/",
            LONG,
            &HeaderMap::new(),
            Bytes::new(),
        )
        .await;
    assert!(
        matches!(refused, Err(FetchError::Refused(_))),
        "{refused:?}"
    );
}
