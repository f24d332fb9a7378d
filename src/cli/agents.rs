//! `longwatch agents`

use std::io;

use clap::{Args, Subcommand};
use comfy_table::{Cell, Color, Table, presets};
use serde_json::{Map, Value, json};

use super::{
    check::Answer,
    command::usage,
    failure::{Failure, Status},
    output::{self, printable},
    server::{ServerArgs, converse},
};
use crate::model::{AgentId, format_duration_ms, parse_duration_ms};

/// Agents of a running server.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  longwatch agents list --url http://monitor:7464")]
pub(super) enum Agents {
    List(List),
    Add(Add),
    Remove(Remove),
}

impl Agents {
    /// Asks the server.
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(list) => converse(list.run()),
            Self::Add(add) => converse(add.run()),
            Self::Remove(remove) => converse(remove.run()),
        }
    }
}

/// List agents with their status.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  longwatch agents list\n  \
    longwatch agents list --url https://monitor:7464 --token-file ~/.longwatch-token --format json")]
pub(super) struct List {
    #[command(flatten)]
    server: ServerArgs,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value = "text")]
    format: Answer,
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let server = self.server.connect()?;
        let request = server.client().get(server.at(&["api", "v1", "agents"]));
        let body = server.body(server.send(request).await?).await?;
        let document: Value = serde_json::from_slice(&body)
            .map_err(|e| Failure::new(Status::NotHeld, format!("the answer is not JSON: {e}")))?;
        let text = match self.format {
            Answer::Json => output::pretty(&document),
            Answer::Text => table(&document, output::may_colour(&io::stdout())),
        };
        output::print(text.as_bytes())
    }
}

/// The list for people.
fn table(document: &Value, has_colour: bool) -> String {
    let agents = document.get("agents").and_then(Value::as_array);
    let Some(agents) = agents.filter(|agents| !agents.is_empty()) else {
        return "no agents\n".to_owned();
    };
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "AGENT",
        "STATUS",
        "HEALTH",
        "LAST SEEN",
        "ENDPOINT",
        "LAST ERROR",
    ]);
    // Colour is decided here, and only by what is known of standard output.
    table.force_no_tty();
    if has_colour {
        table.enforce_styling();
    }
    for agent in agents {
        let text = |key: &str| {
            agent
                .get(key)
                .and_then(Value::as_str)
                .map_or("-".to_owned(), printable)
        };
        let number = |key: &str| agent.get(key).and_then(Value::as_f64);
        let status = text("status");
        let seen = number("last_heartbeat_seconds_ago").map_or("never".to_owned(), |seconds| {
            format!("{} ago", format_duration_ms(seconds.round() as i64 * 1000))
        });
        let health = number("health_score").map_or("-".to_owned(), |score| format!("{score:.0}"));
        table.add_row([
            Cell::new(text("agent_id")),
            Cell::new(&status).fg(status_colour(&status)),
            Cell::new(health),
            Cell::new(seen),
            Cell::new(text("metrics_endpoint")),
            Cell::new(text("last_error")),
        ]);
    }
    format!("{}\n", table.trim_fmt())
}

fn status_colour(status: &str) -> Color {
    match status {
        "active" => Color::Green,
        "unhealthy" => Color::Red,
        "stale" => Color::Yellow,
        _ => Color::Grey,
    }
}

/// Register an agent, or update what is known of it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    longwatch agents add planner-1 --metrics-endpoint http://10.0.0.7:9100/metrics\n  \
    longwatch agents add batch --pid 4711 --interval 10s --label job=nightly --info '{\"owner\":\"ops\"}'")]
pub(super) struct Add {
    /// Agent id
    #[arg(value_name = "ID")]
    agent_id: AgentId,
    /// URL to scrape
    #[arg(long, value_name = "URL")]
    metrics_endpoint: Option<String>,
    /// URL to probe
    #[arg(long, value_name = "URL")]
    health_endpoint: Option<String>,
    /// Interval of its collection, such as 15s
    #[arg(long, value_name = "DURATION")]
    interval: Option<String>,
    /// Process on the server's host, whose figures are sampled
    #[arg(long)]
    pid: Option<u32>,
    /// Label of the agent; may be given several times
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// Anything worth knowing about it, a JSON object
    #[arg(long, value_name = "JSON")]
    info: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

impl Add {
    async fn run(self) -> Result<(), Failure> {
        let body = self.registration()?;
        let server = self.server.connect()?;
        let url = server.at(&["api", "v1", "agents"]);
        let answer = server.send(server.client().post(url).json(&body)).await?;
        let done = match answer.status().as_u16() {
            201 => "registered",
            _ => "updated",
        };
        output::print(format!("agent {} {done}\n", self.agent_id).as_bytes())
    }

    /// The request's body; what was not given is left out.
    fn registration(&self) -> Result<Value, Failure> {
        let mut body = Map::new();
        body.insert("agent_id".to_owned(), json!(self.agent_id.as_str()));
        let mut give = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(key.to_owned(), value);
            }
        };
        give(
            "metrics_endpoint",
            self.metrics_endpoint.as_deref().map(Value::from),
        );
        give(
            "health_endpoint",
            self.health_endpoint.as_deref().map(Value::from),
        );
        give("pid", self.pid.map(Value::from));
        if let Some(text) = &self.interval {
            let ms = parse_duration_ms(text).map_err(|e| usage(format!("--interval: {e}")))?;
            give(
                "collection_interval_seconds",
                Some(json!(ms as f64 / 1000.0)),
            );
        }
        if !self.labels.is_empty() {
            give("labels", Some(Value::Object(labels(&self.labels)?)));
        }
        if let Some(text) = &self.info {
            let info: Map<String, Value> = serde_json::from_str(text)
                .map_err(|e| usage(format!("--info: not a JSON object: {e}")))?;
            give("info", Some(Value::Object(info)));
        }
        Ok(Value::Object(body))
    }
}

fn labels(given: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut labels = Map::new();
    for text in given {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| usage(format!("--label: `{text}` is not NAME=VALUE")))?;
        if labels.insert(name.to_owned(), value.into()).is_some() {
            return Err(usage(format!("--label: `{name}` is given twice")));
        }
    }
    Ok(labels)
}

/// End an agent's registration; its history stays.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  longwatch agents remove planner-1")]
pub(super) struct Remove {
    /// Agent id
    #[arg(value_name = "ID")]
    agent_id: AgentId,
    #[command(flatten)]
    server: ServerArgs,
}

impl Remove {
    async fn run(self) -> Result<(), Failure> {
        let server = self.server.connect()?;
        let url = server.at(&["api", "v1", "agents", self.agent_id.as_str()]);
        server.send(server.client().delete(url)).await?;
        output::print(format!("agent {} removed; its history stays\n", self.agent_id).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agents() -> Value {
        json!({"agents": [
            {"agent_id": "a", "status": "active", "health_score": 85.0, "last_heartbeat_seconds_ago": 90.4,
             "metrics_endpoint": "http://a/metrics", "last_error": null},
            {"agent_id": "ä", "status": "unknown", "last_error": "\u{1b}[2Jboo"}
        ]})
    }

    #[test]
    fn the_list_reads_as_a_table() {
        let text = table(&agents(), false);
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|line| {
                line.split("  ")
                    .map(str::trim)
                    .filter(|cell| !cell.is_empty())
                    .collect()
            })
            .collect();
        assert_eq!(
            rows,
            [
                vec![
                    "AGENT",
                    "STATUS",
                    "HEALTH",
                    "LAST SEEN",
                    "ENDPOINT",
                    "LAST ERROR"
                ],
                vec!["a", "active", "85", "1m30s ago", "http://a/metrics", "-"],
                vec!["ä", "unknown", "-", "never", "-", "\\u{1b}[2Jboo"],
            ]
        );
        assert_eq!(table(&json!({"agents": []}), false), "no agents\n");
        assert!(!text.contains('\u{1b}'));
        assert!(table(&agents(), true).contains("\u{1b}["));
    }

    #[test]
    fn labels_are_pairs() {
        let read =
            |texts: &[&str]| labels(&texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>());
        let good = read(&["a=1", "b=x=y", "c="]).unwrap();
        assert_eq!(Value::Object(good), json!({"a": "1", "b": "x=y", "c": ""}));
        for bad in [&["a"][..], &["=1"], &["a=1", "a=2"]] {
            assert_eq!(read(bad).unwrap_err().status(), Status::Usage);
        }
    }
}
