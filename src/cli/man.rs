//! `longwatch man`

use std::{fmt::Write as _, path::PathBuf};

use clap::{Args, CommandFactory};

use super::{
    command::Cli,
    failure::{Failure, Status},
    output,
};
use crate::config;

/// Print the man page, or write one for each command.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  longwatch man | man -l -\n  longwatch man --dir /usr/share/man/man1"
)]
pub(super) struct Man {
    /// Write pages for all commands into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    /// Prints the page, or writes them all.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let Some(dir) = &self.dir else {
            return output::print(&main_page()?);
        };
        let wrong = |e| Failure::file(dir, &e);
        clap_mangen::generate_to(Cli::command(), dir).map_err(wrong)?;
        // The main page has sections that are not made from arguments.
        std::fs::write(dir.join("longwatch.1"), main_page()?).map_err(wrong)
    }
}

fn main_page() -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command().disable_help_subcommand(true))
        .render(&mut page)
        .map_err(|e| Failure::new(Status::NotHeld, e.to_string()))?;
    page.extend_from_slice(environment_section().as_bytes());
    Ok(page)
}

/// The environment, from the list of settings.
fn environment_section() -> String {
    let mut section = String::from(".SH ENVIRONMENT\n");
    let mut entry = |name: &str, meaning: &str| {
        // Writing to a text cannot fail.
        let _ = write!(
            section,
            ".TP\n\\fB{}\\fR\n{}\n",
            escape(name),
            escape(meaning)
        );
    };
    entry("LONGWATCH_CONFIG", "Configuration file of serve.");
    entry("LONGWATCH_TOKEN", "Token that commands send to a server.");
    entry("NO_COLOR", "Output without colour.");
    for setting in config::settings() {
        let default = setting.default.map_or_else(
            || "not set".to_owned(),
            |default| format!("default {default}"),
        );
        let meaning = setting.meaning;
        entry(&setting.variable, &format!("{meaning} ({default})"));
    }
    section
}

/// The text as roff prints it unchanged.
fn escape(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('-', "\\-");
    if escaped.starts_with(['.', '\'']) {
        format!("\\&{escaped}")
    } else {
        escaped
    }
}
