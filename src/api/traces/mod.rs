//! Traces over HTTP: taken in as OTLP, Zipkin and native calls; listed, shown, analysed and compared.

mod answer;
mod asked;
mod graph;
mod grpc;
mod intake;
mod list;
mod native;
mod otlp;
mod profile;
mod runs;
mod show;
mod span_json;
mod zipkin;

pub use answer::{TraceQuestionError, ask_traces};
pub use grpc::GrpcServer;
pub use intake::TraceIntake;

pub(super) use graph::{GRAPH_PARAMETERS, agent_graph};
pub(super) use list::{LIST_PARAMETERS, OPEN_PARAMETERS, list, open_spans};
pub(super) use native::{finish, log, pin, start, unpin};
pub(super) use otlp::{
    answer as otlp_answer, failure as otlp_failure, format_of as otlp_format, logs as otlp_logs,
    traces as otlp_traces,
};
pub(super) use profile::{PROFILE_PARAMETERS, profile};
pub(super) use runs::{RUN_PARAMETERS, runs};
pub(super) use show::{SHOW_PARAMETERS, analysis, compare, show};
pub(super) use zipkin::spans as zipkin_spans;
