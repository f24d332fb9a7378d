//! `longwatch report`

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use clap::{ArgGroup, Args};

use super::{
    command::usage,
    failure::{Failure, Status},
    output::{self, NewFile},
    server::{Server, TokenArgs, converse},
    window::{WindowArgs, open, read_time},
};
use crate::{
    model::{AgentId, History, Timestamp, Window},
    report::{self, Comparison, Format, PerformanceReport, ReportRequest, Source},
};

/// Performance report of a window of time, from a file or from a server.
///
/// With --db the file is only read, never written; a copy of a running server's file will do, and
/// "now" is the last moment that was committed to it.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("source").required(true).args(["db", "url"])),
    after_help = "Examples:\n  longwatch report --url http://127.0.0.1:7464\n  \
        longwatch report --db copy.redb --window 7d --format html --out week.html\n  \
        longwatch report --db copy.redb --from -48h --to -24h --agent planner-1\n  \
        longwatch report --url http://127.0.0.1:7464 --window 7d --compare previous\n  \
        longwatch report --db after.redb --compare-db before.redb --compare-to 2026-01-31T00:00:00Z"
)]
pub(super) struct Report {
    /// Database file to read
    #[arg(long, value_name = "FILE")]
    db: Option<PathBuf>,
    /// Server to ask
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    token: TokenArgs,
    #[command(flatten)]
    window: WindowArgs,
    /// One agent only
    #[arg(long, value_name = "ID")]
    agent: Option<AgentId>,
    /// Show what changed since the window of the same length before this one
    #[arg(long, value_name = "previous", value_parser = ["previous"], conflicts_with = "compare_db")]
    compare: Option<String>,
    /// Show what changed since another file's last window of the same length (with --db)
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    compare_db: Option<PathBuf>,
    /// End of that window; relative to the other file's last commit [default: that commit]
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        requires = "compare_db"
    )]
    compare_to: Option<String>,
    /// text, json, md, csv or html [default: by the ending of --out, else text]
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json", "md", "csv", "html"])]
    format: Option<String>,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Report {
    /// Makes the report, or has it made.
    pub(super) fn run(self) -> Result<(), Failure> {
        match (&self.db, &self.url) {
            (Some(db), _) => self.of_file(db),
            (None, Some(url)) => converse(self.of_server(url)),
            (None, None) => Err(usage("give --db FILE or --url URL")),
        }
    }

    fn format_word(&self) -> &str {
        if let Some(word) = &self.format {
            return word;
        }
        let ending = self.out.as_deref().and_then(Path::extension);
        match ending.and_then(|e| e.to_str()) {
            Some(word @ ("json" | "md" | "csv" | "html")) => word,
            _ => "text",
        }
    }

    fn of_file(&self, db: &Path) -> Result<(), Failure> {
        let format = Format::parse(self.format_word())
            .ok_or_else(|| usage(format!("--format: unknown `{}`", self.format_word())))?;
        // Mistakes in times should not wait for a large file to open.
        self.check_times()?;
        let (view, now) = open(db)?;
        let history: &dyn History = &*view;
        let request = ReportRequest {
            window: self.window.at(now)?,
            agent: self.agent.clone(),
        };
        if let Some(id) = &request.agent
            && history.agent(id, request.window.to).is_none()
        {
            let end = request.window.to;
            let reason = format!("{}: knows no agent `{id}` at {end}", db.display());
            return Err(Failure::new(Status::NotHeld, reason));
        }
        let mut report = if self.compare.is_some() {
            report::report_with_previous(history, &request)?
        } else {
            report::performance_report(history, &request)?
        };
        if let Some(other) = &self.compare_db {
            report.comparison = Some(self.compared_with(other, &report, &request)?);
        }
        let text = report::render(history, &report, format)?;
        let mut sink = Sink::begin(self.out.as_deref())?;
        sink.write(text.as_bytes())?;
        sink.finish()
    }

    /// The report held against that of another file, over a window of the same length.
    fn compared_with(
        &self,
        other: &Path,
        report: &PerformanceReport,
        request: &ReportRequest,
    ) -> Result<Comparison, Failure> {
        let (view, now) = open(other)?;
        let end = match &self.compare_to {
            Some(text) => read_time("--compare-to", text, now)?,
            None => now,
        };
        let earlier = ReportRequest {
            window: Window::ending_at(end, request.window.length_ms()),
            agent: request.agent.clone(),
        };
        let before = report::performance_report(&*view, &earlier)?;
        // Its name alone: the same files give the same bytes wherever they lie.
        let name = other.file_name().unwrap_or(other.as_os_str());
        let source = Source::File(name.to_string_lossy().into_owned());
        Ok(Comparison::between(&before, report, source))
    }

    fn check_times(&self) -> Result<(), Failure> {
        if let Some(text) = &self.compare_to {
            read_time("--compare-to", text, Timestamp::from_millis(0))?;
        }
        self.window.check()
    }

    async fn of_server(&self, url: &str) -> Result<(), Failure> {
        // The server reads relative times by its own clock, so the texts are passed on.
        self.check_times()?;
        let server = Server::new(url, &self.token)?;
        let mut address = server.at(&["api", "v1", "reports", "performance"]);
        {
            let mut query = address.query_pairs_mut();
            query.append_pair("format", self.format_word());
            match &self.window.from {
                Some(from) => query.append_pair("from", from),
                None => query.append_pair("window", self.window.length()),
            };
            if let Some(to) = &self.window.to {
                query.append_pair("to", to);
            }
            if let Some(agent) = &self.agent {
                query.append_pair("agent_id", agent.as_str());
            }
            if let Some(what) = &self.compare {
                query.append_pair("compare", what);
            }
        }
        let mut answer = server.send(server.client().get(address)).await?;
        let mut sink = Sink::begin(self.out.as_deref())?;
        while let Some(chunk) = answer.chunk().await.map_err(|e| server.broken(e))? {
            sink.write(&chunk)?;
        }
        sink.finish()
    }
}

/// Where the report goes.
enum Sink {
    Standard,
    File(NewFile, File, PathBuf),
}

impl Sink {
    fn begin(out: Option<&Path>) -> Result<Self, Failure> {
        match out {
            None => Ok(Self::Standard),
            Some(path) if path == Path::new("-") => Ok(Self::Standard),
            Some(path) => {
                let (new, file) = NewFile::shared(path)?;
                Ok(Self::File(new, file, path.to_owned()))
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Standard => output::print(bytes),
            Self::File(_, file, path) => file.write_all(bytes).map_err(|e| Failure::file(path, &e)),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Standard => Ok(()),
            Self::File(new, file, _) => new.finish(&file),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        report: Report,
    }

    fn parse(arguments: &[&str]) -> Report {
        let all = ["report", "--db", "x"].iter().chain(arguments);
        Line::try_parse_from(all).unwrap().report
    }

    #[test]
    fn windows_end_now_unless_told() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let window = |arguments: &[&str]| parse(arguments).window.at(now);
        let day = 86_400_000;
        assert_eq!(window(&[]).unwrap(), Window::ending_at(now, day));
        assert_eq!(
            window(&["--window", "7d", "--to", "-1d"]).unwrap(),
            Window::ending_at(now.plus_millis(-day), 7 * day)
        );
        assert_eq!(
            window(&["--from", "-2h"]).unwrap(),
            Window::new(now.plus_millis(-7_200_000), now)
        );
        assert_eq!(
            window(&["--from", "1600000000", "--to", "2023-11-14T22:13:20Z"]).unwrap(),
            Window::new(Timestamp::from_millis(1_600_000_000_000), now)
        );
        for wrong in [
            &["--window", "0s"][..],
            &["--window", "24"],
            &["--to", "yesterday"],
            &["--from", "now"],
            &["--from", "-1h", "--to", "-2h"],
        ] {
            assert_eq!(
                window(wrong).unwrap_err().status(),
                Status::Usage,
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn comparisons_exclude_each_other() {
        use clap::error::ErrorKind::{ArgumentConflict, InvalidValue, MissingRequiredArgument};
        let refused = |arguments: &[&str]| {
            let all = ["report"].iter().chain(arguments);
            Line::try_parse_from(all).unwrap_err().kind()
        };
        for (arguments, kind) in [
            (
                &["--db", "x", "--compare", "previous", "--compare-db", "y"][..],
                ArgumentConflict,
            ),
            (&["--url", "x", "--compare-db", "y"], ArgumentConflict),
            (&["--db", "x", "--compare", "next"], InvalidValue),
            (
                &["--db", "x", "--compare-to", "-1h"],
                MissingRequiredArgument,
            ),
        ] {
            assert_eq!(refused(arguments), kind, "{arguments:?}");
        }
        let later = parse(&["--compare-db", "y", "--compare-to", "-1h"]);
        assert!(later.check_times().is_ok());
        let wrong = parse(&["--compare-db", "y", "--compare-to", "soon"]);
        assert_eq!(wrong.check_times().unwrap_err().status(), Status::Usage);
    }

    #[test]
    fn the_format_follows_the_file() {
        assert_eq!(parse(&[]).format_word(), "text");
        assert_eq!(parse(&["--out", "a.html"]).format_word(), "html");
        assert_eq!(parse(&["--out", "a.txt"]).format_word(), "text");
        assert_eq!(
            parse(&["--out", "a.html", "--format", "csv"]).format_word(),
            "csv"
        );
    }
}
