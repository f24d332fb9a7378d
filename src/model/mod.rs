//! The words of the domain: ids, time, series, agents, alerts, and what readers may ask of history.
//!
//! This room knows no bytes on disk, no HTTP and no JSON shapes; those belong to `codec`, `api` and
//! `ingest`.

mod agent;
mod alert;
mod batch;
mod bucket;
mod clock;
mod counter;
mod distribution;
mod exact_sum;
mod id;
mod limits;
mod metric;
mod policy;
mod quick_sum;
mod read;
mod series;
mod steps;
mod time;

pub use agent::{Agent, AgentStatus, Contact, INTERVAL_MS, Registration, RegistrationSource};
pub use alert::{Alert, AlertEvent, AlertEventKind, Severity};
pub use batch::{Batch, MetricMetadata, Row};
pub use bucket::{Bucket, BucketFold, CounterStretch, Stretch, end_of_bucket};
pub use clock::{Clock, ManualClock, SystemClock};
pub use counter::Increase;
pub use distribution::Distribution;
pub use exact_sum::ExactSum;
pub use id::{AgentId, AgentNo, BadAgentId, OccurrenceNo, SeriesNo};
pub use limits::Limits;
pub use metric::{
    MetricKind, STALE_MARKER, Sample, UnknownKind, greater, is_derived_metric, is_stale_marker,
    lesser, names,
};
pub use policy::{HealthWeights, Policy, STALE_AFTER_MS_MIN};
pub use read::{
    Asked, BucketVisit, History, Profile, ReadError, Run, SeriesExtent, SeriesInfo, Spread,
    Summary, Survey, Unreadable, Visit,
};
pub use series::{BadSeries, KeyBuilder, SeriesKey};
pub use steps::{Step, Steps};
pub(crate) use time::seconds_to_timestamp;
pub use time::{
    BadTime, DAY_MS, Timestamp, Window, format_duration_ms, parse_duration_ms, parse_time,
};
