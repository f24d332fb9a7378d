//! What one agent's samples add up to in a window: one read of extents, one of summaries.

use std::collections::HashSet;

use crate::model::{
    AgentNo, History, ReadError, SeriesInfo, SeriesNo, Summary, Window, is_derived_metric, names,
};

/// Figures of one agent in one window.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct AgentFigures {
    /// Samples of collected metrics, without the series that longwatch derives.
    pub(super) total_metrics: u64,
    /// Percent of cpu, over all series of that name.
    pub(super) cpu: Summary,
    /// Percent of memory, over all series of that name.
    pub(super) memory: Summary,
}

/// How much an agent collected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Collected {
    /// Samples.
    pub(super) samples: u64,
    /// Distinct metric names among them.
    pub(super) metrics: u64,
}

/// Reads the figures.
pub(super) fn agent_figures(
    history: &dyn History,
    agent: AgentNo,
    window: Window,
) -> Result<AgentFigures, ReadError> {
    let series = history.series_within(agent, None, window)?;
    let total_metrics = total_metrics(history, agent, &series, window)?;
    let wanted = [names::SYSTEM_CPU_USAGE, names::SYSTEM_MEMORY_USAGE];
    let (kinds, asked): (Vec<usize>, Vec<SeriesNo>) = series
        .iter()
        .filter_map(|s| Some((wanted.iter().position(|w| *w == s.key.name())?, s.no)))
        .unzip();
    let mut merged = [Summary::default(), Summary::default()];
    if !asked.is_empty() {
        for (kind, summary) in kinds
            .into_iter()
            .zip(history.summarise(agent, &asked, window)?)
        {
            merged[kind].merge(&summary);
        }
    }
    let [cpu, memory] = merged;
    Ok(AgentFigures {
        total_metrics,
        cpu,
        memory,
    })
}

/// Samples of collected metrics in the window; `series` are all of the agent's.
pub(super) fn total_metrics(
    history: &dyn History,
    agent: AgentNo,
    series: &[SeriesInfo],
    window: Window,
) -> Result<u64, ReadError> {
    let derived: HashSet<SeriesNo> = series
        .iter()
        .filter(|s| is_derived_metric(s.key.name()))
        .map(|s| s.no)
        .collect();
    Ok(history
        .extents(agent, window)?
        .iter()
        .filter(|extent| !derived.contains(&extent.no))
        .map(|extent| extent.samples)
        .sum())
}

/// Counts what was collected from the agent, without derived series.
pub(super) fn collected(
    history: &dyn History,
    agent: AgentNo,
    window: Window,
) -> Result<Collected, ReadError> {
    let series = history.series_within(agent, None, window)?;
    let extents = history.extents(agent, window)?;
    let samples_of = |no: SeriesNo| {
        extents
            .binary_search_by_key(&no, |extent| extent.no)
            .map_or(0, |at| extents[at].samples)
    };
    let mut names = HashSet::new();
    let mut samples = 0;
    for info in &series {
        let own = samples_of(info.no);
        if own > 0 && !is_derived_metric(info.key.name()) {
            samples += own;
            names.insert(info.key.name());
        }
    }
    Ok(Collected {
        samples,
        metrics: names.len() as u64,
    })
}
