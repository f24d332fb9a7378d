//! How the evaluation of rules goes, for those who ask.

use std::collections::BTreeMap;

use crate::model::Timestamp;

/// What became of evaluations and of the rules directory; `app` fills it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RulesStatus {
    /// Rules are evaluated so often, in milliseconds.
    pub interval_ms: u64,
    /// When rules were evaluated last on schedule.
    pub evaluated_at: Option<Timestamp>,
    /// How long that took, in seconds.
    pub seconds: f64,
    /// Conditions that were judged then.
    pub judged: u64,
    /// Rules that could not be evaluated the last time, and why.
    pub errors: BTreeMap<String, String>,
    /// The rules directory, if there is one.
    pub directory: Option<DirectoryStatus>,
}

/// What became of the rules directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryStatus {
    /// Its path.
    pub path: String,
    /// Rules of it that are in force.
    pub rules: usize,
    /// When they were read; `None` when they never were good since the start.
    pub read_at: Option<Timestamp>,
    /// Why the directory as it is now does not count, with places.
    pub error: Option<String>,
}
