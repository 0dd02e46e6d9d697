//! The store that a command reads.

use std::path::{Path, PathBuf};

use peer_journal::{Inspection, Outcome, inspect};

use crate::{console::Console, failure::Failure, store};

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

    /// What the store holds. Damage is noted on standard error, since the rows tell nothing of it.
    ///
    /// # Errors
    /// If there is no store, or it cannot be read.
    pub(super) fn inspect(&self, console: &mut Console) -> Result<Inspection, Failure> {
        let path = self.path()?;
        let found = inspect(&path)?;
        if found.report.outcome == Outcome::FirstRun {
            return Err(Failure::usage(format!("there is no store at {}", path.display())));
        }
        if found.report.is_damaged() {
            console.note("note: the store is damaged; `peer-journal verify` says where");
        }
        Ok(found)
    }
}
