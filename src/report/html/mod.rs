//! The report as one self-contained HTML file: styles and charts inline, no script, nothing to load.

mod chart;
mod page;
mod problems;
mod rows;
mod track;

use std::collections::HashMap;

use askama::Template;

use crate::model::{Agent, AgentId, History, ReadError, Window, names};

use self::{
    chart::AgentCharts,
    page::Page,
    track::{Shape, Track, read_tracks},
};
use super::{
    crew::share_out,
    performance::{AgentPerformance, PerformanceReport},
};

/// Agents with charts of their own: enough for a bad night, few enough to be looked at.
const CHARTED_AGENTS_MAX: usize = 12;

/// Renders the page; reads the samples of each agent's cpu and memory once.
pub(super) fn render(
    history: &dyn History,
    report: &PerformanceReport,
) -> Result<String, ReadError> {
    let weights = history.policy(report.window.to).health;
    let registered: HashMap<AgentId, Agent> = history
        .agents(report.window.to)
        .into_iter()
        .map(|agent| (agent.id.clone(), agent))
        .collect();
    let charted = charted_window(report);
    let agents = report.worst_first();
    let (tracks, _) = share_out(&agents, |agent, (): &mut ()| {
        match registered.get(&agent.agent_id) {
            Some(known) => usage_tracks(history, known, charted),
            None => Ok([Track::empty(charted), Track::empty(charted)]),
        }
    })?;
    let mut rows = Vec::new();
    let mut charts = Vec::new();
    for (place, (agent, [cpu, memory])) in agents.into_iter().zip(&tracks).enumerate() {
        rows.push(rows::row(report, agent, place, cpu, memory));
        if charts.len() < CHARTED_AGENTS_MAX && is_measured(agent) {
            charts.push(AgentCharts::new(
                report, charted, agent, place, cpu, memory, &weights,
            ));
        }
    }
    Page::new(report, charted, &weights, rows, charts)
        .render()
        .map_err(|e| ReadError::Backend(format!("the page cannot be written: {e}")))
}

/// The window that charts show: the report's, or its end from the first sample on where less than a
/// quarter of it has data, so that a new installation shows more than a dot at the right edge.
fn charted_window(report: &PerformanceReport) -> Window {
    let Window { from, to } = report.window;
    let first = report.agents.iter().filter_map(|a| a.measured_from).min();
    match first {
        Some(first) if to.since(first) < report.window.length_ms() / 4 => {
            // A little room before the first sample, and never less than a minute.
            let length = to.since(first).max(57_000) / 19 * 20;
            Window::new(from.max(to.plus_millis(-length)), to)
        }
        _ => report.window,
    }
}

const fn is_measured(agent: &AgentPerformance) -> bool {
    agent.cpu_samples > 0 || agent.memory_samples > 0
}

fn usage_tracks(
    history: &dyn History,
    agent: &Agent,
    charted: Window,
) -> Result<[Track; 2], ReadError> {
    let policy = history.policy(charted.to);
    let shape = Shape {
        window: charted,
        interval_ms: agent.registration.interval_ms.unwrap_or(policy.interval_ms),
        gap_ms: policy.stale_after_ms(&agent.registration),
    };
    read_tracks(
        history,
        agent.no,
        [names::SYSTEM_CPU_USAGE, names::SYSTEM_MEMORY_USAGE],
        shape,
    )
}
