//! What rules would have done on stored history: the conditions and the state machine of the live evaluation on a
//! simulated clock. Nothing is written.
//!
//! A series is evaluated whenever something may change: at each of its samples, when a sample leaves the window or
//! becomes too old to count, and when a duration that runs is over. The live evaluation sees the same changes, up to
//! one evaluation interval later.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    baseline::BaselineRequest,
    condition::{Case, Judgement, data_age_ms, judge},
    expression::{Replayed, replay},
    names,
    readings::Recorded,
    telling::notifications,
};
use crate::{
    alerts::{self, Finding, Life, Routing, Surroundings, Terms},
    model::{
        Agent, AlertEventKind, Condition, History, LabelPairs, MetricKind, ReadError, Rule, Run,
        SeriesInfo, Silence, Timestamp, Window, downtime_ms, is_derived_metric,
    },
};

/// One episode of an alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// The agent concerned.
    pub agent_id: String,
    /// Labels of the alert.
    pub labels: LabelPairs,
    /// When its condition began to hold.
    pub pending_at: Timestamp,
    /// When it fired; `None` if the condition ended before.
    pub firing_at: Option<Timestamp>,
    /// When it was over; `None` if it was not at the window's end.
    pub resolved_at: Option<Timestamp>,
    /// The worst value in it.
    pub peak_value: Option<f64>,
}

/// What one rule would have done.
#[derive(Clone, Debug, PartialEq)]
pub struct BacktestReport {
    /// The rule's name.
    pub rule: String,
    /// The threshold that was tried.
    pub threshold: Option<f64>,
    /// Every episode, oldest first.
    pub episodes: Vec<Episode>,
    /// Seconds of firing, all alerts together.
    pub firing_seconds: f64,
    /// Notifications after grouping, silences and maintenance windows.
    pub notifications: usize,
    /// Share of the window, 0 to 1, in which there was data to judge by; the mean over the series.
    pub coverage: f64,
    /// Series (or agents) that the rule looks at.
    pub series: usize,
    /// Evaluations that were made.
    pub evaluations: u64,
    /// Why some of them failed, the first time; they changed nothing.
    pub error: Option<String>,
}

impl BacktestReport {
    /// Episodes that fired.
    pub fn fired(&self) -> usize {
        self.episodes
            .iter()
            .filter(|e| e.firing_at.is_some())
            .count()
    }
}

/// What is worked out per rule while series are read one after the other.
struct Tally<'r> {
    rule: &'r Rule,
    episodes: Vec<Episode>,
    covered: f64,
    series: usize,
    evaluations: u64,
    error: Option<String>,
}

/// Runs rules over a window of history. `progress` is told how many of how many agents are done.
///
/// # Errors
/// [`ReadError`] when samples cannot be read.
pub fn backtest(
    history: &dyn History,
    rules: &[Rule],
    window: Window,
    routing: &Routing,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<BacktestReport>, ReadError> {
    let runs = history.runs();
    let policy = history.policy(window.to);
    let agents = agents(history, window.to);
    let mut tallies: Vec<Tally<'_>> = rules
        .iter()
        .map(|rule| Tally {
            rule,
            episodes: Vec::new(),
            covered: 0.0,
            series: 0,
            evaluations: 0,
            error: None,
        })
        .collect();
    for (done, agent) in agents.iter().enumerate() {
        progress(done, agents.len());
        let interval_ms = agent.registration.interval_ms.unwrap_or(policy.interval_ms);
        let replay = Replay {
            window,
            runs: &runs,
            interval_ms,
            agent,
        };
        of_agent(history, &replay, &mut tallies)?;
    }
    for tally in tallies
        .iter_mut()
        .filter(|t| t.rule.condition.expression().is_some())
    {
        tally.take(replay(history, &agents, tally.rule, window)?);
    }
    progress(agents.len(), agents.len());
    let silences = history.book().silences;
    Ok(tallies
        .into_iter()
        .map(|tally| tally.report(window, routing, &silences))
        .collect())
}

/// Agents registered at the end of the window, and those registered now, which may have sent samples of an earlier
/// time.
pub(super) fn agents(history: &dyn History, end: Timestamp) -> Vec<Agent> {
    let mut agents = history.agents(end);
    let now = history.last_commit().unwrap_or(end);
    let later = history.agents(now).into_iter();
    let missing: Vec<Agent> = later
        .filter(|agent| agents.iter().all(|known| known.no != agent.no))
        .collect();
    agents.extend(missing);
    agents
}

/// How far before the window samples are needed, in milliseconds.
fn reach_ms(rule: &Rule, window: Window) -> i64 {
    const LEAST_MS: i64 = 600_000;
    let ms = match &rule.condition {
        Condition::Threshold { window_ms, .. } | Condition::RateOfChange { window_ms, .. } => {
            window_ms.unwrap_or(LEAST_MS)
        }
        Condition::Absent { known_for_ms, .. } => *known_for_ms,
        Condition::Anomaly {
            history_ms, season, ..
        } => {
            let first = BaselineRequest::of(window.from, *history_ms, *season);
            window.from.since(first.from())
        }
        Condition::Forecast { window_ms, .. } => *window_ms,
        // Expressions are replayed elsewhere, and read what they name.
        Condition::Expr { .. } | Condition::Record { .. } => 0,
    };
    ms.max(LEAST_MS)
}

fn of_agent(
    history: &dyn History,
    replay: &Replay<'_>,
    tallies: &mut [Tally<'_>],
) -> Result<(), ReadError> {
    let agent = replay.agent;
    let takes = |rule: &Rule| {
        rule.condition.expression().is_none() && rule.filter.takes_agent(agent.id.as_str())
    };
    if !tallies.iter().any(|tally| takes(tally.rule)) {
        return Ok(());
    }
    let all = history.series(agent.no, None);
    for series in &all {
        let mut wanted: Vec<&mut Tally<'_>> = tallies
            .iter_mut()
            .filter(|tally| {
                let rule = tally.rule;
                takes(rule) && !rule.is_about_agents() && rule.filter.takes_series(&series.key)
            })
            .collect();
        let reaches = wanted
            .iter()
            .map(|tally| reach_ms(tally.rule, replay.window));
        let Some(reach) = reaches.max() else {
            continue;
        };
        let recorded = replay.read(history, &[series], reach)?;
        for tally in &mut wanted {
            replay.run(tally, Some(series), &recorded)?;
        }
    }
    for tally in tallies
        .iter_mut()
        .filter(|t| takes(t.rule) && t.rule.is_about_agents())
    {
        let own: Vec<&SeriesInfo> = all
            .iter()
            .filter(|s| !is_derived_metric(s.key.name()) && tally.rule.filter.takes_series(&s.key))
            .collect();
        let recorded = replay.read(history, &own, reach_ms(tally.rule, replay.window))?;
        replay.run(tally, None, &recorded)?;
    }
    Ok(())
}

/// What is replayed of an agent.
struct Replay<'a> {
    window: Window,
    runs: &'a [Run],
    interval_ms: i64,
    agent: &'a Agent,
}

impl Replay<'_> {
    fn read(
        &self,
        history: &dyn History,
        series: &[&SeriesInfo],
        reach_ms: i64,
    ) -> Result<Recorded, ReadError> {
        let window = Window::new(self.window.from.plus_millis(-reach_ms), self.window.to);
        let numbers: Vec<_> = series.iter().map(|s| s.no).collect();
        Recorded::read(history, self.agent.no, &numbers, window)
    }

    fn case(&self, at: Timestamp, kind: MetricKind, open: Option<&Open>) -> Case {
        let run = self.runs.iter().rev().find(|run| run.start <= at);
        // Samples from before the first run were pushed later on; their time counts as listened to.
        let is_first = run.is_none_or(|run| self.runs.first() == Some(run));
        Case {
            at,
            kind,
            interval_ms: self.interval_ms,
            is_open: open.is_some(),
            is_firing: open.is_some_and(|open| open.life.fired_at.is_some()),
            listening_since: run.map(|run| run.start).filter(|_| !is_first),
        }
    }

    /// Replays one series for one rule.
    fn run(
        &self,
        tally: &mut Tally<'_>,
        series: Option<&SeriesInfo>,
        recorded: &Recorded,
    ) -> Result<(), ReadError> {
        let rule = tally.rule;
        let kind = series.map_or(MetricKind::Gauge, |s| s.kind);
        let lookback_ms = data_age_ms(rule, &self.case(self.window.to, kind, None));
        let moments = moments(rule, recorded.times(), self.window, lookback_ms);
        tally.series += 1;
        tally.covered += covered(recorded.times(), self.window, lookback_ms);
        let mut machine = Machine {
            replay: self,
            rule,
            series,
            open: None,
            fired: Vec::new(),
            episodes: &mut tally.episodes,
        };
        for at in moments {
            while let Some(deadline) = machine.deadline().filter(|deadline| *deadline < at) {
                tally.evaluations += 1;
                let case = self.case(deadline, kind, machine.open.as_ref());
                machine.take(&judge(rule, recorded, &case)?, deadline);
                if machine.deadline() == Some(deadline) {
                    break;
                }
            }
            tally.evaluations += 1;
            let case = self.case(at, kind, machine.open.as_ref());
            machine.take(&judge(rule, recorded, &case)?, at);
        }
        machine.finish();
        Ok(())
    }
}

/// When something may change: at samples, and when one leaves the window or is too old to count.
fn moments(rule: &Rule, times: &[i64], window: Window, lookback_ms: i64) -> Vec<Timestamp> {
    let slides = super::evaluation::moves_with_time(rule);
    let leaving = times.iter().enumerate().filter_map(|(i, time)| {
        let next = times.get(i + 1).copied().unwrap_or(i64::MAX);
        let leaves = time.saturating_add(lookback_ms);
        (slides || next > leaves).then_some(leaves)
    });
    let mut moments: Vec<i64> = times.iter().copied().chain(leaving).collect();
    moments.sort_unstable();
    moments.dedup();
    let within = moments.into_iter().map(Timestamp::from_millis);
    within.filter(|at| window.contains(*at)).collect()
}

/// Share of the window in which the newest sample was young enough.
fn covered(times: &[i64], window: Window, lookback_ms: i64) -> f64 {
    let (from, to) = (window.from.as_millis(), window.to.as_millis());
    let covered: i64 = times
        .iter()
        .enumerate()
        .map(|(i, time)| {
            let next = times.get(i + 1).copied().unwrap_or(i64::MAX);
            let end = next.min(time.saturating_add(lookback_ms)).min(to);
            (end - (*time).max(from)).max(0)
        })
        .sum();
    covered as f64 / window.length_ms().max(1) as f64
}

/// An alert that is open in the replay.
struct Open {
    life: Life,
    labels: LabelPairs,
    peak: Option<f64>,
}

/// The state machine over one series.
struct Machine<'a> {
    replay: &'a Replay<'a>,
    rule: &'a Rule,
    series: Option<&'a SeriesInfo>,
    open: Option<Open>,
    /// When it fired before.
    fired: Vec<Timestamp>,
    episodes: &'a mut Vec<Episode>,
}

impl Machine<'_> {
    fn deadline(&self) -> Option<Timestamp> {
        let life = self.open.as_ref()?.life;
        let terms = Terms::from(self.rule);
        let at = life.kept_since.unwrap_or(life.active_at);
        self.with_surroundings(|surroundings| alerts::deadline(&life, &terms, at, surroundings))
    }

    fn with_surroundings<T>(&self, use_them: impl FnOnce(&Surroundings<'_>) -> T) -> T {
        let down = |from, to| downtime_ms(self.replay.runs, from, to);
        let firings = |since| self.fired.iter().filter(|at| **at >= since).count();
        use_them(&Surroundings {
            downtime_ms: &down,
            firings_since: &firings,
        })
    }

    fn take(&mut self, found: &Judgement, at: Timestamp) {
        let terms = Terms::from(self.rule);
        let life = self.open.as_ref().map(|open| open.life);
        let step = self.with_surroundings(|surroundings| {
            alerts::step(life, &terms, &found.finding, at, surroundings)
        });
        if let Some(step) = &step {
            self.note(step.life, step.kind, found, at);
        }
        if let (Some(open), Finding::Holds, Some(value)) =
            (&mut self.open, &found.finding, found.value)
        {
            open.peak = Some(
                open.peak
                    .map_or(value, |peak| worse(self.rule, peak, value)),
            );
        }
    }

    fn note(&mut self, life: Life, kind: AlertEventKind, found: &Judgement, at: Timestamp) {
        if let Some(open) = &mut self.open {
            open.life = life;
        } else {
            let agent = self.replay.agent.id.as_str();
            let key = self.series.map(|s| &s.key);
            self.open = Some(Open {
                life,
                labels: names::texts(self.rule, agent, key, found).labels,
                peak: None,
            });
        }
        if kind == AlertEventKind::Fired {
            self.fired.push(at);
        }
        if life.resolved_at.is_some() {
            self.finish();
        }
    }

    /// Puts the open alert among the episodes.
    fn finish(&mut self) {
        if let Some(open) = self.open.take() {
            self.episodes.push(Episode {
                agent_id: self.replay.agent.id.to_string(),
                labels: open.labels,
                pending_at: open.life.active_at,
                firing_at: open.life.fired_at,
                resolved_at: open.life.resolved_at,
                peak_value: open.peak,
            });
        }
    }
}

/// The worse of two values in the eyes of a rule.
fn worse(rule: &Rule, a: f64, b: f64) -> f64 {
    let points_down = match &rule.condition {
        Condition::Threshold { limit, .. }
        | Condition::RateOfChange { limit, .. }
        | Condition::Forecast { limit, .. } => limit.operator.points_down(),
        Condition::Anomaly { side, .. } => side.is_some_and(crate::model::Operator::points_down),
        Condition::Absent { .. } | Condition::Expr { .. } | Condition::Record { .. } => false,
    };
    if points_down { a.min(b) } else { a.max(b) }
}

impl Tally<'_> {
    fn take(&mut self, replayed: Replayed) {
        self.covered = replayed.coverage * replayed.series.max(1) as f64;
        self.series = replayed.series;
        self.evaluations = replayed.evaluations;
        self.episodes = replayed.episodes;
        self.error = replayed.error;
    }

    fn report(
        self,
        window: Window,
        routing: &Routing,
        silences: &Arc<BTreeMap<String, Arc<Silence>>>,
    ) -> BacktestReport {
        let Self {
            rule,
            mut episodes,
            covered,
            series,
            evaluations,
            error,
        } = self;
        episodes.sort_by(|a, b| {
            (a.pending_at, &a.agent_id, &a.labels).cmp(&(b.pending_at, &b.agent_id, &b.labels))
        });
        let firing_ms: i64 = episodes
            .iter()
            .filter_map(|e| Some(e.resolved_at.unwrap_or(window.to).since(e.firing_at?)))
            .sum();
        BacktestReport {
            rule: rule.name.clone(),
            threshold: rule.condition.threshold(),
            notifications: notifications(rule, &episodes, window, routing, silences),
            firing_seconds: firing_ms as f64 / 1000.0,
            coverage: if series == 0 {
                0.0
            } else {
                covered / series as f64
            },
            episodes,
            series,
            evaluations,
            error,
        }
    }
}
