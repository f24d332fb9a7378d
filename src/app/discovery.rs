//! Agents of target files: reads the files, watches them, keeps the last good content of each.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{StartError, folder::Folder, registrations};
use crate::{
    api::{LEFT_OUT_SHOWN_MAX, TargetFile, TargetFiles},
    config::{
        ConfigErrors, ConfiguredAgent, FileSdSettings, FileTarget, Roll, TargetLimits, call_roll,
        read_targets,
    },
    model::{AgentId, Clock, Limits, Timestamp},
    store::{Store, WriteError},
    telemetry::OwnMetrics,
};

/// Changes that come in a burst are read together; a file that is being written has so long to be whole.
const GATHER: Duration = Duration::from_millis(250);
/// What the store refused is tried again after this.
const RETRY: Duration = Duration::from_secs(10);

/// What is known of one file.
#[derive(Debug, Default)]
struct Known {
    good: Vec<FileTarget>,
    read_at: Option<Timestamp>,
    error: Option<String>,
}

/// The target files.
#[derive(Debug)]
pub(super) struct Discovery {
    settings: FileSdSettings,
    limits: Limits,
    /// Agents of the configuration, whose ids are theirs.
    configured: Vec<ConfiguredAgent>,
    configured_ids: HashSet<AgentId>,
    host: Option<AgentId>,
    clock: Arc<dyn Clock>,
    metrics: Arc<OwnMetrics>,
    /// Files by name.
    files: BTreeMap<PathBuf, Known>,
    /// Patterns whose folder could be listed once.
    listed: HashSet<String>,
    /// Patterns whose folder could not be listed the last time, and why.
    unlisted: BTreeMap<String, String>,
    roll: Roll,
    told: watch::Sender<TargetFiles>,
}

impl Discovery {
    /// Knows no file yet. `host` is the id of this host, if it is an agent.
    pub(super) fn new(
        settings: FileSdSettings,
        limits: Limits,
        configured: Vec<ConfiguredAgent>,
        host: Option<AgentId>,
        clock: Arc<dyn Clock>,
        metrics: Arc<OwnMetrics>,
    ) -> Self {
        Self {
            settings,
            limits,
            configured_ids: configured.iter().map(|a| a.id.clone()).collect(),
            configured,
            host,
            clock,
            metrics,
            files: BTreeMap::new(),
            listed: HashSet::new(),
            unlisted: BTreeMap::new(),
            roll: Roll::default(),
            told: watch::Sender::default(),
        }
    }

    /// What became of the files, for those who ask.
    pub(super) fn report(&self) -> watch::Receiver<TargetFiles> {
        self.told.subscribe()
    }

    /// Reads all files and registers the agents that they and the configuration name, before anything is collected.
    ///
    /// # Errors
    /// [`StartError`] when an agent of the configuration cannot be registered.
    pub(super) async fn begin(mut self, store: &Store) -> Result<Self, StartError> {
        let begun = tokio::task::spawn_blocking(move || {
            self.read();
            self
        })
        .await
        .map_err(|e| StartError::Other(e.into()))?;
        begun.apply(store).await.map_err(|e| {
            StartError::Other(
                anyhow::Error::new(e).context("registering the configuration's agents"),
            )
        })?;
        Ok(begun)
    }

    /// Reads all files as they are now and works out what agents they name. Blocks.
    pub(super) fn read(&mut self) {
        let found = self.list();
        self.files.retain(|path, known| {
            let stays = found.contains(path);
            if !stays {
                let targets = known.good.len();
                tracing::info!(file = %path.display(), targets, "the target file is gone");
            }
            stays
        });
        for path in found {
            self.read_file(path);
        }
        let owner_of = |id: &AgentId| {
            if self.configured_ids.contains(id) {
                Some("an agent of the configuration")
            } else if self.host.as_ref() == Some(id) {
                Some("this host")
            } else {
                None
            }
        };
        self.roll = call_roll(self.files.values().flat_map(|f| &f.good), owner_of);
        self.tell();
    }

    /// Brings the registry in line with the configuration and the files; `false` when something of the
    /// files was refused, which the log tells.
    ///
    /// # Errors
    /// [`WriteError`] of an agent of the configuration.
    pub(super) async fn apply(&self, store: &Store) -> Result<bool, WriteError> {
        let agents: Vec<_> = self.configured.iter().chain(&self.roll.agents).collect();
        let knows_all = self.knows_all_targets();
        let refused = registrations::apply(store, &agents, knows_all, self.clock.now()).await;
        let is_complete = refused.is_empty();
        let mut shown = 0;
        for (id, error) in refused {
            if self.configured_ids.contains(&id) {
                return Err(error);
            }
            if shown < LEFT_OUT_SHOWN_MAX {
                shown += 1;
                tracing::warn!(agent = %id, %error, "an agent of a target file was not registered");
            }
        }
        Ok(is_complete)
    }

    /// Reads and applies the files whenever they change, until `shutdown`.
    pub(super) async fn follow(mut self, store: Store, shutdown: CancellationToken) {
        if self.settings.patterns.is_empty() {
            return;
        }
        let (changes, mut changed) = mpsc::channel(1);
        let mut folders = Folder::new(changes);
        let refresh = Duration::from_millis(self.settings.refresh_ms.unsigned_abs());
        loop {
            // Watched before they are read: a change in between is a change again.
            for pattern in &self.settings.patterns {
                folders.watch(pattern.folder());
            }
            let reading = tokio::task::spawn_blocking(move || {
                self.read();
                self
            });
            match reading.await {
                Ok(read) => self = read,
                Err(error) => {
                    tracing::error!(%error, "target files are no longer followed");
                    return;
                }
            }
            let is_complete = self.apply(&store).await.is_ok_and(|complete| complete);
            let rest = if is_complete {
                refresh
            } else {
                refresh.min(RETRY)
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(rest) => {}
                Some(()) = changed.recv() => {
                    tokio::time::sleep(GATHER).await;
                    while changed.try_recv().is_ok() {}
                }
            }
        }
    }

    /// Whether each file was good once since the start. One that was not may be what named agents in the run
    /// before, which stay until it is good.
    fn knows_all_targets(&self) -> bool {
        let is_unknown = |pattern| !self.listed.contains(pattern);
        self.files.values().all(|file| file.read_at.is_some())
            && !self.unlisted.keys().any(is_unknown)
    }

    /// The files that fit the patterns. What a folder that cannot be listed held before still counts.
    fn list(&mut self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut unlisted = BTreeMap::new();
        for pattern in &self.settings.patterns {
            match pattern.files() {
                Ok(files) => {
                    self.listed.insert(pattern.as_str().to_owned());
                    found.extend(files);
                }
                Err(e) => {
                    let held = self.files.keys();
                    found.extend(held.filter(|path| pattern.fits(path)).cloned());
                    let error = format!("{}: cannot be listed: {e}", pattern.folder().display());
                    if self.unlisted.get(pattern.as_str()) != Some(&error) {
                        tracing::warn!("target files: {error}");
                    }
                    unlisted.insert(pattern.as_str().to_owned(), error);
                }
            }
        }
        self.unlisted = unlisted;
        found.sort();
        found.dedup();
        found
    }

    fn read_file(&mut self, path: PathBuf) {
        let limits = TargetLimits {
            targets_max: self.settings.targets_max,
            labels: &self.limits,
        };
        let read = read_targets(&path, &limits);
        let name = path.display().to_string();
        let known = self.files.entry(path).or_default();
        match read {
            Ok(targets) => {
                let is_news = known.read_at.is_none() || known.error.is_some();
                if is_news || known.good != targets {
                    let count = targets.len();
                    tracing::info!(file = name, targets = count, "target file read");
                }
                *known = Known {
                    good: targets,
                    read_at: Some(self.clock.now()),
                    error: None,
                };
            }
            Err(errors) => {
                let error = summary(&errors);
                if known.error.as_ref() != Some(&error) {
                    self.metrics.target_files_refused.inc();
                    let kept = known.good.len();
                    tracing::warn!(
                        kept,
                        "a target file is refused, its last good targets stay: {error}"
                    );
                }
                known.error = Some(error);
            }
        }
    }

    fn tell(&self) {
        let bad = self.unlisted.iter().map(|(pattern, error)| TargetFile {
            path: pattern.clone(),
            targets: 0,
            read_at: None,
            error: Some(error.clone()),
        });
        let files = self.files.iter().map(|(path, known)| TargetFile {
            path: path.display().to_string(),
            targets: known.good.len(),
            read_at: known.read_at,
            error: known.error.clone(),
        });
        let left_out = &self.roll.left_out;
        let shown: Vec<_> = left_out
            .iter()
            .take(LEFT_OUT_SHOWN_MAX)
            .map(ToString::to_string)
            .collect();
        for news in &shown {
            if !self.told.borrow().left_out.contains(news) {
                tracing::warn!("a target is left out: {news}");
            }
        }
        self.metrics.target_files.set(self.files.len() as i64);
        let agents = self.roll.agents.len();
        self.metrics.target_file_agents.set(agents as i64);
        self.told.send_replace(TargetFiles {
            files: bad.chain(files).collect(),
            left_out: shown,
            left_out_total: left_out.len(),
        });
    }
}

/// The first mistake, and how many more there are.
fn summary(errors: &ConfigErrors) -> String {
    let first = errors
        .iter()
        .next()
        .map_or_else(String::new, ToString::to_string);
    match errors.count() - 1 {
        0 => first,
        more => format!("{first} (and {more} more)"),
    }
}
