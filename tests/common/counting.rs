//! A disk that counts the syncs that write something, and the bytes that they write.
#![allow(dead_code)]

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};

use peer_journal::vfs::{Entry, Vfs, VfsFile, VfsLock};

#[derive(Debug, Default)]
struct Counts {
    syncs: AtomicU64,
    bytes: AtomicU64,
}

/// Counts what goes to the disk below. Zeros do not count, nor syncs of them alone: segments are
/// filled with them in the background, whatever happens.
#[derive(Debug)]
pub(crate) struct Counting<V> {
    disk: V,
    counts: Arc<Counts>,
}

impl<V: Vfs> Counting<V> {
    pub(crate) fn new(disk: V) -> Self {
        Self { disk, counts: Arc::default() }
    }

    /// Syncs, and bytes written.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.counts.syncs.load(SeqCst), self.counts.bytes.load(SeqCst))
    }

    fn counted(&self, file: io::Result<Box<dyn VfsFile>>) -> io::Result<Box<dyn VfsFile>> {
        let (file, counts) = (file?, Arc::clone(&self.counts));
        Ok(Box::new(CountedFile { file, counts, dirty: AtomicBool::new(false) }))
    }
}

#[derive(Debug)]
struct CountedFile {
    file: Box<dyn VfsFile>,
    counts: Arc<Counts>,
    dirty: AtomicBool,
}

impl VfsFile for CountedFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.iter().any(|byte| *byte != 0) {
            self.counts.bytes.fetch_add(bytes.len() as u64, SeqCst);
            self.dirty.store(true, SeqCst);
        }
        self.file.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        if self.dirty.swap(false, SeqCst) {
            self.counts.syncs.fetch_add(1, SeqCst);
        }
        self.file.sync()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

impl<V: Vfs> Vfs for Counting<V> {
    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        self.counted(self.disk.create(path))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        self.counted(self.disk.open(path))
    }

    fn open_read_only(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        self.disk.open_read_only(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Entry> {
        self.disk.metadata(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn VfsLock>> {
        self.disk.lock(path)
    }
}
