//! Edges of the agent graph in one trace, by the first rule that applies to a span.

use hashbrown::{HashMap, HashSet};

use crate::{
    model::{AgentId, Span, SpanKind, TokenUsage},
    traces::{
        awaited::sent_at,
        forest::{Forest, Node, NodeNo},
        skew::correct_skew,
    },
};

/// What passes between two agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EdgeKind {
    /// One asks and gets an answer.
    Call,
    /// One hands the work over.
    Transfer,
    /// One sends a message.
    Message,
}

impl EdgeKind {
    /// In lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Transfer => "transfer",
            Self::Message => "message",
        }
    }
}

/// One use of an edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// Who asked.
    pub source: AgentId,
    /// Who was asked.
    pub target: AgentId,
    /// What passed.
    pub kind: EdgeKind,
    /// The span that tells of it.
    pub evidence: NodeNo,
    /// The target's span that did the work, where it is known.
    pub work: Option<NodeNo>,
    /// Whether the work, or the asking, failed.
    pub is_failed: bool,
    /// How long the work took, nanoseconds; `None` while it is open or not known.
    pub latency_ns: Option<i64>,
    /// From the asking to the start of the work, nanoseconds, where both are known.
    pub wait_ns: Option<i64>,
    /// Tokens and cost of the target's own inferences within the work.
    pub usage: Option<TokenUsage>,
}

/// Attributes by which a span names both ends itself: the rule's kind, the source's keys and the target's. Where no
/// key of one end is there, that end is the span's agent; one end must be told.
struct Named {
    kind: EdgeKind,
    source: &'static [&'static str],
    target: &'static [&'static str],
    /// Where this is there, it must say `agent`.
    kind_of_end: &'static [&'static str],
}

/// Before the rules of graph nodes and tools that hand off.
const NAMED_FIRST: [Named; 2] = [
    Named {
        kind: EdgeKind::Transfer,
        source: &["gen_ai.transfer.source.name", "gen_ai.transfer.from"],
        target: &["gen_ai.transfer.target.name", "gen_ai.transfer.to"],
        kind_of_end: &["gen_ai.transfer.target.type"],
    },
    Named {
        kind: EdgeKind::Call,
        source: &["gen_ai.caller.name", "gen_ai.caller.agent.name"],
        target: &[],
        kind_of_end: &["gen_ai.caller.type"],
    },
];

/// After them.
const NAMED_LAST: [Named; 2] = [
    Named {
        kind: EdgeKind::Transfer,
        source: &[
            "gen_ai.handoff.from_agent",
            "gen_ai.handoff.from_agent.name",
        ],
        target: &["gen_ai.handoff.to_agent", "gen_ai.handoff.to_agent.name"],
        kind_of_end: &[],
    },
    // AutoGen.
    Named {
        kind: EdgeKind::Message,
        source: &["sender_agent_type"],
        target: &["recipient_agent_type"],
        kind_of_end: &[],
    },
];

/// OpenInference's name of a node of an agent graph, and of the node before it.
const GRAPH_NODE: &str = "graph.node.id";
const GRAPH_PARENT: &str = "graph.node.parent_id";

/// How openai-agents' instrumentation calls the tool that hands off.
const HANDOFF_TOOL: &str = "handoff to ";

/// Characters of a UUID, which AutoGen puts after an agent's name and `_`.
const UUID_CHARS: usize = 36;

/// An agent as an attribute names it, without what is new with every run.
fn agent_called(text: &str) -> Option<AgentId> {
    let cut = text.len().checked_sub(UUID_CHARS + 1);
    let is_uuid = |end: &str| {
        end.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    let stem = cut
        .filter(|cut| *cut > 0)
        .and_then(|cut| text.split_at_checked(cut))
        .and_then(|(stem, end)| {
            end.strip_prefix('_')
                .filter(|end| is_uuid(end))
                .and(Some(stem))
        });
    AgentId::new(stem.unwrap_or(text).trim()).ok()
}

/// What rules look up.
struct Finder<'a> {
    forest: &'a Forest<'a>,
    /// Agent of the first node of that name.
    graph_nodes: HashMap<String, AgentId>,
    /// By agent the spans with which its work begins, by start.
    entries: HashMap<&'a AgentId, Vec<NodeNo>>,
    /// By node the tokens of its own agent from there down, up to where another agent begins.
    usage: Vec<Option<TokenUsage>>,
    /// By node the nearest received one above.
    above: Vec<Option<NodeNo>>,
}

impl<'a> Finder<'a> {
    fn new(forest: &'a Forest<'a>) -> Self {
        let nodes = &forest.nodes;
        let mut finder = Self {
            forest,
            graph_nodes: HashMap::new(),
            entries: HashMap::new(),
            usage: nodes
                .iter()
                .map(|node| node.span.and_then(|s| s.usage))
                .collect(),
            above: vec![None; nodes.len()],
        };
        for no in &forest.order {
            let node = &nodes[*no];
            finder.above[*no] = node.parent.filter(|parent| nodes[*parent].is_received());
            let (Some(agent), Some(span)) = (&node.agent, node.span) else {
                continue;
            };
            if let Some(name) = span.attributes.text(GRAPH_NODE) {
                let name = finder.graph_nodes.entry(name.to_owned());
                name.or_insert_with(|| agent.clone());
            }
            if finder.above[*no].is_none_or(|above| nodes[above].agent.as_ref() != Some(agent)) {
                finder.entries.entry(agent).or_default().push(*no);
            }
        }
        for entries in finder.entries.values_mut() {
            entries.sort_by_key(|no| (nodes[*no].start_ns, *no));
        }
        for no in forest.order.iter().rev() {
            if let (Some(above), Some(usage)) = (finder.above[*no], finder.usage[*no])
                && nodes[above].agent == nodes[*no].agent
            {
                finder.usage[above].get_or_insert_default().add(&usage);
            }
        }
        finder
    }

    /// Source, target and kind that a span tells itself.
    fn told(&self, node: &Node<'_>, span: &Span) -> Option<(AgentId, AgentId, EdgeKind)> {
        let own = node.agent.as_ref()?;
        let apart = |(source, target, kind): (AgentId, AgentId, EdgeKind)| {
            (source != target).then_some((source, target, kind))
        };
        let named = |rule: &Named| named(rule, own, span).and_then(apart);
        NAMED_FIRST
            .iter()
            .find_map(named)
            .or_else(|| {
                let before = span.attributes.text(GRAPH_PARENT)?;
                let source = self.graph_nodes.get(before).cloned();
                let source = source.or_else(|| agent_called(before))?;
                apart((source, own.clone(), EdgeKind::Call))
            })
            .or_else(|| {
                let target = handoff_target(span)?;
                apart((own.clone(), target, EdgeKind::Transfer))
            })
            .or_else(|| NAMED_LAST.iter().find_map(named))
    }

    /// The first span of an agent that begins no earlier.
    fn next_of(&self, agent: &AgentId, from_ns: i64) -> Option<NodeNo> {
        let entries = self.entries.get(agent)?;
        let start = |no: &NodeNo| self.forest.nodes[*no].start_ns;
        entries
            .get(entries.partition_point(|no| start(no) < from_ns))
            .copied()
    }

    fn edge(
        &self,
        (source, target, kind): (AgentId, AgentId, EdgeKind),
        evidence: NodeNo,
        work: Option<NodeNo>,
        wait_ns: Option<i64>,
    ) -> Edge {
        let nodes = &self.forest.nodes;
        let worked = work.map(|no| &nodes[no]);
        let ended = worked.filter(|node| !node.is_open() && !node.is_reversed());
        Edge {
            source,
            target,
            kind,
            evidence,
            work,
            is_failed: nodes[evidence].is_failed() || worked.is_some_and(Node::is_failed),
            latency_ns: ended.map(Node::duration_ns),
            wait_ns: wait_ns.filter(|wait| *wait >= 0),
            usage: work.and_then(|no| self.usage[no]),
        }
    }
}

/// What a rule of names says of a span.
fn named(rule: &Named, own: &AgentId, span: &Span) -> Option<(AgentId, AgentId, EdgeKind)> {
    let text = |keys: &[&str]| keys.iter().find_map(|key| span.attributes.text(key));
    if text(rule.kind_of_end).is_some_and(|kind| kind != "agent") {
        return None;
    }
    let (source, target) = (text(rule.source), text(rule.target));
    if source.is_none() && target.is_none() {
        return None;
    }
    let end = |text: Option<&str>| text.map_or_else(|| Some(own.clone()), agent_called);
    Some((end(source)?, end(target)?, rule.kind))
}

/// Who hands over to whom, as a span tells it itself, also where both are the same.
pub(in crate::traces) fn transfer_told(own: &AgentId, span: &Span) -> Option<(AgentId, AgentId)> {
    let is_transfer = |rule: &&Named| rule.kind == EdgeKind::Transfer;
    let rules = NAMED_FIRST.iter().chain(&NAMED_LAST).filter(is_transfer);
    let by_attributes = rules.into_iter().find_map(|rule| named(rule, own, span));
    by_attributes
        .map(|(source, target, _)| (source, target))
        .or_else(|| Some((own.clone(), handoff_target(span)?)))
}

/// The agent that a tool hands off to, by the tool's name.
fn handoff_target(span: &Span) -> Option<AgentId> {
    let (start, to) = span.name.split_at_checked(HANDOFF_TOOL.len())?;
    start
        .eq_ignore_ascii_case(HANDOFF_TOOL)
        .then(|| agent_called(to))?
}

/// The edges of a trace's spans, or of several traces' that link to one another; skew of clocks is corrected.
pub fn edges_of(spans: &[Span]) -> Vec<Edge> {
    let mut forest = Forest::new(spans);
    correct_skew(&mut forest);
    edges(&forest)
}

/// The edges of a forest, in its order. A span that tells of one itself, by the attributes of conventions and
/// frameworks, counts by these; one below a span of another agent is a call from there, unless that span told of the
/// edge; any other, by its links, a message from there.
pub fn edges(forest: &Forest<'_>) -> Vec<Edge> {
    let finder = Finder::new(forest);
    let nodes = &forest.nodes;
    let mut found = Vec::new();
    // What spans told themselves: evidence and target.
    let mut told_targets: HashSet<(NodeNo, AgentId)> = HashSet::new();
    let by_id: HashMap<_, _> = nodes
        .iter()
        .enumerate()
        .rev()
        .map(|(no, node)| ((node.trace_id, node.span_id), no))
        .collect();
    for no in &forest.order {
        let node = &nodes[*no];
        let (Some(own), Some(span)) = (&node.agent, node.span) else {
            continue;
        };
        if let Some(told) = finder.told(node, span) {
            told_targets.insert((*no, told.1.clone()));
            let is_own_work = told.1 == *own;
            let work = if is_own_work {
                Some(*no)
            } else {
                finder.next_of(&told.1, node.start_ns)
            };
            let wait = work.filter(|_| !is_own_work).map(|work| {
                let start = nodes[work].start_ns;
                start - start.min(node.end_ns)
            });
            found.push(finder.edge(told, *no, work, wait));
            continue;
        }
        let above = finder.above[*no].map(|above| (above, &nodes[above]));
        if let Some((above, parent)) = above
            && let (Some(source), Some(asking)) = (&parent.agent, parent.span)
            && source != own
        {
            if told_targets.contains(&(above, own.clone())) {
                continue;
            }
            let is_message = asking.kind == SpanKind::Producer && span.kind == SpanKind::Consumer;
            let (kind, wait) = match asking.kind {
                _ if is_message => {
                    let sent = sent_at(forest, above, *no);
                    (EdgeKind::Message, Some(node.start_ns - sent))
                }
                SpanKind::Client => (EdgeKind::Call, Some(node.start_ns - parent.start_ns)),
                _ => (EdgeKind::Call, None),
            };
            found.push(finder.edge((source.clone(), own.clone(), kind), *no, Some(*no), wait));
            continue;
        }
        for link in &span.links {
            let Some(from) = by_id.get(&(link.trace_id, link.span_id)) else {
                continue;
            };
            let Some(source) = nodes[*from].agent.clone().filter(|source| source != own) else {
                continue;
            };
            let wait = node.start_ns - sent_at(forest, *from, *no);
            let told = (source, own.clone(), EdgeKind::Message);
            found.push(finder.edge(told, *no, Some(*no), Some(wait)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{AttributeValue, SpanLink, TraceId},
        traces::samples::{failed, id, kind, span},
    };

    fn with(mut span: Span, pairs: &[(&str, &str)]) -> Span {
        for (key, value) in pairs {
            span.attributes
                .set(key, AttributeValue::Text((*value).into()));
        }
        span
    }

    fn told(spans: &[Span]) -> Vec<String> {
        let tell = |e: &Edge| format!("{} {} {}", e.source, e.kind.name(), e.target);
        edges_of(spans).iter().map(tell).collect()
    }

    #[test]
    fn every_rule_gives_its_edge() {
        let one =
            |label: &str, pairs: &[(&str, &str)]| told(&[with(span(1, 0, label, 0, 10), pairs)]);
        let transfer = [
            ("gen_ai.transfer.target.name", "coder"),
            ("gen_ai.caller.name", "x"),
        ];
        assert_eq!(one("planner:t", &transfer), ["planner transfer coder"]);
        let to_human = [
            ("gen_ai.transfer.target.name", "Ann"),
            ("gen_ai.transfer.target.type", "human"),
        ];
        assert!(one("planner:t", &to_human).is_empty());
        assert_eq!(
            one("coder:t", &[("gen_ai.caller.name", "planner")]),
            ["planner call coder"]
        );
        assert_eq!(
            one("coder:t", &[("graph.node.parent_id", "planner")]),
            ["planner call coder"]
        );
        assert_eq!(
            one("planner:handoff to coder", &[]),
            ["planner transfer coder"]
        );
        let handoff = [
            ("gen_ai.handoff.from_agent", "a"),
            ("gen_ai.handoff.to_agent", "b"),
        ];
        assert_eq!(one("planner:x", &handoff), ["a transfer b"]);
        let autogen = [
            (
                "sender_agent_type",
                "planner_8a1c2b3d-0000-4000-8000-123456789abc",
            ),
            ("recipient_agent_type", "coder"),
        ];
        assert_eq!(
            one("coder:autogen process", &autogen),
            ["planner message coder"]
        );
    }

    #[test]
    fn trees_and_links_give_what_spans_do_not_tell() {
        let mut linked = span(5, 0, "reviewer:review", 60, 70);
        linked.links.push(SpanLink {
            trace_id: TraceId::new(1).unwrap(),
            span_id: id(2),
            ..SpanLink::default()
        });
        let spans = [
            span(1, 0, "planner:run", 0, 100),
            kind(span(2, 1, "planner:ask", 10, 50), SpanKind::Client),
            failed(span(3, 2, "coder:code", 14, 40), "no"),
            span(4, 3, "coder:chat", 15, 20),
            linked,
        ];
        let edges = edges_of(&spans);
        assert_eq!(
            told(&spans),
            ["planner call coder", "planner message reviewer"]
        );
        assert!(edges[0].is_failed);
        assert_eq!(
            (edges[0].latency_ns, edges[0].wait_ns),
            (Some(26_000_000), Some(4_000_000))
        );
        assert_eq!(edges[1].wait_ns, Some(10_000_000));
    }

    #[test]
    fn a_hand_off_between_siblings_counts_once_and_finds_its_work() {
        let spans = [
            span(1, 0, "run:workflow", 0, 100),
            span(2, 1, "triage:agent", 0, 40),
            span(3, 2, "triage:handoff to coder", 30, 31),
            span(4, 1, "coder:agent", 45, 95),
        ];
        let edges = edges_of(&spans);
        assert_eq!(
            told(&spans),
            ["run call triage", "triage transfer coder", "run call coder"]
        );
        assert_eq!(
            (edges[1].latency_ns, edges[1].wait_ns),
            (Some(50_000_000), Some(14_000_000))
        );
        let nested = [
            span(1, 0, "triage:agent", 0, 100),
            with(
                span(2, 1, "triage:tool", 10, 90),
                &[("gen_ai.transfer.target.name", "coder")],
            ),
            span(3, 2, "coder:agent", 20, 80),
        ];
        assert_eq!(told(&nested), ["triage transfer coder"]);
    }
}
