//! The file that becomes a snapshot: written, synced, and read back before an older one gives way.
//!
//! A thread syncs and reads back what is written of a large one while the rest is rendered, so that
//! little of that is left to do at its end, and no sync of the journal waits for all of it.

#[cfg(test)]
mod tests;

use std::io;

use super::{Meta, both::both_and_follow, read::SNAPSHOT_BYTES_MAX, write::write};
use crate::{
    state::State,
    vfs::{VfsFile, read_full},
};

/// The file is read back in pieces of this size.
const PIECE_BYTES: usize = 256 << 10;
/// A large file is synced and read back whenever so much of it was written.
const PART_BYTES: u64 = 4 << 20;
/// Peers from which on a snapshot is large.
const LARGE_PEERS: usize = 4096;

/// Asked between pieces; when it says true nothing is published.
pub(crate) type Stop<'a> = dyn Fn() -> bool + Sync + 'a;

/// Writes the snapshot of a state into an empty file. When this returns its size in bytes it is
/// durable and was read back.
pub(super) fn fill(
    file: &dyn VfsFile,
    state: &State,
    meta: &Meta,
    stop: &Stop<'_>,
) -> io::Result<u64> {
    let mut check = Check::new(file, stop);
    let written = if state.known_peers() < LARGE_PEERS {
        render(file, state, meta, stop, &|_| Ok(()))?
    } else {
        let here = |tell: &dyn Fn(u64) -> bool| {
            let stopped = || io::Error::other("what was written does not check");
            let is_written = |len| tell(len).then_some(()).ok_or_else(stopped);
            render(file, state, meta, stop, &is_written)
        };
        let beside = |next: &dyn Fn() -> Option<u64>| {
            std::iter::from_fn(next).try_for_each(|len| check.to(len))
        };
        let (written, checked) = both_and_follow("peer-journal-check", here, beside);
        checked?;
        written?
    };
    check.finish(&written)?;
    Ok(written.len)
}

/// What was written, and the checksum of all of it.
struct Written {
    len: u64,
    crc: u32,
}

/// Writes the document, and tells now and then how much of it is written.
fn render(
    file: &dyn VfsFile,
    state: &State,
    meta: &Meta,
    stop: &Stop<'_>,
    is_written: &dyn Fn(u64) -> io::Result<()>,
) -> io::Result<Written> {
    let (mut len, mut told) = (0_u64, 0);
    let crc = write(state, meta, &mut |piece| {
        go_on(stop)?;
        file.write_at(len, piece)?;
        len = len.saturating_add(piece.len() as u64);
        if len > SNAPSHOT_BYTES_MAX {
            // What the reader would refuse must not take the place of what it reads.
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        if len.saturating_sub(told) >= PART_BYTES {
            told = len;
            is_written(len)?;
        }
        Ok(())
    })?;
    Ok(Written { len, crc })
}

/// What the file holds must be what was meant to be written.
struct Check<'a> {
    file: &'a dyn VfsFile,
    stop: &'a Stop<'a>,
    /// So much was synced and read back.
    len: u64,
    hasher: crc32fast::Hasher,
    piece: Vec<u8>,
}

impl<'a> Check<'a> {
    fn new(file: &'a dyn VfsFile, stop: &'a Stop<'a>) -> Self {
        let (hasher, piece) = (crc32fast::Hasher::new(), vec![0; PIECE_BYTES]);
        Self { file, stop, len: 0, hasher, piece }
    }

    /// Syncs what is written and reads back what is new of it.
    fn to(&mut self, len: u64) -> io::Result<()> {
        self.file.sync()?;
        while self.len < len {
            go_on(self.stop)?;
            let left = usize::try_from(len.saturating_sub(self.len)).unwrap_or(usize::MAX);
            let wanted = left.min(self.piece.len());
            let piece = self.piece.get_mut(..wanted).unwrap_or_default();
            let count = read_full(self.file, self.len, piece)?;
            self.hasher.update(piece.get(..count).unwrap_or_default());
            self.len = self.len.saturating_add(count as u64);
            if count < wanted {
                break;
            }
        }
        Ok(())
    }

    /// Checks the rest, and that nothing is behind it.
    fn finish(mut self, written: &Written) -> io::Result<()> {
        self.to(written.len)?;
        let found = (self.file.len()?, self.len, self.hasher.finalize());
        if found != (written.len, written.len, written.crc) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the snapshot reads back differently from what was written",
            ));
        }
        Ok(())
    }
}

fn go_on(stop: &Stop<'_>) -> io::Result<()> {
    if stop() { Err(io::Error::from(io::ErrorKind::Interrupted)) } else { Ok(()) }
}
