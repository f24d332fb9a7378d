//! `longwatch db`

use std::{
    fmt::Write as _,
    io::Write,
    path::{Path, PathBuf},
};

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::{
    check::Answer,
    command::usage,
    failure::{Failure, Status},
    output::{self, NewFile, printable},
    progress::Progress,
    server::{Server, TokenArgs, converse},
    transfer::{Export, Import},
};
use crate::{
    model::{Timestamp, parse_duration_ms},
    store::{self, CompactReport, CompactStep, Quarantined, StoreStatus, VerifyReport},
};

/// Care of the database file.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  longwatch db verify copy.redb")]
pub(super) enum Db {
    Info(Info),
    Verify(Verify),
    Snapshot(Snapshot),
    Compact(Compact),
    Export(Export),
    Import(Import),
}

impl Db {
    /// Takes care.
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Info(info) => info.run(),
            Self::Verify(verify) => verify.run(),
            Self::Snapshot(snapshot) => snapshot.run(),
            Self::Compact(compact) => compact.run(),
            Self::Export(export) => export.run(),
            Self::Import(import) => import.run(),
        }
    }
}

/// A database file, with or without `--db`.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct FileArgs {
    /// Database file
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Database file
    #[arg(long, value_name = "FILE")]
    db: Option<PathBuf>,
}

impl FileArgs {
    fn path(&self) -> Result<&Path, Failure> {
        let path = self.file.as_deref().or(self.db.as_deref());
        path.ok_or_else(|| usage("give a database file"))
    }
}

/// Show what is in a file: schema, sizes. Only reads it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  longwatch db info longwatch.redb\n  \
    longwatch db info --db longwatch.redb --format json")]
pub(super) struct Info {
    #[command(flatten)]
    file: FileArgs,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value = "text")]
    format: Answer,
}

impl Info {
    fn run(&self) -> Result<(), Failure> {
        let path = self.file.path()?;
        let facts = facts(path, &store::inspect(path)?);
        let text = match self.format {
            Answer::Json => {
                let object: serde_json::Map<String, Value> = facts
                    .into_iter()
                    .map(|(key, value, _)| (key.to_owned(), value))
                    .collect();
                output::pretty(&Value::Object(object))
            }
            Answer::Text => {
                let width = facts.iter().map(|(key, ..)| key.len()).max().unwrap_or(0);
                let line = |(key, _, text): &(&str, Value, String)| {
                    let name = key.replace('_', " ");
                    format!("{name:width$}  {}\n", printable(text))
                };
                facts.iter().map(line).collect::<Vec<_>>().concat()
            }
        };
        output::print(text.as_bytes())
    }
}

/// What is known of a file: key, value for programs, text for people.
fn facts(path: &Path, status: &StoreStatus) -> Vec<(&'static str, Value, String)> {
    let time = |ms: i64| Timestamp::from_millis(ms).to_rfc3339();
    let count = |key, n: u64| (key, json!(n), n.to_string());
    let text = |key, text: String| (key, json!(text), text);
    let last_commit = status.last_commit_ms.map(time);
    vec![
        text("file", path.display().to_string()),
        count("schema_version", u64::from(status.schema_version)),
        text("file_id", status.file_id.clone()),
        text("created", time(status.created_ms)),
        (
            "last_commit",
            json!(last_commit),
            last_commit.unwrap_or_else(|| "never".to_owned()),
        ),
        (
            "file_bytes",
            json!(status.file_bytes),
            format!("{} ({})", status.file_bytes, human_size(status.file_bytes)),
        ),
        count("agents", status.agents),
        count("series", status.series),
        count("blocks", status.blocks),
        count("wal_records", status.wal_records),
        count("head_samples", status.head_samples),
        (
            "quarantined_blocks",
            json!({
                "count": status.quarantined,
                "first": status.quarantined_first.iter().map(quarantined).collect::<Vec<_>>(),
            }),
            quarantined_text(status),
        ),
    ]
}

/// A block that cannot be read, as `/api/v1/status` has it.
fn quarantined(block: &Quarantined) -> Value {
    json!({
        "day": &block.first.to_rfc3339()[..10],
        "agent_id": block.agent_id,
        "from": block.first.to_rfc3339(),
        "to": block.last.to_rfc3339(),
        "reason": block.reason,
    })
}

fn quarantined_text(status: &StoreStatus) -> String {
    let mut text = status.quarantined.to_string();
    for block in &status.quarantined_first {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "; agent {}, {} to {}: {}",
            block.agent_id, block.first, block.last, block.reason
        );
    }
    let unnamed = status.quarantined - status.quarantined_first.len() as u64;
    if unnamed > 0 {
        let _ = write!(text, "; and {unnamed} more");
    }
    text
}

fn human_size(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = larger;
    }
    format!("{size:.1} {unit}")
}

/// Read everything in a file and check every checksum. Exit status 1 when something is damaged.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  longwatch db verify copy.redb\n  \
    longwatch db verify --db copy.redb --format json")]
pub(super) struct Verify {
    #[command(flatten)]
    file: FileArgs,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value = "text")]
    format: Answer,
}

impl Verify {
    fn run(&self) -> Result<(), Failure> {
        let path = self.file.path()?;
        let mut progress = Progress::of("verifying");
        let report = store::verify(path, &mut |done, total| progress.at(done, total))?;
        drop(progress);
        match self.format {
            Answer::Json => output::print(output::pretty(&findings(path, &report)).as_bytes())?,
            Answer::Text => tell_findings(path, &report)?,
        }
        if report.bad.is_empty() {
            Ok(())
        } else {
            Err(Failure::told(Status::NotHeld))
        }
    }
}

fn findings(path: &Path, report: &VerifyReport) -> Value {
    json!({
        "file": path.display().to_string(),
        "ok": report.bad.is_empty(),
        "blocks": report.blocks,
        "samples": report.samples,
        "wal_records": report.wal_records,
        "rollups": report.rollups,
        "spans": report.spans,
        "traces": report.traces,
        "bad": report.bad,
    })
}

fn tell_findings(path: &Path, report: &VerifyReport) -> Result<(), Failure> {
    let read = format!(
        "{} blocks, {} samples, {} records of the write-ahead log, {} rollups, {} spans, {} traces",
        report.blocks,
        report.samples,
        report.wal_records,
        report.rollups,
        report.spans,
        report.traces
    );
    if report.bad.is_empty() {
        return output::print(format!("{}: ok: {read}\n", path.display()).as_bytes());
    }
    for bad in &report.bad {
        output::tell(&format!("{}: {bad}", path.display()));
    }
    let count = report.bad.len();
    output::tell_error(&format!("{}: {count} damaged; read {read}", path.display()));
    Ok(())
}

/// Write a consistent, cleanly closed copy, of a running server or of a file.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("source").required(true).args(["file", "db", "url"])),
    after_help = "Examples:\n  longwatch db snapshot --url http://127.0.0.1:7464 --out copy.redb\n  \
        longwatch db snapshot --db longwatch.redb --out copy.redb --force"
)]
pub(super) struct Snapshot {
    /// Database file that no server has open
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Database file that no server has open
    #[arg(long, value_name = "FILE")]
    db: Option<PathBuf>,
    /// Server to ask
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    token: TokenArgs,
    /// The copy
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace the copy if it exists
    #[arg(long)]
    force: bool,
}

impl Snapshot {
    fn run(self) -> Result<(), Failure> {
        let bytes = match (self.file.as_deref().or(self.db.as_deref()), &self.url) {
            (Some(from), _) => self.of_file(from)?,
            (None, Some(url)) => converse(self.of_server(url))?,
            (None, None) => return Err(usage("give --db FILE or --url URL")),
        };
        let out = self.out.display();
        output::print(format!("{out}: {bytes} bytes ({})\n", human_size(bytes)).as_bytes())
    }

    fn of_file(&self, from: &Path) -> Result<u64, Failure> {
        output::refuse_existing(&self.out, self.force)?;
        // A folder of its own, so that the name in it is free for the store to make.
        let folder = tempfile::Builder::new()
            .prefix(".longwatch-snapshot-")
            .tempdir_in(output::folder_of(&self.out))
            .map_err(|e| Failure::file(&self.out, &e))?;
        let unfinished = folder.path().join("snapshot.redb");
        let mut progress = Progress::of("copying");
        let bytes = store::snapshot_file(from, &unfinished, &mut |done, total| {
            progress.at(done, total);
        })?;
        drop(progress);
        let unfinished = tempfile::TempPath::try_from_path(unfinished)
            .map_err(|e| Failure::file(&self.out, &e))?;
        output::give_name(unfinished, &self.out, self.force)?;
        Ok(bytes)
    }

    async fn of_server(&self, url: &str) -> Result<u64, Failure> {
        let (new, mut file) = NewFile::private(&self.out, self.force)?;
        let server = Server::new(url, &self.token)?;
        let address = server.at(&["api", "v1", "admin", "snapshot"]);
        let mut answer = server.send(server.client().get(address)).await?;
        let total = answer.content_length().unwrap_or(0);
        let mut progress = Progress::of("downloading");
        let mut bytes = 0;
        while let Some(chunk) = answer.chunk().await.map_err(|e| server.broken(e))? {
            file.write_all(&chunk)
                .map_err(|e| Failure::file(&self.out, &e))?;
            bytes += chunk.len() as u64;
            progress.at(bytes, total);
        }
        drop(progress);
        new.finish(&file)?;
        Ok(bytes)
    }
}

/// Merge everything in a file and give back what it does not need. No server may have it open.
///
/// A kill at any moment leaves the file whole. A file whose pages are damaged is refused.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  longwatch db compact longwatch.redb\n  \
    longwatch db compact --db longwatch.redb --retention 7d --format json")]
pub(super) struct Compact {
    #[command(flatten)]
    file: FileArgs,
    /// Delete samples older than this, whole UTC days at a time, such as 7d; counted from the last commit
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    retention: Option<i64>,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value = "text")]
    format: Answer,
}

fn duration(text: &str) -> Result<i64, String> {
    parse_duration_ms(text).map_err(|e| e.to_string())
}

impl Compact {
    fn run(&self) -> Result<(), Failure> {
        let path = self.file.path()?;
        let mut merging = Progress::of("merging");
        let mut moving = Progress::of("moving pages");
        let report = store::compact(path, self.retention, &mut |step| match step {
            CompactStep::Merging { done, total } => merging.at(done, total),
            CompactStep::Moving { bytes } => {
                merging.end();
                moving.at(bytes, 0);
            }
        })?;
        drop((merging, moving));
        match self.format {
            Answer::Json => output::print(output::pretty(&compacted(path, &report)).as_bytes())?,
            Answer::Text => tell_compacted(path, &report)?,
        }
        if report.left.is_empty() {
            Ok(())
        } else {
            Err(Failure::told(Status::NotHeld))
        }
    }
}

fn compacted(path: &Path, report: &CompactReport) -> Value {
    json!({
        "file": path.display().to_string(),
        "bytes_before": report.bytes_before,
        "bytes_after": report.bytes_after,
        "blocks_before": report.blocks_before,
        "blocks_after": report.blocks_after,
        "merged_days": report.merged_days,
        "deleted_days": report.deleted_days,
        "damaged_blocks": report.damaged_blocks,
        "left": report.left,
    })
}

fn tell_compacted(path: &Path, report: &CompactReport) -> Result<(), Failure> {
    for left in &report.left {
        output::tell(&format!("{}: not merged: {left}", path.display()));
    }
    if report.damaged_blocks > 0 {
        let (path, blocks) = (path.display(), report.damaged_blocks);
        output::tell(&format!("{path}: {blocks} damaged blocks stay as they are"));
    }
    let size = |bytes| format!("{bytes} bytes ({})", human_size(bytes));
    let told = format!(
        "{}: {} before, {} now; {} blocks before, {} now\n",
        path.display(),
        size(report.bytes_before),
        size(report.bytes_after),
        report.blocks_before,
        report.blocks_after,
    );
    output::print(told.as_bytes())
}
