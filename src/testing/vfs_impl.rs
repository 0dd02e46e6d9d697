//! The simulated disk behind the store's own traits.

use std::{
    ffi::OsString,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    SimDisk,
    disk::{Disk, Kind},
    fault::{Ask, Op},
    names::Inode,
};
use crate::vfs::{Entry, EntryKind, Vfs, VfsFile, VfsLock};

impl Vfs for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        let mut disk = self.disk();
        let inode = disk.create(self.session, path)?;
        Ok(Box::new(SimFile { open: self.opened(&disk, path, inode), writable: true }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        let mut disk = self.disk();
        let inode = disk.open(self.session, path, true)?;
        Ok(Box::new(SimFile { open: self.opened(&disk, path, inode), writable: true }))
    }

    fn open_read_only(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        let mut disk = self.disk();
        let inode = disk.open(self.session, path, false)?;
        Ok(Box::new(SimFile { open: self.opened(&disk, path, inode), writable: false }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk().rename(self.session, from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk().link(self.session, from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk().remove(self.session, path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk().create_dir_all(self.session, path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk().sync_dir(self.session, path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let list = self.disk().list(self.session, path)?;
        Ok(list.into_iter().map(|(name, kind)| entry(name, &kind)).collect())
    }

    fn metadata(&self, path: &Path) -> io::Result<Entry> {
        let kind = self.disk().metadata(self.session, path)?;
        Ok(entry(path.file_name().unwrap_or_default().to_owned(), &kind))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn VfsLock>> {
        let mut disk = self.disk();
        let inode = disk.lock(self.session, path)?;
        Ok(Box::new(SimLock(self.opened(&disk, path, inode))))
    }
}

impl SimDisk {
    /// What a handle to a file keeps; made under the lock of the call that found the file.
    fn opened(&self, disk: &Disk, path: &Path, inode: Inode) -> Opened {
        Opened {
            disk: self.clone(),
            session: disk.session,
            inode,
            path: path.to_owned(),
            _hold: disk.hold(inode),
        }
    }
}

struct Opened {
    disk: SimDisk,
    session: u64,
    inode: Inode,
    path: PathBuf,
    _hold: Arc<()>,
}

impl Opened {
    fn target(&self) -> (&Path, Inode) {
        (&self.path, self.inode)
    }
}

/// The path only: the disk behind it may be locked by whoever prints this.
impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (session {})", self.path.display(), self.session)
    }
}

#[derive(Debug)]
struct SimFile {
    open: Opened,
    writable: bool,
}

impl SimFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable {
            return Ok(());
        }
        let why = "the file was opened for reading only";
        Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
    }
}

impl VfsFile for SimFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let Opened { session, inode, .. } = self.open;
        let mut disk = self.open.disk.disk();
        disk.admit(Some(session), &Ask::new(Op::Read, &self.open.path))?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = disk.bytes(inode).get(start..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        if let (Some(buf), Some(rest)) = (buf.get_mut(..count), rest.get(..count)) {
            buf.copy_from_slice(rest);
        }
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_writable()?;
        self.open.disk.disk().write(self.open.session, self.open.target(), offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.open.disk.disk().sync(self.open.session, self.open.target())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        self.open.disk.disk().set_len(self.open.session, self.open.target(), len)
    }

    fn len(&self) -> io::Result<u64> {
        let mut disk = self.open.disk.disk();
        disk.admit(Some(self.open.session), &Ask::new(Op::Metadata, &self.open.path))?;
        Ok(disk.bytes(self.open.inode).len() as u64)
    }
}

#[derive(Debug)]
struct SimLock(Opened);

impl VfsLock for SimLock {
    fn write_holder(&self, text: &str) -> io::Result<()> {
        let Opened { session, .. } = self.0;
        let mut disk = self.0.disk.disk();
        disk.set_len(session, self.0.target(), 0)?;
        disk.write(session, self.0.target(), 0, text.as_bytes())
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.0.disk.disk().unlock(self.0.session, self.0.inode);
    }
}

fn entry(name: OsString, kind: &Kind) -> Entry {
    match kind {
        Kind::Directory => Entry { name, kind: EntryKind::Directory, len: 0 },
        Kind::File(len) => Entry { name, kind: EntryKind::File, len: *len },
    }
}
