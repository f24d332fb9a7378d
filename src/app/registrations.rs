//! Brings the registry in line with the agents of the configuration and of target files.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt, future, stream};

use crate::{
    collect,
    config::ConfiguredAgent,
    model::{Agent, AgentId, Registration, RegistrationSource, Timestamp},
    store::{Store, WriteError},
};

/// Changes handed to the store at once, so that they share commits.
const AT_ONCE: usize = 256;

/// What is to be written.
enum Change {
    End(AgentId),
    Register(AgentId, Registration),
}

/// Registers the agents that files name, and ends registrations that files owned and no longer have; those
/// of target files stay when `knows_all_targets` is not true. Returns those that could not be written.
pub(super) async fn apply(
    store: &Store,
    agents: &[&ConfiguredAgent],
    knows_all_targets: bool,
    now: Timestamp,
) -> Vec<(AgentId, WriteError)> {
    let changes = changes(&held(store, now), agents, knows_all_targets);
    let writes = changes
        .into_iter()
        .map(|change| write(store.clone(), change));
    stream::iter(writes)
        .buffer_unordered(AT_ONCE)
        .filter_map(future::ready)
        .collect()
        .await
}

fn changes(
    held: &HashMap<AgentId, Agent>,
    agents: &[&ConfiguredAgent],
    knows_all_targets: bool,
) -> Vec<Change> {
    let named: HashSet<&AgentId> = agents.iter().map(|a| &a.id).collect();
    let is_to_be_named = |source| match source {
        RegistrationSource::Config => true,
        RegistrationSource::FileSd => knows_all_targets,
        _ => false,
    };
    let gone = held
        .values()
        .filter(|agent| is_to_be_named(agent.registration.source) && !named.contains(&agent.id))
        .map(|agent| Change::End(agent.id.clone()));
    let changed = agents.iter().filter_map(|agent| {
        let held = held.get(&agent.id);
        let wanted = wanted(agent, held);
        let is_same = held.is_some_and(|held| held.registration == wanted);
        (!is_same).then(|| Change::Register(agent.id.clone(), wanted))
    });
    gone.chain(changed).collect()
}

async fn write(store: Store, change: Change) -> Option<(AgentId, WriteError)> {
    match change {
        Change::End(id) => {
            tracing::info!(agent = %id, "no longer in the configuration or a target file: deregistered");
            let answer = store.deregister_owned(id.clone()).await;
            answer.err().map(|error| (id, error))
        }
        Change::Register(id, registration) => {
            let answer = store.register(id.clone(), registration).await;
            answer.err().map(|error| (id, error))
        }
    }
}

/// The agents registered now.
fn held(store: &Store, now: Timestamp) -> HashMap<AgentId, Agent> {
    let view = store.view();
    let at = now.max(view.last_commit().unwrap_or(now));
    view.agents(at)
        .into_iter()
        .map(|agent| (agent.id.clone(), agent))
        .collect()
}

/// The registration that the agent is to have. A process is bound when the agent is first registered with
/// its pid, and stays so as long as the files say the same: after a restart of the host the pid is another's.
fn wanted(agent: &ConfiguredAgent, held: Option<&Agent>) -> Registration {
    let mut registration = agent.registration.clone();
    let Some(pid) = registration.pid else {
        return registration;
    };
    let bound = held.map(|agent| &agent.registration);
    registration.pid_start = bound
        .filter(|bound| bound.pid == Some(pid))
        .and_then(|bound| bound.pid_start.clone())
        .or_else(|| collect::pid_start(pid));
    registration
}
