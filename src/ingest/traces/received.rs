//! What comes of a body of spans.

use crate::model::{Span, SpanId, TraceId};

/// Reasons that are kept of one body.
pub const SPAN_ERRORS_MAX: usize = 20;

/// What a body of spans held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Received {
    /// The spans, in the order of the body. The agent is not told yet unless longwatch itself wrote the span; see
    /// [`super::resolve_agents`].
    pub spans: Vec<Span>,
    /// Spans that were rejected while the others are kept.
    pub rejected: usize,
    /// Why, for the first [`SPAN_ERRORS_MAX`] of them: the place among the spans (from 0), the span's id where it has
    /// one, and the reason.
    pub errors: Vec<String>,
    /// Texts that were cut since they are longer than is taken.
    pub cut: usize,
}

impl Received {
    /// Notes a span that is rejected.
    pub(super) fn reject(&mut self, what: &str, reason: &str) {
        self.rejected += 1;
        if self.errors.len() < SPAN_ERRORS_MAX {
            self.errors.push(format!("{what}: {reason}"));
        }
    }

    /// What the sender should know, in a line; empty where all was taken as sent.
    pub fn message(&self) -> String {
        let mut parts = self.errors.clone();
        let more = self.rejected.saturating_sub(self.errors.len());
        if more > 0 {
            parts.push(format!("and {more} more"));
        }
        if self.cut > 0 {
            parts.push(format!("{} texts were too long and are cut", self.cut));
        }
        parts.join("; ")
    }
}

/// What a program tells of a span that has not ended (`partial-span-processor`).
#[derive(Clone, Debug, PartialEq)]
pub enum PartialEvent {
    /// It is running.
    Open(Box<Span>),
    /// It has ended; how is told by the span itself, if it comes.
    Stopped(TraceId, SpanId),
}

/// What a body of log records held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReceivedLogs {
    /// What is told of open spans, in the order of the body.
    pub events: Vec<PartialEvent>,
    /// Records that are about open spans and cannot be read.
    pub rejected: usize,
    /// Why, for the first [`SPAN_ERRORS_MAX`] of them.
    pub errors: Vec<String>,
    /// Other records; longwatch keeps no logs.
    pub ignored: usize,
}

impl ReceivedLogs {
    /// What the sender should know, in a line; empty where all was taken.
    pub fn message(&self) -> String {
        let mut parts = self.errors.clone();
        let more = self.rejected.saturating_sub(self.errors.len());
        if more > 0 {
            parts.push(format!("and {more} more"));
        }
        if self.ignored > 0 {
            parts.push(format!(
                "{} log records are ignored: longwatch keeps no logs",
                self.ignored
            ));
        }
        parts.join("; ")
    }
}
