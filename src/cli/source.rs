//! What questions are asked of: a server or a file.

use std::path::PathBuf;

use clap::Args;

use super::server::TokenArgs;

/// A server, unless a file is named.
#[derive(Clone, Debug, Args)]
pub(super) struct SourceArgs {
    /// Database file to read, in place of a server
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub(super) db: Option<PathBuf>,
    /// The server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7464")]
    pub(super) url: String,
    #[command(flatten)]
    pub(super) token: TokenArgs,
}
