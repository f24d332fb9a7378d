//! Time-outs that pass from caller to caller.

use hashbrown::HashSet;

use super::{CascadeSettings, Detector, Finding, RunView};
use crate::{
    model::{SpanKind, format_duration_ms},
    traces::NodeNo,
};

/// A child that ends no later than so after its parent ended with it, nanoseconds.
const SLACK_NS: i64 = 1_000_000;

/// Callers that failed, one above the other, while what the lowest of them waited for was open or ended later. Messages
/// are not waited for. One finding by chain; its evidence begins with what was waited for, then the deepest caller.
pub fn cascading_timeouts(run: &RunView<'_>, settings: &CascadeSettings) -> Vec<Finding> {
    let nodes = &run.forest.nodes;
    let gave_up = |no: NodeNo| nodes[no].is_failed() && !nodes[no].is_open();
    // Callers that gave up while a child of theirs went on, with the child that went on longest.
    let mut broken: Vec<(NodeNo, NodeNo)> = Vec::new();
    for no in &run.forest.order {
        if !gave_up(*no) {
            continue;
        }
        let end = nodes[*no].end_ns;
        let went_on = nodes[*no].children.iter().copied().filter(|child| {
            let node = &nodes[*child];
            let is_message = node
                .span
                .is_none_or(|s| matches!(s.kind, SpanKind::Producer | SpanKind::Consumer));
            !is_message && (node.is_open() || node.end_ns > end.saturating_add(SLACK_NS))
        });
        let longest = went_on.max_by_key(|child| (nodes[*child].is_open(), nodes[*child].end_ns));
        broken.extend(longest.map(|child| (*no, child)));
    }
    // The deepest first: callers above it belong to its chain.
    broken.sort_by_key(|(no, _)| (std::cmp::Reverse(nodes[*no].depth), *no));
    let mut seen: HashSet<NodeNo> = HashSet::new();
    let mut found = Vec::new();
    for (lowest, child) in broken {
        if seen.contains(&lowest) {
            continue;
        }
        let mut chain = vec![lowest];
        let mut at = lowest;
        while let Some(above) = nodes[at].parent.filter(|above| gave_up(*above)) {
            if !seen.insert(above) {
                break;
            }
            chain.push(above);
            at = above;
        }
        seen.insert(lowest);
        let Some(agent) = nodes[lowest].agent.clone() else {
            continue;
        };
        if chain.len() < settings.levels as usize {
            continue;
        }
        let callers: Vec<String> = chain.iter().take(6).map(|no| nodes[*no].label()).collect();
        let late = &nodes[child];
        let how = if late.is_open() {
            "is still open".to_owned()
        } else {
            let ms = (late.end_ns - nodes[lowest].end_ns) / 1_000_000;
            format!("ended {} later", format_duration_ms(ms))
        };
        let message = format!(
            "{} {how}, after {} callers had given up: {}",
            late.label(),
            chain.len(),
            callers.join(", ")
        );
        let values = (chain.len() as f64, f64::from(settings.levels));
        let spans = std::iter::once(child).chain(chain);
        let severity = settings.switch.severity;
        found.push(run.finding(
            Detector::CascadingTimeout,
            severity,
            agent,
            message,
            values,
            spans,
        ));
    }
    // One by agent, of the longest chain: they would be one alert.
    found.sort_by(|a, b| a.agent.cmp(&b.agent).then(b.value.total_cmp(&a.value)));
    found.dedup_by(|later, first| later.agent == first.agent);
    found
}
