//! Agents, their registration and status.

use std::fmt;

use super::{AgentId, AgentNo, Timestamp};

/// Status of an agent at a moment; `alerts::status` decides it from recorded series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AgentStatus {
    /// Answered within its time.
    Active,
    /// The last scrape or probe failed.
    Unhealthy,
    /// No contact for some intervals.
    Stale,
    /// No contact yet.
    Unknown,
}

impl AgentStatus {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Unhealthy => "unhealthy",
            Self::Stale => "stale",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for AgentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who told longwatch of an agent. Agents of the configuration and of target files cannot be changed over
/// HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegistrationSource {
    /// `[[agents]]` of the configuration.
    Config,
    /// `POST /api/v1/agents`.
    Api,
    /// Its first push or heartbeat.
    Push,
    /// longwatch itself: the host, the server.
    Builtin,
    /// A target file (Prometheus' `file_sd`).
    FileSd,
}

impl RegistrationSource {
    /// Whether only longwatch, its configuration or a target file may change the registration.
    pub const fn is_owned(self) -> bool {
        matches!(self, Self::Config | Self::Builtin | Self::FileSd)
    }
}

/// Shortest and longest interval of an agent, in milliseconds: below it scrapes cost more than they
/// tell, above it a week's report has nothing to say.
pub const INTERVAL_MS: std::ops::RangeInclusive<i64> = 100..=7 * super::DAY_MS;

/// What an agent's registration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// URL to scrape.
    pub metrics_endpoint: Option<String>,
    /// URL to probe.
    pub health_endpoint: Option<String>,
    /// Own interval in milliseconds; `None` takes `collect.interval`.
    pub interval_ms: Option<i64>,
    /// Own time-out of a scrape or probe in milliseconds; `None` takes `collect.scrape_timeout`.
    pub timeout_ms: Option<i64>,
    /// Process on this host.
    pub pid: Option<u32>,
    /// What tells that process from a later one with the same pid, as `collect::pid_start` gives it; `None`
    /// when there was no such process at the time of the registration.
    pub pid_start: Option<String>,
    /// Labels of the agent (`job` names its job), sorted by name.
    pub labels: Vec<(String, String)>,
    /// Free-form JSON object as text, `{}` when nothing was given.
    pub info: String,
    /// Keeps labels `agent_id`, `job`, `instance` that the target sends itself.
    pub honor_labels: bool,
    /// Who told of it.
    pub source: RegistrationSource,
}

impl Registration {
    /// Host and port of its endpoint, as the label `instance` gives them; `None` without an endpoint.
    pub fn instance(&self) -> Option<String> {
        let endpoint = self
            .metrics_endpoint
            .as_ref()
            .or(self.health_endpoint.as_ref())?;
        let (scheme, rest) = endpoint.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let host = authority.rsplit('@').next()?;
        let has_port = host.rsplit(':').next().is_some_and(|port| {
            host.contains(':') && !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
        });
        if has_port {
            return Some(host.to_owned());
        }
        let port = if scheme.eq_ignore_ascii_case("https") {
            443
        } else {
            80
        };
        Some(format!("{host}:{port}"))
    }

    /// A registration that says nothing but where it came from.
    pub fn bare(source: RegistrationSource) -> Self {
        Self {
            metrics_endpoint: None,
            health_endpoint: None,
            interval_ms: None,
            timeout_ms: None,
            pid: None,
            pid_start: None,
            labels: Vec::new(),
            info: "{}".to_owned(),
            honor_labels: false,
            source,
        }
    }

    /// Whether nothing is collected from it: it pushes, or it is silent.
    pub const fn is_push_only(&self) -> bool {
        self.metrics_endpoint.is_none()
            && self.health_endpoint.is_none()
            && !matches!(self.source, RegistrationSource::Builtin)
            && self.pid.is_none()
    }
}

/// An agent as it was registered at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its number in the file.
    pub no: AgentNo,
    /// Its id.
    pub id: AgentId,
    /// When the registration that held at the moment began; updates do not change it.
    pub registered_at: Timestamp,
    /// When it was deregistered, if it was at the moment.
    pub deregistered_at: Option<Timestamp>,
    /// What its registration says.
    pub registration: Registration,
}

/// A contact with an agent, told to the store with the samples that prove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contact {
    /// A scrape that succeeded (`None`) or failed (why); of an agent without an endpoint, the look at its process.
    Scrape {
        /// Why it failed.
        error: Option<String>,
    },
    /// A health probe that succeeded (`None`) or failed (why).
    Probe {
        /// Why it failed.
        error: Option<String>,
    },
    /// A push, heartbeat or spans.
    Push,
}
