//! What the committer and the readers of one open file share.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
};

use parking_lot::{Mutex, RwLock};
use redb::{Database, ReadableDatabase};
use tokio::sync::watch;

use super::{
    Condition, Settings,
    backend::{FileCounters, Lease, Medium},
    catalog::Catalog,
    forwarding::Spool,
    head::Heads,
    inventory::Inventory,
    moment::Moment,
    quarantine::{LeftOut, Quarantine},
    reserve::Disk,
    traces::{LiveTraces, RecentTraces},
};
use crate::{
    model::{AgentNo, Clock, Timestamp},
    telemetry::OwnMetrics,
};

/// What changes with each commit and is read by views.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) heads: Arc<Heads>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) traces: LiveTraces,
    pub(super) last_commit: Option<Timestamp>,
    /// Counts commits that changed blocks.
    pub(super) block_epoch: u64,
}

/// An engine that has the file open. After an error of the disk another takes its place.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    pub(super) database: Arc<Database>,
    /// What was learnt of its blocks; an engine that comes after may know others.
    pub(super) inventory: Arc<Inventory>,
    pub(super) lease: Arc<Lease>,
}

/// What the committer and the readers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) medium: Box<dyn Medium>,
    /// Changed only while `live` is locked, so that a moment never mixes two engines. Where both are locked,
    /// `live` is first.
    engine: RwLock<Engine>,
    pub(super) live: Mutex<Live>,
    pub(super) quarantine: Arc<Quarantine>,
    pub(super) counters: Arc<FileCounters>,
    pub(super) settings: Settings,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<OwnMetrics>,
    pub(super) registrations: watch::Sender<u64>,
    /// Counts commits.
    pub(super) arrivals: watch::Sender<u64>,
    /// Counts commits that changed rules, alerts, groups or deliveries.
    pub(super) alerting: watch::Sender<u64>,
    /// Hours of the traces of late.
    pub(super) recent_traces: Mutex<RecentTraces>,
    /// Agents that samples came of since somebody asked.
    pub(super) touched: Mutex<HashSet<AgentNo>>,
    /// Whether the committer ended by a panic.
    pub(super) failed: watch::Sender<bool>,
    /// Whether samples are taken.
    pub(super) condition: Mutex<Condition>,
    /// The disk as it was seen last.
    pub(super) disk: Mutex<Option<Disk>>,
    /// How far the log was forwarded.
    pub(super) spool: Spool,
    pub(super) commits: AtomicU64,
    /// Milliseconds for which a plain copy that begins now is safe.
    pub(super) copy_safe_ms: AtomicU64,
}

/// What [`Shared`] is made of.
pub(super) struct Parts {
    pub(super) path: PathBuf,
    pub(super) medium: Box<dyn Medium>,
    pub(super) engine: Engine,
    pub(super) live: Live,
    pub(super) counters: Arc<FileCounters>,
    pub(super) settings: Settings,
    pub(super) spool: Spool,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<OwnMetrics>,
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        let (clock, metrics) = (Arc::clone(&parts.clock), Arc::clone(&parts.metrics));
        Self {
            path: parts.path,
            quarantine: Arc::new(Quarantine::new(clock, metrics)),
            medium: parts.medium,
            engine: RwLock::new(parts.engine),
            live: Mutex::new(parts.live),
            counters: parts.counters,
            settings: parts.settings,
            spool: parts.spool,
            clock: parts.clock,
            metrics: parts.metrics,
            registrations: watch::Sender::new(0),
            arrivals: watch::Sender::new(0),
            alerting: watch::Sender::new(0),
            recent_traces: Mutex::default(),
            touched: Mutex::new(HashSet::new()),
            failed: watch::Sender::new(false),
            condition: Mutex::new(Condition::Sound),
            disk: Mutex::new(None),
            commits: AtomicU64::new(0),
            copy_safe_ms: AtomicU64::new(0),
        }
    }

    /// The engine that has the file open now.
    pub(super) fn engine(&self) -> Engine {
        self.engine.read().clone()
    }

    /// The database of [`Shared::engine`].
    pub(super) fn database(&self) -> Arc<Database> {
        Arc::clone(&self.engine.read().database)
    }

    /// The inventory of [`Shared::engine`].
    pub(super) fn inventory(&self) -> Arc<Inventory> {
        Arc::clone(&self.engine.read().inventory)
    }

    /// Puts another engine in place of the present one, which is returned, together with what it found in the
    /// file.
    pub(super) fn replace_engine(&self, engine: Engine, found: Live) -> Engine {
        let mut live = self.live.lock();
        let block_epoch = live.block_epoch + 1;
        *live = Live {
            block_epoch,
            ..found
        };
        std::mem::replace(&mut *self.engine.write(), engine)
    }

    /// The present moment. The lock is held while the engine's snapshot is taken, so that a view never
    /// misses samples that a checkpoint has moved from heads to blocks.
    pub(super) fn moment(&self) -> Moment {
        let live = self.live.lock();
        let Engine {
            database,
            inventory,
            ..
        } = self.engine();
        Moment {
            transaction: database.begin_read().map_err(|e| e.to_string()),
            _database: database,
            heads: Arc::clone(&live.heads),
            catalog: Arc::clone(&live.catalog),
            traces: live.traces.clone(),
            last_commit: live.last_commit,
            block_epoch: live.block_epoch,
            inventory,
            quarantine: Some(Arc::clone(&self.quarantine)),
            left_out: LeftOut::default(),
        }
    }
}
