//! Log lines on stderr: text for people, JSON for programs.

use std::io::IsTerminal;

use crate::config::{LogFormat, LogSettings};

/// Sets logging up for the process. A second server in one process (in tests) shares the first one's.
pub(super) fn start(settings: LogSettings) {
    let with_colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt()
        .with_max_level(settings.level)
        .with_writer(std::io::stderr)
        .with_ansi(with_colour)
        .with_target(false);
    // An error here means that logging is set up already.
    let _ = match settings.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}
