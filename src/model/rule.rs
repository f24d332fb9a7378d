//! Alert rules as values. How they are written is read in `alerts::definition`; what they decide is in
//! `rules` (conditions over history) and `alerts::machine` (the life of an alert).

use std::fmt;

use super::{Glob, Matcher, SeriesKey, Severity, Timestamp, is_derived_metric};

/// How a value is compared with a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `>`
    Greater,
    /// `<`
    Less,
    /// `>=`
    GreaterOrEqual,
    /// `<=`
    LessOrEqual,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
}

impl Operator {
    /// All of them, in the order of the documents.
    pub const ALL: [Self; 6] = [
        Self::Greater,
        Self::Less,
        Self::GreaterOrEqual,
        Self::LessOrEqual,
        Self::Equal,
        Self::NotEqual,
    ];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Greater => ">",
            Self::Less => "<",
            Self::GreaterOrEqual => ">=",
            Self::LessOrEqual => "<=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
        }
    }

    /// Whether `value operator threshold` holds, as IEEE 754 has it: a NaN only differs.
    pub fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::Greater => value > threshold,
            Self::Less => value < threshold,
            Self::GreaterOrEqual => value >= threshold,
            Self::LessOrEqual => value <= threshold,
            Self::Equal => value == threshold,
            Self::NotEqual => value != threshold,
        }
    }

    /// Whether larger values are worse.
    pub const fn points_up(self) -> bool {
        matches!(self, Self::Greater | Self::GreaterOrEqual)
    }

    /// Whether smaller values are worse.
    pub const fn points_down(self) -> bool {
        matches!(self, Self::Less | Self::LessOrEqual)
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which values begin an alert, and which keep it (hysteresis).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// How values are compared.
    pub operator: Operator,
    /// With what.
    pub threshold: f64,
    /// An alert that fires ends only when the value no longer compares so with this; the threshold if `None`.
    pub resolve_threshold: Option<f64>,
}

impl Limit {
    /// Whether the value breaches, by the threshold that counts for an alert that fires or does not.
    pub fn is_breached(&self, value: f64, is_firing: bool) -> bool {
        self.operator.holds(value, self.in_force(is_firing))
    }

    /// The threshold that counts.
    pub fn in_force(&self, is_firing: bool) -> f64 {
        match self.resolve_threshold {
            Some(resolve) if is_firing => resolve,
            _ => self.threshold,
        }
    }
}

/// What is made of the samples of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// The newest sample.
    Last,
    /// Mean.
    Avg,
    /// Smallest.
    Min,
    /// Largest.
    Max,
    /// Sum.
    Sum,
    /// Number of samples.
    Count,
}

impl Aggregate {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Last,
        Self::Avg,
        Self::Min,
        Self::Max,
        Self::Sum,
        Self::Count,
    ];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Sum => "sum",
            Self::Count => "count",
        }
    }
}

/// `breaches` of the last `of` samples must breach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// So many must breach.
    pub breaches: u32,
    /// Of so many.
    pub of: u32,
}

/// What repeats in the history of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Season {
    /// Nothing: all of the history is compared with.
    None,
    /// The same hour of the week, UTC.
    HourOfWeek,
}

/// When a rule holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// A value compares with a threshold.
    Threshold {
        /// Which values.
        limit: Limit,
        /// What is made of the window's samples.
        aggregate: Aggregate,
        /// Window in milliseconds; for the newest sample, how old it may be. `None`: five minutes or three of the
        /// agent's intervals, whichever is longer.
        window_ms: Option<i64>,
        /// Some of the last samples must breach, rather than the newest.
        quorum: Option<Quorum>,
    },
    /// A change per second compares with a threshold. Counters are corrected for resets.
    RateOfChange {
        /// Which rates, per second.
        limit: Limit,
        /// Window in milliseconds; `None`: the last two samples.
        window_ms: Option<i64>,
    },
    /// A series or agent that is known has sent nothing for a time.
    Absent {
        /// For so long, in milliseconds.
        window_ms: i64,
        /// Only what was seen within so long before counts as known, in milliseconds.
        known_for_ms: i64,
    },
    /// The value is far from the median of the same series' own past: the robust z-score
    /// `0.6745 (x - median) / MAD` (Iglewicz and Hoaglin 1993).
    Anomaly {
        /// Scores whose size is above this breach; with [`Operator::Greater`] only those above, with
        /// [`Operator::Less`] only those below the negative of it.
        threshold: f64,
        /// Which side counts; `None` for both.
        side: Option<Operator>,
        /// An alert that fires ends when the score's size is no longer above this.
        resolve_threshold: Option<f64>,
        /// How much past is compared with, in milliseconds.
        history_ms: i64,
        /// What repeats in it.
        season: Season,
    },
    /// The line through the window's samples (least squares) reaches the threshold within a time.
    Forecast {
        /// Which values are bad.
        limit: Limit,
        /// Window of the line, in milliseconds.
        window_ms: i64,
        /// How far ahead, in milliseconds.
        within_ms: i64,
    },
    /// Each row that a PromQL expression yields is an alert.
    Expr {
        /// The expression.
        expr: String,
    },
    /// The rows that a PromQL expression yields are recorded as samples; there are no alerts.
    Record {
        /// The expression.
        expr: String,
        /// Name of the metric that they become.
        metric: String,
    },
}

impl Condition {
    /// Its word in `condition_type`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Threshold { .. } => "threshold",
            Self::RateOfChange { .. } => "rate_of_change",
            Self::Absent { .. } => "absent",
            Self::Anomaly { .. } => "anomaly",
            Self::Forecast { .. } => "forecast",
            Self::Expr { .. } => "expr",
            Self::Record { .. } => "record",
        }
    }

    /// Its PromQL, if it is one of those that are written so.
    pub fn expression(&self) -> Option<&str> {
        match self {
            Self::Expr { expr } | Self::Record { expr, .. } => Some(expr),
            _ => None,
        }
    }

    /// The threshold that begins an alert, if the condition has one.
    pub const fn threshold(&self) -> Option<f64> {
        match self {
            Self::Threshold { limit, .. }
            | Self::RateOfChange { limit, .. }
            | Self::Forecast { limit, .. } => Some(limit.threshold),
            Self::Anomaly { threshold, .. } => Some(*threshold),
            Self::Absent { .. } | Self::Expr { .. } | Self::Record { .. } => None,
        }
    }

    /// The same condition with another threshold; a resolve threshold keeps its distance.
    #[must_use]
    pub fn with_threshold(&self, to: f64) -> Self {
        let shift = |limit: &mut Limit| {
            let by = to - limit.threshold;
            limit.threshold = to;
            limit.resolve_threshold = limit.resolve_threshold.map(|r| r + by);
        };
        let mut condition = self.clone();
        match &mut condition {
            Self::Threshold { limit, .. }
            | Self::RateOfChange { limit, .. }
            | Self::Forecast { limit, .. } => shift(limit),
            Self::Anomaly {
                threshold,
                resolve_threshold,
                ..
            } => {
                *resolve_threshold = resolve_threshold.map(|r| (r + to - *threshold).max(0.0));
                *threshold = to;
            }
            Self::Absent { .. } | Self::Expr { .. } | Self::Record { .. } => {}
        }
        condition
    }
}

/// What an evaluation without data means for an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoData {
    /// Nothing is known: a pending alert does not come nearer to firing, one that fires keeps firing.
    Unknown,
    /// As if the last verdict still held.
    Keep,
    /// As if the condition held.
    Alert,
    /// As if the condition did not hold.
    Resolve,
}

impl NoData {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Keep, Self::Alert, Self::Resolve];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Keep => "keep",
            Self::Alert => "alert",
            Self::Resolve => "resolve",
        }
    }
}

/// An alert that fired so often within a time is held until the condition has been gone for that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlapDamping {
    /// So often.
    pub firings: u32,
    /// Within so long, in milliseconds.
    pub within_ms: i64,
}

/// Which series a rule looks at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeriesFilter {
    /// The metric, exact or with `*`; every one but derived ones if `None`.
    pub metric: Option<Glob>,
    /// The agent, exact or with `*`.
    pub agent: Option<Glob>,
    /// Labels of the series.
    pub labels: Vec<Matcher>,
}

impl SeriesFilter {
    /// Whether the agent is looked at.
    pub fn takes_agent(&self, agent: &str) -> bool {
        self.agent.as_ref().is_none_or(|glob| glob.fits(agent))
    }

    /// Whether a series of an agent that is looked at is, too.
    pub fn takes_series(&self, key: &SeriesKey) -> bool {
        let fits_name = match &self.metric {
            Some(glob) => glob.fits(key.name()),
            None => !is_derived_metric(key.name()),
        };
        let value = |name: &str| key.label(name).unwrap_or("");
        fits_name && self.labels.iter().all(|m| m.matches(value(m.name())))
    }
}

/// What a rule has beside that stands in a group of a Prometheus rule file. Its texts are Go templates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupMember {
    /// What it is called there: the name of its alerts, or of the metric that it records.
    pub title: String,
    /// Name of the group.
    pub group: String,
    /// Its place in the group: the rules of a group are evaluated one after the other.
    pub position: u32,
    /// The group is evaluated so often, in milliseconds; `None`: as often as other rules.
    pub interval_ms: Option<i64>,
    /// The expression is evaluated as of so long before, in milliseconds.
    pub query_offset_ms: i64,
    /// More rows than this are an error; 0 for any number.
    pub limit: u32,
}

/// An alert rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What it is called: 1 to 256 bytes, no control characters, not `.` or `..`.
    pub name: String,
    /// What its alerts say; a template.
    pub description: String,
    /// How bad it is.
    pub severity: Severity,
    /// Which series it looks at.
    pub filter: SeriesFilter,
    /// When it holds.
    pub condition: Condition,
    /// The condition must hold so long before the alert fires; milliseconds.
    pub for_ms: i64,
    /// The alert fires on for so long after the condition ended; milliseconds.
    pub keep_firing_for_ms: i64,
    /// What an evaluation without data means.
    pub no_data: NoData,
    /// Fewer samples in the window than this are no data.
    pub min_samples: u32,
    /// Holds an alert that comes and goes.
    pub flap_damping: Option<FlapDamping>,
    /// Labels that its alerts get beside those of the series; templates.
    pub add_labels: Vec<(String, String)>,
    /// More to be said; templates.
    pub annotations: Vec<(String, String)>,
    /// What it has beside if it comes from a Prometheus rule file.
    pub member: Option<Box<GroupMember>>,
}

impl Rule {
    /// What its alerts are called: in a Prometheus rule file several rules may share that name.
    pub fn alert_name(&self) -> &str {
        self.member
            .as_ref()
            .map_or(&self.name, |member| &member.title)
    }

    /// Whether it is about whole agents rather than single series.
    pub const fn is_about_agents(&self) -> bool {
        matches!(self.condition, Condition::Absent { .. }) && self.filter.metric.is_none()
    }
}

/// Where a rule comes from; only what came over the API may be changed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleOrigin {
    /// The configuration file.
    Config,
    /// The rules directory.
    Directory,
    /// The API.
    Api,
}

impl RuleOrigin {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Directory => "directory",
            Self::Api => "api",
        }
    }
}

/// A rule in force.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRule {
    /// The rule.
    pub rule: Rule,
    /// The rule as JSON, as it was read.
    pub definition: String,
    /// Where it comes from.
    pub origin: RuleOrigin,
    /// When it came or changed last.
    pub updated_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_compare_as_ieee_has_it() {
        let holds = |value, threshold| {
            Operator::ALL.map(|operator| u8::from(operator.holds(value, threshold)))
        };
        assert_eq!(holds(2.0, 1.0), [1, 0, 1, 0, 0, 1]);
        assert_eq!(holds(1.0, 1.0), [0, 0, 1, 1, 1, 0]);
        assert_eq!(holds(f64::NAN, 1.0), [0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn a_firing_alert_ends_by_the_resolve_threshold() {
        let limit = Limit {
            operator: Operator::Greater,
            threshold: 90.0,
            resolve_threshold: Some(80.0),
        };
        assert!(!limit.is_breached(85.0, false));
        assert!(limit.is_breached(85.0, true));
        assert!(!limit.is_breached(80.0, true));
    }
}
