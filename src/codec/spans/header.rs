//! What is known of a block of spans without opening it.
//!
//! ```text
//! format: u8 = 1, or 2 if the filter has parts of texts of errors | spans: varint | first start: zigzag | last start - first start: varint
//! | shortest: zigzag ns | longest - shortest: varint | filter of words as bytes | CRC32C of all before: u32
//! ```

use super::{FORMAT, FilterTerms, Terms, terms::TermSet};
use crate::{
    codec::{Corrupt, varint},
    model::{Span, SpanFilter},
};

/// What is known of a block of spans without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanHeader {
    /// Spans.
    pub spans: u32,
    /// The first start, nanoseconds since the epoch.
    pub first_start_ns: i64,
    /// The last start.
    pub last_start_ns: i64,
    /// The shortest duration, nanoseconds; open spans have none and count as 0.
    pub shortest_ns: i64,
    /// The longest.
    pub longest_ns: i64,
    /// Words that occur.
    pub terms: Terms,
    /// Whether parts of the texts of errors are among them.
    pub has_error_parts: bool,
}

/// A header whose filter has parts of the texts of errors; [`FORMAT`] is one without.
const FORMAT_WITH_ERRORS: u8 = 2;

impl SpanHeader {
    /// Of these spans, of which there is at least one.
    pub(super) fn of(spans: &[&Span]) -> Self {
        let mut header = Self {
            spans: spans.len() as u32,
            first_start_ns: i64::MAX,
            last_start_ns: i64::MIN,
            shortest_ns: i64::MAX,
            longest_ns: 0,
            terms: Terms::default(),
            has_error_parts: false,
        };
        let mut terms = TermSet::default();
        let mut told: Vec<*const ()> = Vec::new();
        for span in spans {
            header.first_start_ns = header.first_start_ns.min(span.start_ns);
            header.last_start_ns = header.last_start_ns.max(span.start_ns);
            let duration = span.duration_ns().unwrap_or(0);
            header.shortest_ns = header.shortest_ns.min(duration);
            header.longest_ns = header.longest_ns.max(duration);
            terms.add(span);
            // Many spans share these.
            let scope = std::sync::Arc::as_ptr(&span.scope).cast::<()>();
            let resource = std::sync::Arc::as_ptr(&span.resource).cast::<()>();
            if !told.contains(&scope) {
                told.push(scope);
                terms.add_attributes(&span.scope.attributes);
            }
            if !told.contains(&resource) {
                told.push(resource);
                terms.add_attributes(&span.resource.attributes);
            }
            told.truncate(64);
        }
        header.terms = terms.finish();
        header.has_error_parts = terms.has_error_parts();
        header
    }

    /// Whether a span of the block may fit; `terms` are those of the filter.
    pub fn may_fit(&self, filter: &SpanFilter, terms: &FilterTerms) -> bool {
        filter
            .min_duration_ns
            .is_none_or(|min| self.longest_ns >= min)
            && filter
                .max_duration_ns
                .is_none_or(|max| self.shortest_ns <= max)
            && self.terms.may_have_all(&terms.words)
            && (!self.has_error_parts || self.terms.may_have_all(&terms.error_parts))
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let format = if self.has_error_parts {
            FORMAT_WITH_ERRORS
        } else {
            FORMAT
        };
        let mut out = vec![format];
        varint::put_u64(&mut out, u64::from(self.spans));
        varint::put_i64(&mut out, self.first_start_ns);
        varint::put_u64(
            &mut out,
            self.last_start_ns.wrapping_sub(self.first_start_ns) as u64,
        );
        varint::put_i64(&mut out, self.shortest_ns);
        varint::put_u64(
            &mut out,
            self.longest_ns.wrapping_sub(self.shortest_ns) as u64,
        );
        varint::put_bytes(&mut out, &self.terms.0);
        let checksum = crc32c::crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads it.
    ///
    /// # Errors
    /// The bytes are damaged, or written by a newer longwatch.
    pub fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let (format, mut rest) = checked_as(bytes, FORMAT_WITH_ERRORS)?;
        let spans = u32::try_from(varint::take_u64(&mut rest)?)
            .map_err(|_| Corrupt::new("a block has too many spans"))?;
        let first_start_ns = varint::take_i64(&mut rest)?;
        let last_start_ns = first_start_ns.wrapping_add(varint::take_u64(&mut rest)? as i64);
        let shortest_ns = varint::take_i64(&mut rest)?;
        let longest_ns = shortest_ns.wrapping_add(varint::take_u64(&mut rest)? as i64);
        let terms = Terms(varint::take_bytes(&mut rest)?.to_vec());
        Ok(Self {
            spans,
            first_start_ns,
            last_start_ns,
            shortest_ns,
            longest_ns,
            terms,
            has_error_parts: format == FORMAT_WITH_ERRORS,
        })
    }
}

/// What stands between the format and the checksum, once both hold.
pub(super) fn checked(bytes: &[u8]) -> Result<&[u8], Corrupt> {
    checked_as(bytes, FORMAT).map(|(_, rest)| rest)
}

/// The same with the format, up to the newest one that is known.
fn checked_as(bytes: &[u8], newest: u8) -> Result<(u8, &[u8]), Corrupt> {
    let (body, checksum) = bytes
        .split_last_chunk::<4>()
        .ok_or(Corrupt::new("a record of spans is too short"))?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
        return Err(Corrupt::new("a record of spans fails its checksum"));
    }
    match body.split_first() {
        Some((format, rest)) if (FORMAT..=newest).contains(format) => Ok((*format, rest)),
        Some(_) => Err(Corrupt::new(
            "a record of spans was written by a newer longwatch",
        )),
        None => Err(Corrupt::new("a record of spans is too short")),
    }
}
