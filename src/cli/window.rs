//! Windows of time on the command line, and the file that they are of.

use std::path::Path;

use clap::Args;

use super::{
    command::usage,
    failure::{Failure, Status},
};
use crate::{
    model::{Timestamp, Window, parse_duration_ms, parse_time},
    store::{self, View},
};

/// Length of a window unless said otherwise.
pub(super) const WINDOW_DEFAULT: &str = "24h";

/// A window of time.
#[derive(Debug, Args)]
pub(super) struct WindowArgs {
    /// Length of the window that ends at --to [default: 24h]
    #[arg(long, value_name = "DURATION", conflicts_with = "from")]
    pub(super) window: Option<String>,
    /// Beginning: RFC 3339, unix seconds, or relative to now such as -24h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) from: Option<String>,
    /// End [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) to: Option<String>,
}

impl WindowArgs {
    /// Finds mistakes that show without knowing what "now" is.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let any_moment = Timestamp::from_millis(0);
        for (flag, text) in [("--from", &self.from), ("--to", &self.to)] {
            if let Some(text) = text {
                read_time(flag, text, any_moment)?;
            }
        }
        self.length_ms().map(drop)
    }

    /// Its length in milliseconds, unless a beginning is given.
    pub(super) fn length_ms(&self) -> Result<i64, Failure> {
        match parse_duration_ms(self.length()) {
            Ok(0) => Err(usage("--window: must be longer than 0")),
            Ok(ms) => Ok(ms),
            Err(e) => Err(usage(format!("--window: {e}"))),
        }
    }

    /// The same as it was given.
    pub(super) fn length(&self) -> &str {
        self.window.as_deref().unwrap_or(WINDOW_DEFAULT)
    }

    /// The window, seen from a moment.
    pub(super) fn at(&self, now: Timestamp) -> Result<Window, Failure> {
        let to = match &self.to {
            Some(text) => read_time("--to", text, now)?,
            None => now,
        };
        let Some(from) = &self.from else {
            return Ok(Window::ending_at(to, self.length_ms()?));
        };
        let from = read_time("--from", from, now)?;
        if from >= to {
            return Err(usage(format!("--from ({from}) must be before --to ({to})")));
        }
        Ok(Window::new(from, to))
    }
}

/// Reads a time that a flag gives.
pub(super) fn read_time(flag: &str, text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    parse_time(text, now).map_err(|e| usage(format!("{flag}: {e}")))
}

/// Opens a file or a copy of one; "now" is the last moment that was committed to it.
pub(super) fn open(db: &Path) -> Result<(View, Timestamp), Failure> {
    let view = store::open_copy(db)?;
    let now = view.last_commit().ok_or_else(|| {
        let reason = format!("{}: nothing was committed to it yet", db.display());
        Failure::new(Status::NotHeld, reason)
    })?;
    Ok((view, now))
}
