//! The JSON document of a push from arbitrary bytes.
#![no_main]

use longwatch::{
    ingest::parse_push,
    model::{Limits, Timestamp},
};

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let now = Timestamp::from_millis(1_700_000_000_000);
    let _ = parse_push(body, now, &Limits::default());
});
