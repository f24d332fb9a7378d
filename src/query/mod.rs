//! PromQL: text -> tree -> answer, over a [`Source`] of series. Knows no HTTP and no storage engine.

mod answer;
mod budget;
mod column;
mod error;
mod evaluate;
mod notes;
mod presence;
mod render;
mod source;
mod steps;
mod syntax;

use syntax::{expression, function};

pub use answer::{
    Answer, AnswerSeries, Answered, LOOKBACK_MS, QueryRange, Question, SUBQUERY_STEP_MS, answer,
    answer_parsed, show_number,
};
pub use budget::{Cancel, QueryLimits};
pub use error::QueryError;
pub use expression::{Expression, Place, ValueType};
pub use notes::Told;
pub use presence::{comparison_as_bool, is_of_single_series};
pub use render::{put_labels, put_text};
pub use source::{HistorySource, OwnedLabels, Selected, Source};
pub use syntax::{ParseError, parse, parse_metric_selector, pretty, to_json};
