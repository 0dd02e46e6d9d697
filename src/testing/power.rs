//! The end of a session: what a kill or a power cut leaves. And what a test changes by hand.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Outcome,
    content::Content,
    disk::{Disk, position},
    prng::Prng,
};

impl Disk {
    /// Starts a new session: the handles of the old one are dead, its locks released, its plans for
    /// a crash void.
    pub(super) fn begin_session(&mut self) {
        self.session = self.session.saturating_add(1);
        self.on = true;
        self.crash_at = None;
        self.locks.clear();
        for file in self.files.values_mut() {
            file.open = Arc::default();
        }
        self.collect();
    }

    /// Decides what survives a power cut, and makes that the disk.
    pub(super) fn cut(&mut self, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Nth(number) => match self.possible() {
                Some(possible) => {
                    self.settle_nth(&possible, number);
                    return self.begin_session();
                }
                None => Outcome::Random(number),
            },
            outcome => outcome,
        };
        let mut prng = match outcome {
            Outcome::Random(seed) | Outcome::Torn(seed) => Prng::new(seed),
            Outcome::DropUnsynced | Outcome::KeepAll | Outcome::Nth(_) => Prng::new(0),
        };
        // How much survives is itself drawn, so that both ends are met as well as the middle.
        let keep = prng.below(9);
        for file in self.files.values_mut() {
            file.content = Content::durable(match outcome {
                Outcome::DropUnsynced | Outcome::Nth(_) => file.content.synced(),
                Outcome::KeepAll => file.content.complete(),
                Outcome::Random(_) => file.content.mixture(&mut prng, keep, false),
                Outcome::Torn(_) => file.content.mixture(&mut prng, keep, true),
            });
        }
        self.names.cut(|| match outcome {
            Outcome::DropUnsynced | Outcome::Nth(_) => false,
            Outcome::KeepAll => true,
            Outcome::Random(_) | Outcome::Torn(_) => prng.chance(keep, 8),
        });
        self.begin_session();
    }

    /// Sets a file's bytes as if it had always had them.
    pub(super) fn settle(&mut self, path: &Path, bytes: Vec<u8>) -> io::Result<()> {
        position(bytes.len() as u64)?;
        if let Some(parent) = path.parent() {
            self.names.create_all(parent)?;
        }
        let inode = match self.names.file(path) {
            Ok(inode) => inode,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.add(Content::default()),
            Err(error) => return Err(error),
        };
        let slot = self.names.slot(path)?;
        self.names.settle(&slot, Some(inode));
        if let Some(file) = self.files.get_mut(&inode) {
            file.content = Content::durable(bytes);
        }
        Ok(())
    }

    /// Removes a name as if it had never been there.
    pub(super) fn erase(&mut self, path: &Path) -> io::Result<()> {
        self.names.file(path)?;
        let slot = self.names.slot(path)?;
        self.names.settle(&slot, None);
        self.collect();
        Ok(())
    }

    pub(super) fn look(&self, path: &Path) -> io::Result<&[u8]> {
        Ok(self.bytes(self.names.file(path)?))
    }

    pub(super) fn files(&self) -> Vec<(PathBuf, u64)> {
        let files = self.names.files().into_iter();
        files.map(|(path, inode)| (path, self.bytes(inode).len() as u64)).collect()
    }

    /// Forgets the files that nobody can reach any more.
    pub(super) fn collect(&mut self) {
        let reachable = self.names.reachable();
        self.files
            .retain(|inode, file| reachable.contains(inode) || Arc::strong_count(&file.open) > 1);
    }
}
