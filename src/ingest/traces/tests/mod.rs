//! Tests of the formats of traces.

mod foreign;
mod otlp;
mod round_trips;

use std::{fs, path::PathBuf};

use super::*;
use crate::model::Span;

/// A file of the others' test data; `None` where they are absent.
fn conformance(path: &str) -> Option<Vec<u8>> {
    let root: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "shared", "conformance"]
        .iter()
        .collect();
    if !root.is_dir() {
        println!("SKIPPED: ../shared/conformance is absent");
        return None;
    }
    Some(fs::read(root.join(path)).unwrap())
}

/// Both formats say the same, also when written again.
fn check_round_trip(spans: &[Span]) {
    let limits = SpanLimits::default();
    let of_json = parse_otlp_json(to_otlp_json(spans).to_string().as_bytes(), &limits).unwrap();
    let of_protobuf = parse_otlp_protobuf(&to_otlp_protobuf(spans), &limits).unwrap();
    // NaNs are equal to nothing.
    assert_eq!(format!("{of_json:?}"), format!("{of_protobuf:?}"));
    let sorted = |spans: &[Span]| {
        let mut texts: Vec<_> = spans.iter().map(|span| format!("{span:?}")).collect();
        texts.sort();
        texts
    };
    assert_eq!(sorted(spans), sorted(&of_json.spans));
}
