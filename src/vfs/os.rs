//! The operating system's files. This and the module below are the only users of `std::fs` in the
//! crate.

#[cfg(target_os = "linux")]
mod direct;

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

use super::{Entry, EntryKind, Vfs, VfsFile, VfsLock};
#[cfg(target_os = "linux")]
use super::{VfsAppend, append::Appending};

/// The file systems of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsVfs;

impl Vfs for OsVfs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Box::new(OsFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        Ok(Box::new(OsFile(OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn open_read_only(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        Ok(Box::new(OsFile(File::open(path)?)))
    }

    /// Around the system's cache, where it has that.
    #[cfg(target_os = "linux")]
    fn append_to(&self, path: &Path, file: Box<dyn VfsFile>, start: &[u8]) -> Box<dyn VfsAppend> {
        match direct::Direct::open(path, start) {
            Ok(direct) => Box::new(direct),
            Err(error) => {
                tracing::debug!(%error, path = %path.display(), "written through the cache");
                Box::new(Appending::new(file, start.len() as u64))
            }
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => return Ok(()),
            Ok(_) => return Err(io::Error::from(io::ErrorKind::NotADirectory)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent {
            self.create_dir_all(parent)?;
        }
        match fs::create_dir(path) {
            // Another thread or process was quicker.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result?,
        }
        self.sync_dir(parent.unwrap_or(Path::new(".")))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // Windows has no such call: its file systems journal their directories themselves.
        if cfg!(windows) {
            return Ok(());
        }
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            // A file that is removed while we look is no error: compaction does that to readers.
            match entry.metadata() {
                Ok(metadata) => entries.push(describe(entry.file_name(), &metadata)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(entries)
    }

    fn metadata(&self, path: &Path) -> io::Result<Entry> {
        let name = path.file_name().unwrap_or_default().to_owned();
        Ok(describe(name, &fs::metadata(path)?))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn VfsLock>> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        // Named in full: on newer compilers `file.try_lock()` would be std's own method.
        match fs4::FileExt::try_lock(&file) {
            Ok(()) => Ok(Box::new(OsLock(file))),
            Err(fs4::TryLockError::WouldBlock) => Err(io::Error::from(io::ErrorKind::WouldBlock)),
            Err(fs4::TryLockError::Error(error)) => Err(error),
        }
    }

    #[cfg(target_os = "linux")]
    fn is_locked(&self, path: &Path, pid: Option<u32>) -> io::Result<Option<bool>> {
        use std::os::linux::fs::MetadataExt;
        let metadata = fs::metadata(path)?;
        let Ok(table) = fs::read_to_string("/proc/locks") else { return Ok(None) };
        let (device, inode) = (metadata.st_dev(), metadata.st_ino());
        Ok(Some(table.lines().any(|line| holds(line, device, inode, pid))))
    }
}

/// True if a line of `/proc/locks` is a lock on this file: `1: FLOCK  ADVISORY  WRITE 1234
/// fe:00:131073 0 EOF`. Some file systems show another device there than their files have; the
/// process that is said to hold the lock tells then.
#[cfg(target_os = "linux")]
fn holds(line: &str, device: u64, inode: u64, pid: Option<u32>) -> bool {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let &[_, _, _, _, holder, file, ..] = fields.as_slice() else { return false };
    let mut parts = file.split(':');
    let mut hex = || u64::from_str_radix(parts.next()?, 16).ok();
    let (Some(major), Some(minor)) = (hex(), hex()) else { return false };
    if parts.next().and_then(|number| number.parse().ok()) != Some(inode) {
        return false;
    }
    let shown = (device >> 8 & 0xfff) | (device >> 32 & !0xfff);
    let same_device = (major, minor) == (shown, (device & 0xff) | (device >> 12 & !0xff));
    same_device || (pid.is_some() && holder.parse().ok() == pid)
}

fn describe(name: std::ffi::OsString, metadata: &fs::Metadata) -> Entry {
    let kind = if metadata.is_file() {
        EntryKind::File
    } else if metadata.is_dir() {
        EntryKind::Directory
    } else {
        EntryKind::Other
    };
    let len = if kind == EntryKind::File { metadata.len() } else { 0 };
    Entry { name, kind, len }
}

#[derive(Debug)]
struct OsFile(File);

impl VfsFile for OsFile {
    #[cfg(unix)]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.0, buf, offset)
    }

    #[cfg(unix)]
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.0, buf, offset)
    }

    #[cfg(windows)]
    fn write_at(&self, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = std::os::windows::fs::FileExt::seek_write(&self.0, bytes, offset)?;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero));
            }
            bytes = bytes.get(count..).unwrap_or_default();
            offset = offset.saturating_add(count as u64);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[derive(Debug)]
struct OsLock(File);

impl VfsLock for OsLock {
    fn write_holder(&self, text: &str) -> io::Result<()> {
        let file = OsFile(self.0.try_clone()?);
        file.write_at(0, text.as_bytes())?;
        // Not first: to free a block and to take it again is a transaction for the file system.
        let len = text.len() as u64;
        if file.len()? > len { file.set_len(len) } else { Ok(()) }
    }
}

/// The lock goes with the file description; unlocking by hand makes that hold even when a child
/// process inherited the descriptor.
impl Drop for OsLock {
    fn drop(&mut self) {
        if let Err(error) = fs4::FileExt::unlock(&self.0) {
            tracing::warn!(%error, "cannot release the lock by hand; closing the file releases it");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::holds;

    #[test]
    fn a_lock_is_found_in_the_table_of_the_system() {
        let line = "1: FLOCK  ADVISORY  WRITE 3592 fe:01:10043451 0 EOF";
        let device = 0xfe01;
        assert!(holds(line, device, 10_043_451, None));
        assert!(!holds(line, device, 10_043_452, Some(3592)));
        assert!(!holds(line, 0x801, 10_043_451, None), "the same number on another disk");
        assert!(!holds(line, 0x801, 10_043_451, Some(1)));
        assert!(holds(line, 0x801, 10_043_451, Some(3592)), "a device that only the table knows");
        let waits = "1: -> FLOCK  ADVISORY  WRITE 3592 fe:01:10043451 0 EOF";
        assert!(!holds(waits, device, 10_043_451, None), "it waits for the lock");
        assert!(!holds("", device, 1, None));
    }
}
