//! The agent health alert (M12): raised once when an agent is unhealthy or stale, resolved when it is back.

use crate::model::{AgentId, AgentStatus, Timestamp};

/// Name of the health alert, as in the document.
pub const HEALTH_ALERT_NAME: &str = "Agent Health Issue";

/// Identity of an agent's health alert over its occurrences.
pub fn health_alert_id(agent: &AgentId) -> String {
    format!("agent_health:{agent}")
}

/// What to do about an agent's health alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthDecision {
    /// Nothing changes.
    Keep,
    /// Raise it.
    Fire {
        /// What the alert says.
        description: String,
    },
    /// It is over.
    Resolve {
        /// What ended it.
        reason: String,
    },
}

/// Decides from the status, what failed last, and whether the alert is firing.
///
/// `unknown` (no contact yet) neither raises nor resolves it.
pub fn decide_health_alert(
    agent: &AgentId,
    status: AgentStatus,
    error: Option<&str>,
    last_heartbeat: Option<Timestamp>,
    is_firing: bool,
) -> HealthDecision {
    match (status, is_firing) {
        (AgentStatus::Unhealthy | AgentStatus::Stale, false) => {
            let error = match (status, error) {
                (AgentStatus::Stale, _) => "no contact",
                (_, Some(error)) => error,
                (_, None) => "the last scrape or probe failed",
            };
            let since = last_heartbeat.map_or_else(
                || " (never reached)".to_owned(),
                |t| format!(" (last heartbeat {t})"),
            );
            HealthDecision::Fire {
                description: format!("Agent {agent} is experiencing health issues: {error}{since}"),
            }
        }
        (AgentStatus::Active, true) => HealthDecision::Resolve {
            reason: "the agent is back".to_owned(),
        },
        _ => HealthDecision::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raised_once_until_resolved() {
        let agent = AgentId::new("a7").unwrap();
        let decide =
            |status, firing| decide_health_alert(&agent, status, Some("refused"), None, firing);
        assert!(
            matches!(decide(AgentStatus::Unhealthy, false), HealthDecision::Fire { description }
            if description == "Agent a7 is experiencing health issues: refused (never reached)")
        );
        assert_eq!(decide(AgentStatus::Unhealthy, true), HealthDecision::Keep);
        assert!(matches!(
            decide(AgentStatus::Stale, false),
            HealthDecision::Fire { .. }
        ));
        assert!(matches!(
            decide(AgentStatus::Active, true),
            HealthDecision::Resolve { .. }
        ));
        assert_eq!(decide(AgentStatus::Active, false), HealthDecision::Keep);
        assert_eq!(decide(AgentStatus::Unknown, true), HealthDecision::Keep);
    }
}
