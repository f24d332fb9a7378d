//! From a group of targets to agents: what each label means.

use url::Url;

use super::document::{Group, Placed};
use crate::{
    config::{
        ConfigError, ConfiguredAgent, Origin,
        agents::{check_interval, check_timeout, is_reserved},
        value::check_url,
    },
    model::{AgentId, Limits, Registration, RegistrationSource, parse_duration_ms},
};

/// What a target file may hold.
#[derive(Clone, Copy, Debug)]
pub struct TargetLimits<'a> {
    /// Targets of one file (`collect.file_sd_targets_max`).
    pub targets_max: usize,
    /// Limits on labels.
    pub labels: &'a Limits,
}

/// An agent that a target file names, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileTarget {
    /// The agent; its source is `FileSd`.
    pub agent: ConfiguredAgent,
    /// The place of the target.
    pub origin: Origin,
}

/// What the labels of a group say.
struct Meaning {
    scheme: String,
    metrics_path: String,
    health_path: Option<String>,
    /// Parameters of the scrape's URL, sorted by name.
    parameters: Vec<(String, String)>,
    interval_ms: Option<i64>,
    timeout_ms: Option<i64>,
    agent_id: Option<AgentId>,
    instance: Option<AgentId>,
    /// The agents' own labels, sorted by name.
    labels: Vec<(String, String)>,
}

/// Takes the agents of a group; a group with a mistake in its labels gives none.
pub(super) fn take_group(
    group: &Group,
    limits: &TargetLimits<'_>,
    targets: &mut Vec<FileTarget>,
    errors: &mut Vec<ConfigError>,
) {
    let Some(meaning) = Meaning::of(group, limits.labels, errors) else {
        return;
    };
    for target in &group.targets {
        match meaning.agent(target) {
            Ok(agent) => targets.push(FileTarget {
                agent,
                origin: target.at.clone(),
            }),
            Err(reason) => errors.push(error(target, "targets".to_owned(), reason)),
        }
    }
}

fn error(placed: &Placed<String>, key: String, reason: String) -> ConfigError {
    ConfigError {
        origin: placed.at.clone(),
        key,
        reason,
    }
}

impl Meaning {
    fn of(group: &Group, limits: &Limits, errors: &mut Vec<ConfigError>) -> Option<Self> {
        let before = errors.len();
        if let Some((_, excess)) = group.labels.get(limits.labels_per_series) {
            let reason = format!("more than {} labels", limits.labels_per_series);
            errors.push(error(excess, "labels".to_owned(), reason));
            return None;
        }
        let mut meaning = Self {
            scheme: "http".to_owned(),
            metrics_path: "/metrics".to_owned(),
            health_path: None,
            parameters: Vec::new(),
            interval_ms: None,
            timeout_ms: None,
            agent_id: None,
            instance: None,
            labels: Vec::new(),
        };
        for (name, value) in &group.labels {
            let taken = check_label(name, &value.value, limits)
                .and_then(|()| meaning.take(name, &value.value));
            if let Err(reason) = taken {
                errors.push(error(value, format!("labels.{name}"), reason));
            }
        }
        if let (Some(timeout), Some(interval)) = (meaning.timeout_ms, meaning.interval_ms)
            && timeout > interval
        {
            let label = |name: &str| group.labels.iter().find(|(n, _)| n == name);
            if let Some((name, value)) = label(TIMEOUT) {
                let reason = "must not be longer than `__scrape_interval__`".to_owned();
                errors.push(error(value, format!("labels.{name}"), reason));
            }
        }
        meaning.labels.sort();
        meaning.parameters.sort();
        (errors.len() == before).then_some(meaning)
    }

    /// Takes a label; an empty value means that it is absent.
    fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        if value.is_empty() {
            return Ok(());
        }
        match name {
            "__scheme__" => {
                if !matches!(value, "http" | "https") {
                    return Err("must be http or https".to_owned());
                }
                value.clone_into(&mut self.scheme);
            }
            "__metrics_path__" => value.clone_into(&mut self.metrics_path),
            "__health_path__" => self.health_path = Some(value.to_owned()),
            "__scrape_interval__" => self.interval_ms = Some(check_interval(duration_ms(value)?)?),
            TIMEOUT => self.timeout_ms = Some(check_timeout(duration_ms(value)?)?),
            "agent_id" => self.agent_id = Some(agent_id(value)?),
            "instance" => self.instance = Some(agent_id(value)?),
            _ => {
                if let Some(parameter) = name.strip_prefix("__param_") {
                    let parameter = (parameter.to_owned(), value.to_owned());
                    self.parameters.push(parameter);
                } else if !name.starts_with("__") {
                    self.labels.push((name.to_owned(), value.to_owned()));
                }
            }
        }
        Ok(())
    }

    fn agent(&self, target: &Placed<String>) -> Result<ConfiguredAgent, String> {
        let address = target.value.as_str();
        let base = self.base(address)?;
        let id = match self.agent_id.as_ref().or(self.instance.as_ref()) {
            Some(id) => id.clone(),
            None => agent_id(address)?,
        };
        let mut metrics = base.clone();
        metrics.set_path(&self.metrics_path);
        if !self.parameters.is_empty() {
            metrics.query_pairs_mut().extend_pairs(&self.parameters);
        }
        let health = self.health_path.as_ref().map(|path| {
            let mut health = base;
            health.set_path(path);
            health.to_string()
        });
        let metrics = metrics.to_string();
        for url in std::iter::once(&metrics).chain(&health) {
            check_url(url)?;
        }
        Ok(ConfiguredAgent {
            id,
            registration: Registration {
                metrics_endpoint: Some(metrics),
                health_endpoint: health,
                interval_ms: self.interval_ms,
                timeout_ms: self.timeout_ms,
                labels: self.labels.clone(),
                ..Registration::bare(RegistrationSource::FileSd)
            },
        })
    }

    /// The address as a URL without a path.
    fn base(&self, address: &str) -> Result<Url, String> {
        let is_foreign = |c: char| matches!(c, '/' | '?' | '#' | '@' | '\\') || c.is_whitespace();
        if address.is_empty() || address.contains(is_foreign) {
            return Err("must be a host and port, such as 10.0.0.7:9100".to_owned());
        }
        Url::parse(&format!("{}://{address}", self.scheme))
            .map_err(|e| format!("is not a host and port: {e}"))
    }
}

const TIMEOUT: &str = "__scrape_timeout__";

fn duration_ms(text: &str) -> Result<i64, String> {
    parse_duration_ms(text).map_err(|e| e.to_string())
}

fn agent_id(text: &str) -> Result<AgentId, String> {
    if is_reserved(text) {
        return Err(format!("`{text}` is longwatch's own id"));
    }
    AgentId::new(text).map_err(|e| e.to_string())
}

fn check_label(name: &str, value: &str, limits: &Limits) -> Result<(), String> {
    if name.is_empty() {
        return Err("a label name must not be empty".to_owned());
    }
    let longest = limits.label_name_bytes;
    if name.len() > longest {
        return Err(format!("a label name has at most {longest} bytes"));
    }
    let longest = limits.label_value_bytes;
    if value.len() > longest {
        return Err(format!("a label value has at most {longest} bytes"));
    }
    Ok(())
}
