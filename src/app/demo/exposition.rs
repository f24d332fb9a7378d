//! A simulated agent's readings in the three formats that longwatch scrapes.

use std::fmt::Write;

use serde_json::json;

use super::{
    agent::{BOUNDS, Readings},
    cast::{Format, Role},
};

/// Kind of a metric family, as the formats call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

type Labels = Vec<(&'static str, String)>;

/// One metric with all its samples: what follows the family's name, labels, value.
#[derive(Debug)]
struct Family {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    samples: Vec<(&'static str, Labels, f64)>,
}

/// Content-Type and body.
pub(super) fn expose(role: &Role, readings: &Readings) -> (&'static str, String) {
    let families = families(role, readings);
    match role.format {
        Format::Json => ("application/json", to_json(&families)),
        Format::Text => (
            "text/plain; version=0.0.4; charset=utf-8",
            to_text(&families, false),
        ),
        Format::OpenMetrics => (
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            to_text(&families, true),
        ),
    }
}

fn families(role: &Role, readings: &Readings) -> Vec<Family> {
    use Kind::{Counter, Gauge};
    let one = |name, kind, help, label: Option<(&'static str, &str)>, value: f64| Family {
        name,
        kind,
        help,
        samples: vec![(
            "",
            label.into_iter().map(|(k, v)| (k, v.to_owned())).collect(),
            value,
        )],
    };
    let percent = Some(("unit", "percent"));
    let tenths = |value: f64| (value * 10.0).round() / 10.0;
    let (cpu, memory) = (tenths(readings.cpu), tenths(readings.memory));
    let (sent, received) = (Some(("direction", "sent")), Some(("direction", "received")));
    let network = (readings.network.0 as f64, readings.network.1 as f64);
    let messages = (readings.messages.0 as f64, readings.messages.1 as f64);
    let (tasks, errors) = (readings.tasks as f64, readings.errors as f64);
    let bytes = "Bytes over the network";
    let mut all = vec![
        one("system_cpu_usage", Gauge, "Usage of the cpu", percent, cpu),
        one(
            "system_memory_usage",
            Gauge,
            "Memory in use",
            percent,
            memory,
        ),
        one("network_bytes_sent", Counter, bytes, sent, network.0),
        one("network_bytes_recv", Counter, bytes, received, network.1),
        one(
            "agent_messages_sent_total",
            Counter,
            "Messages to other agents",
            None,
            messages.0,
        ),
        one(
            "agent_messages_received_total",
            Counter,
            "Messages from other agents",
            None,
            messages.1,
        ),
        one(
            "tasks_completed_total",
            Counter,
            "Tasks finished",
            None,
            tasks,
        ),
        one(
            "task_errors_total",
            Counter,
            "Tasks that failed",
            None,
            errors,
        ),
        one(
            "queue_depth",
            Gauge,
            "Tasks that wait",
            None,
            readings.queue,
        ),
        durations(readings),
    ];
    if !role.models.is_empty() {
        all.push(tokens(role, readings));
    }
    all
}

fn tokens(role: &Role, readings: &Readings) -> Family {
    let mut samples = Vec::new();
    for (model, (input, output)) in role.models.iter().zip(&readings.tokens) {
        for (direction, count) in [("input", input), ("output", output)] {
            let labels = vec![
                ("model", (*model).to_owned()),
                ("direction", direction.to_owned()),
            ];
            samples.push(("", labels, *count as f64));
        }
    }
    Family {
        name: "llm_tokens_total",
        kind: Kind::Counter,
        help: "Tokens read and written by language models",
        samples,
    }
}

fn durations(readings: &Readings) -> Family {
    let mut samples = Vec::new();
    let mut cumulated = 0;
    let bounds = BOUNDS.iter().map(|bound| format!("{bound:?}"));
    let bounds = bounds.chain(["+Inf".to_owned()]);
    for (bound, count) in bounds.zip(readings.durations) {
        cumulated += count;
        samples.push(("_bucket", vec![("le", bound)], f64::from(cumulated as u32)));
    }
    let milliseconds = (readings.duration_sum * 1_000.0).round() / 1_000.0;
    samples.push(("_sum", Vec::new(), milliseconds));
    samples.push(("_count", Vec::new(), f64::from(cumulated as u32)));
    Family {
        name: "task_duration_seconds",
        kind: Kind::Histogram,
        help: "Time that a task took",
        samples,
    }
}

fn to_json(families: &[Family]) -> String {
    let mut metrics = Vec::new();
    for family in families {
        for (suffix, labels, value) in &family.samples {
            let labels: serde_json::Map<_, _> = labels
                .iter()
                .map(|(k, v)| ((*k).to_owned(), json!(v)))
                .collect();
            // The parts of a histogram count up each.
            let kind = match family.kind {
                Kind::Histogram => Kind::Counter,
                kind => kind,
            };
            metrics.push(json!({
                "name": format!("{}{suffix}", family.name),
                "type": kind.as_str(),
                "value": value,
                "labels": labels,
            }));
        }
    }
    json!({ "metrics": metrics }).to_string()
}

/// Prometheus text, or OpenMetrics, where a counter's family has no `_total` and its samples must.
fn to_text(families: &[Family], open: bool) -> String {
    let mut out = String::new();
    for family in families {
        let total = family.name.strip_suffix("_total");
        let (name, kind) = match (open, family.kind, total) {
            (true, Kind::Counter, Some(base)) => (base, "counter"),
            (true, Kind::Counter, None) => (family.name, "unknown"),
            (_, kind, _) => (family.name, kind.as_str()),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# HELP {name} {}", family.help);
        let _ = writeln!(out, "# TYPE {name} {kind}");
        for (suffix, labels, value) in &family.samples {
            out.push_str(family.name);
            out.push_str(suffix);
            for (i, (label, text)) in labels.iter().enumerate() {
                let open = if i == 0 { '{' } else { ',' };
                let _ = write!(out, "{open}{label}=\"{text}\"");
            }
            if !labels.is_empty() {
                out.push('}');
            }
            let _ = writeln!(out, " {value}");
        }
    }
    if open {
        out.push_str("# EOF\n");
    }
    out
}
