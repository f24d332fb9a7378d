//! Identity of a series within its agent: metric name and sorted labels, as canonical bytes.
//!
//! ```text
//! varint name length | name | (varint length | label name | varint length | label value)*
//! ```
//! Labels are sorted by name, unique and non-empty, so equal series have equal bytes. The bytes are
//! also the stored form of a series' identity; a golden test freezes them.
//!
//! A sender that names all labels itself (remote write, OTLP) gets them back exactly: its keys carry a mark in the
//! place of the first label, a name that no label may have. Series without it get the labels of their agent when
//! they are queried.

use std::fmt;

/// Why a set of labels cannot name a series.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSeries {
    /// A metric without a name.
    #[error("a metric name must not be empty")]
    NoName,
    /// One label name twice.
    #[error("label `{0}` is given twice")]
    DuplicateLabel(String),
    /// A label with an empty name.
    #[error("a label name must not be empty")]
    EmptyLabelName,
    /// A label name that means something else in a key.
    #[error("a label name must not be the character NUL")]
    ReservedLabel,
}

/// Name of the label that marks keys whose labels are all their sender's.
const MARK: &str = "\0";
/// The mark as it stands in a key: a label of the value `=`.
const MARK_BYTES: [u8; 4] = [1, 0, 1, b'='];

/// Builds canonical keys without allocating for each.
#[derive(Debug, Default)]
pub struct KeyBuilder;

impl KeyBuilder {
    /// Appends the key of `name` and `labels` to `out`; `labels` gets sorted. Labels with an empty
    /// value count as absent.
    ///
    /// # Errors
    /// [`BadSeries`]; `out` is left as it was.
    pub fn append(
        out: &mut Vec<u8>,
        name: &str,
        labels: &mut [(&str, &str)],
    ) -> Result<(), BadSeries> {
        Self::append_marked(out, name, labels, &[])
    }

    /// Appends the key of a series whose labels are all its sender's; else as [`Self::append`].
    ///
    /// # Errors
    /// [`BadSeries`]; `out` is left as it was.
    pub fn append_exact(
        out: &mut Vec<u8>,
        name: &str,
        labels: &mut [(&str, &str)],
    ) -> Result<(), BadSeries> {
        Self::append_marked(out, name, labels, &MARK_BYTES)
    }

    fn append_marked(
        out: &mut Vec<u8>,
        name: &str,
        labels: &mut [(&str, &str)],
        mark: &[u8],
    ) -> Result<(), BadSeries> {
        if name.is_empty() {
            return Err(BadSeries::NoName);
        }
        if !labels.is_sorted_by(|a, b| a.0 <= b.0) {
            labels.sort_unstable_by(|a, b| a.0.cmp(b.0));
        }
        for pair in labels.windows(2) {
            if pair[0].0 == pair[1].0 {
                return Err(BadSeries::DuplicateLabel(pair[0].0.to_owned()));
            }
        }
        // Both sort before all other names.
        for (k, _) in labels.iter().take(2) {
            match *k {
                "" => return Err(BadSeries::EmptyLabelName),
                MARK => return Err(BadSeries::ReservedLabel),
                _ => {}
            }
        }
        put_text(out, name);
        out.extend_from_slice(mark);
        for (k, v) in labels.iter().filter(|(_, v)| !v.is_empty()) {
            put_text(out, k);
            put_text(out, v);
        }
        Ok(())
    }
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    let mut n = text.len();
    while n >= 0x80 {
        out.push((n as u8) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let mut n = 0usize;
    let mut shift = 0;
    loop {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        n |= usize::from(first & 0x7f).checked_shl(shift)?;
        shift += 7;
        if first & 0x80 == 0 {
            break;
        }
    }
    let (text, rest) = bytes.split_at_checked(n)?;
    *bytes = rest;
    std::str::from_utf8(text).ok()
}

/// Canonical identity of a series within its agent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey(Box<[u8]>);

impl SeriesKey {
    /// The key of a name and labels in any order.
    pub fn new(name: &str, labels: &[(&str, &str)]) -> Result<Self, BadSeries> {
        let mut out = Vec::new();
        KeyBuilder::append(&mut out, name, &mut labels.to_vec())?;
        Ok(Self(out.into()))
    }

    /// Takes stored bytes; `None` when they are not the canonical form of a key.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        if take_text(&mut rest)?.is_empty() {
            return None;
        }
        let mut previous: Option<&str> = None;
        while !rest.is_empty() {
            let name = take_text(&mut rest)?;
            if take_text(&mut rest)?.is_empty()
                || name.is_empty()
                || previous.is_some_and(|p| p >= name)
            {
                return None;
            }
            previous = Some(name);
        }
        Some(Self(bytes.into()))
    }

    /// The canonical bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The metric's name.
    pub fn name(&self) -> &str {
        take_text(&mut &*self.0).unwrap_or_default()
    }

    /// Labels, sorted by name.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &*self.0;
        take_text(&mut rest);
        rest = rest.strip_prefix(&MARK_BYTES).unwrap_or(rest);
        std::iter::from_fn(move || Some((take_text(&mut rest)?, take_text(&mut rest)?)))
    }

    /// Whether its labels are all its sender's, so that a query adds none.
    pub fn is_exact(&self) -> bool {
        let mut rest = &*self.0;
        take_text(&mut rest);
        rest.starts_with(&MARK_BYTES)
    }

    /// Value of one label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels().find(|(k, _)| *k == name).map(|(_, v)| v)
    }
}

/// As Prometheus writes it: `name{a="b"}`.
impl fmt::Display for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        for (i, (k, v)) in self.labels().enumerate() {
            write!(f, "{}{k}={v:?}", if i == 0 { '{' } else { ',' })?;
        }
        if self.labels().next().is_some() {
            f.write_str("}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_series_have_equal_bytes() {
        let a = SeriesKey::new("m", &[("b", "2"), ("a", "1"), ("c", "")]).unwrap();
        let b = SeriesKey::new("m", &[("a", "1"), ("b", "2")]).unwrap();
        assert_eq!(a, b);
        assert_eq!(a.as_bytes(), b"\x01m\x01a\x011\x01b\x012");
        assert_eq!(a.to_string(), r#"m{a="1",b="2"}"#);
        assert_eq!(SeriesKey::from_bytes(a.as_bytes()), Some(a));
    }

    #[test]
    fn a_key_of_exact_labels_is_another_one_with_the_same_labels() {
        let labels = [("b", "2"), ("a", "1")];
        let plain = SeriesKey::new("m", &labels).unwrap();
        let mut bytes = Vec::new();
        KeyBuilder::append_exact(&mut bytes, "m", &mut labels.to_vec()).unwrap();
        assert_eq!(bytes, b"\x01m\x01\0\x01=\x01a\x011\x01b\x012");
        let exact = SeriesKey::from_bytes(&bytes).unwrap();
        assert_ne!(exact, plain);
        assert_eq!(exact.to_string(), plain.to_string());
        assert_eq!((exact.is_exact(), plain.is_exact()), (true, false));
        assert_eq!(exact.label("\0"), None);
        assert_eq!(
            SeriesKey::new("m", &[("\0", "=")]),
            Err(BadSeries::ReservedLabel)
        );
    }

    #[test]
    fn non_canonical_bytes_are_refused() {
        for bytes in [
            &b""[..],
            b"\x00",
            b"\x01m\x01b\x011\x01a\x012",
            b"\x01m\x01a\x00",
            b"\x05m",
        ] {
            assert_eq!(SeriesKey::from_bytes(bytes), None);
        }
        assert!(SeriesKey::new("m", &[("a", "1"), ("a", "2")]).is_err());
        assert!(SeriesKey::new("", &[]).is_err());
    }
}
