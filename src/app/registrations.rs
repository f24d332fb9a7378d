//! Brings the registry in line with the agents of the configuration.

use std::collections::HashSet;

use crate::{
    config::ConfiguredAgent,
    model::{AgentId, RegistrationSource, Timestamp},
    store::{Store, WriteError},
};

/// Registers the configuration's agents, and ends registrations that it owned and no longer has.
///
/// # Errors
/// [`WriteError`] of the first agent that could not be written.
pub(super) async fn apply(
    store: &Store,
    agents: Vec<ConfiguredAgent>,
    now: Timestamp,
) -> Result<(), WriteError> {
    let configured: HashSet<AgentId> = agents.iter().map(|a| a.id.clone()).collect();
    let gone: Vec<AgentId> = store
        .view()
        .agents(now.max(store.view().last_commit().unwrap_or(now)))
        .into_iter()
        .filter(|a| a.registration.source == RegistrationSource::Config)
        .map(|a| a.id)
        .filter(|id| !configured.contains(id))
        .collect();
    for id in gone {
        tracing::info!(agent = %id, "no longer in the configuration: deregistered");
        store.deregister_owned(id).await?;
    }
    for agent in agents {
        store.register(agent.id, agent.registration).await?;
    }
    Ok(())
}
