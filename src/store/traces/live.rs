//! What of traces is in memory.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{LOG_LEVEL, heads::SpanHeads};
use crate::{
    codec::{Corrupt, decode_spans, encode_spans, varint},
    model::{AgentId, Span, SpanId, Timestamp, TraceId},
};

/// Why a trace is kept beyond its retention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracePin {
    /// Who wants it.
    pub by: String,
    /// What for.
    pub comment: String,
    /// Since when.
    pub at: Timestamp,
}

/// A span that has not ended.
#[derive(Clone, Debug)]
pub(in crate::store) struct OpenSpan {
    pub(super) span: Arc<Span>,
    /// The hour that its trace belongs to.
    pub(super) hour: i32,
}

/// Spans that have not ended, by trace and span.
pub(super) type OpenSpans = BTreeMap<(TraceId, SpanId), OpenSpan>;

/// What of traces is in memory, of one moment.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct LiveTraces {
    pub(in crate::store) heads: SpanHeads,
    pub(super) open: Arc<OpenSpans>,
    pub(super) pins: Arc<BTreeMap<TraceId, TracePin>>,
}

impl LiveTraces {
    /// Puts in a row of the table of open spans.
    pub(in crate::store) fn load_open(&mut self, span: OpenSpan) {
        let key = (span.span.trace_id, span.span.span_id);
        Arc::make_mut(&mut self.open).insert(key, span);
    }

    /// Puts in a row of the table of pins.
    pub(in crate::store) fn load_pin(&mut self, id: TraceId, pin: TracePin) {
        Arc::make_mut(&mut self.pins).insert(id, pin);
    }

    /// Puts in a section of the log.
    pub(in crate::store) fn load_spans(
        &mut self,
        sequence: u64,
        spans: crate::codec::WalSpans,
    ) -> Result<(), Corrupt> {
        let chunk = super::chunk::SpanChunk::of_log(spans)?;
        self.heads.push(sequence, [Arc::new(chunk)]);
        Ok(())
    }

    /// Open spans of a trace.
    pub(super) fn open_of(&self, id: TraceId) -> impl Iterator<Item = &OpenSpan> {
        let (first, last) = (SpanId::new(1), SpanId::new(u64::MAX));
        let range = first
            .zip(last)
            .map(|(first, last)| (id, first)..=(id, last));
        range
            .into_iter()
            .flat_map(|range| self.open.range(range))
            .map(|(_, span)| span)
    }

    /// The hour that a trace belongs to, as far as memory knows.
    pub(super) fn hour_of(&self, id: TraceId) -> Option<i32> {
        let open = self.open_of(id).next().map(|open| open.hour);
        open.or_else(|| self.heads.hour_of(id))
    }
}

/// Bytes of a row of open spans: hour: zigzag | agent as bytes | block of one span.
pub(super) fn encode_open(open: &OpenSpan) -> Vec<u8> {
    let mut out = Vec::new();
    varint::put_i64(&mut out, i64::from(open.hour));
    varint::put_bytes(&mut out, open.span.agent.as_str().as_bytes());
    out.extend(encode_spans(&[&open.span], LOG_LEVEL).1);
    out
}

/// Reads such a row.
pub(in crate::store) fn decode_open(mut bytes: &[u8]) -> Result<OpenSpan, Corrupt> {
    let bad = Corrupt {
        what: "an open span cannot be decoded",
    };
    let hour = i32::try_from(varint::take_i64(&mut bytes)?).map_err(|_| bad.clone())?;
    let agent = str::from_utf8(varint::take_bytes(&mut bytes)?).map_err(|_| bad.clone())?;
    let agent = AgentId::new(agent).map_err(|_| bad.clone())?;
    let span = decode_spans(bytes, &agent)?.into_iter().next().ok_or(bad)?;
    Ok(OpenSpan {
        span: Arc::new(span),
        hour,
    })
}

/// Bytes of a row of pins.
pub(super) fn encode_pin(pin: &TracePin) -> Vec<u8> {
    // Writing these values into memory cannot fail; an empty body is refused on reading.
    serde_json::to_vec(pin).unwrap_or_default()
}

/// Reads such a row.
pub(in crate::store) fn decode_pin(bytes: &[u8]) -> Result<TracePin, Corrupt> {
    serde_json::from_slice(bytes).map_err(|_| Corrupt {
        what: "a pin of a trace cannot be decoded",
    })
}
