//! Settings of the store (`[storage]` of the configuration).

use std::sync::Arc;

use super::{forwarding::SpoolBounds, traces::Kept};
use crate::{
    alerts::Routing,
    model::{DAY_MS, Limits, Policy, RetentionRule},
};

/// Settings of the store.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Samples older than this are deleted, whole UTC days at a time; milliseconds (`retention`, 30 d).
    pub retention_ms: i64,
    /// Series that are kept for a shorter time; the first rule that a series fits counts (`retention_rules`, none).
    pub retention_rules: Vec<RetentionRule>,
    /// Samples and rollups may take so many bytes of the file; beyond it the oldest days are deleted early; 0 for no
    /// limit (`retention_size`, 0).
    pub retention_bytes: u64,
    /// What days add up to is kept so long, also after their samples; milliseconds (`rollup_retention`, 400 d).
    pub rollup_retention_ms: i64,
    /// Alerts are kept so long after they resolved; milliseconds (`alert_retention`, 400 d).
    pub alert_retention_ms: i64,
    /// Bytes of the engine's page cache (`cache_size`, 64 MiB).
    pub cache_bytes: usize,
    /// Bytes of samples in memory that start a checkpoint (`head_size`, 64 MB).
    pub head_bytes_max: usize,
    /// Samples in the write-ahead log that start a checkpoint, so that opening after a kill is quick (1,000,000).
    pub wal_samples_max: u64,
    /// A checkpoint starts at the latest so long after the last one; milliseconds (`checkpoint_interval`, 1 h).
    pub checkpoint_interval_ms: i64,
    /// Samples that nobody waits for, and the judging of silent agents, share a commit for at most so long; milliseconds
    /// (`scrape_commit_delay`, 5 s).
    pub scrape_commit_delay_ms: i64,
    /// Bytes per second that commits may cost beside their payload; above it commits are delayed (`commit_write_budget`, 1 MB).
    pub commit_write_budget: u64,
    /// Bytes per second that merging blocks may write (`merge_write_budget`, 8 MB).
    pub merge_write_budget: u64,
    /// Samples further ahead than this are refused; milliseconds (10 min).
    pub future_ms_max: i64,
    /// Rows of one class of writers (pushes, scrapes) that may wait for the committer; beyond it appends are refused
    /// with "try again" (1,000,000).
    pub queue_rows_max: usize,
    /// Bytes of memory that they may take, also per class (`queue_size`, 64 MiB).
    pub queue_bytes_max: usize,
    /// Bytes of the database's disk that are kept free of new samples (`disk_reserve`); `None` takes 256 MB, or a
    /// twentieth of the disk where that is less.
    pub disk_reserve: Option<u64>,
    /// First pause between two tries to write after an error of the disk; milliseconds (1 s). Later ones are up to 30
    /// times as long.
    pub retry_pause_ms: i64,
    /// Bounds of what waits to be forwarded; `None` where nothing is (`[forward]`).
    pub spool: Option<SpoolBounds>,
    /// Whether the file is the spool of an agent on another host, which forwards all that it has, not a database.
    pub is_spool: bool,
    /// How traces are kept (`[traces]`).
    pub traces: Kept,
    /// Limits on series.
    pub limits: Limits,
    /// Who is told of alerts, and when (`[notify]`).
    pub routing: Arc<Routing>,
    /// What decides results; written into the file when it changed.
    pub policy: Policy,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retention_ms: 30 * DAY_MS,
            retention_rules: Vec::new(),
            retention_bytes: 0,
            rollup_retention_ms: 400 * DAY_MS,
            alert_retention_ms: 400 * DAY_MS,
            cache_bytes: 64 << 20,
            head_bytes_max: 64_000_000,
            wal_samples_max: 1_000_000,
            checkpoint_interval_ms: 3_600_000,
            scrape_commit_delay_ms: 5_000,
            commit_write_budget: 1_000_000,
            merge_write_budget: 8_000_000,
            future_ms_max: 600_000,
            queue_rows_max: 1_000_000,
            queue_bytes_max: 64 << 20,
            disk_reserve: None,
            retry_pause_ms: 1_000,
            spool: None,
            is_spool: false,
            traces: Kept::default(),
            limits: Limits::default(),
            routing: Arc::default(),
            policy: Policy::default(),
        }
    }
}
