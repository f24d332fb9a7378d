//! Small ids that cannot be mixed, and the agent's id that people see.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// Longest agent id, in bytes of UTF-8. Long enough for any host or pod name with a namespace.
const AGENT_ID_BYTES_MAX: usize = 128;

/// The agent that longwatch itself is.
pub const OWN_ID: &str = "longwatch";

/// Number of an agent inside one file. Given once, never reused; the [`AgentId`] is its attribute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentNo(pub u32);

impl AgentNo {
    /// What alerts carry that concern no agent; never given to one.
    pub const NONE: Self = Self(u32::MAX);
}

/// Number of a series inside one file. Given once, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesNo(pub u32);

/// Number of one occurrence of an alert inside one file.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct OccurrenceNo(pub u64);

/// What people call an agent: 1 to 128 bytes of UTF-8 without control characters, no blank at
/// either end, not `.` or `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(Arc<str>);

/// Why a text is not an agent id. The message says what and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAgentId {
    /// The text has no character.
    #[error("an agent id must not be empty")]
    Empty,
    /// Longer than 128 bytes.
    #[error("an agent id has at most {AGENT_ID_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// A control character, at a byte offset.
    #[error("an agent id must not contain control characters (byte {0})")]
    ControlCharacter(usize),
    /// A blank at the beginning or the end.
    #[error("an agent id must not begin or end with a blank")]
    BlankAtEnd,
    /// `.` or `..`, which URL paths give another meaning.
    #[error("an agent id must not be `.` or `..`")]
    Dots,
}

impl AgentId {
    /// Returns the id, or what is wrong with the text.
    pub fn new(text: &str) -> Result<Self, BadAgentId> {
        if text.is_empty() {
            return Err(BadAgentId::Empty);
        }
        if text.len() > AGENT_ID_BYTES_MAX {
            return Err(BadAgentId::TooLong(text.len()));
        }
        if let Some((at, _)) = text.char_indices().find(|(_, c)| c.is_control()) {
            return Err(BadAgentId::ControlCharacter(at));
        }
        if text.trim() != text {
            return Err(BadAgentId::BlankAtEnd);
        }
        if text == "." || text == ".." {
            return Err(BadAgentId::Dots);
        }
        Ok(Self(text.into()))
    }

    /// The id that a text of somebody else's makes: control characters become blanks, blanks at the ends go, and what is
    /// longer than an id may be is cut at a character. `.` and `..` make [`Self::unknown`]; `None` where nothing is
    /// left.
    pub fn of_text(text: &str) -> Option<Self> {
        let mut kept = String::new();
        for c in text
            .trim_start_matches(|c: char| c.is_whitespace() || c.is_control())
            .chars()
        {
            let c = if c.is_control() { ' ' } else { c };
            if kept.len() + c.len_utf8() > AGENT_ID_BYTES_MAX {
                break;
            }
            kept.push(c);
        }
        match kept.trim_end() {
            "" => None,
            "." | ".." => Some(Self::unknown()),
            kept => Some(Self(kept.into())),
        }
    }

    /// What an agent is called of which nothing is told.
    pub fn unknown() -> Self {
        Self("unknown".into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl std::str::FromStr for AgentId {
    type Err = BadAgentId;
    fn from_str(text: &str) -> Result<Self, BadAgentId> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_contract() {
        assert!(AgentId::new("agent 7/ä").is_ok());
        assert_eq!(AgentId::new(""), Err(BadAgentId::Empty));
        assert_eq!(AgentId::new(".."), Err(BadAgentId::Dots));
        assert_eq!(AgentId::new(" a"), Err(BadAgentId::BlankAtEnd));
        assert_eq!(AgentId::new("a\nb"), Err(BadAgentId::ControlCharacter(1)));
        assert_eq!(
            AgentId::new(&"x".repeat(129)),
            Err(BadAgentId::TooLong(129))
        );
        assert!(AgentId::new(&"x".repeat(128)).is_ok());
    }

    #[test]
    fn any_text_makes_an_id_or_none() {
        let long = "ü".repeat(100);
        for (text, id) in [
            ("planner", Some("planner")),
            ("\n planner\t2\u{7f}\n", Some("planner 2")),
            (" .. ", Some("unknown")),
            (" \0 ", None),
            (long.as_str(), Some(&long[..128])),
        ] {
            let made = AgentId::of_text(text);
            assert_eq!(made.as_ref().map(AgentId::as_str), id, "{text:?}");
            assert!(made.is_none_or(|made| AgentId::new(made.as_str()) == Ok(made)));
        }
    }
}
