//! What is kept between looks, and one look.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use hashbrown::HashSet;

use super::{
    open_work::{self, OpenWork, nanoseconds},
    pending::{Due, Pending},
    raising::Raised,
    recent::Recent,
};
use crate::{
    model::{AgentId, Batch, History, Span, SpanFilter, Timestamp, TraceId, Window},
    store::Detection,
    traces::{
        DayLedger, Edge, EdgeHistory, NodeNo, RunIndex, RunView, SpanMetrics, ToldSpan,
        WatchSettings, judge_run,
    },
};

/// Traces that one look takes.
const LOOK_MAX: usize = 200;
/// Traces of a run that are judged together.
const RUN_TRACES_MAX: usize = 50;
/// Spans of a run that are judged together; the latest traces of a larger one.
const RUN_SPANS_MAX: usize = 50_000;
/// Traces whose counted edges are remembered.
const COUNTED_MAX: usize = 20_000;
/// Past traces that the usual durations are learnt from, and how far back, in milliseconds.
const LEARNT_MAX: usize = 5_000;
const LEARNT_MS: i64 = 6 * 3_600_000;

/// Everything that is derived from traces while the server runs. Counts begin at 0 with every start.
#[derive(Debug)]
pub(super) struct TraceWatch {
    pub(super) settings: WatchSettings,
    metrics: SpanMetrics,
    pending: Pending,
    index: RunIndex,
    /// By trace the edges that were counted of it. One that gets more spans adds only what is new.
    counted: Recent<TraceId, HashSet<u64>>,
    history: EdgeHistory,
    /// Runs that the history has taken in.
    noted: Recent<String, ()>,
    ledger: DayLedger,
    raised: Raised,
    written_at: Timestamp,
    round: usize,
}

impl TraceWatch {
    /// Begins with nothing.
    pub(super) fn new(settings: WatchSettings, now: Timestamp) -> Self {
        Self {
            settings,
            metrics: SpanMetrics::default(),
            pending: Pending::default(),
            index: RunIndex::default(),
            counted: Recent::new(COUNTED_MAX),
            history: EdgeHistory::default(),
            noted: Recent::new(COUNTED_MAX),
            ledger: DayLedger::default(),
            raised: Raised::default(),
            written_at: now,
            round: 0,
        }
    }

    /// Learns from what is in the file how long operations usually take, and what the day has cost so far where there is
    /// a budget. What cannot be read is not learnt.
    pub(super) fn learn(&mut self, view: &dyn History, now: Timestamp) {
        let mut left = LEARNT_MAX;
        let lately = Window::ending_at(now, LEARNT_MS);
        let result = view.each_trace(lately, &SpanFilter::default(), &mut |_, spans| {
            for span in &spans {
                self.metrics.learn(&ToldSpan::from(span));
            }
            left -= 1;
            left > 0
        });
        if let Err(error) = result {
            tracing::warn!(%error, "past traces could not be read: it is not known how long operations take");
        }
        if !self.settings.detectors.runaway_cost.has_day() {
            return;
        }
        let midnight = Timestamp::from_millis(i64::from(now.day()) * crate::model::DAY_MS);
        let today = Window::closed(midnight, now);
        let result = view.each_trace(today, &SpanFilter::default(), &mut |_, spans| {
            for span in spans.iter().filter(|span| span.usage.is_some()) {
                self.ledger.add(&ToldSpan::from(span), now);
            }
            true
        });
        if let Err(error) = result {
            tracing::warn!(%error, "today's traces could not be read: budgets of the day count from now");
        }
    }

    /// Counts spans that were told; how many of them are in traces that cannot be looked at for lack of room.
    pub(super) fn hear(&mut self, spans: &[ToldSpan], now: Timestamp) -> u64 {
        let mut missed = 0;
        for span in spans {
            self.metrics.count(span);
            self.ledger.add(span, now);
            missed += u64::from(!self.pending.hear(span.trace_id, now));
        }
        missed
    }

    /// Looks at traces that are due: counts the edges of settled ones, and judges the runs that they belong to.
    pub(super) fn look(&mut self, view: &dyn History, now: Timestamp) -> Vec<Detection> {
        let due = self
            .pending
            .take_due(self.settings.settle_ms, LOOK_MAX, now);
        if due.is_empty() {
            return Vec::new();
        }
        for due in &due {
            // One that never ends is not read over and over.
            if is_too_large(view, due.trace) {
                continue;
            }
            match view.trace(due.trace) {
                Ok(spans) => self.index.note(&spans),
                Err(error) => {
                    tracing::warn!(trace = %due.trace, %error, "a trace cannot be judged");
                }
            }
        }
        let settled = due.iter().filter(|due| due.is_settled);
        let settled: HashSet<TraceId> = settled.map(|due| due.trace).collect();
        let mut runs: BTreeMap<String, Vec<TraceId>> = BTreeMap::new();
        for Due { trace, .. } in &due {
            let (name, mut traces) = self.index.run_of(*trace, RUN_TRACES_MAX);
            runs.entry(name).or_default().append(&mut traces);
        }
        let mut findings = Vec::new();
        for (name, mut traces) in runs {
            traces.sort_unstable();
            traces.dedup();
            let spans = spans_of(view, &traces, &settled);
            let run = RunView::new(&name, &spans, nanoseconds(now));
            self.count_edges(&run, &settled);
            findings.extend(judge_run(&run, &self.settings.detectors, &self.history));
            if self.noted.get(&name).is_none() && traces.iter().all(|id| settled.contains(id)) {
                self.noted.put(&name, ());
                self.history.note(&run);
            }
        }
        let after = self.settings.detectors.resolve_after_ms;
        self.raised.news(view, findings, after, now)
    }

    /// Counts edges that settled traces tell of, each once. Work that is open is counted when it has ended.
    fn count_edges(&mut self, run: &RunView<'_>, settled: &HashSet<TraceId>) {
        let nodes = &run.forest.nodes;
        let is_open = |no: NodeNo| nodes[no].is_open();
        for edge in &run.edges {
            let trace = nodes[edge.evidence].trace_id;
            if !settled.contains(&trace) || is_open(edge.evidence) || edge.work.is_some_and(is_open)
            {
                continue;
            }
            let counted = self.counted.entry(&trace, HashSet::new);
            if counted.insert(key_of(edge, nodes[edge.evidence].span_id.as_u64())) {
                self.metrics.count_edge(edge);
            }
        }
    }

    /// Looks at what is open, and at the budgets of the day.
    pub(super) fn look_at_open(&mut self, view: &dyn History, now: Timestamp) -> OpenWork {
        self.round = self.round.wrapping_add(1) % (1 << 20);
        let mut work = open_work::look(view, &self.settings, &self.metrics, self.round, now);
        let detectors = &self.settings.detectors;
        let spent = self.ledger.findings(&detectors.runaway_cost, now);
        let news = self
            .raised
            .news(view, spent, detectors.resolve_after_ms, now);
        work.detections.extend(news);
        work
    }

    /// Samples of span metrics of registered agents that anything was counted of since they were written last.
    pub(super) fn write(&mut self, view: &dyn History, now: Timestamp) -> Vec<(AgentId, Batch)> {
        let mut written = self.metrics.write(self.written_at, now);
        self.written_at = now;
        // Samples would register an agent that was deregistered meanwhile.
        written.retain(|(id, _)| {
            let agent = view.agent(id, now);
            agent.is_some_and(|agent| agent.deregistered_at.is_none())
        });
        written
    }
}

/// What one use of an edge is known by.
fn key_of(edge: &Edge, evidence: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (evidence, &edge.source, &edge.target, edge.kind).hash(&mut hasher);
    hasher.finish()
}

/// Whether a trace has more spans than a run that is judged may have.
pub(super) fn is_too_large(view: &dyn History, trace: TraceId) -> bool {
    view.trace_spans(trace)
        .is_ok_and(|spans| spans > RUN_SPANS_MAX as u64)
}

/// Spans of a run's traces, as many as are judged together; settled ones first.
fn spans_of(view: &dyn History, traces: &[TraceId], settled: &HashSet<TraceId>) -> Vec<Span> {
    let mut order: Vec<TraceId> = traces.to_vec();
    order.sort_by_key(|id| !settled.contains(id));
    let mut spans: Vec<Span> = Vec::new();
    for trace in order {
        if spans.len() >= RUN_SPANS_MAX {
            break;
        }
        if is_too_large(view, trace) {
            continue;
        }
        // What cannot be read was told of above.
        spans.extend(view.trace(trace).unwrap_or_default());
    }
    spans
}
