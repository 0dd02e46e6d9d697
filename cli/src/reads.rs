//! How much of a store's files has been read: the disk, with a count.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use peer_journal::{
    journal_dir,
    vfs::{Entry, EntryKind, OsVfs, Vfs, VfsFile, VfsLock},
};

use crate::progress::share;

/// Most bytes in one read: that of a large file shall be seen to go on.
const PIECE_BYTES: usize = 1 << 20;

/// The files that a job reads to their end.
#[derive(Clone, Copy, Debug)]
pub enum Files<'a> {
    /// Those that an opening reads: the snapshot in place, and the journal.
    Opened(&'a Path),
    /// Those that are read after that: all snapshots, and the history.
    Checked(&'a Path),
    /// All of them.
    All(&'a Path),
    /// The segments, those of the history too.
    Segments(&'a Path),
}

/// What of the files of the present job has been read.
#[derive(Debug, Default)]
pub struct Reads {
    job: Mutex<Job>,
}

#[derive(Debug, Default)]
struct Job {
    files: HashMap<PathBuf, Part>,
    total: u64,
    read: u64,
}

/// How much of a file has been read, from its beginning.
#[derive(Debug)]
struct Part {
    len: u64,
    read: u64,
}

impl Reads {
    /// A job begins that reads these.
    pub(crate) fn begin(&self, files: &Files<'_>) {
        let mut job = Job::default();
        for (path, len) in files.list() {
            job.total = job.total.saturating_add(len);
            job.files.insert(path, Part { len, read: 0 });
        }
        *self.job() = job;
    }

    /// Per cent of the bytes that have been read at least once; `None` if all have.
    pub(crate) fn share(&self) -> Option<u8> {
        let job = self.job();
        share(job.read, job.total)
    }

    /// The file has been read up to there.
    fn reached(&self, path: &Path, end: u64) {
        let mut job = self.job();
        let Some(part) = job.files.get_mut(path) else { return };
        let more = end.min(part.len).saturating_sub(part.read);
        part.read = part.read.saturating_add(more);
        job.read = job.read.saturating_add(more);
    }

    fn job(&self) -> MutexGuard<'_, Job> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files<'_> {
    /// Each file with its size. What cannot be listed is not counted.
    fn list(&self) -> Vec<(PathBuf, u64)> {
        const SEGMENTS: &[&str] = &["wal"];
        const SNAPSHOTS: &[&str] = &["json"];
        const BOTH: &[&str] = &["wal", "json"];
        // The state file, and the ends of names in the journal folder and in the history.
        let (state_file, is_read, journal, history) = match *self {
            Self::Opened(state_file) => (state_file, true, SEGMENTS, [].as_slice()),
            Self::Checked(state_file) => (state_file, true, SNAPSHOTS, BOTH),
            Self::All(state_file) => (state_file, true, BOTH, BOTH),
            Self::Segments(state_file) => (state_file, false, SEGMENTS, SEGMENTS),
        };
        let dir = journal_dir(state_file);
        let mut files = named(&dir.join("history"), history);
        files.extend(named(&dir, journal));
        if is_read {
            files.extend(OsVfs.metadata(state_file).map(|entry| (state_file.into(), entry.len)));
        }
        files
    }
}

/// The files in a folder whose names end so.
fn named(dir: &Path, ends: &[&str]) -> Vec<(PathBuf, u64)> {
    let is_wanted = |entry: &Entry| {
        let end = Path::new(&entry.name).extension().unwrap_or_default();
        entry.kind == EntryKind::File && ends.iter().any(|wanted| end == *wanted)
    };
    let entries = OsVfs.list(dir).unwrap_or_default().into_iter().filter(is_wanted);
    entries.map(|entry| (dir.join(&entry.name), entry.len)).collect()
}

/// The disk of the operating system, whose reads are counted.
#[derive(Debug)]
pub(crate) struct Counted(pub(crate) Arc<Reads>);

impl Counted {
    fn file(&self, path: &Path, file: Box<dyn VfsFile>) -> Box<dyn VfsFile> {
        Box::new(CountedFile { path: path.to_owned(), file, reads: Arc::clone(&self.0) })
    }
}

impl Vfs for Counted {
    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        OsVfs.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        OsVfs.open(path)
    }

    fn open_read_only(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        Ok(self.file(path, OsVfs.open_read_only(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsVfs.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsVfs.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsVfs.remove(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        OsVfs.create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        OsVfs.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        OsVfs.list(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Entry> {
        OsVfs.metadata(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn VfsLock>> {
        OsVfs.lock(path)
    }

    fn is_locked(&self, path: &Path, pid: Option<u32>) -> io::Result<Option<bool>> {
        OsVfs.is_locked(path, pid)
    }
}

#[derive(Debug)]
struct CountedFile {
    path: PathBuf,
    file: Box<dyn VfsFile>,
    reads: Arc<Reads>,
}

impl VfsFile for CountedFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let len = buf.len().min(PIECE_BYTES);
        let read = self.file.read_at(offset, buf.get_mut(..len).unwrap_or_default())?;
        self.reads.reached(&self.path, offset.saturating_add(read as u64));
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use peer_journal::{P2PStatePersistence, Reader};

    use super::*;

    #[test]
    fn each_byte_counts_once_and_the_share_ends_with_the_last_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p2p-state.json");
        let big = 3 * PIECE_BYTES;
        std::fs::write(&path, vec![b' '; big]).unwrap();
        let reads = Arc::new(Reads::default());
        assert_eq!(reads.share(), None, "no job");
        reads.begin(&Files::Opened(&path));
        let file = Counted(Arc::clone(&reads)).open_read_only(&path).unwrap();
        let mut bytes = vec![0; big];
        assert_eq!(reads.share(), Some(0));
        for offset in [0, 0, PIECE_BYTES, 0] {
            assert_eq!(file.read_at(offset as u64, &mut bytes).unwrap(), PIECE_BYTES);
        }
        assert_eq!(reads.share(), Some(66));
        file.read_at(2 * PIECE_BYTES as u64, &mut bytes).unwrap();
        assert_eq!(reads.share(), None, "all is read");
    }

    /// A job that did not read what is counted for it would stop below the end.
    #[test]
    fn the_files_of_a_job_are_those_that_it_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p2p-state.json");
        let store = P2PStatePersistence::builder(&path)
            .keep_history(peer_journal::History::default())
            .open()
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for number in 0..4_u8 {
            store.dht_put("key", &[number; 500]).unwrap().wait().unwrap();
            runtime.block_on(store.compact()).unwrap();
        }
        store.dht_put("key", b"last").unwrap().wait().unwrap();
        drop(store);
        let reads = Arc::new(Reads::default());
        let vfs: Arc<dyn Vfs> = Arc::new(Counted(Arc::clone(&reads)));
        let open = || Reader::options(&path).vfs(Arc::clone(&vfs)).open().unwrap();
        let is_all_of = |files: Files<'_>, job: &dyn Fn()| {
            reads.begin(&files);
            assert_eq!(reads.share(), Some(0), "{files:?}");
            job();
            assert_eq!(reads.share(), None, "{files:?}");
        };
        let reader = open();
        is_all_of(Files::Opened(&path), &|| drop(open()));
        is_all_of(Files::Checked(&path), &|| drop(reader.files().unwrap()));
        is_all_of(Files::All(&path), &|| drop(open().files().unwrap()));
        is_all_of(Files::Segments(&path), &|| {
            assert!(reader.log(..).unwrap().count() > 4);
        });
    }
}
