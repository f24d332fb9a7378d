//! What a line of the text formats is made of: names, quoted strings, label sets, numbers.

use std::borrow::Cow;

use super::{
    BodyError,
    rows::{Label, Refusal, too_many_labels},
    shown::Shown,
};
use crate::model::Limits;

/// Why a line was refused, and with it the body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LineError {
    /// It breaks the format at a byte of the line.
    Mistake { at: usize, reason: String },
    /// It is larger than the limits allow.
    Limit(String),
}

impl LineError {
    /// A line that is well formed and yet not allowed.
    pub(super) fn rule(reason: impl Into<String>) -> Self {
        Self::Mistake {
            at: 0,
            reason: reason.into(),
        }
    }

    /// A sample of the line that was not taken.
    pub(super) fn refused(name: &str, refusal: Refusal) -> Self {
        match refusal {
            Refusal::Bad(why) => Self::rule(format!("metric {}: {why}", Shown(name))),
            Refusal::Limit(why) => Self::Limit(format!("metric {}: {why}", Shown(name))),
            Refusal::Full(why) => Self::Limit(why),
        }
    }

    pub(super) fn in_line(self, line: usize) -> BodyError {
        match self {
            Self::Mistake { at, reason } => BodyError::Syntax {
                line,
                column: at + 1,
                reason,
            },
            Self::Limit(why) => BodyError::Limit(format!("line {line}: {why}")),
        }
    }
}

/// Where blanks may stand between the parts of a label set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blanks {
    /// Blanks and tabs anywhere, and a comma after the last label: text 0.0.4.
    Free,
    /// One blank after a comma at most: OpenMetrics.
    Strict,
}

/// A line that is read from left to right.
#[derive(Debug)]
pub(super) struct Line<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Line<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The byte that comes next.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes the byte if it is next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    pub(super) fn expect(&mut self, byte: u8, what: &str) -> Result<(), LineError> {
        if self.eat(byte) {
            Ok(())
        } else {
            Err(self.expected(what))
        }
    }

    /// Passes blanks and tabs: whether there was one.
    pub(super) fn blanks(&mut self) -> bool {
        !self.take_while(|b| b == b' ' || b == b'\t').is_empty()
    }

    /// A metric's name that is not quoted; may be empty.
    pub(super) fn metric_name(&mut self) -> &'a str {
        self.name(|b| b == b':')
    }

    /// Takes up to the next blank or tab.
    pub(super) fn token(&mut self) -> &'a str {
        self.take_while(|b| b != b' ' && b != b'\t')
    }

    /// A mistake at the byte that comes next.
    pub(super) fn expected(&self, what: &str) -> LineError {
        let found = match self.rest().chars().next() {
            None => "the end of the line".to_owned(),
            Some(c) => Shown(c.encode_utf8(&mut [0; 4])).to_string(),
        };
        self.mistake(format!("expected {what}, found {found}"))
    }

    /// A mistake at the byte that comes next.
    pub(super) fn mistake(&self, reason: impl Into<String>) -> LineError {
        LineError::Mistake {
            at: self.at,
            reason: reason.into(),
        }
    }

    /// A mistake at the beginning of what was just taken.
    pub(super) fn mistake_in(&self, taken: &str, reason: impl Into<String>) -> LineError {
        LineError::Mistake {
            at: self.at - taken.len(),
            reason: reason.into(),
        }
    }

    fn name(&mut self, also: impl Fn(u8) -> bool) -> &'a str {
        if self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return "";
        }
        self.take_while(|b| b.is_ascii_alphanumeric() || b == b'_' || also(b))
    }

    /// Takes bytes while they fit; `fits` must be decided by ASCII alone.
    fn take_while(&mut self, fits: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.bytes().position(|b| !fits(b)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// A string in double quotes, which comes next.
    pub(super) fn quoted(&mut self) -> Result<Cow<'a, str>, LineError> {
        let opening = self.at;
        self.expect(b'"', "a string in double quotes")?;
        let inner = self.rest();
        let mut escaped = false;
        let mut escapes = false;
        for (i, byte) in inner.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => (escaped, escapes) = (true, true),
                b'"' => {
                    self.at += i + 1;
                    let inner = &inner[..i];
                    return Ok(if escapes {
                        Cow::Owned(unescape(inner, true))
                    } else {
                        Cow::Borrowed(inner)
                    });
                }
                _ => {}
            }
        }
        Err(LineError::Mistake {
            at: opening,
            reason: "the string that begins here is not closed".to_owned(),
        })
    }

    /// A label set up to its closing brace; the opening one has been passed. A quoted string without a
    /// value is the metric's name and goes to `name`, where there may be one.
    pub(super) fn labels(
        &mut self,
        blanks: Blanks,
        mut name: Option<&mut Option<Cow<'a, str>>>,
        labels: &mut Vec<Label<'a>>,
        limits: &Limits,
    ) -> Result<(), LineError> {
        labels.clear();
        self.gap(blanks);
        if blanks == Blanks::Free && self.eat(b',') {
            // A lone comma is an empty set too.
            self.gap(blanks);
            return self.expect(b'}', "`}`");
        }
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            self.label(blanks, name.as_deref_mut(), labels)?;
            if labels.len() > limits.labels_per_series {
                let (Refusal::Bad(why) | Refusal::Limit(why) | Refusal::Full(why)) =
                    too_many_labels(limits);
                return Err(LineError::Limit(why));
            }
            self.gap(blanks);
            if self.eat(b'}') {
                return Ok(());
            }
            self.expect(b',', "`,` or `}`")?;
            match blanks {
                Blanks::Strict => {
                    self.eat(b' ');
                }
                Blanks::Free => {
                    self.blanks();
                    if self.eat(b'}') {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn label(
        &mut self,
        blanks: Blanks,
        name: Option<&mut Option<Cow<'a, str>>>,
        labels: &mut Vec<Label<'a>>,
    ) -> Result<(), LineError> {
        let quoted = self.peek() == Some(b'"');
        let label = if quoted {
            self.quoted()?
        } else {
            let label = self.name(|_| false);
            if label.is_empty() {
                return Err(self.expected("a label name"));
            }
            Cow::Borrowed(label)
        };
        self.gap(blanks);
        if let Some(name) = name
            && quoted
            && matches!(self.peek(), Some(b',' | b'}'))
        {
            if name.is_some() {
                return Err(self.mistake("the metric's name is given twice"));
            }
            *name = Some(label);
            return Ok(());
        }
        self.expect(b'=', "`=` after the label's name")?;
        self.gap(blanks);
        if self.peek() != Some(b'"') {
            return Err(self.expected("a label value in double quotes"));
        }
        let value = self.quoted()?;
        labels.push((label, value));
        Ok(())
    }

    fn gap(&mut self, blanks: Blanks) {
        if blanks == Blanks::Free {
            self.blanks();
        }
    }
}

/// Undoes `\\`, `\n` and, in strings, `\"`; any other backslash stands for itself.
pub(super) fn unescape(text: &str, quotes: bool) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('\\') => plain.push('\\'),
            Some('n') => plain.push('\n'),
            Some('"') if quotes => plain.push('"'),
            other => {
                plain.push('\\');
                plain.extend(other);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = (Option<String>, Vec<(String, String)>);

    fn labels(text: &str, blanks: Blanks) -> Result<Read, LineError> {
        let mut line = Line::new(text);
        let (mut name, mut labels) = (None, Vec::new());
        line.labels(blanks, Some(&mut name), &mut labels, &Limits::default())?;
        assert!(line.is_at_end(), "{text}");
        let labels = labels
            .into_iter()
            .map(|(k, v)| (k.into_owned(), v.into_owned()))
            .collect();
        Ok((name.map(Cow::into_owned), labels))
    }

    #[test]
    fn strings_without_escapes_are_borrowed() {
        let quoted = |text| Line::new(text).quoted();
        assert!(matches!(quoted(r#""a b"x"#), Ok(Cow::Borrowed("a b"))));
        assert_eq!(quoted(r#""a\"\\\n\é""#).unwrap(), "a\"\\\n\\é");
        assert!(quoted(r#""a\""#).is_err());
        assert!(quoted("\"").is_err());
    }

    #[test]
    fn help_keeps_its_quotes() {
        assert_eq!(unescape(r#"a\"\n\\n\"#, false), "a\\\"\n\\n\\");
    }

    #[test]
    fn label_sets() {
        let expected = |name: Option<&str>, pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into()));
            Ok((name.map(str::to_owned), pairs.collect()))
        };
        let free = |text| labels(text, Blanks::Free);
        let strict = |text| labels(text, Blanks::Strict);
        assert_eq!(free("}"), expected(None, &[]));
        assert_eq!(free(" , }"), expected(None, &[]));
        assert_eq!(
            free("\ta = \"1\" ,\"b c\"=\"}\",}"),
            expected(None, &[("a", "1"), ("b c", "}")])
        );
        assert_eq!(
            free(r#""x.y",a="1"}"#),
            expected(Some("x.y"), &[("a", "1")])
        );
        assert_eq!(
            strict(r#"a="1", "x.y"}"#),
            expected(Some("x.y"), &[("a", "1")])
        );
        for text in [
            "",
            "a",
            "a}",
            r#"a="1""#,
            r#"a="1",,b="2"}"#,
            r#"a="1"b="2"}"#,
            r#"1="1"}"#,
            "a=1}",
            r#"="1"}"#,
            r#"a:b="1"}"#,
            r#""x","y"}"#,
            r#"a="1}"#,
            r#"é="1"}"#,
        ] {
            assert!(free(text).is_err(), "{text}");
            assert!(strict(text).is_err(), "{text}");
        }
        for text in [" }", r#"a ="1"}"#, r#"a="1",}"#, r#"a="1",  b="2"}"#, ",}"] {
            assert!(strict(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_mistake_says_where_and_what() {
        assert_eq!(
            labels(r#"a="1"é"#, Blanks::Free).unwrap_err(),
            LineError::Mistake {
                at: 5,
                reason: "expected `,` or `}`, found `é`".to_owned()
            }
        );
        let many = "l=\"\",".repeat(65);
        assert_eq!(
            labels(&many, Blanks::Free).unwrap_err(),
            LineError::Limit("more labels than the limit of 64".to_owned())
        );
    }
}
