//! From the text of a template to its pieces.

use super::{
    TemplateError, error, functions,
    lex::{Part, Token, parts},
    value::Value,
};

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

/// Parses a template in which some variables are known.
pub(super) fn parse(text: &str, known: &[&str]) -> Result<Vec<Piece>, TemplateError> {
    let parts = parts(text)?;
    let mut parser = Parser {
        parts: parts.into_iter(),
        variables: known
            .iter()
            .map(|name| (*name).to_owned())
            .chain(["$".to_owned()])
            .collect(),
        depth: 0,
        loops: 0,
    };
    let (pieces, end) = parser.pieces()?;
    match end {
        End::Text => Ok(pieces),
        End::Word(word, _) => error(format!("unexpected {{{{{word}}}}}")),
    }
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
            let rest = tokens.get(1..).unwrap_or_default();
            let piece = match word {
                "if" => Piece::If(self.block(rest, "if")?),
                "with" => Piece::With(self.block(rest, "with")?),
                "range" => {
                    self.loops += 1;
                    let block = self.block(rest, "range")?;
                    self.loops -= 1;
                    Piece::Range(block)
                }
                "end" if rest.is_empty() => return Ok((pieces, End::Word("end", Vec::new()))),
                "else" => return Ok((pieces, End::Word("else", rest.to_vec()))),
                "break" if self.loops > 0 && rest.is_empty() => Piece::Break,
                "continue" if self.loops > 0 && rest.is_empty() => Piece::Continue,
                "break" | "continue" => {
                    return error(format!("{{{{{word}}}}} outside {{{{range}}}}"));
                }
                "define" | "template" | "block" => {
                    return error(format!(
                        "{{{{{word}}}}} is not supported: a rule's text is one template"
                    ));
                }
                _ => Piece::Print(self.pipeline(&tokens, false)?),
            };
            pieces.push(piece);
        }
        Ok((pieces, End::Text))
    }

    /// The rest of `if`, `with` or `range` up to its `end`.
    fn block(&mut self, head: &[Token], what: &str) -> Result<Block, TemplateError> {
        self.enter()?;
        let known = self.variables.len();
        let head = self.pipeline(head, what == "range")?;
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
                let block = self.block(after.get(1..).unwrap_or_default(), inner)?;
                let piece = if inner == "if" {
                    Piece::If(block)
                } else {
                    Piece::With(block)
                };
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
        [
            Token::Variable(a),
            Token::Sign(","),
            Token::Variable(b),
            rest @ ..,
        ] => {
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
