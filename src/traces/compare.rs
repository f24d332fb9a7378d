//! Two traces, or two profiles, side by side.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use serde_json::{Value, json};

use super::{
    profile::{CallTree, FrameNo, Profile, TraceTimes},
    text::{duration, shortened},
};
use crate::model::Span;

/// So many rows are told as text.
const ROWS_MAX: usize = 30;

/// One side of a row: of a profile, the average over its traces.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Side {
    /// Spans.
    pub count: f64,
    /// Those that failed.
    pub errors: f64,
    /// Own time of those that ended, nanoseconds.
    pub self_ns: f64,
    /// Own time on the critical path, nanoseconds.
    pub critical_ns: f64,
}

/// One `agent:operation` on both sides; a side without it is all 0.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparedLabel {
    /// `agent:operation`.
    pub label: Arc<str>,
    /// The first.
    pub before: Side,
    /// The second.
    pub after: Side,
}

impl ComparedLabel {
    /// Time that the second has more on the critical path, nanoseconds.
    pub fn critical_change_ns(&self) -> f64 {
        self.after.critical_ns - self.before.critical_ns
    }

    /// Own time that the second has more, nanoseconds.
    pub fn self_change_ns(&self) -> f64 {
        self.after.self_ns - self.before.self_ns
    }
}

/// One call path whose spans differ in number.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparedPath {
    /// Labels from the root.
    pub path: Vec<Arc<str>>,
    /// Spans of the first: of a profile, on average.
    pub before: f64,
    /// Spans of the second.
    pub after: f64,
}

/// Two traces, or two profiles, side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Traces of the first and the second.
    pub traces: (usize, usize),
    /// Durations of the main roots, nanoseconds: of a profile, on average.
    pub duration_ns: (f64, f64),
    /// By `agent:operation`, the greatest change on the critical path first, then of own time.
    pub labels: Vec<ComparedLabel>,
    /// Call paths that one has and the other has not, or more often, by path.
    pub paths: Vec<ComparedPath>,
}

/// Compares two traces.
pub fn compare(before: &[Span], after: &[Span]) -> Comparison {
    let mut tree = CallTree::default();
    let before: Vec<TraceTimes> = TraceTimes::of(before, &mut tree).into_iter().collect();
    let after: Vec<TraceTimes> = TraceTimes::of(after, &mut tree).into_iter().collect();
    let paths = |traces: &[TraceTimes]| path_counts(&tree, traces);
    comparison(&before, &after, paths(&before), paths(&after))
}

/// Compares two profiles by the average of a trace.
pub fn compare_profiles(before: &Profile, after: &Profile) -> Comparison {
    let paths = |profile: &Profile| path_counts(profile.tree(), profile.traces());
    comparison(before.traces(), after.traces(), paths(before), paths(after))
}

type Paths = BTreeMap<Vec<Arc<str>>, f64>;

/// Spans by call path, of an average trace.
fn path_counts(tree: &CallTree, traces: &[TraceTimes]) -> Paths {
    let mut sums: BTreeMap<FrameNo, u64> = BTreeMap::new();
    for (frame, count) in traces.iter().flat_map(|trace| &trace.counts) {
        *sums.entry(*frame).or_default() += count;
    }
    let each = traces.len().max(1) as f64;
    sums.into_iter()
        .map(|(frame, sum)| (tree.path(frame), sum as f64 / each))
        .collect()
}

/// An average trace by `agent:operation`.
fn sides(traces: &[TraceTimes]) -> BTreeMap<Arc<str>, Side> {
    let each = traces.len().max(1) as f64;
    let mut sides: BTreeMap<Arc<str>, Side> = BTreeMap::new();
    for (label, times) in traces.iter().flat_map(|trace| &trace.labels) {
        let side = sides.entry(label.clone()).or_default();
        side.count += times.count as f64 / each;
        side.errors += times.errors as f64 / each;
        side.self_ns += times.self_ns as f64 / each;
        side.critical_ns += times.critical_ns as f64 / each;
    }
    sides
}

fn comparison(
    before: &[TraceTimes],
    after: &[TraceTimes],
    mut paths_before: Paths,
    paths_after: Paths,
) -> Comparison {
    let average = |traces: &[TraceTimes]| {
        let sum: i128 = traces.iter().map(|t| i128::from(t.duration_ns)).sum();
        sum as f64 / traces.len().max(1) as f64
    };
    let mut rows: BTreeMap<Arc<str>, (Side, Side)> = BTreeMap::new();
    for (label, side) in sides(before) {
        rows.entry(label).or_default().0 = side;
    }
    for (label, side) in sides(after) {
        rows.entry(label).or_default().1 = side;
    }
    let mut labels: Vec<ComparedLabel> = rows
        .into_iter()
        .map(|(label, (before, after))| ComparedLabel {
            label,
            before,
            after,
        })
        .collect();
    let weight = |row: &ComparedLabel| (row.critical_change_ns().abs(), row.self_change_ns().abs());
    labels.sort_by(|a, b| {
        let ((critical_a, self_a), (critical_b, self_b)) = (weight(a), weight(b));
        critical_b
            .total_cmp(&critical_a)
            .then_with(|| self_b.total_cmp(&self_a))
    });
    let mut paths: Vec<ComparedPath> = Vec::new();
    for (path, after) in paths_after {
        let before = paths_before.remove(&path).unwrap_or_default();
        paths.push(ComparedPath {
            path,
            before,
            after,
        });
    }
    paths.extend(paths_before.into_iter().map(|(path, before)| ComparedPath {
        path,
        before,
        after: 0.0,
    }));
    paths.retain(|path| path.before != path.after);
    paths.sort_by(|a, b| a.path.cmp(&b.path));
    Comparison {
        traces: (before.len(), after.len()),
        duration_ns: (average(before), average(after)),
        labels,
        paths,
    }
}

impl Comparison {
    /// As JSON.
    pub fn to_json(&self) -> Value {
        let side = |side: &Side| {
            json!({
                "count": side.count,
                "errors": side.errors,
                "self_duration_ms": side.self_ns / 1e6,
                "critical_path_ms": side.critical_ns / 1e6,
            })
        };
        let label = |row: &ComparedLabel| {
            json!({
                "label": &*row.label,
                "before": side(&row.before),
                "after": side(&row.after),
                "critical_path_change_ms": row.critical_change_ns() / 1e6,
                "self_duration_change_ms": row.self_change_ns() / 1e6,
            })
        };
        let path = |row: &ComparedPath| {
            json!({
                "path": row.path.iter().map(|label| &**label).collect::<Value>(),
                "before": row.before,
                "after": row.after,
            })
        };
        let (before, after) = self.duration_ns;
        json!({
            "traces": {"before": self.traces.0, "after": self.traces.1},
            "duration_ms": {"before": before / 1e6, "after": after / 1e6, "change": (after - before) / 1e6},
            "operations": self.labels.iter().map(label).collect::<Value>(),
            "structure": self.paths.iter().map(path).collect::<Value>(),
        })
    }

    /// For people: rows that differ, with a newline at the end.
    pub fn to_text(&self) -> String {
        let (before, after) = self.duration_ns;
        let mut text = format!(
            "{} -> {} ({})\n",
            duration(before.round() as i64),
            duration(after.round() as i64),
            signed(after - before)
        );
        let differs = |row: &&ComparedLabel| row.before != row.after;
        let rows: Vec<&ComparedLabel> = self.labels.iter().filter(differs).collect();
        if !rows.is_empty() {
            text.push_str("\n  on path      self   spans  errors  operation\n");
        }
        for row in rows.iter().take(ROWS_MAX) {
            // Writing into a text does not fail.
            let _ = writeln!(
                text,
                "{:>9} {:>9} {:>+7} {:>+7}  {}",
                signed(row.critical_change_ns()),
                signed(row.self_change_ns()),
                tenths(row.after.count - row.before.count),
                tenths(row.after.errors - row.before.errors),
                shortened(&row.label, 60)
            );
        }
        more(&mut text, rows.len());
        if !self.paths.is_empty() {
            text.push_str("\n  before   after  call path\n");
        }
        for row in self.paths.iter().take(ROWS_MAX) {
            let path = row.path.join(" > ");
            let _ = writeln!(
                text,
                "{:>8} {:>7}  {}",
                tenths(row.before),
                tenths(row.after),
                shortened(&path, 100)
            );
        }
        more(&mut text, self.paths.len());
        text
    }
}

fn more(text: &mut String, rows: usize) {
    if rows > ROWS_MAX {
        let _ = writeln!(text, "... {} more", rows - ROWS_MAX);
    }
}

/// A number to one decimal.
fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// A difference of times.
fn signed(ns: f64) -> String {
    let told = duration(ns.round() as i64);
    if ns > 0.0 { format!("+{told}") } else { told }
}
