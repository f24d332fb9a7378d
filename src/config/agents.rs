//! `[[agents]]`: agents that the configuration registers.

use serde_json::{Map, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    ConfigError, ConfiguredAgent, Origin,
    file::{Entry, Source, entries},
    suggest::nearest,
    table::KeyInfo,
    value::{Given, check_url, kind_of},
};
use crate::model::{
    AgentId, INTERVAL_MS, Limits, Registration, RegistrationSource, format_duration_ms,
};

/// Name of the section.
pub(super) const SECTION: &str = "agents";

/// Shortest and longest time-out of a scrape, in milliseconds.
pub(super) const TIMEOUT_MS: std::ops::RangeInclusive<i64> = 10..=3_600_000;

/// Longest `info`, as JSON, in bytes; the same as over HTTP.
const INFO_BYTES_MAX: usize = 16 << 10;

/// Every key of `[[agents]]`.
pub const AGENT_KEYS: [KeyInfo; 9] = [
    KeyInfo {
        key: "agent_id",
        form: "agent id",
        meaning: "What the agent is called; required, and unique.",
    },
    KeyInfo {
        key: "metrics_endpoint",
        form: "URL, http or https",
        meaning: "What is scraped: the JSON document, Prometheus text or OpenMetrics.",
    },
    KeyInfo {
        key: "health_endpoint",
        form: "URL, http or https",
        meaning: "What is probed; any answer of 200 to 299 is healthy.",
    },
    KeyInfo {
        key: "collection_interval",
        form: "duration, 100ms to 7d",
        meaning: "The agent's own interval; `collect.interval` unless set.",
    },
    KeyInfo {
        key: "scrape_timeout",
        form: "duration, 10ms to 1h",
        meaning: "The agent's own time-out; `collect.scrape_timeout` unless set. The interval counts when that is shorter.",
    },
    KeyInfo {
        key: "pid",
        form: "number, 1 to 4294967295",
        meaning: "The agent's process on this host, whose figures are sampled; see docs/collection.md.",
    },
    KeyInfo {
        key: "labels",
        form: "table of texts",
        meaning: "Labels of the agent; `job` names its job. `agent_id`, `instance` and names that begin with `__` are refused, since longwatch sets them.",
    },
    KeyInfo {
        key: "info",
        form: "table, up to 16 KiB as JSON",
        meaning: "Anything worth knowing about the agent; shown, never interpreted.",
    },
    KeyInfo {
        key: "honor_labels",
        form: "`true` or `false`",
        meaning: "Keeps the labels `agent_id`, `job` and `instance` that the target sends itself; without it they are renamed to `exported_...`.",
    },
];

/// Whether the id is longwatch's own.
pub(super) fn is_reserved(id: &str) -> bool {
    id == "longwatch"
}

/// Agents that were found, each with the place of its id, and what is wrong.
#[derive(Default)]
pub(super) struct Found {
    /// Agents without a mistake.
    pub(super) agents: Vec<(ConfiguredAgent, Origin)>,
    /// Mistakes of the others.
    pub(super) errors: Vec<ConfigError>,
}

/// Reads the section. Of a file whose syntax is broken (`is_torn`), a missing key is no mistake: it
/// may be what could not be read.
pub(super) fn read(
    source: &Source,
    section: &Spanned<DeValue<'_>>,
    limits: &Limits,
    is_torn: bool,
) -> Found {
    let mut found = Found::default();
    let at = section.span().start;
    let DeValue::Array(tables) = section.get_ref() else {
        let reason = format!(
            "expected sections [[agents]], found {}",
            kind_of(section.get_ref())
        );
        found
            .errors
            .push(source.error(at, SECTION.to_owned(), reason));
        return found;
    };
    if tables.len() > limits.agents_total {
        let reason = format!(
            "{} agents are more than limits.agents_total ({})",
            tables.len(),
            limits.agents_total
        );
        found
            .errors
            .push(source.error(at, SECTION.to_owned(), reason));
        return found;
    }
    for table in tables {
        let at = table.span().start;
        let DeValue::Table(entries) = table.get_ref() else {
            let reason = format!("expected a table, found {}", kind_of(table.get_ref()));
            found
                .errors
                .push(source.error(at, SECTION.to_owned(), reason));
            continue;
        };
        let mut reader = AgentReader {
            source,
            limits,
            id: None,
            registration: Registration::bare(RegistrationSource::Config),
            errors: Vec::new(),
        };
        reader.take_table(entries);
        if !entries.contains_key("agent_id") && !is_torn {
            reader.report(at, "agent_id", "is missing".to_owned());
        }
        match (reader.id, reader.errors.is_empty()) {
            (Some((id, at)), true) => {
                let registration = reader.registration;
                found
                    .agents
                    .push((ConfiguredAgent { id, registration }, at));
            }
            _ => found.errors.append(&mut reader.errors),
        }
    }
    found
}

struct AgentReader<'a> {
    source: &'a Source,
    limits: &'a Limits,
    id: Option<(AgentId, Origin)>,
    registration: Registration,
    errors: Vec<ConfigError>,
}

impl AgentReader<'_> {
    fn report(&mut self, at: usize, key: &str, reason: String) {
        let error = self.source.error(at, format!("{SECTION}.{key}"), reason);
        self.errors.push(error);
    }

    fn take_table(&mut self, table: &DeTable<'_>) {
        for entry in entries(table) {
            let at = entry.value_span.start;
            match (entry.key, entry.value) {
                ("labels", DeValue::Table(labels)) => self.take_labels(labels, at),
                ("info", DeValue::Table(info)) => self.take_info(info, at),
                _ => {
                    if let Err((at, reason)) = self.take_key(&entry) {
                        self.report(at, entry.key, reason);
                    }
                }
            }
        }
    }

    /// Takes a key with a single value; the error says where it is.
    fn take_key(&mut self, entry: &Entry<'_>) -> Result<(), (usize, String)> {
        let at = entry.value_span.start;
        let given = Given::Toml(entry.value);
        let wrong = |reason: String| (at, reason);
        let registration = &mut self.registration;
        match entry.key {
            "agent_id" => {
                let text = given.text("an agent id").map_err(wrong)?;
                let id = AgentId::new(text).map_err(|e| wrong(e.to_string()))?;
                if is_reserved(text) {
                    return Err(wrong(format!("`{text}` is longwatch's own id")));
                }
                self.id = Some((id, self.source.place(at)));
            }
            "metrics_endpoint" => {
                registration.metrics_endpoint = Some(take_url(given).map_err(wrong)?);
            }
            "health_endpoint" => {
                registration.health_endpoint = Some(take_url(given).map_err(wrong)?);
            }
            "collection_interval" => {
                let ms = given.duration_ms().and_then(check_interval);
                registration.interval_ms = Some(ms.map_err(wrong)?);
            }
            "scrape_timeout" => {
                let ms = given.duration_ms().and_then(check_timeout);
                registration.timeout_ms = Some(ms.map_err(wrong)?);
            }
            "pid" => {
                let pid = given.count("a process id").map_err(wrong)?;
                let pid = u32::try_from(pid).ok().filter(|pid| *pid > 0);
                registration.pid =
                    Some(pid.ok_or_else(|| wrong(format!("must be between 1 and {}", u32::MAX)))?);
            }
            "honor_labels" => registration.honor_labels = given.switch().map_err(wrong)?,
            "labels" | "info" => {
                return Err(wrong(format!(
                    "expected a table, found {}",
                    kind_of(entry.value)
                )));
            }
            unknown => {
                let hint = nearest(unknown, AGENT_KEYS.iter().map(|k| k.key))
                    .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                return Err((entry.key_span.start, format!("unknown key{hint}")));
            }
        }
        Ok(())
    }

    fn take_labels(&mut self, table: &DeTable<'_>, at: usize) {
        if table.len() > self.limits.labels_per_series {
            let reason = format!("more than {} labels", self.limits.labels_per_series);
            self.report(at, "labels", reason);
            return;
        }
        let mut labels = Vec::new();
        for entry in entries(table) {
            let name = entry.key;
            match check_label(&entry, self.limits) {
                // An empty value means that the label is absent.
                Ok("") => {}
                Ok(value) => labels.push((name.to_owned(), value.to_owned())),
                Err((at, reason)) => self.report(at, &format!("labels.{name}"), reason),
            }
        }
        labels.sort();
        self.registration.labels = labels;
    }

    fn take_info(&mut self, table: &DeTable<'_>, at: usize) {
        let text = Value::Object(json_object(table)).to_string();
        if text.len() > INFO_BYTES_MAX {
            let reason = format!(
                "takes {} bytes as JSON, at most {INFO_BYTES_MAX} are kept",
                text.len()
            );
            self.report(at, "info", reason);
            return;
        }
        self.registration.info = text;
    }
}

/// An agent's interval, in milliseconds, as far as it may be one.
pub(super) fn check_interval(ms: i64) -> Result<i64, String> {
    check_duration(ms, &INTERVAL_MS)
}

/// An agent's time-out, in milliseconds, as far as it may be one.
pub(super) fn check_timeout(ms: i64) -> Result<i64, String> {
    check_duration(ms, &TIMEOUT_MS)
}

fn check_duration(ms: i64, bounds: &std::ops::RangeInclusive<i64>) -> Result<i64, String> {
    if bounds.contains(&ms) {
        return Ok(ms);
    }
    let [least, most, given] = [*bounds.start(), *bounds.end(), ms].map(format_duration_ms);
    Err(format!("must be between {least} and {most}, not {given}"))
}

fn take_url(given: Given<'_>) -> Result<String, String> {
    let text = given.text("a URL")?;
    check_url(text)?;
    Ok(text.to_owned())
}

fn check_label<'a>(entry: &Entry<'a>, limits: &Limits) -> Result<&'a str, (usize, String)> {
    let name = entry.key;
    let (name_at, value_at) = (entry.key_span.start, entry.value_span.start);
    if name.is_empty() {
        return Err((name_at, "a label name must not be empty".to_owned()));
    }
    if name.len() > limits.label_name_bytes {
        let reason = format!("a label name has at most {} bytes", limits.label_name_bytes);
        return Err((name_at, reason));
    }
    if matches!(name, "agent_id" | "instance") || name.starts_with("__") {
        return Err((name_at, "this label is set by longwatch itself".to_owned()));
    }
    let DeValue::String(value) = entry.value else {
        let reason = format!("expected text, found {}", kind_of(entry.value));
        return Err((value_at, reason));
    };
    if value.len() > limits.label_value_bytes {
        let reason = format!(
            "a label value has at most {} bytes",
            limits.label_value_bytes
        );
        return Err((value_at, reason));
    }
    Ok(value)
}

/// The table as JSON: dates and numbers that JSON does not know become text.
fn json_object(table: &DeTable<'_>) -> Map<String, Value> {
    entries(table)
        .map(|entry| (entry.key.to_owned(), json_value(entry.value)))
        .collect()
}

/// The parser bounds how deep tables and lists are nested, and with it this recursion.
fn json_value(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Boolean(on) => (*on).into(),
        DeValue::Datetime(date) => date.to_string().into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| number.to_string().into(), Value::from),
        DeValue::Float(number) => {
            let parsed = number.as_str().parse::<f64>().unwrap_or(f64::NAN);
            if parsed.is_nan() {
                "NaN".into()
            } else if parsed.is_infinite() {
                if parsed > 0.0 { "+Inf" } else { "-Inf" }.into()
            } else {
                parsed.into()
            }
        }
        DeValue::Array(values) => values.iter().map(|v| json_value(v.get_ref())).collect(),
        DeValue::Table(table) => Value::Object(json_object(table)),
    }
}
