//! `longwatch agent`

use std::path::PathBuf;

use clap::Args;

use super::{
    failure::{Failure, Status},
    serve::runtime,
};
use crate::{
    app,
    config::{self, Overrides},
    model::{AgentId, OWN_ID},
    notify::Secret,
};

/// The variable that holds a client's token.
const TOKEN_VARIABLE: &str = "LONGWATCH_TOKEN";

/// Watch another host, and send what is seen to a longwatch.
///
/// Samples this host, and what the configuration's [[agents]] name: processes by their pid, endpoints by their URL.
/// What the server did not take yet waits in a spool, a file of its own, bounded by [forward] spool_size and
/// spool_age; the last day stays in it besides, for `longwatch query --db` and `longwatch report --db`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  longwatch agent --to http://watch.example:7464\n  \
    longwatch agent --to https://watch.example --token-file token --spool /var/lib/longwatch/spool.redb\n  \
    longwatch agent --to https://mimir.example/api/v1/push --config agent.toml"
)]
pub(super) struct Agent {
    /// The longwatch to send to, or any receiver of Prometheus remote write with its path
    #[arg(long, value_name = "URL")]
    to: String,
    /// File of the bearer token that the server asks for; without it LONGWATCH_TOKEN counts
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The spool; made when it is missing
    #[arg(long, value_name = "FILE", default_value = "longwatch-spool.redb")]
    spool: String,
    /// Id of this host; the hostname when nothing else is said
    #[arg(long = "agent-id", value_name = "ID")]
    host: Option<String>,
    /// Configuration file (TOML); [collect], [host], [[agents]], [forward], [limits], [storage] and [log] count
    #[arg(long, value_name = "FILE", env = "LONGWATCH_CONFIG")]
    config: Option<PathBuf>,
    /// off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Agent {
    /// Collects and sends until a signal ends it.
    pub(super) fn run(self) -> Result<(), Failure> {
        let overrides = Overrides {
            db: Some(self.spool),
            log_level: self.log_level,
            log_format: self.log_format,
            ..Overrides::default()
        };
        let config = config::load(self.config.as_deref(), std::env::vars_os(), &overrides)?;
        let mut config = config
            .into_agent(&self.to)
            .map_err(|why| Failure::new(Status::Usage, format!("--to: {why}")))?;
        if let Some(text) = &self.host {
            let id = AgentId::new(text)
                .map_err(|why| Failure::new(Status::Usage, format!("--agent-id: {why}")))?;
            if text == OWN_ID {
                let why = format!("--agent-id: `{OWN_ID}` is the agent that longwatch itself is");
                return Err(Failure::new(Status::Usage, why));
            }
            config.collect.host_agent_id = Some(id.to_string());
        }
        if let Some(path) = self.token_file {
            config.forward.token = Some(Secret::File(path));
        } else if config.forward.token.is_none()
            && std::env::var_os(TOKEN_VARIABLE).is_some_and(|token| !token.is_empty())
        {
            config.forward.token = Some(Secret::Variable(TOKEN_VARIABLE.to_owned()));
        }
        runtime()?
            .block_on(app::agent(config))
            .map_err(Failure::from)
    }
}
