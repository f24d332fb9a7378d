//! Records of tables: small structs behind an encoding byte and a version of their own.
//!
//! ```text
//! encoding: u8 | version: u8 | body
//! encoding 1 = bincode 2 (standard configuration: little endian, variable-length integers)
//! ```
//! bincode cannot read old bytes into a struct with new fields. So every record type here is frozen
//! once released: a new field makes a new type and a new version, and the old decoder stays. This
//! file is the only one that names bincode, so that it can be replaced behind the encoding byte.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Corrupt;
use crate::model::{
    HealthWeights, MetricKind, Policy, Registration, RegistrationSource, SeriesKey,
};

/// Encoding byte of bincode 2 with its standard configuration.
const ENCODING_BINCODE: u8 = 1;
/// No record comes near this (names, labels and texts are bounded before they are written); a damaged
/// length must not allocate more.
const RECORD_BYTES_MAX: usize = 64 << 20;

/// Why a record could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Bytes that no longwatch wrote.
    #[error("{0}")]
    Corrupt(Corrupt),
    /// A version that this binary does not know.
    #[error("{what} record of version {version}")]
    Newer {
        /// Which record.
        what: &'static str,
        /// Its version.
        version: u8,
    },
}

impl From<Corrupt> for RecordError {
    fn from(corrupt: Corrupt) -> Self {
        Self::Corrupt(corrupt)
    }
}

fn encode<T: Serialize>(version: u8, body: &T) -> Vec<u8> {
    let mut out = vec![ENCODING_BINCODE, version];
    // Encoding these structs into memory cannot fail; an empty body would be refused on reading.
    if let Ok(bytes) = bincode::serde::encode_to_vec(body, bincode::config::standard()) {
        out.extend_from_slice(&bytes);
    }
    out
}

pub(super) fn decode<T: DeserializeOwned>(
    what: &'static str,
    version: u8,
    bytes: &[u8],
) -> Result<T, RecordError> {
    let [encoding, found, body @ ..] = bytes else {
        return Err(Corrupt::new("a record is too short").into());
    };
    if *encoding != ENCODING_BINCODE || *found > version {
        return Err(RecordError::Newer {
            what,
            version: *found,
        });
    }
    if *found != version {
        return Err(Corrupt::new("a record has an unknown version").into());
    }
    let config = bincode::config::standard().with_limit::<RECORD_BYTES_MAX>();
    match bincode::serde::decode_from_slice(body, config) {
        Ok((value, used)) if used == body.len() => Ok(value),
        Ok(_) => Err(Corrupt::new("a record has bytes left over").into()),
        Err(_) => Err(Corrupt::new("a record cannot be decoded").into()),
    }
}

/// Row of `agents`: the id is an attribute of the number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// The agent's id.
    pub id: String,
    /// When the number was given, in milliseconds since the epoch.
    pub created_ms: i64,
}

impl AgentRecord {
    /// Bytes of the row.
    pub fn encode(&self) -> Vec<u8> {
        encode(1, self)
    }

    /// Reads a row.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        decode("agent", 1, bytes)
    }
}

/// Row of `agent_events`: what became of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentEvent {
    /// Registered, anew or for the first time.
    Registered(Registration),
    /// The registration changed.
    Updated(Registration),
    /// Ended.
    Deregistered,
}

#[derive(Serialize, Deserialize)]
struct RegistrationV1 {
    metrics_endpoint: Option<String>,
    health_endpoint: Option<String>,
    interval_ms: Option<i64>,
    pid: Option<u32>,
    labels: Vec<(String, String)>,
    info: String,
    honor_labels: bool,
    source: u8,
}

#[derive(Serialize, Deserialize)]
struct AgentEventV1 {
    kind: u8,
    registration: Option<RegistrationV1>,
}

/// Since version 2: time-out, start of the process, the source 5.
#[derive(Serialize, Deserialize)]
struct RegistrationV2 {
    metrics_endpoint: Option<String>,
    health_endpoint: Option<String>,
    interval_ms: Option<i64>,
    timeout_ms: Option<i64>,
    pid: Option<u32>,
    pid_start: Option<String>,
    labels: Vec<(String, String)>,
    info: String,
    honor_labels: bool,
    source: u8,
}

#[derive(Serialize, Deserialize)]
struct AgentEventV2 {
    kind: u8,
    registration: Option<RegistrationV2>,
}

impl From<RegistrationV1> for RegistrationV2 {
    fn from(v1: RegistrationV1) -> Self {
        Self {
            metrics_endpoint: v1.metrics_endpoint,
            health_endpoint: v1.health_endpoint,
            interval_ms: v1.interval_ms,
            timeout_ms: None,
            pid: v1.pid,
            pid_start: None,
            labels: v1.labels,
            info: v1.info,
            honor_labels: v1.honor_labels,
            source: v1.source,
        }
    }
}

impl RegistrationV2 {
    fn of(r: &Registration) -> Self {
        Self {
            metrics_endpoint: r.metrics_endpoint.clone(),
            health_endpoint: r.health_endpoint.clone(),
            interval_ms: r.interval_ms,
            timeout_ms: r.timeout_ms,
            pid: r.pid,
            pid_start: r.pid_start.clone(),
            labels: r.labels.clone(),
            info: r.info.clone(),
            honor_labels: r.honor_labels,
            source: match r.source {
                RegistrationSource::Config => 1,
                RegistrationSource::Api => 2,
                RegistrationSource::Push => 3,
                RegistrationSource::Builtin => 4,
                RegistrationSource::FileSd => 5,
            },
        }
    }

    fn into_model(self) -> Result<Registration, Corrupt> {
        let source = match self.source {
            1 => RegistrationSource::Config,
            2 => RegistrationSource::Api,
            3 => RegistrationSource::Push,
            4 => RegistrationSource::Builtin,
            5 => RegistrationSource::FileSd,
            _ => return Err(Corrupt::new("an agent event has an unknown source")),
        };
        Ok(Registration {
            metrics_endpoint: self.metrics_endpoint,
            health_endpoint: self.health_endpoint,
            interval_ms: self.interval_ms,
            timeout_ms: self.timeout_ms,
            pid: self.pid,
            pid_start: self.pid_start,
            labels: self.labels,
            info: self.info,
            honor_labels: self.honor_labels,
            source,
        })
    }
}

impl AgentEvent {
    /// Bytes of the row.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, registration) = match self {
            Self::Registered(r) => (1, Some(r)),
            Self::Updated(r) => (2, Some(r)),
            Self::Deregistered => (3, None),
        };
        let registration = registration.map(RegistrationV2::of);
        encode(2, &AgentEventV2 { kind, registration })
    }

    /// Reads a row.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        const WHAT: &str = "agent event";
        let (kind, registration) = if bytes.get(1) == Some(&1) {
            let v1: AgentEventV1 = decode(WHAT, 1, bytes)?;
            (v1.kind, v1.registration.map(RegistrationV2::from))
        } else {
            let v2: AgentEventV2 = decode(WHAT, 2, bytes)?;
            (v2.kind, v2.registration)
        };
        let registration = registration.map(RegistrationV2::into_model).transpose()?;
        match (kind, registration) {
            (1, Some(r)) => Ok(Self::Registered(r)),
            (2, Some(r)) => Ok(Self::Updated(r)),
            (3, None) => Ok(Self::Deregistered),
            _ => Err(Corrupt::new("an agent event has an unknown kind").into()),
        }
    }
}

/// Row of `series`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesRecord {
    /// Name and labels.
    pub key: SeriesKey,
    /// Group of the agent's series that share blocks.
    pub group: u32,
    /// Retention class; 0 is the file's retention of samples.
    pub retention_class: u8,
    /// When the series was first seen, in milliseconds since the epoch.
    pub created_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct SeriesV1 {
    key: Vec<u8>,
    group: u32,
    retention_class: u8,
    created_ms: i64,
}

impl SeriesRecord {
    /// Bytes of the row.
    pub fn encode(&self) -> Vec<u8> {
        let key = self.key.as_bytes().to_vec();
        let Self {
            group,
            retention_class,
            created_ms,
            ..
        } = *self;
        encode(
            1,
            &SeriesV1 {
                key,
                group,
                retention_class,
                created_ms,
            },
        )
    }

    /// Reads a row.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let v1: SeriesV1 = decode("series", 1, bytes)?;
        let key = SeriesKey::from_bytes(&v1.key)
            .ok_or(Corrupt::new("a series' key is not in canonical form"))?;
        Ok(Self {
            key,
            group: v1.group,
            retention_class: v1.retention_class,
            created_ms: v1.created_ms,
        })
    }
}

/// Row of `metrics`: metadata of a metric of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricRecord {
    /// Kind.
    pub kind: MetricKind,
    /// Help text.
    pub help: String,
    /// Unit.
    pub unit: String,
}

#[derive(Serialize, Deserialize)]
struct MetricV1 {
    kind: u8,
    help: String,
    unit: String,
}

const KINDS: [MetricKind; 8] = [
    MetricKind::Counter,
    MetricKind::Gauge,
    MetricKind::Histogram,
    MetricKind::Summary,
    MetricKind::Unknown,
    MetricKind::Info,
    MetricKind::StateSet,
    MetricKind::GaugeHistogram,
];

impl MetricRecord {
    /// Bytes of the row.
    pub fn encode(&self) -> Vec<u8> {
        let kind = KINDS.iter().position(|k| *k == self.kind).unwrap_or(1) as u8;
        encode(
            1,
            &MetricV1 {
                kind,
                help: self.help.clone(),
                unit: self.unit.clone(),
            },
        )
    }

    /// Reads a row.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let v1: MetricV1 = decode("metric", 1, bytes)?;
        let kind = *KINDS
            .get(usize::from(v1.kind))
            .ok_or(Corrupt::new("a metric has an unknown kind"))?;
        Ok(Self {
            kind,
            help: v1.help,
            unit: v1.unit,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct PolicyV1 {
    health_window_ms: i64,
    /// In the order of [`HealthWeights`]: bound and points, four times; status; alert.
    health: [f64; 10],
    interval_ms: i64,
    stale_after_intervals: u32,
    job: String,
}

/// Bytes of a row of `policies`.
pub fn encode_policy(policy: &Policy) -> Vec<u8> {
    let w = &policy.health;
    let health = [
        w.cpu_critical_percent,
        w.cpu_critical_points,
        w.cpu_high_percent,
        w.cpu_high_points,
        w.memory_critical_percent,
        w.memory_critical_points,
        w.memory_high_percent,
        w.memory_high_points,
        w.status_points,
        w.alert_points,
    ];
    let body = PolicyV1 {
        health_window_ms: policy.health_window_ms,
        health,
        interval_ms: policy.interval_ms,
        stale_after_intervals: policy.stale_after_intervals,
        job: policy.job.clone(),
    };
    encode(1, &body)
}

/// Reads a row of `policies`.
pub fn decode_policy(bytes: &[u8]) -> Result<Policy, RecordError> {
    let v1: PolicyV1 = decode("policy", 1, bytes)?;
    let h = v1.health;
    Ok(Policy {
        health_window_ms: v1.health_window_ms,
        health: HealthWeights {
            cpu_critical_percent: h[0],
            cpu_critical_points: h[1],
            cpu_high_percent: h[2],
            cpu_high_points: h[3],
            memory_critical_percent: h[4],
            memory_critical_points: h[5],
            memory_high_percent: h[6],
            memory_high_points: h[7],
            status_points: h[8],
            alert_points: h[9],
        },
        interval_ms: v1.interval_ms,
        stale_after_intervals: v1.stale_after_intervals,
        job: v1.job,
    })
}

/// Row of `runs`: one life of a server on this file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// When it ended, in milliseconds since the epoch; `None` while it lives or after a kill.
    pub end_ms: Option<i64>,
    /// Version of longwatch.
    pub version: String,
}

impl RunRecord {
    /// Bytes of the row.
    pub fn encode(&self) -> Vec<u8> {
        encode(1, self)
    }

    /// Reads a row.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        decode("run", 1, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip_and_their_bytes_are_frozen() {
        let agent = AgentRecord {
            id: "a7".into(),
            created_ms: 5,
        };
        assert_eq!(agent.encode(), [1, 1, 2, b'a', b'7', 10]);
        assert_eq!(AgentRecord::decode(&agent.encode()), Ok(agent));

        let series = SeriesRecord {
            key: SeriesKey::new("m", &[("a", "b")]).unwrap(),
            group: 3,
            retention_class: 0,
            created_ms: -1,
        };
        assert_eq!(
            series.encode(),
            [1, 1, 6, 1, b'm', 1, b'a', 1, b'b', 3, 0, 1]
        );
        assert_eq!(SeriesRecord::decode(&series.encode()), Ok(series));

        let mut registration = Registration::bare(RegistrationSource::FileSd);
        registration.pid = Some(9);
        registration.pid_start = Some("b:7".into());
        registration.timeout_ms = Some(1);
        let event = AgentEvent::Updated(registration.clone());
        let bytes = [
            1, 2, 2, 1, 0, 0, 0, 1, 2, 1, 9, 1, 3, b'b', b':', b'7', 0, 2, b'{', b'}', 0, 5,
        ];
        assert_eq!(event.encode(), bytes);
        for event in [
            AgentEvent::Registered(registration),
            event,
            AgentEvent::Deregistered,
        ] {
            assert_eq!(AgentEvent::decode(&event.encode()), Ok(event));
        }
        // As version 1 wrote it.
        let bytes = [1, 1, 1, 1, 0, 0, 0, 1, 9, 0, 2, b'{', b'}', 0, 2];
        let registration = Registration {
            pid: Some(9),
            ..Registration::bare(RegistrationSource::Api)
        };
        let event = AgentEvent::Registered(registration);
        assert_eq!(AgentEvent::decode(&bytes), Ok(event));

        let policy = Policy {
            job: "j".into(),
            ..Policy::default()
        };
        assert_eq!(decode_policy(&encode_policy(&policy)), Ok(policy));
    }

    #[test]
    fn newer_and_damaged_records_are_told_apart() {
        let mut bytes = AgentRecord {
            id: "a".into(),
            created_ms: 0,
        }
        .encode();
        bytes[1] = 2;
        assert_eq!(
            AgentRecord::decode(&bytes),
            Err(RecordError::Newer {
                what: "agent",
                version: 2
            })
        );
        bytes[1] = 1;
        bytes[2] = 200;
        assert!(matches!(
            AgentRecord::decode(&bytes),
            Err(RecordError::Corrupt(_))
        ));
        assert!(matches!(
            AgentRecord::decode(&[]),
            Err(RecordError::Corrupt(_))
        ));
    }
}
