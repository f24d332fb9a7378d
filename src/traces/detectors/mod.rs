//! Failures of agents that show in their spans: loops, repeated steps, runaway cost, stalls, hand-offs that fail, retry
//! storms, cascading time-outs. Functions only: `app` runs them and raises what they find as alerts.

mod budget;
mod cascade;
mod finding;
mod handoff;
mod looping;
mod open_state;
mod repeated;
mod retry_storm;
mod run_view;
mod settings;
mod stall;
#[cfg(test)]
mod tests;

pub use budget::{DayLedger, run_budgets};
pub use cascade::cascading_timeouts;
pub use finding::{Detector, Finding, Subject};
pub use handoff::failed_handoffs;
pub use looping::{EdgeHistory, loops};
pub use open_state::{OpenState, open_state};
pub use repeated::repeated_steps;
pub use retry_storm::retry_storms;
pub use run_view::{RunView, judge_run};
pub use settings::{
    BudgetSettings, CascadeSettings, DetectorSettings, HandoffSettings, IdleSettings, LoopSettings,
    RepeatedSettings, RetrySettings, StallSettings, Switch,
};
pub use stall::{Surroundings, quiet_agents, stalls};
