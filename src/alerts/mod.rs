//! Decisions about state, as functions only: the status of an agent and its health alert, how rules are
//! written, the life of an alert, what its texts say, who is told of it and when.

mod definition;
mod dispatch;
mod health;
mod machine;
mod maintenance;
mod routing;
mod status;
mod template;

pub use definition::{
    GROUP_KEY, MISSING, Mistake, RULE_KEYS, check_rule_name, read_definition, read_rule,
};
pub use dispatch::{Flush, Member, fingerprint, flush, next_look};
pub use health::{
    HEALTH_ALERT_NAME, HealthDecision, decide_health_alert, health_alert, health_alert_error,
    health_alert_id, health_labels,
};
pub use machine::{Finding, Life, Step, Surroundings, Terms, deadline, step};
pub use maintenance::{Maintenance, Schedule};
pub use routing::{ALL_LABELS, DEFAULT_ROUTE, Escalation, Inhibition, Route, Routing};
pub use status::{StatusInputs, Verdict, judge_status, read_status_inputs};
pub use template::{
    BadTemplate, Facts, PLACEHOLDERS, TEXT_BYTES_MAX, check_template, fill, fill_all, shown_number,
};
