//! Collection: scraping, probing, sampling this host and longwatch itself.
//!
//! [`Collector`] keeps one task per registered agent that names an endpoint; each scrape or probe
//! becomes one [`crate::store::Append`]. [`ContactLedger`] decides which pushes and heartbeats are
//! recorded as contacts.

mod builtin;
mod collector;
mod contact;
mod host;
mod own;
mod pace;
mod process;
mod quiet;
mod roster;
mod session;
mod settings;
mod target;
mod writes;

pub use collector::{Builtin, Collector};
pub use contact::ContactLedger;
pub use settings::Settings;
