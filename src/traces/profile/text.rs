//! A profile for people.

use std::fmt::Write as _;

use super::report::ProfileReport;

/// So many lines of operations are told.
const LINES_MAX: usize = 40;

impl ProfileReport {
    /// As text: how long the traces took, and where on their critical paths.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        let seconds = |ns: i64| ns as f64 / 1e9;
        let operation = self.operation.as_deref().unwrap_or("any operation");
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{} traces of {operation}: p50 {:.3} s, p95 {:.3} s, p99 {:.3} s",
            self.all.traces,
            seconds(self.p50_ns),
            seconds(self.p95_ns),
            seconds(self.p99_ns),
        );
        let _ = writeln!(
            out,
            "{:>9} {:>9} {:>10} {:>10} {:>10} {:>7} {:>7}  agent:operation",
            "at p50", "at p95", "p50 s", "p95 s", "drag s", "spans", "errors"
        );
        for label in self.labels.iter().take(LINES_MAX) {
            let _ = writeln!(
                out,
                "{:>8.1}% {:>8.1}% {:>10.3} {:>10.3} {:>10.3} {:>7} {:>7}  {}",
                label.share_p50 * 100.0,
                label.share_p95 * 100.0,
                label.p50_ns / 1e9,
                label.p95_ns / 1e9,
                label.drag_p50_ns / 1e9,
                label.count,
                label.errors,
                label.label,
            );
        }
        let left_out = self.labels.len().saturating_sub(LINES_MAX);
        if left_out > 0 {
            let _ = writeln!(out, "... {left_out} more operations");
        }
        out
    }
}
