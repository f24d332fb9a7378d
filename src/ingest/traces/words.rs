//! Texts that come again and again in a body, once in memory.

use std::sync::Arc;

use hashbrown::HashSet;

/// Longest text that is worth looking up, bytes.
const WORD_BYTES_MAX: usize = 64;

/// Texts seen so far.
#[derive(Debug, Default)]
pub(super) struct Words(HashSet<Arc<str>>);

impl Words {
    /// The text, shared with its earlier ones if it is short.
    pub(super) fn share(&mut self, text: &str) -> Arc<str> {
        if text.len() > WORD_BYTES_MAX {
            return text.into();
        }
        Arc::clone(self.0.get_or_insert_with(text, |text| Arc::from(text)))
    }
}

/// The longest beginning of a text that has at most so many bytes.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
