//! Mail over SMTP: a text part and an HTML part that say the same.

use std::time::{Duration, SystemTime};

use askama::Template;
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    address::{Address, Envelope},
    message::{
        MultiPart,
        header::{HeaderName, HeaderValue},
    },
    transport::smtp::{
        Error as SmtpError,
        authentication::Credentials,
        client::{Certificate, CertificateStore, Tls, TlsParameters},
    },
};
use sha2::{Digest, Sha256};

use super::{
    EmailSettings, MailSecurity,
    channel::{Channel, Surroundings, failed, refused},
    text::{self, TEXT_BYTES_MAX, inert},
};
use crate::{
    model::{Delivery, DeliveryOutcome, LabelPairs, NotifiedAlert, Timestamp},
    net::one_line,
};

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// An alert as both parts show it.
struct Entry {
    heading: String,
    description: String,
    facts: Vec<(String, String)>,
    link: String,
}

/// The HTML part; everything in it is escaped.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!DOCTYPE html>
<html><body style="font-family:sans-serif">
<h2>{{ title }}</h2>
{% for entry in entries %}
<h3>{{ entry.heading }}</h3>
<p>{{ entry.description }}</p>
<table>{% for (name, value) in entry.facts %}<tr><td><b>{{ name }}</b></td><td>{{ value }}</td></tr>{% endfor %}</table>
{% if !entry.link.is_empty() %}<p><a href="{{ entry.link }}">{{ entry.link }}</a></p>{% endif %}
{% endfor %}
{% if let Some(line) = truncated %}<p>{{ line }}</p>{% endif %}
</body></html>
"#
)]
struct Html<'a> {
    title: &'a str,
    entries: &'a [Entry],
    truncated: Option<&'a str>,
}

fn entry(alert: &NotifiedAlert, external_url: &str) -> Entry {
    let line = |text: &str| inert(text, TEXT_BYTES_MAX);
    let mut facts = vec![("fired".to_owned(), alert.fired_at.to_rfc3339())];
    if let Some(at) = alert.resolved_at {
        facts.push(("resolved".to_owned(), at.to_rfc3339()));
    }
    if let Some(value) = &alert.value {
        facts.push(("value".to_owned(), line(value)));
    }
    let more = |pairs: &LabelPairs| -> Vec<_> {
        let pairs = pairs.iter().filter(|(name, _)| name != "alertname");
        pairs
            .map(|(name, value)| (line(name), line(value)))
            .collect()
    };
    facts.extend(more(&alert.labels));
    facts.extend(more(&alert.annotations));
    let state = match alert.resolved_at {
        Some(_) => "resolved",
        None => alert.severity.as_str(),
    };
    Entry {
        heading: line(&format!("{state}: {}", text::name(alert))),
        description: line(&alert.description),
        facts,
        link: text::link(external_url, alert),
    }
}

fn plain(title: &str, entries: &[Entry], truncated: Option<&str>) -> String {
    let mut lines = vec![title.to_owned()];
    for entry in entries {
        lines.extend([
            String::new(),
            entry.heading.clone(),
            entry.description.clone(),
        ]);
        let facts = entry.facts.iter();
        lines.extend(facts.map(|(name, value)| format!("  {name}: {value}")));
        if !entry.link.is_empty() {
            lines.push(format!("  {}", entry.link));
        }
    }
    if let Some(line) = truncated {
        lines.extend([String::new(), line.to_owned()]);
    }
    lines.push(String::new());
    lines.join("\n")
}

/// A message id made of a text: equal for equal texts, and safe whatever the text holds.
fn message_id(text: &str, domain: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    let number = u128::from_be_bytes(half);
    format!("<{number:032x}.longwatch@{domain}>")
}

/// The mail. Its id is made of the idempotency key, so that a second attempt is the same mail; mails of one group
/// refer to the same id, which makes them a thread.
fn message(
    settings: &EmailSettings,
    delivery: &Delivery,
    external_url: &str,
    now: Timestamp,
) -> Result<Message, lettre::error::Error> {
    let told = &delivery.notification;
    let title = text::title(told);
    let entries: Vec<Entry> = told.alerts.iter().map(|a| entry(a, external_url)).collect();
    let truncated = text::truncated(told.truncated);
    let html = Html {
        title: &title,
        entries: &entries,
        truncated: truncated.as_deref(),
    };
    // Filling a template with texts cannot fail; the text part says the same.
    let html = html.render().unwrap_or_default();
    let from = settings.from.mailbox();
    let domain = from.email.domain();
    let date = SystemTime::UNIX_EPOCH + Duration::from_millis(now.as_millis().max(0) as u64);
    let mut builder = Message::builder()
        .from(from.clone())
        .subject(title.clone())
        .date(date)
        .message_id(Some(message_id(&delivery.idempotency_key, domain)))
        .references(message_id(&told.group_key, domain))
        // Nobody's automatic reply is wanted (RFC 3834).
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ));
    for to in &settings.to {
        builder = builder.to(to.mailbox().clone());
    }
    let text = plain(&title, &entries, truncated.as_deref());
    builder.multipart(MultiPart::alternative_plain_html(text, html))
}

/// Sends mail.
pub(super) struct Email {
    settings: EmailSettings,
    around: Surroundings,
}

impl Email {
    /// A channel that sends to the settings' recipients.
    pub(super) const fn new(settings: EmailSettings, around: Surroundings) -> Self {
        Self { settings, around }
    }

    /// A connection to be, with certificates and password as they are now. Also hands out the password, to be
    /// kept out of what the server says.
    async fn transport(&self) -> Result<(Transport, Option<String>), String> {
        let settings = &self.settings;
        let mut builder = Transport::builder_dangerous(&settings.smtp_host)
            .port(settings.smtp_port)
            .tls(match settings.tls {
                MailSecurity::StartTls => Tls::Required(self.tls().await?),
                MailSecurity::Implicit => Tls::Wrapper(self.tls().await?),
                MailSecurity::None => Tls::None,
            });
        let mut password = None;
        if let Some(login) = &settings.login {
            let revealed = login.password.reveal().await.map_err(|e| e.to_string())?;
            builder =
                builder.credentials(Credentials::new(login.username.clone(), revealed.clone()));
            password = Some(revealed);
        }
        Ok((builder.build(), password))
    }

    async fn tls(&self) -> Result<TlsParameters, String> {
        let cannot = |e: SmtpError| format!("TLS cannot be set up: {e}");
        let mut builder = TlsParameters::builder(self.settings.smtp_host.clone());
        if let Some(path) = &self.settings.ca_file {
            let shown = path.display();
            let pem = tokio::fs::read(path)
                .await
                .map_err(|e| format!("ca_file {shown} cannot be read: {e}"))?;
            let certificate = Certificate::from_pem(&pem)
                .map_err(|_| format!("ca_file {shown} holds no certificate (PEM)"))?;
            builder = builder
                .certificate_store(CertificateStore::None)
                .add_root_certificate(certificate);
        }
        builder.build_rustls().map_err(cannot)
    }

    /// Sends to all. Where the server refuses that for what may be one recipient's fault, each is tried alone: one
    /// wrong address must not keep the others from knowing.
    async fn send(&self, transport: &Transport, mail: &Message) -> Result<(), SmtpError> {
        let (bytes, envelope) = (mail.formatted(), mail.envelope());
        let Err(refusal) = transport.send_raw(envelope, &bytes).await else {
            return Ok(());
        };
        if !is_about_mailboxes(&refusal) || envelope.to().len() < 2 {
            return Err(refusal);
        }
        let mut arrived = false;
        for to in envelope.to() {
            let Ok(alone) = alone(envelope, to) else {
                continue;
            };
            match transport.send_raw(&alone, &bytes).await {
                Ok(_) => arrived = true,
                Err(error) if error.is_permanent() => {
                    tracing::warn!("the mail server refuses mail to {to}");
                }
                Err(error) => return Err(error),
            }
        }
        if arrived { Ok(()) } else { Err(refusal) }
    }
}

fn alone(envelope: &Envelope, to: &Address) -> Result<Envelope, lettre::error::Error> {
    Envelope::new(envelope.from().cloned(), vec![to.clone()])
}

/// Whether the server refuses for good what may be a recipient (RFC 5321, 4.2.3: 550 to 556), and not, say, the
/// password, which is not to be tried again and again.
fn is_about_mailboxes(refusal: &SmtpError) -> bool {
    let code = refusal.status().map(u16::from);
    code.is_some_and(|code| (550..=556).contains(&code))
}

/// What went wrong, without what the password may have got into.
fn explain(error: &SmtpError, password: Option<&str>) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    if let Some(password) = password.filter(|p| !p.is_empty()) {
        text = text.replace(password, "***");
    }
    one_line(&text)
}

impl Channel for Email {
    async fn deliver(&self, delivery: &Delivery) -> DeliveryOutcome {
        let (url, now) = (&self.around.external_url, self.around.clock.now());
        let mail = match message(&self.settings, delivery, url, now) {
            Ok(mail) => mail,
            Err(error) => return refused(format_args!("the mail cannot be made: {error}")),
        };
        let (transport, password) = match self.transport().await {
            Ok(ready) => ready,
            Err(error) => return failed(error),
        };
        match self.send(&transport, &mail).await {
            Ok(()) => DeliveryOutcome::Delivered,
            Err(error) => {
                let why = explain(&error, password.as_deref());
                if error.is_permanent() {
                    refused(why)
                } else {
                    failed(why)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
