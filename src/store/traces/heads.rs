//! Spans that are in the log and not in blocks yet. Immutable pieces that grow by merging, so that a commit costs
//! little and a reader shares them.

use std::sync::Arc;

use super::chunk::SpanChunk;
use crate::model::TraceId;

/// A chunk with its place in the log.
#[derive(Debug)]
pub(in crate::store) struct HeadChunk {
    pub(super) sequence: u64,
    pub(super) chunk: Arc<SpanChunk>,
}

/// Chunks with an index of their traces.
#[derive(Debug, Default)]
struct Segment {
    chunks: Vec<Arc<HeadChunk>>,
    /// Traces and the chunks that have them, ascending.
    traces: Vec<(TraceId, u32)>,
}

impl Segment {
    fn new(chunks: Vec<Arc<HeadChunk>>) -> Self {
        let mut traces = Vec::new();
        for (place, head) in chunks.iter().enumerate() {
            let ids = head.chunk.traces.iter().map(|(id, _, _)| *id);
            traces.extend(ids.map(|id| (id, place as u32)));
        }
        traces.sort_unstable();
        Self { chunks, traces }
    }

    fn of_trace(&self, id: TraceId) -> impl Iterator<Item = &Arc<HeadChunk>> {
        let first = self.traces.partition_point(|(of, _)| *of < id);
        let same = self.traces[first..]
            .iter()
            .take_while(move |(of, _)| *of == id);
        same.filter_map(|(_, place)| self.chunks.get(*place as usize))
    }
}

/// Spans that are in the log and not in blocks yet.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct SpanHeads {
    /// Oldest first; each at least twice as long as the next, so there are few.
    segments: Vec<Arc<Segment>>,
    spans: usize,
    bytes: usize,
    first_start_ns: Option<i64>,
}

impl SpanHeads {
    /// Adds the chunks of a commit, whose log record has the number `sequence`.
    pub(in crate::store) fn push(
        &mut self,
        sequence: u64,
        chunks: impl IntoIterator<Item = Arc<SpanChunk>>,
    ) {
        let chunks: Vec<_> = chunks
            .into_iter()
            .map(|chunk| Arc::new(HeadChunk { sequence, chunk }))
            .collect();
        self.add(chunks);
    }

    fn add(&mut self, mut chunks: Vec<Arc<HeadChunk>>) {
        if chunks.is_empty() {
            return;
        }
        self.spans += chunks.iter().map(|head| head.chunk.spans()).sum::<usize>();
        let first = chunks
            .iter()
            .map(|head| head.chunk.header.first_start_ns)
            .min();
        self.first_start_ns = [self.first_start_ns, first].into_iter().flatten().min();
        self.bytes += chunks.iter().map(|head| head.chunk.bytes()).sum::<usize>();
        while let Some(last) = self
            .segments
            .pop_if(|last| last.chunks.len() < chunks.len() * 2)
        {
            let mut joined = last.chunks.clone();
            joined.append(&mut chunks);
            chunks = joined;
        }
        self.segments.push(Arc::new(Segment::new(chunks)));
    }

    /// Forgets the chunks of log records up to `sequence`.
    pub(in crate::store) fn forget_until(&mut self, sequence: u64) {
        let left: Vec<_> = self
            .chunks()
            .filter(|head| head.sequence > sequence)
            .cloned()
            .collect();
        *self = Self::default();
        self.add(left);
    }

    /// All chunks in the order of the log.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &Arc<HeadChunk>> {
        self.segments.iter().flat_map(|segment| &segment.chunks)
    }

    /// Chunks that have spans of a trace.
    pub(super) fn of_trace(&self, id: TraceId) -> impl Iterator<Item = &Arc<HeadChunk>> {
        self.segments
            .iter()
            .flat_map(move |segment| segment.of_trace(id))
    }

    /// The hour that a trace belongs to, if it is here.
    pub(super) fn hour_of(&self, id: TraceId) -> Option<i32> {
        let head = self.of_trace(id).next()?;
        head.chunk.trace(id).map(|(hour, _)| hour)
    }

    /// Spans.
    pub(in crate::store) const fn spans(&self) -> usize {
        self.spans
    }

    /// The first start of all spans.
    pub(super) const fn first_start(&self) -> Option<i64> {
        self.first_start_ns
    }

    /// Bytes of memory, about.
    pub(in crate::store) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Log records of the first and the last chunk.
    pub(in crate::store) fn sequences(&self) -> Option<(u64, u64)> {
        let mut sequences = self.chunks().map(|head| head.sequence);
        let first = sequences.next()?;
        Some((first, sequences.last().unwrap_or(first)))
    }
}
