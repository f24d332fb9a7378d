//! A subset of TraceQL, the query language of Tempo: sets of spans by conditions, joined with `&&` and `||`. Bounded in
//! length and depth; what is not in the subset is refused with its column.

mod evaluate;
mod expression;
mod go_duration;
mod lexer;
mod narrow;
mod parser;
mod postfix;

#[cfg(test)]
mod tests;

pub(super) use evaluate::{attribute, root_service};
pub(super) use expression::{Field, Query, Scope};
pub(super) use go_duration::parse_go_duration;
pub(super) use parser::{field_of, parse};
