//! What conditions read of one series: from durable history (live), or from samples in memory (backtest). Both
//! give the same answers.

use std::{cell::RefCell, collections::HashMap};

use super::baseline::{Baseline, BaselineRequest};
use crate::model::{
    AgentNo, History, ReadError, Sample, SeriesNo, Summary, Timestamp, Window, is_stale_marker,
};

/// One series as conditions see it.
pub(super) trait Readings {
    /// The newest sample of the window, or the stale marker if that is newer.
    fn newest(&self, window: Window) -> Result<Option<Sample>, ReadError>;

    /// Hands over the samples of the window without stale markers, oldest first.
    fn samples(&self, window: Window) -> Result<Vec<Sample>, ReadError>;

    /// Statistics of the window.
    fn summary(&self, window: Window) -> Result<Summary, ReadError>;

    /// Time of the last sample in the window, stale markers skipped.
    fn last_seen(&self, window: Window) -> Result<Option<Timestamp>, ReadError>;

    /// What the series' own past looks like.
    fn baseline(&self, request: BaselineRequest) -> Result<Option<Baseline>, ReadError>;
}

/// Baselines by what they are of; they hold for an hour.
#[derive(Debug, Default)]
pub(super) struct BaselineCache(HashMap<(AgentNo, SeriesNo, BaselineRequest), Option<Baseline>>);

impl BaselineCache {
    /// Forgets those of hours before `at`.
    pub(super) fn forget_before(&mut self, at: Timestamp) {
        let hour = super::baseline::hour_of(at);
        self.0.retain(|(_, _, request), _| request.end >= hour);
    }
}

/// Readings of one agent's series at one moment, straight from history. What several rules ask for is read once.
pub(super) struct LiveAgent<'a> {
    pub(super) history: &'a dyn History,
    pub(super) agent: AgentNo,
    pub(super) baselines: &'a RefCell<BaselineCache>,
    newest: RefCell<HashMap<(SeriesNo, Window), Option<Sample>>>,
    summaries: RefCell<HashMap<(SeriesNo, Window), Summary>>,
}

impl<'a> LiveAgent<'a> {
    pub(super) fn new(
        history: &'a dyn History,
        agent: AgentNo,
        baselines: &'a RefCell<BaselineCache>,
    ) -> Self {
        Self {
            history,
            agent,
            baselines,
            newest: RefCell::default(),
            summaries: RefCell::default(),
        }
    }

    /// Readings of one of its series.
    pub(super) const fn series(&'a self, series: SeriesNo) -> LiveSeries<'a> {
        LiveSeries {
            agent: self,
            series,
        }
    }
}

/// One of them.
pub(super) struct LiveSeries<'a> {
    agent: &'a LiveAgent<'a>,
    series: SeriesNo,
}

impl Readings for LiveSeries<'_> {
    fn newest(&self, window: Window) -> Result<Option<Sample>, ReadError> {
        let key = (self.series, window);
        if let Some(known) = self.agent.newest.borrow().get(&key) {
            return Ok(*known);
        }
        let newest = self
            .agent
            .history
            .newest(self.agent.agent, self.series, window)?;
        self.agent.newest.borrow_mut().insert(key, newest);
        Ok(newest)
    }

    fn samples(&self, window: Window) -> Result<Vec<Sample>, ReadError> {
        let mut found = Vec::new();
        let LiveAgent { history, agent, .. } = self.agent;
        history.scan(*agent, &[self.series], window, &mut |_, times, values| {
            found.extend(without_markers(times, values));
        })?;
        Ok(found)
    }

    fn summary(&self, window: Window) -> Result<Summary, ReadError> {
        let key = (self.series, window);
        if let Some(known) = self.agent.summaries.borrow().get(&key) {
            return Ok(known.clone());
        }
        let LiveAgent { history, agent, .. } = self.agent;
        let summary = history.summarise(*agent, &[self.series], window)?.pop();
        let summary = summary.unwrap_or_default();
        self.agent
            .summaries
            .borrow_mut()
            .insert(key, summary.clone());
        Ok(summary)
    }

    fn last_seen(&self, window: Window) -> Result<Option<Timestamp>, ReadError> {
        let LiveAgent { history, agent, .. } = self.agent;
        let last = history.last_sample(*agent, self.series, window.to, None)?;
        Ok(last.map(|s| s.time).filter(|time| window.contains(*time)))
    }

    fn baseline(&self, request: BaselineRequest) -> Result<Option<Baseline>, ReadError> {
        let key = (self.agent.agent, self.series, request);
        if let Some(known) = self.agent.baselines.borrow().0.get(&key) {
            return Ok(*known);
        }
        let mut values = Vec::new();
        for window in request.windows() {
            values.extend(self.samples(window)?.iter().map(|s| s.value));
        }
        let baseline = Baseline::of(values);
        self.agent.baselines.borrow_mut().0.insert(key, baseline);
        Ok(baseline)
    }
}

/// Samples of a series in memory, stale markers included; strictly increasing times.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    times: Vec<i64>,
    values: Vec<f64>,
    baselines: RefCell<HashMap<BaselineRequest, Option<Baseline>>>,
}

impl Recorded {
    /// Reads what series have in a window; of several, when any of them had something, not what.
    pub(super) fn read(
        history: &dyn History,
        agent: AgentNo,
        series: &[SeriesNo],
        window: Window,
    ) -> Result<Self, ReadError> {
        let mut recorded = Self::default();
        let is_one = series.len() < 2;
        history.scan(agent, series, window, &mut |_, times, values| {
            if is_one {
                recorded.times.extend_from_slice(times);
                recorded.values.extend_from_slice(values);
            } else {
                recorded
                    .times
                    .extend(without_markers(times, values).map(|s| s.time.as_millis()));
            }
        })?;
        if !is_one {
            recorded.times.sort_unstable();
            recorded.times.dedup();
            recorded.values = vec![0.0; recorded.times.len()];
        }
        Ok(recorded)
    }

    /// Times of samples and markers.
    pub(super) fn times(&self) -> &[i64] {
        &self.times
    }

    fn within(&self, window: Window) -> (&[i64], &[f64]) {
        let from = self
            .times
            .partition_point(|t| *t <= window.from.as_millis());
        let to = self.times.partition_point(|t| *t <= window.to.as_millis());
        let range = from..to.max(from);
        (&self.times[range.clone()], &self.values[range])
    }
}

impl Readings for Recorded {
    fn newest(&self, window: Window) -> Result<Option<Sample>, ReadError> {
        let (times, values) = self.within(window);
        let newest = times.last().zip(values.last());
        Ok(newest.map(|(time, value)| Sample {
            time: Timestamp::from_millis(*time),
            value: *value,
        }))
    }

    fn samples(&self, window: Window) -> Result<Vec<Sample>, ReadError> {
        let (times, values) = self.within(window);
        Ok(without_markers(times, values).collect())
    }

    fn summary(&self, window: Window) -> Result<Summary, ReadError> {
        let (times, values) = self.within(window);
        let mut summary = Summary::default();
        summary.extend(times, values);
        Ok(summary)
    }

    fn last_seen(&self, window: Window) -> Result<Option<Timestamp>, ReadError> {
        let (times, values) = self.within(window);
        let samples = times.iter().zip(values).rev();
        let mut real = samples.filter(|(_, value)| !is_stale_marker(**value));
        Ok(real.next().map(|(time, _)| Timestamp::from_millis(*time)))
    }

    fn baseline(&self, request: BaselineRequest) -> Result<Option<Baseline>, ReadError> {
        if let Some(known) = self.baselines.borrow().get(&request) {
            return Ok(*known);
        }
        let values = request.windows().flat_map(|window| {
            let (times, values) = self.within(window);
            without_markers(times, values).map(|s| s.value)
        });
        let baseline = Baseline::of(values.collect());
        self.baselines.borrow_mut().insert(request, baseline);
        Ok(baseline)
    }
}

fn without_markers<'s>(
    times: &'s [i64],
    values: &'s [f64],
) -> impl Iterator<Item = Sample> + use<'s> {
    let samples = times.iter().zip(values).map(|(time, value)| Sample {
        time: Timestamp::from_millis(*time),
        value: *value,
    });
    samples.filter(|sample| !is_stale_marker(sample.value))
}
