//! The real binary as a server: started on a free port with a folder of its own, asked over real HTTP.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use longwatch::model::{Clock, SystemClock};
use serde_json::Value;
use tempfile::TempDir;

/// Nothing that is waited for takes this long unless it never comes.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);
/// Samples of this host are left out, longwatch's own come once, scrapes are committed at once, and the disk may be
/// nearly full.
pub(crate) const QUIET: &str = "[host]\nenabled = false\ninterval = \"24h\"\n\
    [storage]\nscrape_commit_delay = \"0s\"\ndisk_reserve = 0\n";

const LISTENING: &str = "listening on ";

/// How a command ended and what it said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Ran {
    /// Its output; it must have succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Vec<u8> {
        assert_eq!(self.status, Some(0), "{}", self.err);
        self.out
    }
}

/// `longwatch` with these arguments, free of this process's settings.
pub(crate) fn command(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longwatch"));
    command.args(arguments).current_dir(folder);
    // What a kill leaves behind goes away with the folder.
    command.env("TMPDIR", folder);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LONGWATCH_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end.
pub(crate) fn run(arguments: &[&str], folder: &Path) -> Ran {
    let output = command(arguments, folder).output().unwrap();
    Ran {
        status: output.status.code(),
        out: output.stdout,
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A client that asks the address itself, whatever proxy this machine has.
pub(crate) fn client_builder() -> reqwest::ClientBuilder {
    // Another test may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(DEADLINE)
}

/// Now, in unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    SystemClock.now().as_millis()
}

/// Waits for the next millisecond, so that what comes after is told apart from what was before.
pub(crate) async fn past(ms: i64) {
    eventually("the next millisecond", async || {
        (now_ms() > ms).then_some(())
    })
    .await;
}

/// Asks until there is an answer; fails with what was waited for.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(began.elapsed() < DEADLINE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        Self::try_of(request).await.unwrap()
    }

    pub(crate) async fn try_of(request: reqwest::RequestBuilder) -> reqwest::Result<Self> {
        let response = request.send().await?;
        Ok(Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await?.to_vec(),
        })
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|why| panic!("{} {why}: {}", self.status, self.text()))
    }

    /// The answer, which must have this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// The problem document, which must have this status and be one.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        for key in ["title", "detail"] {
            assert!(
                problem[key].as_str().is_some_and(|t| !t.is_empty()),
                "{problem}"
            );
        }
        problem
    }
}

/// A running server, its folder and how to start it again.
pub(crate) struct Server {
    folder: TempDir,
    arguments: Vec<String>,
    running: Option<Running>,
    pub(crate) client: reqwest::Client,
}

struct Running {
    child: Child,
    url: String,
    log: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    /// A server that does nothing of its own accord.
    pub(crate) fn start() -> Self {
        Self::with(QUIET, &[])
    }

    /// A server with a configuration file, on loopback.
    pub(crate) fn with(config: &str, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::within(folder, config, flags)
    }

    /// The same in a folder that holds what flags name; `--listen` among the flags replaces loopback.
    pub(crate) fn within(folder: TempDir, config: &str, flags: &[&str]) -> Self {
        std::fs::write(folder.path().join("longwatch.toml"), config).unwrap();
        let mut arguments = vec!["serve", "--config", "longwatch.toml", "--db", "live.redb"];
        if !flags.contains(&"--listen") {
            arguments.extend(["--listen", "127.0.0.1:0"]);
        }
        arguments.extend(flags);
        Self::command(folder, &arguments)
    }

    /// Any command that serves.
    pub(crate) fn command(folder: TempDir, arguments: &[&str]) -> Self {
        let mut server = Self {
            folder,
            arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
            running: None,
            client: client_builder().build().unwrap(),
        };
        server.restart();
        server
    }

    /// Starts it again on the same file; one that runs is killed before.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        self.running = Some(Running::start(command(&arguments, self.folder.path())));
    }

    /// Starts it again with other flags on the same file.
    pub(crate) fn with_flags(mut self, flags: &[&str]) -> Self {
        let own = ["serve", "--config", "longwatch.toml", "--db", "live.redb"];
        let all = own.iter().chain(&["--listen", "127.0.0.1:0"]).chain(flags);
        self.arguments = all.map(|a| (*a).to_owned()).collect();
        self.restart();
        self
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The database file.
    pub(crate) fn db(&self) -> PathBuf {
        self.folder.path().join("live.redb")
    }

    /// Runs a command in the server's folder.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run(arguments, self.folder.path())
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    /// The server's process.
    pub(crate) fn pid(&self) -> u32 {
        self.running().child.id()
    }

    /// The address of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running().url)
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.running().log.lock().unwrap().clone()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.client.get(self.url(path))).await
    }

    /// The answer to a question that has one.
    pub(crate) async fn get_json(&self, path: &str) -> Value {
        self.get(path).await.expect(200).json()
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        Answer::of(self.client.post(self.url(path)).body(body)).await
    }

    pub(crate) async fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.post(path, body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.client.delete(self.url(path))).await
    }

    /// Pushes metrics as an agent; the answer, which is a good one.
    pub(crate) async fn push(&self, agent: &str, metrics: &Value) -> Value {
        let body = serde_json::json!({ "metrics": metrics });
        let path = format!("/api/v1/agents/{agent}/metrics");
        self.post_json(&path, &body).await.expect(200).json()
    }

    /// Samples of the one series that the query chooses; none when there is no series.
    pub(crate) async fn samples(&self, query: &str) -> Vec<(i64, Value)> {
        let found = self.get_json(&format!("/api/v1/samples?{query}")).await;
        let series = found["series"].as_array().unwrap();
        assert!(series.len() <= 1, "{found}");
        let samples = series.first().and_then(|s| s["samples"].as_array());
        samples
            .into_iter()
            .flatten()
            .map(|s| (s[0].as_i64().unwrap(), s[1].clone()))
            .collect()
    }

    /// SIGKILL; no goodbye.
    pub(crate) fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            running.wait();
        }
    }

    /// SIGTERM; how it ended and everything it logged.
    pub(crate) fn terminate(&mut self) -> (ExitStatus, String) {
        let mut running = self.running.take().unwrap();
        let id = running.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(sent.success());
        let began = Instant::now();
        while running.child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < DEADLINE, "does not end on SIGTERM");
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = running.wait();
        let log = running.log.lock().unwrap().clone();
        (status, log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let (found, address) = mpsc::channel();
        let kept = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                *kept.lock().unwrap() += &(line.clone() + "\n");
                if let Some((_, url)) = line.split_once(LISTENING) {
                    let _ = found.send(url.trim().to_owned());
                }
            }
        });
        let mut running = Self {
            child,
            url: String::new(),
            log,
            reader: Some(reader),
        };
        if let Ok(url) = address.recv_timeout(DEADLINE) {
            // Every address of this machine is reached through loopback.
            running.url = url.replace("0.0.0.0", "127.0.0.1");
        } else {
            let _ = running.child.kill();
            running.wait();
            panic!("did not start: {}", running.log.lock().unwrap());
        }
        running
    }

    fn wait(&mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        status
    }
}
