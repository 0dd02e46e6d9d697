//! The snapshots of a store: which one recovery starts from, and what is wrong with the others.

use std::{
    io,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};

use crate::{
    Error, Lsn, StoreId,
    recovery::{Base, verdict::Verdict},
    snapshot::{
        name as snapshot_name,
        publish::Places,
        read::{Loaded, Reading, SNAPSHOT_BYTES_MAX, Skipped, read},
    },
    state::{Limits, State},
    vfs::{EntryKind, Vfs, read_file},
};

/// The snapshot that recovery starts from.
#[derive(Debug)]
pub(crate) enum SnapshotChoice {
    /// There is none: recovery starts from nothing.
    None,
    /// The newest snapshot, in its place.
    InPlace(Box<Loaded>),
    /// An older one from the journal folder.
    Fallback(Box<Loaded>),
    /// A version 1 file.
    Version1(Box<Loaded>),
}

impl SnapshotChoice {
    pub(in crate::recovery) fn lsn(&self) -> Lsn {
        self.whole_lsn().unwrap_or(Lsn::ZERO)
    }

    pub(crate) fn whole_lsn(&self) -> Option<Lsn> {
        match self {
            Self::InPlace(loaded) | Self::Fallback(loaded) => Some(loaded.meta.lsn),
            Self::None | Self::Version1(_) => None,
        }
    }

    pub(crate) fn is_in_place(&self) -> bool {
        matches!(self, Self::InPlace(_))
    }

    pub(in crate::recovery) fn saved_at(&self) -> DateTime<Utc> {
        self.loaded().map_or(DateTime::UNIX_EPOCH, |loaded| loaded.meta.saved_at)
    }

    pub(crate) fn loaded(&self) -> Option<&Loaded> {
        match self {
            Self::None => None,
            Self::InPlace(loaded) | Self::Fallback(loaded) | Self::Version1(loaded) => Some(loaded),
        }
    }

    /// The state to replay into. A clone shares its rows, so that each change of the replay copies
    /// some first; one that is taken does not.
    pub(in crate::recovery) fn state(&mut self, limits: Limits, base: Base) -> (State, Skipped) {
        match self {
            Self::InPlace(loaded) | Self::Fallback(loaded) | Self::Version1(loaded) => {
                let skipped = std::mem::take(&mut loaded.skipped);
                match base {
                    Base::Taken => (std::mem::take(&mut loaded.state), skipped),
                    Base::Kept => (loaded.state.clone(), skipped),
                }
            }
            Self::None => (State::new(limits), Skipped::default()),
        }
    }
}

/// A snapshot file that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadSnapshot {
    pub(crate) path: PathBuf,
    pub(crate) verdict: Verdict,
    pub(crate) reason: String,
}

/// Picks the snapshot to start from.
pub(super) struct Chooser<'a> {
    pub(super) vfs: &'a dyn Vfs,
    pub(super) places: &'a Places,
    pub(super) limits: Limits,
    /// The store ids of all sound segment headers.
    pub(super) journal_ids: Vec<StoreId>,
    pub(super) bad_snapshots: Vec<BadSnapshot>,
    pub(super) newer_snapshot: Option<(PathBuf, u32)>,
}

impl Chooser<'_> {
    /// The snapshot in place if it is sound and no fallback is newer; else the newest sound
    /// fallback.
    pub(super) fn choose(
        &mut self,
        fallbacks: &[Lsn],
        has_history: bool,
    ) -> Result<SnapshotChoice, Error> {
        let state_file = self.places.state_file.clone();
        let in_place = self.look(&state_file, has_history)?;
        let newer = |loaded: &Loaded| fallbacks.first().is_none_or(|lsn| *lsn <= loaded.meta.lsn);
        let in_place = match in_place {
            Some(Reading::Version1(loaded)) => return Ok(SnapshotChoice::Version1(loaded)),
            Some(Reading::Whole(loaded)) if newer(&loaded) => {
                return Ok(SnapshotChoice::InPlace(loaded));
            }
            Some(Reading::Whole(loaded)) => Some(loaded),
            _ => None,
        };
        Ok(match (self.newest_fallback(fallbacks)?, in_place) {
            // What promised to be newer turned out to be broken.
            (Some(fallback), Some(loaded)) if fallback.meta.lsn <= loaded.meta.lsn => {
                SnapshotChoice::InPlace(loaded)
            }
            (Some(fallback), older) => {
                if older.is_some() {
                    self.bad_snapshots.push(BadSnapshot {
                        path: state_file,
                        verdict: Verdict::StaleSnapshot,
                        reason: "older than the snapshot in the journal folder".into(),
                    });
                }
                SnapshotChoice::Fallback(fallback)
            }
            (None, Some(loaded)) => SnapshotChoice::InPlace(loaded),
            (None, None) => SnapshotChoice::None,
        })
    }

    fn newest_fallback(&mut self, fallbacks: &[Lsn]) -> Result<Option<Box<Loaded>>, Error> {
        for lsn in fallbacks {
            let path = self.places.journal_dir.join(snapshot_name::fallback_name(*lsn));
            if let Some(Reading::Whole(loaded)) = self.look(&path, true)? {
                return Ok(Some(loaded));
            }
        }
        Ok(None)
    }

    /// Reads one snapshot file; what cannot be used is noted and `None`.
    fn look(&mut self, path: &Path, has_history: bool) -> Result<Option<Reading>, Error> {
        let bytes = match read_file(self.vfs, path, SNAPSHOT_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return self.unreadable(path, error),
        };
        let (verdict, reason) = match read(&bytes, self.limits) {
            Reading::Newer(version) => {
                self.newer_snapshot = Some((path.to_owned(), version));
                return Ok(None);
            }
            Reading::Whole(loaded)
                if self.journal_ids.is_empty()
                    || self.journal_ids.contains(&loaded.meta.store_id) =>
            {
                return Ok(Some(Reading::Whole(loaded)));
            }
            Reading::Version1(loaded) if !has_history => {
                return Ok(Some(Reading::Version1(loaded)));
            }
            Reading::Whole(_) => (Verdict::Foreign, "it belongs to another store".to_owned()),
            Reading::Version1(_) => (
                Verdict::StaleSnapshot,
                "a version 1 file in place of a newer snapshot; the journal beside it counts"
                    .to_owned(),
            ),
            Reading::Unsealed(reason) => (Verdict::UnsealedSnapshot, reason),
            Reading::Broken(reason) => (Verdict::BrokenSnapshot, reason),
        };
        self.bad_snapshots.push(BadSnapshot { path: path.to_owned(), verdict, reason });
        Ok(None)
    }

    /// A folder or a forbidden file is the caller's mistake; a bad sector is damage.
    fn unreadable(&mut self, path: &Path, error: io::Error) -> Result<Option<Reading>, Error> {
        let is_file = self.vfs.metadata(path).is_ok_and(|entry| entry.kind == EntryKind::File);
        if !is_file || error.kind() == io::ErrorKind::PermissionDenied {
            return Err(Error::io("cannot read the snapshot", path, error));
        }
        let reason = format!("it cannot be read: {error}");
        self.bad_snapshots.push(BadSnapshot {
            path: path.to_owned(),
            verdict: Verdict::BrokenSnapshot,
            reason,
        });
        Ok(None)
    }
}
