//! Steps of the database's schema, oldest first.
//!
//! A step is frozen once it is released: it carries private copies of the table definitions it needs
//! and uses nothing but redb and std, so that no later change of the program can change what an old
//! step does. Each step runs in one write transaction, which also sets the schema version.

use redb::WriteTransaction;

#[path = "0004_alerting/step.rs"]
mod alerting;
#[path = "0001_initial/step.rs"]
mod initial;
#[path = "0002_rollups/step.rs"]
mod rollups;
#[path = "0003_series_days/step.rs"]
mod series_days;
#[path = "0005_traces/step.rs"]
mod traces;

/// One step: what brings a file from `version - 1` to `version`.
pub(crate) struct Step {
    /// Schema version that the step leads to.
    pub(crate) version: u32,
    /// Does it.
    pub(crate) apply: fn(&WriteTransaction) -> Result<(), redb::Error>,
}

/// All steps. The last one's version is the one this binary writes.
pub(crate) const STEPS: &[Step] = &[
    Step {
        version: 1,
        apply: initial::apply,
    },
    Step {
        version: 2,
        apply: rollups::apply,
    },
    Step {
        version: 3,
        apply: series_days::apply,
    },
    Step {
        version: 4,
        apply: alerting::apply,
    },
    Step {
        version: 5,
        apply: traces::apply,
    },
];
