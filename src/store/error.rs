//! What can go wrong with the file and with a write.

use std::path::PathBuf;

/// Why a file cannot be used. Each is a reason of its own to the user (exit status 3).
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no such file.
    #[error("{path}: no such file")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Some other program's file.
    #[error("{path}: not a longwatch file ({why})")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// How that shows.
        why: String,
    },
    /// Written by a newer longwatch.
    #[error("{path}: written by a newer longwatch ({what}); this one reads up to schema {known}")]
    TooNew {
        /// The file.
        path: PathBuf,
        /// What this one does not know.
        what: String,
        /// Newest schema version this binary knows.
        known: u32,
    },
    /// Older than the oldest schema that this longwatch can migrate.
    #[error(
        "{path}: schema {found} is too old for this longwatch, which migrates from {oldest} on"
    )]
    TooOld {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: u32,
        /// Oldest schema that can be migrated.
        oldest: u32,
    },
    /// Torn, truncated or overwritten.
    #[error(
        "{path}: damaged: {why}. If it was copied from a running server, take the copy with `longwatch db snapshot`"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How that shows.
        why: String,
    },
    /// Open in another process.
    #[error(
        "{path}: in use by another process; ask that server with --url, or take a copy with `longwatch db snapshot --url`"
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: std::io::Error,
    },
}

/// Why a write was not done; nothing of it is in the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The queue to the committer is full: try again later.
    #[error("the write queue is full; try again in {retry_after_seconds} s")]
    Busy {
        /// When to try again, in seconds.
        retry_after_seconds: u32,
    },
    /// A limit on agents was reached.
    #[error("{0}")]
    Limit(String),
    /// The agent belongs to the configuration, to a target file or to longwatch itself.
    #[error(
        "agent `{0}` is owned by the configuration or a target file and cannot be changed over HTTP"
    )]
    Owned(String),
    /// The engine or the disk refused; the text says why.
    #[error("the database cannot be written: {0}")]
    Backend(String),
    /// The store is shutting down.
    #[error("the server is shutting down")]
    Closing,
}
