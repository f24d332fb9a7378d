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
    /// A spool where a database is wanted, or the other way round.
    #[error("{path}: {why}")]
    OtherKind {
        /// The file.
        path: PathBuf,
        /// What it is, and what to do.
        why: &'static str,
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

/// Why a write was not done. Nothing of it is in the file, but for what [`WriteError::DiskFull`] and
/// [`WriteError::Unavailable`] say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The queue of its class is full: try again later.
    #[error("the write queue is full; try again in {retry_after_seconds} s")]
    Busy {
        /// When to try again, in seconds.
        retry_after_seconds: u32,
    },
    /// There is too little room on the database's disk. Of samples that were refused for the reserve, the contact
    /// that they are was recorded; of those that found the disk full in the middle of a commit, what
    /// [`WriteError::Unavailable`] says holds.
    #[error("too little room on the disk of the database: {why}")]
    DiskFull {
        /// The figures, or what the disk said.
        why: String,
        /// When to try again, in seconds.
        retry_after_seconds: u32,
    },
    /// The disk failed, and the file is being opened anew. A write whose commit failed may be in the file or not;
    /// to repeat it is harmless.
    #[error("the database cannot be written now: {why}")]
    Unavailable {
        /// What the disk or the engine said.
        why: String,
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
    /// The engine refused; the text says why.
    #[error("the database cannot be written: {0}")]
    Backend(String),
    /// The store is shutting down.
    #[error("the server is shutting down")]
    Closing,
}

impl WriteError {
    /// Whether the same write may succeed later without anybody doing anything about it, so that it is not
    /// worth a complaint of its own: the store tells of such states once.
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Busy { .. }
            | Self::DiskFull { .. }
            | Self::Unavailable { .. }
            | Self::Closing => true,
            Self::Limit(_) | Self::Owned(_) | Self::Backend(_) => false,
        }
    }
}

/// Whether the store takes samples, and if not, why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// It does.
    #[default]
    Sound,
    /// The disk's reserve is touched: samples are refused, everything else goes on.
    DiskLow(String),
    /// The file cannot be written, and is opened anew as soon as that is possible.
    Suspended(String),
}

impl Condition {
    /// Why samples are refused; `None` when they are not.
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Sound => None,
            Self::DiskLow(why) | Self::Suspended(why) => Some(why),
        }
    }
}
