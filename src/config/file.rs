//! Files: reading one within bounds, places in it, walking TOML.

use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    path::{Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{ConfigError, Origin};

/// A file's text, from which offsets become places.
pub(super) struct Source {
    path: PathBuf,
    text: String,
    /// Offsets at which lines begin.
    lines: Vec<usize>,
}

impl Source {
    /// Reads a file of at most `max` bytes.
    pub(super) fn read(path: &Path, max: u64) -> Result<Self, ConfigError> {
        let whole = |reason: String| ConfigError {
            origin: Origin::File {
                path: path.to_owned(),
            },
            key: String::new(),
            reason,
        };
        let bytes = read_bounded(path, max).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => whole("no such file".to_owned()),
            _ => whole(format!("cannot be read: {e}")),
        })?;
        if bytes.len() as u64 > max {
            return Err(whole(format!("longer than {max} bytes")));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(path, text)),
            Err(e) => {
                let good = e.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(&e.as_bytes()[..good]).into_owned();
                let source = Self::new(path, text);
                Err(source.error(good, String::new(), "not UTF-8".to_owned()))
            }
        }
    }

    /// A text that came from `path`.
    pub(super) fn new(path: &Path, text: String) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            path: path.to_owned(),
            lines: std::iter::once(0).chain(breaks).collect(),
            text,
        }
    }

    /// Where the text came from.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The document as far as it can be understood, and the errors of its syntax.
    pub(super) fn parse(&self) -> (Spanned<DeTable<'_>>, Vec<ConfigError>) {
        let (document, errors) = DeTable::parse_recoverable(&self.text);
        let errors = errors
            .iter()
            .map(|e| {
                let at = e.span().map_or(0, |span| span.start);
                let reason = e.message().lines().collect::<Vec<_>>().join("; ");
                self.error(at, String::new(), reason)
            })
            .collect();
        (document, errors)
    }

    /// The place of an offset.
    pub(super) fn place(&self, at: usize) -> Origin {
        let at = at.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= at);
        let start = self.lines.get(line - 1).copied().unwrap_or_default();
        // A span may end inside a character only if the parser is wrong; then bytes count.
        let column = self
            .text
            .get(start..at)
            .map_or(at - start, |before| before.chars().count());
        Origin::Place {
            path: self.path.clone(),
            line,
            column: column + 1,
        }
    }

    /// An error at an offset.
    pub(super) fn error(&self, at: usize, key: String, reason: String) -> ConfigError {
        ConfigError {
            origin: self.place(at),
            key,
            reason,
        }
    }
}

fn read_bounded(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A key with its value, each with its span.
pub(super) struct Entry<'a> {
    /// The key.
    pub(super) key: &'a str,
    /// Where the key is.
    pub(super) key_span: Range<usize>,
    /// The value.
    pub(super) value: &'a DeValue<'a>,
    /// Where the value is.
    pub(super) value_span: Range<usize>,
}

/// Entries of a table, in the file's order.
pub(super) fn entries<'a>(table: &'a DeTable<'a>) -> impl Iterator<Item = Entry<'a>> {
    table.iter().map(|(key, value)| Entry {
        key: key.get_ref(),
        key_span: key.span(),
        value: value.get_ref(),
        value_span: value.span(),
    })
}
