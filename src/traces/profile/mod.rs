//! Where the time goes over many traces of one operation.

mod call_tree;
mod flame;
mod folded;
mod json;
mod record;
mod report;
mod text;

pub use call_tree::{CallTree, Frame, FrameNo};
pub use record::{LabelTimes, Profile, TraceTimes};
pub use report::{Cohort, LabelShares, PathShare, ProfileReport};
