//! Why a text is no PromQL, and where.

use super::expression::Place;

/// A text that is no PromQL. Lines and columns start at 1; columns count characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: parse error: {message}")]
pub struct ParseError {
    /// What is wrong.
    pub message: String,
    /// Bytes of the text that are wrong.
    pub place: Place,
    line: usize,
    column: usize,
}

impl ParseError {
    pub(super) fn new(text: &str, place: Place, message: impl Into<String>) -> Self {
        let before = text.get(..place.start as usize).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            message: message.into(),
            place,
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or("").chars().count() + 1,
        }
    }

    /// Line and column of the first character that is wrong.
    pub const fn position(&self) -> (usize, usize) {
        (self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let text = "a +\n\"äöü\" ?";
        let place = Place { start: 13, end: 14 };
        let error = ParseError::new(text, place, "no");
        assert_eq!(error.position(), (2, 7));
        assert_eq!(error.to_string(), "2:7: parse error: no");
        // Past the end, or inside a character: told at the end, never a panic.
        for start in [6, 99] {
            let error = ParseError::new(text, Place { start, end: start }, "no");
            assert_eq!(error.position(), (2, 8));
        }
    }
}
