//! How a word of somebody else's is shown in a message.

use std::fmt;

/// Characters of a word that a message shows.
const SHOWN_CHARS: usize = 80;

/// A word in backquotes, cut when it is long and without control characters, so that a message stays a
/// line and a terminal stays as it was.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`")?;
        for (i, c) in self.0.chars().enumerate() {
            if i == SHOWN_CHARS {
                f.write_str("...")?;
                break;
            }
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        f.write_str("`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_wild_words_are_tamed() {
        assert_eq!(Shown("é\"x").to_string(), "`é\"x`");
        assert_eq!(Shown("a\x1b[2J\nb").to_string(), "`a\\u{1b}[2J\\nb`");
        let long = "ü".repeat(300);
        assert_eq!(Shown(&long).to_string(), format!("`{}...`", "ü".repeat(80)));
    }
}
