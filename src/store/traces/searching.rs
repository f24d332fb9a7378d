//! Finds traces by what one of their spans is like, newest first, opening as few blocks as it can.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    thread,
};

use super::{heads::HeadChunk, nanoseconds};
use crate::{
    codec::{Corrupt, FilterTerms, SpanBlock, SpanHeader, terms_of_filter},
    model::{
        AgentId, AgentNo, ReadError, Span, SpanFilter, TraceCursor, TraceId, TracePage, TraceQuery,
        TraceSummary,
    },
    store::{
        moment::{Moment, backend, guarded},
        tables::{self, SpanKey},
    },
};

/// Pieces that a core opens in one round, at most.
const PIECES_AT_ONCE_MAX: usize = 32;

/// A piece of spans that may hold one that fits.
enum Candidate<'a> {
    Block(SpanKey),
    Head(&'a HeadChunk),
    Open(&'a Span),
}

/// What a search did to find its traces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct SearchWork {
    /// Blocks, in the file and in memory, that their headers did not rule out: decompressed.
    pub(in crate::store) opened: u64,
    /// Those of them whose spans were decoded.
    pub(in crate::store) decoded: u64,
    /// Traces whose parts were looked up and added up.
    pub(in crate::store) summed: u64,
}

/// Spans of a piece that fit.
#[derive(Default)]
struct Fitting {
    /// The trace and the start of each, the latest first.
    spans: Vec<(i64, TraceId)>,
    work: SearchWork,
}

/// Traces found so far, the newest `limit` of them.
struct Found {
    limit: usize,
    work: SearchWork,
    seen: HashSet<TraceId>,
    newest: BinaryHeap<Reverse<TraceCursor>>,
    summaries: HashMap<TraceId, TraceSummary>,
}

impl Found {
    /// The start that a trace must be later than to count; `None` while all do.
    fn bar(&self) -> Option<i64> {
        let Reverse(oldest) = self.newest.peek()?;
        (self.newest.len() > self.limit).then_some(oldest.start_ns)
    }

    fn add(&mut self, summary: TraceSummary) {
        let cursor = cursor_of(&summary);
        self.summaries.insert(summary.trace_id, summary);
        self.newest.push(Reverse(cursor));
        // One more than asked says whether there is another page.
        if self.newest.len() > self.limit + 1
            && let Some(Reverse(oldest)) = self.newest.pop()
        {
            self.summaries.remove(&oldest.trace_id);
        }
    }

    fn page(mut self) -> TracePage {
        let mut cursors: Vec<TraceCursor> = self.newest.into_iter().map(|Reverse(c)| c).collect();
        cursors.sort_unstable_by(|a, b| b.cmp(a));
        let has_more = cursors.len() > self.limit;
        cursors.truncate(self.limit);
        let next = cursors.last().copied().filter(|_| has_more);
        let traces = cursors
            .iter()
            .filter_map(|c| self.summaries.remove(&c.trace_id));
        TracePage {
            traces: traces.collect(),
            next,
        }
    }
}

const fn cursor_of(summary: &TraceSummary) -> TraceCursor {
    TraceCursor {
        start_ns: summary.start_ns,
        trace_id: summary.trace_id,
    }
}

impl Moment {
    /// Traces of a question.
    ///
    /// Hours are gone through from the newest, and within an hour the pieces from the one with the latest span on: a
    /// trace begins no later than any of its spans, so once enough traces are found that begin later than all spans that
    /// are left, no other can come before them.
    pub(in crate::store) fn search(
        &self,
        query: &TraceQuery,
    ) -> Result<(TracePage, SearchWork), ReadError> {
        let flushed = self.spans_flushed()?;
        let terms = terms_of_filter(&query.filter);
        let mut found = Found {
            limit: query.limit.max(1),
            work: SearchWork::default(),
            seen: HashSet::new(),
            newest: BinaryHeap::new(),
            summaries: HashMap::new(),
        };
        let agent = match &query.filter.agent {
            Some(id) => match self.catalog.number(id) {
                Some(no) => Some(no),
                None => return Ok((TracePage::default(), found.work)),
            },
            None => None,
        };
        let mut candidates = self.candidates_in_memory(&query.filter, &terms, agent, flushed);
        // Memory first: it has mostly the newest, and all of it is at hand.
        candidates.sort_unstable_by_key(|(latest, _)| Reverse(*latest));
        self.go_through(&candidates, query, flushed, &mut found)?;
        let first_asked = nanoseconds(query.window.from);
        let last_asked = nanoseconds(query.window.to).saturating_add(1_000_000);
        let last_asked = query
            .after
            .map_or(last_asked, |after| last_asked.min(after.start_ns));
        let hours: Vec<(i32, i64, i64)> = self
            .hours_in_file()?
            .into_iter()
            .rev()
            .map(|(hour, row)| (hour, self.first_start(hour, row), row.5))
            .filter(|(_, first, last)| *last >= first_asked && *first <= last_asked)
            .collect();
        for hours in hours.chunks(cores()) {
            let can_count =
                |last_start: i64, found: &Found| found.bar().is_none_or(|bar| bar <= last_start);
            let hours = hours.iter().filter(|(_, _, last)| can_count(*last, &found));
            let hours: Vec<(i32, i64)> = hours.map(|(hour, _, last)| (*hour, *last)).collect();
            // Looking through headers takes most of a search that finds little: an hour on each core.
            let of_hours = on_all_cores(&hours, |(hour, _)| {
                guarded(|| self.candidates_of_hour(*hour, &query.filter, &terms, agent))
            });
            for ((_, last_start), candidates) in hours.iter().zip(of_hours) {
                if !can_count(*last_start, &found) {
                    continue;
                }
                let mut candidates = candidates?;
                candidates.sort_unstable_by_key(|(latest, _)| Reverse(*latest));
                self.go_through(&candidates, query, flushed, &mut found)?;
            }
        }
        let work = found.work;
        Ok((found.page(), work))
    }

    /// Traces of an hour that have a span which fits; `None` where all do.
    pub(super) fn fitting_traces(
        &self,
        hour: i32,
        filter: &SpanFilter,
        flushed: u64,
    ) -> Result<Option<HashSet<TraceId>>, ReadError> {
        if *filter == SpanFilter::default() {
            return Ok(None);
        }
        let mut ids = HashSet::new();
        let agent = match &filter.agent {
            Some(id) => match self.catalog.number(id) {
                Some(no) => Some(no),
                None => return Ok(Some(ids)),
            },
            None => None,
        };
        let terms = terms_of_filter(filter);
        let mut candidates = self.candidates_in_memory(filter, &terms, agent, flushed);
        candidates.extend(guarded(|| {
            self.candidates_of_hour(hour, filter, &terms, agent)
        })?);
        for (_, candidate) in candidates {
            let fitting = self.fitting(&candidate, filter)?.spans.into_iter();
            ids.extend(fitting.map(|(_, id)| id));
        }
        Ok(Some(ids))
    }

    fn candidates_in_memory(
        &self,
        filter: &SpanFilter,
        terms: &FilterTerms,
        agent: Option<AgentNo>,
        flushed: u64,
    ) -> Vec<(i64, Candidate<'_>)> {
        let heads = self.traces.heads.chunks().filter(|head| {
            head.sequence > flushed
                && agent.is_none_or(|agent| agent == head.chunk.agent)
                && head.chunk.header.may_fit(filter, terms)
        });
        let heads = heads.map(|head| (head.chunk.header.last_start_ns, Candidate::Head(head)));
        let open = self
            .traces
            .open
            .values()
            .filter(|open| filter.fits(&open.span));
        let open = open.map(|open| (open.span.start_ns, Candidate::Open(&open.span)));
        heads.chain(open).collect()
    }

    fn candidates_of_hour(
        &self,
        hour: i32,
        filter: &SpanFilter,
        terms: &FilterTerms,
        agent: Option<AgentNo>,
    ) -> Result<Vec<(i64, Candidate<'static>)>, ReadError> {
        let table = self.table(tables::SPAN_HEADERS)?;
        let range = agent.map_or_else(
            || tables::spans_of_hour(hour),
            |agent| tables::spans_of_agent(hour, agent),
        );
        let mut candidates = Vec::new();
        for row in table.range(range).map_err(|e| backend(&e))? {
            let (key, bytes) = row.map_err(|e| backend(&e))?;
            let header =
                SpanHeader::decode(bytes.value()).map_err(|e| ReadError::Damaged(e.to_string()))?;
            if header.may_fit(filter, terms) {
                candidates.push((header.last_start_ns, Candidate::Block(key.value())));
            }
        }
        Ok(candidates)
    }

    /// Spans of a piece that fit.
    fn fitting(&self, piece: &Candidate<'_>, filter: &SpanFilter) -> Result<Fitting, ReadError> {
        match piece {
            Candidate::Open(span) => Ok(Fitting {
                spans: those_that_fit(std::slice::from_ref(*span), filter),
                work: SearchWork::default(),
            }),
            Candidate::Head(head) => {
                let agent = self.agent_name(head.chunk.agent)?;
                fitting_in(&head.chunk.body, &agent, filter)
            }
            Candidate::Block(key) => guarded(|| {
                let blocks = self.table(tables::SPAN_BLOCKS)?;
                let agent = self.agent_name(AgentNo(key.1))?;
                fitting_in(self.block(&blocks, *key)?.value(), &agent, filter)
            }),
        }
    }

    /// Opens pieces, the latest first, until no trace of those that are left can count.
    fn go_through(
        &self,
        candidates: &[(i64, Candidate<'_>)],
        query: &TraceQuery,
        flushed: u64,
        found: &mut Found,
    ) -> Result<(), ReadError> {
        let from_ns = nanoseconds(query.window.from);
        let mut left = candidates;
        let mut at_once = cores();
        loop {
            // A trace begins before its spans: nothing of the window is left either.
            let first_that_counts = found.bar().map_or(from_ns, |bar| bar.max(from_ns));
            let count = left.partition_point(|(latest, _)| *latest >= first_that_counts);
            let (pieces, rest) = left.split_at(count.min(at_once));
            if pieces.is_empty() {
                return Ok(());
            }
            left = rest;
            // Opening takes most of the time; what is found is looked at in order.
            let fitting = on_all_cores(pieces, |(_, piece)| self.fitting(piece, &query.filter));
            let seen = found.seen.len();
            for fitting in fitting {
                let fitting = fitting?;
                found.work.opened += fitting.work.opened;
                found.work.decoded += fitting.work.decoded;
                self.take(fitting, query, flushed, found)?;
            }
            // Where nothing is found little is opened in vain, and beginning a round costs more than a look at a block.
            at_once = if found.seen.len() == seen {
                (at_once * 2).min(cores() * PIECES_AT_ONCE_MAX)
            } else {
                cores()
            };
        }
    }

    /// Adds the traces of spans that fit, but for those that cannot count any more.
    fn take(
        &self,
        fitting: Fitting,
        query: &TraceQuery,
        flushed: u64,
        found: &mut Found,
    ) -> Result<(), ReadError> {
        for (start_ns, id) in fitting.spans {
            // A trace begins no later than its spans, so those that are left are of older ones.
            if found.bar().is_some_and(|bar| bar > start_ns) {
                break;
            }
            if !found.seen.insert(id) {
                continue;
            }
            found.work.summed += 1;
            if let Some(summary) = self.summary(id, flushed)?
                && is_asked(&summary, query)
            {
                found.add(summary);
            }
        }
        Ok(())
    }
}

/// Spans of a block that fit. They are decoded only where the block's columns do not say that none does.
fn fitting_in(body: &[u8], agent: &AgentId, filter: &SpanFilter) -> Result<Fitting, ReadError> {
    let damaged = |e: Corrupt| ReadError::Damaged(e.to_string());
    let block = SpanBlock::open(body).map_err(damaged)?;
    let may_fit = block.may_fit(filter, agent).map_err(damaged)?;
    let mut fitting = Fitting::default();
    fitting.work.opened = 1;
    if may_fit {
        fitting.work.decoded = 1;
        fitting.spans = those_that_fit(&block.spans(agent).map_err(damaged)?, filter);
    }
    Ok(fitting)
}

fn those_that_fit(spans: &[Span], filter: &SpanFilter) -> Vec<(i64, TraceId)> {
    let fitting = spans.iter().filter(|span| filter.fits(span));
    let mut fitting: Vec<_> = fitting.map(|span| (span.start_ns, span.trace_id)).collect();
    fitting.sort_unstable_by(|a, b| b.cmp(a));
    fitting
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Does the work for each item, on as many threads as there are cores; this one is one of them.
fn on_all_cores<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = cores().min(items.len());
    if threads == 0 {
        return Vec::new();
    }
    // Neighbours are alike, so each thread takes every so-many-th.
    let share =
        |of: usize| -> Vec<R> { items.iter().skip(of).step_by(threads).map(&work).collect() };
    let mut shares: Vec<_> = thread::scope(|scope| {
        let share = &share;
        let others: Vec<_> = (1..threads)
            .map(|of| scope.spawn(move || share(of)))
            .collect();
        let mut shares = vec![share(0).into_iter()];
        for other in others {
            let done = other.join();
            let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            shares.push(done.into_iter());
        }
        shares
    });
    (0..items.len())
        .filter_map(|place| shares[place % threads].next())
        .collect()
}

fn is_asked(summary: &TraceSummary, query: &TraceQuery) -> bool {
    summary.start_ns >= nanoseconds(query.window.from)
        && summary.start_ns < nanoseconds(query.window.to).saturating_add(1_000_000)
        && query.after.is_none_or(|after| cursor_of(summary) < after)
}
