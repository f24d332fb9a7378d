//! What a report lacks since blocks of the file are damaged.

use crate::model::{Agent, AgentId, History, Timestamp, Window};

use super::spans::Spans;

/// Blocks of one agent that the report's figures leave out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Whose.
    pub agent_id: AgentId,
    /// How many.
    pub blocks: u64,
    /// First moment that they cover.
    pub first: Timestamp,
    /// Last moment that they cover, or may cover.
    pub last: Timestamp,
    /// Why the first of them cannot be read.
    pub reason: String,
    /// The moments that they cover.
    pub(super) spans: Spans,
}

/// What the answers about the agents so far lacked, up to the window's end: a status looks back further than
/// the window.
pub(super) fn unread(history: &dyn History, agents: &[Agent], window: Window) -> Vec<Unread> {
    let of_agent = |agent: &Agent| {
        let lacks = history.unreadable(agent.no, Window::until(window.to));
        let first = lacks.first()?;
        Some(Unread {
            agent_id: agent.id.clone(),
            blocks: lacks.len() as u64,
            first: first.first,
            last: lacks.iter().map(|lack| lack.last).max()?,
            reason: first.reason.clone(),
            // A moment stands for the millisecond that ends with it, as in a window.
            spans: lacks
                .iter()
                .map(|lack| lack.first.as_millis().saturating_sub(1)..lack.last.as_millis())
                .collect(),
        })
    };
    agents.iter().filter_map(of_agent).collect()
}

/// Why a report does not cover the whole window, to go before "for the rest of it".
pub(super) const fn uncovered(unread: &[Unread]) -> &'static str {
    if unread.is_empty() {
        "the server did not run"
    } else {
        "the server did not run, or blocks cannot be read,"
    }
}
