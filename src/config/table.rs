//! Sections that may be given many times, `[[...]]`: reading one key by key.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    ConfigError, Origin,
    file::{Entry, Source, entries},
    suggest::nearest,
    value::{Given, kind_of},
};

/// A key of such a section, as documents show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// The key.
    pub key: &'static str,
    /// What a value looks like.
    pub form: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

/// One of these sections while it is read. Mistakes are collected; what they spoil is `None`.
pub(super) struct TableReader<'a> {
    source: &'a Source,
    section: &'a str,
    table: &'a DeTable<'a>,
    /// Where it begins.
    at: usize,
    /// Whether the file's syntax is broken, so that a missing key may be what could not be read.
    is_torn: bool,
    errors: Vec<ConfigError>,
}

impl<'a> TableReader<'a> {
    /// Each section of an array; what is no section is reported.
    pub(super) fn of_array(
        source: &'a Source,
        section: &'a str,
        array: &'a Spanned<DeValue<'a>>,
        is_torn: bool,
        errors: &mut Vec<ConfigError>,
    ) -> Vec<Self> {
        let mut report = |value: &Spanned<DeValue<'_>>, expected: &str| {
            let reason = format!("expected {expected}, found {}", kind_of(value.get_ref()));
            errors.push(source.error(value.span().start, section.to_owned(), reason));
        };
        let DeValue::Array(values) = array.get_ref() else {
            report(array, &format!("sections [[{section}]]"));
            return Vec::new();
        };
        let mut readers = Vec::new();
        for value in values {
            match value.get_ref() {
                DeValue::Table(table) => readers.push(Self {
                    source,
                    section,
                    table,
                    at: value.span().start,
                    is_torn,
                    errors: Vec::new(),
                }),
                _ => report(value, "a table"),
            }
        }
        readers
    }

    /// Where the section begins.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// The mistakes so far.
    pub(super) fn into_errors(self) -> Vec<ConfigError> {
        self.errors
    }

    /// Whether there is none so far.
    pub(super) fn is_sound(&self) -> bool {
        self.errors.is_empty()
    }

    /// Reports a mistake.
    pub(super) fn report(&mut self, at: usize, key: &str, reason: impl Into<String>) {
        let key = format!("{}.{key}", self.section);
        self.errors.push(self.source.error(at, key, reason.into()));
    }

    /// Whether the key is given.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn entry(&self, key: &str) -> Option<Entry<'a>> {
        entries(self.table).find(|entry| entry.key == key)
    }

    /// Offset of a key's value, or of the section where it is not given.
    pub(super) fn value_at(&self, key: &str) -> usize {
        self.entry(key)
            .map_or(self.at, |entry| entry.value_span.start)
    }

    /// Place of a key's value.
    pub(super) fn place(&self, key: &str) -> Origin {
        self.source.place(self.value_at(key))
    }

    /// A key's value as `read` understands it; `None` when it is not given or wrong.
    pub(super) fn take<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(Given<'a>) -> Result<T, String>,
    ) -> Option<T> {
        let entry = self.entry(key)?;
        match read(Given::Toml(entry.value)) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.report(entry.value_span.start, key, reason);
                None
            }
        }
    }

    /// The same of a key that must be given.
    pub(super) fn require<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(Given<'a>) -> Result<T, String>,
    ) -> Option<T> {
        if !self.has(key) {
            self.report_missing(key, "is missing");
        }
        self.take(key, read)
    }

    /// Reports that a key is not given.
    pub(super) fn report_missing(&mut self, key: &str, reason: &str) {
        if !self.is_torn {
            self.report(self.at, key, reason);
        }
    }

    /// Hands each entry of the table at `key` to `take`.
    pub(super) fn take_each(
        &mut self,
        key: &str,
        mut take: impl FnMut(&str, Given<'a>) -> Result<(), String>,
    ) {
        let Some(entry) = self.entry(key) else {
            return;
        };
        let DeValue::Table(table) = entry.value else {
            let reason = format!("expected a table, found {}", kind_of(entry.value));
            self.report(entry.value_span.start, key, reason);
            return;
        };
        for inner in entries(table) {
            if let Err(reason) = take(inner.key, Given::Toml(inner.value)) {
                self.report(
                    inner.value_span.start,
                    &format!("{key}.{}", inner.key),
                    reason,
                );
            }
        }
    }

    /// Reports every key that is none of `known`.
    pub(super) fn refuse_unknown(&mut self, known: &[KeyInfo]) {
        for entry in entries(self.table) {
            if known.iter().any(|k| k.key == entry.key) {
                continue;
            }
            let keys = || known.iter().map(|k| k.key);
            let (in_file, in_variable) =
                (format!("{}_file", entry.key), format!("{}_env", entry.key));
            let hint = if keys().any(|key| key == in_file) {
                format!("; a secret is given by `{in_file}` or `{in_variable}`")
            } else {
                nearest(entry.key, keys())
                    .map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
            };
            self.report(
                entry.key_span.start,
                entry.key,
                format!("unknown key{hint}"),
            );
        }
    }
}
