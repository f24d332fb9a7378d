//! Bodies as other programs write them, and as nobody does.

mod otlp_any;
mod otlp_json;
mod otlp_metrics;
mod prompb;
mod remote_write;
mod remote_write_random;

use super::ReceivedMetrics;
use crate::model::{Batch, SeriesKey};

/// `agent series milliseconds value` of all samples, in the order of the parts.
fn lines(received: &ReceivedMetrics) -> Vec<String> {
    let parts = received.parts.iter();
    let lines = parts.flat_map(|(agent, batch)| batch_lines(agent.as_str(), batch));
    lines.collect()
}

/// The bits of `NaN` are shown.
fn batch_lines(agent: &str, batch: &Batch) -> Vec<String> {
    let rows = batch.rows().iter().map(|row| {
        let key = SeriesKey::from_bytes(batch.key(row)).unwrap();
        assert!(key.is_exact());
        let time = row.time.as_millis();
        if row.value.is_nan() {
            format!("{agent} {key} {time} {:x}", row.value.to_bits())
        } else {
            format!("{agent} {key} {time} {}", row.value)
        }
    });
    rows.collect()
}
