//! A body of JSON, and where in it something is wrong.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::words::cut;
use crate::ingest::BodyError;

/// A body of JSON.
#[derive(Clone, Copy)]
pub(in crate::ingest) struct JsonBody<'a>(&'a [u8]);

impl<'a> JsonBody<'a> {
    /// The body, without the byte order mark that some editors and shells begin UTF-8 with.
    pub(in crate::ingest) fn new(body: &'a [u8]) -> Self {
        Self(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body))
    }

    /// The first byte that is no blank.
    pub(in crate::ingest) fn first(self) -> Option<u8> {
        self.0.iter().copied().find(|b| !b.is_ascii_whitespace())
    }

    /// The document; the body must begin as documents of its kind do. serde would take lists for objects.
    pub(in crate::ingest) fn read<T: Deserialize<'a>>(self, first: u8) -> Result<T, BodyError> {
        match self.first() {
            None => Err(BodyError::at_byte(self.0, 0, "the body is empty")),
            Some(found) if found != first && matches!(found, b'{' | b'[') => {
                let kind = if first == b'{' { "an object" } else { "a list" };
                Err(BodyError::at_byte(
                    self.0,
                    0,
                    format!("the document must be {kind}"),
                ))
            }
            Some(_) => serde_json::from_slice(self.0).map_err(|error| BodyError::Syntax {
                line: error.line().max(1),
                column: error.column().max(1),
                reason: reason(&error),
            }),
        }
    }

    /// One part of the document, or what is wrong with it, and where if that is asked for: it is counted from the
    /// beginning of the body, and a body may hold many bad parts.
    pub(in crate::ingest) fn part<T: Deserialize<'a>>(
        self,
        part: &'a RawValue,
        with_place: bool,
    ) -> Result<T, String> {
        let text = part.get();
        if !text.starts_with('{') {
            return Err("it is no object".to_owned());
        }
        serde_json::from_str(text).map_err(|error| {
            if !with_place {
                return String::new();
            }
            let start = (text.as_ptr() as usize).saturating_sub(self.0.as_ptr() as usize);
            let lines_before = text.split_inclusive('\n').take(error.line() - 1);
            let at = start + lines_before.map(str::len).sum::<usize>() + error.column();
            let place = BodyError::at_byte(self.0, at.saturating_sub(1), reason(&error));
            place.to_string()
        })
    }
}

/// Bytes of a message that are kept; it may show a text of the body.
const REASON_BYTES_MAX: usize = 200;

/// What serde_json says, without the place.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let without_place = match text.rfind(" at line ") {
        Some(at) if error.line() > 0 => &text[..at],
        _ => &text,
    };
    cut(without_place, REASON_BYTES_MAX).to_owned()
}
