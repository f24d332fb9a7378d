//! Blocks of spans, from arbitrary columns.
#![no_main]

#[path = "../../tests/it/harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harness::span_blocks(bytes));
