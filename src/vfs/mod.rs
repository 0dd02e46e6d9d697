//! The one seam between the store and the disk.
//!
//! Everything that touches a file goes through [`Vfs`], [`VfsFile`] and [`VfsAppend`]; nothing else
//! in the crate uses `std::fs`. [`OsVfs`] is the operating system; the simulated disk of the
//! `testing` feature is the other implementation. The traits know nothing of segments, records or
//! snapshots.
//!
//! This is the expert's door: a program needs it only to put the store on something that is not a
//! file system, or to inject faults.

mod append;
mod os;

use std::{fmt, io, path::Path};

pub use append::VfsAppend;
pub use os::OsVfs;

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else: a socket, a device.
    Other,
}

/// One entry of a directory, or what [`Vfs::metadata`] says of a path (symbolic links are
/// followed).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name inside its directory.
    pub name: std::ffi::OsString,
    /// What it is.
    pub kind: EntryKind,
    /// Length in bytes; 0 for what is not a file.
    pub len: u64,
}

/// The calls that the store makes on directories and names.
///
/// A write or a change of a directory is volatile until the matching sync has returned.
pub trait Vfs: Send + Sync + fmt::Debug {
    /// Creates a file that must not exist yet, for reading and writing.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken; whatever the disk says otherwise.
    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` if it does not exist; whatever the disk says otherwise.
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsFile>>;

    /// Opens an existing file for reading only.
    ///
    /// # Errors
    /// `NotFound` if it does not exist; whatever the disk says otherwise.
    fn open_read_only(&self, path: &Path) -> io::Result<Box<dyn VfsFile>>;

    /// Takes over a file that begins with the bytes `start`, is durable, and has zeros behind them:
    /// who gets it appends there, and nobody else writes to it. A disk that writes whole blocks may
    /// write the last bytes of `start` again, and zeros behind what is appended.
    ///
    /// This one appends by [`VfsFile::write_at`].
    fn append_to(&self, path: &Path, file: Box<dyn VfsFile>, start: &[u8]) -> Box<dyn VfsAppend> {
        let _ = path;
        Box::new(append::Appending::new(file, start.len() as u64))
    }

    /// Gives a file a new name, atomically replacing what had that name.
    ///
    /// # Errors
    /// `NotFound` if `from` does not exist; whatever the disk says otherwise.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name. `to` must not exist.
    ///
    /// # Errors
    /// `AlreadyExists` if `to` is taken; `Unsupported` where there are no hard links.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name, and the file with its last one.
    ///
    /// # Errors
    /// `NotFound` if it does not exist; whatever the disk says otherwise.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Creates a directory and its missing parents, and makes their entries durable.
    ///
    /// # Errors
    /// Whatever the disk says; an existing directory is no error.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Makes the entries of a directory durable: creations, renames, links and removals in it.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// The entries of a directory, in no particular order.
    ///
    /// # Errors
    /// `NotFound` if it does not exist; whatever the disk says otherwise.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;

    /// What is at a path.
    ///
    /// # Errors
    /// `NotFound` if nothing is; whatever the disk says otherwise.
    fn metadata(&self, path: &Path) -> io::Result<Entry>;

    /// Opens or creates the lock file and takes an exclusive lock on it, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if another handle, of this process or of another, holds it; whatever the disk
    /// says otherwise.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn VfsLock>>;

    /// Whether somebody holds the lock on a file, told without touching the lock: a reader that
    /// took it for a moment could make a starting node fail. `pid` is the process that is said to
    /// hold it. `None` where the system does not say.
    ///
    /// # Errors
    /// `NotFound` if there is no such file; whatever the disk says otherwise.
    fn is_locked(&self, path: &Path, pid: Option<u32>) -> io::Result<Option<bool>> {
        let (_, _) = (path, pid);
        Ok(None)
    }
}

/// An open file. Positions and lengths are bytes.
#[expect(clippy::len_without_is_empty, reason = "nobody asks; and `len` may fail")]
pub trait VfsFile: Send + Sync + fmt::Debug {
    /// Reads at most `buf.len()` bytes at `offset`; 0 means the end of the file.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, growing the file where it must. After an error any part
    /// of it may have been written.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes the file's bytes, and its length where it changed, durable. A failed sync says nothing
    /// about the bytes: it must not be tried again on the same file.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file to `len` bytes, or grows it with zeros.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn len(&self) -> io::Result<u64>;
}

/// A held lock; dropping it releases the lock.
pub trait VfsLock: Send + Sync + fmt::Debug {
    /// Replaces the lock file's text, which tells others who holds it.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn write_holder(&self, text: &str) -> io::Result<()>;
}

/// Reads a whole file of at most `limit` bytes.
///
/// # Errors
/// `FileTooLarge` if it is longer, before anything of that size is allocated; whatever the disk
/// says otherwise.
pub fn read_file(vfs: &dyn Vfs, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = vfs.open_read_only(path)?;
    let len = file.len()?;
    if len > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{len} bytes; at most {limit} are read"),
        ));
    }
    let len = usize::try_from(len).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    let read = read_full(file.as_ref(), 0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Fills `buf` from `offset` on; fewer bytes only at the end of the file.
///
/// # Errors
/// Whatever the disk says.
pub fn read_full(file: &dyn VfsFile, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(offset.saturating_add(filled as u64), rest) {
            Ok(0) => break,
            Ok(count) => filled = filled.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
