//! Appending around the system's cache (`O_DIRECT` in `open(2)`): the disk takes the bytes from the
//! buffer here, and a sync need not look for pages to write.
//!
//! Such a write takes whole blocks, from memory that is aligned like them. So the bytes that an
//! unfinished block begins with are kept, and written again with those that come next. So does the
//! system's cache, which writes whole pages.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::super::VfsAppend;

/// The largest block of a usual disk, of which smaller ones are a part.
const BLOCK_BYTES: usize = 4096;
/// More is written in pieces. A multiple of the block.
const BUFFER_BYTES: usize = 256 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Direct {
    file: File,
    /// Longer than what is used of it: memory is as aligned as it happens to be.
    memory: Vec<u8>,
    aligned: usize,
    /// Bytes in the buffer, which begins where this block of the file does.
    filled: usize,
    offset: u64,
}

impl Direct {
    /// Goes on behind `start`, which the file begins with.
    ///
    /// # Errors
    /// Whatever the system says, most of all where it has no such way to write.
    pub(super) fn open(path: &Path, start: &[u8]) -> io::Result<Self> {
        let flags = OFlags::DIRECT.bits().cast_signed();
        let file = OpenOptions::new().write(true).custom_flags(flags).open(path)?;
        let memory = vec![0; BUFFER_BYTES + BLOCK_BYTES];
        let address = memory.as_ptr().addr();
        let aligned = address.next_multiple_of(BLOCK_BYTES) - address;
        let mut direct = Self { file, memory, aligned, filled: 0, offset: 0 };
        let (blocks, unfinished) = start.as_chunks::<BLOCK_BYTES>();
        direct.offset = blocks.as_flattened().len() as u64;
        direct.fill(unfinished);
        Ok(direct)
    }

    fn buffer(&mut self) -> &mut [u8] {
        let end = self.aligned.saturating_add(BUFFER_BYTES);
        self.memory.get_mut(self.aligned..end).unwrap_or_default()
    }

    /// Takes as many of the bytes as there is room for; gives the others.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let filled = self.filled;
        let room = self.buffer().get_mut(filled..).unwrap_or_default();
        let (now, later) = bytes.split_at(room.len().min(bytes.len()));
        room.split_at_mut(now.len()).0.copy_from_slice(now);
        self.filled = filled.saturating_add(now.len());
        later
    }

    /// Writes the blocks with anything in them, the last one with zeros behind it; that one stays.
    fn write_out(&mut self) -> io::Result<()> {
        let (filled, offset) = (self.filled, self.offset);
        let end = filled.next_multiple_of(BLOCK_BYTES);
        self.buffer().get_mut(filled..end).unwrap_or_default().fill(0);
        let start = self.aligned;
        let blocks = self.memory.get(start..start.saturating_add(end)).unwrap_or_default();
        match self.file.write_all_at(blocks, offset) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                // This disk wants other blocks than these, or none at all. All of them go again.
                fcntl_setfl(&self.file, fcntl_getfl(&self.file)? - OFlags::DIRECT)?;
                self.file.write_all_at(blocks, offset)?;
            }
            written => written?,
        }
        let unfinished = filled % BLOCK_BYTES;
        let done = filled - unfinished;
        self.buffer().copy_within(done..filled, 0);
        self.filled = unfinished;
        self.offset = offset.saturating_add(done as u64);
        Ok(())
    }
}

impl VfsAppend for Direct {
    fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            bytes = self.fill(bytes);
            self.write_out()?;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A file of zeros behind these bytes, on the disk.
    fn file(path: &Path, start: &[u8], len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        bytes[..start.len()].copy_from_slice(start);
        fs::write(path, &bytes).unwrap();
        File::open(path).unwrap().sync_all().unwrap();
        bytes
    }

    /// Appends pieces of these lengths, and looks at the file behind each as any program does.
    fn append_all(
        direct: &mut Direct,
        path: &Path,
        bytes: &mut [u8],
        start: usize,
        lens: &[usize],
    ) {
        let mut end = start;
        for (len, letter) in lens.iter().zip((b'a'..=b'z').cycle()) {
            let piece = vec![letter; *len];
            direct.append(&piece).unwrap();
            bytes[end..end + len].copy_from_slice(&piece);
            end += len;
            assert!(fs::read(path).unwrap() == bytes, "start={start} lens={lens:?} end={end}");
            direct.sync().unwrap();
        }
    }

    #[test]
    fn what_is_appended_stands_behind_the_start_and_before_zeros() {
        const LENS: [&[usize]; 4] = [
            &[1, 62, 62, 62],
            &[0, BLOCK_BYTES - 1, 1, BLOCK_BYTES, BLOCK_BYTES + 1],
            &[3 * BLOCK_BYTES, 100, 2 * BLOCK_BYTES - 100],
            &[BUFFER_BYTES - 1, BUFFER_BYTES, 3 * BUFFER_BYTES + 5, 1],
        ];
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for start in [0, 96, BLOCK_BYTES - 1, BLOCK_BYTES, 2 * BLOCK_BYTES + 7] {
            for lens in LENS {
                let end = start + lens.iter().sum::<usize>();
                let start = vec![b'!'; start];
                let mut bytes =
                    file(&path, &start, end.next_multiple_of(BLOCK_BYTES) + BLOCK_BYTES);
                let mut direct = Direct::open(&path, &start).unwrap();
                append_all(&mut direct, &path, &mut bytes, start.len(), lens);
            }
        }
    }

    #[test]
    fn a_file_grows_by_whole_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        file(&path, b"start", 5);
        let mut direct = Direct::open(&path, b"start").unwrap();
        direct.append(&[b'x'; 5000]).unwrap();
        let expected = [&b"start"[..], &[b'x'; 5000], &[0; 2 * BLOCK_BYTES - 5005]].concat();
        assert!(fs::read(&path).unwrap() == expected);
    }

    /// Memory at an odd address is what a disk takes least of all.
    #[test]
    fn where_a_disk_does_not_take_it_the_cache_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut bytes = file(&path, b"start", 4 * BLOCK_BYTES);
        let mut direct = Direct::open(&path, b"").unwrap();
        direct.aligned -= usize::from(direct.aligned > 0);
        direct.aligned |= 1;
        append_all(&mut direct, &path, &mut bytes, 0, &[5, 5000, 4096, 1]);
    }
}
