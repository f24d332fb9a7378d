//! `longwatch db import`

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;

use crate::{
    cli::{
        failure::{Failure, Status},
        output,
        progress::Progress,
        server::{Server, TokenArgs, converse},
        traces::settings_for,
    },
    ingest::{AgentRule, DumpReader, ReceivedMetrics, snappy, write_request_v1},
    model::{Limits, NAME_LABEL, SeriesKey, SystemClock},
    store::{Append, Store, Urgency, WriteError},
    telemetry::OwnMetrics,
};

/// The header of remote write that counts what was kept.
const SAMPLES_WRITTEN: &str = "x-prometheus-remote-write-samples-written";
/// Reasons that are told of one part.
const REASONS_TOLD: usize = 10;
/// Samples that are written at a time.
const SAMPLES_AT_ONCE: usize = 20_000;

/// Take series in: OpenMetrics text with times, JSON lines as `db export` writes them, or the output of
/// `promtool tsdb dump`. Samples that are there already are left as they are.
///
/// With --db the samples are written into the file, which no server may have open; a server takes what its retention
/// allows.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    longwatch db import all.om --db longwatch.redb\n  \
    promtool tsdb dump /var/lib/prometheus | longwatch db import - --db longwatch.redb\n  \
    longwatch db import day.jsonl --url http://127.0.0.1:7464")]
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

/// Where samples go.
enum Sink {
    File(Box<Store>, PathBuf),
    Server(Box<Server>),
}

/// How many samples went, and how many did not.
#[derive(Default)]
struct Counts {
    taken: u64,
    refused: u64,
}

impl Import {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let sink = match &self.db {
            Some(db) => {
                let metrics = Arc::new(OwnMetrics::default());
                let store = Store::open(db, settings_for(db)?, Arc::new(SystemClock), metrics)?;
                Sink::File(Box::new(store), db.clone())
            }
            None => Sink::Server(Box::new(Server::new(&self.url, &self.token)?)),
        };
        let mut counts = Counts::default();
        let read = self
            .files
            .iter()
            .try_for_each(|file| import(file, &sink, &mut counts));
        let closed = sink.close();
        let Counts { taken, refused } = counts;
        output::print(format!("{taken} samples taken in, {refused} refused\n").as_bytes())?;
        read.and(closed)?;
        if refused > 0 {
            let reason = format!("{refused} samples were refused");
            return Err(Failure::new(Status::NotHeld, reason));
        }
        Ok(())
    }
}

fn import(file: &Path, sink: &Sink, counts: &mut Counts) -> Result<(), Failure> {
    let wrong = |why: String| Failure::new(Status::NotHeld, format!("{}: {why}", file.display()));
    let (input, length): (Box<dyn std::io::Read>, u64) = if file == Path::new("-") {
        (Box::new(std::io::stdin()), 0)
    } else {
        let input = File::open(file).map_err(|e| wrong(e.to_string()))?;
        let length = input.metadata().map_or(0, |about| about.len());
        (Box::new(input), length)
    };
    let mut input = BufReader::with_capacity(1 << 20, input);
    let (rule, limits) = (AgentRule::default(), Limits::default());
    let mut reader = DumpReader::new(&rule, &limits);
    let mut progress = Progress::of("importing");
    let (mut line, mut done) = (String::new(), 0);
    loop {
        line.clear();
        let bytes = input
            .read_line(&mut line)
            .map_err(|e| wrong(e.to_string()))?;
        done += bytes as u64;
        let read = reader.line(&line);
        // What was read before a mistake stays.
        if reader.len() >= SAMPLES_AT_ONCE || bytes == 0 || read.is_err() {
            sink.put(reader.take(), counts)?;
            progress.at(done, length);
        }
        read.map_err(|e| wrong(e.to_string()))?;
        if bytes == 0 {
            progress.end();
            return Ok(());
        }
    }
}

impl Sink {
    fn put(&self, received: ReceivedMetrics, counts: &mut Counts) -> Result<(), Failure> {
        for reason in &received.reasons {
            output::tell(reason);
        }
        counts.refused += received.rejected;
        match self {
            Self::File(store, db) => into_file(store, db, received, counts),
            Self::Server(server) => converse(send(server, received, counts)),
        }
    }

    fn close(&self) -> Result<(), Failure> {
        let Self::File(store, db) = self else {
            return Ok(());
        };
        let closed = store
            .checkpoint_blocking()
            .and_then(|()| store.close_blocking());
        closed.map_err(|error| refused(db, &error))
    }
}

fn refused(db: &Path, error: &WriteError) -> Failure {
    Failure::new(Status::Database, format!("{}: {error}", db.display()))
}

fn into_file(
    store: &Store,
    db: &Path,
    received: ReceivedMetrics,
    counts: &mut Counts,
) -> Result<(), Failure> {
    for (agent, batch) in received.parts {
        let rows = batch.len() as u64;
        let append = Append {
            agent,
            batch,
            contact: None,
            urgency: Urgency::Prompt,
        };
        let appended = match store.append_blocking(append) {
            Ok(appended) => appended,
            // There is no room for another agent; the others are not affected.
            Err(WriteError::Limit(why)) => {
                output::tell(&why);
                counts.refused += rows;
                continue;
            }
            Err(error) => return Err(refused(db, &error)),
        };
        for rejected in appended.rejected.iter().take(REASONS_TOLD) {
            output::tell(&rejected.reason);
        }
        counts.refused += appended.rejected.len() as u64;
        counts.taken += appended.accepted as u64;
    }
    Ok(())
}

async fn send(
    server: &Server,
    received: ReceivedMetrics,
    counts: &mut Counts,
) -> Result<(), Failure> {
    let mut series: Vec<(SeriesKey, Vec<i64>, Vec<f64>)> = Vec::new();
    let mut samples = 0;
    for (_, batch) in &received.parts {
        for row in batch.rows() {
            let key = batch.key(row);
            if series
                .last()
                .is_none_or(|(last, ..)| last.as_bytes() != key)
                && let Some(key) = SeriesKey::from_bytes(key)
            {
                series.push((key, Vec::new(), Vec::new()));
            }
            if let Some((_, times, values)) = series.last_mut() {
                times.push(row.time.as_millis());
                values.push(row.value);
                samples += 1;
            }
        }
    }
    let all = series.iter().map(|(key, times, values)| {
        let mut labels: Vec<(&str, &str)> = vec![(NAME_LABEL, key.name())];
        labels.extend(key.labels());
        labels.sort_unstable();
        (labels, times.as_slice(), values.as_slice())
    });
    let Some(body) = snappy(&write_request_v1(all)) else {
        let why = "a part of the dump is too large for a request";
        return Err(Failure::new(Status::NotHeld, why));
    };
    let request = server
        .client()
        .post(server.at(&["prometheus", "api", "v1", "write"]))
        .header("content-type", "application/x-protobuf")
        .header("content-encoding", "snappy")
        .body(body);
    let answer = server.answer(request).await?;
    if answer.status() != reqwest::StatusCode::BAD_REQUEST {
        server.checked(answer).await?;
        counts.taken += samples;
        return Ok(());
    }
    // The rest of what the request held was kept.
    let written = answer.headers().get(SAMPLES_WRITTEN);
    let written = written.and_then(|count| count.to_str().ok()?.parse::<u64>().ok());
    let written = written.unwrap_or(0).min(samples);
    counts.taken += written;
    counts.refused += samples - written;
    if let Err(failure) = server.checked(answer).await {
        failure.tell();
    }
    Ok(())
}
