//! Wires the room's tasks together.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    Settings,
    builtin::{deregister_others, keep_sampling, register},
    host::{HostSampler, host_agent_id, host_info},
    own::OwnSampler,
    quiet::Quiet,
    roster::Roster,
    target::Context,
    writes::{Writes, forward},
};
use crate::{
    model::{Agent, AgentId, Clock, Limits, OWN_ID, Policy},
    net,
    store::{Store, WriteError},
    telemetry::OwnMetrics,
};

/// Registrations that come in a burst are taken together.
const GATHER: Duration = Duration::from_millis(100);
/// A registration that the store refused is tried again after this.
const RETRY: Duration = Duration::from_secs(5);

/// Bodies that are large, or may be, and are read at once: each may take `decompressed_size_max` and more in
/// memory.
const LARGE_READS_MAX: usize = 4;

/// Which built-in agents are sampled.
#[derive(Clone, Debug)]
pub struct Builtin {
    own: Option<AgentId>,
    host: Option<AgentId>,
}

/// Collects from every registered agent that names an endpoint, from this host and from longwatch itself.
#[derive(Debug)]
pub struct Collector {
    /// Where samples go and registrations come from.
    pub store: Store,
    /// Settings of collection.
    pub settings: Settings,
    /// Gives the interval of agents that give none.
    pub policy: Policy,
    /// Limits on series that bodies are read with.
    pub limits: Limits,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Counts scrapes and probes; shown as the agent `longwatch`.
    pub metrics: Arc<OwnMetrics>,
}

impl Collector {
    /// Collects until `shutdown`. What was handed to the store by then is queued there; close the store after this.
    ///
    /// # Errors
    /// [`net::BuildError`] when no HTTP client can be built.
    pub async fn run(
        self,
        builtin: Builtin,
        shutdown: CancellationToken,
    ) -> Result<(), net::BuildError> {
        let (writes, written) = Writes::channel();
        let forwarding = tokio::spawn(forward(
            self.store.clone(),
            written,
            Arc::clone(&self.clock),
        ));
        let ctx = Context {
            client: net::Client::new(&self.settings.net)?,
            writes: writes.clone(),
            permits: Semaphore::new(self.settings.concurrency.max(1)),
            large_reads: Arc::new(Semaphore::new(LARGE_READS_MAX)),
            timeout_ms: self.settings.timeout_ms,
            decompressed_bytes_max: self.settings.net.decompressed_bytes_max,
            limits: self.limits.clone(),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            quiet: Quiet::default(),
        };
        let roster = Roster::new(Arc::new(ctx), self.policy.interval_ms);
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.follow_registrations(roster) => {}
            () = self.sample_builtin(builtin, writes) => {}
        }
        // Every other end of the channel is gone by now, so this ends at once.
        let _ = forwarding.await;
        Ok(())
    }

    /// Never returns.
    async fn follow_registrations(&self, mut roster: Roster) {
        let mut changes = self.store.registrations_changed();
        let mut open = true;
        loop {
            changes.borrow_and_update();
            roster.reconcile(&self.registered());
            tokio::time::sleep(GATHER).await;
            tokio::select! {
                changed = changes.changed(), if open => open = changed.is_ok(),
                () = roster.ended() => {}
            }
        }
    }

    fn registered(&self) -> Vec<Agent> {
        let view = self.store.view();
        // A clock that was set back must not hide who has registered since.
        let now = self.clock.now();
        view.agents(view.last_commit().map_or(now, |last| last.max(now)))
    }

    /// Registers longwatch itself and this host, and ends built-in registrations of earlier runs that are
    /// no longer ours. Done before requests are answered, so that nobody takes their names first.
    pub async fn register_builtin(&self) -> Builtin {
        let own = AgentId::new(OWN_ID).ok();
        let host = host_agent_id(&self.settings);
        let both: Vec<AgentId> = own.iter().chain(&host).cloned().collect();
        deregister_others(&self.store, &*self.clock, &both).await;
        let info = serde_json::json!({ "version": env!("CARGO_PKG_VERSION") });
        Builtin {
            own: self.registered_as(own, &info).await,
            host: self.registered_as(host, &host_info()).await,
        }
    }

    /// The id, if it is registered as a built-in agent now.
    async fn registered_as(
        &self,
        id: Option<AgentId>,
        info: &serde_json::Value,
    ) -> Option<AgentId> {
        let id = id?;
        self.register(&id, info).await.then_some(id)
    }

    /// Never returns.
    async fn sample_builtin(&self, builtin: Builtin, writes: Writes) {
        let mut sampling = JoinSet::new();
        let interval_ms = self
            .settings
            .host_interval_ms
            .unwrap_or(self.policy.interval_ms);
        if let Some(host) = builtin.host {
            let (clock, writes) = (Arc::clone(&self.clock), writes.clone());
            sampling.spawn(keep_sampling(
                host,
                interval_ms,
                clock,
                writes,
                HostSampler::new,
            ));
        }
        if let Some(own) = builtin.own {
            let (metrics, limits) = (Arc::clone(&self.metrics), self.limits.clone());
            let sampler = move || OwnSampler::new(Arc::clone(&metrics), limits.clone());
            let clock = Arc::clone(&self.clock);
            sampling.spawn(keep_sampling(own, interval_ms, clock, writes, sampler));
        }
        while let Some(ended) = sampling.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "sampling this host or longwatch ended");
            }
        }
        std::future::pending::<()>().await;
    }

    /// Registers a built-in agent, trying until the store takes it; `false` when it cannot be one.
    async fn register(&self, id: &AgentId, info: &serde_json::Value) -> bool {
        let interval_ms = self.settings.host_interval_ms;
        loop {
            match register(&self.store, &*self.clock, id, interval_ms, info).await {
                Ok(true) => return true,
                Ok(false) => {
                    tracing::warn!(agent = %id, "not sampled: another agent has this id; set host.agent_id");
                    return false;
                }
                Err(error @ WriteError::Limit(_)) => {
                    tracing::warn!(agent = %id, %error, "not sampled");
                    return false;
                }
                Err(error) => {
                    tracing::warn!(agent = %id, %error, "not registered yet");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
