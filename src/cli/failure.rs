//! Why a command did not do what it was asked, and the exit status that says so.

use std::{fmt::Display, io, path::Path};

use super::output;
use crate::{app::StartError, config::ConfigErrors, model::ReadError, store::OpenError};

/// Exit status of a command that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Status {
    /// Nobody reads the output any more; no failure of the command.
    Unread = 0,
    /// What was checked does not hold, or something else failed.
    NotHeld = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// The database cannot be used.
    Database = 3,
}

/// A failed command: its exit status, and what to tell, a line each.
#[derive(Debug)]
pub(super) struct Failure {
    status: Status,
    lines: Vec<String>,
}

impl Failure {
    /// A failure with one reason.
    pub(super) fn new(status: Status, reason: impl Into<String>) -> Self {
        Self {
            status,
            lines: vec![reason.into()],
        }
    }

    /// A file that could not be read or written.
    pub(super) fn file(path: &Path, error: &io::Error) -> Self {
        Self::new(Status::NotHeld, format!("{}: {error}", path.display()))
    }

    /// A failure whose reasons were told already.
    pub(super) fn told(status: Status) -> Self {
        Self {
            status,
            lines: Vec::new(),
        }
    }

    /// The exit status.
    pub(super) fn status(&self) -> Status {
        self.status
    }

    /// Tells the reasons on stderr.
    pub(super) fn tell(&self) {
        for line in &self.lines {
            output::tell_error(line);
        }
    }
}

/// An error with its causes, as far as they add something.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    text
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::new(Status::Database, error.to_string())
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::new(Status::Database, error.to_string())
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self {
            status: Status::Usage,
            lines: errors.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Open(e) => e.into(),
            StartError::Config(reason) => Self::new(Status::Usage, reason),
            StartError::Io { what, source } => Self::new(Status::NotHeld, named(&what, &source)),
            StartError::Other(e) => Self::new(Status::NotHeld, format!("{e:#}")),
        }
    }
}

fn named(what: &str, why: &dyn Display) -> String {
    format!("{what}: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_status() {
        let missing = || OpenError::Missing {
            path: "x.redb".into(),
        };
        let io = || io::Error::other("address in use");
        for (failure, status, line) in [
            (Failure::from(missing()), 3, "x.redb: no such file"),
            (
                StartError::Open(missing()).into(),
                3,
                "x.redb: no such file",
            ),
            (
                ReadError::Damaged("block 7".to_owned()).into(),
                3,
                "damaged data: block 7",
            ),
            (
                StartError::Config("no tokens".to_owned()).into(),
                2,
                "no tokens",
            ),
            (
                StartError::Io {
                    what: "127.0.0.1:7464".to_owned(),
                    source: io(),
                }
                .into(),
                1,
                "127.0.0.1:7464: address in use",
            ),
            (
                StartError::Other(anyhow::Error::from(io()).context("the clock")).into(),
                1,
                "the clock: address in use",
            ),
        ] {
            assert_eq!(failure.status() as u8, status);
            assert_eq!(failure.lines, [line]);
        }
    }
}
