//! What one agent's samples add up to in a window.

use std::collections::HashSet;

use crate::model::{
    AgentNo, Asked, History, ReadError, SeriesExtent, SeriesInfo, SeriesNo, Summary, Survey,
    Window, is_derived_metric, names,
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
    let wanted = [names::SYSTEM_CPU_USAGE, names::SYSTEM_MEMORY_USAGE];
    let (kinds, asked): (Vec<usize>, Vec<Asked>) = series
        .iter()
        .filter_map(|s| {
            let kind = wanted.iter().position(|w| *w == s.key.name())?;
            let (no, spread) = (s.no, false);
            Some((kind, Asked { no, spread }))
        })
        .unzip();
    // Without spreads, no step matters.
    let Survey { extents, profiles } = history.survey(agent, &asked, window, 1)?;
    let mut merged = [Summary::default(), Summary::default()];
    for (kind, profile) in kinds.into_iter().zip(profiles) {
        merged[kind].merge(&profile.summary);
    }
    let [cpu, memory] = merged;
    Ok(AgentFigures {
        total_metrics: total_metrics(&series, &extents),
        cpu,
        memory,
    })
}

/// Samples of collected metrics; `series` are all of the agent's.
pub(super) fn total_metrics(series: &[SeriesInfo], extents: &[SeriesExtent]) -> u64 {
    let derived: HashSet<SeriesNo> = series
        .iter()
        .filter(|s| is_derived_metric(s.key.name()))
        .map(|s| s.no)
        .collect();
    extents
        .iter()
        .filter(|extent| !derived.contains(&extent.no))
        .map(|extent| extent.samples)
        .sum()
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
