//! The way of appends from the agents' tasks to the store.

use std::{collections::VecDeque, sync::Arc};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::{
    mpsc,
    oneshot::{self, error::TryRecvError},
};

use super::quiet::Quiet;
use crate::{
    model::{AgentId, Clock},
    store::{Append, Appended, Store, WriteError},
    telemetry::OwnMetrics,
};

/// Appends that may wait for a commit; beyond it rounds are skipped.
const WAITING_MAX: usize = 8_192;
/// Appends of one agent that may wait for their commit; beyond it its task waits too.
const UNSETTLED_MAX: usize = 16;

/// One append, and whom to tell whether it became durable.
#[derive(Debug)]
pub(super) struct Write {
    /// What to make durable.
    pub append: Append,
    /// Gets `false` when it was refused.
    pub durable: oneshot::Sender<bool>,
}

/// Where the agents' tasks hand in their appends. A task does not wait for the commit, which scraped
/// samples share for some seconds: that would delay its next round.
#[derive(Clone, Debug)]
pub(super) struct Writes(mpsc::Sender<Write>);

impl Writes {
    /// The two ends.
    pub(super) fn channel() -> (Self, mpsc::Receiver<Write>) {
        let (sender, receiver) = mpsc::channel(64);
        (Self(sender), receiver)
    }

    /// Hands an append in, in order; waits while too many wait already.
    pub(super) async fn put(&self, append: Append) -> oneshot::Receiver<bool> {
        let (durable, receiver) = oneshot::channel();
        // When the other end is gone the server stops; the receiver then says so by itself.
        let _ = self.0.send(Write { append, durable }).await;
        receiver
    }
}

/// Appends of one agent whose commit is still to come, oldest first.
#[derive(Debug, Default)]
pub(super) struct Unsettled(VecDeque<oneshot::Receiver<bool>>);

impl Unsettled {
    /// Adds the newest.
    pub(super) fn push(&mut self, receiver: oneshot::Receiver<bool>) {
        self.0.push_back(receiver);
    }

    /// Tells, in order, of each append whether it became durable, as far as that is known; waits only
    /// when too many are open.
    pub(super) async fn tell(&mut self, mut settle: impl FnMut(bool)) {
        while let Some(mut oldest) = self.0.pop_front() {
            let durable = match oldest.try_recv() {
                Ok(durable) => durable,
                Err(TryRecvError::Closed) => false,
                Err(TryRecvError::Empty) if self.0.len() < UNSETTLED_MAX => {
                    self.0.push_front(oldest);
                    return;
                }
                Err(TryRecvError::Empty) => oldest.await.unwrap_or(false),
            };
            settle(durable);
        }
    }
}

/// Passes appends on to the store until every [`Writes`] is gone.
pub(super) async fn forward(
    store: Store,
    mut writes: mpsc::Receiver<Write>,
    clock: Arc<dyn Clock>,
    metrics: Arc<OwnMetrics>,
) {
    let quiet = Quiet::default();
    let mut waiting = FuturesUnordered::new();
    let pass_on = async |write: Write| {
        let Write { append, durable } = write;
        let (agent, samples) = (append.agent.clone(), append.batch.len());
        let result = store.append(append).await;
        // Nobody listens when the agent's task has ended.
        let _ = durable.send(result.is_ok());
        (agent, samples, result)
    };
    loop {
        tokio::select! {
            // A new append is first polled, and so queued, before another is taken.
            biased;
            Some((agent, samples, result)) = waiting.next() => {
                tell(&agent, samples, &result, &quiet, &*clock, &metrics);
            }
            next = writes.recv(), if waiting.len() < WAITING_MAX => match next {
                Some(write) => waiting.push(pass_on(write)),
                // What waits is queued; the store commits it when it closes.
                None => return,
            },
        }
    }
}

fn tell(
    agent: &AgentId,
    samples: usize,
    result: &Result<Appended, WriteError>,
    quiet: &Quiet,
    clock: &dyn Clock,
    metrics: &OwnMetrics,
) {
    match result {
        Ok(appended) => {
            let refused = appended.rejected.len();
            if let Some(first) = appended.rejected.first()
                && quiet.may_say(agent, "refused", clock.now())
            {
                let reason = first.reason.as_str();
                tracing::warn!(%agent, refused, reason, "samples of the agent were refused");
            }
        }
        Err(WriteError::Closing) => {}
        Err(error) => {
            metrics.reject("not_written", samples as u64);
            if quiet.may_say(agent, "not written", clock.now()) {
                tracing::error!(%agent, samples, %error, "collected samples were not written");
            }
        }
    }
}
