//! What readers may ask of durable history. Reports, scores and decisions are functions of this
//! trait, so that a server, a copied file and a test answer from the same code.
//!
//! A [`History`] is one consistent, immutable moment of the file: two questions to the same value see
//! the same commits. Methods are batch-first (one agent, many series) and free of the engine's types.

use super::{
    Agent, AgentId, AgentNo, Alert, AlertBook, AlertEvent, Bucket, BucketFold, Distribution,
    Evidence, ExactSum, Increase, MetricKind, MetricMetadata, Policy, Sample, SeriesKey, SeriesNo,
    Steps, Timestamp, TraceHistory, Window, greater, is_stale_marker, lesser, quick_sum::QuickSum,
};

/// Why a question could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Bytes that fail their checksum or cannot be decoded: what and where.
    #[error("damaged data: {0}")]
    Damaged(String),
    /// Written by a newer longwatch: what and where.
    #[error("written by a newer longwatch: {0}")]
    Newer(String),
    /// The engine or the disk refused.
    #[error("the database cannot be read: {0}")]
    Backend(String),
}

/// A part of an agent's history that answers lack, since it cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// First moment that it covers.
    pub first: Timestamp,
    /// Last moment that it covers, or may cover where that cannot be told.
    pub last: Timestamp,
    /// What it is, and why it cannot be read.
    pub reason: String,
}

/// A series and its metadata.
#[derive(Clone, Debug)]
pub struct SeriesInfo {
    /// Its number.
    pub no: SeriesNo,
    /// Whose it is.
    pub agent: AgentNo,
    /// Name and labels.
    pub key: SeriesKey,
    /// Kind of its metric.
    pub kind: MetricKind,
}

/// How much a series has in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesExtent {
    /// Which series.
    pub no: SeriesNo,
    /// First sample in the window.
    pub first: Timestamp,
    /// Last sample in the window.
    pub last: Timestamp,
    /// Samples in the window, stale markers not counted.
    pub samples: u64,
}

/// Statistics of one series over one window. Stale markers are no samples; NaN values count in
/// `samples` and `nans` and nowhere else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Samples.
    pub samples: u64,
    /// Samples whose value is a NaN.
    pub nans: u64,
    /// Exact sum of the values that are no NaN.
    pub sum: ExactSum,
    /// Smallest value that is no NaN.
    pub min: Option<f64>,
    /// Largest value that is no NaN.
    pub max: Option<f64>,
    /// Sample that is first in time.
    pub first: Option<Sample>,
    /// Sample that is last in time.
    pub last: Option<Sample>,
    /// Increase over the values that are no NaN, as those of a counter.
    pub increase: Increase,
}

impl Summary {
    /// Values that are numbers.
    pub const fn numbers(&self) -> u64 {
        self.samples - self.nans
    }

    /// Mean of the numbers, from the exact sum.
    pub fn mean(&self) -> Option<f64> {
        (self.numbers() > 0).then(|| self.sum.mean(self.numbers()))
    }

    /// What the counter rose by from its first number to its last; `None` below two of them.
    pub fn increased_by(&self) -> Option<f64> {
        (self.numbers() > 1)
            .then(|| self.increase.total())
            .flatten()
    }

    /// Adds samples that lie after everything added so far: milliseconds, and as many values. Stale markers are no
    /// samples.
    pub fn extend(&mut self, times: &[i64], values: &[f64]) {
        let all_numbers = values.iter().fold(true, |all, value| all & !value.is_nan());
        if !all_numbers {
            let each = times.iter().zip(values);
            each.for_each(|(time, value)| self.push(*time, *value));
            return;
        }
        let ([first_ms, ..], [first, ..]) = (times, values) else {
            return;
        };
        let sample = |time_ms: i64, value: f64| Sample {
            time: Timestamp::from_millis(time_ms),
            value,
        };
        self.samples += values.len() as u64;
        self.first.get_or_insert(sample(*first_ms, *first));
        self.last = times.last().zip(values.last()).map(|(t, v)| sample(*t, *v));
        let mut sum = QuickSum::default();
        sum.extend(values);
        sum.add_to(&mut self.sum);
        self.increase.extend(values);
        let (mut min, mut max) = (*first, *first);
        for value in values {
            min = lesser(min, *value);
            max = greater(max, *value);
        }
        self.min = Some(self.min.map_or(min, |known| lesser(known, min)));
        self.max = Some(self.max.map_or(max, |known| greater(known, max)));
    }

    fn push(&mut self, time_ms: i64, value: f64) {
        if is_stale_marker(value) {
            return;
        }
        let sample = Sample {
            time: Timestamp::from_millis(time_ms),
            value,
        };
        self.samples += 1;
        self.first.get_or_insert(sample);
        self.last = Some(sample);
        if value.is_nan() {
            self.nans += 1;
            return;
        }
        self.sum.add(value);
        self.increase.push(value);
        self.min = Some(self.min.map_or(value, |min| lesser(min, value)));
        self.max = Some(self.max.map_or(value, |max| greater(max, value)));
    }

    /// Takes another series' statistics in, as for an average over several series. Values of different
    /// series are no course of one counter, so that the increase is empty from then on: what several
    /// counters rose by is the sum of [`Self::increased_by`] of each.
    pub fn merge(&mut self, other: &Self) {
        self.increase = Increase::default();
        self.samples += other.samples;
        self.nans += other.nans;
        self.sum.merge(&other.sum);
        self.min = [self.min, other.min].into_iter().flatten().reduce(lesser);
        self.max = [self.max, other.max].into_iter().flatten().reduce(greater);
        let earlier = |a: Sample, b: Sample| if b.time < a.time { b } else { a };
        let later = |a: Sample, b: Sample| if b.time > a.time { b } else { a };
        self.first = [self.first, other.first]
            .into_iter()
            .flatten()
            .reduce(earlier);
        self.last = [self.last, other.last].into_iter().flatten().reduce(later);
    }
}

/// What [`History::survey`] is asked about one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Which series.
    pub no: SeriesNo,
    /// Whether its spread is wanted too, which takes every sample of it.
    pub spread: bool,
}

/// How the numbers of one series spread over values and over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// All of them, whenever they were.
    pub distribution: Distribution,
    /// Their sums by steps of time.
    pub steps: Steps,
}

impl Spread {
    /// The spread of no samples, with steps of so many milliseconds.
    pub fn new(step_ms: i64) -> Self {
        Self {
            distribution: Distribution::default(),
            steps: Steps::new(step_ms),
        }
    }

    /// Adds samples that lie after everything added so far. Stale markers are no samples.
    pub fn extend(&mut self, times: &[i64], values: &[f64]) {
        self.distribution.extend(values);
        self.steps.extend(times, values);
    }
}

/// What a series is like in a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Its statistics.
    pub summary: Summary,
    /// Its spread, where that was asked for.
    pub spread: Option<Spread>,
}

/// What there is of an agent in a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// How much of each series; series without samples are left out. Sorted by number.
    pub extents: Vec<SeriesExtent>,
    /// What the series are like that were asked about, in the order asked.
    pub profiles: Vec<Profile>,
}

/// A time in which a server kept this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// When it started.
    pub start: Timestamp,
    /// When it ended, or the last moment it is known to have lived.
    pub end: Timestamp,
}

/// Milliseconds between two moments in which no server ran: between the end of a run and the start of the next.
/// Nothing is known of the time before the first run.
pub fn downtime_ms(runs: &[Run], from: Timestamp, to: Timestamp) -> i64 {
    let recent = runs
        .windows(2)
        .rev()
        .take_while(|pair| pair[1].start > from);
    recent
        .map(|pair| pair[1].start.min(to).since(pair[0].end.max(from)).max(0))
        .sum()
}

/// Takes one series with its times (milliseconds since the epoch) and as many values.
pub type Visit<'a> = dyn FnMut(SeriesNo, &[i64], &[f64]) + 'a;

/// Takes one series with its buckets, ascending.
pub type BucketVisit<'a> = dyn FnMut(SeriesNo, Vec<Bucket>) + 'a;

/// One consistent moment of durable history.
pub trait History: TraceHistory {
    /// Time of the last commit; `None` in a file that holds none.
    fn last_commit(&self) -> Option<Timestamp>;

    /// Runs of the server, oldest first.
    fn runs(&self) -> Vec<Run>;

    /// Settings that held at the moment.
    fn policy(&self, at: Timestamp) -> Policy;

    /// Agents registered at the moment, sorted by id.
    fn agents(&self, at: Timestamp) -> Vec<Agent>;

    /// An agent by id as of the moment, deregistered ones included.
    fn agent(&self, id: &AgentId, at: Timestamp) -> Option<Agent>;

    /// Every agent of the file, deregistered ones too, by number.
    fn known_agents(&self) -> Vec<AgentNo> {
        let mut known: Vec<AgentNo> = self.agents(Timestamp::MAX).iter().map(|a| a.no).collect();
        known.sort_unstable();
        known
    }

    /// Id of a number.
    fn agent_id(&self, no: AgentNo) -> Option<AgentId>;

    /// What is known of an agent's metrics beside their samples, by name.
    fn metadata(&self, _agent: AgentNo) -> Vec<MetricMetadata> {
        Vec::new()
    }

    /// Series of one agent that have samples, all or those of one metric, sorted by key. Some may have none yet or no
    /// more.
    fn series(&self, agent: AgentNo, metric: Option<&str>) -> Vec<SeriesInfo>;

    /// The same with those of which sums alone are left, if the window reaches back to them.
    fn series_within(
        &self,
        agent: AgentNo,
        metric: Option<&str>,
        window: Window,
    ) -> Result<Vec<SeriesInfo>, ReadError>;

    /// How much each series of the agent has in the window; series without samples there are left out.
    /// Sorted by number.
    fn extents(&self, agent: AgentNo, window: Window) -> Result<Vec<SeriesExtent>, ReadError>;

    /// Hands each asked series that has samples in the window to `visit`, once, with its times (strictly
    /// increasing, milliseconds) and values of equal length. Stale markers are handed over too.
    fn scan(
        &self,
        agent: AgentNo,
        series: &[SeriesNo],
        window: Window,
        visit: &mut Visit<'_>,
    ) -> Result<(), ReadError>;

    /// Statistics of each asked series over the window, in the order asked.
    fn summarise(
        &self,
        agent: AgentNo,
        series: &[SeriesNo],
        window: Window,
    ) -> Result<Vec<Summary>, ReadError>;

    /// Hands each asked series that has samples in the window to `visit`, once, in buckets of `step_ms`, which is
    /// above 0. Samples outside of the window are in no bucket. Rates are worked out `with_rate` only.
    fn buckets(
        &self,
        agent: AgentNo,
        series: &[SeriesNo],
        window: Window,
        step_ms: i64,
        with_rate: bool,
        visit: &mut BucketVisit<'_>,
    ) -> Result<(), ReadError> {
        // From samples, rates cost nothing.
        let _ = with_rate;
        self.scan(agent, series, window, &mut |no, times, values| {
            let mut fold = BucketFold::new(no, step_ms);
            fold.extend(times, values);
            let buckets = fold.finish();
            if !buckets.is_empty() {
                visit(no, buckets);
            }
        })
    }

    /// How much each series of the agent has in the window, as [`Self::extents`] tells it; statistics of each asked
    /// series and, where wanted, its spread with steps of `step_ms`, in the order asked. Each series may be asked for
    /// once.
    fn survey(
        &self,
        agent: AgentNo,
        asked: &[Asked],
        window: Window,
        step_ms: i64,
    ) -> Result<Survey, ReadError> {
        let all: Vec<SeriesNo> = asked.iter().map(|a| a.no).collect();
        let mut profiles: Vec<Profile> = self
            .summarise(agent, &all, window)?
            .into_iter()
            .zip(asked)
            .map(|(summary, asked)| Profile {
                summary,
                spread: asked.spread.then(|| Spread::new(step_ms)),
            })
            .collect();
        let spread: Vec<SeriesNo> = asked.iter().filter(|a| a.spread).map(|a| a.no).collect();
        if !spread.is_empty() {
            self.scan(agent, &spread, window, &mut |no, times, values| {
                let at = asked.iter().position(|a| a.no == no);
                if let Some(spread) = at.and_then(|at| profiles[at].spread.as_mut()) {
                    spread.extend(times, values);
                }
            })?;
        }
        Ok(Survey {
            extents: self.extents(agent, window)?,
            profiles,
        })
    }

    /// The last sample at or before the moment, stale markers skipped; with `wanted`, the last whose value equals it.
    fn last_sample(
        &self,
        agent: AgentNo,
        series: SeriesNo,
        at: Timestamp,
        wanted: Option<f64>,
    ) -> Result<Option<Sample>, ReadError>;

    /// What this value's answers about the agent so far had to leave out of the window, oldest first. It is
    /// asked after the questions whose answers it is about. What a damaged block still tells for certain
    /// (the counts and sums of its directory) is used, and not told here.
    fn unreadable(&self, _agent: AgentNo, _window: Window) -> Vec<Unreadable> {
        Vec::new()
    }

    /// Alerts whose time of firing overlaps the window, oldest first, as they stood at `window.to`: one
    /// that resolved later is still open in the answer.
    fn alerts(&self, window: Window) -> Result<Vec<Alert>, ReadError> {
        let mut alerts = self.episodes(window)?;
        alerts.retain(|alert| alert.fired_at.is_some());
        Ok(alerts)
    }

    /// [`History::alerts`] together with those that were pending only.
    fn episodes(&self, window: Window) -> Result<Vec<Alert>, ReadError>;

    /// History of one occurrence, oldest first.
    fn alert_events(&self, alert: &Alert) -> Result<Vec<AlertEvent>, ReadError>;

    /// What an alert rested on at its changes of state, oldest first.
    fn evidence(&self, _alert: &Alert) -> Result<Vec<Evidence>, ReadError> {
        Ok(Vec::new())
    }

    /// Rules, open alerts, silences and what is to be told, as they are now.
    fn book(&self) -> AlertBook {
        AlertBook::default()
    }

    /// The newest sample of a series in the window, or the stale marker if that is newer.
    fn newest(
        &self,
        agent: AgentNo,
        series: SeriesNo,
        window: Window,
    ) -> Result<Option<Sample>, ReadError> {
        let mut newest = None;
        self.scan(agent, &[series], window, &mut |_, times, values| {
            newest = times.last().zip(values.last()).map(|(time, value)| Sample {
                time: Timestamp::from_millis(*time),
                value: *value,
            });
        })?;
        Ok(newest)
    }

    /// Changes whenever series of the agent come or go.
    fn series_mark(&self, agent: AgentNo) -> u64 {
        self.series(agent, None).len() as u64
    }
}
