//! The limit: as many bytes as peer-journal writes, into one file that was filled with zeros ahead
//! of time, one write and one fdatasync per batch. No checksum, no state, nothing to recover.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
    sync::Mutex,
};

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
        let path = dir.join("limit.wal");
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
        let zeros = vec![0; 1 << 20];
        for offset in (0..FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, offset)?;
        }
        file.sync_all()?;
        Ok(Self { file, place: Mutex::new((0, Vec::new())) })
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

impl Rival for RawFile {
    fn commit(&self, ops: &[Op], sync: bool) -> Result<()> {
        let source = [0x5a; LARGEST];
        let mut place = self.place.lock().unwrap();
        let (offset, buffer) = &mut *place;
        buffer.clear();
        for op in ops {
            buffer.extend_from_slice(&source[..record_bytes(*op)]);
        }
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
