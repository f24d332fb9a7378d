//! What detectors are told to look for.

use super::Detector;
use crate::model::Severity;

/// Whether a detector looks, and how bad it is what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// Whether it looks (`enabled`, true).
    pub enabled: bool,
    /// Severity of its alerts (`severity`).
    pub severity: Severity,
}

impl Switch {
    const fn of(severity: Severity) -> Self {
        Self {
            enabled: true,
            severity,
        }
    }
}

/// Loops between agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopSettings {
    /// Whether and how bad.
    pub switch: Switch,
    /// A circle of up to six agents counts when it was gone round so often (`rounds`, 5).
    pub rounds: u32,
    /// One agent alone counts when it was asked so often in a row (`rounds_alone`, 10).
    pub rounds_alone: u32,
    /// An edge used more often than is usual in the workflow counts from so many uses on (`edge_calls_min`, 20).
    pub edge_calls_min: u32,
}

/// Steps that are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepeatedSettings {
    /// Whether and how bad.
    pub switch: Switch,
    /// The same call so often within a run (`times`, 5).
    pub times: u32,
}

/// Budgets; 0 sets none. They are told at 50, 80 and 100 % of each, once per period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetSettings {
    /// Whether, and how bad a budget is that is used up. At 80 % it is a warning, at 50 % an information.
    pub switch: Switch,
    /// Tokens of an agent within a run (`tokens_per_run`, 2,000,000).
    pub tokens_per_run: u64,
    /// Cost of an agent within a run (`cost_per_run`, none).
    pub cost_per_run: f64,
    /// Tokens of an agent within a UTC day (`tokens_per_day`, none).
    pub tokens_per_day: u64,
    /// Cost of an agent within a UTC day (`cost_per_day`, none).
    pub cost_per_day: f64,
}

impl BudgetSettings {
    /// Whether there is a budget of a day.
    pub fn has_day(&self) -> bool {
        self.switch.enabled && (self.tokens_per_day > 0 || self.cost_per_day > 0.0)
    }
}

/// Stalled work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StallSettings {
    /// Whether and how bad.
    pub switch: Switch,
    /// An open span is stalled when it is older than so many times the 99th percentile of its operation (`factor`, 3),
    pub factor: f64,
    /// but never before this, milliseconds (`floor`, 5 min).
    pub floor_ms: i64,
    /// An agent with open work that is not known to be alive is stalled after so long without a span, milliseconds
    /// (`silence`, 10 min).
    pub silence_ms: i64,
}

/// Agents that are alive and idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleSettings {
    /// Whether and how bad.
    pub switch: Switch,
    /// An agent with open work that is alive counts as idle after so long without a span, milliseconds (`after`, 10 min).
    pub after_ms: i64,
}

/// Hand-offs that fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandoffSettings {
    /// Whether and how bad.
    pub switch: Switch,
    /// The target must begin so soon, milliseconds (`within`, 30 s).
    pub within_ms: i64,
    /// Whether empty arguments count (`empty_arguments`, true).
    pub empty_arguments: bool,
}

/// Retry storms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetrySettings {
    /// Whether and how bad.
    pub switch: Switch,
    /// So many attempts in a row, each after an error (`attempts`, 5).
    pub attempts: u32,
}

/// Cascading time-outs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CascadeSettings {
    /// Whether and how bad.
    pub switch: Switch,
    /// So many callers gave up, one above the other, while what they waited for went on (`levels`, 2).
    pub levels: u32,
}

/// Settings of all detectors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectorSettings {
    /// Alerts about what happened end so long after it was found last, milliseconds (`resolve_after`, 15 min).
    pub resolve_after_ms: i64,
    /// Loops between agents.
    pub looping: LoopSettings,
    /// Steps that are repeated.
    pub repeated_step: RepeatedSettings,
    /// Budgets.
    pub runaway_cost: BudgetSettings,
    /// Stalled work.
    pub silent_stall: StallSettings,
    /// Agents that are alive and idle.
    pub idle: IdleSettings,
    /// Hand-offs that fail.
    pub failed_handoff: HandoffSettings,
    /// Retry storms.
    pub retry_storm: RetrySettings,
    /// Cascading time-outs.
    pub cascading_timeout: CascadeSettings,
}

impl Default for DetectorSettings {
    fn default() -> Self {
        let warning = Switch::of(Severity::Warning);
        let critical = Switch::of(Severity::Critical);
        Self {
            resolve_after_ms: 900_000,
            looping: LoopSettings {
                switch: warning,
                rounds: 5,
                rounds_alone: 10,
                edge_calls_min: 20,
            },
            repeated_step: RepeatedSettings {
                switch: warning,
                times: 5,
            },
            runaway_cost: BudgetSettings {
                switch: critical,
                tokens_per_run: 2_000_000,
                cost_per_run: 0.0,
                tokens_per_day: 0,
                cost_per_day: 0.0,
            },
            silent_stall: StallSettings {
                switch: critical,
                factor: 3.0,
                floor_ms: 300_000,
                silence_ms: 600_000,
            },
            idle: IdleSettings {
                switch: warning,
                after_ms: 600_000,
            },
            failed_handoff: HandoffSettings {
                switch: warning,
                within_ms: 30_000,
                empty_arguments: true,
            },
            retry_storm: RetrySettings {
                switch: warning,
                attempts: 5,
            },
            cascading_timeout: CascadeSettings {
                switch: critical,
                levels: 2,
            },
        }
    }
}

impl DetectorSettings {
    /// Whether a detector looks, and how bad it is what it finds.
    pub const fn switch(&self, detector: Detector) -> Switch {
        match detector {
            Detector::Loop => self.looping.switch,
            Detector::RepeatedStep => self.repeated_step.switch,
            Detector::RunawayCost => self.runaway_cost.switch,
            Detector::SilentStall => self.silent_stall.switch,
            Detector::Idle => self.idle.switch,
            Detector::FailedHandoff => self.failed_handoff.switch,
            Detector::RetryStorm => self.retry_storm.switch,
            Detector::CascadingTimeout => self.cascading_timeout.switch,
        }
    }

    /// The switch itself.
    pub const fn switch_mut(&mut self, detector: Detector) -> &mut Switch {
        match detector {
            Detector::Loop => &mut self.looping.switch,
            Detector::RepeatedStep => &mut self.repeated_step.switch,
            Detector::RunawayCost => &mut self.runaway_cost.switch,
            Detector::SilentStall => &mut self.silent_stall.switch,
            Detector::Idle => &mut self.idle.switch,
            Detector::FailedHandoff => &mut self.failed_handoff.switch,
            Detector::RetryStorm => &mut self.retry_storm.switch,
            Detector::CascadingTimeout => &mut self.cascading_timeout.switch,
        }
    }
}
