//! `longwatch completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{command::Cli, failure::Failure, output};

/// Print completions for a shell.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  longwatch completions bash > /usr/share/bash-completion/completions/longwatch"
)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Prints them.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "longwatch", &mut script);
        output::print(&script)
    }
}
