//! `[[notify.email]]`.

use std::net::IpAddr;

use super::{
    channels::{NAME, SEND_RESOLVED, TIMEOUT_30},
    secrets,
};
use crate::{
    config::{
        table::{KeyInfo, TableReader},
        value::Given,
    },
    notify::{ChannelKind, EmailSettings, MailAddress, MailLogin, MailSecurity},
};

/// Longest name of a host, in bytes (RFC 1035).
const HOST_BYTES_MAX: usize = 253;
/// Recipients that one channel may have.
const RECIPIENTS_MAX: usize = 100;

/// Every key of `[[notify.email]]`.
pub(super) const EMAIL_KEYS: [KeyInfo; 13] = [
    NAME,
    KeyInfo {
        key: "smtp_host",
        form: "host name or IP address",
        meaning: "The mail server; required.",
    },
    KeyInfo {
        key: "smtp_port",
        form: "number, 1 to 65535",
        meaning: "Its port; unless set 587 for `starttls`, 465 for `implicit`, 25 for `none`.",
    },
    KeyInfo {
        key: "tls",
        form: "`\"starttls\"`, `\"implicit\"` or `\"none\"`",
        meaning: "How the connection is encrypted; `\"starttls\"` unless set, and never less than that. `\"none\"` is for servers on this host.",
    },
    KeyInfo {
        key: "allow_plaintext",
        form: "`true` or `false`",
        meaning: "Allows `tls = \"none\"` with a server on another host: everybody on the way can read mail and password.",
    },
    KeyInfo {
        key: "ca_file",
        form: "path",
        meaning: "Certificate (PEM) that the server's must be signed by, instead of the system's.",
    },
    KeyInfo {
        key: "from",
        form: "mail address",
        meaning: "Sender, such as `\"longwatch <watch@example.org>\"`; required.",
    },
    KeyInfo {
        key: "to",
        form: "list of mail addresses",
        meaning: "Recipients; required.",
    },
    KeyInfo {
        key: "username",
        form: "text",
        meaning: "User, if the server wants one; needs a password.",
    },
    KeyInfo {
        key: "password_file",
        form: "path",
        meaning: "File that holds the password; read at each attempt.",
    },
    KeyInfo {
        key: "password_env",
        form: "name of a variable",
        meaning: "Environment variable that holds the password instead.",
    },
    TIMEOUT_30,
    SEND_RESOLVED,
];

pub(super) fn read_email(table: &mut TableReader<'_>) -> Option<ChannelKind> {
    let host = table.require("smtp_host", host);
    let tls = table
        .take("tls", security)
        .unwrap_or(MailSecurity::StartTls);
    let port = table.take("smtp_port", port);
    let allows_plaintext = table.take("allow_plaintext", Given::switch);
    if let Some(host) = &host
        && tls == MailSecurity::None
        && allows_plaintext != Some(true)
        && !is_this_host(host)
    {
        let reason = format!(
            "`{host}` is not this host: mail would go over the network in clear; set `allow_plaintext = true` if that is meant"
        );
        table.report(table.value_at("tls"), "tls", reason);
    }
    let ca_file = table.take("ca_file", |given| Ok(given.text("a path")?.into()));
    let from = table.require("from", |given| given.text("a mail address")?.parse());
    let to = table.require("to", recipients);
    let login = login(table);
    Some(ChannelKind::Email(EmailSettings {
        smtp_host: host?,
        smtp_port: port.unwrap_or(tls.port()),
        tls,
        ca_file,
        from: from?,
        to: to?,
        login,
    }))
}

fn login(table: &mut TableReader<'_>) -> Option<MailLogin> {
    let username = table.take("username", |given| Ok(given.text("text")?.to_owned()));
    let password = secrets::kept_elsewhere(table, "password");
    let password_key = ["password_file", "password_env"]
        .into_iter()
        .find(|key| table.has(key));
    match (table.has("username"), password_key) {
        (true, None) => {
            let reason = "needs `password_file` or `password_env` beside it";
            table.report(table.value_at("username"), "username", reason);
        }
        (false, Some(key)) => table.report(table.value_at(key), key, "needs `username` beside it"),
        _ => {}
    }
    Some(MailLogin {
        username: username?,
        password: password?,
    })
}

fn host(given: Given<'_>) -> Result<String, String> {
    let host = given.text("a host name or an IP address")?;
    let is_odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '/' | '@');
    if host.len() > HOST_BYTES_MAX || host.contains(is_odd) {
        return Err("not a host name or an IP address".to_owned());
    }
    Ok(host.to_owned())
}

fn is_this_host(host: &str) -> bool {
    let address = host.parse::<IpAddr>().map(|ip| ip.to_canonical());
    address.map_or(host.eq_ignore_ascii_case("localhost"), |ip| {
        ip.is_loopback()
    })
}

fn port(given: Given<'_>) -> Result<u16, String> {
    let number = given.count("a port")?;
    match u16::try_from(number) {
        Ok(port @ 1..) => Ok(port),
        _ => Err(format!("must be between 1 and 65535, not {number}")),
    }
}

fn security(given: Given<'_>) -> Result<MailSecurity, String> {
    let text = given.text("\"starttls\", \"implicit\" or \"none\"")?;
    let all = MailSecurity::ALL.into_iter();
    all.clone()
        .find(|security| security.as_str() == text)
        .ok_or_else(|| format!("`{text}` is none of starttls, implicit, none"))
}

fn recipients(given: Given<'_>) -> Result<Vec<MailAddress>, String> {
    let texts = given.texts()?;
    match texts.len() {
        0 => Err("must name a recipient".to_owned()),
        1..=RECIPIENTS_MAX => texts.iter().map(|text| text.parse()).collect(),
        n => Err(format!("{n} recipients, at most {RECIPIENTS_MAX}")),
    }
}
