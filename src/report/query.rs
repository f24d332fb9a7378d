//! Paths of the HTTP API that show what a figure was worked out from.

use std::fmt::Write;

use serde_json::json;

use super::findings::Evidence;
use crate::model::{AgentId, Timestamp, Window};

/// Lists include both ends, a window has its beginning left out: the next millisecond makes them agree.
fn bounds(window: Window) -> (Timestamp, Timestamp) {
    (window.from.plus_millis(1).max(Timestamp::MIN), window.to)
}

pub(super) fn samples_query(agent: Option<&AgentId>, metric: &str, window: Window) -> Evidence {
    let (from, to) = bounds(window);
    let agent = agent.map_or_else(String::new, |id| {
        format!("agent_id={}&", percent_encode(id.as_str()))
    });
    Evidence::Value(json!(format!(
        "/api/v1/samples?{agent}metric_name={metric}&from={from}&to={to}"
    )))
}

pub(super) fn alerts_query(agent: &AgentId, window: Window) -> Evidence {
    let (from, to) = bounds(window);
    Evidence::Value(json!(format!(
        "/api/v1/alerts?state=all&agent_id={}&from={from}&to={to}",
        percent_encode(agent.as_str())
    )))
}

/// Traces that began in the window, of an agent or all; `more` is what else is asked, e.g. `status=failed&`.
pub(super) fn traces_query(agent: Option<&AgentId>, more: &str, window: Window) -> String {
    let (from, to) = bounds(window);
    let agent = agent.map_or_else(String::new, |id| {
        format!("agent_id={}&", percent_encode(id.as_str()))
    });
    format!("/api/v1/traces?{agent}{more}from={from}&to={to}")
}

/// Where the time of an agent's traces goes.
pub(super) fn profile_query(agent: &AgentId, window: Window) -> String {
    let (from, to) = bounds(window);
    let agent = percent_encode(agent.as_str());
    format!("/api/v1/traces/profile?agent_id={agent}&from={from}&to={to}")
}

/// Spans of an agent that have not ended by now.
pub(super) fn open_spans_query(agent: &AgentId) -> String {
    format!(
        "/api/v1/spans/open?agent_id={}",
        percent_encode(agent.as_str())
    )
}

/// RFC 3986: everything but unreserved characters.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
