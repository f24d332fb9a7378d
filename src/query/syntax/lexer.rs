//! Text -> words, one at a time.
//!
//! Source: Prometheus, `promql/parser/lex.go`. A word means another thing inside braces (no
//! keywords) and inside brackets (`:` stands alone), so the lexer remembers which are open.

use super::{
    expression::{BinaryOperator, Place},
    parse_error::ParseError,
    token::{Kind, Token},
};
use crate::model::MatchOperator;

/// Cuts a query into words.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    open_parens: usize,
    in_braces: bool,
    in_brackets: bool,
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            open_parens: 0,
            in_braces: false,
            in_brackets: false,
        }
    }

    /// The text of a place.
    pub(super) fn text(&self, place: Place) -> &'a str {
        let bytes = place.start as usize..place.end as usize;
        self.text.get(bytes).unwrap_or("")
    }

    pub(super) fn error(&self, place: Place, message: impl Into<String>) -> ParseError {
        ParseError::new(self.text, place, message)
    }

    /// The next word; [`Kind::End`] again and again at the end.
    pub(super) fn next(&mut self) -> Result<Token, ParseError> {
        self.skip_blanks();
        let start = self.at;
        let Some(first) = self.rest().chars().next() else {
            return self.end();
        };
        let kind = match first {
            'a'..='z' | 'A'..='Z' | '_' => self.word(),
            ':' if !self.in_braces && !self.in_brackets => self.word(),
            '"' | '\'' | '`' => self.quoted(first)?,
            _ if self.in_braces => self.sign_in_braces(first)?,
            '0'..='9' => self.number()?,
            '.' if self.byte_after().is_some_and(|b| b.is_ascii_digit()) => self.number()?,
            _ => self.sign(first)?,
        };
        Ok(Token {
            kind,
            place: self.since(start),
        })
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    /// The byte after the next one.
    fn byte_after(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at + 1).copied()
    }

    fn since(&self, start: usize) -> Place {
        Place {
            start: start as u32,
            end: self.at as u32,
        }
    }

    /// An error over the next `length` bytes.
    fn mistake(&self, length: usize, message: impl Into<String>) -> ParseError {
        let end = self.text.len().min(self.at + length);
        let place = Place {
            start: self.at as u32,
            end: end as u32,
        };
        self.error(place, message)
    }

    /// Passes the bytes that fit.
    fn skip(&mut self, fits: impl Fn(u8) -> bool) {
        let bytes = self.rest().bytes();
        self.at += bytes.take_while(|byte| fits(*byte)).count();
    }

    fn skip_blanks(&mut self) {
        loop {
            self.skip(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
            if !self.rest().starts_with('#') {
                return;
            }
            self.skip(|byte| !matches!(byte, b'\n' | b'\r'));
        }
    }

    fn end(&self) -> Result<Token, ParseError> {
        let unclosed = if self.in_braces {
            "unexpected end of input inside braces"
        } else if self.in_brackets {
            "unclosed left bracket"
        } else if self.open_parens > 0 {
            "unclosed left parenthesis"
        } else {
            return Ok(Token {
                kind: Kind::End,
                place: self.since(self.at),
            });
        };
        Err(self.mistake(0, unclosed))
    }

    fn word(&mut self) -> Kind {
        let start = self.at;
        let takes_colons = !self.in_braces && !self.in_brackets;
        self.skip(|byte| is_word(byte) || (takes_colons && byte == b':'));
        if self.in_braces {
            return Kind::Identifier;
        }
        Kind::of_word(self.text(self.since(start)))
    }

    /// A text in quotes; its escapes are read later.
    fn quoted(&mut self, quote: char) -> Result<Kind, ParseError> {
        let mut is_escaped = false;
        for (at, c) in self.rest().char_indices().skip(1) {
            if c == quote && !is_escaped {
                self.at += at + 1;
                return Ok(Kind::Text);
            }
            if c == '\n' && quote != '`' {
                return Err(self.mistake(at, "unterminated quoted string"));
            }
            is_escaped = c == '\\' && !is_escaped && quote != '`';
        }
        let what = if quote == '`' { "raw" } else { "quoted" };
        Err(self.mistake(self.rest().len(), format!("unterminated {what} string")))
    }

    fn number(&mut self) -> Result<Kind, ParseError> {
        let rest = self.rest();
        let word = word_of_number(rest);
        let kind = if number_length(rest) == word.len() {
            Kind::Number
        } else if is_like_duration(word) {
            Kind::Duration
        } else {
            let message = format!("bad number or duration syntax: {word:?}");
            return Err(self.mistake(word.len(), message));
        };
        self.at += word.len();
        Ok(kind)
    }

    fn sign(&mut self, first: char) -> Result<Kind, ParseError> {
        use BinaryOperator as Op;
        let after = self.byte_after();
        let (kind, length) = match (first, after) {
            ('=', Some(b'=')) => (Kind::Operator(Op::Equal), 2),
            ('!', Some(b'=')) => (Kind::Operator(Op::NotEqual), 2),
            ('<', Some(b'=')) => (Kind::Operator(Op::LessEqual), 2),
            ('>', Some(b'=')) => (Kind::Operator(Op::GreaterEqual), 2),
            ('=', Some(b'~')) => {
                return Err(self.mistake(2, "unexpected character after '=': '~'"));
            }
            ('<' | '>', Some(b'/')) => {
                let message = format!("{first}/ trims native histograms, which are not supported");
                return Err(self.mistake(2, message));
            }
            ('!', _) => {
                let next = self.rest().chars().nth(1);
                let next = next.map_or("end of input".to_owned(), |c| format!("{c:?}"));
                return Err(self.mistake(1, format!("unexpected character after '!': {next}")));
            }
            ('=', _) => (Kind::Match(MatchOperator::Equal), 1),
            ('<', _) => (Kind::Operator(Op::Less), 1),
            ('>', _) => (Kind::Operator(Op::Greater), 1),
            ('+', _) => (Kind::Operator(Op::Add), 1),
            ('-', _) => (Kind::Operator(Op::Sub), 1),
            ('*', _) => (Kind::Operator(Op::Mul), 1),
            ('/', _) => (Kind::Operator(Op::Div), 1),
            ('%', _) => (Kind::Operator(Op::Mod), 1),
            ('^', _) => (Kind::Operator(Op::Pow), 1),
            ('@', _) => (Kind::At, 1),
            (',', _) => (Kind::Comma, 1),
            _ => (self.bracket(first)?, 1),
        };
        self.at += length;
        Ok(kind)
    }

    /// What opens and closes outside of braces.
    fn bracket(&mut self, first: char) -> Result<Kind, ParseError> {
        let kind = match first {
            '(' => {
                self.open_parens += 1;
                Kind::LeftParen
            }
            ')' if self.open_parens > 0 => {
                self.open_parens -= 1;
                Kind::RightParen
            }
            '{' => {
                self.in_braces = true;
                Kind::LeftBrace
            }
            '[' if !self.in_brackets => {
                self.in_brackets = true;
                Kind::LeftBracket
            }
            ']' if self.in_brackets => {
                self.in_brackets = false;
                Kind::RightBracket
            }
            ':' => Kind::Colon,
            _ => {
                let what = match first {
                    ')' => "right parenthesis",
                    '[' => "left bracket",
                    ']' => "right bracket",
                    _ => "character:",
                };
                let message = format!("unexpected {what} {first:?}");
                return Err(self.mistake(first.len_utf8(), message));
            }
        };
        Ok(kind)
    }

    fn sign_in_braces(&mut self, first: char) -> Result<Kind, ParseError> {
        let (kind, length) = match (first, self.byte_after()) {
            ('=', Some(b'~')) => (Kind::Match(MatchOperator::Regex), 2),
            ('=', _) => (Kind::Match(MatchOperator::Equal), 1),
            ('!', Some(b'~')) => (Kind::Match(MatchOperator::NotRegex), 2),
            ('!', Some(b'=')) => (Kind::Match(MatchOperator::NotEqual), 2),
            (',', _) => (Kind::Comma, 1),
            ('}', _) => {
                self.in_braces = false;
                (Kind::RightBrace, 1)
            }
            ('{', _) => return Err(self.mistake(1, "unexpected left brace '{'")),
            _ => {
                let message = format!("unexpected character inside braces: {first:?}");
                return Err(self.mistake(first.len_utf8(), message));
            }
        };
        self.at += length;
        Ok(kind)
    }
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Everything that belongs to the number or the duration at the head of the text, right or wrong.
fn word_of_number(text: &str) -> &str {
    let end = text.bytes().position(|b| !is_word(b) && b != b'.');
    let end = end.unwrap_or(text.len()).max(number_length(text));
    text.get(..end).unwrap_or(text)
}

/// Bytes of the number at the head of the text; whether it is in range is seen later.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let run = |from: usize, fits: fn(&u8) -> bool| {
        let rest = bytes.get(from..).unwrap_or(&[]);
        from + rest.iter().take_while(|b| fits(b) || **b == b'_').count()
    };
    if let [b'0', b'x' | b'X', ..] = bytes {
        return run(2, u8::is_ascii_hexdigit);
    }
    let mut end = run(0, u8::is_ascii_digit);
    if bytes.get(end) == Some(&b'.') {
        end = run(end + 1, u8::is_ascii_digit);
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        let is_signed = matches!(bytes.get(end + 1), Some(b'+' | b'-'));
        let start = end + 1 + usize::from(is_signed);
        let exponent = run(start, u8::is_ascii_digit);
        if exponent > start {
            end = exponent;
        }
    }
    end
}

/// Digits and letters of units, a unit at the end; whether the units are right is seen later.
fn is_like_duration(word: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_digit() || b".smhdwy".contains(&byte);
    word.bytes().all(fits) && word.ends_with(['s', 'm', 'h', 'd', 'w', 'y'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::syntax::token::Keyword;

    fn words(text: &str) -> Result<Vec<(Kind, &str)>, String> {
        let mut lexer = Lexer::new(text);
        let mut words = Vec::new();
        loop {
            let token = lexer.next().map_err(|error| error.to_string())?;
            if token.kind == Kind::End {
                return Ok(words);
            }
            words.push((token.kind, lexer.text(token.place)));
        }
    }

    #[test]
    fn keywords_are_words_inside_braces_and_colons_stand_alone_inside_brackets() {
        let found = words("Sum BY (a:b{by=~'x'}[5m:1_0]) # by\n!= 0x1f").unwrap();
        let kinds: Vec<_> = found.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(
            kinds,
            [
                Kind::Aggregate(crate::query::expression::AggregateOperator::Sum),
                Kind::Keyword(Keyword::By),
                Kind::LeftParen,
                Kind::MetricIdentifier,
                Kind::LeftBrace,
                Kind::Identifier,
                Kind::Match(MatchOperator::Regex),
                Kind::Text,
                Kind::RightBrace,
                Kind::LeftBracket,
                Kind::Duration,
                Kind::Colon,
                Kind::Number,
                Kind::RightBracket,
                Kind::RightParen,
                Kind::Operator(BinaryOperator::NotEqual),
                Kind::Number,
            ]
        );
        assert_eq!(found[7].1, "'x'");
    }

    #[test]
    fn numbers_end_where_they_must() {
        let one = |text: &str| words(text).map(|found| found[0].0);
        for text in ["1", ".5", "5.", "1e3", "1E-3", "0x1e", "1_0", "Inf", "nan"] {
            assert_eq!(one(text), Ok(Kind::Number), "{text}");
        }
        for text in ["5m", "1h30m", "5hs", "1.5h", "1ms"] {
            assert_eq!(one(text), Ok(Kind::Duration), "{text}");
        }
        assert_eq!(words("1-1").unwrap().len(), 3);
        assert_eq!(words("1e-1-1").unwrap().len(), 3);
        for text in ["2.5.", "100..4", "0deadbeef", "5mx", "1e", "0x1g", "5é"] {
            assert!(words(text).is_err(), "{text}");
        }
    }

    #[test]
    fn texts_end_at_their_own_quote() {
        for text in [r#""a\"b""#, r"'a\\'", "`a\n\\`", "\"'\"", "\"é\""] {
            assert_eq!(words(text), Ok(vec![(Kind::Text, text)]));
        }
        for text in ["\"a", "\"a\nb\"", r#""a\""#, "`a"] {
            assert!(words(text).unwrap_err().contains("unterminated"), "{text}");
        }
    }
}
