//! Alertmanager's webhook, version 4.

use std::collections::BTreeMap;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::Serialize;

use super::{
    WebhookSettings,
    channel::{Channel, Surroundings, failed},
    post, text,
};
use crate::model::{Delivery, DeliveryOutcome, LabelPairs, NotifiedAlert, Timestamp};

/// What Alertmanager sends as the end of what has none.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// The body, as Alertmanager documents it ("webhook_config"), with some fields more per alert.
#[derive(Serialize)]
struct Body<'a> {
    version: &'static str,
    #[serde(rename = "groupKey")]
    group_key: &'a str,
    #[serde(rename = "truncatedAlerts")]
    truncated_alerts: u64,
    status: &'static str,
    receiver: &'a str,
    #[serde(rename = "groupLabels")]
    group_labels: Pairs<'a>,
    #[serde(rename = "commonLabels")]
    common_labels: Pairs<'a>,
    #[serde(rename = "commonAnnotations")]
    common_annotations: Pairs<'a>,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    alerts: Vec<AlertBody<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    escalation: bool,
}

#[derive(Serialize)]
struct AlertBody<'a> {
    status: &'static str,
    labels: Pairs<'a>,
    annotations: Pairs<'a>,
    #[serde(rename = "startsAt")]
    starts_at: String,
    #[serde(rename = "endsAt")]
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    fingerprint: &'a str,
    id: String,
    alert_id: &'a str,
    value: Option<&'a str>,
}

type Pairs<'a> = BTreeMap<&'a str, &'a str>;

fn pairs(pairs: &LabelPairs) -> Pairs<'_> {
    pairs
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect()
}

fn annotations(alert: &NotifiedAlert) -> Pairs<'_> {
    let mut all = pairs(&alert.annotations);
    all.insert("description", &alert.description);
    all
}

/// Pairs that all have.
fn common<'a>(mut of: impl Iterator<Item = Pairs<'a>>) -> Pairs<'a> {
    let Some(mut shared) = of.next() else {
        return Pairs::new();
    };
    for other in of {
        shared.retain(|name, value| other.get(name) == Some(value));
    }
    shared
}

/// The body for a receiver as JSON.
pub(super) fn body(delivery: &Delivery, receiver: &str, external_url: &str) -> Vec<u8> {
    let told = &delivery.notification;
    let alert = |alert| alert_body(alert, external_url);
    let body = Body {
        version: "4",
        group_key: &told.group_key,
        truncated_alerts: told.truncated,
        status: if told.is_firing() {
            "firing"
        } else {
            "resolved"
        },
        receiver,
        group_labels: pairs(&told.group_labels),
        common_labels: common(told.alerts.iter().map(|a| pairs(&a.labels))),
        common_annotations: common(told.alerts.iter().map(annotations)),
        external_url,
        alerts: told.alerts.iter().map(alert).collect(),
        escalation: told.is_escalation,
    };
    let mut json = Vec::new();
    // Writing texts into memory cannot fail.
    let _ = serde_json::to_writer(&mut json, &body);
    json
}

fn alert_body<'a>(alert: &'a NotifiedAlert, external_url: &str) -> AlertBody<'a> {
    AlertBody {
        status: text::status(alert),
        labels: pairs(&alert.labels),
        annotations: annotations(alert),
        starts_at: alert.fired_at.to_rfc3339(),
        ends_at: alert
            .resolved_at
            .map_or_else(|| ZERO_TIME.to_owned(), Timestamp::to_rfc3339),
        generator_url: text::link(external_url, alert),
        fingerprint: &alert.fingerprint,
        id: alert.occurrence.0.to_string(),
        alert_id: &alert.alert_id,
        value: alert.value.as_deref(),
    }
}

/// Posts the body.
pub(super) struct Webhook {
    name: String,
    settings: WebhookSettings,
    around: Surroundings,
}

impl Webhook {
    /// A webhook that calls its receiver `name`.
    pub(super) const fn new(name: String, settings: WebhookSettings, around: Surroundings) -> Self {
        Self {
            name,
            settings,
            around,
        }
    }
}

impl Channel for Webhook {
    async fn deliver(&self, delivery: &Delivery) -> DeliveryOutcome {
        let mut headers = self.settings.headers().clone();
        if let Some(token) = &self.settings.bearer_token {
            let token = match token.reveal().await {
                Ok(token) => token,
                Err(error) => return failed(error),
            };
            let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {token}")) else {
                return failed("the bearer token holds characters that no header may hold");
            };
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let json = body(delivery, &self.name, &self.around.external_url);
        match post::json(&self.settings.url, headers, json, delivery, &self.around).await {
            Ok(answer) => post::judge(&answer, "", self.around.clock.now()),
            Err(outcome) => outcome,
        }
    }
}

#[cfg(test)]
mod tests;
