//! Durable history: the one room that knows the engine.

mod error;
mod settings;

use std::{path::Path, sync::Arc};

pub use error::{OpenError, WriteError};
pub use settings::Settings;

use crate::{
    model::{AgentId, Batch, Clock, Contact, History, Registration},
    telemetry::OwnMetrics,
};

/// How soon an append must be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody waits for the acknowledgement.
    Prompt,
    /// Nobody waits: may share a commit for some seconds.
    Relaxed,
}

/// Samples of one agent to be made durable. An agent that is not registered is registered by it.
#[derive(Debug)]
pub struct Append {
    /// Whose.
    pub agent: AgentId,
    /// What.
    pub batch: Batch,
    /// The contact that it is, if it is one; decides the agent's health alert in the same commit.
    pub contact: Option<Contact>,
    /// How soon.
    pub urgency: Urgency,
}

/// A sample that was not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Index of the row in the batch.
    pub row: usize,
    /// Why, naming the offender.
    pub reason: String,
}

/// What became of an append, once it is durable and visible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Samples taken.
    pub accepted: usize,
    /// Samples refused; the others are not affected.
    pub rejected: Vec<Rejected>,
    /// Series seen for the first time.
    pub new_series: usize,
}

/// What a registration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// The agent was not registered before.
    Created,
    /// Its registration changed.
    Updated,
    /// It said the same already; nothing was written.
    Unchanged,
}

/// Sizes and settings, for `/api/v1/status` and `db info`.
#[derive(Clone, Debug, Default)]
pub struct StoreStatus {
    /// Schema version of the file.
    pub schema_version: u32,
    /// Random id of the file, as hexadecimal text.
    pub file_id: String,
    /// Milliseconds since the epoch when the file was made.
    pub created_ms: i64,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// Series known.
    pub series: u64,
    /// Agents registered now.
    pub agents: u64,
    /// Samples in memory that the next checkpoint moves to blocks.
    pub head_samples: u64,
    /// Bytes of them in memory.
    pub head_bytes: u64,
    /// Records in the write-ahead log.
    pub wal_records: u64,
    /// Blocks.
    pub blocks: u64,
    /// Retention of samples in milliseconds.
    pub retention_ms: i64,
    /// Time of the last commit in milliseconds since the epoch.
    pub last_commit_ms: Option<i64>,
    /// Seconds for which a plain copy that begins now is safe.
    pub copy_safe_seconds: f64,
    /// Commits since the start.
    pub commits: u64,
    /// Bytes written to the file since the start.
    pub bytes_written: u64,
}

/// The file, open for reading and writing. Clones share it.
#[derive(Clone, Debug)]
pub struct Store;

/// One immutable moment of the file.
pub type View = Arc<dyn History>;

impl Store {
    /// Opens the file, making it when it is missing; recovers what a kill left.
    pub fn open(
        _path: &Path,
        _settings: Settings,
        _clock: Arc<dyn Clock>,
        _metrics: Arc<OwnMetrics>,
    ) -> Result<Self, OpenError> {
        unimplemented!()
    }

    /// The present moment of the file.
    pub fn view(&self) -> View {
        unimplemented!()
    }

    /// Makes samples durable; returns when they are on disk and visible.
    pub async fn append(&self, _append: Append) -> Result<Appended, WriteError> {
        unimplemented!()
    }

    /// Registers or updates an agent.
    pub async fn register(
        &self,
        _id: AgentId,
        _registration: Registration,
    ) -> Result<Registered, WriteError> {
        unimplemented!()
    }

    /// Ends a registration; the history stays. `false` when there was none.
    pub async fn deregister(&self, _id: AgentId) -> Result<bool, WriteError> {
        unimplemented!()
    }

    /// Raises or resolves health alerts that time alone decides (stale agents). Called every few seconds.
    pub async fn judge_stale(&self) -> Result<(), WriteError> {
        unimplemented!()
    }

    /// Counts up whenever registrations change.
    pub fn registrations_changed(&self) -> tokio::sync::watch::Receiver<u64> {
        unimplemented!()
    }

    /// Sizes.
    pub fn status(&self) -> StoreStatus {
        unimplemented!()
    }

    /// Writes a consistent, cleanly closed copy into a temporary file beside the database.
    pub async fn snapshot(&self) -> Result<tempfile::NamedTempFile, WriteError> {
        unimplemented!()
    }
}
