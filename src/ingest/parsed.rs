//! What comes of a body.

use std::fmt;

use crate::model::Batch;

/// Row errors that are kept of one body. A body may hold millions of bad metrics in a few bytes each,
/// and every error is a text.
pub const ROW_ERRORS_MAX: usize = 10_000;

/// Samples, and told metrics, that one body may hold. A sample takes ten times the room of the
/// shortest line that makes one, so the size of the body alone does not bound memory well enough.
pub const SAMPLES_PER_BODY_MAX: usize = 2_000_000;

/// What a body held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// The samples and what the body says of their metrics.
    pub batch: Batch,
    /// For each row of the batch where it stood: its position in `metrics` (from 0) for JSON, its line
    /// (from 1) for the text formats.
    pub origin: Vec<u32>,
    /// Metrics that were refused while the others are kept: the first [`ROW_ERRORS_MAX`] of them. In
    /// the text formats only a sample whose time cannot be held is refused alone.
    pub errors: Vec<RowError>,
    /// Lines that break a rule of OpenMetrics and are taken all the same, since programs in wide use write
    /// them: the first [`ROW_ERRORS_MAX`].
    pub departures: Vec<RowError>,
    /// Exemplars that were read and left out.
    pub exemplars_dropped: u64,
    /// Metrics in the document, those that were refused included.
    pub total: usize,
}

impl Parsed {
    /// Notes a metric that is refused; `column` is 0 in JSON.
    pub(super) fn refuse(&mut self, index: usize, column: usize, reason: String) {
        if self.errors.len() < ROW_ERRORS_MAX {
            self.errors.push(RowError {
                index,
                column,
                reason,
            });
        }
    }
}

/// What is wrong with one metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    /// Where it stood, counted as [`Parsed::origin`] counts.
    pub index: usize,
    /// Byte in the line, from 1; 0 in JSON, where metrics are counted and not lines.
    pub column: usize,
    /// Why, naming the offender.
    pub reason: String,
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            index,
            column,
            reason,
        } = self;
        match column {
            0 => write!(f, "metric {index}: {reason}"),
            _ => write!(f, "line {index}, column {column}: {reason}"),
        }
    }
}

/// Why a whole body was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is not what its type says. Lines and columns count from 1, columns in bytes.
    #[error("line {line}, column {column}: {reason}")]
    Syntax {
        /// Line of the mistake.
        line: usize,
        /// Byte in that line.
        column: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// It is larger, or names something longer, than is taken in.
    #[error("{0}")]
    Limit(String),
    /// Its type or encoding is not understood.
    #[error("{0}")]
    ContentType(String),
    /// Its compression is damaged.
    #[error("{0}")]
    Encoding(String),
    /// Nothing of it can be taken; for formats that have no lines.
    #[error("{0}")]
    Refused(String),
}

impl BodyError {
    /// A mistake at a byte of the body.
    pub(super) fn at_byte(body: &[u8], at: usize, reason: impl Into<String>) -> Self {
        let before = &body[..at.min(body.len())];
        let line_start = before
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |newline| newline + 1);
        Self::Syntax {
            line: before.split(|b| *b == b'\n').count(),
            column: before.len() - line_start + 1,
            reason: reason.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one() {
        let at = |byte| BodyError::at_byte(b"ab\ncd\n", byte, "x").to_string();
        assert_eq!(at(0), "line 1, column 1: x");
        assert_eq!(at(1), "line 1, column 2: x");
        assert_eq!(at(3), "line 2, column 1: x");
        assert_eq!(at(6), "line 3, column 1: x");
        assert_eq!(at(99), "line 3, column 1: x");
    }
}
