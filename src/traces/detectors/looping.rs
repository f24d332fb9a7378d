//! Loops between agents: the same circle of agents again and again, or an edge used far more often than is usual.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::{Detector, Finding, LoopSettings, RunView};
use crate::{
    model::AgentId,
    traces::{LatencyHistogram, NodeNo, forest::Forest},
};

/// Agents of the largest circle.
const CIRCLE_MAX: usize = 6;
/// Workflows whose usual use of edges is remembered.
const WORKFLOWS_MAX: usize = 1_000;
/// Runs of a workflow before it is known what is usual.
const RUNS_MIN: u64 = 30;

/// How often the busiest edge of a run was used, by workflow.
#[derive(Debug, Default)]
pub struct EdgeHistory(BTreeMap<String, LatencyHistogram>);

impl EdgeHistory {
    /// Takes a run in that is over.
    pub fn note(&mut self, run: &RunView<'_>) {
        let (Some(workflow), Some((_, uses))) = (run.workflow(), busiest(run)) else {
            return;
        };
        if self.0.len() < WORKFLOWS_MAX || self.0.contains_key(&workflow) {
            let uses = i64::try_from(uses.len()).unwrap_or(i64::MAX);
            self.0.entry(workflow).or_default().add(uses);
        }
    }

    /// 99th percentile of the uses of the busiest edge in runs of a workflow; `None` of fewer than 30 runs.
    pub fn usual(&self, workflow: &str) -> Option<u64> {
        let known = self.0.get(workflow)?;
        (known.count() >= RUNS_MIN).then(|| known.percentile_ns(99.0))?
    }
}

/// The edge that was used most often, with the spans that tell of it.
fn busiest<'a>(run: &'a RunView<'_>) -> Option<((&'a AgentId, &'a AgentId), Vec<NodeNo>)> {
    let mut uses: BTreeMap<(&AgentId, &AgentId), Vec<NodeNo>> = BTreeMap::new();
    for edge in &run.edges {
        uses.entry((&edge.source, &edge.target))
            .or_default()
            .push(edge.evidence);
    }
    // The first of those that are used as often.
    uses.into_iter().rev().max_by_key(|(_, nodes)| nodes.len())
}

/// Spans with which the work of an agent begins, by start. Of work that runs side by side for one caller the first
/// counts.
fn entries(forest: &Forest<'_>) -> Vec<NodeNo> {
    let nodes = &forest.nodes;
    let mut begun: Vec<NodeNo> = Vec::new();
    for (no, node, _) in forest.received() {
        let above = node.parent.map(|parent| &nodes[parent]);
        if node.agent.is_some() && above.is_none_or(|above| above.agent != node.agent) {
            begun.push(no);
        }
    }
    begun.sort_by_key(|no| (nodes[*no].start_ns, *no));
    let mut busy_until: HashMap<(Option<NodeNo>, &AgentId), i64> = HashMap::new();
    begun.retain(|no| {
        let node = &nodes[*no];
        let (Some(parent), Some(agent)) = (node.parent, &node.agent) else {
            return true;
        };
        let until = busy_until.entry((Some(parent), agent)).or_insert(i64::MIN);
        let is_beside = node.start_ns < *until;
        *until = (*until).max(node.end_ns);
        !is_beside
    });
    begun
}

/// A stretch of a sequence that repeats itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Circle {
    from: usize,
    length: usize,
    rounds: usize,
}

/// The circle that was gone round most often, as a multiple of what counts; a smaller one before a larger one.
fn circle(sequence: &[&AgentId], settings: &LoopSettings) -> Option<(Circle, u32)> {
    let mut best: Option<(Circle, u32)> = None;
    for length in 1..=CIRCLE_MAX {
        let counts = if length == 1 {
            settings.rounds_alone
        } else {
            settings.rounds
        };
        let mut same = 0;
        for at in length..sequence.len() {
            if sequence[at] != sequence[at - length] {
                same = 0;
                continue;
            }
            same += 1;
            let from = at + 1 - length - same;
            let rounds = same / length + 1;
            // A circle of one agent is found as such.
            let is_one = length > 1
                && sequence[from..from + length]
                    .iter()
                    .all(|a| *a == sequence[from]);
            let is_more = best.is_none_or(|(b, least)| {
                rounds as u64 * u64::from(least) > b.rounds as u64 * u64::from(counts)
            });
            if rounds >= counts as usize && !is_one && is_more {
                best = Some((
                    Circle {
                        from,
                        length,
                        rounds,
                    },
                    counts,
                ));
            }
        }
    }
    best
}

/// Circles of up to six agents that were gone round too often, else an edge that was used more often than `usual` (the
/// 99th percentile of the workflow). Looks at the spans with which the work of agents begins, in their order.
pub fn loops(run: &RunView<'_>, settings: &LoopSettings, usual: Option<u64>) -> Vec<Finding> {
    let nodes = &run.forest.nodes;
    let begun = entries(&run.forest);
    let sequence: Vec<&AgentId> = begun
        .iter()
        .filter_map(|no| nodes[*no].agent.as_ref())
        .collect();
    let spans = run.forest.received().filter_map(|(_, _, span)| span.usage);
    let tokens: u64 = spans.map(|usage| usage.total()).sum();
    let told = |value: String| {
        if tokens > 0 {
            format!("{value}; the run has taken {tokens} tokens so far")
        } else {
            value
        }
    };
    if let Some((circle, counts)) = circle(&sequence, settings) {
        let mut names: Vec<&str> = sequence[circle.from..circle.from + circle.length]
            .iter()
            .map(|agent| agent.as_str())
            .collect();
        names.push(names[0]);
        let message = told(format!(
            "{} {} times in a row",
            names.join(" -> "),
            circle.rounds
        ));
        let stretch = &begun[circle.from..circle.from + circle.length * circle.rounds];
        let values = (circle.rounds as f64, f64::from(counts));
        let agent = sequence[circle.from].clone();
        let last = stretch.iter().rev().copied();
        let severity = settings.switch.severity;
        return vec![run.finding(Detector::Loop, severity, agent, message, values, last)];
    }
    let Some(((source, target), uses)) = busiest(run) else {
        return Vec::new();
    };
    let Some(usual) = usual.filter(|usual| uses.len() as u64 > *usual) else {
        return Vec::new();
    };
    if uses.len() < settings.edge_calls_min as usize {
        return Vec::new();
    }
    let message = told(format!(
        "{source} -> {target} {} times in one run, where {usual} is usual at most",
        uses.len()
    ));
    let values = (uses.len() as f64, usual as f64);
    let (agent, last) = (source.clone(), uses.iter().rev().copied());
    vec![run.finding(
        Detector::Loop,
        settings.switch.severity,
        agent,
        message,
        values,
        last,
    )]
}
