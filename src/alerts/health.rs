//! The agent health alert (M12): raised once when an agent is unhealthy or stale, resolved when it is back.

use super::status::Verdict;
use crate::model::{
    AgentId, AgentNo, AgentStatus, Alert, AlertSource, LabelPairs, OccurrenceNo, Severity,
    Timestamp,
};

/// Name of the health alert, as in the document.
pub const HEALTH_ALERT_NAME: &str = "Agent Health Issue";

/// Identity of an agent's health alert over its occurrences.
pub fn health_alert_id(agent: &AgentId) -> String {
    format!("agent_health:{agent}")
}

/// An agent's health alert that fires.
pub fn health_alert(
    occurrence: OccurrenceNo,
    no: AgentNo,
    agent: &AgentId,
    description: &str,
    at: Timestamp,
) -> Alert {
    let severity = Severity::Critical;
    let id = health_alert_id(agent);
    Alert {
        description: description.to_owned(),
        source: AlertSource::Health,
        labels: health_labels(agent),
        ..Alert::fired(occurrence, no, id, HEALTH_ALERT_NAME, severity, at)
    }
}

/// Labels of an agent's health alert.
pub fn health_labels(agent: &AgentId) -> LabelPairs {
    [
        ("agent_id", agent.as_str()),
        ("alertname", HEALTH_ALERT_NAME),
        ("severity", Severity::Critical.as_str()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
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
    /// It still fires, for another reason.
    Reword {
        /// What the alert says from now on.
        description: String,
    },
    /// It is over.
    Resolve {
        /// What ended it.
        reason: String,
    },
}

/// Decides from the status, what failed last, and the alert if it is firing.
///
/// It resolves only when there was a contact after it fired: right after a start of the server nobody is
/// judged stale, which does not mean that anybody is back. `unknown` (no contact yet) neither raises nor
/// resolves it.
pub fn decide_health_alert(
    agent: &AgentId,
    verdict: &Verdict,
    error: Option<&str>,
    firing: Option<&Alert>,
) -> HealthDecision {
    let since = verdict.last_heartbeat.map_or_else(
        || " (never reached)".to_owned(),
        |t| format!(" (last heartbeat {t})"),
    );
    let describe = |error: &str| format!("{}{error}{since}", describes(agent));
    match (verdict.status, firing) {
        (AgentStatus::Stale, None) => HealthDecision::Fire {
            description: describe(SILENT),
        },
        (AgentStatus::Unhealthy, None) => {
            let error = error.unwrap_or("the last scrape or probe failed");
            HealthDecision::Fire {
                description: describe(error),
            }
        }
        (AgentStatus::Unhealthy, Some(alert)) => match error.map(describe) {
            Some(description) if description != alert.description => {
                HealthDecision::Reword { description }
            }
            _ => HealthDecision::Keep,
        },
        (AgentStatus::Active, Some(alert))
            if verdict.last_contact.is_some_and(|t| t > alert.active_at) =>
        {
            HealthDecision::Resolve {
                reason: "the agent is back".to_owned(),
            }
        }
        _ => HealthDecision::Keep,
    }
}

/// What ails an agent that is stale.
const SILENT: &str = "no contact";

/// How the alert's description begins, as in the document; what failed follows.
fn describes(agent: &AgentId) -> String {
    format!("Agent {agent} is experiencing health issues: ")
}

/// What failed, from the description of an agent's health alert.
pub fn health_alert_error<'a>(agent: &AgentId, description: &'a str) -> &'a str {
    description
        .strip_prefix(&describes(agent))
        .unwrap_or(description)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raised_once_until_there_is_contact_again() {
        let agent = AgentId::new("a7").unwrap();
        let at = Timestamp::from_millis;
        let description = "Agent a7 is experiencing health issues: refused (never reached)";
        let (id, severity) = (health_alert_id(&agent), Severity::Critical);
        let alert = Alert {
            description: description.to_owned(),
            ..Alert::fired(
                OccurrenceNo(0),
                AgentNo(1),
                id,
                HEALTH_ALERT_NAME,
                severity,
                at(100),
            )
        };
        let decide = |status, last_contact, error, firing| {
            let verdict = Verdict {
                status,
                last_heartbeat: None,
                last_contact,
            };
            decide_health_alert(&agent, &verdict, error, firing)
        };
        let fire = decide(AgentStatus::Unhealthy, None, Some("refused"), None);
        assert_eq!(
            fire,
            HealthDecision::Fire {
                description: alert.description.clone()
            }
        );
        assert_eq!(
            health_alert_error(&agent, &alert.description),
            "refused (never reached)"
        );
        let firing = Some(&alert);
        assert_eq!(
            decide(AgentStatus::Unhealthy, None, Some("refused"), firing),
            HealthDecision::Keep
        );
        assert_eq!(
            decide(AgentStatus::Unhealthy, None, None, firing),
            HealthDecision::Keep
        );
        let other = decide(AgentStatus::Unhealthy, None, Some("timed out"), firing);
        assert!(
            matches!(other, HealthDecision::Reword { description } if description.contains("timed out"))
        );
        assert!(matches!(
            decide(AgentStatus::Stale, None, None, None),
            HealthDecision::Fire { .. }
        ));
        // Active by grace alone: no contact since it fired.
        assert_eq!(
            decide(AgentStatus::Active, Some(at(50)), None, firing),
            HealthDecision::Keep
        );
        let back = decide(AgentStatus::Active, Some(at(101)), None, firing);
        assert!(matches!(back, HealthDecision::Resolve { .. }));
        assert_eq!(
            decide(AgentStatus::Active, Some(at(101)), None, None),
            HealthDecision::Keep
        );
        assert_eq!(
            decide(AgentStatus::Unknown, None, None, firing),
            HealthDecision::Keep
        );
    }
}
