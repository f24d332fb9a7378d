//! A running server, asked over HTTP.

use std::{
    fs::File,
    io::Read,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use reqwest::{RequestBuilder, Response, header::HeaderValue};
use serde_json::Value;
use url::{Host, Url};

use super::{
    command::usage,
    failure::{Failure, Status, with_causes},
};

/// Longest answer that is kept in memory, in bytes: 100,000 agents with much to say.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Longest explanation of an error that is read, in bytes.
const PROBLEM_BYTES_MAX: usize = 64 << 10;
/// Longest token file, in bytes.
const TOKEN_BYTES_MAX: u64 = 4 << 10;
/// A server that says nothing for so long is given up. It prepares a snapshot of 10 GB in about 80 s
/// before it sends the first byte.
const SILENCE_MAX: Duration = Duration::from_mins(10);

/// Variable that holds a token.
const TOKEN_VARIABLE: &str = "LONGWATCH_TOKEN";

/// Where the token comes from.
#[derive(Clone, Debug, Args)]
pub(super) struct TokenArgs {
    /// File that holds the token to send, and nothing else [env: LONGWATCH_TOKEN holds a token itself]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Which server, and as whom.
#[derive(Clone, Debug, Args)]
pub(super) struct ServerArgs {
    /// The server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7464")]
    url: String,
    #[command(flatten)]
    token: TokenArgs,
}

impl ServerArgs {
    /// The server that the arguments name.
    pub(super) fn connect(&self) -> Result<Server, Failure> {
        Server::new(&self.url, &self.token)
    }
}

/// A server and the token for it.
pub(super) struct Server {
    base: Url,
    token: Option<HeaderValue>,
    client: reqwest::Client,
}

impl Server {
    /// A server by its URL; nothing is sent yet.
    pub(super) fn new(url: &str, token: &TokenArgs) -> Result<Self, Failure> {
        let base = Url::parse(url).map_err(|e| {
            usage(format!(
                "--url: not a URL ({e}); give one such as http://127.0.0.1:7464"
            ))
        })?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(usage("--url: must begin with http:// or https://"));
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("longwatch/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(SILENCE_MAX)
            // A redirect could carry the token elsewhere.
            .redirect(reqwest::redirect::Policy::none());
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        let client = builder
            .build()
            .map_err(|e| Failure::new(Status::NotHeld, with_causes(&e)))?;
        Ok(Self {
            base,
            token: read_token(token)?,
            client,
        })
    }

    /// URL of a path below the server's; every segment is percent-encoded.
    pub(super) fn at(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        // Only URLs such as `mailto:` have no segments.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url.set_query(None);
        url.set_fragment(None);
        url
    }

    /// A client for requests to [`Self::at`].
    pub(super) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Sends a request with the token; an answer that is no success becomes a failure that says why.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let answer = self.answer(request).await?;
        self.checked(answer).await
    }

    /// The answer to a request with the token, whatever it says.
    pub(super) async fn answer(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let request = match &self.token {
            Some(token) => request.header(reqwest::header::AUTHORIZATION, token.clone()),
            None => request,
        };
        request.send().await.map_err(|e| self.broken(e))
    }

    /// An answer that is a success; else a failure that says why.
    pub(super) async fn checked(&self, answer: Response) -> Result<Response, Failure> {
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body = self
            .read(answer, PROBLEM_BYTES_MAX)
            .await
            .unwrap_or_default();
        let reason = problem(&body).unwrap_or_else(|| "no reason was given".to_owned());
        Err(self.failure(&format!("answered {status}: {reason}")))
    }

    /// The body of an answer.
    pub(super) async fn body(&self, answer: Response) -> Result<Vec<u8>, Failure> {
        self.read(answer, ANSWER_BYTES_MAX).await
    }

    async fn read(&self, mut answer: Response, bytes_max: usize) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| self.broken(e))? {
            if body.len() + chunk.len() > bytes_max {
                return Err(self.failure(&format!("answered more than {bytes_max} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// A failure of the connection.
    pub(super) fn broken(&self, error: reqwest::Error) -> Failure {
        let said_it = error.is_connect();
        let text = with_causes(&error.without_url());
        self.failure(&if said_it {
            format!("cannot be reached: {text}")
        } else {
            text
        })
    }

    fn failure(&self, reason: &str) -> Failure {
        Failure::new(Status::NotHeld, format!("{}: {reason}", shown(&self.base)))
    }
}

/// Runs a conversation with a server to its end.
pub(super) fn converse<T>(talk: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Status::NotHeld, e.to_string()))?
        .block_on(talk)
}

/// The URL without user and password.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Fails only for URLs without a host, which carry neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.as_str().trim_end_matches('/').to_owned()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).to_canonical().is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// The `Authorization` header: from the file, else from the variable, else none.
fn read_token(args: &TokenArgs) -> Result<Option<HeaderValue>, Failure> {
    let (text, whence) = if let Some(path) = &args.token_file {
        (token_of_file(path)?, path.display().to_string())
    } else {
        match std::env::var(TOKEN_VARIABLE) {
            Ok(text) => (text, TOKEN_VARIABLE.to_owned()),
            Err(std::env::VarError::NotPresent) => return Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err(usage(format!("{TOKEN_VARIABLE}: not UTF-8")));
            }
        }
    };
    let token = text.trim();
    if token.is_empty() {
        return Err(usage(format!("{whence}: holds no token")));
    }
    let mut header = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
        usage(format!(
            "{whence}: a token is one line of printable characters"
        ))
    })?;
    header.set_sensitive(true);
    Ok(Some(header))
}

fn token_of_file(path: &Path) -> Result<String, Failure> {
    let wrong = |why: String| usage(format!("{}: {why}", path.display()));
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(TOKEN_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|e| wrong(e.to_string()))?;
    if text.len() as u64 > TOKEN_BYTES_MAX {
        return Err(wrong("too long for a token".to_owned()));
    }
    Ok(text)
}

/// What an `application/problem+json` document says (RFC 9457), with its `errors`.
fn problem(body: &[u8]) -> Option<String> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let text = |key: &str| document.get(key).and_then(Value::as_str);
    let said = text("detail").or_else(|| text("title"));
    // As Prometheus tells it.
    let mut said = said.or_else(|| text("error"))?.to_owned();
    let errors = document.get("errors").and_then(Value::as_array);
    for error in errors.into_iter().flatten() {
        let part = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
        said = format!("{said}; {}: {}", part("pointer"), part("detail"));
    }
    Some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Server {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Server::new(url, &TokenArgs { token_file: None }).unwrap()
    }

    #[test]
    fn paths_are_encoded_below_the_base() {
        let url = server("https://h:1/monitor/?x=1").at(&["api", "v1", "agents", "a/b %ä"]);
        assert_eq!(
            url.as_str(),
            "https://h:1/monitor/api/v1/agents/a%2Fb%20%25%C3%A4"
        );
        let url = server("http://h").at(&["healthz"]);
        assert_eq!(url.as_str(), "http://h/healthz");
    }

    #[test]
    fn user_and_password_are_not_shown() {
        let url = Url::parse("http://user:hunter2@h:7464/x/").unwrap();
        assert_eq!(shown(&url), "http://h:7464/x");
    }

    #[test]
    fn problems_say_their_details() {
        let body = br##"{"title":"Bad input","status":422,"detail":"2 faults",
            "errors":[{"pointer":"#/pid","detail":"must be a number"}]}"##;
        assert_eq!(
            problem(body).as_deref(),
            Some("2 faults; #/pid: must be a number")
        );
        assert_eq!(problem(br#"{"title":"Gone"}"#).as_deref(), Some("Gone"));
        assert_eq!(problem(b"<html>"), None);
    }

    #[test]
    fn tokens_are_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_token(&TokenArgs {
                token_file: Some(path.clone()),
            })
        };
        assert_eq!(read("abc\n").unwrap().unwrap(), "Bearer abc");
        for text in ["", "\n", "a\nb", &"x".repeat(5_000)] {
            assert_eq!(read(text).unwrap_err().status(), Status::Usage);
        }
    }
}
