//! How traces are watched while the server runs.

use super::DetectorSettings;

/// Settings of what is derived from traces as they come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WatchSettings {
    /// A trace is looked at when nothing came of it for so long, milliseconds (`settle`, 10 s).
    pub settle_ms: i64,
    /// Spans that are open for so long are closed, milliseconds (`close_after`, 24 h).
    pub close_after_ms: i64,
    /// What is looked for.
    pub detectors: DetectorSettings,
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self {
            settle_ms: 10_000,
            close_after_ms: 86_400_000,
            detectors: DetectorSettings::default(),
        }
    }
}
