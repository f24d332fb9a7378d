//! The only room that wires: configuration -> rooms -> tasks -> shutdown.

mod demo;
mod discovery;
mod error;
mod logging;
mod registrations;
mod rounds;
mod serve;
mod signals;

pub use demo::{DemoOptions, demo};
pub use error::StartError;
pub use serve::serve;
