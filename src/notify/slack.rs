//! Incoming webhooks of Slack, and of what understands the same (Mattermost, Rocket.Chat, Discord's `/slack`).

use serde_json::{Value, json};

use reqwest::header::HeaderMap;

use super::{
    SlackSettings,
    channel::{Channel, Surroundings},
    post,
    text::{self, TEXT_BYTES_MAX, inert},
};
use crate::{
    model::{Delivery, DeliveryOutcome, NotifiedAlert, Severity},
    net::Answer,
};

/// Slack asks for no more attachments in a message.
const ATTACHMENTS_MAX: usize = 20;

const GREEN: &str = "#2eb67d";

const fn colour(alert: &NotifiedAlert) -> &'static str {
    if alert.resolved_at.is_some() {
        return GREEN;
    }
    match alert.severity {
        Severity::Info => "#36a2d9",
        Severity::Warning => "#ecb22e",
        Severity::Critical => "#e01e5a",
        Severity::Emergency => "#8b0023",
    }
}

/// Text that links nothing and calls nobody: Slack's three characters escaped, so that `<!channel>` is what it
/// says; and no word after an `@`, which calls people in what resembles Slack.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in inert(text, TEXT_BYTES_MAX).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '@' => out.push_str("@\u{200b}"),
            c => out.push(c),
        }
    }
    out
}

fn attachment(alert: &NotifiedAlert, external_url: &str) -> Value {
    let state = match alert.resolved_at {
        Some(_) => "resolved".to_owned(),
        None => alert.severity.to_string(),
    };
    let labels: Vec<String> = alert
        .labels
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "alertname" | "severity"))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let description = plain(&alert.description);
    let mut attachment = json!({
        "color": colour(alert),
        "fallback": format!("{state}: {description}"),
        "title": format!("{state}: {}", plain(text::name(alert))),
        "text": description,
        "footer": plain(&labels.join(" ")),
        "ts": alert.resolved_at.unwrap_or(alert.fired_at).as_millis() / 1_000,
        // No field is read as markup.
        "mrkdwn_in": [],
    });
    let link = text::link(external_url, alert);
    if !link.is_empty() {
        attachment["title_link"] = link.into();
    }
    attachment
}

fn body(delivery: &Delivery, external_url: &str) -> Value {
    let told = &delivery.notification;
    let shown = told.alerts.len().min(ATTACHMENTS_MAX);
    let left_out = told.truncated + (told.alerts.len() - shown) as u64;
    let mut attachments: Vec<Value> = told.alerts[..shown]
        .iter()
        .map(|alert| attachment(alert, external_url))
        .collect();
    if let Some(line) = text::truncated(left_out) {
        attachments.push(json!({ "fallback": line, "text": line }));
    }
    json!({
        "text": plain(&text::title(told)),
        "attachments": attachments,
        "mrkdwn": false,
        "link_names": false,
    })
}

/// Slack says in a word what is wrong, such as `invalid_payload`. What looks otherwise may hold anything.
fn word(answer: &Answer) -> &str {
    let is_word = |c: &u8| c.is_ascii_lowercase() || *c == b'_';
    let excerpt = answer.excerpt.trim_ascii();
    if excerpt.len() > 40 || !excerpt.iter().all(is_word) {
        return "";
    }
    std::str::from_utf8(excerpt).unwrap_or_default()
}

/// Posts a message.
pub(super) struct Slack {
    settings: SlackSettings,
    around: Surroundings,
}

impl Slack {
    /// A channel that posts to the settings' URL.
    pub(super) const fn new(settings: SlackSettings, around: Surroundings) -> Self {
        Self { settings, around }
    }
}

impl Channel for Slack {
    async fn deliver(&self, delivery: &Delivery) -> DeliveryOutcome {
        let json = body(delivery, &self.around.external_url).to_string();
        let url = &self.settings.url;
        let posted = post::json(
            url,
            HeaderMap::new(),
            json.into_bytes(),
            delivery,
            &self.around,
        );
        match posted.await {
            Ok(answer) => post::judge(&answer, word(&answer), self.around.clock.now()),
            Err(outcome) => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fake::{delivery, firing, resolved};

    #[test]
    fn nobody_is_called_and_nothing_linked() {
        let mut evil = delivery(1, "g");
        let text = "<!channel> <@U1> <http://evil|ok> @channel @here a&b\n*bold*";
        let alert = &mut evil.notification.alerts[0];
        text.clone_into(&mut alert.description);
        alert.labels[0].1 = text.to_owned();
        alert.labels[1].1 = text.to_owned();
        evil.notification.group_labels[0].1 = text.to_owned();
        let sent = body(&evil, "");
        let shown = sent.to_string();
        for bad in ["<", ">", "@channel", "@here", "\\n", "title_link"] {
            assert!(!shown.contains(bad), "{bad}: {shown}");
        }
        assert_eq!(
            sent["attachments"][0]["text"],
            "&lt;!channel&gt; &lt;@\u{200b}U1&gt; &lt;http://evil|ok&gt; @\u{200b}channel @\u{200b}here a&amp;b *bold*"
        );
        assert_eq!(sent["mrkdwn"], false);
        assert_eq!(sent["attachments"][0]["mrkdwn_in"], json!([]));
    }

    #[test]
    fn a_message_has_an_attachment_for_each_alert() {
        let mut told = delivery(1, "g");
        told.notification.alerts = vec![firing(1), resolved(2)];
        let sent = body(&told, "https://watch.example");
        assert_eq!(sent["text"], "[FIRING:1] HighCpu");
        let first = &sent["attachments"][0];
        assert_eq!(first["title"], "critical: HighCpu");
        assert_eq!(first["color"], "#e01e5a");
        assert_eq!(first["footer"], "agent_id=agent-1");
        assert_eq!(first["title_link"], "https://watch.example/api/v1/alerts/1");
        assert_eq!(first["ts"], 1_767_225_600);
        assert_eq!(sent["attachments"][1]["color"], GREEN);
        assert_eq!(sent["attachments"][1]["title"], "resolved: HighCpu");
        told.notification.alerts = (0..30).map(firing).collect();
        told.notification.truncated = 5;
        let sent = body(&told, "");
        let attachments = sent["attachments"].as_array().unwrap();
        assert_eq!(attachments.len(), 21);
        assert_eq!(attachments[20]["text"], "15 more alerts are left out.");
    }

    #[test]
    fn answers_are_shown_only_if_they_are_a_word() {
        let said = |text: &'static str| {
            let answer = Answer {
                status: 400,
                retry_after: None,
                excerpt: bytes::Bytes::from_static(text.as_bytes()),
            };
            word(&answer).to_owned()
        };
        assert_eq!(said("invalid_payload\n"), "invalid_payload");
        assert_eq!(said("no such hook T1/B2/secret"), "");
        assert_eq!(said(""), "");
    }
}
