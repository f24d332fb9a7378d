//! A profile as JSON.

use serde_json::{Value, json};

use super::report::{Cohort, LabelShares, PathShare, ProfileReport};
use crate::traces::analysis::ms;

/// So many call paths are told; the folded stacks have all.
const PATHS_MAX: usize = 500;

impl ProfileReport {
    /// As JSON.
    pub fn to_json(&self) -> Value {
        let paths = self.paths.iter().take(PATHS_MAX);
        json!({
            "operation": self.operation,
            "traces": self.all.traces,
            "duration_ms": {"p50": ms(self.p50_ns), "p95": ms(self.p95_ns), "p99": ms(self.p99_ns)},
            "cohorts": {"p50": cohort(&self.middle), "p95": cohort(&self.slowest)},
            "operations": self.labels.iter().map(label).collect::<Value>(),
            "paths": paths.map(path).collect::<Value>(),
            "paths_left_out": self.paths.len().saturating_sub(PATHS_MAX),
        })
    }
}

fn cohort(of: &Cohort) -> Value {
    json!({"traces": of.traces, "total_duration_ms": of.total_ns as f64 / 1e6})
}

fn label(of: &LabelShares) -> Value {
    json!({
        "label": &*of.label,
        "count": of.count,
        "errors": of.errors,
        "critical_path_ms": of.critical_ns as f64 / 1e6,
        "share": of.share,
        "share_p50": of.share_p50,
        "share_p95": of.share_p95,
        "critical_path_ms_p50": of.p50_ns / 1e6,
        "critical_path_ms_p95": of.p95_ns / 1e6,
        "drag_ms_p50": of.drag_p50_ns / 1e6,
    })
}

fn path(of: &PathShare) -> Value {
    json!({
        "path": of.path.iter().map(|label| &**label).collect::<Value>(),
        "count": of.count,
        "critical_path_ms": of.critical_ns as f64 / 1e6,
        "share": of.share,
    })
}
