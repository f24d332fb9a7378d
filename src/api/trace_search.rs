//! Whole traces for answers, bounded in what is read and in what is held.

use axum::http::StatusCode;

use super::problem::Problem;
use crate::model::{
    History, ReadError, Span, SpanFilter, TraceId, TraceQuery, TraceSummary, Window,
};

/// Spans that one answer may hold.
const SPANS_PER_ANSWER_MAX: usize = 500_000;
/// Traces on the first page that is looked at; each page has twice as many as the one before.
const PAGE_MIN: usize = 64;
/// Traces on a page at most.
const PAGE_MAX: usize = 1_024;

/// A trace id as other systems write it: up to 32 hexadecimal digits, with or without the zeros before them.
pub(super) fn trace_id_of(text: &str) -> Result<TraceId, Problem> {
    let padded = format!("{text:0>32}");
    TraceId::from_hex(&padded).ok_or_else(|| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            format!("`{text}` is no trace id: it has 1 to 32 hexadecimal digits, not all zero"),
        )
    })
}

/// All spans of the trace; `None` where there is no such trace.
pub(super) fn whole_trace(
    history: &dyn History,
    id: TraceId,
) -> Result<Option<Vec<Span>>, ReadError> {
    let spans = history.trace(id)?;
    Ok((!spans.is_empty()).then_some(spans))
}

/// Traces of an answer, counted while they are read.
#[derive(Debug, Default)]
pub(super) struct WholeTraces {
    pub(super) traces: Vec<Vec<Span>>,
    spans: usize,
}

impl WholeTraces {
    /// Adds a trace.
    ///
    /// # Errors
    /// The answer would hold too much.
    pub(super) fn add(&mut self, spans: Vec<Span>) -> Result<(), Problem> {
        self.spans += spans.len();
        if self.spans > SPANS_PER_ANSWER_MAX {
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                format!(
                    "the answer would have more than {SPANS_PER_ANSWER_MAX} spans; ask for a shorter time or with a \
                     smaller limit"
                ),
            ));
        }
        if !spans.is_empty() {
            self.traces.push(spans);
        }
        Ok(())
    }

    /// Traces that fit, newest first, with all their spans.
    pub(super) fn search(history: &dyn History, query: &TraceQuery) -> Result<Self, Problem> {
        let mut found = Self::default();
        for summary in history.find_traces(query)?.traces {
            found.add(history.trace(summary.trace_id)?)?;
        }
        Ok(found)
    }
}

/// How much a question may look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    pub(super) traces: usize,
    pub(super) spans: usize,
}

/// How much it looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Looked {
    pub(super) traces: usize,
    pub(super) spans: usize,
    /// It ended before all was looked at that may have fitted, and not because the visitor had enough.
    pub(super) is_cut: bool,
}

/// Hands over traces that began in the window and have a span that fits, newest first, until the visitor has enough
/// (`false`) or the effort is spent.
pub(super) fn each_whole_trace(
    history: &dyn History,
    window: Window,
    filter: &SpanFilter,
    effort: Effort,
    mut visit: impl FnMut(TraceSummary, Vec<Span>) -> bool,
) -> Result<Looked, ReadError> {
    let mut looked = Looked::default();
    let mut query = TraceQuery {
        window,
        filter: filter.clone(),
        after: None,
        limit: PAGE_MIN,
    };
    loop {
        let page = history.find_traces(&query)?;
        for summary in page.traces {
            if looked.traces >= effort.traces || looked.spans >= effort.spans {
                looked.is_cut = true;
                return Ok(looked);
            }
            let spans = history.trace(summary.trace_id)?;
            looked.traces += 1;
            looked.spans += spans.len();
            if !visit(summary, spans) {
                return Ok(looked);
            }
        }
        match page.next {
            None => return Ok(looked),
            next => query.after = next,
        }
        query.limit = (query.limit * 2).min(PAGE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ids_are_padded() {
        let id = trace_id_of("b7ad6b7169203331").unwrap();
        assert_eq!(id.to_string(), "0000000000000000b7ad6b7169203331");
        assert_eq!(trace_id_of("1").unwrap().as_u128(), 1);
        for bad in [
            "",
            "0",
            "xyz",
            "0af7651916cd43dd8448eb211c80319c1",
            "ä",
            "+1",
        ] {
            assert_eq!(trace_id_of(bad).unwrap_err().status, 400, "{bad}");
        }
    }
}
