//! The analysis as JSON, with the names of the interface.

use serde_json::{Map, Value, json};

use super::{
    analyse::{Analysis, Durations, PathSegment, RootInfo},
    faults::{Retry, SpanError},
    participation::{OperationShare, Participation, ratio},
    waits::AgentWait,
};
use crate::{
    model::{AgentId, TokenUsage},
    traces::UNKNOWN_AGENT,
};

/// Nanoseconds as milliseconds.
pub(in crate::traces) fn ms(ns: i64) -> f64 {
    ns as f64 / 1e6
}

/// An agent's id, also of none.
fn agent(agent: Option<&AgentId>) -> &str {
    agent.map_or(UNKNOWN_AGENT, AgentId::as_str)
}

/// Tokens; `null` where there are none.
pub(in crate::traces) fn tokens(usage: Option<&TokenUsage>) -> Value {
    usage.map_or(Value::Null, |usage| {
        json!({
            "input": usage.input,
            "output": usage.output,
            "total": usage.total(),
            "cache_read": usage.cache_read,
            "cache_creation": usage.cache_creation,
            "reasoning": usage.reasoning,
        })
    })
}

/// The analysis as JSON; the keys of every object stand in alphabetical order.
pub fn to_json(analysis: &Analysis) -> Value {
    let Analysis { segments, .. } = analysis;
    let oddities = &analysis.oddities;
    let root_ns = segments.iter().map(|segment| segment.duration_ns).sum();
    let agents = analysis.agents.iter();
    let agents: Map<String, Value> = agents
        .map(|(id, part)| (id.to_string(), participation(part, root_ns)))
        .collect();
    let missing = analysis.missing_parents.iter();
    let missing = missing.map(|m| json!({"span_id": m.span_id, "children": m.children}));
    let skew = analysis.skew.iter();
    let skew =
        skew.map(|s| json!({"span_id": s.span_id, "host": s.host, "shift_ms": ms(s.shift_ns)}));
    let earlier = analysis.earlier.iter().map(|(wait, segments)| {
        json!({
            "queue_wait_ms": ms(*wait),
            "segments": segments.iter().map(segment).collect::<Value>(),
        })
    });
    json!({
        "trace_id": analysis.shown_id(),
        "total_spans": analysis.total_spans,
        "completed_spans": analysis.completed_spans,
        "failed_spans": analysis.failed_spans,
        "other_spans": analysis.other_spans,
        "unfinished_spans": analysis.unfinished_spans,
        "start_unix_ns": analysis.start_ns.to_string(),
        "total_duration_ms": ms(analysis.total_ns),
        "average_span_duration_ms": analysis.average_ns / 1e6,
        "span_duration_ms": durations(&analysis.durations),
        "agent_participation": agents,
        "critical_path": analysis.critical_path,
        "critical_path_segments": segments.iter().map(segment).collect::<Value>(),
        "critical_path_earlier": earlier.collect::<Value>(),
        "critical_path_note": "inferred from the times of the spans",
        "not_awaited": analysis.beside,
        "roots": analysis.roots.iter().map(root).collect::<Value>(),
        "missing_parents": missing.collect::<Value>(),
        "wall_duration_ms": ms(analysis.wall_ns),
        "busy_duration_ms": ms(analysis.busy_ns),
        "concurrency": analysis.concurrency(),
        "tokens": tokens(analysis.usage.as_ref()),
        "cost": analysis.usage.as_ref().and_then(|usage| usage.cost),
        "waits": analysis.waits.iter().map(wait).collect::<Value>(),
        "errors": analysis.errors.iter().map(error).collect::<Value>(),
        "retries": analysis.retries.iter().map(retry).collect::<Value>(),
        "clock_skew": skew.collect::<Value>(),
        "oddities": {
            "duplicates": oddities.duplicates,
            "superseded": oddities.superseded,
            "conflicting_ids": oddities.conflicts,
            "cycles": oddities.cycles,
            "end_before_start": oddities.reversed,
        },
    })
}

impl Analysis {
    /// The trace as a client called it.
    pub fn shown_id(&self) -> String {
        self.trace_name
            .as_ref()
            .map_or_else(|| self.trace_id.to_string(), ToString::to_string)
    }
}

fn durations(of: &Durations) -> Value {
    json!({
        "p50": ms(of.p50_ns),
        "p95": ms(of.p95_ns),
        "p99": ms(of.p99_ns),
        "max": ms(of.max_ns),
    })
}

fn participation(part: &Participation, root_ns: i64) -> Value {
    let operation = |share: &OperationShare| {
        json!({
            "count": share.count,
            "errors": share.errors,
            "total_duration_ms": ms(share.total_ns),
            "self_duration_ms": ms(share.self_ns),
            "critical_path_ms": ms(share.critical_ns),
        })
    };
    let by_operation: Map<String, Value> = part
        .by_operation
        .iter()
        .map(|(name, share)| (name.to_string(), operation(share)))
        .collect();
    json!({
        "span_count": part.span_count,
        "unfinished_spans": part.unfinished_spans,
        "errors": part.errors,
        "total_duration_ms": ms(part.total_ns),
        "self_duration_ms": ms(part.self_ns),
        "wall_duration_ms": ms(part.wall_ns),
        "concurrency": part.concurrency(),
        "critical_path_ms": ms(part.critical_ns),
        "critical_path_share": ratio(part.critical_ns, root_ns),
        "operations": part.operations.iter().map(|name| &**name).collect::<Value>(),
        "by_operation": by_operation,
        "tokens": tokens(part.usage.as_ref()),
        "cost": part.usage.as_ref().and_then(|usage| usage.cost),
    })
}

fn segment(segment: &PathSegment) -> Value {
    json!({
        "span_id": segment.span_id,
        "agent_id": agent(segment.agent.as_ref()),
        "operation": segment.operation,
        "start_ms": ms(segment.start_ns),
        "duration_ms": ms(segment.duration_ns),
        "share": segment.share,
        "is_open": segment.is_open,
        "drag_ms": segment.drag_ns.map(ms),
    })
}

fn root(root: &RootInfo) -> Value {
    json!({
        "span_id": root.span_id,
        "agent_id": agent(root.agent.as_ref()),
        "operation": root.operation,
        "start_ms": ms(root.start_ns),
        "duration_ms": ms(root.duration_ns),
        "is_main": root.is_main,
        "is_received": root.is_received,
        "is_open": root.is_open,
    })
}

fn wait(wait: &AgentWait) -> Value {
    json!({
        "from": wait.from.as_str(),
        "to": wait.to.as_str(),
        "kind": wait.kind.name(),
        "count": wait.count,
        "total_ms": ms(wait.total_ns),
        "longest_ms": ms(wait.longest_ns),
        "longest_span_id": wait.longest_span,
    })
}

fn error(error: &SpanError) -> Value {
    let exceptions = error.exceptions.iter();
    let exceptions = exceptions.map(|e| json!({"type": e.kind, "message": e.message}));
    json!({
        "span_id": error.span_id,
        "agent_id": error.agent.as_str(),
        "operation": &*error.operation,
        "depth": error.depth,
        "message": &*error.message,
        "error_type": error.error_type,
        "exceptions": exceptions.collect::<Value>(),
        "is_origin": error.is_origin,
    })
}

fn retry(retry: &Retry) -> Value {
    json!({
        "agent_id": retry.agent.as_str(),
        "operation": &*retry.operation,
        "parent_span_id": retry.parent.to_string(),
        "attempts": retry.attempts,
        "gaps_ms": retry.gaps_ns.iter().map(|gap| ms(*gap)).collect::<Value>(),
        "has_succeeded": retry.has_succeeded,
        "duration_ms": ms(retry.duration_ns),
    })
}
