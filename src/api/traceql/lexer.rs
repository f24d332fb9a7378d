//! Text -> tokens with their columns.

use super::{
    expression::{Comparison, QueryError},
    go_duration::parse_go_duration,
};

/// A piece of a query.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    BraceOpen,
    BraceClose,
    ParenOpen,
    ParenClose,
    And,
    Or,
    Not,
    Compare(Comparison),
    /// A text in quotes.
    Text(String),
    Int(i64),
    Float(f64),
    /// Nanoseconds.
    Duration(i64),
    /// A name: of a field, or a keyword.
    Word(String),
}

/// A token and where it begins, counted in characters from 1.
pub(super) type Placed = (Token, usize);

struct Lexer<'a> {
    rest: &'a str,
    column: usize,
}

/// Cuts a query into tokens.
pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, QueryError> {
    let mut lexer = Lexer {
        rest: text,
        column: 1,
    };
    let mut tokens = Vec::new();
    loop {
        lexer.take_while(char::is_whitespace);
        let column = lexer.column;
        match lexer.next()? {
            Some(token) => tokens.push((token, column)),
            None => return Ok(tokens),
        }
    }
}

/// What ends a name.
fn is_delimiter(c: char) -> bool {
    c.is_whitespace() || "{}()=!<>&|~,^\"`".contains(c)
}

impl<'a> Lexer<'a> {
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.column += taken.chars().count();
        self.rest = rest;
        taken
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !fits(c)).unwrap_or(self.rest.len());
        self.take(end)
    }

    fn error<T>(&self, what: impl Into<String>) -> Result<T, QueryError> {
        Err(QueryError::new(self.column, what))
    }

    fn next(&mut self) -> Result<Option<Token>, QueryError> {
        use Comparison::{Equal, Greater, Less, Matches, NotEqual, NotMatches};
        // Longer ones before those that they begin with.
        let signs = [
            ("&&", Token::And),
            ("||", Token::Or),
            ("!=", Token::Compare(NotEqual)),
            ("!~", Token::Compare(NotMatches)),
            ("=~", Token::Compare(Matches)),
            ("<=", Token::Compare(Comparison::AtMost)),
            (">=", Token::Compare(Comparison::AtLeast)),
            ("=", Token::Compare(Equal)),
            ("<", Token::Compare(Less)),
            (">", Token::Compare(Greater)),
            ("!", Token::Not),
            ("{", Token::BraceOpen),
            ("}", Token::BraceClose),
            ("(", Token::ParenOpen),
            (")", Token::ParenClose),
        ];
        for refused in [">>", "<<", "!>>", "!<<"] {
            if self.rest.starts_with(refused) {
                return self.error(format!(
                    "`{refused}`: relations between spans are not supported"
                ));
            }
        }
        if let Some((sign, token)) = signs
            .into_iter()
            .find(|(sign, _)| self.rest.starts_with(sign))
        {
            self.take(sign.len());
            return Ok(Some(token));
        }
        let mut chars = self.rest.chars();
        let Some(first) = chars.next() else {
            return Ok(None);
        };
        let second = chars.next();
        match first {
            '"' => self.quoted().map(|text| Some(Token::Text(text))),
            '`' => self.raw().map(|text| Some(Token::Text(text))),
            '0'..='9' => self.number().map(Some),
            '-' if second.is_some_and(|c| c.is_ascii_digit()) => self.number().map(Some),
            '|' => self.error("`|`: pipelines are not supported, only sets of spans"),
            '~' => self.error("`~`: relations between spans are not supported"),
            '+' | '-' | '*' | '/' | '%' | '^' => {
                self.error(format!("`{first}`: arithmetic is not supported"))
            }
            '&' => self.error("`&`: did you mean `&&`? Relations between spans are not supported"),
            c if c.is_alphabetic() || c == '_' || c == '.' => self.word().map(Some),
            c => self.error(format!("`{c}` is not understood")),
        }
    }

    fn word(&mut self) -> Result<Token, QueryError> {
        let mut word = String::new();
        loop {
            word.push_str(self.take_while(|c| !is_delimiter(c)));
            // A part of a name may stand in quotes: span."a b".
            if !word.ends_with('.') || !self.rest.starts_with('"') {
                return Ok(Token::Word(word));
            }
            word.push_str(&self.quoted()?);
        }
    }

    fn quoted(&mut self) -> Result<String, QueryError> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.take(at + 1);
                    return Ok(text);
                }
                '\\' => match chars.next().map(|(_, escaped)| escaped) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(c @ ('"' | '\\')) => text.push(c),
                    // Regular expressions are full of these.
                    Some(other) => text.extend(['\\', other]),
                    None => break,
                },
                c => text.push(c),
            }
        }
        self.error("a text in quotes does not end")
    }

    fn raw(&mut self) -> Result<String, QueryError> {
        match self.rest[1..].split_once('`') {
            Some((text, _)) => {
                self.take(text.len() + 2);
                Ok(text.to_owned())
            }
            None => self.error("a text in backquotes does not end"),
        }
    }

    fn number(&mut self) -> Result<Token, QueryError> {
        let mut before = ' ';
        let is_part = |(_, c): &(usize, char)| {
            let is_sign = matches!(c, '+' | '-') && matches!(before, ' ' | 'e' | 'E');
            before = *c;
            c.is_alphanumeric() || *c == '.' || is_sign
        };
        let end = self.rest.char_indices().take_while(is_part).last();
        let text = &self.rest[..end.map_or(0, |(at, c)| at + c.len_utf8())];
        let token = if let Ok(number) = text.parse() {
            Token::Int(number)
        } else if let Some(number) = text.parse::<f64>().ok().filter(|n| n.is_finite()) {
            Token::Float(number)
        } else if let Some(ns) = parse_go_duration(text) {
            Token::Duration(ns)
        } else {
            return self.error(format!(
                "`{text}` is no number and no duration such as 1.5s"
            ));
        };
        self.take(text.len());
        Ok(token)
    }
}
