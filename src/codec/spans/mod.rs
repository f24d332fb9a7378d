//! Spans in bulk: a block of one agent's spans in columns, compressed as a whole, with a header that says what may be
//! in it; and what is known of a trace without reading its spans.

mod entry;
mod header;
mod opened;
mod reader;
mod terms;
mod writer;

#[cfg(test)]
mod tests;

pub use entry::{BlockRef, TraceEntry, TracePart};
pub use header::SpanHeader;
pub use opened::SpanBlock;
pub use reader::decode_spans;
pub use terms::{FilterTerms, Terms, terms_of_filter};
pub use writer::encode_spans;

/// First byte of a block's header, body, and of an entry. Another one was written by a newer longwatch.
const FORMAT: u8 = 1;
/// Bytes of a block before compression, at most.
const PLAIN_BYTES_MAX: u64 = 256 << 20;
/// Depth of lists and maps within each other that is read.
const DEPTH_MAX: usize = 64;

/// What an attribute's value is; stands beside its key.
mod tag {
    pub(super) const EMPTY: u8 = 0;
    pub(super) const TEXT: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const TRUE: u8 = 3;
    pub(super) const INT: u8 = 4;
    pub(super) const FLOAT: u8 = 5;
    pub(super) const BYTES: u8 = 6;
    pub(super) const LIST: u8 = 7;
    pub(super) const MAP: u8 = 8;
}

/// Whose attributes a value is of, beside its tag: they are read in this order, so their values stand apart.
mod realm {
    pub(super) const RESOURCES: u8 = 0x80;
    pub(super) const SCOPES: u8 = 0x40;
    pub(super) const SPANS: u8 = 0;
    /// The tag without it.
    pub(super) const TAG: u8 = 0x3f;
}

/// Bits of a span's first byte of flags.
mod flag {
    pub(super) const OPEN: u8 = 1;
    pub(super) const SHARED: u8 = 2;
    pub(super) const MORE: u8 = 4;
    pub(super) const ORIGIN_SHIFT: u8 = 3;
    pub(super) const KIND_SHIFT: u8 = 5;
}

/// Columns of a block, in their order.
#[derive(Clone, Copy)]
enum Column {
    Strings,
    Traces,
    Resources,
    Scopes,
    Shapes,
    TraceOf,
    SpanIds,
    Parents,
    ParentIds,
    Starts,
    Durations,
    Names,
    Flags,
    Statuses,
    Origins,
    ShapeOf,
    Events,
    Links,
    More,
    Values,
}

impl Column {
    const COUNT: usize = Self::Values as usize + 1;
}
