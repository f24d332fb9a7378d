//! The language: text -> tokens -> tree, checked, and back to text.

mod binary;
mod call;
mod check;
pub(super) mod expression;
pub(super) mod function;
mod lexer;
mod literal;
mod parse_error;
#[cfg(test)]
mod parse_error_tests;
mod parser;
#[cfg(test)]
mod parser_bounds_tests;
#[cfg(test)]
mod parser_tests;
mod pretty;
mod print;
#[cfg(test)]
mod print_tests;
mod selector;
mod token;
mod tree_json;

pub use parse_error::ParseError;
pub use parser::{parse, parse_metric_selector};
pub use pretty::pretty;
pub use tree_json::to_json;
