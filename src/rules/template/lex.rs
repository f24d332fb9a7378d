//! From the text of a template to texts and actions, and the tokens of these.

use super::{TemplateError, error, value::Value};

/// A part of an action.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Word(String),
    Variable(String),
    /// `.name`; `joined` if nothing stands before it.
    Field {
        name: String,
        joined: bool,
    },
    Dot,
    Constant(Value),
    Sign(&'static str),
}

/// Text and actions, alternating.
pub(super) enum Part {
    Text(String),
    Action(Vec<Token>),
}

/// Parts a template into texts and actions.
pub(super) fn parts(text: &str) -> Result<Vec<Part>, TemplateError> {
    let mut parts = Vec::new();
    let mut rest = text;
    let mut trims = false;
    loop {
        let start = rest.find("{{");
        let (before, after) = match start {
            Some(at) => (&rest[..at], Some(&rest[at + 2..])),
            None => (rest, None),
        };
        let mut before = if trims { before.trim_start() } else { before };
        let Some(mut action) = after else {
            parts.push(Part::Text(before.to_owned()));
            return Ok(parts);
        };
        if action.starts_with('-') && action[1..].starts_with(is_blank) {
            before = before.trim_end();
            action = &action[1..];
        }
        parts.push(Part::Text(before.to_owned()));
        if let Some(comment) = action.trim_start_matches(is_blank).strip_prefix("/*") {
            let Some(end) = comment.find("*/") else {
                return error("unclosed comment");
            };
            let after = comment[end + 2..].trim_start_matches(is_blank);
            trims = after.starts_with('-');
            let after = after.strip_prefix('-').unwrap_or(after);
            let Some(after) = after.strip_prefix("}}") else {
                return error("comment ends before closing delimiter");
            };
            rest = after;
            continue;
        }
        let (tokens, after, trims_after) = tokens(action)?;
        parts.push(Part::Action(tokens));
        trims = trims_after;
        rest = after;
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// Tokens up to `}}`; what follows it; whether blanks there go.
fn tokens(action: &str) -> Result<(Vec<Token>, &str, bool), TemplateError> {
    let mut tokens = Vec::new();
    let mut rest = action;
    let mut joined = false;
    loop {
        let trimmed = rest.trim_start_matches(is_blank);
        joined &= trimmed.len() == rest.len();
        let had_blank = trimmed.len() != rest.len();
        rest = trimmed;
        if let Some(after) = rest.strip_prefix("}}") {
            return Ok((tokens, after, false));
        }
        if had_blank && let Some(after) = rest.strip_prefix("-}}") {
            return Ok((tokens, after, true));
        }
        let Some(first) = rest.chars().next() else {
            return error("unclosed action");
        };
        let (token, length) = token(rest, first, joined)?;
        joined = matches!(
            token,
            Token::Word(_) | Token::Variable(_) | Token::Field { .. } | Token::Sign(")")
        );
        tokens.push(token);
        rest = &rest[length..];
    }
}

fn token(rest: &str, first: char, joined: bool) -> Result<(Token, usize), TemplateError> {
    let word = |from: usize| {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let tail = &rest[from..];
        &tail[..tail.find(|c| !is_part(c)).unwrap_or(tail.len())]
    };
    for sign in [":=", "=", "|", "(", ")", ","] {
        if rest.starts_with(sign) {
            return Ok((Token::Sign(sign), sign.len()));
        }
    }
    match first {
        '"' => {
            let (text, length) = quoted(rest)?;
            Ok((Token::Constant(Value::Text(text)), length))
        }
        '`' => match rest[1..].find('`') {
            Some(end) => {
                let text = rest[1..=end].to_owned();
                Ok((Token::Constant(Value::Text(text)), end + 2))
            }
            None => error("unterminated raw quoted string"),
        },
        '$' => {
            let name = word(1);
            Ok((Token::Variable(format!("${name}")), 1 + name.len()))
        }
        '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
            let name = word(1);
            if name.is_empty() {
                return Ok((Token::Dot, 1));
            }
            let field = Token::Field {
                name: name.to_owned(),
                joined,
            };
            Ok((field, 1 + name.len()))
        }
        '0'..='9' | '+' | '-' | '.' => number(rest),
        c if c.is_alphabetic() || c == '_' => {
            let word = word(0);
            Ok((Token::Word(word.to_owned()), word.len()))
        }
        c => error(format!(
            "unexpected character U+{:04X} in action",
            u32::from(c)
        )),
    }
}

fn number(rest: &str) -> Result<(Token, usize), TemplateError> {
    let mut length = 0;
    let mut before = ' ';
    for c in rest.chars() {
        let is_sign = matches!(c, '+' | '-') && (length == 0 || matches!(before, 'e' | 'E'));
        if !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_') || is_sign) {
            break;
        }
        length += c.len_utf8();
        before = c;
    }
    let text = rest[..length].replace('_', "");
    let bare = text.trim_start_matches(['+', '-']);
    let hex = bare.strip_prefix("0x").or(bare.strip_prefix("0X"));
    let value = if let Some(hex) = hex {
        i64::from_str_radix(hex, 16).ok().map(Value::Int)
    } else if let Ok(number) = text.parse::<i64>() {
        Some(Value::Int(number))
    } else if bare.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        text.parse().ok().map(Value::Float)
    } else {
        None
    };
    match value {
        Some(value) => Ok((Token::Constant(value), length)),
        None => error(format!("bad number syntax: {text:?}")),
    }
}

/// A text in double quotes, unescaped, and its length as written.
fn quoted(rest: &str) -> Result<(String, usize), TemplateError> {
    let mut out = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((out, at + 1)),
            '\n' => break,
            '\\' => {
                let Some((_, escaped)) = chars.next() else {
                    break;
                };
                let mut code = |digits: usize| {
                    let text: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                    u32::from_str_radix(&text, 16).ok().and_then(char::from_u32)
                };
                let c = match escaped {
                    'n' => Some('\n'),
                    't' => Some('\t'),
                    'r' => Some('\r'),
                    'a' => Some('\u{7}'),
                    'b' => Some('\u{8}'),
                    'f' => Some('\u{c}'),
                    'v' => Some('\u{b}'),
                    '\\' | '"' => Some(escaped),
                    'x' => code(2),
                    'u' => code(4),
                    'U' => code(8),
                    _ => None,
                };
                match c {
                    Some(c) => out.push(c),
                    None => return error("invalid escape in a quoted string"),
                }
            }
            c => out.push(c),
        }
    }
    error("unterminated quoted string")
}
