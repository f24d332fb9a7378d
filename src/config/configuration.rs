//! What a configuration says, as each room takes it.

use std::{fmt, path::PathBuf};

use tracing::level_filters::LevelFilter;

use super::TargetPattern;
use crate::{
    api, collect, forward,
    model::{AgentId, DAY_MS, Registration, StoredRule},
    notify, store, traces,
};

/// Everything that `serve` needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The database file (`database`, `longwatch.redb` in the working directory).
    pub database: PathBuf,
    /// What is logged and how (`[log]`).
    pub log: LogSettings,
    /// The HTTP edge (`[http]`).
    pub api: api::Settings,
    /// Collection (`[collect]`, `[host]`).
    pub collect: collect::Settings,
    /// The store (`[storage]`, `[limits]`) with the policy that decides results (`[collect]`, `[health]`).
    pub store: store::Settings,
    /// Agents of the configuration (`[[agents]]`), in the file's order; their ids are unique.
    pub agents: Vec<ConfiguredAgent>,
    /// Target files (`[collect] file_sd...`).
    pub file_sd: FileSdSettings,
    /// Alert rules (`[rules]`, `[[rule]]`).
    pub rules: RuleSettings,
    /// Notifications (`[notify]`).
    pub notify: notify::Settings,
    /// Where samples are sent on to (`[forward]`).
    pub forward: forward::Settings,
    /// What is derived from traces (`[traces]`).
    pub watch: traces::WatchSettings,
}

impl Config {
    /// Makes it the configuration of an agent on another host: the file is a spool, and what is in it is sent to `to`.
    /// Beside what waits only the last day is kept there.
    ///
    /// # Errors
    /// Why `to` is no URL.
    pub fn into_agent(mut self, to: &str) -> Result<Self, String> {
        super::value::check_url(to)?;
        self.forward.url = Some(notify::Secret::Text(to.to_owned()));
        let bounds = self.forward.spool;
        self.store.spool = Some(bounds);
        self.store.is_spool = true;
        self.store.retention_ms = DAY_MS;
        self.store.rollup_retention_ms = DAY_MS;
        self.store.alert_retention_ms = DAY_MS;
        self.store.retention_bytes = bounds.bytes_max;
        Ok(self)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            database: PathBuf::from("longwatch.redb"),
            log: LogSettings::default(),
            api: api::Settings::default(),
            collect: collect::Settings::default(),
            store: store::Settings::default(),
            agents: Vec::new(),
            file_sd: FileSdSettings::default(),
            rules: RuleSettings::default(),
            notify: notify::Settings::default(),
            forward: forward::Settings::default(),
            watch: traces::WatchSettings::default(),
        }
    }
}

/// Where target files are, and how they are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSdSettings {
    /// Which files (`file_sd`, none).
    pub patterns: Vec<TargetPattern>,
    /// They are read anew so often even if no change is told, in milliseconds (`file_sd_refresh`, 5 min).
    pub refresh_ms: i64,
    /// Targets of one file (`file_sd_targets_max`, 10,000).
    pub targets_max: usize,
}

impl Default for FileSdSettings {
    fn default() -> Self {
        Self {
            patterns: Vec::new(),
            refresh_ms: 300_000,
            targets_max: 10_000,
        }
    }
}

/// Alert rules, and how they are evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleSettings {
    /// What time decides is evaluated so often, in milliseconds (`evaluation_interval`, 15 s).
    pub interval_ms: i64,
    /// Directory of files of rules (`dir`, none).
    pub directory: Option<PathBuf>,
    /// Rules of the configuration (`[[rule]]`).
    pub rules: Vec<StoredRule>,
}

impl Default for RuleSettings {
    fn default() -> Self {
        Self {
            interval_ms: 15_000,
            directory: None,
            rules: Vec::new(),
        }
    }
}

/// What is logged and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Lines below this level are left out (`level`, info).
    pub level: LevelFilter,
    /// Form of a line (`format`, text).
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            level: LevelFilter::INFO,
            format: LogFormat::Text,
        }
    }
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// An agent of the configuration or of a target file.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfiguredAgent {
    /// Its id.
    pub id: AgentId,
    /// What its registration says; the source is `Config` or `FileSd`.
    pub registration: Registration,
}

/// Endpoints may carry user and password, so they stay out of debug output.
impl fmt::Debug for ConfiguredAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfiguredAgent")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
