//! `longwatch db export`

use std::{
    io::{BufWriter, Write},
    path::PathBuf,
};

use clap::Args;

use crate::{
    cli::{
        command::usage,
        failure::{Failure, Status},
        output::NewFile,
        progress::Progress,
        window::{open, read_time},
    },
    ingest::{put_json_line, put_openmetrics},
    model::{Matcher, ReadError, Timestamp, Window},
    query::{HistorySource, Selected, Source, parse_metric_selector},
};

/// Samples of a line of JSON: readers take a line whole.
const SAMPLES_OF_A_LINE: usize = 10_000;

/// Write series out, as OpenMetrics text with times or as JSON lines.
///
/// The file is only read; a copy of a running server's file will do. Series have the labels that PromQL sees. JSON lines
/// keep stale markers, OpenMetrics has no form for them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    longwatch db export longwatch.redb --out all.om\n  \
    longwatch db export copy.redb --match '{agent_id=\"planner\"}' --from -24h --format jsonl --out day.jsonl\n  \
    longwatch db export copy.redb --match up | promtool tsdb create-blocks-from openmetrics /dev/stdin blocks")]
pub(in crate::cli) struct Export {
    /// Database file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Series to write, as a selector of PromQL; may be given several times [default: all]
    #[arg(long = "match", value_name = "SELECTOR")]
    selectors: Vec<String>,
    /// Beginning [default: the first sample]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// End [default: the last sample]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// openmetrics or jsonl
    #[arg(long, value_name = "FORMAT", value_parser = ["openmetrics", "jsonl"], default_value = "openmetrics")]
    format: String,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Export {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let selectors = self.selectors.iter().map(|text| {
            parse_metric_selector(text).map_err(|error| usage(format!("--match: {error}")))
        });
        let mut selectors: Vec<Vec<Matcher>> = selectors.collect::<Result<_, _>>()?;
        if selectors.is_empty() {
            selectors.push(Vec::new());
        }
        let (view, now) = open(&self.file)?;
        let time = |flag, text: &Option<String>, other| match text {
            Some(text) => read_time(flag, text, now),
            None => Ok(other),
        };
        let window = Window::closed(
            time("--from", &self.from, Timestamp::MIN)?,
            time("--to", &self.to, Timestamp::MAX)?,
        );
        let source = HistorySource::new(&*view);
        let failed = |error: ReadError| {
            Failure::new(
                Status::Database,
                format!("{}: {error}", self.file.display()),
            )
        };
        let mut series = Vec::new();
        for matchers in &selectors {
            series.extend(source.select(matchers, window).map_err(failed)?);
        }
        // OpenMetrics wants the series of a metric together.
        series.sort_by(|a, b| {
            a.labels
                .name()
                .cmp(b.labels.name())
                .then_with(|| a.labels.cmp(&b.labels))
        });
        series.dedup_by(|a, b| a.labels == b.labels);
        let mut text = Text {
            is_json: self.format == "jsonl",
            text: String::new(),
        };
        let total = series.len() as u64;
        let mut write = |out: &mut dyn Write| -> Result<(), Failure> {
            let mut progress = Progress::of("exporting");
            for (done, series) in series.iter().enumerate() {
                text.put(&source, series, window).map_err(failed)?;
                out.write_all(text.text.as_bytes())
                    .map_err(|error| broken(&error))?;
                text.text.clear();
                progress.at(done as u64 + 1, total);
            }
            progress.end();
            if !text.is_json {
                out.write_all(b"# EOF\n").map_err(|error| broken(&error))?;
            }
            out.flush().map_err(|error| broken(&error))
        };
        match &self.out {
            None => write(&mut BufWriter::new(std::io::stdout().lock())),
            Some(name) => {
                let (new, file) = NewFile::shared(name)?;
                write(&mut BufWriter::new(&file))?;
                new.finish(&file)
            }
        }
    }
}

/// A reader that is gone (`| head`) ends the command without a complaint.
fn broken(error: &std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::told(Status::Unread),
        _ => Failure::new(Status::NotHeld, error.to_string()),
    }
}

struct Text {
    is_json: bool,
    text: String,
}

impl Text {
    fn put(
        &mut self,
        source: &dyn Source,
        series: &Selected,
        window: Window,
    ) -> Result<(), ReadError> {
        let mut samples: Vec<(i64, f64)> = Vec::new();
        let stored = [(series.agent, series.no)]
            .into_iter()
            .chain(series.others.iter().copied());
        for (agent, no) in stored {
            source.scan(agent, &[no], window, &mut |_, times, values| {
                samples.extend(times.iter().copied().zip(values.iter().copied()));
            })?;
        }
        if !series.others.is_empty() {
            // Stored more than once: of two samples of one time the first holds, as for a query.
            samples.sort_by_key(|(time, _)| *time);
            samples.dedup_by_key(|(time, _)| *time);
        }
        for part in samples.chunks(SAMPLES_OF_A_LINE) {
            if self.is_json {
                let (times, values): (Vec<i64>, Vec<f64>) = part.iter().copied().unzip();
                put_json_line(&mut self.text, &series.labels, &times, &values);
                continue;
            }
            for (time, value) in part {
                let time = Timestamp::from_millis(*time);
                put_openmetrics(&mut self.text, &series.labels, time, *value);
            }
        }
        Ok(())
    }
}
