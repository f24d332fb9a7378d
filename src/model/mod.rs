//! The words of the domain: ids, time, series, agents, alerts, and what readers may ask of history.
//!
//! This room knows no bytes on disk, no HTTP and no JSON shapes; those belong to `codec`, `api` and
//! `ingest`.

mod agent;
mod alert;
mod batch;
mod book;
mod bucket;
mod clock;
mod counter;
mod distribution;
mod exact_sum;
pub mod genai;
mod glob;
mod id;
mod labels;
mod limits;
mod matcher;
mod metric;
mod notification;
mod policy;
mod prices;
mod quick_sum;
mod read;
mod retention;
mod rule;
mod series;
mod span;
mod steps;
mod time;
mod trace_read;

pub use agent::{Agent, AgentStatus, Contact, INTERVAL_MS, Registration, RegistrationSource};
pub use alert::{
    Acknowledgement, Alert, AlertEvent, AlertEventKind, AlertSource, AlertState, Evidence,
    EvidenceSample, EvidenceSpan, LabelPairs, Severity, Silence,
};
pub use batch::{Batch, METADATA_TEXT_BYTES_MAX, MetricMetadata, Row};
pub use book::AlertBook;
pub use bucket::{Bucket, BucketFold, CounterStretch, Stretch, end_of_bucket};
pub use clock::{Clock, ManualClock, SystemClock};
pub use counter::Increase;
pub use distribution::Distribution;
pub use exact_sum::ExactSum;
pub use glob::Glob;
pub use id::{AgentId, AgentNo, BadAgentId, OWN_ID, OccurrenceNo, SeriesNo};
pub use labels::{Labels, LabelsBuilder, NAME_LABEL};
pub use limits::Limits;
pub use matcher::{BadMatcher, MatchOperator, Matcher};
pub use metric::{
    MetricKind, STALE_MARKER, Sample, UnknownKind, greater, is_derived_metric, is_stale_marker,
    lesser, names,
};
pub use notification::{Delivery, DeliveryOutcome, GroupState, Notification, NotifiedAlert};
pub use policy::{HealthWeights, Policy, STALE_AFTER_MS_MIN};
pub use prices::{BadPrices, PriceTable, price};
pub use read::{
    Asked, BucketVisit, History, Profile, ReadError, Run, SeriesExtent, SeriesInfo, Spread,
    Summary, Survey, Unreadable, Visit, downtime_ms,
};
pub use retention::{RetentionRule, is_contact, rule_of};
pub use rule::{
    Aggregate, Condition, FlapDamping, GroupMember, Limit, NoData, Operator, Quorum, Rule,
    RuleOrigin, Season, SeriesFilter, StoredRule,
};
pub use series::{BadSeries, KeyBuilder, SeriesKey};
pub use span::{
    AgentOrigin, AttributeValue, Attributes, Resource, Scope, Span, SpanEvent, SpanId, SpanKind,
    SpanLink, SpanStatus, TokenUsage, TraceId, own_attributes,
};
pub use steps::{Step, Steps};
pub(crate) use time::seconds_to_timestamp;
pub use time::{
    BadTime, DAY_MS, Timestamp, Window, format_duration_ms, parse_duration_ms, parse_time,
};
pub use trace_read::{
    SpanFilter, SpanOperation, TraceCursor, TraceHistory, TracePage, TraceQuery, TraceSummary,
    TraceVisit,
};
