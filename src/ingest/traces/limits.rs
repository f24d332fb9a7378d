//! How much of a span is taken.

/// Levels of lists and maps within an attribute that are ever read. JSON spends four of its own levels on each, and
/// the readers of JSON and protobuf stop at about 100.
pub const NESTING_MAX: usize = 24;

/// How much of a span is taken. What exceeds is cut or left out, and counted; the span is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanLimits {
    /// Spans of one body; a body with more is refused as a whole.
    pub spans: usize,
    /// Bytes of one span in the body; a larger one is rejected.
    pub span_bytes: usize,
    /// Attributes of a span, and of each of its events and links, of a scope, of a resource.
    pub attributes: usize,
    /// Bytes of the value of an attribute, what is nested included; also of the message of a status.
    pub value_bytes: usize,
    /// Bytes of the name of a span, event or scope, and of a `tracestate`. Attributes with longer names are left out.
    pub name_bytes: usize,
    /// Events of a span.
    pub events: usize,
    /// Links of a span.
    pub links: usize,
    /// Levels of lists and maps within an attribute, at most [`NESTING_MAX`]; what lies deeper is left out.
    pub nesting: usize,
}

impl Default for SpanLimits {
    fn default() -> Self {
        Self {
            spans: 200_000,
            span_bytes: 4 << 20,
            attributes: 256,
            value_bytes: 64 << 10,
            name_bytes: 1024,
            events: 1024,
            links: 1024,
            nesting: NESTING_MAX,
        }
    }
}
