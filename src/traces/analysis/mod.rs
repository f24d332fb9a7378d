//! What one trace tells: how long, who, what held it up, what failed.

mod analyse;
mod faults;
mod json;
mod participation;
mod text;
mod waits;

pub use analyse::{
    Analysis, AnalysisError, Durations, MissingParent, Oddities, PathSegment, RootInfo, SkewShift,
    analyse,
};
pub(super) use faults::retry_chains;
pub use faults::{ExceptionInfo, Retry, SpanError};
pub use json::to_json;
pub(super) use json::{ms, tokens};
pub use participation::{OperationShare, Participation};
pub use text::to_text;
pub use waits::{AgentWait, WaitKind};
