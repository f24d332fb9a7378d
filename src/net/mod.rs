//! Guarded HTTP client for addresses that others name: scrape targets, probes, later notifications.

mod settings;

pub use settings::Settings;
