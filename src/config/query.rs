//! Settings of queries: `[query]`.

use super::{
    catalogue::{GIB, MIB, MINUTE_MS, setting},
    setting::{Field, Kind, Setting},
};

/// All of them.
pub(super) static SETTINGS: &[Setting] = &[
    setting!(
        "query.timeout",
        duration(1, 60 * MINUTE_MS),
        api.query_limits.timeout_ms as u64,
        "A query of PromQL that takes longer is stopped."
    ),
    setting!(
        "query.max_samples",
        count(1, 1_000_000_000_000),
        api.query_limits.max_samples as u64,
        "Samples that one query may read."
    ),
    setting!(
        "query.max_series",
        count(1, 100_000_000),
        api.query_limits.max_series as usize,
        "Series that the selectors of one query may find."
    ),
    setting!(
        "query.max_points",
        count(1, 10_000_000),
        api.query_limits.max_points as usize,
        "Steps that a range query may have."
    ),
    setting!(
        "query.max_memory",
        size(MIB, 1024 * GIB),
        api.query_limits.max_memory as usize,
        "Values that one query may hold at a time."
    ),
    setting!(
        "query.lookback",
        duration(1, 24 * 60 * MINUTE_MS),
        api.query_lookback_ms as i64,
        "How far back an instant selector looks for the newest sample, unless a query says otherwise."
    ),
];
