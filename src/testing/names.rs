//! The directories: which names a program sees, which are durable, and what happened in between.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    io,
    path::{Component, Path, PathBuf},
};

use super::prng::Prng;

/// The number of a file; names point to it.
pub(super) type Inode = u64;

/// A place for a name: its directory and the name in it.
pub(super) type Slot = (PathBuf, OsString);

type Entries = BTreeMap<OsString, Inode>;

#[derive(Clone, Debug, Default)]
struct Directory {
    now: Entries,
    durable: Entries,
}

/// One change of a name; a rename is two of them that survive together.
#[derive(Clone, Debug)]
struct Change {
    slot: Slot,
    becomes: Option<Inode>,
    synced: bool,
}

/// All directories. They are durable from their creation on, and are never removed.
#[derive(Clone, Debug)]
pub(super) struct Names {
    directories: BTreeMap<PathBuf, Directory>,
    /// What was done since the directories were synced, oldest first.
    pending: Vec<Vec<Change>>,
}

/// What a path leads to.
pub(super) enum Found {
    Directory,
    File(Inode),
}

impl Names {
    pub(super) fn new() -> Self {
        let root = (PathBuf::from("/"), Directory::default());
        Self { directories: BTreeMap::from([root]), pending: Vec::new() }
    }

    /// What is at a path.
    pub(super) fn find(&self, path: &Path) -> io::Result<Found> {
        let path = absolute(path);
        if self.directories.contains_key(&path) {
            return Ok(Found::Directory);
        }
        let (parent, name) = self.slot(&path)?;
        let entry = self.directories.get(&parent).and_then(|directory| directory.now.get(&name));
        entry.map(|inode| Found::File(*inode)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The file at a path; a directory is an error.
    pub(super) fn file(&self, path: &Path) -> io::Result<Inode> {
        match self.find(path)? {
            Found::File(inode) => Ok(inode),
            Found::Directory => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    /// The place for a name in an existing directory.
    pub(super) fn slot(&self, path: &Path) -> io::Result<Slot> {
        let path = absolute(path);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        self.directory(parent)?;
        Ok((parent.to_owned(), name.to_owned()))
    }

    /// The place for a name that must be free.
    pub(super) fn free_slot(&self, path: &Path) -> io::Result<Slot> {
        match self.find(path) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.slot(path),
            Err(error) => Err(error),
        }
    }

    /// Changes names as one operation, not durable yet.
    pub(super) fn change(&mut self, changes: Vec<(Slot, Option<Inode>)>) {
        let change = |(slot, becomes)| Change { slot, becomes, synced: false };
        let operation: Vec<Change> = changes.into_iter().map(change).collect();
        for Change { slot, becomes, .. } in &operation {
            if let Some(directory) = self.directories.get_mut(&slot.0) {
                set(&mut directory.now, &slot.1, *becomes);
            }
        }
        self.pending.push(operation);
    }

    /// Sets a name as if it had always been so.
    pub(super) fn settle(&mut self, slot: &Slot, becomes: Option<Inode>) {
        for operation in &mut self.pending {
            operation.retain(|change| change.slot != *slot);
        }
        self.pending.retain(|operation| !operation.is_empty());
        if let Some(directory) = self.directories.get_mut(&slot.0) {
            set(&mut directory.now, &slot.1, becomes);
            set(&mut directory.durable, &slot.1, becomes);
        }
    }

    /// Creates a directory and its parents, durably.
    pub(super) fn create_all(&mut self, path: &Path) -> io::Result<()> {
        let path = absolute(path);
        match self.find(&path) {
            Ok(Found::Directory) => return Ok(()),
            Ok(Found::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        for path in path.ancestors() {
            self.directories.entry(path.to_owned()).or_default();
        }
        Ok(())
    }

    /// Makes a directory's names durable. A rename between two directories is durable when both
    /// were synced, or when something durable was built on it.
    pub(super) fn sync(&mut self, path: &Path) -> io::Result<()> {
        let path = absolute(path);
        self.directory(&path)?;
        let changes = self.pending.iter_mut().flatten();
        for change in changes.filter(|change| change.slot.0 == path) {
            change.synced = true;
        }
        let mut built_on = BTreeSet::new();
        let mut durable = Vec::new();
        let mut waiting = Vec::new();
        for operation in self.pending.drain(..).rev() {
            let needed = operation.iter().any(|change| built_on.contains(&change.slot));
            if needed || operation.iter().all(|change| change.synced) {
                built_on.extend(operation.iter().map(|change| change.slot.clone()));
                durable.push(operation);
            } else {
                waiting.push(operation);
            }
        }
        waiting.reverse();
        self.pending = waiting;
        for operation in durable.into_iter().rev() {
            self.apply(operation);
        }
        Ok(())
    }

    /// Forgets that a directory's changes wait for a sync, although they are not durable.
    pub(super) fn mark_clean(&mut self, path: &Path) {
        let path = absolute(path);
        self.pending.retain(|operation| operation.iter().all(|change| change.slot.0 != path));
    }

    /// The names after a power cut: the durable ones, and those unsynced operations that `survives`
    /// picks. An operation on a name survives only if the earlier ones on that name did.
    pub(super) fn cut(&mut self, mut survives: impl FnMut() -> bool) {
        let mut dropped = BTreeSet::new();
        for operation in std::mem::take(&mut self.pending) {
            let possible = operation.iter().all(|change| !dropped.contains(&change.slot));
            if survives() && possible {
                self.apply(operation);
            } else {
                dropped.extend(operation.into_iter().map(|change| change.slot));
            }
        }
        for directory in self.directories.values_mut() {
            directory.now = directory.durable.clone();
        }
    }

    /// The different names that a power cut may leave, each told by which of the unsynced
    /// operations survive; none of them first. `None` if there may be more than `most`.
    pub(super) fn outcomes(&self, most: u64) -> Option<Vec<Vec<bool>>> {
        // Each choice with the places whose operations it has dropped.
        let mut choices = vec![(Vec::new(), BTreeSet::new())];
        for operation in &self.pending {
            let mut next = Vec::new();
            for (survives, dropped) in choices {
                let possible = operation.iter().all(|change| !dropped.contains(&change.slot));
                let with = |kept: bool| -> Vec<bool> {
                    survives.iter().copied().chain(std::iter::once(kept)).collect()
                };
                if possible {
                    next.push((with(true), dropped.clone()));
                }
                let without = with(false);
                let slots = operation.iter().map(|change| change.slot.clone());
                next.push((without, dropped.into_iter().chain(slots).collect()));
            }
            if next.len() as u64 > most {
                return None;
            }
            choices = next;
        }
        let mut seen = BTreeSet::new();
        let mut outcomes: Vec<Vec<bool>> =
            choices.into_iter().map(|(survives, _)| survives).collect();
        outcomes.sort_unstable();
        outcomes.retain(|survives| {
            let mut names = self.clone();
            let mut survives = survives.iter();
            names.cut(|| survives.next().copied().unwrap_or_default());
            seen.insert(names.files())
        });
        Some(outcomes)
    }

    /// The files that have a name now.
    pub(super) fn visible(&self) -> BTreeSet<Inode> {
        self.directories.values().flat_map(|directory| directory.now.values().copied()).collect()
    }

    /// The files that have a name now or may have one after a power cut.
    pub(super) fn reachable(&self) -> BTreeSet<Inode> {
        let mut inodes = self.visible();
        let durable = self.directories.values().flat_map(|directory| directory.durable.values());
        inodes.extend(durable);
        inodes.extend(self.pending.iter().flatten().filter_map(|change| change.becomes));
        inodes
    }

    /// All names of files, sorted.
    pub(super) fn files(&self) -> Vec<(PathBuf, Inode)> {
        let mut files: Vec<_> = self
            .directories
            .iter()
            .flat_map(|(path, directory)| {
                directory.now.iter().map(|(name, inode)| (path.join(name), *inode))
            })
            .collect();
        files.sort();
        files
    }

    /// The names in a directory, in an order that the seed decides: nobody may rely on one.
    pub(super) fn list(&self, path: &Path, seed: u64) -> io::Result<Vec<(OsString, Found)>> {
        let path = absolute(path);
        let files = self.directory(&path)?.now.iter();
        let mut list: Vec<_> =
            files.map(|(name, inode)| (name.clone(), Found::File(*inode))).collect();
        for child in self.directories.keys().filter(|child| child.parent() == Some(&path)) {
            list.extend(child.file_name().map(|name| (name.to_owned(), Found::Directory)));
        }
        let mut prng = Prng::new(seed);
        list.sort_by_cached_key(|_| prng.next_u64());
        Ok(list)
    }

    fn directory(&self, path: &Path) -> io::Result<&Directory> {
        if let Some(directory) = self.directories.get(path) {
            return Ok(directory);
        }
        // A file somewhere on the way is another error than nothing at all.
        let is_file = |path: &Path| {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                return false;
            };
            self.directories.get(parent).is_some_and(|directory| directory.now.contains_key(name))
        };
        Err(if path.ancestors().any(is_file) {
            io::ErrorKind::NotADirectory.into()
        } else {
            io::ErrorKind::NotFound.into()
        })
    }

    fn apply(&mut self, operation: Vec<Change>) {
        for Change { slot, becomes, .. } in operation {
            if let Some(directory) = self.directories.get_mut(&slot.0) {
                set(&mut directory.durable, &slot.1, becomes);
            }
        }
    }
}

fn set(entries: &mut Entries, name: &OsStr, becomes: Option<Inode>) {
    match becomes {
        Some(inode) => entries.insert(name.to_owned(), inode),
        None => entries.remove(name),
    };
}

/// The path from the root, without `.` and `..`: the simulated disk's working directory is its
/// root.
fn absolute(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                plain.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    plain
}
