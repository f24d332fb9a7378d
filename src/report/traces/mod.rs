//! What the traces of a window say about agents: errors, latencies, tokens, cost, critical path.

mod figures;
mod findings;
mod fold;
mod reading;
mod told;
mod usage;

#[cfg(test)]
mod tests;

pub use figures::{AgentTraces, SystemTraces};
pub(super) use findings::{doubled, of_agent, unread};
pub use reading::agent_traces;
pub(super) use reading::read;
pub(super) use told::{TraceRow, notes, rows, summary};
pub use usage::{TokenTotals, TokensByModel};
