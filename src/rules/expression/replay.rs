//! Expression rules over stored history: the rows at every evaluation of a window, and what they would have raised.

use std::collections::{BTreeMap, HashSet};

use super::{
    agents::Agents,
    compiled::Compiled,
    instances::{Instance, Instances},
    live::labels_of,
    rows::{Outside, Place, Row, identified, rows},
};
use crate::{
    alerts::Finding,
    model::{
        Agent, Condition, History, Labels, NoData, ReadError, Rule, Timestamp, Window, downtime_ms,
    },
    query::{
        Answer, Expression, HistorySource, QueryError, QueryRange, Question, Source, answer_parsed,
    },
    rules::backtest::Episode,
};

/// Rules without an interval of their own are evaluated so often, in milliseconds: the default of
/// `rules.evaluation_interval`.
const EVALUATION_MS: i64 = 15_000;
/// Evaluations that one query works out together.
const STEPS_AT_ONCE: i64 = 1_000;

/// What a rule would have done.
#[derive(Debug, Default)]
pub(in crate::rules) struct Replayed {
    pub(in crate::rules) episodes: Vec<Episode>,
    /// Different series that the rule looks at, as far as that can be told; those that it yields otherwise.
    pub(in crate::rules) series: usize,
    pub(in crate::rules) evaluations: u64,
    /// Share of the evaluations that had something to look at, as far as that can be told.
    pub(in crate::rules) coverage: f64,
    /// Why evaluations failed, the first time.
    pub(in crate::rules) error: Option<String>,
}

/// The rows of each moment.
type ByMoment = BTreeMap<i64, Vec<(Labels, f64)>>;

/// Evaluates a rule at every multiple of its interval within the window.
///
/// # Errors
/// [`ReadError`] when samples cannot be read.
pub(in crate::rules) fn replay(
    history: &dyn History,
    agents: &[Agent],
    rule: &Rule,
    window: Window,
) -> Result<Replayed, ReadError> {
    let mut replayed = Replayed::default();
    let compiled = match Compiled::new(rule) {
        Ok(compiled) => compiled,
        Err(mistake) => {
            replayed.error = Some(mistake.reason);
            return Ok(replayed);
        }
    };
    let source = HistorySource::new(history);
    let mut run = Run {
        history,
        source: &source,
        rule,
        compiled: &compiled,
        agents: Agents::of_history(history, agents, window.to),
        instances: Instances::default(),
        peaks: BTreeMap::new(),
        episodes: Vec::new(),
        evaluations: 0,
        error: None,
    };
    let member = rule.member.as_ref();
    let step_ms = member.and_then(|m| m.interval_ms).unwrap_or(EVALUATION_MS);
    let first = window.from.as_millis().div_euclid(step_ms) * step_ms + step_ms;
    let (mut seen, mut covered) = (HashSet::new(), 0_u64);
    let mut start = first;
    while start <= window.to.as_millis() {
        let end = (start + (STEPS_AT_ONCE - 1) * step_ms).min(window.to.as_millis());
        let steps = Steps {
            start,
            end,
            step_ms,
        };
        let looked_at = match &compiled.presence {
            Some(presence) => Some(rows_of(&source, presence, steps)?.unwrap_or_default()),
            None => None,
        };
        let found = run.chunk(steps, looked_at.as_ref())?;
        let looked_at = looked_at.unwrap_or(found);
        covered += looked_at.len() as u64;
        let labels = looked_at
            .into_values()
            .flatten()
            .map(|(labels, _)| labels.without_name());
        seen.extend(labels);
        start = end + step_ms - (end - start) % step_ms;
    }
    replayed.series = seen.len();
    let knows = compiled.presence.is_some();
    replayed.coverage = match run.evaluations {
        0 => 0.0,
        all if knows => covered as f64 / all as f64,
        _ => 1.0,
    };
    run.finish(&mut replayed);
    Ok(replayed)
}

/// Moments from `start` to `end`, both in milliseconds.
#[derive(Clone, Copy)]
struct Steps {
    start: i64,
    end: i64,
    step_ms: i64,
}

/// The rows at each of the moments; `None` where the whole cannot be worked out, since one of them is an error.
fn rows_of(
    source: &dyn Source,
    expression: &Expression,
    steps: Steps,
) -> Result<Option<ByMoment>, ReadError> {
    let range = QueryRange::Steps {
        start_ms: steps.start,
        end_ms: steps.end,
        step_ms: steps.step_ms,
    };
    let answered = match answer_parsed(source, expression, &Question::new("", range)) {
        Ok(answered) => answered,
        Err(QueryError::Read(error)) => return Err(error),
        Err(_) => return Ok(None),
    };
    let mut rows = ByMoment::new();
    if let Answer::Matrix(series) = answered.answer {
        for series in series {
            for (time, value) in series.samples {
                rows.entry(time)
                    .or_default()
                    .push((series.labels.clone(), value));
            }
        }
    }
    Ok(Some(rows))
}

struct Run<'a> {
    history: &'a dyn History,
    source: &'a dyn Source,
    rule: &'a Rule,
    compiled: &'a Compiled,
    agents: Agents<'a>,
    instances: Instances,
    /// The largest value of each open alert.
    peaks: BTreeMap<Labels, f64>,
    episodes: Vec<Episode>,
    evaluations: u64,
    error: Option<String>,
}

impl Run<'_> {
    /// Evaluates the moments one after the other. Returns their rows. `looked_at` are those that the rule looks at,
    /// whether it holds for them or not.
    fn chunk(&mut self, steps: Steps, looked_at: Option<&ByMoment>) -> Result<ByMoment, ReadError> {
        let offset_ms = self.rule.member.as_ref().map_or(0, |m| m.query_offset_ms);
        let as_of = Steps {
            start: steps.start - offset_ms,
            end: steps.end - offset_ms,
            ..steps
        };
        let found = rows_of(self.source, &self.compiled.expression, as_of)?;
        let outside = Outside::default();
        let mut time = steps.start;
        while time <= steps.end {
            self.evaluations += 1;
            let at = Timestamp::from_millis(time);
            let place = Place {
                source: self.source,
                at,
                outside: &outside,
            };
            let told = match &found {
                Some(found) => {
                    let rows = found.get(&(time - offset_ms)).cloned().unwrap_or_default();
                    identified(self.rule, self.compiled, &place, rows)
                }
                None => rows(self.rule, self.compiled, &place),
            };
            match told {
                Ok(rows) if matches!(self.rule.condition, Condition::Expr { .. }) => {
                    for row in &rows {
                        let peak = self.peaks.entry(row.identity.clone()).or_insert(row.value);
                        *peak = peak.max(row.value);
                    }
                    self.take(rows, at, looked_at);
                }
                Ok(_) => {}
                // What cannot be evaluated leaves alerts as they are.
                Err(error) => drop(self.error.get_or_insert(error)),
            }
            time += steps.step_ms;
        }
        Ok(found.unwrap_or_default())
    }

    fn take(&mut self, rows: Vec<Row>, at: Timestamp, looked_at: Option<&ByMoment>) {
        let told = looked_at.filter(|_| self.rule.no_data != NoData::Resolve);
        let present = told.map(|told| {
            let rows = told.get(&at.as_millis()).into_iter().flatten();
            rows.map(|(labels, _)| labels.without_name())
                .collect::<HashSet<Labels>>()
        });
        let absence = |row: &Row| match &present {
            Some(present) if !present.contains(&row.identity) => Finding::NoData,
            _ => Finding::Ends,
        };
        let runs = self.history.runs();
        let down = |from, to| downtime_ms(&runs, from, to);
        let changes = self.instances.take(self.rule, rows, at, &absence, &down);
        for (instance, _) in changes {
            if instance.life.resolved_at.is_some() {
                self.note(&instance);
                self.peaks.remove(&instance.row.identity);
            }
        }
    }

    fn note(&mut self, instance: &Instance) {
        let found = self.agents.of(&instance.row.labels);
        let id = self.history.agent_id(found.agent);
        let id = id.map_or_else(String::new, |id| id.to_string());
        if !self.rule.filter.takes_agent(&id) {
            return;
        }
        let named = if found.is_named { id.as_str() } else { "" };
        self.episodes.push(Episode {
            labels: labels_of(self.rule, named, &instance.row),
            agent_id: id,
            pending_at: instance.life.active_at,
            firing_at: instance.life.fired_at,
            resolved_at: instance.life.resolved_at,
            peak_value: self.peaks.get(&instance.row.identity).copied(),
        });
    }

    fn finish(mut self, replayed: &mut Replayed) {
        let open: Vec<Instance> = self.instances.open().cloned().collect();
        open.iter().for_each(|instance| self.note(instance));
        replayed.evaluations = self.evaluations;
        replayed.episodes = self.episodes;
        replayed.error = self.error;
    }
}
