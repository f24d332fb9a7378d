//! Settings that change results. They are written into the file as events, so that a report offline
//! or about the past judges by what held then.

/// Points taken off the health score and the bounds that cost them; defaults are the document's.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthWeights {
    /// Average cpu in percent above which it is critical (80).
    pub cpu_critical_percent: f64,
    /// Points for critical cpu (30).
    pub cpu_critical_points: f64,
    /// Average cpu in percent above which it is high (60).
    pub cpu_high_percent: f64,
    /// Points for high cpu (15).
    pub cpu_high_points: f64,
    /// Average memory in percent above which it is critical (85).
    pub memory_critical_percent: f64,
    /// Points for critical memory (25).
    pub memory_critical_points: f64,
    /// Average memory in percent above which it is high (70).
    pub memory_high_percent: f64,
    /// Points for high memory (10).
    pub memory_high_points: f64,
    /// Points for a status other than active (50).
    pub status_points: f64,
    /// Points for each firing alert of the agent (10).
    pub alert_points: f64,
}

impl Default for HealthWeights {
    fn default() -> Self {
        Self {
            cpu_critical_percent: 80.0,
            cpu_critical_points: 30.0,
            cpu_high_percent: 60.0,
            cpu_high_points: 15.0,
            memory_critical_percent: 85.0,
            memory_critical_points: 25.0,
            memory_high_percent: 70.0,
            memory_high_points: 10.0,
            status_points: 50.0,
            alert_points: 10.0,
        }
    }
}

/// Everything beside the samples that decides what a report says.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Window of the health score outside of reports, in milliseconds (`health.window`, 1 h).
    pub health_window_ms: i64,
    /// Weights of the health score (`[health]`).
    pub health: HealthWeights,
    /// Interval of agents that give none, in milliseconds (`collect.interval`, 30 s).
    pub interval_ms: i64,
    /// An agent is stale after so many of its intervals without contact (`collect.stale_after_intervals`, 3).
    pub stale_after_intervals: u32,
    /// Job of agents that give none (`collect.job`).
    pub job: String,
}

/// Never stale sooner than this, however short the interval, in milliseconds.
pub const STALE_AFTER_MS_MIN: i64 = 30_000;
/// Agents that only push are stale after this, in milliseconds.
const STALE_AFTER_MS_PUSH: i64 = 90_000;

impl Default for Policy {
    fn default() -> Self {
        Self {
            health_window_ms: 3_600_000,
            health: HealthWeights::default(),
            interval_ms: 30_000,
            stale_after_intervals: 3,
            job: "multi-agent-system".to_owned(),
        }
    }
}

impl Policy {
    /// Milliseconds without contact after which the agent is stale.
    pub fn stale_after_ms(&self, registration: &super::Registration) -> i64 {
        if registration.is_push_only() && registration.interval_ms.is_none() {
            return STALE_AFTER_MS_PUSH;
        }
        let interval = registration.interval_ms.unwrap_or(self.interval_ms);
        (interval * i64::from(self.stale_after_intervals)).max(STALE_AFTER_MS_MIN)
    }
}
