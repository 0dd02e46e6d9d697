//! The simulated machine: which calls get through, and what they do.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    io,
    path::Path,
    sync::Arc,
};

use super::{
    content::Content,
    fault::{Ask, Call, Effect, Faults, Op, Stop},
    names::{Found, Inode, Names},
    prng::Prng,
};

/// No simulated file is longer: a wild length is an error, not the end of the test's memory.
const MAX_FILE_BYTES: u64 = 1 << 30;

#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub(super) content: Content,
    /// Each open handle holds a clone, so that a file without names lives until it is closed.
    pub(super) open: Arc<()>,
}

/// The whole simulated machine; the public handle locks it.
#[derive(Debug)]
pub(super) struct Disk {
    /// The number of the present session; handles of earlier ones are dead.
    pub(super) session: u64,
    pub(super) on: bool,
    pub(super) read_only: bool,
    pub(super) capacity: Option<u64>,
    pub(super) crash_at: Option<u64>,
    pub(super) calls: u64,
    pub(super) counts: BTreeMap<Op, u64>,
    pub(super) trace: Vec<Call>,
    pub(super) faults: Faults,
    pub(super) names: Names,
    pub(super) files: BTreeMap<Inode, File>,
    pub(super) locks: BTreeSet<Inode>,
    /// The disk before each call, if somebody wants that.
    pub(super) images: Option<Vec<Self>>,
    next_inode: Inode,
    pub(super) seed: u64,
    prng: Prng,
}

/// What is at a path: a directory, or a file of a length.
pub(super) enum Kind {
    Directory,
    File(u64),
}

impl Disk {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            session: 0,
            on: true,
            read_only: false,
            capacity: None,
            crash_at: None,
            calls: 0,
            counts: BTreeMap::new(),
            trace: Vec::new(),
            faults: Faults::default(),
            names: Names::new(),
            files: BTreeMap::new(),
            locks: BTreeSet::new(),
            images: None,
            next_inode: 0,
            seed,
            prng: Prng::new(seed),
        }
    }

    /// A copy that shares nothing: no handle is open on it and no lock is held.
    pub(super) fn fork(&self) -> Self {
        let file = |(inode, file): (&Inode, &File)| {
            (*inode, File { content: file.content.clone(), open: Arc::default() })
        };
        Self {
            counts: self.counts.clone(),
            trace: self.trace.clone(),
            faults: self.faults.clone(),
            names: self.names.clone(),
            files: self.files.iter().map(file).collect(),
            locks: BTreeSet::new(),
            images: None,
            prng: self.prng.clone(),
            ..*self
        }
    }

    /// Counts a call, and lets it through unless something stands against it.
    pub(super) fn admit(&mut self, session: Option<u64>, ask: &Ask<'_>) -> Result<(), Stop> {
        if session.is_some_and(|session| session != self.session) {
            return Err(Stop::plain(io::Error::other(
                "this handle is from before the program was killed or the power was cut",
            )));
        }
        if !self.on {
            return Err(Stop::plain(off()));
        }
        if ask.op.is_mutating() && self.images.is_some() {
            let image = self.fork();
            self.images.get_or_insert_with(Vec::new).push(image);
        }
        let count = self.counts.entry(ask.op).or_default();
        *count = count.saturating_add(1);
        if ask.op.is_mutating() {
            self.calls = self.calls.saturating_add(1);
            self.trace.push(ask.numbered(self.calls));
            if self.crash_at.is_some_and(|call| self.calls >= call) {
                self.on = false;
                let written = self.prng.below(ask.len.saturating_add(1));
                return Err(Stop { error: off(), effect: Effect::Short(written) });
            }
            if self.read_only {
                return Err(Stop::plain(io::ErrorKind::ReadOnlyFilesystem.into()));
            }
        }
        self.faults.check(ask)
    }

    pub(super) fn create(&mut self, session: Option<u64>, path: &Path) -> io::Result<Inode> {
        self.admit(session, &Ask::new(Op::Create, path))?;
        let slot = self.names.free_slot(path)?;
        if self.free() == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = self.add(Content::default());
        self.names.change(vec![(slot, Some(inode))]);
        Ok(inode)
    }

    pub(super) fn open(
        &mut self,
        session: Option<u64>,
        path: &Path,
        writable: bool,
    ) -> io::Result<Inode> {
        self.admit(session, &Ask::new(Op::Open, path))?;
        let inode = self.names.file(path)?;
        if writable && self.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(inode)
    }

    pub(super) fn rename(
        &mut self,
        session: Option<u64>,
        from: &Path,
        to: &Path,
    ) -> io::Result<()> {
        self.admit(session, &Ask { to: Some(to), ..Ask::new(Op::Rename, from) })?;
        let inode = match self.names.find(from)? {
            Found::File(inode) => inode,
            Found::Directory => return Err(io::ErrorKind::Unsupported.into()),
        };
        match self.names.find(to) {
            Ok(Found::Directory) => return Err(io::ErrorKind::IsADirectory.into()),
            // Two names of one file: POSIX keeps both.
            Ok(Found::File(old)) if old == inode => return Ok(()),
            Ok(Found::File(_)) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let (from, to) = (self.names.slot(from)?, self.names.slot(to)?);
        self.names.change(vec![(from, None), (to, Some(inode))]);
        Ok(())
    }

    pub(super) fn link(&mut self, session: Option<u64>, from: &Path, to: &Path) -> io::Result<()> {
        self.admit(session, &Ask { to: Some(to), ..Ask::new(Op::Link, from) })?;
        let inode = self.names.file(from)?;
        let slot = self.names.free_slot(to)?;
        self.names.change(vec![(slot, Some(inode))]);
        Ok(())
    }

    pub(super) fn remove(&mut self, session: Option<u64>, path: &Path) -> io::Result<()> {
        self.admit(session, &Ask::new(Op::Remove, path))?;
        self.names.file(path)?;
        let slot = self.names.slot(path)?;
        self.names.change(vec![(slot, None)]);
        Ok(())
    }

    /// A directory that exists already is no call on the disk, but a look at it.
    pub(super) fn create_dir_all(&mut self, session: Option<u64>, path: &Path) -> io::Result<()> {
        let exists = matches!(self.names.find(path), Ok(Found::Directory));
        let op = if exists { Op::Metadata } else { Op::CreateDir };
        self.admit(session, &Ask::new(op, path))?;
        self.names.create_all(path)
    }

    pub(super) fn sync_dir(&mut self, session: Option<u64>, path: &Path) -> io::Result<()> {
        let admitted = self.admit(session, &Ask::new(Op::SyncDir, path));
        match &admitted {
            Ok(()) => self.names.sync(path)?,
            Err(stop) if stop.effect == Effect::MarkClean => self.names.mark_clean(path),
            Err(_) => {}
        }
        self.collect();
        admitted.map_err(io::Error::from)
    }

    pub(super) fn list(
        &mut self,
        session: Option<u64>,
        path: &Path,
    ) -> io::Result<Vec<(OsString, Kind)>> {
        self.admit(session, &Ask::new(Op::List, path))?;
        let list = self.names.list(path, self.seed)?;
        Ok(list.into_iter().map(|(name, found)| (name, self.kind(&found))).collect())
    }

    pub(super) fn metadata(&mut self, session: Option<u64>, path: &Path) -> io::Result<Kind> {
        self.admit(session, &Ask::new(Op::Metadata, path))?;
        Ok(self.kind(&self.names.find(path)?))
    }

    pub(super) fn lock(&mut self, session: Option<u64>, path: &Path) -> io::Result<Inode> {
        self.admit(session, &Ask::new(Op::Lock, path))?;
        let inode = match self.names.file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.create(session, path)?,
            Ok(_) if self.read_only => return Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            found => found?,
        };
        if self.locks.insert(inode) { Ok(inode) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    pub(super) fn unlock(&mut self, session: u64, inode: Inode) {
        if session == self.session {
            self.locks.remove(&inode);
        }
    }

    /// What an open handle holds.
    pub(super) fn hold(&self, inode: Inode) -> Arc<()> {
        self.files.get(&inode).map(|file| Arc::clone(&file.open)).unwrap_or_default()
    }

    pub(super) fn bytes(&self, inode: Inode) -> &[u8] {
        self.files.get(&inode).map(|file| file.content.bytes()).unwrap_or_default()
    }

    pub(super) fn write(
        &mut self,
        session: u64,
        (path, inode): (&Path, Inode),
        offset: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        let wanted = bytes.len() as u64;
        let ask = Ask { offset, len: wanted, ..Ask::new(Op::Write, path) };
        let (fits, failure) = match self.admit(Some(session), &ask) {
            Ok(()) => {
                let room = (self.bytes(inode).len() as u64).saturating_add(self.free());
                let fits = room.saturating_sub(offset).min(wanted);
                (fits, (fits < wanted).then(|| io::Error::from(io::ErrorKind::StorageFull)))
            }
            Err(Stop { error, effect: Effect::Short(fits) }) => (fits.min(wanted), Some(error)),
            Err(stop) => return Err(stop.error),
        };
        let at = position(offset.saturating_add(wanted)).and_then(|_| position(offset))?;
        let fits = usize::try_from(fits).map_err(io::Error::other)?;
        if let Some(file) = self.files.get_mut(&inode) {
            file.content.write(at, bytes.get(..fits).unwrap_or_default());
        }
        failure.map_or(Ok(()), Err)
    }

    pub(super) fn set_len(
        &mut self,
        session: u64,
        (path, inode): (&Path, Inode),
        len: u64,
    ) -> io::Result<()> {
        self.admit(Some(session), &Ask { len, ..Ask::new(Op::SetLen, path) })?;
        let room = (self.bytes(inode).len() as u64).saturating_add(self.free());
        if len > room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let len = position(len)?;
        if let Some(file) = self.files.get_mut(&inode) {
            file.content.set_len(len);
        }
        Ok(())
    }

    pub(super) fn sync(&mut self, session: u64, (path, inode): (&Path, Inode)) -> io::Result<()> {
        let admitted = self.admit(Some(session), &Ask::new(Op::Sync, path));
        if let Some(file) = self.files.get_mut(&inode) {
            match &admitted {
                Ok(()) => file.content.sync(),
                Err(stop) if stop.effect == Effect::MarkClean => file.content.mark_clean(),
                Err(_) => {}
            }
        }
        admitted.map_err(io::Error::from)
    }

    pub(super) fn add(&mut self, content: Content) -> Inode {
        self.next_inode = self.next_inode.saturating_add(1);
        self.files.insert(self.next_inode, File { content, open: Arc::default() });
        self.next_inode
    }

    /// How many bytes still fit. A removed file takes space until its last handle is closed.
    fn free(&self) -> u64 {
        let Some(capacity) = self.capacity else { return u64::MAX };
        let visible = self.names.visible();
        let taken = self
            .files
            .iter()
            .filter(|(inode, file)| visible.contains(*inode) || Arc::strong_count(&file.open) > 1)
            .map(|(_, file)| file.content.bytes().len() as u64)
            .fold(0, u64::saturating_add);
        capacity.saturating_sub(taken)
    }

    fn kind(&self, found: &Found) -> Kind {
        match found {
            Found::Directory => Kind::Directory,
            Found::File(inode) => Kind::File(self.bytes(*inode).len() as u64),
        }
    }
}

fn off() -> io::Error {
    io::Error::other("the simulated machine is off")
}

/// A position in a file, as one in memory.
pub(super) fn position(offset: u64) -> io::Result<usize> {
    if offset > MAX_FILE_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    usize::try_from(offset).map_err(io::Error::other)
}
