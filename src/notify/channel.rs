//! What a channel does, and which there are.

use std::{future::Future, sync::Arc};

use super::{
    ChannelKind, ChannelSettings, command::Command, email::Email, log::Log, slack::Slack,
    webhook::Webhook,
};
use crate::{
    model::{Clock, Delivery, DeliveryOutcome},
    net,
};

/// A way to tell people or programs.
pub(super) trait Channel: Send + Sync + 'static {
    /// Tries once. When the time for it is over the future is dropped, and with it ends whatever it began.
    fn deliver(&self, delivery: &Delivery) -> impl Future<Output = DeliveryOutcome> + Send;
}

/// What channels share.
#[derive(Clone)]
pub(super) struct Surroundings {
    /// For those that speak HTTP.
    pub(super) http: net::Client,
    /// Where people reach longwatch; empty when that is not known.
    pub(super) external_url: Arc<str>,
    /// The present moment.
    pub(super) clock: Arc<dyn Clock>,
}

/// A channel of the configuration.
pub(super) enum AnyChannel {
    Log(Log),
    Webhook(Webhook),
    Slack(Slack),
    Email(Email),
    Command(Command),
}

impl AnyChannel {
    /// The channel that the settings describe.
    pub(super) fn new(settings: ChannelSettings, around: Surroundings) -> Self {
        let name = settings.name;
        match settings.kind {
            ChannelKind::Log => Self::Log(Log::new(name)),
            ChannelKind::Webhook(own) => Self::Webhook(Webhook::new(name, own, around)),
            ChannelKind::Slack(own) => Self::Slack(Slack::new(own, around)),
            ChannelKind::Email(own) => Self::Email(Email::new(own, around)),
            ChannelKind::Command(own) => Self::Command(Command::new(name, own, &around)),
        }
    }
}

impl Channel for AnyChannel {
    async fn deliver(&self, delivery: &Delivery) -> DeliveryOutcome {
        match self {
            Self::Log(channel) => channel.deliver(delivery).await,
            Self::Webhook(channel) => channel.deliver(delivery).await,
            Self::Slack(channel) => channel.deliver(delivery).await,
            Self::Email(channel) => channel.deliver(delivery).await,
            Self::Command(channel) => channel.deliver(delivery).await,
        }
    }
}

/// An attempt that failed without the receiver saying when to come back.
pub(super) fn failed(error: impl std::fmt::Display) -> DeliveryOutcome {
    DeliveryOutcome::Failed {
        error: net::one_line(&error.to_string()),
        retry_at: None,
    }
}

/// An attempt that no other would mend.
pub(super) fn refused(error: impl std::fmt::Display) -> DeliveryOutcome {
    DeliveryOutcome::Refused {
        error: net::one_line(&error.to_string()),
    }
}
