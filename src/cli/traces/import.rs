//! `longwatch traces import`

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;

use crate::{
    cli::{
        failure::{Failure, Status},
        output,
        server::{Server, TokenArgs, converse},
    },
    ingest::{
        BodyError, Received, SpanLimits, parse_jaeger_json, parse_otlp_json, parse_otlp_protobuf,
        resolve_agents,
    },
    model::{DAY_MS, PriceTable, Span, SystemClock, Timestamp, price},
    store::{self, SpanAppend, SpanChange, Store},
    telemetry::OwnMetrics,
};

/// Bytes of a file.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Spans of one request or commit.
const SPANS_AT_ONCE: usize = 5_000;

/// Take traces in from files: OpenTelemetry's JSON or protobuf, or the JSON of Jaeger's query API.
///
/// With --db the spans are written into the file, which no server may have open.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  longwatch traces import trace.json\n  longwatch traces import --db longwatch.redb jaeger-*.json"
)]
pub(in crate::cli) struct Import {
    /// Files to read; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Database file to write into, in place of a server
    #[arg(long, value_name = "DB", conflicts_with = "url")]
    db: Option<PathBuf>,
    /// The server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7464")]
    url: String,
    #[command(flatten)]
    token: TokenArgs,
}

impl Import {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let mut spans = Vec::new();
        let mut rejected = 0;
        for file in &self.files {
            let received = read(file)?;
            let message = received.message();
            if !message.is_empty() {
                output::tell(&format!("{}: {message}", file.display()));
            }
            rejected += received.rejected;
            spans.extend(received.spans);
        }
        let read = spans.len();
        rejected += match &self.db {
            Some(db) => into_file(db, spans)?,
            None => converse(self.send(&spans))?,
        };
        let taken = read.saturating_sub(rejected);
        output::print(format!("{taken} spans taken in, {rejected} refused\n").as_bytes())?;
        if rejected > 0 {
            let reason = format!("{rejected} spans were refused");
            return Err(Failure::new(Status::NotHeld, reason));
        }
        Ok(())
    }

    /// Sends spans; returns how many were refused.
    async fn send(&self, spans: &[Span]) -> Result<usize, Failure> {
        let server = Server::new(&self.url, &self.token)?;
        let mut refused = 0;
        for part in spans.chunks(SPANS_AT_ONCE) {
            let request = server
                .client()
                .post(server.at(&["v1", "traces"]))
                .header("content-type", "application/json")
                .body(crate::ingest::to_otlp_json(part).to_string());
            let answer = server.body(server.send(request).await?).await?;
            let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
            let partial = answer.get("partialSuccess");
            if let Some(message) = partial.and_then(|p| p.get("errorMessage")?.as_str()) {
                output::tell(message);
            }
            let count =
                partial.and_then(|p| p.get("rejectedSpans")?.as_str()?.parse::<usize>().ok());
            refused += count.unwrap_or(0);
        }
        Ok(refused)
    }
}

fn read(file: &Path) -> Result<Received, Failure> {
    let wrong = |why: String| Failure::new(Status::NotHeld, format!("{}: {why}", file.display()));
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin()
            .take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
    } else {
        fs::File::open(file).and_then(|f| f.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
    };
    read.map_err(|e| wrong(e.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(format!("has more than {FILE_BYTES_MAX} bytes")));
    }
    parse(&bytes).map_err(|e| wrong(e.to_string()))
}

fn parse(bytes: &[u8]) -> Result<Received, BodyError> {
    let limits = SpanLimits {
        spans: usize::MAX,
        ..SpanLimits::default()
    };
    let is_json = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    if !is_json {
        return parse_otlp_protobuf(bytes, &limits);
    }
    // OTLP in JSON has one of these names, in a document that is not Jaeger's.
    let has = |name: &str| {
        bytes
            .windows(name.len())
            .any(|part| part == name.as_bytes())
    };
    if has("\"resourceSpans\"") || has("\"resource_spans\"") {
        parse_otlp_json(bytes, &limits)
    } else {
        parse_jaeger_json(bytes, &limits)
    }
}

/// Settings under which nothing is deleted, and what decides results stays as the file has it: both are the server's.
pub(in crate::cli) fn settings_for(db: &Path) -> Result<store::Settings, Failure> {
    const FOR_EVER_MS: i64 = 1_000 * 366 * DAY_MS;
    let mut settings = store::Settings {
        retention_ms: FOR_EVER_MS,
        rollup_retention_ms: FOR_EVER_MS,
        alert_retention_ms: FOR_EVER_MS,
        ..store::Settings::default()
    };
    settings.traces.retention_ms = FOR_EVER_MS;
    if db.exists() {
        let view = store::open_copy(db)?;
        settings.policy = view.policy(Timestamp::MAX);
    }
    Ok(settings)
}

/// Writes spans into a file; returns how many were refused.
fn into_file(db: &Path, mut spans: Vec<Span>) -> Result<usize, Failure> {
    resolve_agents(&mut spans, None);
    price(&mut spans, &PriceTable::built_in());
    let (open, ended): (Vec<Span>, Vec<Span>) = spans.into_iter().partition(Span::is_open);
    let metrics = Arc::new(OwnMetrics::default());
    let store = Store::open(db, settings_for(db)?, Arc::new(SystemClock), metrics)?;
    let refused = |error: store::WriteError| {
        Failure::new(Status::Database, format!("{}: {error}", db.display()))
    };
    let mut rejected = 0;
    let mut ended = ended.into_iter().peekable();
    while ended.peek().is_some() {
        let part = ended.by_ref().take(SPANS_AT_ONCE).collect();
        let append = SpanAppend {
            spans: part,
            contacts: Vec::new(),
        };
        let appended = store.append_spans_blocking(append).map_err(refused)?;
        for refusal in &appended.rejected {
            output::tell(&format!("span {}: {}", refusal.span_id, refusal.reason));
        }
        rejected += appended.rejected.len();
    }
    if !open.is_empty() {
        let report = store.change_spans(SpanChange::Report(open), Vec::new());
        converse(async { report.await.map_err(refused) })?;
    }
    store.checkpoint_blocking().map_err(refused)?;
    store.close_blocking().map_err(refused)?;
    Ok(rejected)
}
