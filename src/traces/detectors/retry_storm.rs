//! The same again and again after errors.

use std::{collections::BTreeMap, fmt::Write};

use super::{Detector, Finding, RetrySettings, RunView};
use crate::{
    model::{AgentId, Span, format_duration_ms},
    traces::{NodeNo, analysis::retry_chains},
};

/// Attributes that may tell the status of an HTTP answer.
const STATUS_KEYS: [&str; 3] = [
    "http.response.status_code",
    "http.status_code",
    "error.type",
];

/// Whether a span failed because there were too many requests.
fn is_refused(span: &Span) -> bool {
    let is_told = STATUS_KEYS.iter().any(|key| {
        let value = span.attributes.get(key).map(ToString::to_string);
        value.is_some_and(|value| value == "429" || value.contains("RateLimit"))
    });
    is_told || span.status_message.contains("429")
}

/// Operations tried at least so often in a row, each time after an error; one finding by agent, of its longest row.
pub fn retry_storms(run: &RunView<'_>, settings: &RetrySettings) -> Vec<Finding> {
    let nodes = &run.forest.nodes;
    let chains = retry_chains(&run.forest);
    let mut storms: BTreeMap<&AgentId, Vec<NodeNo>> = BTreeMap::new();
    for (_, tries) in chains {
        let agent = tries.first().and_then(|no| nodes[*no].agent.as_ref());
        let Some(agent) = agent.filter(|_| tries.len() >= settings.attempts as usize) else {
            continue;
        };
        let known = storms.entry(agent).or_default();
        if tries.len() > known.len() {
            *known = tries;
        }
    }
    let span_of = |tries: &[NodeNo]| -> Option<(i64, i64)> {
        Some((
            nodes[*tries.first()?].start_ns,
            nodes[*tries.last()?].end_ns,
        ))
    };
    let finding = |(agent, tries): (&&AgentId, &Vec<NodeNo>)| {
        let (start, end) = span_of(tries)?;
        let operation = nodes[*tries.first()?].operation();
        let at = |pair: &[NodeNo]| nodes[pair[1]].start_ns - nodes[pair[0]].end_ns;
        let gaps: Vec<i64> = tries.windows(2).map(at).collect();
        let (least, most) = (gaps.iter().min()?, gaps.iter().max()?);
        let ms = |ns: i64| format_duration_ms(ns / 1_000_000);
        let failed = tries.iter().filter_map(|no| nodes[*no].span);
        let failed = failed.filter(|span| span.is_failed());
        let (refused, failures) = failed.fold((0, 0), |(refused, all), span| {
            (refused + u32::from(is_refused(span)), all + 1)
        });
        let others = storms.iter().filter(|(other, tries)| {
            let around = span_of(tries);
            *other != agent && around.is_some_and(|(from, to)| from < end && to > start)
        });
        let mut message = format!(
            "{agent} tried {operation} {} times within {}, each time after an error, {} to {} apart",
            tries.len(),
            ms(end - start),
            ms(*least),
            ms(*most)
        );
        if refused > 0 {
            // Writing into a string cannot fail.
            let _ = write!(message, "; {refused} of {failures} errors were 429");
        }
        let others: Vec<&str> = others.take(5).map(|(other, _)| other.as_str()).collect();
        if !others.is_empty() {
            let _ = write!(message, "; at the same time as {}", others.join(", "));
        }
        let values = (tries.len() as f64, f64::from(settings.attempts));
        let last = tries.iter().rev().copied();
        let severity = settings.switch.severity;
        let agent = AgentId::clone(agent);
        Some(run.finding(Detector::RetryStorm, severity, agent, message, values, last))
    };
    storms.iter().filter_map(finding).collect()
}
