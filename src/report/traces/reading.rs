//! Reads the traces of a window, as many as one report may look at.

use std::{collections::HashMap, sync::Arc};

use super::{
    super::query::traces_query,
    figures::{AgentTraces, SystemTraces},
    fold::TraceFold,
};
use crate::model::{
    AgentId, History, ReadError, Span, SpanFilter, Timestamp, TraceCursor, TraceId, TraceQuery,
    Window,
};

/// Traces that one report looks at; of more, the newest.
pub(super) const TRACES_MAX: usize = 50_000;
/// Nanoseconds of a millisecond.
const MS: i64 = 1_000_000;

/// The traces of a window, added up.
pub(in crate::report) struct TraceReading {
    fold: TraceFold,
    window: Window,
    agent: Option<AgentId>,
    /// First trace of those that are in it, where older ones are left out.
    cut_at: Option<TraceCursor>,
    /// Why some cannot be read.
    unreadable: Option<String>,
}

impl TraceReading {
    const fn is_complete(&self) -> bool {
        self.cut_at.is_none() && self.unreadable.is_none()
    }

    /// The figures of an agent; `None` of one that no trace is of.
    pub(in crate::report) fn agent(&self, id: &AgentId) -> Option<AgentTraces> {
        let query = traces_query(Some(id), "", self.window);
        self.fold.agent(id, self.is_complete(), query)
    }

    /// The figures of all.
    pub(in crate::report) fn system(&self) -> SystemTraces {
        let from = self.cut_at.map(|first| millisecond(first.start_ns));
        let query = traces_query(self.agent.as_ref(), "", self.window);
        self.fold
            .system(self.is_complete(), from, self.unreadable.clone(), query)
    }
}

/// The figures of one agent over a window; `None` where no trace is of it.
pub fn agent_traces(
    history: &dyn History,
    agent: &AgentId,
    window: Window,
) -> Result<Option<AgentTraces>, ReadError> {
    Ok(read(history, window, Some(agent))?.and_then(|reading| reading.agent(agent)))
}

/// Reads the traces that began in the window, of one agent or all, and what is open from before; `None` where there
/// is nothing.
pub(in crate::report) fn read(
    history: &dyn History,
    window: Window,
    agent: Option<&AgentId>,
) -> Result<Option<TraceReading>, ReadError> {
    read_at_most(history, window, agent, TRACES_MAX)
}

/// The same with another bound. Traces come in no order, and which come first depends on where they lie: so where
/// there are too many, the newest are asked for by name and all are read again.
pub(super) fn read_at_most(
    history: &dyn History,
    window: Window,
    agent: Option<&AgentId>,
    traces_max: usize,
) -> Result<Option<TraceReading>, ReadError> {
    let pass = Pass {
        history,
        window,
        filter: SpanFilter {
            agent: agent.cloned(),
            ..SpanFilter::default()
        },
    };
    let mut cut_at = None;
    let mut unreadable = None;
    let mut fold = pass.read(None, Some(traces_max), &mut unreadable)?;
    if fold.is_none() {
        cut_at = readable(pass.newest(traces_max), &mut unreadable)?.flatten();
        fold = pass.read(cut_at, None, &mut unreadable)?;
    }
    let reading = fold.map(|fold| TraceReading {
        fold,
        window,
        agent: agent.cloned(),
        cut_at,
        unreadable,
    });
    Ok(reading.filter(|reading| !reading.fold.is_empty() || reading.unreadable.is_some()))
}

/// One way through the traces of a window.
struct Pass<'a> {
    history: &'a dyn History,
    window: Window,
    filter: SpanFilter,
}

impl Pass<'_> {
    /// Adds up the traces from a place on; `None` where there are more than `at_most`. Damaged spans are no reason to
    /// have no report: what was read before them counts, and they are told.
    fn read(
        &self,
        first: Option<TraceCursor>,
        at_most: Option<usize>,
        unreadable: &mut Option<String>,
    ) -> Result<Option<TraceFold>, ReadError> {
        let Window { from, to } = self.window;
        let from_ns = nanoseconds(from);
        let asked_from = first.map_or(from, |first| millisecond(first.start_ns));
        let mut fold = TraceFold::new(nanoseconds(to), self.filter.agent.as_ref());
        let mut open: HashMap<TraceId, Vec<Arc<Span>>> = HashMap::new();
        for span in self.history.open_spans() {
            open.entry(span.trace_id).or_default().push(span);
        }
        let mut seen = 0;
        let mut has_too_many = false;
        let asked = Window::new(asked_from.max(from), to);
        let done = self
            .history
            .each_trace(asked, &self.filter, &mut |trace_id, spans| {
                let Some(start_ns) = spans.iter().map(|span| span.start_ns).min() else {
                    return true;
                };
                let cursor = TraceCursor { start_ns, trace_id };
                if start_ns <= from_ns || first.is_some_and(|first| cursor < first) {
                    return true;
                }
                has_too_many = at_most.is_some_and(|most| seen >= most);
                if has_too_many {
                    return false;
                }
                seen += 1;
                open.remove(&trace_id);
                fold.add(spans);
                true
            });
        readable(done, unreadable)?;
        if has_too_many {
            return Ok(None);
        }
        for span in open.values().flatten() {
            fold.add_open(span);
        }
        Ok(Some(fold))
    }

    /// The first of the newest traces of the window.
    fn newest(&self, count: usize) -> Result<Option<TraceCursor>, ReadError> {
        let page = self.history.find_traces(&TraceQuery {
            window: self.window,
            filter: self.filter.clone(),
            after: None,
            limit: count,
        })?;
        Ok(page.traces.last().map(|trace| TraceCursor {
            start_ns: trace.start_ns,
            trace_id: trace.trace_id,
        }))
    }
}

/// What was read; `None` of what is damaged, with the reason kept.
fn readable<T>(
    read: Result<T, ReadError>,
    unreadable: &mut Option<String>,
) -> Result<Option<T>, ReadError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(ReadError::Damaged(why) | ReadError::Newer(why)) => {
            *unreadable = Some(why);
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

/// Nanoseconds since the epoch.
pub(super) const fn nanoseconds(time: Timestamp) -> i64 {
    time.as_millis().saturating_mul(MS)
}

/// The millisecond that a moment lies in.
const fn millisecond(ns: i64) -> Timestamp {
    Timestamp::from_millis(ns.div_euclid(MS))
}
