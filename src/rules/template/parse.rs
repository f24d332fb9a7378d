//! From the text of a template to its pieces.

use super::{TemplateError, error, functions, value::Value};

/// Actions within actions, parentheses within parentheses.
const DEPTH_MAX: usize = 50;

/// A piece of a template.
#[derive(Debug)]
pub(super) enum Piece {
    Text(String),
    Print(Pipeline),
    If(Block),
    With(Block),
    Range(Block),
    Break,
    Continue,
}

/// `if`, `with` or `range` with what follows it up to `end`.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) head: Pipeline,
    pub(super) body: Vec<Piece>,
    pub(super) otherwise: Vec<Piece>,
}

/// `$a, $b := command | command`
#[derive(Debug)]
pub(super) struct Pipeline {
    /// Variables that get its value.
    pub(super) variables: Vec<String>,
    /// Whether they are new.
    pub(super) declares: bool,
    pub(super) commands: Vec<Vec<Operand>>,
}

/// A value with fields of it: `$labels.instance`, `(now | toTime).Year`
#[derive(Debug)]
pub(super) struct Operand {
    pub(super) base: Base,
    pub(super) fields: Vec<String>,
}

/// What an operand begins with.
#[derive(Debug)]
pub(super) enum Base {
    Dot,
    Variable(String),
    Constant(Value),
    Function(String),
    Inner(Box<Pipeline>),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
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
enum Part {
    Text(String),
    Action(Vec<Token>),
}

/// Parses a template in which some variables are known.
pub(super) fn parse(text: &str, known: &[&str]) -> Result<Vec<Piece>, TemplateError> {
    let parts = parts(text)?;
    let mut parser = Parser {
        parts: parts.into_iter(),
        variables: known.iter().map(|name| (*name).to_owned()).chain(["$".to_owned()]).collect(),
        depth: 0,
        loops: 0,
    };
    let (pieces, end) = parser.pieces()?;
    match end {
        End::Text => Ok(pieces),
        End::Word(word, _) => error(format!("unexpected {{{{{word}}}}}")),
    }
}

fn parts(text: &str) -> Result<Vec<Part>, TemplateError> {
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
        joined = matches!(token, Token::Word(_) | Token::Variable(_) | Token::Field { .. } | Token::Sign(")"));
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
        c => error(format!("unexpected character U+{:04X} in action", u32::from(c))),
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

/// What a run of pieces ends with.
enum End {
    Text,
    /// `end` or `else`, with the tokens after it.
    Word(&'static str, Vec<Token>),
}

struct Parser {
    parts: std::vec::IntoIter<Part>,
    variables: Vec<String>,
    depth: usize,
    loops: usize,
}

impl Parser {
    fn pieces(&mut self) -> Result<(Vec<Piece>, End), TemplateError> {
        let mut pieces = Vec::new();
        while let Some(part) = self.parts.next() {
            let tokens = match part {
                Part::Text(text) => {
                    if !text.is_empty() {
                        pieces.push(Piece::Text(text));
                    }
                    continue;
                }
                Part::Action(tokens) => tokens,
            };
            let word = match tokens.first() {
                Some(Token::Word(word)) => word.as_str(),
                None => return error("missing value for command"),
                _ => "",
            };
            let rest = tokens.get(1..).unwrap_or_default().to_vec();
            let piece = match word {
                "if" => Piece::If(self.block(rest, "if")?),
                "with" => Piece::With(self.block(rest, "with")?),
                "range" => {
                    self.loops += 1;
                    let block = self.block(rest, "range")?;
                    self.loops -= 1;
                    Piece::Range(block)
                }
                "end" if rest.is_empty() => return Ok((pieces, End::Word("end", rest))),
                "else" => return Ok((pieces, End::Word("else", rest))),
                "break" if self.loops > 0 && rest.is_empty() => Piece::Break,
                "continue" if self.loops > 0 && rest.is_empty() => Piece::Continue,
                "break" | "continue" => return error(format!("{{{{{word}}}}} outside {{{{range}}}}")),
                "define" | "template" | "block" => {
                    return error(format!("{{{{{word}}}}} is not supported: a rule's text is one template"));
                }
                _ => Piece::Print(self.pipeline(&tokens, false)?),
            };
            pieces.push(piece);
        }
        Ok((pieces, End::Text))
    }

    /// The rest of `if`, `with` or `range` up to its `end`.
    fn block(&mut self, head: Vec<Token>, what: &str) -> Result<Block, TemplateError> {
        self.enter()?;
        let known = self.variables.len();
        let head = self.pipeline(&head, what == "range")?;
        let (body, end) = self.pieces()?;
        let (otherwise, end) = match end {
            End::Word("else", after) if after.is_empty() => self.pieces()?,
            End::Word("else", after) => {
                // `else if` and `else with` are an action in the other branch that shares the `end`.
                let inner = match after.first() {
                    Some(Token::Word(word)) if word == "if" && what == "if" => "if",
                    Some(Token::Word(word)) if word == "with" && what == "with" => "with",
                    _ => return error("unexpected tokens in {{else}}"),
                };
                let block = self.block(after.get(1..).unwrap_or_default().to_vec(), inner)?;
                let piece = if inner == "if" { Piece::If(block) } else { Piece::With(block) };
                (vec![piece], End::Word("end", Vec::new()))
            }
            end => (Vec::new(), end),
        };
        self.variables.truncate(known);
        self.depth -= 1;
        match end {
            End::Word("end", _) => Ok(Block {
                head,
                body,
                otherwise,
            }),
            End::Word(..) => error("unexpected {{else}}: expected {{end}}"),
            End::Text => error("unexpected EOF: an {{end}} is missing"),
        }
    }

    fn enter(&mut self) -> Result<(), TemplateError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return error("nested too deeply");
        }
        Ok(())
    }

    fn pipeline(&mut self, tokens: &[Token], is_range: bool) -> Result<Pipeline, TemplateError> {
        let (variables, declares, rest) = assigned(tokens, is_range)?;
        let mut tokens = rest;
        let commands = self.commands(&mut tokens)?;
        if let Some(token) = tokens.first() {
            return error(format!("unexpected {token:?} in a pipeline"));
        }
        if declares {
            self.variables.extend(variables.iter().cloned());
        } else {
            for name in &variables {
                self.known(name)?;
            }
        }
        Ok(Pipeline {
            variables,
            declares,
            commands,
        })
    }

    fn commands(&mut self, tokens: &mut &[Token]) -> Result<Vec<Vec<Operand>>, TemplateError> {
        let mut commands = Vec::new();
        let mut command: Vec<Operand> = Vec::new();
        while let Some(first) = tokens.first() {
            if *first == Token::Sign(")") {
                break;
            }
            if *first == Token::Sign("|") {
                *tokens = &tokens[1..];
                commands.push(std::mem::take(&mut command));
                continue;
            }
            let operand = self.operand(tokens)?;
            command.push(operand);
        }
        commands.push(command);
        if commands.iter().any(Vec::is_empty) {
            return error("missing value for command");
        }
        let is_constant = |command: &Vec<Operand>| {
            let first = command.first().map(|operand| &operand.base);
            matches!(first, Some(Base::Constant(_)))
        };
        if commands.iter().skip(1).any(is_constant) {
            return error("non executable command in pipeline");
        }
        Ok(commands)
    }

    fn operand(&mut self, tokens: &mut &[Token]) -> Result<Operand, TemplateError> {
        let Some((first, rest)) = tokens.split_first() else {
            return error("missing value for command");
        };
        *tokens = rest;
        let mut fields = Vec::new();
        let base = match first {
            Token::Dot => Base::Dot,
            Token::Field { name, .. } => {
                fields.push(name.clone());
                Base::Dot
            }
            Token::Variable(name) => {
                self.known(name)?;
                Base::Variable(name.clone())
            }
            Token::Constant(value) => Base::Constant(value.clone()),
            Token::Word(word) => match word.as_str() {
                "true" => Base::Constant(Value::Bool(true)),
                "false" => Base::Constant(Value::Bool(false)),
                "nil" => Base::Constant(Value::Nil),
                name if functions::is_known(name) => Base::Function(name.to_owned()),
                name => return error(format!("function {name:?} not defined")),
            },
            Token::Sign("(") => {
                self.enter()?;
                let commands = self.commands(tokens)?;
                self.depth -= 1;
                if tokens.first() != Some(&Token::Sign(")")) {
                    return error("unclosed left paren");
                }
                *tokens = &tokens[1..];
                Base::Inner(Box::new(Pipeline {
                    variables: Vec::new(),
                    declares: false,
                    commands,
                }))
            }
            Token::Sign(sign) => return error(format!("unexpected {sign:?} in operand")),
        };
        while let Some((Token::Field { name, joined: true }, rest)) = tokens.split_first() {
            fields.push(name.clone());
            *tokens = rest;
        }
        Ok(Operand { base, fields })
    }

    fn known(&self, name: &String) -> Result<(), TemplateError> {
        if self.variables.contains(name) {
            return Ok(());
        }
        error(format!("undefined variable {name:?}"))
    }
}

type Assigned<'t> = (Vec<String>, bool, &'t [Token]);

/// `$a :=`, `$a =` and, in a range, `$i, $a :=` at the beginning.
fn assigned(tokens: &[Token], is_range: bool) -> Result<Assigned<'_>, TemplateError> {
    let (names, rest): (Vec<&String>, &[Token]) = match tokens {
        [Token::Variable(a), Token::Sign(","), Token::Variable(b), rest @ ..] => {
            if !is_range {
                return error("too many declarations");
            }
            (vec![a, b], rest)
        }
        [Token::Variable(a), rest @ ..] => (vec![a], rest),
        _ => return Ok((Vec::new(), false, tokens)),
    };
    let names: Vec<String> = names.into_iter().cloned().collect();
    match rest {
        [Token::Sign(":="), rest @ ..] => Ok((names, true, rest)),
        [Token::Sign("="), rest @ ..] => Ok((names, false, rest)),
        _ => Ok((Vec::new(), false, tokens)),
    }
}
