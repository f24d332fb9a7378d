//! Targets that want to do harm: to the server, to others through it, to what others' series say.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    collections::BTreeMap,
    io::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{
    server::{QUIET, Server, eventually},
    target::Target,
};

/// A server that answers each path in a way of its own.
struct Hostile {
    address: String,
    /// Heads of requests.
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Hostile {
    /// `answers` gives what is written before the connection is left to `act`.
    async fn start(answers: BTreeMap<&'static str, Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (answers, heads) = (Arc::new(answers), Arc::new(Mutex::new(Vec::new())));
        let kept = Arc::clone(&heads);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, heads) = (Arc::clone(&answers), Arc::clone(&kept));
                // A client that goes away is what all this is about.
                tokio::spawn(async move { drop(serve(stream, &answers, &heads).await) });
            }
        });
        Self {
            address,
            heads,
            task,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a path answers.
enum Answer {
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// The first bytes, then the second over and over, with a rest in between.
    Endless(Vec<u8>, Vec<u8>, Duration),
    /// The bytes one by one, with a rest in between, then silence.
    Trickle(Vec<u8>, Duration),
}

async fn serve(
    mut stream: TcpStream,
    answers: &BTreeMap<&'static str, Answer>,
    heads: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    heads.lock().unwrap().push(head);
    match &answers[&*path] {
        Answer::Bytes(bytes) => stream.write_all(bytes).await?,
        Answer::Endless(first, then, rest) => {
            stream.write_all(first).await?;
            loop {
                stream.write_all(then).await?;
                tokio::time::sleep(*rest).await;
            }
        }
        Answer::Trickle(bytes, rest) => {
            for byte in bytes {
                stream.write_all(&[*byte]).await?;
                tokio::time::sleep(*rest).await;
            }
            std::future::pending::<()>().await;
        }
    }
    stream.shutdown().await
}

fn ok(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn with_length(headers: &str, body: &[u8]) -> Vec<u8> {
    ok(
        &format!("{headers}Content-Length: {}\r\n", body.len()),
        body,
    )
}

fn gzip(parts: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for part in parts {
        encoder.write_all(&part).unwrap();
    }
    encoder.finish().unwrap()
}

/// A megabyte of a comment.
fn mebibyte() -> Vec<u8> {
    vec![b'#'; 1 << 20]
}

/// Limits that a test reaches soon.
const LIMITS: &str = "[collect]\nbody_size_max = \"1MiB\"\ndecompressed_size_max = \"4MiB\"\nscrape_timeout = \"400ms\"\n";

/// What each path does, and what its agent's error must say.
fn attacks() -> Vec<(&'static str, Answer, &'static str)> {
    const TIME: &str = "timed out after 400ms";
    const LARGE: &str = "the body is over the limit of 1048576 bytes";
    const INFLATED: &str = "the body is larger than 4194304 bytes when decompressed";
    let at_once = Duration::ZERO;
    let slowly = Duration::from_millis(10);
    let chunk = [b"10000\r\n".to_vec(), vec![b'#'; 0x10000], b"\r\n".to_vec()].concat();
    let blanks = |n| std::iter::repeat_with(mebibyte).take(n);
    let bomb = gzip(blanks(64));
    let members = gzip(blanks(1)).repeat(64);
    let nested = gzip([bomb.clone()]);
    let encoded = |body: &[u8]| Answer::Bytes(with_length("Content-Encoding: gzip\r\n", body));
    let many_headers = "x: y\r\n".repeat(500);
    vec![
        (
            "/endless-body",
            Answer::Endless(ok("", b""), mebibyte(), at_once),
            LARGE,
        ),
        (
            "/endless-chunks",
            Answer::Endless(ok("Transfer-Encoding: chunked\r\n", b""), chunk, at_once),
            LARGE,
        ),
        (
            "/slow-body",
            Answer::Endless(ok("", b"m 1\n"), b"#".to_vec(), slowly),
            TIME,
        ),
        (
            "/slow-chunks",
            Answer::Endless(
                ok("Transfer-Encoding: chunked\r\n", b""),
                b"1\r\n#\r\n".to_vec(),
                slowly,
            ),
            TIME,
        ),
        (
            "/slow-head",
            Answer::Trickle(b"HTTP/1.1 200 OK\r\nx: ".repeat(50), slowly),
            TIME,
        ),
        ("/silence", Answer::Trickle(Vec::new(), slowly), TIME),
        (
            "/endless-head",
            Answer::Endless(
                b"HTTP/1.1 200 OK\r\n".to_vec(),
                b"x: yyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(1_000),
                at_once,
            ),
            "head",
        ),
        (
            "/long-header",
            Answer::Endless(b"HTTP/1.1 200 OK\r\nx: ".to_vec(), mebibyte(), at_once),
            "head",
        ),
        (
            "/many-headers",
            Answer::Bytes(with_length(&many_headers, b"m 1\n")),
            "head",
        ),
        (
            "/interim",
            Answer::Endless(
                Vec::new(),
                b"HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n".repeat(100),
                at_once,
            ),
            "",
        ),
        (
            "/trailers",
            Answer::Endless(
                ok("Transfer-Encoding: chunked\r\n", b"4\r\nm 1\n\r\n0\r\n"),
                b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(1_000),
                at_once,
            ),
            "",
        ),
        (
            "/upgrade",
            Answer::Bytes(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
                    .to_vec(),
            ),
            "101",
        ),
        (
            "/huge",
            Answer::Bytes(with_length("", &[mebibyte(), mebibyte()].concat())),
            LARGE,
        ),
        (
            "/announced",
            Answer::Bytes(ok("Content-Length: 99999999999999\r\n", b"m 1\n")),
            LARGE,
        ),
        (
            "/short",
            Answer::Bytes(ok("Content-Length: 100\r\n", b"m 1\n")),
            "end of file before message length reached",
        ),
        (
            "/two-lengths",
            Answer::Bytes(ok("Content-Length: 4\r\nContent-Length: 5\r\n", b"m 1\nn")),
            "",
        ),
        (
            "/no-chunk",
            Answer::Bytes(ok(
                "Transfer-Encoding: chunked\r\n",
                b"zz\r\nm 1\n\r\n0\r\n\r\n",
            )),
            "chunk",
        ),
        ("/bomb", encoded(&bomb), INFLATED),
        ("/members", encoded(&members), INFLATED),
        ("/nested", encoded(&nested), "line 1"),
        (
            "/nested-told",
            Answer::Bytes(with_length("Content-Encoding: gzip, gzip\r\n", &nested)),
            "gzip, gzip",
        ),
        (
            "/nested-twice",
            Answer::Bytes(with_length(
                "Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n",
                &nested,
            )),
            "gzip, gzip",
        ),
        ("/no-gzip", encoded(b"m 1\n"), "the gzip body is damaged"),
        (
            "/cut-gzip",
            encoded(&bomb[..1_000]),
            "the gzip body is damaged",
        ),
        (
            "/loop",
            Answer::Bytes(redirect("/loop", "")),
            "redirected more than 3 times",
        ),
    ]
}

fn redirect(location: &str, more: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\n{more}Content-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
}

/// Highest resident memory of the server so far, in bytes.
fn peak_memory(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib << 10
}

async fn register(server: &Server, agent: &str, url: &str) {
    let body =
        json!({"agent_id": agent, "metrics_endpoint": url, "collection_interval_seconds": 1});
    server.post_json("/api/v1/agents", &body).await.expect(201);
}

fn path_of(agent: &str) -> String {
    format!("/api/v1/agents/{}", agent.replace('/', "%2F"))
}

async fn last_error(server: &Server, agent: &str) -> String {
    eventually(&format!("an error of {agent}"), async || {
        let shown = server.get_json(&path_of(agent)).await;
        shown["last_error"].as_str().map(str::to_owned)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_answer_badly_is_bounded() {
    let server = Server::with(&format!("{QUIET}{LIMITS}"), &[]);
    let good = Target::start("text/plain", "m 1\n").await;
    register(&server, "good", good.url()).await;
    let mut answers = BTreeMap::new();
    let mut expected = Vec::new();
    for (path, answer, error) in attacks() {
        answers.insert(path, answer);
        expected.push((path, error));
    }
    let hostile = Hostile::start(answers).await;
    let before = peak_memory(&server);
    for (path, _) in &expected {
        register(&server, path, &hostile.url(path)).await;
    }
    let mut wrong = Vec::new();
    for (path, word) in &expected {
        let error = last_error(&server, path).await;
        if !error.contains(word) || error.len() > 400 {
            wrong.push(format!("{path}: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Again and again.
    for (path, _) in &expected {
        let up = format!("agent_id={}&metric_name=up", path.replace('/', "%2F"));
        eventually("further rounds", async || {
            (server.samples(&up).await.len() >= 4).then_some(())
        })
        .await;
    }
    let grown = peak_memory(&server).saturating_sub(before);
    assert!(grown < 64 << 20, "memory grew by {grown} bytes");
    // Nobody else came to harm, and nothing of all that was stored.
    let up = server.samples("agent_id=good&metric_name=up").await;
    assert!(up.iter().all(|(_, v)| *v == 1.0), "{up:?}");
    let found = server.get_json("/api/v1/series?metric_name=m").await;
    let agents: Vec<_> = found["series"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["agent_id"])
        .collect();
    assert_eq!(agents, ["good"]);
}

/// More bytes than were announced are no part of the body.
#[tokio::test]
async fn what_follows_the_announced_length_is_not_read() {
    let server = Server::with(&format!("{QUIET}{LIMITS}"), &[]);
    let body = b"m 1\nsmuggled 1\nHTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nsmuggled 2\n";
    let answer = Answer::Bytes(ok("Content-Length: 4\r\n", body));
    let hostile = Hostile::start(BTreeMap::from([("/m", answer)])).await;
    register(&server, "a", &hostile.url("/m")).await;
    eventually("scrapes", async || {
        (server.samples("agent_id=a&metric_name=m").await.len() > 2).then_some(())
    })
    .await;
    let found = server.get_json("/api/v1/series?metric_name=smuggled").await;
    assert_eq!(found["series"], json!([]));
    let up = server.samples("agent_id=a&metric_name=up").await;
    assert!(up.iter().all(|(_, v)| *v == 1.0), "{up:?}");
}

#[tokio::test]
async fn credentials_go_to_nobody_else() {
    let other = Target::start("text/plain", "m 1\n").await;
    let catching = Hostile::start(BTreeMap::from([(
        "/caught",
        Answer::Bytes(redirect(other.url(), "Set-Cookie: b=2\r\n")),
    )]))
    .await;
    let away = catching
        .url("/caught")
        .replace("http://", "http://planted:word@");
    let hostile = Hostile::start(BTreeMap::from([
        (
            "/m",
            Answer::Bytes(redirect("/again", "Set-Cookie: a=1; Path=/\r\n")),
        ),
        ("/again", Answer::Bytes(redirect(&away, ""))),
    ]))
    .await;
    let url = hostile.url("/m").replace("http://", "http://user:hunter2@");
    let config = format!(
        "{QUIET}[[agents]]\nagent_id = \"a\"\nmetrics_endpoint = \"{url}\"\nhealth_endpoint = \"{url}\"\ncollection_interval = \"500ms\"\n"
    );
    let server = Server::with(&config, &[]);
    for metric in ["m", "health_probe_up"] {
        eventually(metric, async || {
            let query = format!("agent_id=a&metric_name={metric}");
            (server.samples(&query).await.len() > 1).then_some(())
        })
        .await;
    }
    let lower = |hostile: &Hostile| hostile.heads().join("\n").to_lowercase();
    let (own, caught) = (lower(&hostile), lower(&catching));
    // user:hunter2
    assert!(
        own.contains("authorization: basic dxnlcjpodw50zxiy"),
        "{own}"
    );
    assert!(caught.contains("get /caught "), "{caught}");
    for secret in [
        "authorization",
        "cookie",
        "referer",
        "dxnlcjpodw50zxiy",
        "hunter2",
        "planted",
    ] {
        assert!(!caught.contains(secret), "{secret} in {caught}");
    }
    assert!(!own.contains("cookie"), "{own}");
    let shown = server.get_json("/api/v1/agents/a").await.to_string();
    assert!(
        !shown.contains("hunter2") && !server.log().contains("hunter2"),
        "{shown}"
    );
}

#[tokio::test]
async fn metadata_services_are_out_of_reach() {
    let addresses = [
        ("/plain", "http://169.254.169.254/latest/meta-data"),
        ("/decimal", "http://2852039166/"),
        ("/hex", "http://0xa9.0xfea9fe/"),
        ("/mapped", "http://[::ffff:169.254.169.254]/"),
        ("/nat64", "http://[64:ff9b::a9fe:a9fe]/"),
        ("/local-nat64", "http://[64:ff9b:1::a9fe:a9fe]/"),
        ("/6to4", "http://[2002:a9fe:a9fe::1]/"),
        ("/link-local", "http://[fe80::1]/"),
        ("/any", "http://0.0.0.0:1/"),
    ];
    let answers = addresses.map(|(path, to)| (path, Answer::Bytes(redirect(to, ""))));
    let hostile = Hostile::start(BTreeMap::from(answers)).await;
    let server = Server::with(&format!("{QUIET}{LIMITS}"), &[]);
    for (path, to) in addresses {
        register(&server, path, &hostile.url(path)).await;
        register(&server, &format!("direct{path}"), to).await;
    }
    for (path, _) in addresses {
        for agent in [path.to_owned(), format!("direct{path}")] {
            let error = last_error(&server, &agent).await;
            assert!(error.contains(": refused"), "{agent}: {error}");
        }
    }
}

#[tokio::test]
async fn nobody_speaks_for_another() {
    let text = "m{agent_id=\"victim\",job=\"j\",instance=\"i\",exported_job=\"e\"} 1\nup 0\nup{job=\"x\"} 0\nprocess_up 0\n";
    let target = Target::start("text/plain", text).await;
    let config = format!(
        "{QUIET}[[agents]]\nagent_id = \"trusted\"\nhonor_labels = true\nmetrics_endpoint = \"{}\"\n",
        target.url()
    );
    let server = Server::with(&config, &[]);
    server
        .push("victim", &json!([{"name": "own", "value": 1}]))
        .await;
    register(&server, "liar", target.url()).await;
    let labels = async |agent: &str, metric: &str| -> Vec<Value> {
        let path = format!("/api/v1/series?agent_id={agent}&metric_name={metric}");
        let found = server.get_json(&path).await;
        let series = found["series"].as_array().unwrap().iter();
        series.map(|s| s["labels"].clone()).collect()
    };
    for agent in ["liar", "trusted"] {
        eventually("a scrape", async || {
            (!labels(agent, "m").await.is_empty()).then_some(())
        })
        .await;
    }
    assert_eq!(
        labels("liar", "m").await,
        [
            json!({"exported_agent_id": "victim", "exported_instance": "i", "exported_job": "e", "exported_exported_job": "j"})
        ]
    );
    assert_eq!(
        labels("trusted", "m").await,
        [json!({"agent_id": "victim", "job": "j", "instance": "i", "exported_job": "e"})]
    );
    assert_eq!(
        labels("liar", "up").await,
        [json!({}), json!({"exported_job": "x"})]
    );
    assert!(labels("liar", "process_up").await.is_empty());
    let up = server
        .samples("agent_id=liar&metric_name=up&label.exported_job=")
        .await;
    assert!(up.iter().all(|(_, v)| *v == 1.0), "{up:?}");
    assert!(labels("victim", "m").await.is_empty());
    let victim = server.get_json("/api/v1/agents/victim").await;
    assert_eq!(victim["status"], "active");
}
