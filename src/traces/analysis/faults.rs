//! What failed, deepest first, and what was tried again.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::{
    model::{AgentId, Span, SpanId},
    traces::forest::{Forest, NodeNo},
};

/// An exception that a span recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExceptionInfo {
    /// `exception.type`, where it is told.
    pub kind: Option<String>,
    /// `exception.message`, where it is told.
    pub message: Option<String>,
    /// When, nanoseconds since the epoch.
    pub time_ns: i64,
}

/// A span that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanError {
    /// Which.
    pub span_id: String,
    /// Whose.
    pub agent: AgentId,
    /// What it did.
    pub operation: Arc<str>,
    /// Steps from its root.
    pub depth: usize,
    /// Why, in its own words; may be empty.
    pub message: Arc<str>,
    /// `error.type`, where it is told.
    pub error_type: Option<String>,
    /// Exceptions within it.
    pub exceptions: Vec<ExceptionInfo>,
    /// Whether nothing below it failed: here it began.
    pub is_origin: bool,
    /// When it ended, or is known to have been open, nanoseconds since the epoch.
    pub end_ns: i64,
}

/// The same operation of an agent again, after it had failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Whose.
    pub agent: AgentId,
    /// What was tried.
    pub operation: Arc<str>,
    /// The span that all attempts are part of.
    pub parent: SpanId,
    /// The attempts in order, as clients call them.
    pub attempts: Vec<String>,
    /// From the end of each failed attempt to the start of the next, nanoseconds; 0 where they overlap.
    pub gaps_ns: Vec<i64>,
    /// Whether the last one succeeded.
    pub has_succeeded: bool,
    /// From the start of the first to the end of the last, nanoseconds.
    pub duration_ns: i64,
}

/// Spans that failed: the deepest first, then by end.
pub(super) fn errors(forest: &Forest<'_>) -> Vec<SpanError> {
    let mut fails_below = vec![false; forest.nodes.len()];
    for no in forest.order.iter().rev() {
        let node = &forest.nodes[*no];
        if let Some(parent) = node.parent {
            fails_below[parent] |= fails_below[*no] || node.is_failed();
        }
    }
    let mut found: Vec<SpanError> = Vec::new();
    for no in &forest.order {
        let node = &forest.nodes[*no];
        let Some(span) = node.span.filter(|span| span.is_failed()) else {
            continue;
        };
        let told = |key: &str| span.attributes.get(key).map(ToString::to_string);
        let exceptions = span.events.iter().filter(|e| &*e.name == "exception");
        found.push(SpanError {
            span_id: span.shown_id(),
            agent: node.agent.clone().unwrap_or_else(|| span.agent.clone()),
            operation: span.name.clone(),
            depth: node.depth,
            message: span.status_message.clone(),
            error_type: told("error.type"),
            exceptions: exceptions
                .map(|event| {
                    let told = |key: &str| event.attributes.get(key).map(ToString::to_string);
                    ExceptionInfo {
                        kind: told("exception.type"),
                        message: told("exception.message"),
                        time_ns: event.time_ns,
                    }
                })
                .collect(),
            is_origin: !fails_below[*no],
            end_ns: node.end_ns,
        });
    }
    found.sort_by_key(|error| (usize::MAX - error.depth, error.end_ns));
    found
}

/// Operations that were tried again after an error: siblings of one agent and name, each begun after the one before
/// it had failed.
pub(super) fn retries(forest: &Forest<'_>) -> Vec<Retry> {
    let chains = retry_chains(forest);
    let retry = |(parent, tries): &(SpanId, Vec<NodeNo>)| retry(forest, *parent, tries);
    chains.iter().filter_map(retry).collect()
}

/// The same as nodes, with the span that all attempts of a chain are part of.
pub(in crate::traces) fn retry_chains(forest: &Forest<'_>) -> Vec<(SpanId, Vec<NodeNo>)> {
    let mut found = Vec::new();
    for no in &forest.order {
        let parent = &forest.nodes[*no];
        if !parent.children.iter().any(|c| forest.nodes[*c].is_failed()) {
            continue;
        }
        let mut attempts: HashMap<(&AgentId, &str), Vec<NodeNo>> = HashMap::new();
        let mut firsts: Vec<(&AgentId, &str)> = Vec::new();
        for child in &parent.children {
            let node = &forest.nodes[*child];
            let (Some(agent), Some(span)) = (&node.agent, node.span) else {
                continue;
            };
            let of = attempts.entry((agent, &span.name)).or_insert_with(|| {
                firsts.push((agent, &span.name));
                Vec::new()
            });
            of.push(*child);
        }
        for first in firsts {
            let Some(attempts) = attempts.get(&first) else {
                continue;
            };
            let is_again = |a: &NodeNo, b: &NodeNo| {
                let (a, b) = (&forest.nodes[*a], &forest.nodes[*b]);
                a.is_failed() && !a.is_open() && b.start_ns >= a.end_ns
            };
            let tries = attempts.chunk_by(is_again).filter(|tries| tries.len() > 1);
            found.extend(tries.map(|tries| (parent.span_id, tries.to_vec())));
        }
    }
    found
}

fn retry(forest: &Forest<'_>, parent: SpanId, tries: &[NodeNo]) -> Option<Retry> {
    let node = |no: &NodeNo| &forest.nodes[*no];
    let (first, last) = (node(tries.first()?), node(tries.last()?));
    let gap = |pair: &[NodeNo]| node(&pair[1]).start_ns - node(&pair[0]).end_ns;
    Some(Retry {
        agent: first.agent.clone()?,
        operation: first.span?.name.clone(),
        parent,
        attempts: tries.iter().map(|no| node(no).shown_id()).collect(),
        gaps_ns: tries.windows(2).map(gap).collect(),
        has_succeeded: last.span.is_some_and(Span::is_completed),
        duration_ns: last.end_ns - first.start_ns,
    })
}
