//! The limit: as many bytes as peer-journal writes, into one file that was filled with zeros ahead
//! of time, one write and one fdatasync per batch. No checksum, no state, nothing to recover.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Mutex,
};

use peer_journal::vfs::{OsVfs, Vfs, VfsAppend};

use super::{Result, Rival};
use crate::workload::{Kind, Op};

/// The size of the file; writing starts again at its front.
const FILE_BYTES: u64 = 64 << 20;
const LARGEST: usize = 400;

pub struct RawFile {
    file: File,
    place: Mutex<(u64, Vec<u8>)>,
}

impl RawFile {
    pub fn open(dir: &Path) -> Result<Self> {
        let file = zeros(&dir.join("limit.wal"))?;
        Ok(Self { file, place: Mutex::new((0, Vec::new())) })
    }
}

fn zeros(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    let zeros = vec![0; 1 << 20];
    for offset in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, offset)?;
    }
    file.sync_all()?;
    Ok(file)
}

/// The same around the system's cache, by the calls that peer-journal writes its journal with.
pub struct DirectFile {
    path: PathBuf,
    place: Mutex<(u64, Vec<u8>, Box<dyn VfsAppend>)>,
}

impl DirectFile {
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("limit.wal");
        zeros(&path)?;
        let file = from_the_front(&path)?;
        Ok(Self { path, place: Mutex::new((0, Vec::new(), file)) })
    }
}

fn from_the_front(path: &Path) -> Result<Box<dyn VfsAppend>> {
    Ok(OsVfs.append_to(path, OsVfs.open(path)?, &[]))
}

impl Rival for DirectFile {
    fn commit(&self, ops: &[Op], sync: bool) -> Result<()> {
        let mut place = self.place.lock().unwrap();
        let (offset, buffer, file) = &mut *place;
        gather(ops, buffer);
        if *offset + buffer.len() as u64 > FILE_BYTES {
            *offset = 0;
            *file = from_the_front(&self.path)?;
        }
        file.append(buffer)?;
        *offset += buffer.len() as u64;
        if sync {
            file.sync()?;
        }
        Ok(())
    }
}

/// The bytes that peer-journal's record of this change takes on disk.
fn record_bytes(op: Op) -> usize {
    match op.kind {
        Kind::Reputation => 62,
        Kind::Seen => 71,
        Kind::Dht => 139,
        Kind::Package => 305,
    }
}

fn gather(ops: &[Op], buffer: &mut Vec<u8>) {
    let source = [0x5a; LARGEST];
    buffer.clear();
    for op in ops {
        buffer.extend_from_slice(&source[..record_bytes(*op)]);
    }
}

impl Rival for RawFile {
    fn commit(&self, ops: &[Op], sync: bool) -> Result<()> {
        let mut place = self.place.lock().unwrap();
        let (offset, buffer) = &mut *place;
        gather(ops, buffer);
        if *offset + buffer.len() as u64 > FILE_BYTES {
            *offset = 0;
        }
        self.file.write_all_at(buffer, *offset)?;
        *offset += buffer.len() as u64;
        if sync {
            self.file.sync_data()?;
        }
        Ok(())
    }
}
