//! Metrics of OTLP, from arbitrary JSON.
#![no_main]

#[path = "../../tests/it/harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harness::otlp_metrics_json(bytes));
