//! What files in YAML share: places, and mistakes with a place.

use serde_saphyr::{Error, Location, UserMessageFormatter};

use super::{ConfigError, Origin, file::Source};

/// A place of a file.
pub(super) fn place(source: &Source, location: Location) -> Origin {
    Origin::Place {
        path: source.path().to_owned(),
        line: (location.line() as usize).max(1),
        column: (location.column() as usize).max(1),
    }
}

/// What the parser says, in one line, the place apart.
pub(super) fn mistake(source: &Source, error: &Error) -> ConfigError {
    let location = error.location().unwrap_or(Location::UNKNOWN);
    let text = error.render_with_formatter(&UserMessageFormatter);
    let tail = format!(" at line {}, column {}", location.line(), location.column());
    let reason = text.strip_suffix(&tail).unwrap_or(&text);
    ConfigError {
        origin: place(source, location),
        key: String::new(),
        reason: reason.lines().collect::<Vec<_>>().join("; "),
    }
}
