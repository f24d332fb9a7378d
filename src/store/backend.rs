//! Where the engine's pages live: the database file, counted; or a copy under a layer of memory.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::{File, TryLockError},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::RwLock;
use redb::StorageBackend;

/// Bytes written and syncs done since the file was opened.
#[derive(Debug, Default)]
pub(super) struct FileCounters {
    bytes_written: AtomicU64,
    syncs: AtomicU64,
    length: AtomicU64,
}

impl FileCounters {
    /// Bytes written to the file.
    pub(super) fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Ordering::Relaxed)
    }

    /// Syncs of the file.
    pub(super) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Length of the file in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
    }
}

/// Takes the lock that says "in use by a longwatch".
///
/// # Errors
/// `WouldBlock` when another process holds it.
pub(super) fn lock_exclusively(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The same for reading: others may read too, none may write.
pub(super) fn lock_shared(file: &File) -> io::Result<()> {
    match file.try_lock_shared() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// An engine's permission to touch its file.
///
/// When the file is opened anew inside the process, readers may still hold the engine that was before, and
/// it may still have a transaction to give up. Its lease is revoked first: from then on it can neither
/// write over what its successor wrote, nor read pages that its successor has given to something else.
#[derive(Debug, Default)]
pub(super) struct Lease {
    is_revoked: RwLock<bool>,
    has_failed: AtomicBool,
}

impl Lease {
    /// Ends the permission. Returns when the accesses under way are done; all later ones fail.
    pub(super) fn revoke(&self) {
        *self.is_revoked.write() = true;
    }

    /// Whether an access failed after which the engine refuses every further one. Failed writes are not among
    /// them: the engine can do without some, and of the others the commit tells.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// Runs an access while the lease holds, and keeps it from ending meanwhile.
    fn during<T>(&self, access: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let is_revoked = self.is_revoked.read();
        if *is_revoked {
            return Err(io::Error::other("the file was opened anew meanwhile"));
        }
        access()
    }

    /// The same for an access that the engine cannot do without.
    fn during_needed<T>(&self, access: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let result = self.during(access);
        if result.is_err() {
            self.has_failed.store(true, Ordering::Relaxed);
        }
        result
    }
}

/// A backend for one engine: counts what goes through it, for as long as its lease lasts.
#[derive(Debug)]
pub(super) struct LeasedBackend {
    inner: Box<dyn StorageBackend>,
    counters: Arc<FileCounters>,
    lease: Arc<Lease>,
}

impl LeasedBackend {
    /// Counts into `counters`.
    pub(super) fn new(
        inner: Box<dyn StorageBackend>,
        counters: Arc<FileCounters>,
        lease: Arc<Lease>,
    ) -> io::Result<Self> {
        counters.length.store(inner.len()?, Ordering::Relaxed);
        Ok(Self {
            inner,
            counters,
            lease,
        })
    }
}

impl StorageBackend for LeasedBackend {
    fn len(&self) -> io::Result<u64> {
        self.lease.during_needed(|| self.inner.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.lease.during_needed(|| self.inner.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.lease.during_needed(|| {
            self.inner.set_len(len)?;
            self.counters.length.store(len, Ordering::Relaxed);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.lease.during_needed(|| {
            self.counters.syncs.fetch_add(1, Ordering::Relaxed);
            self.inner.sync_data()
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.lease.during(|| {
            self.counters
                .bytes_written
                .fetch_add(data.len() as u64, Ordering::Relaxed);
            self.inner.write(offset, data)
        })
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
}

/// How much room there is where a database lies, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Free, and not kept for the system's administrator.
    pub(super) available: u64,
    /// Size of the whole file system.
    pub(super) total: u64,
    /// Taken by the database file itself; less than its length where it has holes.
    pub(super) file: u64,
}

/// What a database lies on. It outlives the engines: each gets a backend of its own.
pub(super) trait Medium: std::fmt::Debug + Send + Sync {
    /// A backend for another engine.
    fn backend(&self) -> io::Result<Box<dyn StorageBackend>>;

    /// The room there is now.
    fn room(&self) -> io::Result<Room>;
}

/// A database file on a disk. The lock is held by the open file, which all its backends share: it is never let
/// go of between two engines.
#[derive(Debug)]
pub(super) struct DiskMedium(pub(super) File);

impl Medium for DiskMedium {
    fn backend(&self) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(DiskBackend(self.0.try_clone()?)))
    }

    fn room(&self) -> io::Result<Room> {
        /// Bytes of the unit that `stat` counts in, whatever the file system's own.
        const STAT_BLOCK: u64 = 512;
        let system = rustix::fs::fstatvfs(&self.0)?;
        Ok(Room {
            available: system.f_bavail.saturating_mul(system.f_frsize),
            total: system.f_blocks.saturating_mul(system.f_frsize),
            file: self.0.metadata()?.blocks().saturating_mul(STAT_BLOCK),
        })
    }
}

/// The database file itself. The lock is held by the `File` and goes with it.
#[derive(Debug)]
pub(super) struct DiskBackend(pub(super) File);

impl StorageBackend for DiskBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}

/// Bytes of one piece of the overlay. The engine writes whole pages, which are multiples of it.
const PIECE: u64 = 4096;

/// A file that is only read, under a layer of memory that takes all writes.
///
/// Opening a copy that was not closed cleanly makes the engine write; the copy must stay as it is,
/// byte for byte, even where it could be written.
#[derive(Debug)]
pub(super) struct OverlayBackend {
    file: File,
    file_length: u64,
    layer: RwLock<Layer>,
}

#[derive(Debug)]
struct Layer {
    length: u64,
    pieces: HashMap<u64, Box<[u8]>>,
}

impl OverlayBackend {
    /// Reads `file`, writes to memory.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let file_length = file.metadata()?.len();
        let layer = RwLock::new(Layer {
            length: file_length,
            pieces: HashMap::new(),
        });
        Ok(Self {
            file,
            file_length,
            layer,
        })
    }

    /// What the file has at `offset`; zeros beyond its end.
    fn read_file(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let available = self
            .file_length
            .saturating_sub(offset)
            .min(out.len() as u64) as usize;
        self.file.read_exact_at(&mut out[..available], offset)?;
        out[available..].fill(0);
        Ok(())
    }
}

/// Splits a range of bytes at the borders of pieces: (piece, offset inside it, range of the caller's bytes).
fn pieces_of(
    offset: u64,
    length: usize,
) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        (done < length).then(|| {
            let at = offset + done as u64;
            let inside = (at % PIECE) as usize;
            let take = (PIECE as usize - inside).min(length - done);
            let range = done..done + take;
            done += take;
            (at / PIECE, inside, range)
        })
    })
}

impl StorageBackend for OverlayBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.layer.read().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let layer = self.layer.read();
        if offset
            .checked_add(out.len() as u64)
            .is_none_or(|end| end > layer.length)
        {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if layer.pieces.is_empty() {
            return self.read_file(offset, out);
        }
        for (piece, inside, range) in pieces_of(offset, out.len()) {
            let part = &mut out[range];
            match layer.pieces.get(&piece) {
                Some(bytes) => part.copy_from_slice(&bytes[inside..inside + part.len()]),
                None => self.read_file(piece * PIECE + inside as u64, part)?,
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut layer = self.layer.write();
        layer.length = len;
        layer.pieces.retain(|piece, _| piece * PIECE < len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut layer = self.layer.write();
        for (piece, inside, range) in pieces_of(offset, data.len()) {
            let part = &data[range];
            let bytes = match layer.pieces.entry(piece) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(fresh) => {
                    let mut bytes = vec![0; PIECE as usize].into_boxed_slice();
                    self.read_file(piece * PIECE, &mut bytes)?;
                    fresh.insert(bytes)
                }
            };
            bytes[inside..inside + part.len()].copy_from_slice(part);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_revoked_lease_keeps_its_backend_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        let medium = DiskMedium(file);
        let attach = || {
            let lease = Arc::new(Lease::default());
            let inner = medium.backend().unwrap();
            let backend = LeasedBackend::new(inner, Arc::default(), Arc::clone(&lease)).unwrap();
            (lease, backend)
        };
        let (lease, before) = attach();
        before.set_len(8).unwrap();
        before.write(0, b"original").unwrap();
        lease.revoke();
        let (_, after) = attach();
        after.write(0, b"renewed!").unwrap();
        let mut read = [0; 8];
        assert!(before.read(0, &mut read).is_err() && read == [0; 8]);
        assert!(before.write(0, b"outdated").is_err());
        assert!(before.set_len(0).is_err() && before.sync_data().is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"renewed!");
        // The lock is held by all of them together, to the last.
        drop((before, after));
        let other = File::open(&path).unwrap();
        lock_exclusively(&medium.0).unwrap();
        assert_eq!(
            lock_shared(&other).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        let backend = medium.backend().unwrap();
        drop(medium);
        assert!(lock_shared(&other).is_err(), "a backend still has it");
        drop(backend);
        lock_shared(&other).unwrap();
    }

    #[test]
    fn only_failures_that_end_an_engine_are_noted() {
        let (lease, counters) = (Arc::new(Lease::default()), Arc::default());
        let inner = Box::new(DiskBackend(tempfile::tempfile().unwrap()));
        let backend = LeasedBackend::new(inner, counters, Arc::clone(&lease)).unwrap();
        assert!(backend.write(u64::MAX - 3, b"too far").is_err());
        assert!(!lease.has_failed(), "of a write the commit tells");
        assert!(backend.read(0, &mut [0; 4]).is_err());
        assert!(lease.has_failed());
    }

    proptest! {
        #[test]
        fn the_overlay_reads_what_was_written_and_the_file_stays(
            initial in prop::collection::vec(any::<u8>(), 0..9000),
            writes in prop::collection::vec((0u64..12_000, prop::collection::vec(any::<u8>(), 1..6000)), 0..6),
        ) {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&initial).unwrap();
            let overlay = OverlayBackend::new(file.try_clone().unwrap()).unwrap();
            let mut expected = initial.clone();
            for (offset, data) in &writes {
                let end = *offset as usize + data.len();
                if expected.len() < end {
                    expected.resize(end, 0);
                    overlay.set_len(end as u64).unwrap();
                }
                expected[*offset as usize..end].copy_from_slice(data);
                overlay.write(*offset, data).unwrap();
            }
            let mut read = vec![0; expected.len()];
            overlay.read(0, &mut read).unwrap();
            prop_assert_eq!(read, expected);
            prop_assert_eq!(file.metadata().unwrap().len(), initial.len() as u64);
        }
    }
}
