//! PromQL: text -> tree -> answer, over a [`Source`] of series. Knows no HTTP and no storage engine.

mod answer;
mod binary;
mod budget;
mod call;
mod check;
mod column;
mod error;
mod evaluate;
mod expression;
mod function;
mod lexer;
mod literal;
mod notes;
mod parse_error;
mod parser;
mod presence;
mod selector;
mod source;
mod steps;
mod token;
mod tree_json;
mod print;
mod pretty;

pub use answer::{
    Answer, AnswerSeries, Answered, LOOKBACK_MS, QueryRange, Question, SUBQUERY_STEP_MS, answer,
    answer_parsed, show_number,
};
pub use budget::{Cancel, QueryLimits};
pub use error::QueryError;
pub use expression::{Expression, ValueType};
pub use notes::Told;
pub use parse_error::ParseError;
pub use parser::{parse, parse_metric_selector};
pub use presence::comparison_as_bool;
pub use source::{HistorySource, OwnedLabels, Selected, Source};
