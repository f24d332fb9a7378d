//! Alert rules over durable history: conditions, evaluation, backtest.
//!
//! Evaluations read a view and return observations; `store` applies them to the alerts within a commit.

mod backtest;
mod baseline;
mod bindings;
mod condition;
mod definition;
mod evaluation;
mod expression;
mod json;
mod lint;
mod names;
mod readings;
mod status;
mod telling;
mod template;
mod unit_test;

pub use backtest::{BacktestReport, Episode, backtest};
pub use definition::{check_definition, read_rule};
pub use evaluation::{Evaluated, Evaluator, Scope};
pub use json::{backtest_json, labels_json, number_json};
pub use lint::{Remark, Weight, lint};
pub use status::{DirectoryStatus, RulesStatus};
pub use unit_test::{
    AlertTest, ExpectedAlert, ExpectedSample, ExpressionTest, UnitTest, run_unit_test,
};
