//! What is done on the caller's thread, so that the committer only commits: times are checked, spans encoded, and
//! traces that were here before looked up.

use std::collections::HashMap;

use super::{
    chunk::{AgentSpans, by_agent},
    hour_of, nanoseconds,
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

/// Hours around a span's start in which its trace is looked for. A trace that was silent for longer, with more traces
/// after it than are remembered, goes on in another hour; it is still read as one.
const HOURS_AROUND: i32 = 6;

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
        chunks.map(|chunk| chunk.bytes()).sum::<usize>() + self.spans() * 24 + contacts
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
    let earliest = now.plus_millis(-settings.traces.retention_ms);
    spans.retain(|span| {
        let reason = if span.start_ns > nanoseconds(latest) {
            shared.metrics.reject_spans("too_far_ahead", 1);
            format!(
                "it begins more than {} ahead of the server's clock ({now})",
                format_duration_ms(latest.since(now))
            )
        } else if span.end_ns.unwrap_or(span.start_ns).max(span.start_ns) < nanoseconds(earliest) {
            shared.metrics.reject_spans("older_than_retention", 1);
            format!("it is older than the retention of traces, which begins at {earliest}")
        } else {
            return true;
        };
        rejected.push(SpanRejection {
            trace_id: span.trace_id,
            span_id: span.span_id,
            reason,
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
    let mut unknown: HashMap<TraceId, i64> = HashMap::new();
    {
        let recent = shared.recent_traces.lock();
        for span in spans {
            if recent.hour(span.trace_id).is_none() {
                unknown.entry(span.trace_id).or_insert(span.start_ns);
            }
        }
    }
    if unknown.is_empty() {
        return HashMap::new();
    }
    let moment = shared.moment();
    let mut hours = HashMap::new();
    for (id, start_ns) in unknown {
        let known = moment.traces.hour_of(id).map_or_else(
            || hour_in_file(&moment, id, start_ns),
            |hour| Ok(Some(hour)),
        );
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

/// The hour of a trace that has blocks, looked for around a moment.
pub(super) fn hour_in_file(
    moment: &Moment,
    id: TraceId,
    start_ns: i64,
) -> Result<Option<i32>, ReadError> {
    guarded(|| {
        let hours = moment.table(tables::SPAN_HOURS)?;
        let traces = moment.table(tables::TRACES)?;
        let hour = hour_of(start_ns);
        let around = hour.saturating_sub(HOURS_AROUND)..=hour.saturating_add(HOURS_AROUND);
        for row in hours.range(around).map_err(|e| backend(&e))? {
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
