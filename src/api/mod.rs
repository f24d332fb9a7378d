//! The HTTP edge: translates, authorises, nothing else.
//!
//! The way of a request: [`Server`] (connections, time-outs, TLS) -> `routes` (one table of method, path,
//! permission and query parameters) -> `guard` (Host, Origin, token, unknown parameters) -> one file
//! per resource -> `problem` for everything that goes wrong.

mod access;
mod agents;
mod alertmanager;
mod alerts;
mod body;
mod care;
mod context;
mod guard;
mod jaeger;
mod metrics;
mod notifications;
mod observe;
mod openapi;
mod own_metrics;
mod parameters;
mod problem;
mod prometheus;
mod push;
mod registration;
mod reports;
mod routes;
mod rules;
mod samples;
mod selection;
mod series;
mod server;
mod settings;
mod silences;
mod snapshot;
mod stall;
mod steps;
mod target_files;
mod tempo;
mod texts;
mod tls;
mod tokens;
mod trace_search;
mod traceql;
mod traces;
mod warnings;

#[cfg(test)]
mod tests;

pub use access::{Access, AccessError};
pub use context::{Context, Readiness};
pub use routes::router;
pub use server::{Peer, Server, ServerError};
pub use settings::{Settings, TlsFiles, TraceSettings};
pub use target_files::{LEFT_OUT_SHOWN_MAX, TargetFile, TargetFiles};
pub use traces::{GrpcServer, TraceIntake, TraceQuestionError, ask_traces};
