//! `longwatch serve`

use std::path::PathBuf;

use clap::Args;

use super::failure::{Failure, Status};
use crate::{
    app,
    config::{self, Overrides},
};

/// Run the monitor: collect, keep, answer.
///
/// Works without any configuration: database `longwatch.redb` in the working directory, listens on
/// 127.0.0.1:7464, watches this host and itself. Flags win over environment variables (LONGWATCH_...),
/// and these over the file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  longwatch serve\n  \
    longwatch serve --config /etc/longwatch/longwatch.toml\n  \
    longwatch serve --db /var/lib/longwatch/longwatch.redb --retention 400d\n  \
    longwatch serve --listen 0.0.0.0:7464 --tokens-file tokens.toml")]
pub(super) struct Serve {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "LONGWATCH_CONFIG")]
    config: Option<PathBuf>,
    /// Database file; made when it is missing
    #[arg(long, value_name = "FILE")]
    db: Option<String>,
    /// IP address and port to listen on
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// How long samples are kept, such as 30d
    #[arg(long, value_name = "DURATION")]
    retention: Option<String>,
    /// File of bearer tokens with their roles
    #[arg(long, value_name = "FILE")]
    tokens_file: Option<String>,
    /// Certificate chain (PEM) to serve TLS with
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// Private key (PEM) of the certificate
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// Listen beyond loopback without tokens: whoever reaches the port may read and write
    #[arg(long)]
    insecure: bool,
    /// off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Serve {
    /// Serves until a signal ends it.
    pub(super) fn run(self) -> Result<(), Failure> {
        let overrides = Overrides {
            db: self.db,
            listen: self.listen,
            retention: self.retention,
            tokens_file: self.tokens_file,
            tls_cert: self.tls_cert,
            tls_key: self.tls_key,
            insecure: self.insecure,
            log_level: self.log_level,
            log_format: self.log_format,
        };
        let config = config::load(self.config.as_deref(), std::env::vars_os(), &overrides)?;
        runtime()?
            .block_on(app::serve(config))
            .map_err(Failure::from)
    }
}

/// Threads that a server runs on.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Status::NotHeld, format!("threads cannot be started: {e}")))
}
