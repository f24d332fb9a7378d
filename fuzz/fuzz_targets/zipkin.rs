//! Spans of Zipkin v2, from arbitrary bytes.
#![no_main]

#[path = "../../tests/it/harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harness::zipkin(bytes));
