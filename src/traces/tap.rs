//! What the edge tells of spans that were accepted to what watches traces while the server runs.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::mpsc;

use crate::model::{
    AgentId, EvidenceSpan, Span, SpanId, SpanKind, SpanStatus, TokenUsage, TraceId, genai,
};

/// Tellings that wait; more are counted and left out.
const WAITING_MAX: usize = 1_024;

/// How a span ended, in the three words of OpenTelemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatusCode {
    /// Not told, or in a word that OpenTelemetry does not have.
    Unset,
    /// Told to be well.
    Ok,
    /// Failed.
    Error,
}

/// What the watch needs of a span.
#[derive(Clone, Debug, PartialEq)]
pub struct ToldSpan {
    /// Its trace.
    pub trace_id: TraceId,
    /// It.
    pub span_id: SpanId,
    /// Who did it.
    pub agent: AgentId,
    /// The operation.
    pub name: Arc<str>,
    /// Its part in a call.
    pub kind: SpanKind,
    /// How it ended.
    pub status: StatusCode,
    /// From start to end, nanoseconds; `None` while it is open and where the end lies before the start.
    pub duration_ns: Option<i64>,
    /// When it ended, nanoseconds since the epoch; `None` while it is open.
    pub end_ns: Option<i64>,
    /// Tokens, of an inference.
    pub usage: Option<TokenUsage>,
    /// The model, of an inference.
    pub model: Option<Arc<str>>,
}

impl From<&Span> for ToldSpan {
    fn from(span: &Span) -> Self {
        let model = span.usage.and_then(|_| genai::model_of(span));
        Self {
            trace_id: span.trace_id,
            span_id: span.span_id,
            agent: span.agent.clone(),
            name: Arc::clone(&span.name),
            kind: span.kind,
            status: match span.status {
                SpanStatus::Unset | SpanStatus::Other(_) => StatusCode::Unset,
                SpanStatus::Ok => StatusCode::Ok,
                SpanStatus::Error => StatusCode::Error,
            },
            // An end before the start is a client's mistake and would falsify percentiles.
            duration_ns: span
                .duration_ns()
                .filter(|_| span.end_ns >= Some(span.start_ns)),
            end_ns: span.end_ns,
            usage: span.usage,
            model: model.map(Arc::from),
        }
    }
}

impl ToldSpan {
    /// The span as evidence.
    pub fn evidence(&self) -> EvidenceSpan {
        EvidenceSpan {
            trace_id: self.trace_id,
            span_id: self.span_id,
            agent_id: self.agent.to_string(),
            operation: self.name.to_string(),
        }
    }
}

/// Where spans are told once they are durable. Clones tell the same listener; telling never waits.
#[derive(Clone, Debug)]
pub struct SpanTap {
    sender: mpsc::Sender<Vec<ToldSpan>>,
    missed: Arc<AtomicU64>,
}

/// What was told, at the other end of a [`SpanTap`].
#[derive(Debug)]
pub struct ToldSpans {
    receiver: mpsc::Receiver<Vec<ToldSpan>>,
    missed: Arc<AtomicU64>,
}

impl SpanTap {
    /// A tap and what hears it.
    pub fn new() -> (Self, ToldSpans) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let missed = Arc::<AtomicU64>::default();
        let tap = Self {
            sender,
            missed: Arc::clone(&missed),
        };
        (tap, ToldSpans { receiver, missed })
    }

    /// Tells spans that were accepted, ended or open. When too much waits, or nobody listens any more, they are counted
    /// as missed: they are in the file all the same.
    pub fn tell(&self, spans: &[Span]) {
        self.pass(spans.iter().map(ToldSpan::from).collect());
    }

    /// The same of what was noted of them before they were given away.
    pub fn pass(&self, told: Vec<ToldSpan>) {
        let spans = told.len() as u64;
        if spans > 0 && self.sender.try_send(told).is_err() {
            self.missed.fetch_add(spans, Ordering::Relaxed);
        }
    }
}

impl ToldSpans {
    /// The next spans told; `None` when every tap is gone.
    pub async fn next(&mut self) -> Option<Vec<ToldSpan>> {
        self.receiver.recv().await
    }

    /// Those that wait already.
    pub fn next_waiting(&mut self) -> Option<Vec<ToldSpan>> {
        self.receiver.try_recv().ok()
    }

    /// Spans missed since this was asked last.
    pub fn take_missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::samples::{failed, open, span};

    #[test]
    fn telling_never_waits_and_what_is_missed_is_counted() {
        let (tap, mut told) = SpanTap::new();
        let spans = [
            failed(span(1, 0, "a:b", 0, 5), "no"),
            open(span(2, 0, "a:c", 0, 0)),
        ];
        for _ in 0..=WAITING_MAX {
            tap.clone().tell(&spans);
        }
        assert_eq!((told.take_missed(), told.take_missed()), (2, 0));
        let first = told.next_waiting().unwrap();
        assert_eq!(
            (first[0].status, first[0].duration_ns, first[1].end_ns),
            (StatusCode::Error, Some(5_000_000), None)
        );
        let mut reversed = span(3, 0, "a:b", 9, 5);
        assert_eq!(ToldSpan::from(&reversed).duration_ns, None);
        reversed.end_ns = Some(reversed.start_ns);
        assert_eq!(ToldSpan::from(&reversed).duration_ns, Some(0));
    }
}
