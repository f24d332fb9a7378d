//! What is done on the caller's thread, so that the committer only commits: times are checked, spans encoded, and
//! traces that were here before looked up.

use std::collections::{HashMap, HashSet};

use super::{
    chunk::{AgentSpans, SpanChunk, by_agent},
    hour_at, nanoseconds,
};
use crate::{
    model::{ReadError, Span, SpanId, TraceId, format_duration_ms},
    store::{
        Append,
        draft::Prepared,
        head::FUTURE_MS_LIMIT,
        moment::{Moment, backend, guarded},
        shared::Shared,
        tables,
    },
};

/// Hours back from now in which the trace of a span is looked for. A trace that was silent for longer, with more traces
/// after it than are remembered, goes on in another hour; it is still read as one.
const HOURS_BACK: i32 = 6;

/// Ended spans to be made durable, with the contacts of their agents that they are.
#[derive(Debug)]
pub struct SpanAppend {
    /// Spans that have ended.
    pub spans: Vec<Span>,
    /// One for each agent at most.
    pub contacts: Vec<Append>,
}

/// A span that was not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanRejection {
    /// Its trace.
    pub trace_id: TraceId,
    /// It.
    pub span_id: SpanId,
    /// Why.
    pub reason: String,
}

/// What became of spans, once they are durable and visible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpansAppended {
    /// Spans taken.
    pub accepted: usize,
    /// Spans refused; the others are not affected.
    pub rejected: Vec<SpanRejection>,
}

/// Spans that were encoded before they were queued.
#[derive(Debug)]
pub(in crate::store) struct PreparedSpans {
    pub(super) agents: Vec<AgentSpans>,
    /// Hours of traces that are in the file or in memory.
    pub(super) hours: HashMap<TraceId, i32>,
    pub(super) rejected: Vec<SpanRejection>,
    pub(super) contacts: Vec<Prepared>,
}

impl PreparedSpans {
    /// Spans.
    pub(in crate::store) fn spans(&self) -> usize {
        self.agents.iter().map(|agent| agent.ids.len()).sum()
    }

    /// Bytes of memory.
    pub(in crate::store) fn bytes(&self) -> usize {
        let chunks = self.agents.iter().flat_map(|agent| &agent.chunks);
        let contacts: usize = self.contacts.iter().map(Prepared::bytes).sum();
        chunks.map(SpanChunk::bytes).sum::<usize>() + self.spans() * 24 + contacts
    }

    /// Agents that it tells contacts with.
    pub(in crate::store) fn heard(&self) -> impl Iterator<Item = &crate::model::AgentId> {
        self.contacts.iter().map(|contact| &contact.append.agent)
    }
}

/// Checks and encodes spans.
pub(in crate::store) fn prepare(
    shared: &Shared,
    append: SpanAppend,
    contacts: Vec<Prepared>,
) -> PreparedSpans {
    let mut rejected = Vec::new();
    let mut spans = append.spans;
    let settings = &shared.settings;
    let now = shared.clock.now();
    let latest = now.plus_millis(settings.future_ms_max.min(FUTURE_MS_LIMIT));
    spans.retain(|span| {
        if span.start_ns <= nanoseconds(latest) {
            return true;
        }
        shared.metrics.reject_spans("too_far_ahead", 1);
        rejected.push(SpanRejection {
            trace_id: span.trace_id,
            span_id: span.span_id,
            reason: format!(
                "it begins more than {} ahead of the server's clock ({now})",
                format_duration_ms(latest.since(now))
            ),
        });
        false
    });
    let agents = by_agent(&spans);
    let hours = known_hours(shared, spans.iter());
    PreparedSpans {
        agents,
        hours,
        rejected,
        contacts,
    }
}

/// The hours of traces that are in the file or in memory already.
pub(in crate::store) fn known_hours<'a>(
    shared: &Shared,
    spans: impl Iterator<Item = &'a Span>,
) -> HashMap<TraceId, i32> {
    let mut unknown: HashSet<TraceId> = HashSet::new();
    {
        let recent = shared.recent_traces.lock();
        let ids = spans.map(|span| span.trace_id);
        unknown.extend(ids.filter(|id| recent.hour(*id).is_none()));
    }
    if unknown.is_empty() {
        return HashMap::new();
    }
    let moment = shared.moment();
    let now = hour_at(shared.clock.now());
    let mut hours = HashMap::new();
    for id in unknown {
        let known = moment
            .traces
            .hour_of(id)
            .map_or_else(|| hour_in_file(&moment, id, now), |hour| Ok(Some(hour)));
        match known {
            Ok(hour) => hours.extend(hour.map(|hour| (id, hour))),
            Err(error) => {
                tracing::warn!(%error, "traces of before cannot be looked up");
                break;
            }
        }
    }
    hours
}

/// The hour of a trace that has blocks, looked for in the last hours.
fn hour_in_file(moment: &Moment, id: TraceId, now: i32) -> Result<Option<i32>, ReadError> {
    guarded(|| {
        let hours = moment.table(tables::SPAN_HOURS)?;
        let traces = moment.table(tables::TRACES)?;
        let lately = now.saturating_sub(HOURS_BACK)..=now;
        for row in hours.range(lately).map_err(|e| backend(&e))? {
            let hour = row.map_err(|e| backend(&e))?.0.value();
            if traces
                .get((hour, id.as_u128()))
                .map_err(|e| backend(&e))?
                .is_some()
            {
                return Ok(Some(hour));
            }
        }
        Ok(None)
    })
}
