//! `longwatch demo`: the simulated fleet, agents with real HTTP endpoints, load, traces and faults, and the
//! server that watches it.
//!
//! Everything the agents show follows from the time since the start and their number; two runs look
//! the same.

mod agent;
mod cast;
mod exposition;
mod fleet;
mod run;
mod traces;

use fleet::Fleet;
pub use run::{DemoOptions, demo};
