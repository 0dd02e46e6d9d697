//! Counts the syncs that write something, and the bytes that they write.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
};

use crate::hooked::Hooks;

/// Zeros do not count, nor syncs of them alone: segments are filled with them in the background,
/// whatever happens.
#[derive(Debug, Default)]
pub(crate) struct Counting(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    syncs: u64,
    bytes: u64,
    /// Files with something that was not synced yet.
    dirty: BTreeSet<PathBuf>,
}

impl Counting {
    /// Syncs, and bytes written.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let counts = self.locked();
        (counts.syncs, counts.bytes)
    }

    fn locked(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap()
    }
}

impl Hooks for Counting {
    fn written(&self, path: &Path, bytes: &[u8]) -> Option<Vec<u8>> {
        if bytes.iter().any(|byte| *byte != 0) {
            let mut counts = self.locked();
            counts.bytes += bytes.len() as u64;
            counts.dirty.insert(path.to_owned());
        }
        None
    }

    fn before_sync(&self, path: &Path) {
        let mut counts = self.locked();
        if counts.dirty.remove(path) {
            counts.syncs += 1;
        }
    }
}
