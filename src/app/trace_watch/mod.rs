//! Watches traces as they come: span metrics, the service graph, detectors of failures, open spans that nobody ends.

mod open_work;
mod pending;
mod raising;
mod recent;
mod task;
#[cfg(test)]
mod tests;
mod watch;

pub(super) use task::watch_traces;
