//! Prometheus text 0.0.4 from arbitrary bytes.
#![no_main]

use longwatch::{
    ingest::parse_scrape,
    model::{Limits, Timestamp},
};

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let at = Timestamp::from_millis(1_700_000_000_000);
    let _ = parse_scrape(Some("text/plain"), body, at, false, &Limits::default());
});
