//! Rows of alerting: alerts, their events and evidence, rules, silences, groups, the outbox.
//!
//! ```text
//! encoding: u8 | version: u8 | body
//! encoding 2 = JSON: fields that a later version adds have defaults, unknown ones are ignored
//! ```
//! Rows of encoding 1 (bincode) are those of schema 1 and 2.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Corrupt, RecordError, record::decode};
use crate::model::{
    AgentNo, Alert, AlertEvent, AlertEventKind, AlertSource, Delivery, Evidence, GroupState,
    MatchOperator, Matcher, OccurrenceNo, RuleOrigin, Severity, Silence, Timestamp,
};

const ENCODING_JSON: u8 = 2;
const JSON_VERSION: u8 = 1;

fn to_json<T: Serialize>(body: &T) -> Vec<u8> {
    let mut out = vec![ENCODING_JSON, JSON_VERSION];
    // Writing these values into memory cannot fail; an empty body would be refused on reading.
    let _ = serde_json::to_writer(&mut out, body);
    out
}

fn from_json<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, RecordError> {
    let [encoding, version, body @ ..] = bytes else {
        return Err(Corrupt::new("a record is too short").into());
    };
    if *encoding != ENCODING_JSON || *version > JSON_VERSION {
        return Err(RecordError::Newer {
            what,
            version: *version,
        });
    }
    serde_json::from_slice(body)
        .map_err(|_| Corrupt::new("a record of alerting cannot be decoded").into())
}

#[derive(Deserialize)]
struct AlertV1 {
    alert_id: String,
    name: String,
    severity: u8,
    description: String,
    resolved_ms: Option<i64>,
}

/// Bytes of a row of `alerts`; agent, time and occurrence are its key.
pub fn encode_alert(alert: &Alert) -> Vec<u8> {
    to_json(alert)
}

/// Reads a row of `alerts`.
pub fn decode_alert(
    agent: AgentNo,
    active_at: Timestamp,
    occurrence: OccurrenceNo,
    bytes: &[u8],
) -> Result<Alert, RecordError> {
    if bytes.first() == Some(&ENCODING_JSON) {
        let alert: Alert = from_json("alert", bytes)?;
        return Ok(Alert {
            occurrence,
            agent,
            active_at,
            ..alert
        });
    }
    // Of the time when there was the health alert only, which fires at once.
    let v1: AlertV1 = decode("alert", 1, bytes)?;
    let severity = *Severity::ALL
        .get(usize::from(v1.severity))
        .ok_or(Corrupt::new("an alert has an unknown severity"))?;
    Ok(Alert {
        description: v1.description,
        source: AlertSource::Health,
        resolved_at: v1.resolved_ms.map(Timestamp::from_millis),
        ..Alert::fired(occurrence, agent, v1.alert_id, v1.name, severity, active_at)
    })
}

#[derive(Deserialize)]
struct AlertEventV1 {
    kind: u8,
    reason: String,
}

#[derive(Serialize, Deserialize)]
struct AlertEventBody {
    kind: AlertEventKind,
    reason: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    actor: String,
}

/// Bytes of a row of `alert_events`; agent, time, occurrence are its key.
pub fn encode_alert_event(event: &AlertEvent) -> Vec<u8> {
    to_json(&AlertEventBody {
        kind: event.kind,
        reason: event.reason.clone(),
        actor: event.actor.clone(),
    })
}

/// Reads a row of `alert_events`.
pub fn decode_alert_event(
    time: Timestamp,
    occurrence: OccurrenceNo,
    bytes: &[u8],
) -> Result<AlertEvent, RecordError> {
    let body = if bytes.first() == Some(&ENCODING_JSON) {
        from_json("alert event", bytes)?
    } else {
        let v1: AlertEventV1 = decode("alert event", 1, bytes)?;
        let kind = match v1.kind {
            1 => AlertEventKind::Fired,
            2 => AlertEventKind::Resolved,
            _ => return Err(Corrupt::new("an alert event has an unknown kind").into()),
        };
        AlertEventBody {
            kind,
            reason: v1.reason,
            actor: String::new(),
        }
    };
    Ok(AlertEvent {
        occurrence,
        time,
        kind: body.kind,
        reason: body.reason,
        actor: body.actor,
    })
}

/// Bytes of a row of `alert_evidence`.
pub fn encode_evidence(evidence: &Evidence) -> Vec<u8> {
    to_json(evidence)
}

/// Reads a row of `alert_evidence`.
pub fn decode_evidence(bytes: &[u8]) -> Result<Evidence, RecordError> {
    from_json("alert evidence", bytes)
}

/// Row of `rules`; the name is its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRecord {
    /// The rule as JSON.
    pub definition: String,
    /// Where it comes from: `config`, `directory`, `api`.
    pub origin: String,
    /// When it came or changed last.
    pub updated_at: Timestamp,
}

impl RuleRecord {
    /// Bytes of the row.
    pub fn encode(&self) -> Vec<u8> {
        to_json(self)
    }

    /// Reads a row.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        from_json("rule", bytes)
    }

    /// Where it comes from.
    pub fn origin(&self) -> Option<RuleOrigin> {
        [RuleOrigin::Config, RuleOrigin::Directory, RuleOrigin::Api]
            .into_iter()
            .find(|origin| origin.as_str() == self.origin)
    }
}

#[derive(Serialize, Deserialize)]
struct SilenceBody {
    matchers: Vec<(String, bool, bool, String)>,
    starts_at: Timestamp,
    ends_at: Timestamp,
    created_by: String,
    comment: String,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// Bytes of a row of `silences`; the id is its key.
pub fn encode_silence(silence: &Silence) -> Vec<u8> {
    let matchers = silence.matchers.iter().map(|m| {
        let operator = m.operator();
        let (name, value) = (m.name().to_owned(), m.value().to_owned());
        (name, operator.is_equal(), operator.is_regex(), value)
    });
    to_json(&SilenceBody {
        matchers: matchers.collect(),
        starts_at: silence.starts_at,
        ends_at: silence.ends_at,
        created_by: silence.created_by.clone(),
        comment: silence.comment.clone(),
        created_at: silence.created_at,
        updated_at: silence.updated_at,
    })
}

/// Reads a row of `silences`.
pub fn decode_silence(id: &str, bytes: &[u8]) -> Result<Silence, RecordError> {
    let body: SilenceBody = from_json("silence", bytes)?;
    let matchers = body
        .matchers
        .into_iter()
        .map(|(name, is_equal, is_regex, value)| {
            Matcher::new(name, MatchOperator::of_switches(is_equal, is_regex), value)
        });
    let matchers = matchers.collect::<Result<_, _>>();
    Ok(Silence {
        id: id.to_owned(),
        matchers: matchers.map_err(|_| Corrupt::new("a silence has a bad matcher"))?,
        starts_at: body.starts_at,
        ends_at: body.ends_at,
        created_by: body.created_by,
        comment: body.comment,
        created_at: body.created_at,
        updated_at: body.updated_at,
    })
}

/// Bytes of a row of `notify_groups`; the group's key is its key.
pub fn encode_group(group: &GroupState) -> Vec<u8> {
    to_json(group)
}

/// Reads a row of `notify_groups`.
pub fn decode_group(bytes: &[u8]) -> Result<GroupState, RecordError> {
    from_json("notification group", bytes)
}

/// Bytes of a row of `outbox`; its place is its key.
pub fn encode_delivery(delivery: &Delivery) -> Vec<u8> {
    to_json(delivery)
}

/// Reads a row of `outbox`.
pub fn decode_delivery(sequence: u64, bytes: &[u8]) -> Result<Delivery, RecordError> {
    let delivery: Delivery = from_json("delivery", bytes)?;
    Ok(Delivery {
        sequence,
        ..delivery
    })
}
