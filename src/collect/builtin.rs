//! Agents that longwatch is itself: this host and the server. Sampled, not scraped, by the same rules.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    pace::Pace,
    session::{ScrapeSession, Scraped},
    writes::{Unsettled, Writes},
};
use crate::{
    model::{AgentId, Clock, Registration, RegistrationSource, Timestamp},
    store::{Store, WriteError},
};

/// The usage of the cpu is told between two looks; sysinfo asks for 200 ms between them.
pub(super) const FIRST_LOOK_MS: u64 = 250;

/// Something on this machine that can be looked at once an interval.
pub(super) trait Sampler: Send + 'static {
    /// Looks; the samples get the time `at`. May block.
    ///
    /// # Errors
    /// Why it could not be sampled, in one line.
    fn sample(&mut self, at: Timestamp) -> Result<Scraped, String>;
}

/// Samples for ever. The caller registers the agent before.
pub(super) async fn keep_sampling<S: Sampler>(
    agent: AgentId,
    interval_ms: i64,
    clock: Arc<dyn Clock>,
    writes: Writes,
    new_sampler: impl Fn() -> Result<S, String> + Clone + Send + 'static,
) {
    let mut session = ScrapeSession::new(agent.clone());
    let mut pace = Pace::new(&agent, interval_ms, 0);
    let mut sampler = None;
    let mut unsettled = Unsettled::default();
    loop {
        if sampler.is_none() {
            let new = new_sampler.clone();
            sampler = blocking(new).await.ok();
            tokio::time::sleep(std::time::Duration::from_millis(FIRST_LOOK_MS)).await;
        }
        let now = clock.now();
        let tick = pace.next(now);
        let wait = tick.since(now).max(0) as u64;
        tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
        pace.begun(tick);
        let at = pace.stamp(tick, clock.now());
        let began = Instant::now();
        let looked = look(sampler.take(), at).await;
        let seconds = began.elapsed().as_secs_f64();
        unsettled.tell(|durable| session.settle(durable)).await;
        let append = match looked {
            Ok((same, scraped)) => {
                sampler = Some(same);
                session.success(scraped, at, seconds)
            }
            Err(error) => {
                tracing::warn!(%agent, error, "sampling failed");
                session.failure(error, at, seconds)
            }
        };
        unsettled.push(writes.put(append).await);
    }
}

async fn look<S: Sampler>(sampler: Option<S>, at: Timestamp) -> Result<(S, Scraped), String> {
    let mut sampler = sampler.ok_or("the operating system tells nothing")?;
    blocking(move || {
        let scraped = sampler.sample(at)?;
        Ok((sampler, scraped))
    })
    .await
}

/// Does what blocks on a thread that may; the error of work that fails without one is its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err("the sampler failed".to_owned()))
}

/// Registers a built-in agent; `false` when the id is another agent's.
///
/// # Errors
/// [`WriteError`] of the store.
pub(super) async fn register(
    store: &Store,
    clock: &dyn Clock,
    id: &AgentId,
    interval_ms: Option<i64>,
    info: &serde_json::Value,
) -> Result<bool, WriteError> {
    let held = store.view().agent(id, clock.now());
    if held.is_some_and(|agent| {
        agent.deregistered_at.is_none() && agent.registration.source != RegistrationSource::Builtin
    }) {
        return Ok(false);
    }
    let registration = Registration {
        interval_ms,
        info: info.to_string(),
        ..Registration::bare(RegistrationSource::Builtin)
    };
    store.register(id.clone(), registration).await.map(|_| true)
}

/// Ends the registrations of built-in agents that this server is not: a host whose name changed, or
/// from which the file was moved here, would go stale for ever.
pub(super) async fn deregister_others(store: &Store, clock: &dyn Clock, own: &[AgentId]) {
    for agent in store.view().agents(clock.now()) {
        let is_builtin = agent.registration.source == RegistrationSource::Builtin;
        if is_builtin
            && !own.contains(&agent.id)
            && let Err(error) = store.deregister_owned(agent.id.clone()).await
        {
            tracing::warn!(agent = %agent.id, %error, "a former built-in agent stays registered");
        }
    }
}
