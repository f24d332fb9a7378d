//! Status of an agent at a moment, gathered from its recorded series.

use crate::{
    alerts::{StatusInputs, Verdict, judge_status},
    model::{Agent, History, ReadError, Sample, Timestamp, names},
};

/// Status at the moment and the last heartbeat it rests on.
pub fn agent_status(
    history: &dyn History,
    agent: &Agent,
    at: Timestamp,
) -> Result<Verdict, ReadError> {
    let last = |metric, wanted| last_of(history, agent, metric, at, wanted);
    let last_up = last(names::UP, None)?;
    let last_up_ok = match last_up {
        Some(sample) if sample.value == 1.0 => Some(sample),
        None => None,
        Some(_) => last(names::UP, Some(1.0))?,
    };
    let inputs = StatusInputs {
        last_up,
        last_up_ok: last_up_ok.map(|sample| sample.time),
        last_probe: last(names::HEALTH_PROBE_UP, None)?,
        last_contact: last(names::AGENT_CONTACT, None)?.map(|sample| sample.time),
        run_start: run_start(history, at),
    };
    Ok(judge_status(
        &inputs,
        &agent.registration,
        &history.policy(at),
        at,
    ))
}

/// The latest sample over all label sets of the metric; of two at one time the smaller, since a
/// failure must not hide behind a success.
fn last_of(
    history: &dyn History,
    agent: &Agent,
    metric: &str,
    at: Timestamp,
    wanted: Option<f64>,
) -> Result<Option<Sample>, ReadError> {
    let mut latest: Option<Sample> = None;
    for series in history.series(agent.no, Some(metric)) {
        let Some(sample) = history.last_sample(agent.no, series.no, at, wanted)? else {
            continue;
        };
        let is_later = latest.is_none_or(|known| {
            sample.time > known.time || (sample.time == known.time && sample.value < known.value)
        });
        if is_later {
            latest = Some(sample);
        }
    }
    Ok(latest)
}

/// Start of the run that the moment lies in. A live run is known only up to its last commit, so the
/// latest start by the moment decides.
fn run_start(history: &dyn History, at: Timestamp) -> Option<Timestamp> {
    history
        .runs()
        .into_iter()
        .map(|run| run.start)
        .filter(|start| *start <= at)
        .max()
}
