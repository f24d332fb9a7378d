//! Why a server did not start or did not end well.

use crate::store::OpenError;

/// Why a server did not start or did not end well.
#[derive(Debug)]
pub enum StartError {
    /// The database cannot be used.
    Open(OpenError),
    /// The configuration asks for what cannot be.
    Config(String),
    /// The operating system refused.
    Io {
        /// What was tried.
        what: String,
        /// Its reason.
        source: std::io::Error,
    },
    /// Anything else.
    Other(anyhow::Error),
}

impl From<OpenError> for StartError {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl From<anyhow::Error> for StartError {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}
