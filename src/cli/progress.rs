//! Progress of what takes long, on stderr, on a terminal only.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// What is done sooner than this needs no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// How progress towards a known total looks.
const BAR: &str = "{msg} [{bar:40}] {percent}% {eta}";
/// How progress without a known total looks.
const SPINNER: &str = "{msg} {spinner} {binary_bytes}";

/// A bar that shows up once the work has taken a while.
pub(super) struct Progress {
    what: &'static str,
    begun: Instant,
    is_wanted: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Begins work that is called `what`.
    pub(super) fn of(what: &'static str) -> Self {
        Self {
            what,
            begun: Instant::now(),
            is_wanted: std::io::stderr().is_terminal(),
            bar: None,
        }
    }

    /// So much of the total is done; a total of 0 is not known.
    pub(super) fn at(&mut self, done: u64, total: u64) {
        if !self.is_wanted || (self.bar.is_none() && self.begun.elapsed() < PATIENCE) {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| new_bar(self.what, total));
        if total > 0 {
            bar.set_length(total);
        }
        bar.set_position(done);
    }

    /// Takes the bar away.
    pub(super) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn new_bar(what: &'static str, total: u64) -> ProgressBar {
    let (bar, template) = if total > 0 {
        (ProgressBar::new(total), BAR)
    } else {
        (ProgressBar::new_spinner(), SPINNER)
    };
    // A template that is not understood leaves the library's own.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.with_message(what)
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_understood() {
        for template in [BAR, SPINNER] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
