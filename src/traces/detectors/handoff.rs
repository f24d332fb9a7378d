//! Hand-offs that nobody takes.

use std::collections::BTreeMap;

use hashbrown::HashSet;

use super::{Detector, Finding, HandoffSettings, RunView};
use crate::{
    model::{AgentId, Span, format_duration_ms, genai},
    traces::{EdgeKind, NodeNo, graph::transfer_told},
};

/// Whether a call of a tool tells its arguments and they are nothing.
fn has_empty_arguments(span: &Span) -> bool {
    genai::tool_arguments(span)
        .is_some_and(|text| matches!(text.trim(), "" | "{}" | "[]" | "null" | "\"\""))
}

/// Hand-offs to the agent itself, with empty arguments, or whose target does not begin in time; one finding by agent
/// that hands over.
pub fn failed_handoffs(run: &RunView<'_>, settings: &HandoffSettings) -> Vec<Finding> {
    let nodes = &run.forest.nodes;
    let within = settings.within_ms.saturating_mul(1_000_000);
    let mut failed: BTreeMap<AgentId, Vec<(NodeNo, String)>> = BTreeMap::new();
    let mut judged: HashSet<NodeNo> = HashSet::new();
    for (no, node, span) in run.forest.received() {
        let told = node.agent.as_ref().and_then(|own| transfer_told(own, span));
        let Some((source, target)) = told.filter(|_| !span.is_open()) else {
            continue;
        };
        let why = if source == target {
            Some(format!("{source} hands over to itself"))
        } else if settings.empty_arguments && has_empty_arguments(span) {
            Some(format!(
                "{source} hands over to {target} with empty arguments"
            ))
        } else {
            None
        };
        if let Some(why) = why {
            judged.insert(no);
            failed.entry(source).or_default().push((no, why));
        }
    }
    for edge in run
        .edges
        .iter()
        .filter(|edge| edge.kind == EdgeKind::Transfer)
    {
        let (no, node) = (edge.evidence, &nodes[edge.evidence]);
        let (source, target) = (&edge.source, &edge.target);
        if node.is_open() || judged.contains(&no) {
            continue;
        }
        let limit = format_duration_ms(settings.within_ms);
        let why = match (edge.work, edge.wait_ns) {
            (None, _) if run.now_ns.saturating_sub(node.end_ns) > within => {
                format!("{source} hands over to {target}, which does not begin within {limit}")
            }
            (Some(_), Some(wait)) if wait > within => {
                let wait = format_duration_ms(wait / 1_000_000);
                format!("{source} hands over to {target}, which begins {wait} later")
            }
            _ => continue,
        };
        failed.entry(source.clone()).or_default().push((no, why));
    }
    let finding = |(agent, mut all): (AgentId, Vec<(NodeNo, String)>)| {
        all.sort_by_key(|(no, _)| (nodes[*no].start_ns, *no));
        let first = all.first().map_or("", |(_, why)| why);
        let message = match all.len() {
            1 => first.to_owned(),
            count => format!("{first}; {count} hand-offs failed in this run"),
        };
        let values = (all.len() as f64, 1.0);
        let spans = all.iter().map(|(no, _)| *no);
        let severity = settings.switch.severity;
        run.finding(
            Detector::FailedHandoff,
            severity,
            agent,
            message,
            values,
            spans,
        )
    };
    failed.into_iter().map(finding).collect()
}
