//! Adds traces up, one after the other in any order.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    figures::{AgentTraces, SystemTraces, share},
    usage::ModelSums,
};
use crate::{
    model::{AgentId, Span, SpanStatus, Timestamp, genai},
    traces::{CriticalPath, Forest, LatencyHistogram, correct_skew},
};

/// Nanoseconds of a millisecond.
const MS: i64 = 1_000_000;
/// A span that is open for longer is overdue.
const OVERDUE_NS: i64 = 10 * 60_000 * MS;
/// Model of inferences that name none.
const NO_MODEL: &str = "unknown";

/// Spans and how they ended.
#[derive(Clone, Debug, Default)]
struct Ended {
    spans: u64,
    failed: u64,
    latency: LatencyHistogram,
}

/// Spans that have not ended.
#[derive(Clone, Debug, Default)]
struct Open {
    spans: u64,
    overdue: u64,
    first_ns: Option<i64>,
}

impl Open {
    fn add(&mut self, start_ns: i64, end_ns: i64) {
        self.spans += 1;
        self.overdue += u64::from(end_ns.saturating_sub(start_ns) > OVERDUE_NS);
        self.first_ns = Some(self.first_ns.map_or(start_ns, |first| first.min(start_ns)));
    }

    fn merge(&mut self, other: &Self) {
        self.spans += other.spans;
        self.overdue += other.overdue;
        self.first_ns = [self.first_ns, other.first_ns].into_iter().flatten().min();
    }

    /// Seconds since the first of them began, to the millisecond.
    fn oldest_seconds(&self, end_ns: i64) -> Option<f64> {
        let age_ns = end_ns.saturating_sub(self.first_ns?);
        Some((age_ns / MS) as f64 / 1000.0)
    }
}

/// Time on critical paths, and their whole length, nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct OnPath {
    traces: u64,
    own_ns: i128,
    whole_ns: i128,
}

impl OnPath {
    fn add(&mut self, own_ns: i64, whole_ns: i64) {
        self.traces += 1;
        self.own_ns += i128::from(own_ns);
        self.whole_ns += i128::from(whole_ns);
    }

    fn share(&self) -> Option<f64> {
        (self.whole_ns > 0).then(|| self.own_ns as f64 / self.whole_ns as f64)
    }
}

/// One agent's part in all traces so far.
#[derive(Clone, Debug, Default)]
struct Part {
    ended: Ended,
    open: Open,
    models: ModelSums,
    on_path: OnPath,
    shared: OnPath,
}

/// What the traces so far add up to, as of a moment.
#[derive(Clone, Debug)]
pub(super) struct TraceFold {
    end_ns: i64,
    only: Option<AgentId>,
    agents: BTreeMap<AgentId, Part>,
    /// Traces that are counted.
    pub(super) traces: u64,
    failed_traces: u64,
    durations: LatencyHistogram,
}

impl TraceFold {
    /// Nothing yet, as of the moment; about one agent or all.
    pub(super) fn new(end_ns: i64, only: Option<&AgentId>) -> Self {
        Self {
            end_ns,
            only: only.cloned(),
            agents: BTreeMap::new(),
            traces: 0,
            failed_traces: 0,
            durations: LatencyHistogram::default(),
        }
    }

    fn is_asked(&self, agent: &AgentId) -> bool {
        self.only.as_ref().is_none_or(|only| only == agent)
    }

    /// Whether there is nothing to tell.
    pub(super) fn is_empty(&self) -> bool {
        self.traces == 0 && self.agents.is_empty()
    }

    /// Adds a whole trace.
    pub(super) fn add(&mut self, spans: Vec<Span>) {
        let spans: Vec<Span> = spans
            .into_iter()
            .filter_map(|span| as_of(span, self.end_ns))
            .collect();
        let mut forest = Forest::new(&spans);
        correct_skew(&mut forest);
        let present: BTreeSet<&AgentId> = forest
            .received()
            .filter_map(|(_, node, _)| node.agent.as_ref())
            .collect();
        let of_present = present.iter().copied();
        let asked: Vec<&AgentId> = of_present.filter(|agent| self.is_asked(agent)).collect();
        if asked.is_empty() {
            return;
        }
        let path = CriticalPath::of(&forest);
        let mut on_path: BTreeMap<&AgentId, i64> = BTreeMap::new();
        for segment in &path.segments {
            if let Some(agent) = &forest.nodes[segment.node].agent {
                *on_path.entry(agent).or_default() += segment.duration_ns();
            }
        }
        let whole_ns = path.duration_ns();
        for agent in asked {
            let part = self.agents.entry(agent.clone()).or_default();
            let own_ns = on_path.get(agent).copied().unwrap_or_default();
            part.on_path.add(own_ns, whole_ns);
            if present.len() > 1 {
                part.shared.add(own_ns, whole_ns);
            }
        }
        for (_, node, span) in forest.received() {
            if let Some(agent) = node.agent.as_ref().filter(|agent| self.is_asked(agent)) {
                self.add_span(agent, span);
            }
        }
        self.traces += 1;
        let kept = || forest.received().map(|(_, _, span)| span);
        self.failed_traces += u64::from(kept().any(Span::is_failed));
        if !kept().any(Span::is_open) {
            let start_ns = kept().map(|span| span.start_ns).min();
            let end_ns = kept().filter_map(|span| span.end_ns).max();
            let (start_ns, end_ns) = (start_ns.unwrap_or_default(), end_ns.unwrap_or_default());
            self.durations.add(end_ns.saturating_sub(start_ns));
        }
    }

    fn add_span(&mut self, agent: &AgentId, span: &Span) {
        let part = self.agents.entry(agent.clone()).or_default();
        let Some(end_ns) = span.end_ns else {
            part.open.add(span.start_ns, self.end_ns);
            return;
        };
        part.ended.spans += 1;
        part.ended.failed += u64::from(span.is_failed());
        // What ended before it began says nothing about how long it took.
        if end_ns >= span.start_ns {
            part.ended.latency.add(end_ns.saturating_sub(span.start_ns));
        }
        if let Some(usage) = &span.usage {
            let model = genai::model_of(span).unwrap_or(NO_MODEL);
            part.models.add(model, usage);
        }
    }

    /// Adds an open span whose trace is not added.
    pub(super) fn add_open(&mut self, span: &Span) {
        if self.is_asked(&span.agent) && span.is_open() && span.start_ns <= self.end_ns {
            let part = self.agents.entry(span.agent.clone()).or_default();
            part.open.add(span.start_ns, self.end_ns);
        }
    }

    /// The figures of an agent; `None` of one that no trace is of.
    pub(super) fn agent(
        &self,
        id: &AgentId,
        traces_complete: bool,
        query: String,
    ) -> Option<AgentTraces> {
        let part = self.agents.get(id)?;
        let (usage, models) = part.models.told();
        let Ended {
            spans,
            failed,
            latency,
        } = &part.ended;
        let percentile = |percent| latency.percentile_ns(percent).map(ms);
        Some(AgentTraces {
            traces: part.on_path.traces,
            spans: *spans,
            failed_spans: *failed,
            error_rate: share(*failed, *spans),
            p50_ms: percentile(50.0),
            p95_ms: percentile(95.0),
            p99_ms: percentile(99.0),
            max_ms: latency.greatest_ns().map(ms),
            usage,
            models,
            open_spans: part.open.spans,
            overdue_spans: part.open.overdue,
            oldest_open_seconds: part.open.oldest_seconds(self.end_ns),
            critical_path_ms: part.on_path.own_ns as f64 / MS as f64,
            critical_path_share: part.on_path.share(),
            shared_traces: part.shared.traces,
            shared_critical_path_share: part.shared.share(),
            traces_complete,
            query,
        })
    }

    /// The figures of all.
    pub(super) fn system(
        &self,
        traces_complete: bool,
        traces_from: Option<Timestamp>,
        unreadable: Option<String>,
        query: String,
    ) -> SystemTraces {
        let mut models = ModelSums::default();
        let mut open = Open::default();
        let (mut spans, mut failed_spans) = (0, 0);
        for part in self.agents.values() {
            models.merge(&part.models);
            open.merge(&part.open);
            spans += part.ended.spans;
            failed_spans += part.ended.failed;
        }
        let (usage, models) = models.told();
        SystemTraces {
            traces: self.traces,
            failed_traces: self.failed_traces,
            spans,
            failed_spans,
            error_rate: share(failed_spans, spans),
            p50_duration_ms: self.durations.percentile_ns(50.0).map(ms),
            p95_duration_ms: self.durations.percentile_ns(95.0).map(ms),
            usage,
            models,
            open_spans: open.spans,
            oldest_open_seconds: open.oldest_seconds(self.end_ns),
            traces_complete,
            traces_from,
            unreadable,
            query,
        }
    }
}

/// Nanoseconds as milliseconds.
fn ms(ns: u64) -> f64 {
    ns as f64 / MS as f64
}

/// The span as it was at a moment: `None` before it began, open before it ended.
fn as_of(mut span: Span, end_ns: i64) -> Option<Span> {
    if span.start_ns > end_ns {
        return None;
    }
    if span.end_ns.is_some_and(|end| end > end_ns) {
        span.end_ns = None;
        span.status = SpanStatus::Unset;
        span.usage = None;
    }
    if span.is_open() {
        span.events.retain(|event| event.time_ns <= end_ns);
    }
    Some(span)
}
