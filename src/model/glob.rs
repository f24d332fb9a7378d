//! Patterns of names in which `*` stands for any text.

use std::fmt;

/// A pattern that a text fits as a whole; `*` stands for any text, also for none. Everything else is itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// The pattern as it is written. Any text is one.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether one text only fits.
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether the text fits. Linear but for the last `*`, which is tried at each place.
    pub fn fits(&self, text: &str) -> bool {
        let Some((start, rest)) = self.0.split_once('*') else {
            return self.0 == text;
        };
        let Some(mut text) = text.strip_prefix(start) else {
            return false;
        };
        let mut parts = rest.split('*');
        let Some(end) = parts.next_back() else {
            return false;
        };
        for part in parts {
            match text.find(part) {
                Some(at) => text = &text[at + part.len()..],
                None => return false,
            }
        }
        text.ends_with(end)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, fits) in [
            ("a.json", "a.json", true),
            ("a.json", "b.json", false),
            ("*.json", "a.json", true),
            ("*.json", ".json", true),
            ("*.json", "a.jsonx", false),
            ("a*b*c.yml", "abc.yml", true),
            ("a*b*c.yml", "a-b-b-c.yml", true),
            ("a*b*c.yml", "ac.yml", false),
            ("a*a.yml", "a.yml", false),
            ("t*.yml", "targets-ä.yml", true),
            ("t[0-9].yml", "t1.yml", false),
            ("*", "", true),
            ("*", "anything", true),
            ("**", "x", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(Glob::new(pattern).fits(text), fits, "{pattern} {text}");
        }
    }
}
