//! The real binary: exit status, places of mistakes, what it prints where.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
    thread::JoinHandle,
};

const NONE: [(&str, &str); 0] = [];

fn command(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longwatch"));
    command.args(arguments).current_dir(folder);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LONGWATCH_") {
            command.env_remove(name);
        }
    }
    command
}

/// What a run said and how it ended.
struct Ran {
    status: i32,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn run_with(arguments: &[&str], folder: &Path, env: &[(&str, &str)]) -> Ran {
    let env = env.iter().copied();
    command(arguments, folder)
        .envs(env)
        .output()
        .unwrap()
        .into()
}

fn run(arguments: &[&str], folder: &Path) -> Ran {
    run_with(arguments, folder, &NONE)
}

/// One line on stderr that says why, and nothing on stdout.
fn assert_refused(ran: &Ran, status: i32, reason: &str) {
    assert_eq!(ran.status, status, "{}", ran.err);
    assert_eq!(ran.out, "");
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    assert!(ran.err.starts_with("longwatch: error: "), "{}", ran.err);
    assert!(ran.err.contains(reason), "{}", ran.err);
}

#[test]
fn help_is_not_an_error_and_no_command_is() {
    let folder = tempfile::tempdir().unwrap();
    let help = run(&["--help"], folder.path());
    assert_eq!((help.status, help.err.as_str()), (0, ""));
    for name in [
        "serve",
        "demo",
        "report",
        "check",
        "agents",
        "db",
        "completions",
        "man",
    ] {
        assert!(help.out.contains(&format!("\n  {name} ")), "{name}");
        let own = run(&[name, "--help"], folder.path());
        assert_eq!(own.status, 0, "{name}");
        assert!(
            own.out.contains("Example") && !own.out.contains('\u{1b}'),
            "{name}"
        );
    }
    let version = run(&["--version"], folder.path());
    assert_eq!(
        version.out,
        concat!("longwatch ", env!("CARGO_PKG_VERSION"), "\n")
    );
    let nothing = run(&[], folder.path());
    assert_eq!(nothing.status, 2);
    assert!(nothing.out.is_empty() && nothing.err.contains("Usage: longwatch"));
}

#[test]
fn wrong_usage_is_2() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["serve", "--colour"][..],
        &["frobnicate"],
        &["report"],
        &["report", "--db", "a", "--url", "http://b"],
        &["report", "--db", "a", "--window", "1h", "--from", "-1h"],
        &["report", "--db", "a", "--format", "pdf"],
        &["report", "--db", "a", "--window", "a while"],
        &["report", "--url", "ftp://a"],
        &["agents", "add", ".."],
        &["agents", "add", "a", "--interval", "soon"],
        &["agents", "list", "--token-file", "missing"],
        &["db", "info"],
        &["db", "info", "a", "--db", "b"],
        &["db", "snapshot", "--db", "a"],
        &["demo", "--agents", "0"],
        &["completions", "cobol"],
    ] {
        let ran = run(arguments, folder.path());
        assert_eq!(ran.status, 2, "{arguments:?}: {}", ran.err);
        assert!(
            ran.err.starts_with("longwatch: error: "),
            "{arguments:?}: {}",
            ran.err
        );
        assert_eq!(ran.out, "", "{arguments:?}");
    }
}

#[test]
fn check_config_says_where_the_mistakes_are() {
    let folder = tempfile::tempdir().unwrap();
    let check = |text: &str, more: &[&str]| {
        fs::write(folder.path().join("c.toml"), text).unwrap();
        run(
            &[&["check", "config", "c.toml"], more].concat(),
            folder.path(),
        )
    };
    let good = check("[collect]\ninterval = '5s'\n", &[]);
    assert_eq!(
        (good.status, good.out.as_str(), good.err.as_str()),
        (0, "c.toml: ok\n", "")
    );

    let bad = "[collect]\ninterval = '0s'\nintervall = '5s'\n";
    let ran = check(bad, &[]);
    assert_eq!((ran.status, ran.out.as_str()), (1, ""));
    assert_eq!(
        ran.err.lines().collect::<Vec<_>>(),
        [
            "c.toml:2:12: collect.interval: must be between 100ms and 7d, not 0s",
            "c.toml:3:1: collect.intervall: unknown key; did you mean `interval`?",
            "longwatch: error: c.toml: 2 errors",
        ]
    );
    let ran = check(bad, &["--format", "json"]);
    assert_eq!((ran.status, ran.err.as_str()), (1, ""));
    let answer: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(answer["valid"], false);
    assert_eq!(answer["errors"][1]["line"], 3);
    assert_eq!(answer["errors"][0]["column"], 12);
    assert_eq!(answer["errors"][0]["key"], "collect.interval");

    // The file alone is judged, whatever the environment says.
    fs::write(folder.path().join("c.toml"), "").unwrap();
    let env = [("LONGWATCH_COLLECT_INTERVAL", "never")];
    let ran = run_with(&["check", "config", "c.toml"], folder.path(), &env);
    assert_eq!(ran.status, 0, "{}", ran.err);
    let missing = run(&["check", "config", "d.toml"], folder.path());
    assert_refused(&missing, 2, "d.toml: no such file");
}

#[test]
fn the_packaged_example_is_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ran = run(&["check", "config", "packaging/longwatch.toml"], root);
    assert_eq!(ran.status, 0, "{}", ran.err);
}

#[test]
fn serve_refuses_a_bad_configuration_before_it_touches_anything() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("c.toml"), "[http]\nlisten = 7\n").unwrap();
    let ran = run(&["serve", "--config", "c.toml"], folder.path());
    assert_refused(
        &ran,
        2,
        "c.toml:2:10: http.listen: expected IP address and port, found an integer",
    );
    let env = [("LONGWATCH_CONFIG", "c.toml")];
    let ran = run_with(&["serve"], folder.path(), &env);
    assert_refused(&ran, 2, "c.toml:2:10");
    let ran = run(&["serve", "--config", "missing.toml"], folder.path());
    assert_refused(&ran, 2, "missing.toml: no such file");
    let ran = run(&["serve", "--retention", "forever"], folder.path());
    assert_refused(&ran, 2, "--retention: `forever` is not a duration");
    let ran = run(&["serve", "--listen", "0.0.0.0:0"], folder.path());
    assert_refused(&ran, 2, "--listen: 0.0.0.0:0 is reachable from other hosts");
    let env = [("LONGWATCH_LOG_LEVEL", "loud")];
    let ran = run_with(&["serve"], folder.path(), &env);
    assert_refused(&ran, 2, "environment variable LONGWATCH_LOG_LEVEL");
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(files.len(), 1, "{files:?}");
}

#[test]
fn files_that_are_no_database_are_3() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("foreign.redb"), "a letter to a friend").unwrap();
    for command in [
        &["db", "info"][..],
        &["db", "verify"],
        &["db", "snapshot", "--out", "copy.redb"],
        &["report"],
    ] {
        for (file, reason) in [
            ("missing.redb", "no such file"),
            ("foreign.redb", "not a longwatch file"),
        ] {
            let ran = run(&[command, &["--db", file]].concat(), folder.path());
            assert_refused(&ran, 3, &format!("{file}: {reason}"));
        }
    }
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["foreign.redb"]);
    let text = fs::read_to_string(folder.path().join("foreign.redb")).unwrap();
    assert_eq!(text, "a letter to a friend");
}

#[test]
fn completions_for_every_shell() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run(&["completions", shell], folder.path());
        assert_eq!(ran.status, 0, "{}", ran.err);
        assert!(ran.out.contains("retention"), "{shell}");
    }
}

#[test]
fn man_pages_know_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run(&["man"], folder.path());
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(ran.out.contains(".TH longwatch 1"));
    assert!(ran.out.contains("\\fBLONGWATCH_COLLECT_INTERVAL\\fR"));
    let ran = run(&["man", "--dir", "."], folder.path());
    assert_eq!((ran.status, ran.out.as_str()), (0, ""), "{}", ran.err);
    for page in [
        "longwatch.1",
        "longwatch-serve.1",
        "longwatch-db-snapshot.1",
    ] {
        assert!(folder.path().join(page).exists(), "{page}");
    }
    let main = fs::read_to_string(folder.path().join("longwatch.1")).unwrap();
    assert!(main.contains(".SH ENVIRONMENT"));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = command(&["man"], folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Closed before the first byte can be read, so that writing to it must fail.
    drop(child.stdout.take());
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
}

/// A server that answers one request, and tells what it was.
fn answer_once(response: &'static str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let told = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut request = String::new();
        let mut length = 0;
        while !request.ends_with("\r\n\r\n") {
            let before = request.len();
            reader.read_line(&mut request).unwrap();
            let line = request[before..].to_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        stream.write_all(response.as_bytes()).unwrap();
        request + &String::from_utf8(body).unwrap()
    });
    (url, told)
}

#[test]
fn agents_talk_to_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let (url, told) = answer_once(
        "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
    );
    let add = [
        "agents",
        "add",
        "a/b",
        "--metrics-endpoint",
        "http://h/metrics",
        "--interval",
        "1500ms",
        "--label",
        "job=x",
        "--info",
        "{\"k\":1}",
        "--url",
        &url,
    ];
    let ran = run_with(&add, folder.path(), &[("LONGWATCH_TOKEN", "s3cret")]);
    assert_eq!(
        (ran.status, ran.out.as_str()),
        (0, "agent a/b registered\n"),
        "{}",
        ran.err
    );
    let request = told.join().unwrap();
    assert!(
        request.starts_with("POST /api/v1/agents HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains("authorization: Bearer s3cret\r\n"),
        "{request}"
    );
    let body: serde_json::Value =
        serde_json::from_str(request.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(
        body,
        serde_json::json!({"agent_id": "a/b", "metrics_endpoint": "http://h/metrics",
            "collection_interval_seconds": 1.5, "labels": {"job": "x"}, "info": {"k": 1}})
    );

    let (url, told) = answer_once(
        "HTTP/1.1 404 Not Found\r\ncontent-type: application/problem+json\r\nconnection: close\r\n\r\n\
        {\"title\":\"Not Found\",\"detail\":\"no agent `a/b`\"}",
    );
    let ran = run(&["agents", "remove", "a/b", "--url", &url], folder.path());
    assert_refused(
        &ran,
        1,
        &format!("{url}: answered 404 Not Found: no agent `a/b`"),
    );
    assert!(
        told.join()
            .unwrap()
            .starts_with("DELETE /api/v1/agents/a%2Fb HTTP/1.1\r\n")
    );

    let (url, told) = answer_once(
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"agents\":[{\"agent_id\":\"a\",\"status\":\"active\"}]}",
    );
    let ran = run(&["agents", "list", "--url", &url], folder.path());
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(
        ran.out.contains("active") && !ran.out.contains('\u{1b}'),
        "{}",
        ran.out
    );
    told.join().unwrap();

    // Nobody listens where a listener was just dropped.
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://user:hunter2@{gone}");
    let ran = run(&["agents", "list", "--url", &url], folder.path());
    assert_refused(&ran, 1, &format!("http://{gone}: cannot be reached: "));
    assert!(!ran.err.contains("hunter2"), "{}", ran.err);
}

#[test]
fn reports_of_a_server_come_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let response = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\n{\"r\": 1}";
    let (url, told) = answer_once(response);
    let out = [
        "report", "--url", &url, "--to", "-1h", "--agent", "a b", "--out", "r.json",
    ];
    let ran = run(&out, folder.path());
    assert_eq!((ran.status, ran.out.as_str()), (0, ""), "{}", ran.err);
    assert_eq!(
        fs::read(folder.path().join("r.json")).unwrap(),
        b"{\"r\": 1}"
    );
    let request = told.join().unwrap();
    let expected =
        "GET /api/v1/reports/performance?format=json&window=24h&to=-1h&agent_id=a+b HTTP/1.1";
    assert_eq!(request.lines().next(), Some(expected));

    let (url, told) = answer_once(response);
    let ran = run(
        &[
            "report", "--url", &url, "--from", "-2h", "--to", "-1h", "--format", "json",
        ],
        folder.path(),
    );
    assert_eq!(
        (ran.status, ran.out.as_str()),
        (0, "{\"r\": 1}"),
        "{}",
        ran.err
    );
    let request = told.join().unwrap();
    assert!(
        request.contains("?format=json&from=-2h&to=-1h HTTP"),
        "{request}"
    );
}

#[test]
fn a_snapshot_is_whole_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let names = || -> Vec<_> {
        fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect()
    };
    let (url, told) = answer_once(
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\nconnection: close\r\n\r\nonly a part",
    );
    let ran = run(
        &["db", "snapshot", "--url", &url, "--out", "copy.redb"],
        folder.path(),
    );
    assert_eq!(ran.status, 1, "{}", ran.err);
    assert!(names().is_empty(), "{:?}", names());
    told.join().unwrap();

    let whole = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nwhole";
    let (url, told) = answer_once(whole);
    let ran = run(
        &["db", "snapshot", "--url", &url, "--out", "copy.redb"],
        folder.path(),
    );
    assert_eq!(
        (ran.status, ran.out.as_str()),
        (0, "copy.redb: 5 bytes (5.0 B)\n"),
        "{}",
        ran.err
    );
    assert_eq!(fs::read(folder.path().join("copy.redb")).unwrap(), b"whole");
    assert!(
        told.join()
            .unwrap()
            .starts_with("GET /api/v1/admin/snapshot HTTP")
    );

    let ran = run(
        &["db", "snapshot", "--url", &url, "--out", "copy.redb"],
        folder.path(),
    );
    assert_refused(&ran, 2, "copy.redb: exists already; --force replaces it");
    let ran = run(
        &["db", "snapshot", "--db", "copy.redb", "--out", "copy.redb"],
        folder.path(),
    );
    assert_refused(&ran, 2, "copy.redb: exists already");
    let (url, told) = answer_once(whole);
    let ran = run(
        &[
            "db",
            "snapshot",
            "--force",
            "--url",
            &url,
            "--out",
            "copy.redb",
        ],
        folder.path(),
    );
    assert_eq!(ran.status, 0, "{}", ran.err);
    told.join().unwrap();
    assert_eq!(names(), ["copy.redb"]);
}
