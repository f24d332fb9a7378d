//! OpenMetrics 1.0 from arbitrary bytes.
#![no_main]

use longwatch::{
    ingest::parse_scrape,
    model::{Limits, Timestamp},
};

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let at = Timestamp::from_millis(1_700_000_000_000);
    let media = Some("application/openmetrics-text");
    let _ = parse_scrape(media, body, at, false, &Limits::default());
});
