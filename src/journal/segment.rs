//! One segment being written: prepare, start, write batches, seal.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    format::{
        HEADER_BYTES, RecordKind, SEAL_BYTES, Seed, SegmentHeader, encode_record, seal_payload,
    },
    name::SegmentName,
};
use crate::{
    Error, Lsn,
    vfs::{Vfs, VfsAppend, VfsFile},
};

/// Zeros are written in pieces, so that preparing can be stopped in between.
static ZERO_PIECE: [u8; 256 << 10] = [0; 256 << 10];

/// A zero-filled file that is ready to become a segment: neither growth nor creation is left for
/// the commit path.
#[derive(Debug)]
pub(crate) struct Prepared {
    file: Box<dyn VfsFile>,
    path: PathBuf,
    capacity_bytes: u64,
}

impl Prepared {
    /// Creates `path` with `capacity_bytes` zeros. `stop` is asked between pieces; when it says
    /// true the file is removed again and `Interrupted` returned.
    pub(crate) fn create(
        vfs: &dyn Vfs,
        path: &Path,
        capacity_bytes: u64,
        stop: &dyn Fn() -> bool,
    ) -> Result<Self, Error> {
        let failed = |error| Error::io("cannot prepare a journal segment", path, error);
        let file = vfs.create(path).map_err(failed)?;
        if let Err(error) = fill_with_zeros(file.as_ref(), capacity_bytes, stop) {
            remove_leftover(vfs, path);
            return Err(failed(error));
        }
        Ok(Self { file, path: path.to_owned(), capacity_bytes })
    }

    /// Writes the zeros out ahead of time, so that [`start`](Self::start) finds little left to
    /// sync.
    pub(crate) fn sync(self, vfs: &dyn Vfs) -> Result<Self, Error> {
        match self.file.sync() {
            Ok(()) => Ok(self),
            Err(error) => {
                remove_leftover(vfs, &self.path);
                Err(Error::io("cannot prepare a journal segment", &self.path, error))
            }
        }
    }

    /// Turns the file into a segment of the journal: header, sync, name, directory. When this
    /// returns the segment is durable and may be acknowledged into.
    pub(crate) fn start(
        self,
        vfs: &dyn Vfs,
        dir: &Path,
        header: SegmentHeader,
    ) -> Result<SegmentWriter, Error> {
        let name = SegmentName { segment: header.segment, first_lsn: header.first_lsn };
        let path = dir.join(name.to_string());
        let start = header.encode();
        let started = self
            .file
            .write_at(0, &start)
            .and_then(|()| self.file.sync())
            .and_then(|()| vfs.rename(&self.path, &path));
        if let Err(error) = started {
            remove_leftover(vfs, &self.path);
            return Err(Error::io("cannot start a journal segment", &path, error));
        }
        if let Err(error) = vfs.sync_dir(dir) {
            remove_leftover(vfs, &path);
            return Err(Error::io("cannot sync the journal folder", dir, error));
        }
        Ok(SegmentWriter {
            file: vfs.append_to(&path, self.file, &start),
            path,
            seed: header.seed(),
            header,
            offset: HEADER_BYTES as u64,
            capacity_bytes: self.capacity_bytes,
            last_lsn: header.first_lsn.previous(),
            record_count: 0,
        })
    }

    /// Removes the file of a prepared segment that is not wanted.
    pub(crate) fn discard(self, vfs: &dyn Vfs) {
        remove_leftover(vfs, &self.path);
    }
}

fn fill_with_zeros(file: &dyn VfsFile, bytes: u64, stop: &dyn Fn() -> bool) -> io::Result<()> {
    let mut offset = 0;
    while offset < bytes {
        if stop() {
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        let rest = usize::try_from(bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let piece = ZERO_PIECE.get(..rest).unwrap_or(&ZERO_PIECE);
        file.write_at(offset, piece)?;
        offset = offset.saturating_add(piece.len() as u64);
    }
    Ok(())
}

/// A leftover is harmless: recovery removes it. So a failure here is only told.
fn remove_leftover(vfs: &dyn Vfs, path: &Path) {
    if let Err(error) = vfs.remove(path) {
        tracing::debug!(%error, path = %path.display(), "cannot remove a temporary file");
    }
}

/// The open segment.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    file: Box<dyn VfsAppend>,
    path: PathBuf,
    header: SegmentHeader,
    seed: Seed,
    /// Where the next record goes.
    offset: u64,
    capacity_bytes: u64,
    last_lsn: Lsn,
    record_count: u64,
}

impl SegmentWriter {
    pub(crate) fn header(&self) -> &SegmentHeader {
        &self.header
    }

    pub(crate) fn seed(&self) -> Seed {
        self.seed
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Number of the last record written, durable or not.
    pub(crate) fn last_lsn(&self) -> Lsn {
        self.last_lsn
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// True when a batch of `bytes` and a seal fit into what was prepared. The first batch always
    /// goes in, however large it is.
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        let needed = (bytes as u64).saturating_add(SEAL_BYTES as u64);
        self.is_empty() || self.offset.saturating_add(needed) <= self.capacity_bytes
    }

    /// True when more than half of what was prepared is used.
    pub(crate) fn is_half_full(&self) -> bool {
        self.offset.saturating_mul(2) > self.capacity_bytes
    }

    /// Removes the file of a segment in which nothing was made durable.
    pub(crate) fn discard(self, vfs: &dyn Vfs) {
        remove_leftover(vfs, &self.path);
    }

    /// Appends the seal to a batch's bytes and returns its checksum. `records` and `last_lsn` are
    /// those of the batch that goes before it in the same write.
    pub(crate) fn encode_seal(
        &self,
        batch: &mut Vec<u8>,
        records: u64,
        last_lsn: Lsn,
        durable_through: Lsn,
    ) -> u32 {
        let offset = self.offset.saturating_add(batch.len() as u64);
        let payload = seal_payload(self.record_count.saturating_add(records), offset);
        encode_record(batch, self.seed, RecordKind::Seal, last_lsn, durable_through, &payload)
    }

    /// Writes one batch behind the last one. After an error nothing more may be written here.
    pub(crate) fn write(&mut self, batch: &[u8], records: u64, last_lsn: Lsn) -> Result<(), Error> {
        self.file
            .append(batch)
            .map_err(|error| Error::io("cannot write to the journal", &self.path, error))?;
        self.offset = self.offset.saturating_add(batch.len() as u64);
        self.record_count = self.record_count.saturating_add(records);
        self.last_lsn = self.last_lsn.max(last_lsn);
        Ok(())
    }

    /// The commit point: when it returns, all that was written is durable. A failed sync is final
    /// for this file.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.file.sync().map_err(|error| Error::io("cannot sync the journal", &self.path, error))
    }
}
