//! The same step again and again.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Detector, Finding, RepeatedSettings, RunView};
use crate::{
    model::{AgentId, genai},
    traces::NodeNo,
};

/// Characters of arguments that a message shows.
const SHOWN_MAX: usize = 120;

/// Arguments in one form, whatever the order of keys and the white space: JSON with sorted keys, other text trimmed.
fn canonical(arguments: &str) -> String {
    // JSON nested more deeply than the parser goes stays text.
    serde_json::from_str::<Value>(arguments)
        .map_or_else(|_| arguments.trim().to_owned(), |value| value.to_string())
}

/// Calls of one tool with the same arguments by one agent, too often within a run. Calls whose arguments are not told
/// are left out; one that two libraries tell, one span within the other, counts once.
pub fn repeated_steps(run: &RunView<'_>, settings: &RepeatedSettings) -> Vec<Finding> {
    type Step<'a> = (&'a AgentId, &'a str, String);
    let nodes = &run.forest.nodes;
    let mut steps: BTreeMap<Step<'_>, Vec<NodeNo>> = BTreeMap::new();
    let step_of = |no: NodeNo| -> Option<Step<'_>> {
        let node = &nodes[no];
        let span = node.span?;
        let arguments = genai::tool_arguments(span)?;
        Some((
            node.agent.as_ref()?,
            genai::tool_of(span)?,
            canonical(&arguments),
        ))
    };
    for no in &run.forest.order {
        let Some(step) = step_of(*no) else { continue };
        let is_told_above = nodes[*no]
            .parent
            .and_then(step_of)
            .is_some_and(|above| above == step);
        if !is_told_above {
            steps.entry(step).or_default().push(*no);
        }
    }
    // Of one agent the step that was repeated most: there is one alert by agent and run.
    let mut worst: BTreeMap<&AgentId, (&Step<'_>, &Vec<NodeNo>)> = BTreeMap::new();
    for (step, calls) in steps
        .iter()
        .filter(|(_, calls)| calls.len() >= settings.times as usize)
    {
        let known = worst.entry(step.0).or_insert((step, calls));
        if calls.len() > known.1.len() {
            *known = (step, calls);
        }
    }
    let finding =
        |(agent, ((_, tool, arguments), calls)): (&AgentId, (&Step<'_>, &Vec<NodeNo>))| {
            let mut shown: String = arguments.chars().take(SHOWN_MAX).collect();
            if shown.len() < arguments.len() {
                shown.push_str("...");
            }
            let message = format!(
                "{agent} called {tool} {} times with the same arguments: {shown}",
                calls.len()
            );
            let values = (calls.len() as f64, f64::from(settings.times));
            let last = calls.iter().rev().copied();
            let severity = settings.switch.severity;
            run.finding(
                Detector::RepeatedStep,
                severity,
                agent.clone(),
                message,
                values,
                last,
            )
        };
    worst.into_iter().map(finding).collect()
}
