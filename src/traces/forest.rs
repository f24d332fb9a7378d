//! Spans of a trace, or of several, as trees: what belongs to what, whatever came twice, late or never.

use hashbrown::HashMap;

use super::identity::{Kept, without_duplicates};
use crate::model::{AgentId, AgentOrigin, Span, SpanId, TraceId};

/// Where a node stands in [`Forest::nodes`].
pub type NodeNo = usize;

/// Times are kept within so many nanoseconds of 1970 (146 years to either side), so that no difference overflows.
const FAR_NS: i64 = (1 << 62) - 1;

/// What a span that has not been received is called.
pub const NOT_RECEIVED: &str = "not received";

/// Who a span belongs to that nobody claims.
pub const UNKNOWN_AGENT: &str = "unknown";

/// A span in its tree, or the place of one that has not been received.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    /// The span; `None` of a parent that children name and nobody sent.
    pub span: Option<&'a Span>,
    /// Its trace.
    pub trace_id: TraceId,
    /// Its id.
    pub span_id: SpanId,
    /// Who did it; `None` of a span not received. An agent that the span does not name itself is that of the
    /// nearest ancestor which names its own.
    pub agent: Option<AgentId>,
    /// What it is part of.
    pub parent: Option<NodeNo>,
    /// Its parts, by start.
    pub children: Vec<NodeNo>,
    /// Steps from its root.
    pub depth: usize,
    /// When it began, nanoseconds since the epoch, shifted where a clock was wrong.
    pub start_ns: i64,
    /// When it ended, never before the start. An open span lasts to the last moment that is known of the trace.
    pub end_ns: i64,
}

impl Node<'_> {
    /// Whether it was received and has not ended.
    pub fn is_open(&self) -> bool {
        self.span.is_some_and(Span::is_open)
    }

    /// Whether it was received.
    pub const fn is_received(&self) -> bool {
        self.span.is_some()
    }

    /// Whether it ended before it began.
    pub fn is_reversed(&self) -> bool {
        self.span
            .is_some_and(|span| span.end_ns.is_some_and(|end| end < span.start_ns))
    }

    /// Whether it was received and failed.
    pub fn is_failed(&self) -> bool {
        self.span.is_some_and(Span::is_failed)
    }

    /// What it did.
    pub fn operation(&self) -> &str {
        self.span.map_or(NOT_RECEIVED, |span| &span.name)
    }

    /// Who did it, in words.
    pub fn agent_name(&self) -> &str {
        self.agent.as_ref().map_or(UNKNOWN_AGENT, AgentId::as_str)
    }

    /// `agent:operation`.
    pub fn label(&self) -> String {
        format!("{}:{}", self.agent_name(), self.operation())
    }

    /// The span as a client called it.
    pub fn shown_id(&self) -> String {
        self.span
            .map_or_else(|| self.span_id.to_string(), Span::shown_id)
    }

    /// Nanoseconds from start to end.
    pub const fn duration_ns(&self) -> i64 {
        self.end_ns - self.start_ns
    }
}

/// Spans as trees. Roots are spans without a parent, the places of parents that have not been received, and the
/// first span of every cycle.
#[derive(Clone, Debug, Default)]
pub struct Forest<'a> {
    /// All nodes: the spans by start, then the places of those not received.
    pub nodes: Vec<Node<'a>>,
    /// Nodes without a parent, by start.
    pub roots: Vec<NodeNo>,
    /// All nodes, each after its parent and before its next sibling.
    pub order: Vec<NodeNo>,
    /// Spans left out since the same bytes had come before.
    pub duplicates: usize,
    /// Versions left out since a later one of the same span came: open ones, mostly.
    pub superseded: usize,
    /// Spans kept beside another, different one of the same id.
    pub conflicts: usize,
    /// Cycles and self-parents that were cut.
    pub cycles: usize,
}

/// What a span is looked up by.
type Key = (TraceId, SpanId);

/// A moment within [`FAR_NS`].
pub(super) fn bounded(time_ns: i64) -> i64 {
    time_ns.clamp(-FAR_NS, FAR_NS)
}

impl<'a> Forest<'a> {
    /// The trees of these spans, of one trace or of several, in whatever order they come. Every span is in it exactly once, but for duplicates and
    /// versions that a later one stands for. Takes n log n steps.
    pub fn new(spans: impl IntoIterator<Item = &'a Span>) -> Self {
        let Kept {
            spans,
            duplicates,
            superseded,
            conflicts,
        } = without_duplicates(spans);
        let last = last_moment(&spans);
        let mut forest = Self {
            nodes: spans.iter().map(|span| node_of(span, last)).collect(),
            duplicates,
            superseded,
            conflicts,
            ..Self::default()
        };
        forest.join();
        forest.cut_cycles();
        forest.arrange();
        forest.fit_missing();
        forest.refine_agents();
        forest
    }

    /// Gives every node its parent, and every missing parent a node.
    fn join(&mut self) {
        let mut first: HashMap<Key, NodeNo> = HashMap::with_capacity(self.nodes.len());
        let mut shared: HashMap<Key, NodeNo> = HashMap::new();
        for (no, node) in self.nodes.iter().enumerate() {
            let of = if is_shared(node) {
                &mut shared
            } else {
                &mut first
            };
            of.entry((node.trace_id, node.span_id)).or_insert(no);
        }
        for no in 0..self.nodes.len() {
            let node = &self.nodes[no];
            let own = (node.trace_id, node.span_id);
            let named = node.span.and_then(|span| span.parent_id);
            // The server's half of a Zipkin span is part of the client's half.
            if is_shared(node)
                && let Some(client) = first.get(&own)
            {
                self.nodes[no].parent = Some(*client);
                continue;
            }
            let Some(parent_id) = named else { continue };
            if parent_id == node.span_id {
                self.cycles += 1;
                continue;
            }
            let key = (node.trace_id, parent_id);
            let known = shared.get(&key).or_else(|| first.get(&key)).copied();
            let parent = known.unwrap_or_else(|| {
                self.nodes.push(missing(key));
                first.insert(key, self.nodes.len() - 1);
                self.nodes.len() - 1
            });
            self.nodes[no].parent = Some(parent);
        }
    }

    /// Makes a root of the first span of every cycle.
    fn cut_cycles(&mut self) {
        const UNSEEN: u32 = 0;
        let mut walk_of = vec![UNSEEN; self.nodes.len()];
        let mut walk = UNSEEN;
        for from in 0..self.nodes.len() {
            if walk_of[from] != UNSEEN {
                continue;
            }
            walk += 1;
            let mut at = from;
            loop {
                walk_of[at] = walk;
                let Some(parent) = self.nodes[at].parent else {
                    break;
                };
                if walk_of[parent] == UNSEEN {
                    at = parent;
                    continue;
                }
                if walk_of[parent] == walk {
                    self.cut_cycle(parent);
                }
                break;
            }
        }
    }

    /// Cuts the cycle that a node is in before its earliest span.
    fn cut_cycle(&mut self, on_it: NodeNo) {
        let mut earliest = on_it;
        let mut at = on_it;
        while let Some(parent) = self.nodes[at].parent.filter(|parent| *parent != on_it) {
            at = parent;
            // Nodes stand by start.
            earliest = earliest.min(at);
        }
        self.nodes[earliest].parent = None;
        self.cycles += 1;
    }

    /// Works out roots, children and order from the parents and starts.
    pub(super) fn arrange(&mut self) {
        let mut by_start: Vec<NodeNo> = (0..self.nodes.len()).collect();
        by_start.sort_by_key(|no| (self.nodes[*no].start_ns, *no));
        self.roots.clear();
        for node in &mut self.nodes {
            node.children.clear();
        }
        for no in by_start {
            match self.nodes[no].parent {
                Some(parent) => self.nodes[parent].children.push(no),
                None => self.roots.push(no),
            }
        }
        self.order.clear();
        let mut ahead: Vec<NodeNo> = self.roots.iter().rev().copied().collect();
        while let Some(no) = ahead.pop() {
            self.order.push(no);
            self.nodes[no].depth = self.nodes[no]
                .parent
                .map_or(0, |parent| self.nodes[parent].depth + 1);
            ahead.extend(self.nodes[no].children.iter().rev());
        }
    }

    /// The place of a span not received lasts from the first start to the last end of its children.
    pub(super) fn fit_missing(&mut self) {
        let mut has_changed = false;
        for no in 0..self.nodes.len() {
            if self.nodes[no].is_received() {
                continue;
            }
            let children = &self.nodes[no].children;
            let start = children.iter().map(|c| self.nodes[*c].start_ns).min();
            let end = children.iter().map(|c| self.nodes[*c].end_ns).max();
            self.nodes[no].start_ns = start.unwrap_or_default();
            self.nodes[no].end_ns = end.unwrap_or_default();
            has_changed = true;
        }
        if has_changed {
            self.arrange();
        }
    }

    /// Agents that spans do not name themselves are those of the nearest ancestor which does.
    fn refine_agents(&mut self) {
        let mut named: Vec<Option<NodeNo>> = vec![None; self.nodes.len()];
        for at in 0..self.order.len() {
            let no = self.order[at];
            let node = &self.nodes[no];
            let above = node.parent.and_then(|parent| named[parent]);
            let Some(span) = node.span else { continue };
            if span.agent_origin == AgentOrigin::Own {
                named[no] = Some(no);
                continue;
            }
            named[no] = above;
            if let Some(ancestor) = above {
                let agent = self.nodes[ancestor].agent.clone();
                self.nodes[no].agent = agent;
            }
        }
    }

    /// Nodes with a span.
    pub fn received(&self) -> impl Iterator<Item = (NodeNo, &Node<'a>, &'a Span)> {
        self.nodes
            .iter()
            .enumerate()
            .filter_map(|(no, node)| node.span.map(|span| (no, node, span)))
    }

    /// Parents that children name and nobody sent.
    pub fn missing(&self) -> impl Iterator<Item = &Node<'a>> {
        self.nodes.iter().filter(|node| !node.is_received())
    }

    /// The node of a span; of two halves the client's. Walks over all.
    pub fn find(&self, trace_id: TraceId, span_id: SpanId) -> Option<NodeNo> {
        self.nodes
            .iter()
            .position(|node| node.trace_id == trace_id && node.span_id == span_id)
    }

    /// The root that stands for the whole: the longest. The one that begins first may be a short errand before the
    /// run, and the longest is what somebody waited for. Of equally long ones, a received one, then the earliest.
    pub fn main_root(&self) -> Option<NodeNo> {
        self.roots.iter().copied().min_by_key(|no| self.rank(*no))
    }

    /// The lower, the more a root stands for the whole.
    pub(super) fn rank(&self, no: NodeNo) -> (i64, bool, i64, NodeNo) {
        let node = &self.nodes[no];
        (-node.duration_ns(), !node.is_received(), node.start_ns, no)
    }

    /// The first start of all nodes, nanoseconds since the epoch; 0 of none.
    pub fn start_ns(&self) -> i64 {
        let starts = self.nodes.iter().map(|node| node.start_ns);
        starts.min().unwrap_or_default()
    }

    /// The last end of all nodes, nanoseconds since the epoch; 0 of none.
    pub fn end_ns(&self) -> i64 {
        let ends = self.nodes.iter().map(|node| node.end_ns);
        ends.max().unwrap_or_default()
    }
}

/// Whether a node is the server's half of a Zipkin span.
fn is_shared(node: &Node<'_>) -> bool {
    node.span.is_some_and(|span| span.is_shared)
}

/// The last moment that spans tell of: starts, ends, and events of open spans.
fn last_moment(spans: &[&Span]) -> i64 {
    let told = spans.iter().flat_map(|span| {
        let events = span.is_open().then_some(&span.events);
        let events = events.into_iter().flatten().map(|event| event.time_ns);
        events.chain([span.end_ns.unwrap_or(span.start_ns), span.start_ns])
    });
    bounded(told.max().unwrap_or_default())
}

fn node_of(span: &Span, last: i64) -> Node<'_> {
    let start_ns = bounded(span.start_ns);
    Node {
        span: Some(span),
        trace_id: span.trace_id,
        span_id: span.span_id,
        agent: Some(span.agent.clone()),
        parent: None,
        children: Vec::new(),
        depth: 0,
        start_ns,
        end_ns: span.end_ns.map_or(last, bounded).max(start_ns),
    }
}

/// The place of a span that has not been received; its time comes from its children.
fn missing<'a>((trace_id, span_id): Key) -> Node<'a> {
    Node {
        span: None,
        trace_id,
        span_id,
        agent: None,
        parent: None,
        children: Vec::new(),
        depth: 0,
        start_ns: 0,
        end_ns: 0,
    }
}
