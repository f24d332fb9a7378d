//! From findings to alerts: each is told once, and again only when it has grown.

use super::recent::Recent;
use crate::{
    model::{History, Timestamp, Window},
    store::Detection,
    traces::Finding,
};

/// Alerts whose last value is remembered.
const RAISED_MAX: usize = 50_000;
/// Alerts from before the start of the server are looked for so far back, in milliseconds.
const PAST_MS: i64 = 86_400_000;

/// What was raised lately, with its value.
#[derive(Debug)]
pub(super) struct Raised(Recent<String, f64>);

impl Default for Raised {
    fn default() -> Self {
        Self(Recent::new(RAISED_MAX))
    }
}

/// A finding as the store takes it; `None` where its agent is not registered.
pub(super) fn detection(
    view: &dyn History,
    finding: Finding,
    ends_at: Option<Timestamp>,
    now: Timestamp,
) -> Option<Detection> {
    let agent = view.agent(&finding.agent, now)?;
    (agent.deregistered_at.is_none()).then(|| Detection {
        agent: agent.no,
        alert_id: finding.alert_id(),
        name: finding.detector.alert_name().to_owned(),
        severity: finding.severity,
        labels: finding.labels(),
        description: finding.message,
        value: finding.value,
        threshold: finding.threshold,
        spans: finding.spans,
        ends_at,
    })
}

impl Raised {
    /// Findings about what happened that are news: not told yet, or grown since. What has a period is told once in it.
    pub(super) fn news(
        &mut self,
        view: &dyn History,
        findings: Vec<Finding>,
        resolve_after_ms: i64,
        now: Timestamp,
    ) -> Vec<Detection> {
        let mut news = Vec::new();
        for finding in findings {
            let (id, value) = (finding.alert_id(), finding.value);
            // A mark names the level of a budget: the level does not grow.
            let grows = finding.mark.is_empty();
            let known = self.0.get(&id).copied();
            let known = known.or_else(|| raised_before(view, &id, now));
            if known.is_some_and(|known| !grows || value <= known) {
                self.0.put(&id, known.unwrap_or(value));
                continue;
            }
            let ends_at = finding
                .until
                .unwrap_or_else(|| now.plus_millis(resolve_after_ms));
            // That of an agent that is not registered may be told when it is.
            if let Some(detection) = detection(view, finding, Some(ends_at), now) {
                self.0.put(&id, value);
                news.push(detection);
            }
        }
        news
    }
}

/// The value that an alert was raised with within a day. What cannot be read was not.
fn raised_before(view: &dyn History, id: &str, now: Timestamp) -> Option<f64> {
    let alerts = view.alerts(Window::ending_at(now, PAST_MS)).ok()?;
    let same = alerts.iter().filter(|alert| alert.alert_id == id);
    same.filter_map(|alert| alert.value).reduce(f64::max)
}
