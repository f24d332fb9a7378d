//! Folders of files that are followed: the system tells of changes as far as it can.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::AccessKind};
use tokio::sync::mpsc;

/// Folders that are watched.
pub(super) struct Folder {
    watcher: Option<RecommendedWatcher>,
    /// Folders that could not be watched, which was told.
    unwatched: HashSet<PathBuf>,
}

impl Folder {
    /// Sends to `changes` whenever something in a watched folder changes.
    pub(super) fn new(changes: mpsc::Sender<()>) -> Self {
        let told = move |event: notify::Result<notify::Event>| {
            // Also an error of the watch may hide a change. Reading the files is none.
            if event.is_ok_and(|event| is_reading(event.kind)) {
                return;
            }
            // A full channel tells of a change already.
            let _ = changes.try_send(());
        };
        let watcher = notify::recommended_watcher(told)
            .inspect_err(|error| {
                tracing::warn!(%error, "folders cannot be watched; their files are read from time to time");
            })
            .ok();
        Self {
            watcher,
            unwatched: HashSet::new(),
        }
    }

    /// Watches a folder; to be called again and again, since it may have been made anew.
    pub(super) fn watch(&mut self, folder: &Path) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        match watcher.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.unwatched.remove(folder);
            }
            Err(error) => {
                if self.unwatched.insert(folder.to_owned()) {
                    let folder = folder.display();
                    tracing::warn!(%folder, %error, "not watched; its files are read from time to time");
                }
            }
        }
    }
}

fn is_reading(kind: EventKind) -> bool {
    use notify::event::AccessMode;
    matches!(kind, EventKind::Access(how) if how != AccessKind::Close(AccessMode::Write))
}
