//! What readers may ask of the traces of one moment.

use std::sync::Arc;

use super::{AgentId, ReadError, Span, SpanKind, Timestamp, TraceId, Window};

/// What a trace must have to be found: one span of it that fits in every respect, in a window of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanFilter {
    /// Its agent.
    pub agent: Option<AgentId>,
    /// Its service: `service.name` of what sent it, else its agent.
    pub service: Option<String>,
    /// Its operation.
    pub operation: Option<String>,
    /// The word of its status (`completed`, `failed`, ...), or `open` for one that has not ended.
    pub status: Option<String>,
    /// It lasted at least so long, nanoseconds.
    pub min_duration_ns: Option<i64>,
    /// It lasted at most so long, nanoseconds.
    pub max_duration_ns: Option<i64>,
    /// Attributes of the span, its events, its scope or what sent it, and their values as text.
    pub attributes: Vec<(String, String)>,
    /// Part of its status message, or of the message of an exception within it, whatever the case of letters.
    pub error_text: Option<String>,
}

impl SpanFilter {
    /// Whether a span fits in every respect.
    pub fn fits(&self, span: &Span) -> bool {
        let duration = span.duration_ns();
        self.agent.as_ref().is_none_or(|agent| *agent == span.agent)
            && self
                .operation
                .as_deref()
                .is_none_or(|name| *name == *span.name)
            && self
                .status
                .as_deref()
                .is_none_or(|word| word == span.status_word())
            && self
                .service
                .as_deref()
                .is_none_or(|name| span.service() == name)
            && self
                .min_duration_ns
                .is_none_or(|min| duration.is_some_and(|d| d >= min))
            && self
                .max_duration_ns
                .is_none_or(|max| duration.is_some_and(|d| d <= max))
            && self
                .attributes
                .iter()
                .all(|(key, value)| has_attribute(span, key, value))
            && self
                .error_text
                .as_deref()
                .is_none_or(|text| has_error(span, text))
    }
}

fn has_attribute(span: &Span, key: &str, wanted: &str) -> bool {
    let events = span.events.iter().map(|event| &event.attributes);
    let links = span.links.iter().map(|link| &link.attributes);
    let own = [
        &span.attributes,
        &span.scope.attributes,
        &span.resource.attributes,
    ];
    own.into_iter()
        .chain(events)
        .chain(links)
        .any(|attributes| {
            let mut pairs = attributes.iter();
            pairs.any(|(name, value)| {
                **name == *key
                    && value
                        .as_text()
                        .map_or_else(|| value.to_string() == wanted, |text| text == wanted)
            })
        })
        || match key {
            // What other systems have as tags.
            "span.kind" => span.kind != SpanKind::Unspecified && span.kind.name() == wanted,
            "error" => wanted == "true" && span.is_failed(),
            _ => false,
        }
}

fn has_error(span: &Span, text: &str) -> bool {
    let text = text.to_lowercase();
    let mut is_there = false;
    span.each_error_text(|message| is_there |= message.to_lowercase().contains(&text));
    is_there
}

/// Where a page of traces ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TraceCursor {
    /// Start of the last trace told, nanoseconds since the epoch.
    pub start_ns: i64,
    /// The last trace told.
    pub trace_id: TraceId,
}

/// A question for traces.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceQuery {
    /// The trace began within it, both ends included.
    pub window: Window,
    /// What one of its spans is like.
    pub filter: SpanFilter,
    /// Goes on after that place.
    pub after: Option<TraceCursor>,
    /// So many at most.
    pub limit: usize,
}

/// What a list shows of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSummary {
    /// Which.
    pub trace_id: TraceId,
    /// What a client called it, where that is no id.
    pub name: Option<Arc<str>>,
    /// Its first start, nanoseconds since the epoch.
    pub start_ns: i64,
    /// Its last end, or start of an open span.
    pub end_ns: i64,
    /// Agent of its root, or of its first span while the root is not there.
    pub root_agent: AgentId,
    /// Operation of the same span.
    pub root_operation: Arc<str>,
    /// `service.name` of the same span.
    pub root_service: Option<Arc<str>>,
    /// Whether the root is there.
    pub has_root: bool,
    /// Spans.
    pub spans: u32,
    /// Those that failed.
    pub failed_spans: u32,
    /// Those that have not ended.
    pub open_spans: u32,
    /// Its agents with their spans, by id.
    pub agents: Vec<(AgentId, u32)>,
    /// Tokens of its inferences.
    pub tokens: u64,
    /// Their cost, where it is known.
    pub cost: Option<f64>,
    /// Whether it is kept beyond retention.
    pub is_pinned: bool,
}

/// Traces of a question, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TracePage {
    /// They.
    pub traces: Vec<TraceSummary>,
    /// Where the next page goes on; `None` when there is none.
    pub next: Option<TraceCursor>,
}

/// An operation that spans were told of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanOperation {
    /// The service: `service.name` of what sent the spans, else their agent.
    pub service: Arc<str>,
    /// The operation.
    pub name: Arc<str>,
    /// Its part in calls.
    pub kind: SpanKind,
}

/// Takes a trace with all its spans, by start. `false` ends it.
pub type TraceVisit<'a> = dyn FnMut(TraceId, Vec<Span>) -> bool + 'a;

/// Traces of one consistent moment of durable history.
pub trait TraceHistory: Send + Sync {
    /// All spans of a trace by start, open ones included; none of an unknown trace.
    fn trace(&self, _id: TraceId) -> Result<Vec<Span>, ReadError> {
        Ok(Vec::new())
    }

    /// How many spans a trace has, about: spans that were sent twice count twice.
    fn trace_spans(&self, id: TraceId) -> Result<u64, ReadError> {
        Ok(self.trace(id)?.len() as u64)
    }

    /// Traces that fit, newest first.
    fn find_traces(&self, _query: &TraceQuery) -> Result<TracePage, ReadError> {
        Ok(TracePage::default())
    }

    /// Hands over all traces that began in the window and have a span that fits, in no order, each once and whole.
    fn each_trace(
        &self,
        _window: Window,
        _filter: &SpanFilter,
        _visit: &mut TraceVisit<'_>,
    ) -> Result<(), ReadError> {
        Ok(())
    }

    /// Operations of the traces that are kept, ascending, each once, found without looking at spans in blocks; one that
    /// no trace told of since `from` is left out. Of an agent with very many, the first ones that came.
    fn operations(&self, _from: Timestamp) -> Result<Vec<SpanOperation>, ReadError> {
        Ok(Vec::new())
    }

    /// Spans that have not ended, oldest first.
    fn open_spans(&self) -> Vec<Arc<Span>> {
        Vec::new()
    }
}
