//! The only room that wires: configuration -> rooms -> tasks -> shutdown.

mod agent;
mod alert_series;
mod alerting;
mod demo;
mod discovery;
mod error;
mod folder;
mod intake;
mod logging;
mod registrations;
mod rounds;
mod serve;
mod signals;
mod trace_watch;

pub use agent::agent;
pub use demo::{DemoOptions, demo};
pub use error::StartError;
pub use serve::serve;
