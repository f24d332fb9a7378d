//! Guarded HTTP client for addresses that others name: scrape targets, probes, receivers of notifications.
//!
//! It speaks plain http and https, ignores proxies of the environment, refuses link-local and other
//! addresses that are no place for a target at the moment of connecting, follows few redirects without
//! carrying credentials to another origin, and stops reading at a limit.

mod address;
mod client;
mod error;
#[cfg(test)]
mod scripted;
mod settings;

pub use client::{Answer, Client, Fetched};
pub use error::{BuildError, FetchError, one_line};
#[cfg(test)]
pub(crate) use scripted::{Reply, ScriptedServer};
pub use settings::Settings;
