//! The way of appends from the agents' tasks to the store.

use std::{collections::VecDeque, sync::Arc};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::{
    mpsc,
    oneshot::{self, error::TryRecvError},
};

use super::quiet::Quiet;
use crate::{
    model::{AgentId, Clock, Timestamp},
    store::{Append, Appended, Store, WriteError},
};

/// Appends that may wait for a commit; beyond it rounds are skipped.
const WAITING_MAX: usize = 8_192;
/// Appends of one agent that may wait for their commit; beyond it its task waits too.
const UNSETTLED_MAX: usize = 16;

/// The queue was not full for so long, in milliseconds, when it is told that nothing is lost any more.
const CALM_MS: i64 = 60_000;

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
) {
    let mut teller = Teller {
        quiet: Quiet::default(),
        clock,
        full_at: None,
    };
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
                teller.tell(&agent, samples, &result);
            }
            next = writes.recv(), if waiting.len() < WAITING_MAX => match next {
                Some(write) => waiting.push(pass_on(write)),
                // What waits is queued; the store commits it when it closes.
                None => return,
            },
        }
    }
}

/// Tells the log what was lost. The store counts it.
struct Teller {
    quiet: Quiet,
    clock: Arc<dyn Clock>,
    /// When the queue was full last, until it is told that this is over.
    full_at: Option<Timestamp>,
}

impl Teller {
    fn tell(&mut self, agent: &AgentId, samples: usize, result: &Result<Appended, WriteError>) {
        let now = self.clock.now();
        match result {
            Ok(appended) => {
                if self.full_at.is_some_and(|at| now.since(at) > CALM_MS) {
                    self.full_at = None;
                    tracing::info!("all collected samples are written again");
                }
                let refused = appended.rejected.len();
                if let Some(first) = appended.rejected.first()
                    && self.quiet.may_say(agent, "refused", now)
                {
                    let reason = first.reason.as_str();
                    tracing::warn!(%agent, refused, reason, "samples of the agent were refused");
                }
            }
            // All agents are in the same plight, so that it is told once.
            Err(WriteError::Busy { .. }) => {
                if self.full_at.replace(now).is_none() {
                    tracing::error!("collected samples are lost: the write queue is full");
                }
            }
            // Of the rest the store tells itself.
            Err(error) if error.is_passing() => {}
            Err(error) => {
                if self.quiet.may_say(agent, "not written", now) {
                    tracing::error!(%agent, samples, %error, "collected samples were not written");
                }
            }
        }
    }
}
