//! The analysis of one trace.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    faults::{Retry, SpanError, errors, retries},
    participation::{Participation, participation, ratio},
    waits::{AgentWait, waits},
};
use crate::{
    model::{AgentId, AttributeValue, Span, TokenUsage, TraceId, own_attributes},
    traces::{
        awaited::Awaited,
        critical_path::{CriticalPath, Segment},
        forest::{Forest, NodeNo},
        retime::drags,
        self_time::{Union, self_times},
        skew::{Shift, correct_skew},
    },
};

/// Why there is no analysis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnalysisError {
    /// No span of the trace is known.
    #[error("Trace not found")]
    UnknownTrace,
    /// Nothing of it has completed or failed yet.
    #[error("No completed spans in trace")]
    NoCompletedSpan,
}

/// A root of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootInfo {
    /// The span, as a client called it.
    pub span_id: String,
    /// Whose; `None` of one not received.
    pub agent: Option<AgentId>,
    /// What it did.
    pub operation: String,
    /// After the first start, nanoseconds.
    pub start_ns: i64,
    /// How long it lasted, nanoseconds.
    pub duration_ns: i64,
    /// Whether the critical path is of this one: the longest.
    pub is_main: bool,
    /// Whether it was received.
    pub is_received: bool,
    /// Whether it has not ended.
    pub is_open: bool,
}

/// A parent that children name and nobody sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingParent {
    /// The span.
    pub span_id: String,
    /// Spans that name it.
    pub children: usize,
}

/// A stretch of the critical path.
#[derive(Clone, Debug, PartialEq)]
pub struct PathSegment {
    /// The span, as a client called it.
    pub span_id: String,
    /// Whose; `None` of one not received.
    pub agent: Option<AgentId>,
    /// What it did.
    pub operation: String,
    /// After the first start, nanoseconds.
    pub start_ns: i64,
    /// How long, nanoseconds.
    pub duration_ns: i64,
    /// Of the root's duration.
    pub share: f64,
    /// Whether the span is open, so that its end is a guess.
    pub is_open: bool,
    /// By how much the root would be shorter if the span's own time were nothing, nanoseconds: until something
    /// beside it takes over. Known of the longest stretches.
    pub drag_ns: Option<i64>,
}

impl PathSegment {
    /// `agent:operation`.
    pub fn label(&self) -> String {
        let agent = self
            .agent
            .as_ref()
            .map_or(crate::traces::UNKNOWN_AGENT, AgentId::as_str);
        format!("{agent}:{}", self.operation)
    }
}

/// A span that was moved since two hosts' clocks disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkewShift {
    /// The span, as a client called it.
    pub span_id: String,
    /// Whose clock it followed.
    pub host: String,
    /// By how much it was moved later, nanoseconds.
    pub shift_ns: i64,
}

/// What is odd about the spans as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Oddities {
    /// Spans left out since the same bytes had come before.
    pub duplicates: usize,
    /// Versions left out since a later one of the same span came.
    pub superseded: usize,
    /// Spans kept beside a different one of the same id.
    pub conflicts: usize,
    /// Cycles and self-parents that were cut.
    pub cycles: usize,
    /// Spans that ended before they began: they last 0 and count in no percentile.
    pub reversed: Vec<String>,
}

/// Durations of spans that ended, nanoseconds, by nearest rank; reversed ones are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// Half were shorter.
    pub p50_ns: i64,
    /// 95 % were shorter.
    pub p95_ns: i64,
    /// 99 % were shorter.
    pub p99_ns: i64,
    /// The longest.
    pub max_ns: i64,
}

/// What one trace tells. Times are corrected for clocks that disagree, but for `total_ns`.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// The trace.
    pub trace_id: TraceId,
    /// What a client called it, where that is no id.
    pub trace_name: Option<Arc<str>>,
    /// Spans received, each once.
    pub total_spans: usize,
    /// Those that ended well.
    pub completed_spans: usize,
    /// Those that failed and have ended.
    pub failed_spans: usize,
    /// Those that ended with another word of the client, e.g. `cancelled`.
    pub other_spans: usize,
    /// Those that have not ended.
    pub unfinished_spans: usize,
    /// First start of all spans, nanoseconds since the epoch.
    pub start_ns: i64,
    /// From the first start to the last end of spans that ended, as they came, nanoseconds.
    pub total_ns: i64,
    /// Average over completed and failed spans, nanoseconds.
    pub average_ns: f64,
    /// Durations of spans that ended.
    pub durations: Durations,
    /// By agent.
    pub agents: BTreeMap<AgentId, Participation>,
    /// How long any span lasted, nanoseconds.
    pub wall_ns: i64,
    /// Sum of all spans' own time, nanoseconds.
    pub busy_ns: i64,
    /// Tokens and cost of all inferences, where there are any.
    pub usage: Option<TokenUsage>,
    /// `agent:operation` along the critical path, repeats collapsed.
    pub critical_path: Vec<String>,
    /// Its stretches by time.
    pub segments: Vec<PathSegment>,
    /// What led to the main root over links, nearest first, each with its wait, nanoseconds.
    pub earlier: Vec<(i64, Vec<PathSegment>)>,
    /// Work that nobody waited for: its root span, as a client called it.
    pub beside: Vec<String>,
    /// Roots by start.
    pub roots: Vec<RootInfo>,
    /// Parents that are missing.
    pub missing_parents: Vec<MissingParent>,
    /// Waits between agents, the longest sum first.
    pub waits: Vec<AgentWait>,
    /// What failed, deepest first.
    pub errors: Vec<SpanError>,
    /// What was tried again.
    pub retries: Vec<Retry>,
    /// What was moved.
    pub skew: Vec<SkewShift>,
    /// What is odd.
    pub oddities: Oddities,
}

impl Analysis {
    /// Spans that worked at once, on average; 0 of a trace without time.
    pub fn concurrency(&self) -> f64 {
        ratio(self.busy_ns, self.wall_ns)
    }
}

/// Analyses the spans of one trace, in whatever order they come. Takes n log n steps.
pub fn analyse(spans: &[Span]) -> Result<Analysis, AnalysisError> {
    let first = spans.first().ok_or(AnalysisError::UnknownTrace)?;
    let mut forest = Forest::new(spans);
    let shifts = correct_skew(&mut forest);
    let counts = Counts::of(&forest);
    if counts.completed + counts.failed == 0 {
        return Err(AnalysisError::NoCompletedSpan);
    }
    let awaited = Awaited::new(&forest);
    let path = CriticalPath::in_awaited(&forest, &awaited);
    let own = self_times(&forest);
    let agents = participation(&forest, &own, &path);
    let told = Told {
        start_ns: forest.start_ns(),
        forest: &forest,
        root_ns: path.duration_ns(),
    };
    let drags = drags(&forest, &awaited, &path);
    let segments = told.segments(&path.segments, &drags);
    let mut critical_path: Vec<String> = segments.iter().map(PathSegment::label).collect();
    critical_path.dedup();
    let mut usage: Option<TokenUsage> = None;
    for part in agents.values().filter_map(|part| part.usage.as_ref()) {
        usage.get_or_insert_default().add(part);
    }
    let earlier = path.earlier.iter();
    let unawaited = path.handovers.iter().filter(|h| h.awaited_by.is_none());
    Ok(Analysis {
        trace_id: first.trace_id,
        trace_name: trace_name(spans),
        total_spans: counts.total,
        completed_spans: counts.completed,
        failed_spans: counts.failed,
        other_spans: counts.other,
        unfinished_spans: counts.unfinished,
        start_ns: told.start_ns,
        total_ns: counts
            .last_end_ns
            .saturating_sub(counts.first_start_ns)
            .max(0),
        average_ns: counts.sum_ns / (counts.completed + counts.failed) as f64,
        durations: durations(&forest),
        wall_ns: wall(&forest),
        busy_ns: agents
            .values()
            .fold(0, |sum, part| sum.saturating_add(part.self_ns)),
        usage,
        critical_path,
        segments,
        earlier: earlier
            .map(|e| (e.wait_ns, told.segments(&e.segments, &BTreeMap::new())))
            .collect(),
        beside: unawaited
            .filter(|h| Some(h.to) != path.root)
            .map(|h| forest.nodes[h.to].shown_id())
            .collect(),
        roots: forest
            .roots
            .iter()
            .map(|no| told.root(*no, path.root))
            .collect(),
        missing_parents: missing_parents(&forest),
        waits: waits(&forest, &path.handovers),
        errors: errors(&forest),
        retries: retries(&forest),
        skew: shifts.into_iter().map(|shift| told.shift(shift)).collect(),
        oddities: oddities(&forest),
        agents,
    })
}

/// Spans by how they ended, and when, as they came.
struct Counts {
    total: usize,
    completed: usize,
    failed: usize,
    other: usize,
    unfinished: usize,
    /// Sum over completed and failed ones.
    sum_ns: f64,
    first_start_ns: i64,
    last_end_ns: i64,
}

impl Counts {
    fn of(forest: &Forest<'_>) -> Self {
        let mut counts = Self {
            total: 0,
            completed: 0,
            failed: 0,
            other: 0,
            unfinished: 0,
            sum_ns: 0.0,
            first_start_ns: i64::MAX,
            last_end_ns: i64::MIN,
        };
        for (.., span) in forest.received() {
            counts.total += 1;
            let (Some(end), Some(duration)) = (span.end_ns, span.duration_ns()) else {
                counts.unfinished += 1;
                continue;
            };
            counts.first_start_ns = counts.first_start_ns.min(span.start_ns);
            counts.last_end_ns = counts.last_end_ns.max(end);
            if span.is_failed() {
                counts.failed += 1;
            } else if span.is_completed() {
                counts.completed += 1;
            } else {
                counts.other += 1;
                continue;
            }
            counts.sum_ns += duration as f64;
        }
        counts
    }
}

/// What parts of the analysis are told relative to.
struct Told<'a> {
    forest: &'a Forest<'a>,
    start_ns: i64,
    root_ns: i64,
}

impl Told<'_> {
    fn segments(&self, segments: &[Segment], drags: &BTreeMap<NodeNo, i64>) -> Vec<PathSegment> {
        let told = |segment: &Segment| {
            let node = &self.forest.nodes[segment.node];
            PathSegment {
                span_id: node.shown_id(),
                agent: node.agent.clone(),
                operation: node.operation().to_owned(),
                start_ns: segment.start_ns - self.start_ns,
                duration_ns: segment.duration_ns(),
                share: ratio(segment.duration_ns(), self.root_ns),
                is_open: node.is_open(),
                drag_ns: drags.get(&segment.node).copied(),
            }
        };
        segments.iter().map(told).collect()
    }

    fn root(&self, no: NodeNo, main: Option<NodeNo>) -> RootInfo {
        let node = &self.forest.nodes[no];
        RootInfo {
            span_id: node.shown_id(),
            agent: node.agent.clone(),
            operation: node.operation().to_owned(),
            start_ns: node.start_ns - self.start_ns,
            duration_ns: node.duration_ns(),
            is_main: Some(no) == main,
            is_received: node.is_received(),
            is_open: node.is_open(),
        }
    }

    fn shift(&self, shift: Shift) -> SkewShift {
        SkewShift {
            span_id: self.forest.nodes[shift.node].shown_id(),
            host: shift.host,
            shift_ns: shift.shift_ns,
        }
    }
}

fn trace_name(spans: &[Span]) -> Option<Arc<str>> {
    spans.iter().find_map(
        |span| match span.attributes.get(own_attributes::TRACE_NAME) {
            Some(AttributeValue::Text(name)) => Some(name.clone()),
            _ => None,
        },
    )
}

/// How long any span that ended lasted.
fn wall(forest: &Forest<'_>) -> i64 {
    let ended = forest.received().filter(|(.., span)| !span.is_open());
    Union::of(ended.map(|(_, node, _)| (node.start_ns, node.end_ns))).length_ns()
}

fn durations(forest: &Forest<'_>) -> Durations {
    let mut sorted: Vec<i64> = forest
        .received()
        .filter(|(_, node, _)| !node.is_open() && !node.is_reversed())
        .map(|(_, node, _)| node.duration_ns())
        .collect();
    sorted.sort_unstable();
    let rank = |percent: usize| {
        let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted.get(at).copied().unwrap_or_default()
    };
    Durations {
        p50_ns: rank(50),
        p95_ns: rank(95),
        p99_ns: rank(99),
        max_ns: rank(100),
    }
}

fn missing_parents(forest: &Forest<'_>) -> Vec<MissingParent> {
    let told = forest.missing().map(|node| MissingParent {
        span_id: node.shown_id(),
        children: node.children.len(),
    });
    told.collect()
}

fn oddities(forest: &Forest<'_>) -> Oddities {
    let reversed = forest.received().filter(|(_, node, _)| node.is_reversed());
    Oddities {
        duplicates: forest.duplicates,
        superseded: forest.superseded,
        conflicts: forest.conflicts,
        cycles: forest.cycles,
        reversed: reversed.map(|(.., span)| span.shown_id()).collect(),
    }
}
