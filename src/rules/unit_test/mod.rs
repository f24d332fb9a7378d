//! Unit tests of rules in promtool's form: series are given, rules evaluated step by step, alerts and expressions
//! compared. The evaluation is that of the live server, over series in memory.
//!
//! Source of the behaviour: Prometheus, `cmd/promtool/unittest.go`.

mod guard;
mod histogram;
mod run;
mod series;

pub use run::{AlertTest, ExpectedAlert, ExpectedSample, ExpressionTest, UnitTest, run_unit_test};
