//! `[notify]`: the sections that may be given many times. Each array has a reader of its own.

mod channels;
mod email;
mod routes;
mod secrets;

use std::collections::HashMap;

use toml::{Spanned, de::DeValue};

use super::{
    ConfigError, Origin,
    file::Source,
    table::{KeyInfo, TableReader},
    value::Given,
};
use crate::notify::{ChannelKind, ChannelSettings};

pub use routes::{ROUTING_SECTIONS, RoutingSection};
pub(super) use routes::{read as read_routing, routing_of};

/// Name of the section.
pub(super) const SECTION: &str = "notify";

/// Channels that a configuration may have.
const CHANNELS_MAX: usize = 100;

/// An array of `[notify]` whose sections are channels.
#[derive(Clone, Copy, Debug)]
pub struct ChannelSection {
    /// Key within `[notify]`.
    pub key: &'static str,
    /// What such a channel is.
    pub title: &'static str,
    /// Keys of each section.
    pub keys: &'static [KeyInfo],
    /// Reads what is a kind's own.
    read: fn(&mut TableReader<'_>) -> Option<ChannelKind>,
}

/// Every kind of channel.
pub const CHANNEL_SECTIONS: [ChannelSection; 5] = [
    ChannelSection {
        key: "log",
        title: "the log as a channel",
        keys: &channels::LOG_KEYS,
        read: channels::read_log,
    },
    ChannelSection {
        key: "webhook",
        title: "webhooks in Alertmanager's format",
        keys: &channels::WEBHOOK_KEYS,
        read: channels::read_webhook,
    },
    ChannelSection {
        key: "slack",
        title: "Slack-compatible webhooks",
        keys: &channels::SLACK_KEYS,
        read: channels::read_slack,
    },
    ChannelSection {
        key: "email",
        title: "mail",
        keys: &email::EMAIL_KEYS,
        read: email::read_email,
    },
    ChannelSection {
        key: "command",
        title: "programs",
        keys: &channels::COMMAND_KEYS,
        read: channels::read_command,
    },
];

/// Keys of `[notify]` that are arrays of sections.
pub(super) fn arrays() -> impl Iterator<Item = &'static str> {
    let routing = ROUTING_SECTIONS.iter().map(|section| section.key);
    CHANNEL_SECTIONS
        .iter()
        .map(|section| section.key)
        .chain(routing)
}

/// Channels that were found, and what is wrong with others.
#[derive(Default)]
pub(super) struct Found {
    /// Channels without a mistake, in the file's order within each kind.
    pub(super) channels: Vec<ChannelSettings>,
    /// Mistakes.
    pub(super) errors: Vec<ConfigError>,
}

/// Reads the channels in the value of `notify`; what else it holds is not looked at.
pub(super) fn read(source: &Source, notify: &Spanned<DeValue<'_>>, is_torn: bool) -> Found {
    let mut found = Found::default();
    let DeValue::Table(table) = notify.get_ref() else {
        return found;
    };
    let mut first_at: HashMap<String, Origin> = HashMap::new();
    for section in &CHANNEL_SECTIONS {
        let Some((_, array)) = table.get_key_value(section.key) else {
            continue;
        };
        let name = format!("{SECTION}.{}", section.key);
        for mut reader in TableReader::of_array(source, &name, array, is_torn, &mut found.errors) {
            let channel = read_channel(&mut reader, section, &mut first_at);
            if first_at.len() > CHANNELS_MAX {
                reader.report(
                    reader.at(),
                    "name",
                    format!("more than {CHANNELS_MAX} channels"),
                );
                found.errors.append(&mut reader.into_errors());
                return found;
            }
            found.channels.extend(channel.filter(|_| reader.is_sound()));
            found.errors.append(&mut reader.into_errors());
        }
    }
    found
}

fn read_channel(
    reader: &mut TableReader<'_>,
    section: &ChannelSection,
    first_at: &mut HashMap<String, Origin>,
) -> Option<ChannelSettings> {
    reader.refuse_unknown(section.keys);
    let name = reader.require("name", channels::name);
    if let Some(name) = &name {
        match first_at.get(name) {
            Some(first) => {
                let reason = format!("`{name}` is given twice, first at {first}");
                reader.report(reader.value_at("name"), "name", reason);
            }
            None => drop(first_at.insert(name.clone(), reader.place("name"))),
        }
    }
    let send_resolved = reader.take("send_resolved", Given::switch);
    let timeout_ms = reader.take("timeout", channels::timeout);
    let kind = (section.read)(reader)?;
    let mut channel = ChannelSettings::new(name?, kind);
    channel.send_resolved = send_resolved.unwrap_or(channel.send_resolved);
    channel.timeout_ms = timeout_ms.unwrap_or(channel.timeout_ms);
    Some(channel)
}
