//! Delivery of notifications: from the durable outbox through channels to people and programs.
//!
//! Each channel has a task of its own that makes one attempt at a time, so that a receiver that hangs or is gone
//! delays nobody else. Deliveries of one group keep their order. An attempt that failed is made again with growing
//! pauses, until the delivery is too old; every attempt carries the delivery's idempotency key, since a receiver may
//! have taken what its answer did not tell.

mod backoff;
mod channel;
mod command;
mod deliver;
mod email;
#[cfg(test)]
mod fake;
mod heartbeat;
mod log;
mod outbox;
mod post;
mod secret;
mod settings;
mod slack;
mod text;
mod webhook;

use std::{future::Future, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use backoff::Backoff;
use channel::{AnyChannel, Surroundings};
use deliver::Deliverer;
use heartbeat::Heartbeat;

pub use outbox::Outbox;
pub use post::retry_at;
pub use secret::{Secret, SecretError};
pub use settings::{
    CHANNEL_NAME_BYTES_MAX, ChannelKind, ChannelSettings, CommandSettings, EmailSettings,
    MailAddress, MailLogin, MailSecurity, Settings, SlackSettings, WebhookSettings,
};

use crate::{
    model::Clock,
    net::{self, BuildError},
    telemetry::OwnMetrics,
};

/// What is read of an answer to a heartbeat is nothing, and of one to a notification the beginning.
const NET: net::Settings = net::Settings {
    body_bytes_max: 64 << 10,
    decompressed_bytes_max: 64 << 10,
    redirects_max: 3,
};

/// Longest time that a heartbeat may take.
const HEARTBEAT_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// Delivers through every channel and beats the heart until `shutdown`; the future ends when all attempts have.
/// An attempt that is under way then has 5 s to end; what it told is told again after the next start.
///
/// # Errors
/// [`BuildError`] when TLS cannot be set up.
pub fn start<O: Outbox, H: Fn() -> bool + Send + 'static>(
    outbox: &O,
    settings: Settings,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<OwnMetrics>,
    healthy: H,
    shutdown: &CancellationToken,
) -> Result<impl Future<Output = ()> + Send + 'static + use<O, H>, BuildError> {
    let around = Surroundings {
        http: net::Client::new(&NET)?,
        external_url: settings.external_url.as_deref().unwrap_or_default().into(),
        clock: Arc::clone(clock),
    };
    let interval = millis(settings.heartbeat_interval_ms);
    let heartbeat = settings.heartbeat_url.map(|url| Heartbeat {
        url,
        interval,
        timeout: interval.min(HEARTBEAT_TIMEOUT_MAX),
        http: around.http.clone(),
        metrics: Arc::clone(metrics),
        shutdown: shutdown.clone(),
    });
    let deliverers: Vec<_> = settings
        .channels
        .into_iter()
        .map(|channel| Deliverer {
            outbox: outbox.clone(),
            name: channel.name.clone(),
            send_resolved: channel.send_resolved,
            timeout: millis(channel.timeout_ms),
            channel: AnyChannel::new(channel, around.clone()),
            backoff: Backoff::new(settings.give_up_after_ms),
            clock: Arc::clone(clock),
            metrics: Arc::clone(metrics),
            shutdown: shutdown.clone(),
        })
        .collect();
    Ok(async move {
        let mut tasks = JoinSet::new();
        for deliverer in deliverers {
            tasks.spawn(deliverer.run());
        }
        if let Some(heartbeat) = heartbeat {
            tasks.spawn(heartbeat.run(healthy));
        }
        while tasks.join_next().await.is_some() {}
    })
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        net::{Reply, ScriptedServer},
        notify::fake::{MemoryOutbox, RuntimeClock, delivery},
    };

    #[tokio::test]
    async fn one_call_starts_everything_and_ends_with_shutdown() {
        let server = ScriptedServer::start(|_, _| Reply::status(200)).await;
        let hook = WebhookSettings::new(Secret::Text(server.url("/hook")));
        let log = |sequence| crate::model::Delivery {
            channel: "log".to_owned(),
            ..delivery(sequence, "g")
        };
        let outbox = MemoryOutbox::of([delivery(1, "g"), log(2)]);
        let settings = Settings {
            channels: vec![
                ChannelSettings::new("c", ChannelKind::Webhook(hook)),
                ChannelSettings::new("log", ChannelKind::Log),
            ],
            heartbeat_url: Some(Secret::Text(server.url("/ping"))),
            ..Settings::default()
        };
        let (clock, metrics) = (RuntimeClock::start(), Arc::default());
        let shutdown = CancellationToken::new();
        let running = start(&outbox, settings, &clock, &metrics, || true, &shutdown).unwrap();
        let task = tokio::spawn(running);
        outbox.until_empty().await;
        while server.count() < 2 {
            tokio::task::yield_now().await;
        }
        shutdown.cancel();
        task.await.unwrap();
        assert_eq!(outbox.settled().len(), 2);
        let mut paths: Vec<_> = server
            .requests
            .lock()
            .iter()
            .filter_map(|r| Some(r.split_once(" HTTP")?.0.to_owned()))
            .collect();
        paths.sort_unstable();
        assert_eq!(paths, ["GET /ping", "POST /hook"]);
    }
}
