//! Why a query has no answer.

use super::syntax::ParseError;
use crate::model::ReadError;

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// It is no expression.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// It asks for what cannot be answered whatever the data, such as too many steps.
    #[error("{0}")]
    Bad(String),
    /// The data do not allow it, such as two series with the same labels.
    #[error("{0}")]
    Execution(String),
    /// It needs more than it may: the limit's name and value.
    #[error("the query exceeds the limit `{name}` ({limit}): {advice}")]
    Limit {
        /// The setting's name.
        name: &'static str,
        /// Its value.
        limit: String,
        /// What helps.
        advice: &'static str,
    },
    /// It took longer than it may.
    #[error("the query took longer than `query.timeout` ({0})")]
    TimedOut(String),
    /// Nobody waits for the answer any more.
    #[error("the query was given up by who asked it")]
    Cancelled,
    /// History cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}
