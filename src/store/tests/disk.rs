//! A disk in memory that separates what was written from what is durable.

use std::{io, sync::Arc};

use parking_lot::Mutex;
use redb::StorageBackend;

use crate::store::backend::{Medium, Room};

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Debug, Default)]
struct Platter {
    durable: Vec<u8>,
    written: Vec<u8>,
    unsynced: Vec<Change>,
    /// Writes left before every further one fails.
    writes_left: Option<u64>,
    is_cut_off: bool,
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

/// Handles share the platter.
#[derive(Clone, Debug, Default)]
pub(super) struct SimulatedDisk(Arc<Mutex<Platter>>);

impl SimulatedDisk {
    /// Cuts the power: of the writes since the last sync those stay whose bit is set in `kept`, in any
    /// combination, as a disk's cache may have it. Returns a disk with what is left; the old one is dead.
    pub(super) fn cut_power(&self, kept: u64) -> Self {
        let mut platter = self.0.lock();
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
        Self(Arc::new(Mutex::new(rest)))
    }

    /// Lets so many more writes through, then fails each.
    pub(super) fn fail_after(&self, writes: u64) {
        self.0.lock().writes_left = Some(writes);
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut platter = self.0.lock();
        if platter.is_cut_off {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if let Some(left) = &mut platter.writes_left {
            if *left == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *left -= 1;
        }
        apply(&mut platter.written, &change);
        platter.unsynced.push(change);
        Ok(())
    }
}

impl StorageBackend for SimulatedDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().written.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.0.lock();
        let start = offset as usize;
        let bytes = platter
            .written
            .get(start..start + out.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::Length(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.0.lock();
        if platter.is_cut_off {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        for change in std::mem::take(&mut platter.unsynced) {
            apply(&mut platter.durable, &change);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Write(offset, data.to_vec()))
    }
}

impl Medium for SimulatedDisk {
    fn backend(&self) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(self.clone()))
    }

    fn room(&self) -> io::Result<Room> {
        let file = self.0.lock().written.len() as u64;
        Ok(Room {
            available: 1 << 40,
            total: 1 << 40,
            file,
        })
    }
}
