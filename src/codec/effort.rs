//! How much work an encoder spends on a column.

/// How hard an encoder looks for fewer bytes. What it writes decodes alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Quick encodings only: for what must be on disk soon, and for short columns.
    Quick,
    /// Entropy coding is tried too, at two to ten times the work: for samples that stay.
    Settled,
}

/// Shorter columns have nothing to gain: tables come first.
const CODED_FROM: usize = 24;

impl Effort {
    /// Bytes that an entropy coded column may take to be kept instead of one of `len` bytes; none if
    /// it is not to be tried.
    ///
    /// It must save a fifth, since it takes three to five times as long to decode: for gauges that
    /// wander it would save a tenth, and reports decode these most.
    pub(super) fn coded_budget(self, len: usize) -> Option<usize> {
        match self {
            Self::Settled if len >= CODED_FROM => Some(len - len.div_ceil(5)),
            Self::Quick | Self::Settled => None,
        }
    }
}
