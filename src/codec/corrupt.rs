//! Why bytes cannot be decoded.

/// The bytes are not what an encoder of this room wrote: torn, overwritten or newer than this binary.
///
/// Whoever asked knows which block, record or column it was and adds that to the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Corrupt {
    /// What does not hold, such as `truncated column`.
    pub what: &'static str,
}

impl Corrupt {
    /// An error that says `what` does not hold.
    pub(super) const fn new(what: &'static str) -> Self {
        Self { what }
    }
}
