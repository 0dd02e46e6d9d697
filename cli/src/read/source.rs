//! The store that a command reads.

use std::{
    mem::ManuallyDrop,
    path::{Path, PathBuf},
};

use peer_journal::{Journal, Reader};

use crate::{console::Console, failure::Failure, progress, reads::Files, store};

/// A store that is yet to be read.
#[derive(Clone, Debug)]
pub struct Source {
    given: Option<PathBuf>,
}

impl Source {
    /// The store that was named on the command line, if any was.
    #[must_use]
    pub fn new(given: Option<PathBuf>) -> Self {
        Self { given }
    }

    /// The same, unless the command names another one itself.
    #[must_use]
    pub fn or(&self, named: Option<&Path>) -> Self {
        Self { given: named.map(Path::to_owned).or_else(|| self.given.clone()) }
    }

    /// The state file.
    ///
    /// # Errors
    /// If none is named and there is no home folder.
    pub fn path(&self) -> Result<PathBuf, Failure> {
        store::locate(self.given.as_deref())
    }

    /// The store, read. Damage is noted on standard error, since rows tell nothing of it. It is
    /// never dropped: the process ends soon, and to give back a hundred thousand rows one by one
    /// takes a tenth of the time of a command.
    ///
    /// # Errors
    /// If there is no store, or it cannot be read.
    pub(super) fn reader(&self, console: &mut Console) -> Result<ManuallyDrop<Reader>, Failure> {
        let reader = self.read(console)?;
        if reader.report().is_damaged() {
            console.note("note: the store is damaged; `peer-journal verify` says where");
        }
        Ok(reader)
    }

    /// The same for a command that tells of damage itself.
    ///
    /// # Errors
    /// If there is no store, or it cannot be read.
    pub(super) fn read(&self, console: &Console) -> Result<ManuallyDrop<Reader>, Failure> {
        let path = self.path()?;
        let options = Reader::options(&path).vfs(console.disk());
        let files = Files::Opened(&path);
        let reader = progress::reading(console, "reading the store:", &files, || options.open())?;
        Ok(ManuallyDrop::new(reader))
    }

    /// The records alone, which is quick.
    ///
    /// # Errors
    /// If there is no store, or it cannot be read.
    pub(super) fn journal(&self) -> Result<Journal, Failure> {
        Ok(Journal::open(self.path()?)?)
    }
}
