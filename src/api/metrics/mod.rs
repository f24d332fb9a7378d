//! Metrics whose senders name all labels: remote write and OTLP.

mod otlp;
mod record;
mod remote_write;

pub(super) use otlp::metrics as otlp_metrics;
pub(super) use remote_write::write;
