//! `longwatch traces`

mod import;
mod questions;
mod search;
mod source;

pub(super) use import::settings_for;

use clap::Subcommand;

use super::{failure::Failure, server::converse};

/// Traces: what agents did, in which order, and what it waited for.
///
/// Questions go to a running server (--url), or to a database file or a copy of one (--db), which is only read.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  longwatch traces search --agent planner-1 --status failed --from -24h\n  \
    longwatch traces show 4bf92f3577b34da6a3ce929d0e0e4736\n  longwatch traces profile --operation 'plan trip' --db copy.redb"
)]
pub(super) enum Traces {
    Search(search::Search),
    Show(questions::Show),
    Analyze(questions::Analyze),
    Profile(questions::Profile),
    Compare(questions::Compare),
    Open(questions::Open),
    Graph(questions::Graph),
    Runs(questions::Runs),
    Export(questions::Export),
    Import(import::Import),
}

impl Traces {
    /// Asks the server or the file.
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Search(search) => converse(search.run()),
            Self::Show(show) => converse(show.run()),
            Self::Analyze(analyze) => converse(analyze.run()),
            Self::Profile(profile) => converse(profile.run()),
            Self::Compare(compare) => converse(compare.run()),
            Self::Open(open) => converse(open.run()),
            Self::Graph(graph) => converse(graph.run()),
            Self::Runs(runs) => converse(runs.run()),
            Self::Export(export) => converse(export.run()),
            Self::Import(import) => import.run(),
        }
    }
}
