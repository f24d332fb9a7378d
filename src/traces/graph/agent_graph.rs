//! The agent graph over many traces.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::edges::{Edge, EdgeKind, edges};
use crate::{
    model::{AgentId, Span, TokenUsage},
    traces::{
        analysis::{ms, tokens},
        forest::Forest,
        latency::LatencyHistogram,
        self_time::self_times,
        skew::correct_skew,
    },
};

/// One agent in many traces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentStats {
    /// Spans that were received.
    pub spans: u64,
    /// Those that failed.
    pub errors: u64,
    /// Those that have not ended.
    pub open: u64,
    /// Own time of those that ended, nanoseconds.
    pub self_ns: u128,
    /// Tokens and cost.
    pub usage: Option<TokenUsage>,
}

/// One edge in many traces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EdgeStats {
    /// How often.
    pub count: u64,
    /// How often it failed.
    pub errors: u64,
    /// How long the work took.
    pub latency: LatencyHistogram,
    /// How long it took until the work began.
    pub wait: LatencyHistogram,
    /// Tokens and cost of the target's own inferences within the work.
    pub usage: Option<TokenUsage>,
}

impl EdgeStats {
    /// Counts one use.
    pub fn add(&mut self, edge: &Edge) {
        self.count += 1;
        self.errors += u64::from(edge.is_failed);
        if let Some(latency) = edge.latency_ns {
            self.latency.add(latency);
        }
        if let Some(wait) = edge.wait_ns {
            self.wait.add(wait);
        }
        if let Some(usage) = &edge.usage {
            self.usage.get_or_insert_default().add(usage);
        }
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.errors += other.errors;
        self.latency.merge(&other.latency);
        self.wait.merge(&other.wait);
        if let Some(usage) = &other.usage {
            self.usage.get_or_insert_default().add(usage);
        }
    }

    /// Of all uses; 0 of none.
    pub fn error_rate(&self) -> f64 {
        self.errors as f64 / self.count.max(1) as f64
    }
}

/// Agents and who asks whom.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentGraph {
    /// Traces added.
    pub traces: u64,
    /// Agents, also those that only an edge names.
    pub agents: BTreeMap<AgentId, AgentStats>,
    /// Edges by source, target and kind.
    pub edges: BTreeMap<(AgentId, AgentId, EdgeKind), EdgeStats>,
}

impl AgentGraph {
    /// Adds the spans of a trace; those of all traces of a run at once, where links between them are to count.
    pub fn add(&mut self, spans: &[Span]) {
        let mut forest = Forest::new(spans);
        correct_skew(&mut forest);
        self.traces += u64::from(!forest.nodes.is_empty());
        let own = self_times(&forest);
        for (no, node, span) in forest.received() {
            let Some(agent) = &node.agent else { continue };
            let stats = self.agents.entry(agent.clone()).or_default();
            stats.spans += 1;
            stats.errors += u64::from(span.is_failed());
            if span.is_open() {
                stats.open += 1;
            } else {
                stats.self_ns += u128::from(own[no].unsigned_abs());
            }
            if let Some(usage) = &span.usage {
                stats.usage.get_or_insert_default().add(usage);
            }
        }
        for edge in edges(&forest) {
            for agent in [&edge.source, &edge.target] {
                self.agents.entry(agent.clone()).or_default();
            }
            let key = (edge.source.clone(), edge.target.clone(), edge.kind);
            self.edges.entry(key).or_default().add(&edge);
        }
    }

    /// Adds all of another graph.
    pub fn merge(&mut self, other: &Self) {
        self.traces += other.traces;
        for (agent, theirs) in &other.agents {
            let stats = self.agents.entry(agent.clone()).or_default();
            stats.spans += theirs.spans;
            stats.errors += theirs.errors;
            stats.open += theirs.open;
            stats.self_ns += theirs.self_ns;
            if let Some(usage) = &theirs.usage {
                stats.usage.get_or_insert_default().add(usage);
            }
        }
        for (key, theirs) in &other.edges {
            self.edges.entry(key.clone()).or_default().merge(theirs);
        }
    }

    /// As JSON, by agent and by edge.
    pub fn to_json(&self) -> Value {
        let node = |(id, stats): (&AgentId, &AgentStats)| {
            json!({
                "id": id.as_str(),
                "spans": stats.spans,
                "errors": stats.errors,
                "open_spans": stats.open,
                "self_duration_ms": stats.self_ns as f64 / 1e6,
                "tokens": tokens(stats.usage.as_ref()),
                "cost": stats.usage.as_ref().and_then(|usage| usage.cost),
            })
        };
        let edge =
            |((source, target, kind), stats): (&(AgentId, AgentId, EdgeKind), &EdgeStats)| {
                json!({
                    "source": source.as_str(),
                    "target": target.as_str(),
                    "type": kind.name(),
                    "count": stats.count,
                    "errors": stats.errors,
                    "error_rate": stats.error_rate(),
                    "latency_ms": latency(&stats.latency),
                    "wait_ms": latency(&stats.wait),
                    "tokens": tokens(stats.usage.as_ref()),
                    "cost": stats.usage.as_ref().and_then(|usage| usage.cost),
                })
            };
        json!({
            "traces": self.traces,
            "nodes": self.agents.iter().map(node).collect::<Value>(),
            "edges": self.edges.iter().map(edge).collect::<Value>(),
        })
    }
}

/// `null` where no duration is known.
fn latency(histogram: &LatencyHistogram) -> Value {
    let percentile = |percent| histogram.percentile_ns(percent).map(|ns| ms(ns as i64));
    if histogram.count() == 0 {
        return Value::Null;
    }
    json!({
        "p50": percentile(50.0),
        "p95": percentile(95.0),
        "p99": percentile(99.0),
        "avg": histogram.average_ns().map(|ns| ns / 1e6),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::tests::team;

    #[test]
    fn a_graph_adds_up() {
        let mut graph = AgentGraph::default();
        graph.add(&team());
        let mut twice = graph.clone();
        twice.merge(&graph);
        graph.add(&team());
        assert_eq!(twice, graph);
        let json = graph.to_json();
        assert_eq!(json["nodes"].as_array().unwrap().len(), 4);
        let edge = &json["edges"][0];
        assert_eq!(
            (&edge["target"], &edge["type"]),
            (&json!("coder"), &json!("call"))
        );
        assert_eq!(
            (edge["count"].as_u64(), &edge["latency_ms"]["avg"]),
            (Some(2), &json!(600.0))
        );
    }
}
