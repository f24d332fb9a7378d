//! Words -> tree: a parser by precedence.
//!
//! Grammar and wording of errors: Prometheus 3, `promql/parser/generated_parser.y` and `parse.go`.
//! Not supported are its experiments: arithmetic on durations, `anchored`, `smoothed`, `fill`.

use super::{
    binary::Operation,
    call::OpenCall,
    check::check,
    expression::{BinaryOperator, Expression, Node, Place, Wrapping},
    lexer::Lexer,
    literal::{parse_duration, parse_number, unquote},
    parse_error::ParseError,
    token::{Described, Kind, Token},
};
use crate::model::Matcher;

/// Longest query, in bytes.
pub(super) const QUERY_BYTES_MAX: usize = 65_536;
/// Levels of a query's tree; `1 + 1 + 1` has three. What walks trees may recurse this deep;
/// the parser itself does not recurse.
pub(super) const DEPTH_MAX: usize = 250;
/// Operators of a query.
pub(super) const OPERATORS_MAX: usize = 2_000;
/// Regular expressions of a query; each may take a megabyte once compiled.
pub(super) const REGEXES_MAX: usize = 128;

/// Reads an expression.
///
/// # Errors
/// Says what is wrong and where. Takes bounded time and stack for any text.
pub fn parse(text: &str) -> Result<Expression, ParseError> {
    let mut parser = Parser::new(text)?;
    if parser.kind() == Kind::End {
        let message = "no expression found in input";
        return Err(parser.error(Place::default(), message));
    }
    let mut expression = parser.expression()?;
    parser.expect(Kind::End, "", "")?;
    check(text, &mut expression)?;
    Ok(expression)
}

/// Reads what `match[]` takes: a selector without range, `offset` and `@`.
///
/// # Errors
/// Says what is wrong and where; a selector that takes every series is refused.
pub fn parse_metric_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::new(text)?;
    let parsed = parser.bare_selector()?;
    parser.expect(Kind::End, "", "")?;
    let Node::Vector(selector) = parsed.expression.node else {
        return Ok(Vec::new());
    };
    if selector.matchers.iter().all(|matcher| matcher.matches("")) {
        let message = "match[] must contain at least one non-empty matcher";
        return Err(parser.error(parsed.expression.place, message));
    }
    Ok(selector.matchers)
}

/// A part of the tree and how many levels it has.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) expression: Expression,
    pub(super) height: usize,
}

/// What has begun and waits for an operand.
#[derive(Debug)]
pub(super) enum Open {
    /// `left +`
    Binary(Operation),
    /// `-`
    Sign { sign: BinaryOperator, start: u32 },
    /// `(`
    Group { start: u32 },
    /// `name(`, and the arguments before the next one.
    Call(OpenCall),
}

/// A query that is read from left to right, one word ahead.
#[derive(Debug)]
pub(super) struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The word that comes next.
    token: Token,
    /// Where the last word that was passed ends.
    passed: u32,
    operators: usize,
    pub(super) regexes: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self, ParseError> {
        if text.len() > QUERY_BYTES_MAX {
            let bytes = text.len();
            let message = format!("a query has at most {QUERY_BYTES_MAX} bytes, this one {bytes}");
            return Err(ParseError::new(text, Place::default(), message));
        }
        let mut lexer = Lexer::new(text);
        Ok(Self {
            token: lexer.next()?,
            lexer,
            passed: 0,
            operators: 0,
            regexes: 0,
        })
    }

    /// What comes next.
    pub(super) const fn kind(&self) -> Kind {
        self.token.kind
    }

    /// Where it stands.
    pub(super) const fn place(&self) -> Place {
        self.token.place
    }

    pub(super) fn text(&self, token: Token) -> &'a str {
        self.lexer.text(token.place)
    }

    /// Whether a certain word comes next; case does not count.
    pub(super) fn is_word(&self, word: &str) -> bool {
        self.kind() == Kind::Identifier && self.text(self.token).eq_ignore_ascii_case(word)
    }

    /// From `start` to the end of the word that was passed last.
    pub(super) const fn since(&self, start: u32) -> Place {
        Place {
            start,
            end: self.passed,
        }
    }

    pub(super) fn error(&self, place: Place, message: impl Into<String>) -> ParseError {
        self.lexer.error(place, message)
    }

    /// The next word cannot stand here.
    pub(super) fn unexpected(&self, context: &str, expected: &str) -> ParseError {
        let found = Described {
            kind: self.kind(),
            text: self.text(self.token),
        };
        let mut message = format!("unexpected {found}");
        if !context.is_empty() {
            message.push_str(" in ");
            message.push_str(context);
        }
        if !expected.is_empty() {
            message.push_str(", expected ");
            message.push_str(expected);
        }
        self.error(self.place(), message)
    }

    /// Passes the next word.
    pub(super) fn pass(&mut self) -> Result<Token, ParseError> {
        let token = self.token;
        self.passed = token.place.end;
        self.token = self.lexer.next()?;
        Ok(token)
    }

    /// Passes the next word if it is of a kind.
    pub(super) fn accept(&mut self, kind: Kind) -> Result<bool, ParseError> {
        let is_there = self.kind() == kind;
        if is_there {
            self.pass()?;
        }
        Ok(is_there)
    }

    /// Passes the next word, which must be of a kind.
    pub(super) fn expect(
        &mut self,
        kind: Kind,
        context: &str,
        expected: &str,
    ) -> Result<(), ParseError> {
        if self.accept(kind)? {
            return Ok(());
        }
        Err(self.unexpected(context, expected))
    }

    fn too_deep(&self) -> ParseError {
        let message = format!("the expression has more than {DEPTH_MAX} levels");
        self.error(self.place(), message)
    }

    /// A node over parts that have `below` levels at most.
    pub(super) fn branch(
        &self,
        node: Node,
        place: Place,
        below: usize,
    ) -> Result<Branch, ParseError> {
        if below >= DEPTH_MAX {
            return Err(self.too_deep());
        }
        Ok(Branch {
            expression: Expression { node, place },
            height: below + 1,
        })
    }

    pub(super) fn count_operator(&mut self) -> Result<(), ParseError> {
        self.operators += 1;
        if self.operators <= OPERATORS_MAX {
            return Ok(());
        }
        let message = format!("the expression has more than {OPERATORS_MAX} operators");
        Err(self.error(self.place(), message))
    }

    /// An expression, up to the first word that cannot belong to it.
    ///
    /// What has begun and waits for an operand lies in a list, not on the thread's stack: the
    /// depth of a text costs no stack.
    fn expression(&mut self) -> Result<Expression, ParseError> {
        let mut open = Vec::new();
        loop {
            if open.len() > DEPTH_MAX {
                return Err(self.too_deep());
            }
            let mut operand = self.begin(&mut open)?;
            while let Some(branch) = operand {
                if let Kind::Operator(operator) = self.kind() {
                    let left = self.reduce(&mut open, branch, Some(operator))?;
                    open.push(self.operator(left, operator)?);
                    break;
                }
                let branch = self.reduce(&mut open, branch, None)?;
                let Some(parent) = open.pop() else {
                    return Ok(branch.expression);
                };
                operand = self.close(parent, branch, &mut open)?;
            }
        }
    }

    /// An operand that is complete, or none when one has begun that holds further operands.
    fn begin(&mut self, open: &mut Vec<Open>) -> Result<Option<Branch>, ParseError> {
        let primary = match self.kind() {
            Kind::Operator(sign @ (BinaryOperator::Add | BinaryOperator::Sub)) => {
                self.count_operator()?;
                let start = self.pass()?.place.start;
                open.push(Open::Sign { sign, start });
                return Ok(None);
            }
            Kind::LeftParen => {
                let start = self.pass()?.place.start;
                open.push(Open::Group { start });
                return Ok(None);
            }
            Kind::Number | Kind::Duration | Kind::Text => self.literal()?,
            Kind::LeftBrace => self.selector(None)?,
            kind if kind.is_metric_name() => {
                let Some(named) = self.named(open)? else {
                    return Ok(None);
                };
                named
            }
            _ => return Err(self.unexpected("", "")),
        };
        self.modifiers(primary).map(Some)
    }

    /// Closes the operators that bind their right side tighter than `next`, all without a `next`.
    fn reduce(
        &self,
        open: &mut Vec<Open>,
        mut branch: Branch,
        next: Option<BinaryOperator>,
    ) -> Result<Branch, ParseError> {
        let next = next.map_or(0, binding);
        let pow = binding(BinaryOperator::Pow);
        while let Some(last) = open.pop_if(|last| match last {
            // Equals group to the left, but for `^`.
            Open::Binary(operation) => {
                let tight = binding(operation.operator);
                tight > next || (tight == next && tight != pow)
            }
            // Looser than `^`, tighter than `*`.
            Open::Sign { .. } => next < pow,
            Open::Group { .. } | Open::Call(_) => false,
        }) {
            branch = match last {
                Open::Binary(operation) => self.operation(operation, branch)?,
                Open::Sign { sign, start } => self.signed(sign, start, branch)?,
                Open::Group { .. } | Open::Call(_) => branch,
            };
        }
        Ok(branch)
    }

    /// What is complete with its last operand; none if further ones follow.
    fn close(
        &mut self,
        parent: Open,
        branch: Branch,
        open: &mut Vec<Open>,
    ) -> Result<Option<Branch>, ParseError> {
        let primary = match parent {
            Open::Group { start } => {
                self.expect(Kind::RightParen, "", "")?;
                let node = Node::Group(Box::new(branch.expression), Wrapping::Parentheses);
                self.branch(node, self.since(start), branch.height)?
            }
            Open::Call(call) => {
                let Some(closed) = self.argument(call, branch, open)? else {
                    return Ok(None);
                };
                closed
            }
            // Operators were closed before what holds them.
            Open::Binary(_) | Open::Sign { .. } => branch,
        };
        self.modifiers(primary).map(Some)
    }

    /// `-a` and `+a`; a number takes the sign as its own.
    fn signed(
        &self,
        sign: BinaryOperator,
        start: u32,
        inner: Branch,
    ) -> Result<Branch, ParseError> {
        let Branch { expression, height } = inner;
        let place = Place {
            start,
            end: expression.place.end,
        };
        let is_minus = sign == BinaryOperator::Sub;
        let node = match expression.node {
            Node::Number(value) => {
                let value = if is_minus { -value } else { value };
                return self.branch(Node::Number(value), place, 0);
            }
            _ if is_minus => Node::Negate(Box::new(expression)),
            _ => Node::Group(Box::new(expression), Wrapping::Plus),
        };
        self.branch(node, place, height)
    }

    fn literal(&mut self) -> Result<Branch, ParseError> {
        let token = self.pass()?;
        let node = match token.kind {
            Kind::Text => Node::Text(self.unquoted(token)?),
            _ => Node::Number(self.seconds(token)?),
        };
        self.branch(node, token.place, 0)
    }

    /// The value of a number; of a duration its seconds.
    pub(super) fn seconds(&self, token: Token) -> Result<f64, ParseError> {
        let text = self.text(token);
        let value = match token.kind {
            Kind::Duration => parse_duration(text).map(|ms| ms as f64 / 1_000.0),
            _ => parse_number(text),
        };
        value.map_err(|why| self.error(token.place, why))
    }

    /// The value of a text in quotes.
    pub(super) fn unquoted(&self, token: Token) -> Result<String, ParseError> {
        unquote(self.text(token)).map_err(|(at, why)| {
            let place = Place {
                start: token.place.start + at as u32,
                end: token.place.end,
            };
            self.error(place, why)
        })
    }
}

/// How tightly an operator binds.
pub(super) const fn binding(operator: BinaryOperator) -> u8 {
    use BinaryOperator as Op;
    match operator {
        Op::Or => 1,
        Op::And | Op::Unless => 2,
        Op::Equal | Op::NotEqual | Op::Greater | Op::Less | Op::GreaterEqual | Op::LessEqual => 3,
        Op::Add | Op::Sub => 4,
        Op::Mul | Op::Div | Op::Mod | Op::Atan2 => 5,
        Op::Pow => 6,
    }
}
