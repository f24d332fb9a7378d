//! Alerts of a window by agent, read once for a whole fleet.

use std::collections::HashMap;

use crate::model::{AgentNo, Alert, History, ReadError, Timestamp, Window};

/// Alerts whose firing touches a window, by agent, oldest first.
#[derive(Debug)]
pub(super) struct AlertBook {
    by_agent: HashMap<AgentNo, Vec<Alert>>,
    at: Timestamp,
}

impl AlertBook {
    /// Reads the window's alerts.
    pub(super) fn read(history: &dyn History, window: Window) -> Result<Self, ReadError> {
        let mut by_agent: HashMap<AgentNo, Vec<Alert>> = HashMap::new();
        for alert in history.alerts(window)? {
            by_agent.entry(alert.agent).or_default().push(alert);
        }
        Ok(Self {
            by_agent,
            at: window.to,
        })
    }

    /// Reads those that fire at the moment.
    pub(super) fn firing_at(history: &dyn History, at: Timestamp) -> Result<Self, ReadError> {
        Self::read(history, Window::ending_at(at, 1))
    }

    /// All alerts of the agent in the window.
    pub(super) fn of(&self, agent: AgentNo) -> &[Alert] {
        self.by_agent.get(&agent).map_or(&[], Vec::as_slice)
    }

    /// Those of the agent that fire at the window's end.
    pub(super) fn firing(&self, agent: AgentNo) -> Vec<&Alert> {
        self.of(agent)
            .iter()
            .filter(|alert| alert.is_firing_at(self.at))
            .collect()
    }
}

/// Milliseconds of the window in which the alert fired.
pub(super) fn firing_ms(alert: &Alert, window: Window) -> i64 {
    let Some(fired) = alert.fired_at else {
        return 0;
    };
    let start = fired.max(window.from);
    let end = resolved_by(alert, window.to).unwrap_or(window.to);
    end.since(start).max(0)
}

/// When the alert resolved, if it had by the moment.
pub(super) fn resolved_by(alert: &Alert, at: Timestamp) -> Option<Timestamp> {
    alert.resolved_at.filter(|time| *time <= at)
}
