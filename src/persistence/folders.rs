//! The disk as the threads of an open store share it: folders are synced one at a time, and failed
//! syncs are counted.
//!
//! A failed sync of a folder may mark the names in it clean: a later sync returns `Ok` and proves
//! nothing about a name that was made before. So whoever makes a name and syncs its folder looks
//! at the count before and after, because the failed sync may have been another thread's.

use std::{
    io,
    path::Path,
    sync::{Arc, PoisonError, atomic::Ordering},
};

use super::sync::{AtomicU64, Mutex};
use crate::{
    Error, ErrorKind,
    vfs::{Entry, Vfs, VfsAppend, VfsFile, VfsLock},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Folders {
    disk: Arc<dyn Vfs>,
    /// Held while a folder is synced, so that a failure is counted before another sync returns.
    syncing: Mutex<()>,
    failed: AtomicU64,
}

impl Folders {
    pub(super) fn new(disk: Arc<dyn Vfs>) -> Self {
        Self { disk, syncing: Mutex::new(()), failed: AtomicU64::new(0) }
    }

    /// How many syncs of folders have failed. A name is durable if it was made, and its folder
    /// synced, while this number stayed the same.
    pub(super) fn failed_syncs(&self) -> u64 {
        self.failed.load(Ordering::SeqCst)
    }

    /// An error if a sync of a folder has failed since there were `before`: what was made
    /// meanwhile must be made again.
    pub(super) fn check(&self, before: u64, path: &Path) -> Result<(), Error> {
        if self.failed_syncs() == before {
            return Ok(());
        }
        let what = "a folder could not be synced meanwhile, so the new name of a file is in doubt";
        Err(Error::new(ErrorKind::Io, what)
            .at(path)
            .next("look at the disk; the name is made again"))
    }

    fn one_at_a_time(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let synced = sync();
        if synced.is_err() {
            self.failed.fetch_add(1, Ordering::SeqCst);
        }
        synced
    }
}

impl Vfs for Folders {
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.one_at_a_time(|| self.disk.sync_dir(path))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.one_at_a_time(|| self.disk.create_dir_all(path))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        self.disk.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        self.disk.open(path)
    }

    fn open_read_only(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        self.disk.open_read_only(path)
    }

    fn append_to(&self, path: &Path, file: Box<dyn VfsFile>, start: &[u8]) -> Box<dyn VfsAppend> {
        self.disk.append_to(path, file, start)
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

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Entry> {
        self.disk.metadata(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn VfsLock>> {
        self.disk.lock(path)
    }

    fn is_locked(&self, path: &Path, pid: Option<u32>) -> io::Result<Option<bool>> {
        self.disk.is_locked(path, pid)
    }
}
