//! Tokens -> a query.

use regex::RegexBuilder;

use super::{
    expression::{Comparison, Condition, Field, Literal, Query, QueryError, Scope, SpanSet},
    lexer::{Placed, Token, tokens},
    postfix::Yard,
};
use crate::model::{SpanKind, SpanStatus};

/// Bytes of a query.
const BYTES_MAX: usize = 8 << 10;
/// Bytes of a compiled regular expression.
const REGEX_BYTES_MAX: usize = 1 << 20;

const FIELDS: &str = "name, status, statusMessage, kind, duration, traceDuration, rootName, rootServiceName, \
    span.ATTRIBUTE, resource.ATTRIBUTE and .ATTRIBUTE";

/// The field of a name, in both spellings that Tempo has.
pub(in crate::api) fn field_of(word: &str) -> Option<Field> {
    let scopes = [
        ("span.", Scope::Span),
        ("resource.", Scope::Resource),
        (".", Scope::Either),
    ];
    Some(match word {
        "name" | "span:name" => Field::Name,
        "status" | "span:status" => Field::Status,
        "statusMessage" | "span:statusMessage" => Field::StatusMessage,
        "kind" | "span:kind" => Field::Kind,
        "duration" | "span:duration" => Field::Duration,
        "traceDuration" | "trace:duration" => Field::TraceDuration,
        "rootName" | "trace:rootName" => Field::RootName,
        "rootServiceName" | "trace:rootService" => Field::RootService,
        "resource.service.name" | ".service.name" => Field::Service,
        _ => {
            let (scope, key) = scopes
                .into_iter()
                .find_map(|(prefix, scope)| Some((scope, word.strip_prefix(prefix)?)))?;
            if key.is_empty() {
                return None;
            }
            Field::Attribute(scope, key.to_owned())
        }
    })
}

/// A side of a comparison.
enum Side {
    Field(Field),
    Value(Literal),
    Nil,
}

fn side_of((token, column): &Placed) -> Result<Side, QueryError> {
    let value = match token {
        Token::Text(text) => Literal::Text(text.clone()),
        Token::Int(number) => Literal::Int(*number),
        Token::Float(number) => Literal::Float(*number),
        Token::Duration(ns) => Literal::Duration(*ns),
        Token::Word(word) => match word.as_str() {
            "true" => Literal::Bool(true),
            "false" => Literal::Bool(false),
            "nil" => return Ok(Side::Nil),
            "error" => Literal::Status(SpanStatus::Error),
            "ok" => Literal::Status(SpanStatus::Ok),
            "unset" => Literal::Status(SpanStatus::Unset),
            other => match (SpanKind::of_name(other), field_of(other)) {
                (Some(kind), _) if kind.name() == other => Literal::Kind(kind),
                (_, Some(field)) => return Ok(Side::Field(field)),
                _ => {
                    let what = format!("`{other}` is not supported; fields are {FIELDS}");
                    return Err(QueryError::new(*column, what));
                }
            },
        },
        _ => {
            let what = format!("a field or a value is missing; fields are {FIELDS}");
            return Err(QueryError::new(*column, what));
        }
    };
    Ok(Side::Value(value))
}

/// Reads a query.
pub(in crate::api) fn parse(text: &str) -> Result<Query, QueryError> {
    if text.len() > BYTES_MAX {
        let what = format!("a query has at most {BYTES_MAX} bytes");
        return Err(QueryError::new(1, what));
    }
    let tokens = tokens(text)?;
    let end = text.chars().count() + 1;
    let mut rest = tokens.as_slice();
    let mut sets: Yard<SpanSet> = Yard::new();
    while let Some(((token, column), after)) = rest.split_first() {
        rest = after;
        match token {
            Token::BraceOpen => {
                if !sets.wants_operand() {
                    let what = "`&&` or `||` is missing before it";
                    return Err(QueryError::new(*column, what));
                }
                let (set, after) = span_set(rest, *column)?;
                sets.operand(set, *column)?;
                rest = after;
            }
            Token::ParenOpen => sets.paren_open(*column)?,
            Token::ParenClose => sets.paren_close(*column)?,
            Token::And => sets.and(*column)?,
            Token::Or => sets.or(*column)?,
            Token::Compare(_) => {
                let what = "relations between spans are not supported";
                return Err(QueryError::new(*column, what));
            }
            _ => {
                let what = "conditions stand in braces: { name = \"x\" }";
                return Err(QueryError::new(*column, what));
            }
        }
    }
    let sets = sets.finish(end)?;
    if sets.is_empty() {
        return Err(QueryError::new(end, "a set of spans is missing: { }"));
    }
    Ok(Query(sets))
}

/// Reads what stands in braces, up to the closing one; also the tokens after it.
fn span_set(mut rest: &[Placed], opened: usize) -> Result<(SpanSet, &[Placed]), QueryError> {
    let mut conditions: Yard<Condition> = Yard::new();
    while let Some(((token, column), after)) = rest.split_first() {
        match token {
            Token::BraceClose => return Ok((conditions.finish(*column)?, after)),
            Token::ParenOpen => conditions.paren_open(*column)?,
            Token::ParenClose => conditions.paren_close(*column)?,
            Token::And => conditions.and(*column)?,
            Token::Or => conditions.or(*column)?,
            Token::Not => conditions.not(*column)?,
            _ => {
                let (condition, after) = condition(rest)?;
                conditions.operand(condition, *column)?;
                rest = after;
                continue;
            }
        }
        rest = after;
    }
    Err(QueryError::new(opened, "`{` is not closed"))
}

/// Reads one condition; also the tokens after it. There is at least one token.
fn condition(rest: &[Placed]) -> Result<(Condition, &[Placed]), QueryError> {
    let [left, after @ ..] = rest else {
        return Err(QueryError::new(1, "a condition is missing"));
    };
    let column = left.1;
    let [(Token::Compare(comparison), _), right, after @ ..] = after else {
        return match side_of(left)? {
            Side::Value(Literal::Bool(is)) => Ok((Condition::Constant(is), after)),
            _ => Err(QueryError::new(
                column,
                "a comparison is missing after it, as in `name = \"x\"`",
            )),
        };
    };
    let condition = match (side_of(left)?, side_of(right)?) {
        (Side::Field(field), Side::Value(value)) => compare(field, *comparison, value, right.1)?,
        (Side::Value(value), Side::Field(field)) => {
            let Some(flipped) = comparison.flipped() else {
                let what = "a regular expression stands on the right";
                return Err(QueryError::new(column, what));
            };
            compare(field, flipped, value, column)?
        }
        (Side::Field(field), Side::Nil) | (Side::Nil, Side::Field(field)) => match comparison {
            Comparison::Equal => Condition::Exists(field, false),
            Comparison::NotEqual => Condition::Exists(field, true),
            _ => {
                let what = "with nil there are only = and !=";
                return Err(QueryError::new(column, what));
            }
        },
        (Side::Field(_), Side::Field(_)) => {
            let what = "comparing two fields is not supported";
            return Err(QueryError::new(right.1, what));
        }
        _ => {
            let what = format!("one side must be a field: {FIELDS}");
            return Err(QueryError::new(column, what));
        }
    };
    Ok((condition, after))
}

fn compare(
    field: Field,
    comparison: Comparison,
    value: Literal,
    column: usize,
) -> Result<Condition, QueryError> {
    let (takes, fits) = match (&field, &value) {
        (
            Field::Name
            | Field::StatusMessage
            | Field::RootName
            | Field::RootService
            | Field::Service,
            value,
        ) => ("a text in quotes", matches!(value, Literal::Text(_))),
        (Field::Status, value) => (
            "error, ok or unset",
            matches!(value, Literal::Status(_)) && !comparison.orders(),
        ),
        (Field::Kind, value) => (
            "unspecified, internal, server, client, producer or consumer",
            matches!(value, Literal::Kind(_)) && !comparison.orders(),
        ),
        (Field::Duration | Field::TraceDuration, value) => (
            "a duration such as 1.5s",
            matches!(value, Literal::Duration(_)),
        ),
        (Field::Attribute(..), Literal::Bool(_)) => {
            ("a value that has an order", !comparison.orders())
        }
        (Field::Attribute(..), value) => (
            "a text in quotes, a number, true or false",
            matches!(
                value,
                Literal::Text(_) | Literal::Int(_) | Literal::Float(_)
            ),
        ),
    };
    if !fits {
        let what = format!("this field is compared so with {takes}");
        return Err(QueryError::new(column, what));
    }
    let is_match = match comparison {
        Comparison::Matches => true,
        Comparison::NotMatches => false,
        _ => return Ok(Condition::Compare(field, comparison, value)),
    };
    let Literal::Text(pattern) = value else {
        let what = "a regular expression is a text in quotes";
        return Err(QueryError::new(column, what));
    };
    // Tempo's expressions fit the whole text.
    let regex = RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|why| {
            let why = why.to_string();
            let why = why.lines().last().unwrap_or_default().to_owned();
            QueryError::new(column, format!("no regular expression: {why}"))
        })?;
    Ok(Condition::Matches(field, Box::new(regex), is_match))
}
