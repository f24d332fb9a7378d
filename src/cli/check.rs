//! `longwatch check`

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::{
    failure::{Failure, Status},
    output,
};
use crate::{
    config::{self, Config, ConfigError, Origin, Overrides, TargetLimits},
    model::AgentId,
};

/// Check files without using them.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  longwatch check config /etc/longwatch/longwatch.toml")]
pub(super) enum Check {
    Config(CheckConfig),
    Rules(CheckRules),
}

impl Check {
    /// Checks.
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Config(config) => config.run(),
            Self::Rules(rules) => rules.run(),
        }
    }
}

/// Check a configuration file and the target files that it names, and say the line and column of every mistake.
///
/// Looks at these files alone, neither at environment variables nor at certificates and tokens. A target file
/// that is not there, and a target whose agent id is taken, are told and are no mistakes. Exit status 1 when
/// there is a mistake, 2 when there is no such configuration.
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
        let found = match loaded {
            Ok(config) => {
                let mut found = Found::in_target_files_of(&config);
                found.look_into_rules_of(&config);
                found
            }
            // Without a file there is nothing that could hold or not.
            Err(errors) if !self.file.exists() => return Err(errors.into()),
            Err(errors) => Found {
                errors: errors.iter().cloned().collect(),
                remarks: Vec::new(),
            },
        };
        found.report(&self.file, self.format)
    }
}

/// Check a file of alert rules, or a directory of such files, and say the line and column of every mistake.
///
/// Exit status 1 when there is a mistake, 2 when there is no such file.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  longwatch check rules rules.toml\n  longwatch check rules alerts.yml\n  \
    longwatch check rules /etc/longwatch/rules --format json"
)]
pub(super) struct CheckRules {
    /// The file (TOML, or YAML in Prometheus' form) or directory
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value = "text")]
    format: Answer,
}

impl CheckRules {
    fn run(&self) -> Result<(), Failure> {
        let read = if self.file.is_dir() {
            config::read_rule_directory(&self.file)
        } else {
            config::read_rule_file(&self.file)
        };
        let mut found = Found::default();
        match read {
            Ok(rules) => found.remarks = config::rule_remarks(&rules),
            Err(errors) if !self.file.exists() => return Err(errors.into()),
            Err(errors) => found.errors.extend(errors.iter().cloned()),
        }
        found.report(&self.file, self.format)
    }
}

/// What a check found.
#[derive(Default)]
struct Found {
    /// Mistakes.
    errors: Vec<ConfigError>,
    /// What is worth knowing and no mistake.
    remarks: Vec<String>,
}

impl Found {
    /// Tells what was found; a failure when it holds a mistake.
    fn report(&self, file: &Path, format: Answer) -> Result<(), Failure> {
        match format {
            Answer::Text => self.tell(file)?,
            Answer::Json => output::print(output::pretty(&answer(file, self)).as_bytes())?,
        }
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(Failure::told(Status::NotHeld))
        }
    }

    fn tell(&self, file: &Path) -> Result<(), Failure> {
        // Bare lines, which editors jump to.
        for remark in &self.remarks {
            output::tell(remark);
        }
        if self.errors.is_empty() {
            return output::print(format!("{}: ok\n", file.display()).as_bytes());
        }
        for error in &self.errors {
            output::tell(&error.to_string());
        }
        let count = self.errors.len();
        let noun = if count == 1 { "error" } else { "errors" };
        output::tell_error(&format!("{}: {count} {noun}", file.display()));
        Ok(())
    }

    /// Looks into the rules directory, and for names that are taken.
    fn look_into_rules_of(&mut self, config: &Config) {
        let Some(directory) = &config.rules.directory else {
            return;
        };
        match config::read_rule_directory(directory) {
            Ok(rules) => {
                let of_config = &config.rules.rules;
                let taken = rules.iter().filter(|found| {
                    let name = &found.rule.rule.name;
                    of_config.iter().any(|rule| rule.rule.name == *name)
                });
                self.errors.extend(taken.map(|found| ConfigError {
                    origin: found.at.clone(),
                    key: "rule.name".to_owned(),
                    reason: format!(
                        "rule `{}` is defined in the configuration file, too",
                        found.rule.rule.name
                    ),
                }));
            }
            Err(errors) => self.errors.extend(errors.iter().cloned()),
        }
    }

    fn in_target_files_of(config: &Config) -> Self {
        let mut found = Self::default();
        let mut files = BTreeSet::new();
        for pattern in &config.file_sd.patterns {
            match pattern.files() {
                Ok(none) if none.is_empty() => {
                    found
                        .remarks
                        .push(format!("{}: no such file", pattern.as_str()));
                }
                Ok(some) => files.extend(some),
                Err(e) => found.errors.push(ConfigError {
                    origin: Origin::File {
                        path: pattern.folder().to_owned(),
                    },
                    key: String::new(),
                    reason: format!("cannot be listed: {e}"),
                }),
            }
        }
        let limits = TargetLimits {
            targets_max: config.file_sd.targets_max,
            labels: &config.store.limits,
        };
        let mut targets = Vec::new();
        for file in files {
            match config::read_targets(&file, &limits) {
                Ok(some) => targets.extend(some),
                Err(errors) => found.errors.extend(errors.iter().cloned()),
            }
        }
        let configured: HashSet<_> = config.agents.iter().map(|a| &a.id).collect();
        let owner_of = |id: &AgentId| {
            let is_taken = configured.contains(id);
            is_taken.then_some("an agent of the configuration")
        };
        let left_out = config::call_roll(&targets, owner_of).left_out;
        let remarks = left_out.iter().map(ToString::to_string);
        found.remarks.extend(remarks);
        found
    }
}

fn answer(file: &Path, found: &Found) -> serde_json::Value {
    let errors: Vec<_> = found
        .errors
        .iter()
        .map(|error| {
            let (path, line, column) = match &error.origin {
                Origin::Place { path, line, column } => (path.as_path(), Some(line), Some(column)),
                Origin::File { path } => (path.as_path(), None, None),
                _ => (file, None, None),
            };
            json!({"file": path.display().to_string(), "line": line, "column": column,
                "key": error.key, "reason": error.reason})
        })
        .collect();
    json!({"file": file.display().to_string(), "valid": errors.is_empty(), "errors": errors,
        "remarks": found.remarks})
}
