//! Collection: scraping, probing, sampling this host and longwatch itself.
//!
//! [`Collector`] keeps one task per registered agent that names an endpoint or a process; each round or probe
//! becomes one [`crate::store::Append`]. [`ContactLedger`] decides which pushes and heartbeats are
//! recorded as contacts.

mod bound_process;
mod builtin;
mod collector;
mod contact;
mod host;
mod own;
mod pace;
mod process;
mod quiet;
mod roster;
mod rounds;
mod session;
mod settings;
mod target;
mod writes;

pub use collector::{Builtin, Collector};
pub use contact::ContactLedger;
pub use host::{host_agent_id, host_name};
pub use process::pid_start;
pub use settings::Settings;
