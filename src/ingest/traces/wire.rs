//! The outer levels of protobuf messages, without a tree of them in memory.
//!
//! A span within a request is handed on as the bytes that it is, so that one bad span is rejected alone, and so that
//! two bytes of an empty message do not become hundreds. See <https://protobuf.dev/programming-guides/encoding/>.

use prost::{DecodeError, decode_length_delimiter};

/// The fields of a message that are messages, texts or bytes themselves: their number and content. Others are passed
/// over.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Result<usize, DecodeError> {
        // A length is a variable-length integer like any other.
        decode_length_delimiter(&mut self.0)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn field(&mut self) -> Result<Option<(usize, &'a [u8])>, String> {
        while !self.0.is_empty() {
            let key = self.varint().map_err(|error| error.to_string())?;
            let (number, wire_type) = (key >> 3, key & 7);
            if number == 0 {
                return Err("a field has the number 0".to_owned());
            }
            let length = match wire_type {
                0 => {
                    let length = self.0.iter().position(|byte| byte & 0x80 == 0);
                    length.filter(|at| *at < 10).map(|at| at + 1)
                }
                1 => Some(8),
                2 => Some(self.varint().map_err(|error| error.to_string())?),
                5 => Some(4),
                other => return Err(format!("field {number} has the wire type {other}")),
            };
            let content = length.and_then(|length| self.take(length));
            let content = content.ok_or_else(|| format!("field {number} ends too early"))?;
            if wire_type == 2 {
                return Ok(Some((number, content)));
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(usize, &'a [u8]), String>;

    fn next(&mut self) -> Option<Self::Item> {
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        field.transpose()
    }
}
