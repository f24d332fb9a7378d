//! The time that is known of: a server ran, and what it wrote can be read. Its share of a window.

use super::{spans::Spans, unread::Unread};
use crate::model::{History, Run, Window};

/// Runs of the server that began by the window's end, oldest first.
///
/// The last of them is known only up to its last commit. A tail shorter than one interval of collection
/// belongs to it, so that a report up to now does not warn about the seconds since that commit, and says
/// the same when it is asked for again later.
pub(super) fn runs_until_end(history: &dyn History, window: Window) -> Vec<Run> {
    let interval_ms = history.policy(window.to).interval_ms;
    let mut runs = history.runs();
    runs.retain(|run| run.start <= window.to);
    runs.sort_by_key(|run| (run.start, run.end));
    if let Some(last) = runs.last_mut()
        && window.to > last.end
        && window.to.since(last.end) <= interval_ms
    {
        last.end = window.to;
    }
    runs
}

/// Share of the window covered by the runs, without the time of which something cannot be read; 0 to 1, rounded to 6
/// digits.
pub(super) fn coverage(runs: &[Run], unread: &[Unread], window: Window) -> f64 {
    if window.length_ms() <= 0 {
        return 1.0;
    }
    let within = Spans::from(window.from.as_millis()..window.to.as_millis());
    let ran: Spans = runs
        .iter()
        .map(|run| run.start.as_millis()..run.end.as_millis())
        .collect();
    let lost: Spans = unread
        .iter()
        .flat_map(|unread| unread.spans.iter().cloned())
        .collect();
    let known = within.and(&ran).without(&lost);
    share(known.length_ms(), window.length_ms())
}

/// A part of a whole, 0 to 1, rounded to 6 digits; a missing moment is never rounded away.
pub(super) fn share(part_ms: i64, whole_ms: i64) -> f64 {
    let share = (part_ms as f64 / whole_ms as f64 * 1e6).round() / 1e6;
    if part_ms < whole_ms {
        share.min(0.999_999)
    } else {
        share
    }
}

#[cfg(test)]
mod tests {
    use super::{coverage, runs_until_end};
    use crate::{
        model::{Run, Timestamp, Window},
        report::fake::FakeHistory,
    };

    fn covered(runs: &[(i64, i64)], from: i64, to: i64) -> f64 {
        let at = |s: i64| Timestamp::from_millis(s * 1000);
        let history = FakeHistory {
            runs: runs
                .iter()
                .map(|(start, end)| Run {
                    start: at(*start),
                    end: at(*end),
                })
                .collect(),
            ..FakeHistory::default()
        };
        let window = Window::new(at(from), at(to));
        coverage(&runs_until_end(&history, window), &[], window)
    }

    #[test]
    fn runs_are_clipped_to_the_window() {
        assert_eq!(covered(&[(0, 2000)], 500, 1500), 1.0);
        assert_eq!(covered(&[], 500, 1500), 0.0);
        assert_eq!(covered(&[(0, 750)], 500, 1500), 0.25);
        assert_eq!(covered(&[(1000, 1200), (1300, 1400)], 500, 1500), 0.3);
        assert_eq!(covered(&[(2000, 3000)], 500, 1500), 0.0);
    }

    #[test]
    fn overlapping_runs_count_once() {
        assert_eq!(covered(&[(0, 800), (600, 1000)], 0, 2000), 0.5);
        assert_eq!(covered(&[(0, 900), (100, 200), (300, 1000)], 0, 2000), 0.5);
    }

    #[test]
    fn the_seconds_since_the_last_commit_are_no_gap() {
        assert_eq!(covered(&[(0, 1471)], 500, 1500), 1.0);
        assert_eq!(covered(&[(0, 1469)], 500, 1500), 0.969);
        // A later start does not change what is known about an earlier window.
        assert_eq!(covered(&[(0, 1471), (1600, 1700)], 500, 1500), 1.0);
        assert_eq!(covered(&[(0, 1471), (1490, 1700)], 500, 1500), 0.981);
    }

    #[test]
    fn a_short_gap_is_not_rounded_away() {
        let share = covered(&[(0, 5_000_000), (5_000_001, 10_000_000)], 0, 10_000_000);
        assert_eq!(share, 0.999_999);
    }
}
