//! `longwatch traces search`

use std::io;

use clap::Args;
use comfy_table::{Cell, Color, Table, presets};
use serde_json::Value;

use super::source::Question;
use crate::cli::source::SourceArgs;
use crate::cli::{
    check::Answer,
    command::usage,
    failure::{Failure, Status},
    output::{self, printable},
};

/// Find traces by what one of their spans is like, newest first.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  longwatch traces search --agent planner-1 --min-duration 5s\n  \
    longwatch traces search --attr gen_ai.request.model=gpt-4o --error timeout --from -24h --format json"
)]
pub(in crate::cli) struct Search {
    /// Agent of the span
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Operation of the span
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// completed, failed, open, or the word that a client gave
    #[arg(long, value_name = "WORD")]
    status: Option<String>,
    /// The span lasted at least so long, e.g. 500ms
    #[arg(long, value_name = "DURATION")]
    min_duration: Option<String>,
    /// The span lasted at most so long
    #[arg(long, value_name = "DURATION")]
    max_duration: Option<String>,
    /// Attribute of the span, its events, its library or what sent it; may be given several times
    #[arg(long = "attr", value_name = "NAME=VALUE")]
    attributes: Vec<String>,
    /// Part of the error's text
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// The trace began at or after then: RFC 3339, unix seconds, or relative to now such as -24h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// The trace began at or before then
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// Traces at most
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// Go on after the page whose `next` this was
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value = "text")]
    format: Answer,
}

impl Search {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let mut question = Question::new(&["traces"])
            .with_some("agent_id", self.agent.as_ref())
            .with_some("operation", self.operation.as_ref())
            .with_some("status", self.status.as_ref())
            .with_some("min_duration", self.min_duration.as_ref())
            .with_some("max_duration", self.max_duration.as_ref())
            .with_some("error", self.error.as_ref())
            .with_some("from", self.from.as_ref())
            .with_some("to", self.to.as_ref())
            .with_some("cursor", self.cursor.as_ref())
            .with("limit", &self.limit);
        for attribute in &self.attributes {
            let Some((name, value)) = attribute.split_once('=') else {
                return Err(usage(format!("--attr {attribute}: must be NAME=VALUE")));
            };
            question = question.with(&format!("attr.{name}"), value);
        }
        let body = self.source.ask(&question).await?;
        if matches!(self.format, Answer::Json) {
            return output::print(&body);
        }
        let document: Value = serde_json::from_slice(&body)
            .map_err(|e| Failure::new(Status::NotHeld, format!("the answer is not JSON: {e}")))?;
        let text = table(&document, output::may_colour(&io::stdout()));
        output::print(text.as_bytes())
    }
}

fn table(document: &Value, has_colour: bool) -> String {
    let traces = document.get("traces").and_then(Value::as_array);
    let Some(traces) = traces.filter(|traces| !traces.is_empty()) else {
        return "no traces\n".to_owned();
    };
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "TRACE", "BEGAN", "DURATION", "STATUS", "SPANS", "FAILED", "AGENTS", "ROOT",
    ]);
    table.force_no_tty();
    if has_colour {
        table.enforce_styling();
    }
    let text = |value: &Value, key: &str| {
        value
            .get(key)
            .and_then(Value::as_str)
            .map_or_else(String::new, printable)
    };
    for trace in traces {
        let number = |key: &str| trace.get(key).and_then(Value::as_f64).unwrap_or(0.0);
        let status = text(trace, "status");
        let colour = match status.as_str() {
            "failed" => Color::Red,
            "open" => Color::Yellow,
            _ => Color::Green,
        };
        let agents = trace.get("agents").and_then(Value::as_object);
        let agents: Vec<String> = agents
            .into_iter()
            .flat_map(|map| map.keys().map(|id| printable(id)))
            .collect();
        table.add_row([
            Cell::new(text(trace, "trace_id")),
            Cell::new(text(trace, "start_time")),
            Cell::new(format!("{:.3} s", number("duration_ms") / 1e3)),
            Cell::new(&status).fg(colour),
            Cell::new(number("total_spans")),
            Cell::new(number("failed_spans")),
            Cell::new(agents.join(" ")),
            Cell::new(format!(
                "{}:{}",
                text(trace, "agent_id"),
                text(trace, "operation")
            )),
        ]);
    }
    let next = document.get("next").and_then(Value::as_str);
    let more = next.map_or_else(String::new, |next| format!("\nmore with --cursor {next}"));
    format!("{}{more}\n", table.trim_fmt())
}
