//! `longwatch check`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::{
    failure::{Failure, Status},
    output,
};
use crate::config::{self, ConfigErrors, Origin, Overrides};

/// Check files without using them.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  longwatch check config /etc/longwatch/longwatch.toml")]
pub(super) enum Check {
    Config(CheckConfig),
}

impl Check {
    /// Checks.
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Config(config) => config.run(),
        }
    }
}

/// Check a configuration file, and say the line and column of every mistake.
///
/// Looks at the file alone, neither at environment variables nor at the files that it names. Exit
/// status 1 when it has a mistake, 2 when there is no such file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  longwatch check config longwatch.toml\n  \
    longwatch check config longwatch.toml --format json")]
pub(super) struct CheckConfig {
    /// The file (TOML)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value = "text")]
    format: Answer,
}

/// Output for people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Answer {
    /// For people
    Text,
    /// For programs
    Json,
}

impl CheckConfig {
    fn run(&self) -> Result<(), Failure> {
        let no_environment = std::iter::empty::<(String, String)>();
        let loaded = config::load(Some(&self.file), no_environment, &Overrides::default());
        let errors = match loaded {
            Ok(_) => None,
            // Without a file there is nothing that could hold or not.
            Err(errors) if !self.file.exists() => return Err(errors.into()),
            Err(errors) => Some(errors),
        };
        match self.format {
            Answer::Text => self.tell(errors.as_ref())?,
            Answer::Json => {
                output::print(output::pretty(&answer(&self.file, errors.as_ref())).as_bytes())?;
            }
        }
        match errors {
            Some(_) => Err(Failure::told(Status::NotHeld)),
            None => Ok(()),
        }
    }

    fn tell(&self, errors: Option<&ConfigErrors>) -> Result<(), Failure> {
        let Some(errors) = errors else {
            return output::print(format!("{}: ok\n", self.file.display()).as_bytes());
        };
        // Bare lines, which editors jump to.
        for error in errors.iter() {
            output::tell(&error.to_string());
        }
        let count = errors.count();
        let noun = if count == 1 { "error" } else { "errors" };
        output::tell_error(&format!("{}: {count} {noun}", self.file.display()));
        Ok(())
    }
}

fn answer(file: &Path, errors: Option<&ConfigErrors>) -> serde_json::Value {
    let errors: Vec<_> = errors
        .into_iter()
        .flat_map(ConfigErrors::iter)
        .map(|error| {
            let (line, column) = match &error.origin {
                Origin::Place { line, column, .. } => (Some(line), Some(column)),
                _ => (None, None),
            };
            json!({"line": line, "column": column, "key": error.key, "reason": error.reason})
        })
        .collect();
    json!({"file": file.display().to_string(), "valid": errors.is_empty(), "errors": errors})
}
