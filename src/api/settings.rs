//! Settings of the HTTP edge (`[http]` of the configuration).

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use crate::{
    ingest::AgentRule,
    query::{LOOKBACK_MS, QueryLimits},
};

/// Certificate chain and key as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain (`tls_cert`).
    pub cert: PathBuf,
    /// Private key (`tls_key`).
    pub key: PathBuf,
}

/// Settings of the HTTP edge.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen (`listen`, 127.0.0.1:7464).
    pub listen: SocketAddr,
    /// File of bearer tokens with their roles (`tokens_file`).
    pub tokens_file: Option<PathBuf>,
    /// Listen beyond loopback without tokens (`insecure`, false).
    pub insecure: bool,
    /// Serve TLS (`tls_cert`, `tls_key`).
    pub tls: Option<TlsFiles>,
    /// Host names beside loopback's own that requests may be addressed to (`allowed_hosts`).
    pub allowed_hosts: Vec<String>,
    /// Connections at once (`connections_max`, 1024).
    pub connections_max: usize,
    /// Bytes of a request body over the wire (`body_size_max`, 16 MiB).
    pub body_bytes_max: usize,
    /// Bytes of a request body after decompression (`decompressed_size_max`, 64 MiB).
    pub decompressed_bytes_max: usize,
    /// Milliseconds within which a request's head must have arrived (`header_timeout`, 10 s).
    pub header_timeout_ms: u64,
    /// Milliseconds within which a request's body must have arrived (`body_timeout`, 30 s).
    pub body_timeout_ms: u64,
    /// Samples that one query may return (`samples_per_query_max`, 5,000,000).
    pub samples_per_query_max: usize,
    /// What one query may use (`[query]`).
    pub query_limits: QueryLimits,
    /// How far back an instant selector looks, milliseconds (`query.lookback`, 5m).
    pub query_lookback_ms: i64,
    /// Which labels name the agent of series whose senders name all labels (`ingest.agent_labels`).
    pub agent_rule: Arc<AgentRule>,
    /// Spans (`[traces]`).
    pub traces: TraceSettings,
}

/// How spans are taken in (`[traces]` of the configuration).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceSettings {
    /// The attribute that names a span's agent, before all others (`agent_attribute`, none).
    pub agent_attribute: Option<String>,
    /// File of prices in place of the built-in ones (`prices_file`).
    pub prices_file: Option<PathBuf>,
    /// Where OTLP over gRPC is taken (`otlp_grpc_listen`, nowhere).
    pub otlp_grpc_listen: Option<SocketAddr>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7464)),
            tokens_file: None,
            insecure: false,
            tls: None,
            allowed_hosts: Vec::new(),
            connections_max: 1024,
            body_bytes_max: 16 << 20,
            decompressed_bytes_max: 64 << 20,
            header_timeout_ms: 10_000,
            body_timeout_ms: 30_000,
            samples_per_query_max: 5_000_000,
            agent_rule: Arc::default(),
            query_limits: QueryLimits::default(),
            query_lookback_ms: LOOKBACK_MS,
            traces: TraceSettings::default(),
        }
    }
}
