//! `longwatch alerts`

use std::io;

use clap::{Args, Subcommand};
use comfy_table::{Cell, Color, Table, presets};
use serde_json::{Value, json};

use super::{
    check::Answer,
    failure::{Failure, Status},
    output::{self, printable},
    server::{Server, ServerArgs, converse},
};

/// Alerts of a running server.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  longwatch alerts list --state firing")]
pub(super) enum Alerts {
    List(List),
    Show(Show),
    Ack(Ack),
    Resolve(Resolve),
    #[command(subcommand)]
    Silence(Silence),
}

impl Alerts {
    /// Asks the server.
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(list) => converse(list.run()),
            Self::Show(show) => converse(show.run()),
            Self::Ack(ack) => converse(ack.run()),
            Self::Resolve(resolve) => converse(resolve.run()),
            Self::Silence(silence) => converse(silence.run()),
        }
    }
}

/// List alerts.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  longwatch alerts list\n  \
    longwatch alerts list --state all --agent planner-1 --from -24h --format json")]
pub(super) struct List {
    /// Which
    #[arg(long, default_value = "active",
        value_parser = ["active", "pending", "firing", "resolved", "ended", "all"])]
    state: String,
    /// info, warning, critical or emergency
    #[arg(long, value_parser = ["info", "warning", "critical", "emergency"])]
    severity: Option<String>,
    /// One agent only
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Open at some time since then
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// Open at some time before then
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// As they stood then
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value = "text")]
    format: Answer,
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let server = self.server.connect()?;
        let mut url = server.at(&["api", "v1", "alerts"]);
        url.query_pairs_mut().append_pair("state", &self.state);
        for (name, value) in [
            ("severity", &self.severity),
            ("agent_id", &self.agent),
            ("from", &self.from),
            ("to", &self.to),
            ("at", &self.at),
        ] {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        let document = answer(&server, server.client().get(url)).await?;
        let text = match self.format {
            Answer::Json => output::pretty(&document),
            Answer::Text => table(&document, output::may_colour(&io::stdout())),
        };
        output::print(text.as_bytes())
    }
}

async fn answer(server: &Server, request: reqwest::RequestBuilder) -> Result<Value, Failure> {
    let body = server.body(server.send(request).await?).await?;
    serde_json::from_slice(&body)
        .map_err(|e| Failure::new(Status::NotHeld, format!("the answer is not JSON: {e}")))
}

fn text(value: &Value, key: &str) -> String {
    let found = value.get(key).and_then(Value::as_str);
    found.map_or("-".to_owned(), printable)
}

/// The list for people.
fn table(document: &Value, has_colour: bool) -> String {
    let alerts = document.get("alerts").and_then(Value::as_array);
    let Some(alerts) = alerts.filter(|alerts| !alerts.is_empty()) else {
        return "no alerts\n".to_owned();
    };
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "ID",
        "STATE",
        "SEVERITY",
        "ALERT",
        "SINCE",
        "ACKNOWLEDGED",
        "DESCRIPTION",
    ]);
    table.force_no_tty();
    if has_colour {
        table.enforce_styling();
    }
    for alert in alerts {
        let severity = text(alert, "severity");
        let by = alert
            .get("acknowledged")
            .map_or("-".to_owned(), |ack| text(ack, "by"));
        table.add_row([
            Cell::new(text(alert, "id")),
            Cell::new(text(alert, "state")),
            Cell::new(&severity).fg(colour(&severity)),
            Cell::new(text(alert, "alert_id")),
            Cell::new(text(alert, "timestamp")),
            Cell::new(by),
            Cell::new(text(alert, "description")),
        ]);
    }
    format!("{}\n", table.trim_fmt())
}

fn colour(severity: &str) -> Color {
    match severity {
        "critical" | "emergency" => Color::Red,
        "warning" => Color::Yellow,
        _ => Color::Grey,
    }
}

/// Show one alert with its history and what it rests on.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  longwatch alerts show 42")]
pub(super) struct Show {
    /// The alert's id
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    server: ServerArgs,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value = "text")]
    format: Answer,
}

impl Show {
    async fn run(self) -> Result<(), Failure> {
        let server = self.server.connect()?;
        let url = server.at(&["api", "v1", "alerts", &self.id]);
        let alert = answer(&server, server.client().get(url)).await?;
        let text = match self.format {
            Answer::Json => output::pretty(&alert),
            Answer::Text => described(&alert),
        };
        output::print(text.as_bytes())
    }
}

fn described(alert: &Value) -> String {
    let mut lines = vec![
        format!(
            "{} {} {}",
            text(alert, "id"),
            text(alert, "state"),
            text(alert, "alert_id")
        ),
        text(alert, "description"),
    ];
    let none = Vec::new();
    let list = |key: &str| alert.get(key).and_then(Value::as_array).unwrap_or(&none);
    for event in list("history") {
        let mut line = format!("{}  {}", text(event, "time"), text(event, "event"));
        for (key, before) in [("reason", ": "), ("actor", " by ")] {
            let said = event.get(key).and_then(Value::as_str).unwrap_or_default();
            if !said.is_empty() {
                line = format!("{line}{before}{}", printable(said));
            }
        }
        lines.push(line);
    }
    for evidence in list("evidence") {
        let values: Vec<String> = evidence["samples"]
            .as_array()
            .unwrap_or(&none)
            .iter()
            .rev()
            .take(10)
            .rev()
            .map(|sample| sample[1].to_string())
            .collect();
        lines.push(format!(
            "{} at {}: value {}, threshold {}, last samples {}",
            text(evidence, "event"),
            text(evidence, "time"),
            evidence["value"],
            evidence["threshold"],
            values.join(" ")
        ));
        for span in evidence["spans"].as_array().unwrap_or(&none) {
            lines.push(format!(
                "  span {} of trace {}: {} {}",
                text(span, "span_id"),
                text(span, "trace_id"),
                text(span, "agent_id"),
                text(span, "operation")
            ));
        }
        let traces = evidence["traces"].as_array().unwrap_or(&none).iter();
        for trace in traces.filter_map(Value::as_str) {
            lines.push(format!("  trace {}", printable(trace)));
        }
    }
    lines.join("\n") + "\n"
}

/// Who says what.
#[derive(Debug, Args)]
struct Words {
    /// Who you are
    #[arg(long, value_name = "NAME", env = "USER", default_value = "cli")]
    by: String,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    comment: String,
}

/// Acknowledge an alert: somebody looks after it, until it resolves.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  longwatch alerts ack 42 --comment 'disk is being replaced'")]
pub(super) struct Ack {
    /// The alert's id
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    words: Words,
    #[command(flatten)]
    server: ServerArgs,
}

/// Resolve an alert by hand. It comes back if its condition still holds.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  longwatch alerts resolve 42 --comment 'false alarm'")]
pub(super) struct Resolve {
    /// The alert's id
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    words: Words,
    #[command(flatten)]
    server: ServerArgs,
}

impl Ack {
    async fn run(self) -> Result<(), Failure> {
        act(&self.server, &self.id, "ack", &self.words, "acknowledged").await
    }
}

impl Resolve {
    async fn run(self) -> Result<(), Failure> {
        act(&self.server, &self.id, "resolve", &self.words, "resolved").await
    }
}

async fn act(
    server: &ServerArgs,
    id: &str,
    what: &str,
    words: &Words,
    done: &str,
) -> Result<(), Failure> {
    let server = server.connect()?;
    let url = server.at(&["api", "v1", "alerts", id, what]);
    let body = json!({"by": words.by, "comment": words.comment});
    let alert = answer(&server, server.client().post(url).json(&body)).await?;
    output::print(format!("{} {done}\n", text(&alert, "alert_id")).as_bytes())
}

/// Silences: alerts that fit all matchers are not notified for a time.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  longwatch alerts silence add agent_id=planner-1 --duration 2h")]
pub(super) enum Silence {
    List(ListSilences),
    Add(AddSilence),
    Expire(ExpireSilence),
}

impl Silence {
    async fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run().await,
            Self::Add(add) => add.run().await,
            Self::Expire(expire) => expire.run().await,
        }
    }
}

/// List silences.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  longwatch alerts silence list")]
pub(super) struct ListSilences {
    /// Expired ones, too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    server: ServerArgs,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value = "text")]
    format: Answer,
}

impl ListSilences {
    async fn run(self) -> Result<(), Failure> {
        let server = self.server.connect()?;
        let url = server.at(&["api", "v1", "silences"]);
        let mut document = answer(&server, server.client().get(url)).await?;
        if let Some(silences) = document.get_mut("silences").and_then(Value::as_array_mut) {
            silences.retain(|s| self.all || s["status"]["state"] != "expired");
        }
        let text = match self.format {
            Answer::Json => output::pretty(&document),
            Answer::Text => silences_table(&document),
        };
        output::print(text.as_bytes())
    }
}

fn silences_table(document: &Value) -> String {
    let silences = document.get("silences").and_then(Value::as_array);
    let Some(silences) = silences.filter(|silences| !silences.is_empty()) else {
        return "no silences\n".to_owned();
    };
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.force_no_tty();
    table.set_header(["ID", "STATE", "MATCHERS", "ENDS", "BY", "COMMENT"]);
    for silence in silences {
        let matchers = silence["matchers"].as_array().into_iter().flatten();
        let shown: Vec<String> = matchers
            .map(|m| {
                let operator = match (&m["isEqual"], &m["isRegex"]) {
                    (Value::Bool(false), Value::Bool(true)) => "!~",
                    (Value::Bool(false), _) => "!=",
                    (_, Value::Bool(true)) => "=~",
                    _ => "=",
                };
                format!("{}{operator}{}", text(m, "name"), text(m, "value"))
            })
            .collect();
        table.add_row([
            text(silence, "id"),
            text(&silence["status"], "state"),
            shown.join(" "),
            text(silence, "endsAt"),
            text(silence, "createdBy"),
            text(silence, "comment"),
        ]);
    }
    format!("{}\n", table.trim_fmt())
}

/// Silence alerts.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    longwatch alerts silence add agent_id=planner-1 --duration 2h --comment 'being replaced'\n  \
    longwatch alerts silence add 'alertname=~disk.*' severity!=critical --duration 1d")]
pub(super) struct AddSilence {
    /// Which alerts: name=value, name!=value, name=~expression, name!~expression; all must fit
    #[arg(value_name = "MATCHER", required = true)]
    matchers: Vec<String>,
    /// For how long
    #[arg(long, value_name = "DURATION")]
    duration: String,
    #[command(flatten)]
    words: Words,
    #[command(flatten)]
    server: ServerArgs,
}

impl AddSilence {
    async fn run(self) -> Result<(), Failure> {
        let server = self.server.connect()?;
        let url = server.at(&["api", "v1", "silences"]);
        let body = json!({"matchers": self.matchers, "duration": self.duration,
            "createdBy": self.words.by, "comment": self.words.comment});
        let made = answer(&server, server.client().post(url).json(&body)).await?;
        output::print(format!("{}\n", text(&made, "id")).as_bytes())
    }
}

/// End a silence now.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  longwatch alerts silence expire 0f8fad5b-d9cb-469f-a165-70867728950e"
)]
pub(super) struct ExpireSilence {
    /// The silence's id
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

impl ExpireSilence {
    async fn run(self) -> Result<(), Failure> {
        let server = self.server.connect()?;
        let url = server.at(&["api", "v1", "silences", &self.id]);
        let answer = server.send(server.client().delete(url)).await?;
        server.body(answer).await?;
        output::print(b"expired\n")
    }
}
