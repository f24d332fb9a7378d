//! Decisions about state, as functions only: the status of an agent, its health alert.

mod health;
mod status;

pub use health::{
    HEALTH_ALERT_NAME, HealthDecision, decide_health_alert, health_alert_error, health_alert_id,
};
pub use status::{StatusInputs, Verdict, judge_status, read_status_inputs};
