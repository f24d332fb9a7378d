//! What is to be thought of a span that has not ended.

use super::StallSettings;
use crate::model::{AgentStatus, Span};

/// State of an open span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenState {
    /// At work, as far as one can tell.
    Open,
    /// Older than work of its kind ever is.
    Stalled,
    /// Its agent is gone.
    Lost,
}

impl OpenState {
    /// In lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Stalled => "stalled",
            Self::Lost => "lost",
        }
    }
}

/// After how many nanoseconds an open span counts as stalled: max(factor x 99th percentile of the operation, floor).
pub(super) fn limit_ns(p99_ns: Option<i64>, settings: &StallSettings) -> i64 {
    let usual = p99_ns.map_or(0.0, |p99| p99 as f64 * settings.factor);
    // Numbers beyond 64 bits end at the largest one.
    (usual as i64).max(settings.floor_ms.saturating_mul(1_000_000))
}

/// State of a span that has not ended, `p99_ns` being the 99th percentile of its operation's durations where that is
/// known: lost when its agent is stale or unhealthy, stalled when it is older than work of its kind.
pub fn open_state(
    span: &Span,
    now_ns: i64,
    p99_ns: Option<i64>,
    agent: AgentStatus,
    settings: &StallSettings,
) -> OpenState {
    if matches!(agent, AgentStatus::Stale | AgentStatus::Unhealthy) {
        OpenState::Lost
    } else if now_ns.saturating_sub(span.start_ns) > limit_ns(p99_ns, settings) {
        OpenState::Stalled
    } else {
        OpenState::Open
    }
}
