//! What one agent measured in a window: figures for the score and, beside them, how cpu and memory
//! spread over values and time, and the traffic of its network.

use crate::model::{
    AgentNo, Asked, Distribution, History, Profile, ReadError, Step, Summary, Survey, Window, names,
};

use super::{
    figures::{AgentFigures, total_metrics},
    traffic::Traffic,
    trend::{Trend, step_ms, trend},
};

/// Metrics that are read: percentages, then counters.
const METRICS: [&str; 4] = [
    names::SYSTEM_CPU_USAGE,
    names::SYSTEM_MEMORY_USAGE,
    names::NETWORK_BYTES_SENT,
    names::NETWORK_BYTES_RECV,
];
/// How many of them are percentages.
const USAGES: usize = 2;
/// Hours from the first sample to the last below which a rise in an hour would be made up.
const TREND_HOURS_MIN: f64 = 1.0 / 6.0;

/// Measurements of one agent in one window, each over all series of its metric.
#[derive(Clone, Debug, Default)]
pub(super) struct Measurements {
    /// What the score is made of.
    pub(super) figures: AgentFigures,
    /// Spread of cpu.
    pub(super) cpu: UsageSpread,
    /// Spread of memory.
    pub(super) memory: UsageSpread,
    /// Bytes sent.
    pub(super) sent: Traffic,
    /// Bytes received.
    pub(super) received: Traffic,
}

/// How percentages spread over values and time.
#[derive(Clone, Debug, Default)]
pub(super) struct UsageSpread {
    /// All of them.
    pub(super) distribution: Distribution,
    /// Where they are heading.
    pub(super) trend: Option<Trend>,
}

/// Reads the measurements, mostly with one question.
pub(super) fn measurements(
    history: &dyn History,
    agent: AgentNo,
    window: Window,
) -> Result<Measurements, ReadError> {
    let series = history.series_within(agent, None, window)?;
    let (metrics, asked): (Vec<usize>, Vec<Asked>) = series
        .iter()
        .filter_map(|s| {
            let metric = METRICS.iter().position(|name| *name == s.key.name())?;
            let spread = metric < USAGES;
            Some((metric, Asked { no: s.no, spread }))
        })
        .unzip();
    let step_ms = step_ms(window);
    let mut usages: [Usage; USAGES] = Default::default();
    let mut traffic = [Traffic::default(); METRICS.len() - USAGES];
    let Survey { extents, profiles } = history.survey(agent, &asked, window, step_ms)?;
    for ((metric, asked), profile) in metrics.into_iter().zip(asked).zip(profiles) {
        if let Some(usage) = usages.get_mut(metric) {
            usage.take(profile);
        } else {
            let counter = &mut traffic[metric - USAGES];
            counter.add(history, agent, asked.no, window, &profile.summary)?;
        }
    }
    let [(cpu, cpu_spread), (memory, memory_spread)] = usages.map(|u| u.split(step_ms));
    let [sent, received] = traffic;
    Ok(Measurements {
        figures: AgentFigures {
            total_metrics: total_metrics(&series, &extents),
            cpu,
            memory,
        },
        cpu: cpu_spread,
        memory: memory_spread,
        sent,
        received,
    })
}

/// Series of one percentage, taken together.
#[derive(Default)]
struct Usage {
    summary: Summary,
    distribution: Distribution,
    steps: Vec<Step>,
}

impl Usage {
    fn take(&mut self, profile: Profile) {
        self.summary.merge(&profile.summary);
        if let Some(spread) = profile.spread {
            self.distribution.merge(&spread.distribution);
            self.steps.extend_from_slice(spread.steps.steps());
        }
    }

    fn split(self, step_ms: i64) -> (Summary, UsageSpread) {
        let ends = self.summary.first.zip(self.summary.last);
        let found =
            ends.and_then(|(first, last)| trend(self.steps, step_ms, first.time, last.time));
        let spread = UsageSpread {
            distribution: self.distribution,
            trend: found.filter(|trend| trend.hours >= TREND_HOURS_MIN),
        };
        (self.summary, spread)
    }
}
