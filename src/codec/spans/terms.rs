//! Which words occur in a block: a Bloom filter over hashes of them. It may say yes to a word that is not there, never
//! no to one that is. Source: B. H. Bloom, "Space/Time Trade-offs in Hash Coding with Allowable Errors", 1970.

use std::fmt::Write as _;

use hashbrown::HashSet;

use crate::model::{Attributes, Span, SpanFilter, SpanKind};

/// Bits for each word, and how many of them it sets: about one in a hundred questions is a false alarm.
const BITS_PER_TERM: usize = 10;
const PROBES: u64 = 6;
/// Bytes of a filter, at most; beyond it more questions are false alarms.
const BYTES_MAX: usize = 8 << 10;

/// Texts of errors that are longer, or have more different parts in a block, are not kept in its filter: then every
/// search for such a text opens the block.
const ERROR_BYTES_MAX: usize = 16 << 10;
const ERROR_PARTS_MAX: usize = 4_096;

/// Hash of one word, the same in every version: FNV-1a with a finisher (that of SplitMix64).
fn hash(kind: u8, parts: &[&str]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut take = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    take(kind);
    for part in parts {
        part.bytes().for_each(&mut take);
        take(0);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

fn operation(name: &str) -> u64 {
    hash(b'o', &[name])
}

fn service(name: &str) -> u64 {
    hash(b's', &[name])
}

fn status(word: &str) -> u64 {
    hash(b't', &[word])
}

fn attribute(key: &str, value: &str) -> u64 {
    hash(b'a', &[key, value])
}

/// Three characters of a text that tells of an error.
fn error_part(part: &str) -> u64 {
    hash(b'e', &[part])
}

/// Every three characters in a row of the text in lower case, as searches compare it. A text that another one holds has
/// no others.
fn each_part(text: &str, mut take: impl FnMut(&str)) {
    let text = text.to_lowercase();
    let mut starts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    starts.push(text.len());
    for ends in starts.windows(4) {
        if let Some(part) = text.get(ends[0]..ends[3]) {
            take(part);
        }
    }
}

/// What a block must have for one of its spans to fit, hashed.
#[derive(Clone, Debug, Default)]
pub struct FilterTerms {
    pub(super) words: Vec<u64>,
    /// Parts of the text of an error.
    pub(super) error_parts: Vec<u64>,
}

/// Hashes of what a block must have for one of its spans to fit.
pub fn terms_of_filter(filter: &SpanFilter) -> FilterTerms {
    let mut error_parts = Vec::new();
    if let Some(text) = &filter.error_text {
        each_part(text, |part| error_parts.push(error_part(part)));
    }
    let mut terms: Vec<u64> = Vec::new();
    terms.extend(filter.operation.as_deref().map(operation));
    terms.extend(filter.service.as_deref().map(service));
    terms.extend(filter.status.as_deref().map(status));
    let attributes = filter.attributes.iter();
    terms.extend(attributes.map(|(key, value)| attribute(key, value)));
    FilterTerms {
        words: terms,
        error_parts,
    }
}

/// Collects the words of a block's spans.
#[derive(Debug, Default)]
pub(super) struct TermSet {
    hashes: HashSet<u64>,
    /// Parts of the texts of errors.
    error_parts: HashSet<u64>,
    /// More of them than are kept.
    has_long_errors: bool,
    shown: String,
}

impl TermSet {
    pub(super) fn add(&mut self, span: &Span) {
        self.hashes.insert(operation(&span.name));
        self.hashes.insert(service(span.service()));
        self.hashes.insert(status(span.status_word()));
        if span.kind != SpanKind::Unspecified {
            self.hashes.insert(attribute("span.kind", span.kind.name()));
        }
        if span.is_failed() {
            self.hashes.insert(attribute("error", "true"));
        }
        span.each_error_text(|text| self.add_error(text));
        self.add_attributes(&span.attributes);
        for event in &span.events {
            self.add_attributes(&event.attributes);
        }
        for link in &span.links {
            self.add_attributes(&link.attributes);
        }
    }

    fn add_error(&mut self, text: &str) {
        self.has_long_errors |= text.len() > ERROR_BYTES_MAX;
        if self.has_long_errors {
            return;
        }
        each_part(text, |part| {
            self.error_parts.insert(error_part(part));
        });
        self.has_long_errors = self.error_parts.len() > ERROR_PARTS_MAX;
    }

    /// Whether parts of all texts of errors are among the words.
    pub(super) const fn has_error_parts(&self) -> bool {
        !self.has_long_errors
    }

    pub(super) fn add_attributes(&mut self, attributes: &Attributes) {
        for (key, value) in attributes.iter() {
            let hash = if let Some(text) = value.as_text() {
                attribute(key, text)
            } else {
                self.shown.clear();
                // Writing to a String cannot fail.
                let _ = write!(self.shown, "{value}");
                attribute(key, &self.shown)
            };
            self.hashes.insert(hash);
        }
    }

    pub(super) fn finish(&self) -> Terms {
        let error_parts = self.error_parts.iter().filter(|_| self.has_error_parts());
        let count = self.hashes.len() + error_parts.clone().count();
        let bytes = (count * BITS_PER_TERM).div_ceil(8).clamp(8, BYTES_MAX);
        let mut terms = Terms(vec![0; bytes]);
        for hash in self.hashes.iter().chain(error_parts) {
            for bit in terms.places(*hash) {
                terms.0[bit / 8] |= 1 << (bit % 8);
            }
        }
        terms
    }
}

/// The filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms(pub(super) Vec<u8>);

impl Terms {
    fn places(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let bits = self.0.len() as u64 * 8;
        let (first, step) = (hash, (hash >> 32) | 1);
        (0..PROBES).map(move |probe| (first.wrapping_add(probe.wrapping_mul(step)) % bits) as usize)
    }

    /// Whether all of the words may occur.
    pub fn may_have_all(&self, hashes: &[u64]) -> bool {
        if self.0.is_empty() {
            return true;
        }
        hashes.iter().all(|hash| {
            self.places(*hash)
                .all(|bit| self.0[bit / 8] & (1 << (bit % 8)) != 0)
        })
    }
}
