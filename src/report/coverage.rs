//! The share of a window in which a server ran.

use crate::model::{History, Window};

/// Share of the window covered by runs of the server, 0 to 1, rounded to 6 digits.
///
/// The last run that began by the window's end is known only up to its last commit. A tail shorter
/// than one interval of collection counts as covered, so that a report up to now does not warn about
/// the seconds since that commit, and says the same when it is asked for again later.
pub(super) fn coverage(history: &dyn History, window: Window) -> f64 {
    let length_ms = window.length_ms();
    if length_ms <= 0 {
        return 1.0;
    }
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
    let mut covered_ms = 0;
    let mut reached = window.from;
    for run in runs {
        let start = run.start.max(reached);
        let end = run.end.min(window.to);
        if end > start {
            covered_ms += end.since(start);
            reached = end;
        }
    }
    let share = (covered_ms as f64 / length_ms as f64 * 1e6).round() / 1e6;
    if covered_ms < length_ms {
        // A missing moment must never be rounded away.
        share.min(0.999_999)
    } else {
        share
    }
}

#[cfg(test)]
mod tests {
    use super::coverage;
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
        coverage(&history, Window::new(at(from), at(to)))
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
