//! A line of the log for each alert.

use super::{
    channel::Channel,
    text::{self, TEXT_BYTES_MAX, inert},
};
use crate::model::{Delivery, DeliveryOutcome, NotifiedAlert};

/// The log as a channel.
pub(super) struct Log {
    name: String,
}

impl Log {
    /// A channel of this name.
    pub(super) const fn new(name: String) -> Self {
        Self { name }
    }
}

/// What is said of an alert: a warning while it fires.
fn line(alert: &NotifiedAlert, is_escalation: bool) -> String {
    let escalated = if is_escalation { ", escalated" } else { "" };
    let line = format!(
        "alert {} ({}{escalated}): {}: {}",
        text::status(alert),
        alert.severity,
        alert.alert_id,
        alert.description
    );
    inert(&line, TEXT_BYTES_MAX)
}

impl Channel for Log {
    async fn deliver(&self, delivery: &Delivery) -> DeliveryOutcome {
        let told = &delivery.notification;
        for alert in &told.alerts {
            let line = line(alert, told.is_escalation);
            if alert.resolved_at.is_some() {
                tracing::info!(channel = self.name, "{line}");
            } else {
                tracing::warn!(channel = self.name, "{line}");
            }
        }
        if let Some(line) = text::truncated(told.truncated) {
            tracing::warn!(channel = self.name, "{line}");
        }
        DeliveryOutcome::Delivered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fake::{firing, resolved};

    #[test]
    fn a_line_is_one_line() {
        let mut alert = firing(1);
        alert.description = "cpu\n2026 ERROR forged \u{1b}[2J".to_owned();
        assert_eq!(
            line(&alert, true),
            "alert firing (critical, escalated): HighCpu:agent-1:cpu: cpu 2026 ERROR forged  [2J"
        );
        assert_eq!(
            line(&resolved(2), false),
            "alert resolved (critical): HighCpu:agent-2:cpu: cpu of agent-2 is 97"
        );
    }
}
