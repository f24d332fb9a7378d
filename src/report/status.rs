//! Status of an agent at a moment, gathered from its recorded series.

use crate::{
    alerts::{StatusInputs, Verdict, judge_status, read_status_inputs},
    model::{Agent, History, ReadError, Timestamp},
};

/// Status at the moment and the last heartbeat it rests on.
pub fn agent_status(
    history: &dyn History,
    agent: &Agent,
    at: Timestamp,
) -> Result<Verdict, ReadError> {
    let inputs = StatusInputs {
        run_start: run_start(history, at),
        registered_at: Some(agent.registered_at),
        ..read_status_inputs(history, agent.no, at)?
    };
    Ok(judge_status(
        &inputs,
        &agent.registration,
        &history.policy(at),
        at,
    ))
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
