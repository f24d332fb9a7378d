//! A disk in memory that separates what was written from what is durable, and that fails as it is told.

use std::{io, sync::Arc};

use parking_lot::{Condvar, Mutex};
use redb::StorageBackend;

use crate::store::backend::{Medium, Room};

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

/// Operations that fail: after so many more, so many in a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) after: u64,
    pub(super) times: u64,
    pub(super) kind: io::ErrorKind,
    /// Whether reading fails as well.
    pub(super) with_reads: bool,
    /// What of the unsynced changes a failed sync makes durable, a bit each; the rest never becomes so by a later sync.
    /// Linux marks pages clean whose writing has failed.
    pub(super) kept: u64,
}

#[derive(Debug, Default)]
struct Platter {
    durable: Vec<u8>,
    written: Vec<u8>,
    unsynced: Vec<Change>,
    /// Operations done, reads included, and without them.
    operations: [u64; 2],
    fault: Option<Fault>,
    is_cut_off: bool,
    is_held: bool,
    /// Whether a sync waits to be released.
    is_waited_for: bool,
    /// Bytes free; plenty unless it is set.
    available: Option<u64>,
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(length) => bytes.resize(*length as usize, 0),
        Change::Write(offset, data) => {
            let end = *offset as usize + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*offset as usize..end].copy_from_slice(data);
        }
    }
}

impl Platter {
    /// Counts an operation; the error that it fails with, if it is to fail.
    fn begin(&mut self, is_read: bool) -> Result<(), io::Error> {
        if self.is_cut_off {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.operations[0] += 1;
        self.operations[1] += u64::from(!is_read);
        let Some(fault) = &mut self.fault else {
            return Ok(());
        };
        if is_read && !fault.with_reads {
            return Ok(());
        }
        if fault.after > 0 {
            fault.after -= 1;
            return Ok(());
        }
        if fault.times == 0 {
            return Ok(());
        }
        fault.times -= 1;
        Err(fault.kind.into())
    }

    fn change(&mut self, change: Change) -> io::Result<()> {
        let failed = self.begin(false);
        let change = match (&failed, change) {
            // Half of a write that fails may be there.
            (Err(_), Change::Write(offset, mut data)) if !self.is_cut_off => {
                data.truncate(data.len() / 2);
                Change::Write(offset, data)
            }
            (Err(_), _) => return failed,
            (Ok(()), change) => change,
        };
        apply(&mut self.written, &change);
        self.unsynced.push(change);
        failed
    }

    fn sync(&mut self) -> io::Result<()> {
        let failed = self.begin(false);
        if self.is_cut_off {
            return failed;
        }
        let kept = match (&failed, &self.fault) {
            (Err(_), Some(fault)) => fault.kept,
            _ => u64::MAX,
        };
        for (i, change) in std::mem::take(&mut self.unsynced).iter().enumerate() {
            if kept >> (i % 64) & 1 == 1 {
                apply(&mut self.durable, change);
            }
        }
        failed
    }
}

/// Handles share the platter.
#[derive(Clone, Debug, Default)]
pub(super) struct SimulatedDisk(Arc<(Mutex<Platter>, Condvar)>);

impl SimulatedDisk {
    fn platter(&self) -> parking_lot::MutexGuard<'_, Platter> {
        self.0.0.lock()
    }

    /// Cuts the power: of the writes since the last sync those stay whose bit is set in `kept`, in any
    /// combination, as a disk's cache may have it. Returns a disk with what is left; the old one is dead.
    pub(super) fn cut_power(&self, kept: u64) -> Self {
        let mut platter = self.platter();
        platter.is_cut_off = true;
        let mut durable = platter.durable.clone();
        for (i, change) in platter.unsynced.iter().enumerate() {
            if kept >> (i % 64) & 1 == 1 {
                apply(&mut durable, change);
            }
        }
        let rest = Platter {
            written: durable.clone(),
            durable,
            ..Platter::default()
        };
        Self(Arc::new((Mutex::new(rest), Condvar::new())))
    }

    /// A disk that holds these bytes.
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        let platter = Platter {
            written: bytes.clone(),
            durable: bytes,
            ..Platter::default()
        };
        Self(Arc::new((Mutex::new(platter), Condvar::new())))
    }

    /// What is durable.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.platter().durable.clone()
    }

    /// Makes operations fail; counting begins now.
    pub(super) fn fail(&self, fault: Fault) {
        self.platter().fault = Some(fault);
    }

    /// Makes everything work again.
    pub(super) fn heal(&self) {
        self.platter().fault = None;
    }

    /// Operations done so far; reads are counted only with `with_reads`.
    pub(super) fn operations(&self, with_reads: bool) -> u64 {
        self.platter().operations[usize::from(!with_reads)]
    }

    /// Keeps syncs from ending until [`SimulatedDisk::release`].
    pub(super) fn hold(&self) {
        self.platter().is_held = true;
    }

    /// Whether somebody waits for a sync that is held.
    pub(super) fn is_waited_for(&self) -> bool {
        self.platter().is_waited_for
    }

    /// Lets syncs end.
    pub(super) fn release(&self) {
        self.platter().is_held = false;
        self.0.1.notify_all();
    }

    /// Sets the room that there is.
    pub(super) fn set_available(&self, bytes: u64) {
        self.platter().available = Some(bytes);
    }
}

impl StorageBackend for SimulatedDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.platter().written.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut platter = self.platter();
        platter.begin(true)?;
        let start = offset as usize;
        let bytes = platter
            .written
            .get(start..start + out.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.platter().change(Change::Length(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.platter();
        platter.is_waited_for = platter.is_held;
        self.0.1.wait_while(&mut platter, |p| p.is_held);
        platter.is_waited_for = false;
        platter.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.platter().change(Change::Write(offset, data.to_vec()))
    }
}

impl Medium for SimulatedDisk {
    fn backend(&self) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(self.clone()))
    }

    fn room(&self) -> io::Result<Room> {
        let platter = self.platter();
        Ok(Room {
            available: platter.available.unwrap_or(1 << 40),
            total: 1 << 41,
            file: platter.written.len() as u64,
        })
    }
}
