//! `[[notify.log]]`, `[[notify.webhook]]`, `[[notify.slack]]`, `[[notify.command]]`, and what all channels share.

use super::secrets;
use crate::{
    config::{
        table::{KeyInfo, TableReader},
        value::Given,
    },
    model::format_duration_ms,
    notify::{
        CHANNEL_NAME_BYTES_MAX, ChannelKind, CommandSettings, Secret, SlackSettings,
        WebhookSettings,
    },
};

/// Shortest and longest time-out of an attempt, in milliseconds.
const TIMEOUT_MS: std::ops::RangeInclusive<i64> = 100..=600_000;

pub(super) const NAME: KeyInfo = KeyInfo {
    key: "name",
    form: "text, 1 to 64 bytes",
    meaning: "What the channel is called; required, and unique among all channels.",
};
pub(super) const SEND_RESOLVED: KeyInfo = KeyInfo {
    key: "send_resolved",
    form: "`true` or `false`",
    meaning: "Whether the channel is told that alerts resolved; `true` unless set.",
};
pub(super) const TIMEOUT_30: KeyInfo = KeyInfo {
    key: "timeout",
    form: "duration, 100ms to 10m",
    meaning: "An attempt that takes longer failed; 30s unless set.",
};
const TIMEOUT_10: KeyInfo = KeyInfo {
    key: "timeout",
    form: "duration, 100ms to 10m",
    meaning: "An attempt that takes longer failed; 10s unless set.",
};
const URL: KeyInfo = KeyInfo {
    key: "url",
    form: "URL, http or https",
    meaning: "Where to post; never shown, since such URLs are often secrets. User and password in it are sent as basic authentication.",
};
const URL_FILE: KeyInfo = KeyInfo {
    key: "url_file",
    form: "path",
    meaning: "File that holds the URL, instead of `url`; read at each attempt.",
};
const URL_ENV: KeyInfo = KeyInfo {
    key: "url_env",
    form: "name of a variable",
    meaning: "Environment variable that holds the URL, instead of `url`.",
};

/// Every key of `[[notify.log]]`.
pub(super) const LOG_KEYS: [KeyInfo; 2] = [NAME, SEND_RESOLVED];

/// Every key of `[[notify.webhook]]`.
pub(super) const WEBHOOK_KEYS: [KeyInfo; 9] = [
    NAME,
    URL,
    URL_FILE,
    URL_ENV,
    KeyInfo {
        key: "headers",
        form: "table of texts",
        meaning: "Further headers; their values are never shown.",
    },
    KeyInfo {
        key: "bearer_token_file",
        form: "path",
        meaning: "File of a token that is sent as `Authorization: Bearer`; read at each attempt.",
    },
    KeyInfo {
        key: "bearer_token_env",
        form: "name of a variable",
        meaning: "Environment variable that holds the token instead.",
    },
    TIMEOUT_10,
    SEND_RESOLVED,
];

/// Every key of `[[notify.slack]]`.
pub(super) const SLACK_KEYS: [KeyInfo; 6] =
    [NAME, URL, URL_FILE, URL_ENV, TIMEOUT_10, SEND_RESOLVED];

/// Every key of `[[notify.command]]`.
pub(super) const COMMAND_KEYS: [KeyInfo; 4] = [
    NAME,
    KeyInfo {
        key: "command",
        form: "list of texts",
        meaning: "The program and its arguments, as they are: no shell reads them. Required.",
    },
    TIMEOUT_30,
    SEND_RESOLVED,
];

/// A channel's name.
pub(super) fn name(given: Given<'_>) -> Result<String, String> {
    let name = given.text("text")?;
    if name.len() > CHANNEL_NAME_BYTES_MAX {
        return Err(format!("has at most {CHANNEL_NAME_BYTES_MAX} bytes"));
    }
    if name.contains(char::is_control) {
        return Err("must not hold control characters".to_owned());
    }
    Ok(name.to_owned())
}

/// An attempt's time-out, in milliseconds.
pub(super) fn timeout(given: Given<'_>) -> Result<i64, String> {
    let ms = given.duration_ms()?;
    if TIMEOUT_MS.contains(&ms) {
        return Ok(ms);
    }
    let [least, most, ms] = [*TIMEOUT_MS.start(), *TIMEOUT_MS.end(), ms].map(format_duration_ms);
    Err(format!("must be between {least} and {most}, not {ms}"))
}

/// Nothing is the log's own.
#[expect(clippy::unnecessary_wraps, reason = "one signature for every kind")]
pub(super) fn read_log(_: &mut TableReader<'_>) -> Option<ChannelKind> {
    Some(ChannelKind::Log)
}

pub(super) fn read_webhook(table: &mut TableReader<'_>) -> Option<ChannelKind> {
    let url = secrets::url(table);
    let bearer_token = secrets::kept_elsewhere(table, "bearer_token");
    // Headers are checked whether the URL is right or not.
    let mut webhook = WebhookSettings::new(url.clone().unwrap_or(Secret::Text(String::new())));
    webhook.bearer_token = bearer_token;
    let has_token = webhook.bearer_token.is_some();
    table.take_each("headers", |name, given| {
        if has_token && name.eq_ignore_ascii_case("authorization") {
            return Err("the bearer token is sent in this header".to_owned());
        }
        webhook.add_header(name, given.text("text")?)
    });
    url.map(|_| ChannelKind::Webhook(webhook))
}

pub(super) fn read_slack(table: &mut TableReader<'_>) -> Option<ChannelKind> {
    let url = secrets::url(table)?;
    Some(ChannelKind::Slack(SlackSettings { url }))
}

pub(super) fn read_command(table: &mut TableReader<'_>) -> Option<ChannelKind> {
    let command = table.require("command", |given| {
        let command = given.texts()?;
        if command.is_empty() {
            return Err("must name a program".to_owned());
        }
        if command.iter().any(|part| part.contains('\0')) {
            return Err("must not hold the character NUL".to_owned());
        }
        Ok(command)
    })?;
    Some(ChannelKind::Command(CommandSettings { command }))
}
