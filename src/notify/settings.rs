//! What the configuration says about notifications.

use std::{fmt, path::PathBuf, str::FromStr};

use lettre::message::Mailbox;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::Secret;
use crate::model::DAY_MS;

/// Longest name of a channel, in bytes.
pub const CHANNEL_NAME_BYTES_MAX: usize = 64;

/// Everything about notifications (`[notify]` of the configuration).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A new group of alerts is told so long after its first alert, in milliseconds (`group_wait`, 5 s).
    pub group_wait_ms: i64,
    /// A group that changed is told so long after it was told last, in milliseconds (`group_interval`, 5 min).
    pub group_interval_ms: i64,
    /// What fires on is told again after so long, in milliseconds (`repeat_interval`, 4 h).
    pub repeat_interval_ms: i64,
    /// Labels whose values make a group (`group_by`, alertname).
    pub group_by: Vec<String>,
    /// What cannot be delivered for so long is given up, in milliseconds (`give_up_after`, 24 h).
    pub give_up_after_ms: i64,
    /// Where people reach longwatch, without a slash at the end (`external_url`, none).
    pub external_url: Option<String>,
    /// What is called while longwatch is healthy (`heartbeat_url`, none).
    pub heartbeat_url: Option<Secret>,
    /// How often, in milliseconds (`heartbeat_interval`, 1 min).
    pub heartbeat_interval_ms: i64,
    /// Channels, at least one; their names are unique (`[[notify.log]]` and so on, one `log`).
    pub channels: Vec<ChannelSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            group_wait_ms: 5_000,
            group_interval_ms: 300_000,
            repeat_interval_ms: 4 * 3_600_000,
            group_by: vec!["alertname".to_owned()],
            give_up_after_ms: DAY_MS,
            external_url: None,
            heartbeat_url: None,
            heartbeat_interval_ms: 60_000,
            channels: vec![ChannelSettings::new("log", ChannelKind::Log)],
        }
    }
}

/// A channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelSettings {
    /// Name, 1 to 64 bytes without control characters; the receiver that a notification names.
    pub name: String,
    /// Whether it is told that alerts resolved (`send_resolved`, true).
    pub send_resolved: bool,
    /// Within this an attempt must end, in milliseconds (`timeout`; 10 s, commands and mail 30 s).
    pub timeout_ms: i64,
    /// What it is.
    pub kind: ChannelKind,
}

impl ChannelSettings {
    /// A channel with the defaults of its kind.
    pub fn new(name: impl Into<String>, kind: ChannelKind) -> Self {
        Self {
            name: name.into(),
            send_resolved: true,
            timeout_ms: match kind {
                ChannelKind::Email(_) | ChannelKind::Command(_) => 30_000,
                _ => 10_000,
            },
            kind,
        }
    }
}

/// Kind of a channel with what is its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    /// A line of the log for each alert.
    Log,
    /// Alertmanager's webhook.
    Webhook(WebhookSettings),
    /// A webhook of Slack, or of what understands the same.
    Slack(SlackSettings),
    /// Mail.
    Email(EmailSettings),
    /// A program.
    Command(CommandSettings),
}

/// Headers that a webhook sends by itself.
const OWN_HEADERS: [&str; 7] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "transfer-encoding",
    "user-agent",
];

/// A webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookSettings {
    /// Where to, http or https.
    pub url: Secret,
    /// Sent as `Authorization: Bearer`, if there is one.
    pub bearer_token: Option<Secret>,
    /// Further headers; their values are secrets.
    headers: HeaderMap,
}

impl WebhookSettings {
    /// A webhook without further headers.
    pub fn new(url: Secret) -> Self {
        Self {
            url,
            bearer_token: None,
            headers: HeaderMap::new(),
        }
    }

    /// Further headers.
    pub const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Adds a header.
    ///
    /// # Errors
    /// What is wrong with it; its value is never part of it.
    pub fn add_header(&mut self, name: &str, value: &str) -> Result<(), String> {
        let header = HeaderName::from_str(name).map_err(|_| "not a header's name".to_owned())?;
        if OWN_HEADERS.contains(&header.as_str()) {
            return Err("this header is set by longwatch itself".to_owned());
        }
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| "a header's value holds no control characters".to_owned())?;
        value.set_sensitive(true);
        match self.headers.insert(header, value) {
            Some(_) => Err("is given twice; case does not count".to_owned()),
            None => Ok(()),
        }
    }
}

/// A Slack-compatible webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlackSettings {
    /// Where to, http or https; whoever knows it may post.
    pub url: Secret,
}

/// How a mail server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailSecurity {
    /// In clear first, then TLS; without it nothing is sent.
    StartTls,
    /// TLS from the beginning.
    Implicit,
    /// In clear.
    None,
}

impl MailSecurity {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::StartTls, Self::Implicit, Self::None];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StartTls => "starttls",
            Self::Implicit => "implicit",
            Self::None => "none",
        }
    }

    /// The port that goes with it.
    pub const fn port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Implicit => 465,
            Self::None => 25,
        }
    }
}

/// A mail address, with or without a name, such as `Operations <ops@example.org>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailAddress(Mailbox);

impl MailAddress {
    /// As mail has it.
    pub(super) const fn mailbox(&self) -> &Mailbox {
        &self.0
    }
}

impl FromStr for MailAddress {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(char::is_control) {
            return Err("a mail address holds no control characters".to_owned());
        }
        text.parse().map(Self).map_err(|_| {
            format!("`{text}` is not a mail address, such as `ops@example.org` or `Operations <ops@example.org>`")
        })
    }
}

impl fmt::Display for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// User and password of a mail server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailLogin {
    /// User.
    pub username: String,
    /// Password.
    pub password: Secret,
}

/// Mail over SMTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailSettings {
    /// Name or address of the server.
    pub smtp_host: String,
    /// Its port.
    pub smtp_port: u16,
    /// How it is spoken to.
    pub tls: MailSecurity,
    /// Certificates (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Sender.
    pub from: MailAddress,
    /// Recipients, at least one.
    pub to: Vec<MailAddress>,
    /// User and password, if the server wants them.
    pub login: Option<MailLogin>,
}

/// A program that is run for each notification.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandSettings {
    /// The program, then its arguments; never a shell's line.
    pub command: Vec<String>,
}

/// Arguments may be secrets.
impl fmt::Debug for CommandSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandSettings")
            .field("program", &self.command.first())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_checked_and_never_shown() {
        let mut hook = WebhookSettings::new(Secret::Text("http://u:hunter2@h/hunter2".to_owned()));
        hook.bearer_token = Some(Secret::Text("hunter2".to_owned()));
        hook.add_header("X-Key", "hunter2").unwrap();
        assert_eq!(hook.headers()["x-key"], "hunter2");
        for (name, value) in [
            ("x-key", "again"),
            ("Content-Type", "text/plain"),
            ("Idempotency-Key", "1"),
            ("a b", "c"),
            ("", "c"),
            ("x-split", "hunter2\r\nX-Evil: 1"),
        ] {
            let error = hook.add_header(name, value).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let command = CommandSettings {
            command: vec!["/bin/page".to_owned(), "--token=hunter2".to_owned()],
        };
        let shown = format!("{hook:?} {command:?}");
        assert!(
            shown.contains("/bin/page") && !shown.contains("hunter2"),
            "{shown}"
        );
    }

    #[test]
    fn addresses_cannot_smuggle_headers() {
        let address: MailAddress = "Ops Team <ops@example.org>".parse().unwrap();
        assert_eq!(address.to_string(), "Ops Team <ops@example.org>");
        for text in ["", "ops", "a@b\r\nBcc: c@d", "<a@b", "a@b, c@d"] {
            assert!(text.parse::<MailAddress>().is_err(), "{text:?}");
        }
    }
}
