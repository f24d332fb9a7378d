//! What the committer and the readers of one open file share.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize},
    },
};

use parking_lot::Mutex;
use redb::{Database, ReadableDatabase};
use tokio::sync::watch;

use super::{
    Settings, backend::FileCounters, catalog::Catalog, head::Heads, inventory::Inventory,
    moment::Moment,
};
use crate::{
    model::{Clock, Timestamp},
    telemetry::OwnMetrics,
};

/// What changes with each commit and is read by views.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) heads: Arc<Heads>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) last_commit: Option<Timestamp>,
    /// Counts commits that changed blocks.
    pub(super) block_epoch: u64,
}

/// What the committer and the readers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) database: Arc<Database>,
    pub(super) live: Mutex<Live>,
    pub(super) inventory: Arc<Inventory>,
    pub(super) counters: Arc<FileCounters>,
    pub(super) settings: Settings,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<OwnMetrics>,
    /// Rows that wait for the committer.
    pub(super) queued_rows: AtomicUsize,
    pub(super) registrations: watch::Sender<u64>,
    /// Whether the committer ended by a panic.
    pub(super) failed: watch::Sender<bool>,
    pub(super) commits: AtomicU64,
    /// Milliseconds for which a plain copy that begins now is safe.
    pub(super) copy_safe_ms: AtomicU64,
}

impl Shared {
    /// The present moment. The lock is held while the engine's snapshot is taken, so that a view never
    /// misses samples that a checkpoint has moved from heads to blocks.
    pub(super) fn moment(&self) -> Moment {
        let live = self.live.lock();
        Moment {
            transaction: self.database.begin_read().map_err(|e| e.to_string()),
            _database: Arc::clone(&self.database),
            heads: Arc::clone(&live.heads),
            catalog: Arc::clone(&live.catalog),
            last_commit: live.last_commit,
            block_epoch: live.block_epoch,
            inventory: Arc::clone(&self.inventory),
        }
    }
}
