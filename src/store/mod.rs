//! Durable history: the one room that knows the engine.
//!
//! One thread writes ([`Store::append`] and the like queue for it), everybody reads immutable views
//! ([`Store::view`]). What was acknowledged is on disk and in every later view.

mod alerting;
mod backend;
mod bucketing;
mod catalog;
mod checkpoint;
mod command;
mod committer;
mod compact;
mod copies;
mod departure;
mod draft;
mod error;
mod expiry;
mod file;
mod forwarding;
mod handle;
mod head;
mod inventory;
mod liveness;
mod load;
mod merge;
mod merger;
#[path = "../../migrations/mod.rs"]
mod migrations;
mod moment;
mod outage;
mod packing;
mod pieces;
mod pins;
mod quarantine;
mod queue;
mod quiet;
mod ration;
mod recovery;
mod reserve;
mod retention;
mod rollups;
mod runs;
mod segments;
mod series_table;
mod settings;
mod shared;
mod spreads;
mod stretch;
mod survey;
mod sweep;
mod tables;
#[cfg(test)]
mod tests;
mod traces;
mod verification;

pub use alerting::{Change, Changed, Detection, ExternalAlert, Observation, RULES_MAX};
pub use compact::{CompactReport, CompactStep, compact};
pub use copies::{inspect, open_copy, snapshot_file};
pub use error::{Condition, OpenError, WriteError};
pub use forwarding::{LogRecord, SpoolBounds, SpoolStatus};
pub use handle::{
    Append, Appended, Registered, Rejected, SpanTicket, Store, StoreStatus, Urgency, View,
};
pub use head::FUTURE_MS_LIMIT;
pub use quarantine::Quarantined;
pub use settings::Settings;
pub use traces::{
    Kept, SpanAppend, SpanChange, SpanChanged, SpanRejection, SpansAppended, TracePin,
};
pub use verification::{VerifyReport, verify};
