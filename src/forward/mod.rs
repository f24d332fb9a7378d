//! Samples sent on to another system that takes remote write: a longwatch, Prometheus, Mimir, Thanos, VictoriaMetrics.
//!
//! The log of the file is the spool (see [`crate::store::SpoolBounds`]): what is acknowledged to its sender or sampled
//! here is forwarded from there, in its order, each sample at least once. A receiver that has a sample already takes
//! no notice of a second one.

mod outgoing;
mod sender;
mod settings;

pub use sender::Forwarder;
pub use settings::{Settings, write_url};
