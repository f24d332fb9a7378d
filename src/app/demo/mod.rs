//! The simulated fleet of `longwatch demo`: agents with real HTTP endpoints, load, and faults.
//!
//! Everything follows from the time since the start and the agent's number; two runs look the same.

mod agent;
mod cast;
mod exposition;
mod fleet;

pub use fleet::Fleet;
