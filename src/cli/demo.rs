//! `longwatch demo`

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::{failure::Failure, serve::runtime};
use crate::app::{self, DemoOptions};

/// Serve a small simulated fleet, so that every screen has something to show in 10 seconds.
///
/// The agents are real HTTP endpoints on this host. Without --db the database is temporary.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  longwatch demo\n  longwatch demo --agents 30 --db demo.redb")]
pub(super) struct Demo {
    /// IP address and port to listen on
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Keep the database in this file
    #[arg(long, value_name = "FILE")]
    db: Option<PathBuf>,
    /// Simulated agents
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=1000))]
    agents: u16,
}

impl Demo {
    /// Serves until a signal ends it.
    pub(super) fn run(self) -> Result<(), Failure> {
        let options = DemoOptions {
            listen: self.listen,
            db: self.db,
            agents: usize::from(self.agents),
        };
        runtime()?
            .block_on(app::demo(options))
            .map_err(Failure::from)
    }
}
