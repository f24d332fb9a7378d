//! The outbox as the deliverer sees it.

use std::{future::Future, sync::Arc};

use tokio::sync::watch;

use crate::{
    model::{Delivery, DeliveryOutcome, Timestamp},
    store::{Change, Store},
};

/// A durable outbox: what is in it is there again after a restart, until it is settled.
pub trait Outbox: Clone + Send + Sync + 'static {
    /// Deliveries of a channel that were not given up, oldest first. What [`Self::settle`] said before counts.
    fn waiting(&self, channel: &str) -> Vec<Arc<Delivery>>;

    /// Records how an attempt ended, durably, and counts it. `next_attempt` is when the next one is due; with
    /// `None` there is none: what failed or was refused is given up.
    ///
    /// # Errors
    /// Why it could not be recorded; the deliverer asks again.
    fn settle(
        &self,
        sequence: u64,
        outcome: DeliveryOutcome,
        next_attempt: Option<Timestamp>,
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// Turns over whenever deliveries were put in, settled or asked to be tried again.
    fn changed(&self) -> watch::Receiver<u64>;
}

impl Outbox for Store {
    fn waiting(&self, channel: &str) -> Vec<Arc<Delivery>> {
        let outbox = self.view().book().outbox;
        let waiting = outbox
            .values()
            .filter(|d| d.channel == channel && !d.is_dead());
        waiting.cloned().collect()
    }

    async fn settle(
        &self,
        sequence: u64,
        outcome: DeliveryOutcome,
        next_attempt: Option<Timestamp>,
    ) -> Result<(), String> {
        let change = Change::Settle {
            sequence,
            outcome,
            next_attempt,
        };
        let settled = self.alerting(change).await;
        // One that is not there any more was dropped from a full outbox.
        settled.map(drop).map_err(|error| error.to_string())
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.alerting_changed()
    }
}
