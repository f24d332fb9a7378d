//! Questions whose answer is shown as the server, or the room that knows the file, words it.

use std::{io, path::PathBuf};

use clap::{Args, ValueEnum};

use super::source::Question;
use crate::cli::source::SourceArgs;
use crate::cli::{
    check::Answer,
    failure::{Failure, Status},
    output,
};

impl Answer {
    const fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Draw a trace: its spans as a tree over time, the critical path marked.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  longwatch traces show 4bf92f3577b34da6a3ce929d0e0e4736 --width 140"
)]
pub(in crate::cli) struct Show {
    /// The trace: its id, or the text that it was started with
    #[arg(value_name = "ID")]
    trace: String,
    /// Columns
    #[arg(long, value_name = "N", default_value_t = 100)]
    width: u32,
    /// Spans at most
    #[arg(long, value_name = "N", default_value_t = 200)]
    limit: u32,
    #[command(flatten)]
    source: SourceArgs,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value = "text")]
    format: Answer,
}

impl Show {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let question = Question::new(&["traces", &self.trace])
            .with("format", self.format.word())
            .with("width", &self.width)
            .with("limit", &self.limit)
            .with("colour", &output::may_colour(&io::stdout()));
        output::print(&self.source.ask(&question).await?)
    }
}

/// Say where the time of a trace went: critical path, agents, waits, errors, retries.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  longwatch traces analyze 4bf92f3577b34da6a3ce929d0e0e4736 --format json"
)]
pub(in crate::cli) struct Analyze {
    /// The trace: its id, or the text that it was started with
    #[arg(value_name = "ID")]
    trace: String,
    #[command(flatten)]
    source: SourceArgs,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value = "text")]
    format: Answer,
}

impl Analyze {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let question =
            Question::new(&["traces", &self.trace, "analysis"]).with("format", self.format.word());
        output::print(&self.source.ask(&question).await?)
    }
}

/// How a profile is shown.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProfileForm {
    /// For people
    Text,
    /// For programs
    Json,
    /// Folded stacks, for flame graph tools
    Folded,
    /// A flame graph
    Svg,
}

/// Say where the time of many traces of one operation goes: at the median and among the slowest.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  longwatch traces profile --operation 'plan trip' --from -7d\n  \
    longwatch traces profile --operation 'plan trip' --what-if researcher:0.7\n  \
    longwatch traces profile --db copy.redb --format svg --out flame.svg"
)]
pub(in crate::cli) struct Profile {
    /// Root operation
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// Traces that this agent takes part in
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Traces that began at or after then [default: a day before --to]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// Traces that began at or before then [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// Traces at most
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    limit: u32,
    /// What if an agent, or an operation of it, took another time: AGENT:FACTOR or AGENT:OPERATION:FACTOR
    #[arg(long, value_name = "WHAT")]
    what_if: Option<String>,
    /// Compare with the traces from then on
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        requires = "compare_to"
    )]
    compare_from: Option<String>,
    /// Compare with the traces up to then
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        requires = "compare_from"
    )]
    compare_to: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
    /// How it is shown
    #[arg(long, value_enum, default_value = "text")]
    format: ProfileForm,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Profile {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let form = match self.format {
            ProfileForm::Text => "text",
            ProfileForm::Json => "json",
            ProfileForm::Folded => "folded",
            ProfileForm::Svg => "svg",
        };
        let question = Question::new(&["traces", "profile"])
            .with_some("operation", self.operation.as_ref())
            .with_some("agent_id", self.agent.as_ref())
            .with_some("from", self.from.as_ref())
            .with_some("to", self.to.as_ref())
            .with_some("what_if", self.what_if.as_ref())
            .with_some("compare_from", self.compare_from.as_ref())
            .with_some("compare_to", self.compare_to.as_ref())
            .with("limit", &self.limit)
            .with("format", form);
        write(self.out, &self.source.ask(&question).await?)
    }
}

/// Compare two traces: what took longer, what is new, what is gone.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  longwatch traces compare 4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b74bf92f3577b34da6"
)]
pub(in crate::cli) struct Compare {
    /// The trace before
    #[arg(value_name = "ID")]
    before: String,
    /// The trace after
    #[arg(value_name = "ID")]
    after: String,
    #[command(flatten)]
    source: SourceArgs,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value = "text")]
    format: Answer,
}

impl Compare {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let question = Question::new(&["traces", &self.before, "compare"])
            .with("with", &self.after)
            .with("format", self.format.word());
        output::print(&self.source.ask(&question).await?)
    }
}

/// List the spans that have not ended, as JSON.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  longwatch traces open --agent planner-1")]
pub(in crate::cli) struct Open {
    /// One agent only
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
}

impl Open {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let question = Question::new(&["spans", "open"]).with_some("agent_id", self.agent.as_ref());
        output::print(&self.source.ask(&question).await?)
    }
}

/// Say which agents call, hand over to and message which, as JSON.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  longwatch traces graph --from -7d")]
pub(in crate::cli) struct Graph {
    /// Traces that began at or after then [default: a day before --to]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// Traces that began at or before then [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
}

impl Graph {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let question = Question::new(&["agent-graph"])
            .with_some("from", self.from.as_ref())
            .with_some("to", self.to.as_ref());
        output::print(&self.source.ask(&question).await?)
    }
}

/// List runs: traces that belong together by links and sessions, as JSON.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  longwatch traces runs --agent planner-1 --from -7d")]
pub(in crate::cli) struct Runs {
    /// Runs that this agent takes part in
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Traces that began at or after then [default: a day before --to]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// Traces that began at or before then [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
}

impl Runs {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let question = Question::new(&["runs"])
            .with_some("agent_id", self.agent.as_ref())
            .with_some("from", self.from.as_ref())
            .with_some("to", self.to.as_ref());
        output::print(&self.source.ask(&question).await?)
    }
}

/// What a trace is exported as.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ExportForm {
    /// OpenTelemetry's JSON
    Otlp,
    /// The JSON of Jaeger's query API
    Jaeger,
}

/// Write a trace in a form that other tools read.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  longwatch traces export 4bf92f3577b34da6a3ce929d0e0e4736 --format jaeger --out trace.json"
)]
pub(in crate::cli) struct Export {
    /// The trace: its id, or the text that it was started with
    #[arg(value_name = "ID")]
    trace: String,
    /// In which form
    #[arg(long, value_enum, default_value = "otlp")]
    format: ExportForm,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    source: SourceArgs,
}

impl Export {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let form = match self.format {
            ExportForm::Otlp => "otlp",
            ExportForm::Jaeger => "jaeger",
        };
        let question = Question::new(&["traces", &self.trace]).with("format", form);
        write(self.out, &self.source.ask(&question).await?)
    }
}

fn write(out: Option<PathBuf>, bytes: &[u8]) -> Result<(), Failure> {
    let Some(path) = out else {
        return output::print(bytes);
    };
    std::fs::write(&path, bytes)
        .map_err(|e| Failure::new(Status::NotHeld, format!("{}: {e}", path.display())))
}
