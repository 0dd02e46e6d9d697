//! Faults on a real disk, or on any other: a wrapper that lets calls through or fails them.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Prng,
    fault::{Ask, Effect, Fault, Faults, Op, Stop},
};
use crate::vfs::{Entry, Vfs, VfsFile, VfsLock};

/// Another disk with faults: injects errors into a real process on a real file system.
///
/// It takes the same [`Fault`]s as [`SimDisk`](super::SimDisk), and chance can arm them. What is
/// not failed goes to the disk below, unchanged. A clone is another handle to the same faults, so
/// that a test keeps one and gives the store the other.
///
/// What a failed call leaves behind: a write has written as many bytes as [`Effect::Short`] says
/// and none otherwise; a sync has not been made. The disk below does not forget what a failed sync
/// should have made durable, as a Linux file system may: for that there is
/// [`SimDisk`](super::SimDisk), and [`Effect::MarkClean`] is [`Effect::None`] here.
///
/// ```
/// use std::sync::Arc;
///
/// use peer_journal::testing::{Fault, FaultVfs, Op};
/// use peer_journal::vfs::OsVfs;
/// use peer_journal::{ErrorKind, P2PStatePersistence};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("p2p-state.json");
/// let disk = FaultVfs::new(Arc::new(OsVfs));
/// let store = P2PStatePersistence::builder(&path).vfs(Arc::new(disk.clone())).open()?;
///
/// // The next sync of a journal file fails; `segment-` is the name by which they are created.
/// disk.fail(Fault::new(Op::Sync).path("segment-"));
/// let error = store.dht_put("key", b"value")?.wait().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Degraded);
/// assert_eq!(disk.faults_hit(), 1);
///
/// // The change was not lost: it is written to a fresh segment.
/// while store.append_batch([])?.wait().is_err() {}
/// drop(store);
/// let found = P2PStatePersistence::open(&path)?.view()?;
/// assert!(found.state().dht_entry("key").is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FaultVfs {
    below: Arc<dyn Vfs>,
    armed: Arc<Mutex<Armed>>,
}

#[derive(Default)]
struct Armed {
    faults: Faults,
    chance: Option<Chance>,
    random_hits: u64,
}

struct Chance {
    random: Prng,
    one_in: u64,
}

impl FaultVfs {
    /// The disk below, without a fault so far.
    #[must_use]
    pub fn new(below: Arc<dyn Vfs>) -> Self {
        Self { below, armed: Arc::default() }
    }

    /// Arms a fault. Of several that match a call, the first armed one that is due fails it.
    pub fn fail(&self, fault: Fault) {
        self.armed().faults.arm(fault);
    }

    /// From now on every mutating call fails with a chance of one in `one_in`: writes with an
    /// input/output error or a full disk after some of their bytes, syncs with an input/output
    /// error, creations with a full disk, the rest with either. 0 ends it. The calls fail by the
    /// seed, but which call is the how-manieth depends on the threads of the program.
    pub fn fail_randomly(&self, seed: u64, one_in: u64) {
        let chance = (one_in > 0).then(|| Chance { random: Prng::new(seed), one_in });
        self.armed().chance = chance;
    }

    /// Disarms all faults, also those of chance.
    pub fn clear_faults(&self) {
        let mut armed = self.armed();
        armed.faults.clear();
        armed.chance = None;
    }

    /// How many calls faults have failed so far: a test that arms one looks whether it was met.
    #[must_use]
    pub fn faults_hit(&self) -> u64 {
        let armed = self.armed();
        armed.faults.hits.saturating_add(armed.random_hits)
    }

    fn check(&self, ask: &Ask<'_>) -> Result<(), Stop> {
        let mut armed = self.armed();
        armed.faults.check(ask)?;
        let Some(chance) = &mut armed.chance else { return Ok(()) };
        if !ask.op.is_mutating() || !chance.random.chance(1, chance.one_in) {
            return Ok(());
        }
        let stop = chance.stop(ask);
        armed.random_hits = armed.random_hits.saturating_add(1);
        Err(stop)
    }

    fn file(&self, path: &Path, below: Box<dyn VfsFile>) -> Box<dyn VfsFile> {
        Box::new(FaultFile { below, path: path.to_owned(), faults: self.clone() })
    }

    /// A panic of another thread leaves the list of faults whole.
    fn armed(&self) -> MutexGuard<'_, Armed> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chance {
    fn stop(&mut self, ask: &Ask<'_>) -> Stop {
        let full = match ask.op {
            Op::Sync | Op::SyncDir | Op::Remove => false,
            Op::Create | Op::CreateDir | Op::SetLen => true,
            _ => self.random.chance(1, 2),
        };
        let kind = if full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
        let error = io::Error::new(kind, format!("random fault in {}", ask.op));
        let effect = match ask.op {
            Op::Write => Effect::Short(self.random.below(ask.len)),
            _ => Effect::None,
        };
        Stop { error, effect }
    }
}

impl Vfs for FaultVfs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        self.check(&Ask::new(Op::Create, path))?;
        Ok(self.file(path, self.below.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        self.check(&Ask::new(Op::Open, path))?;
        Ok(self.file(path, self.below.open(path)?))
    }

    fn open_read_only(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        self.check(&Ask::new(Op::Open, path))?;
        Ok(self.file(path, self.below.open_read_only(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(&Ask { to: Some(to), ..Ask::new(Op::Rename, from) })?;
        self.below.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(&Ask { to: Some(to), ..Ask::new(Op::Link, from) })?;
        self.below.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check(&Ask::new(Op::Remove, path))?;
        self.below.remove(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let op = if self.below.metadata(path).is_ok() { Op::Metadata } else { Op::CreateDir };
        self.check(&Ask::new(op, path))?;
        self.below.create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.check(&Ask::new(Op::SyncDir, path))?;
        self.below.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.check(&Ask::new(Op::List, path))?;
        self.below.list(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Entry> {
        self.check(&Ask::new(Op::Metadata, path))?;
        self.below.metadata(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn VfsLock>> {
        self.check(&Ask::new(Op::Lock, path))?;
        self.below.lock(path)
    }
}

impl fmt::Debug for FaultVfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultVfs")
            .field("below", &self.below)
            .field("faults_hit", &self.faults_hit())
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct FaultFile {
    below: Box<dyn VfsFile>,
    path: PathBuf,
    faults: FaultVfs,
}

impl FaultFile {
    fn ask(&self, op: Op) -> Ask<'_> {
        Ask::new(op, &self.path)
    }
}

impl VfsFile for FaultFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.faults.check(&self.ask(Op::Read))?;
        self.below.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let ask = Ask { offset, len: bytes.len() as u64, ..self.ask(Op::Write) };
        let Err(stop) = self.faults.check(&ask) else {
            return self.below.write_at(offset, bytes);
        };
        if let Effect::Short(fits) = stop.effect {
            let fits = usize::try_from(fits).unwrap_or(usize::MAX).min(bytes.len());
            self.below.write_at(offset, bytes.get(..fits).unwrap_or_default())?;
        }
        Err(stop.error)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.check(&self.ask(Op::Sync))?;
        self.below.sync()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.check(&Ask { len, ..self.ask(Op::SetLen) })?;
        self.below.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.faults.check(&self.ask(Op::Metadata))?;
        self.below.len()
    }
}
