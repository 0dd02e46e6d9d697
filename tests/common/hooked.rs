//! A simulated disk with hooks: something happens right before or after a call, or a call lies.

use std::{fmt::Debug, io, path::Path, sync::Arc};

use peer_journal::{
    testing::SimDisk,
    vfs::{Entry, Vfs, VfsFile, VfsLock},
};

/// What happens around calls; by default nothing does.
pub(crate) trait Hooks: Debug + Send + Sync {
    fn before_open(&self, _disk: &SimDisk, _path: &Path) {}
    fn renamed(&self, _to: &Path) {}
    fn before_sync_dir(&self, _disk: &SimDisk, _path: &Path) {}
    fn after_sync_dir(&self) {}
    /// The file was created by this path.
    fn before_sync(&self, _path: &Path) {}
    /// What a write to a file that was created by this path leaves there instead of its bytes.
    fn written(&self, _path: &Path, _bytes: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

#[derive(Debug)]
pub(crate) struct Hooked {
    disk: SimDisk,
    hooks: Arc<dyn Hooks>,
}

impl Hooked {
    pub(crate) fn new(disk: &SimDisk, hooks: Arc<dyn Hooks>) -> Self {
        Self { disk: disk.mount(), hooks }
    }
}

impl Vfs for Hooked {
    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        let (file, hooks) = (self.disk.create(path)?, Arc::clone(&self.hooks));
        Ok(Box::new(HookedFile { file, path: path.into(), hooks }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)?;
        self.hooks.renamed(to);
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.hooks.before_sync_dir(&self.disk, path);
        let synced = self.disk.sync_dir(path);
        self.hooks.after_sync_dir();
        synced
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        self.disk.open(path)
    }

    fn open_read_only(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        self.hooks.before_open(&self.disk, path);
        self.disk.open_read_only(path)
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

#[derive(Debug)]
struct HookedFile {
    file: Box<dyn VfsFile>,
    path: Box<Path>,
    hooks: Arc<dyn Hooks>,
}

impl VfsFile for HookedFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self.hooks.written(&self.path, bytes) {
            Some(instead) => self.file.write_at(offset, &instead),
            None => self.file.write_at(offset, bytes),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.hooks.before_sync(&self.path);
        self.file.sync()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
