//! Reading a store from outside: no lock, no write, safe while a node writes and compacts.
//!
//! [`Reader`] tells everything about a store as of one moment: the state, what an opening would
//! find ([`files`], [`proof`]), the log ([`log`], [`segment`]), the state as it was ([`travel`]),
//! what was set aside ([`quarantine`]), and who holds it. [`Journal`] is its part without the
//! state: the log, and following it ([`follow`]). [`index`] knows which files there are.

mod files;
mod follow;
mod index;
mod log;
mod proof;
mod quarantine;
mod segment;
mod travel;

use std::{ops::RangeBounds, path::Path, path::PathBuf, sync::Arc};

use chrono::{DateTime, Utc};

use crate::{
    Error, Lsn, StoreId, View,
    persistence::{
        holder::{self, Holder},
        inspect::{ATTEMPTS, examine_patiently},
        options::no_store,
    },
    recovery::{
        Recovered,
        report::{Outcome, RecoveryReport},
    },
    snapshot::{name::fallback_name, publish::Places},
    state::{Difference, Limits},
    vfs::{OsVfs, Vfs},
};

pub use files::{Checksums, Damage, FileKind, FileReport};
pub use follow::Follow;
pub use log::{Journal, Log};
pub use proof::Proof;
pub use quarantine::Quarantined;
pub use segment::LogRecord;

/// How to read a store. Made by [`Reader::options`].
#[derive(Clone, Debug)]
#[must_use = "an options value does nothing until `open` is called"]
pub struct ReadOptions {
    state_file: PathBuf,
    limits: Limits,
    vfs: Arc<dyn Vfs>,
    attempts: u32,
}

impl ReadOptions {
    /// The limits of the state that is read: those that the store's own program has.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Another disk than the operating system's: for tests.
    pub fn vfs(mut self, vfs: Arc<dyn Vfs>) -> Self {
        self.vfs = vfs;
        self
    }

    /// How often to look at most before something is called damaged (default 5, 20 ms apart). Once
    /// is enough where nobody writes.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Reads the store.
    ///
    /// # Errors
    /// As for [`Reader::open`].
    pub fn open(self) -> Result<Reader, Error> {
        let places = Places::new(&self.state_file);
        let recovered = examine_patiently(self.vfs.as_ref(), &places, self.limits, self.attempts)?;
        if recovered.report.outcome == Outcome::FirstRun {
            return Err(no_store(&places));
        }
        let journal = Journal::of(self.vfs, places);
        let view = View::new(recovered.state.clone(), recovered.last_lsn);
        Ok(Reader { journal, limits: self.limits, view, recovered })
    }
}

/// A store as of one moment, read from outside.
///
/// A reader takes no lock, repairs nothing and writes nothing. The store may be live: a record that
/// is just being written is in flight, not damage, and what looks damaged is read again before it
/// is called so. It reads a store with its journal, a snapshot file alone, and a version 1 file.
///
/// The state, the report and what [`files`](Self::files) says of the journal are those of the
/// moment of [`open`](Self::open); log, holder and quarantine are looked up when they are asked
/// for.
#[derive(Debug)]
pub struct Reader {
    journal: Journal,
    limits: Limits,
    view: View,
    recovered: Recovered,
}

/// The snapshot that a store was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// Its file.
    pub path: PathBuf,
    /// It holds every record up to this number.
    pub lsn: Lsn,
    /// Its size in bytes; 0 if compaction has just replaced it.
    pub bytes: u64,
    /// When it was written.
    pub saved_at: DateTime<Utc>,
}

impl Reader {
    /// Reads the store of `state_file`: what an opening would recover, and nothing is changed.
    ///
    /// # Errors
    /// [`NoStore`](crate::ErrorKind::NoStore) if there is neither snapshot nor journal,
    /// [`NewerVersion`](crate::ErrorKind::NewerVersion) if a newer version wrote it,
    /// [`Io`](crate::ErrorKind::Io) if the files cannot be read. A damaged store is no error: see
    /// [`report`](Self::report).
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), peer_journal::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("p2p-state.json");
    /// # let store = peer_journal::P2PStatePersistence::open(&path)?;
    /// # store.dht_put("key", b"value")?.wait()?;
    /// use peer_journal::Reader;
    ///
    /// let reader = Reader::open(&path)?; // a node may have it open, and write
    /// println!("{}", reader.report());
    /// assert_eq!(reader.view().state().counts().dht_entries, 1);
    /// for file in reader.files()? {
    ///     println!("{} {}: {}", file.path.display(), file.bytes, file.verdict);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(state_file: impl AsRef<Path>) -> Result<Self, Error> {
        Self::options(state_file).open()
    }

    /// Options for reading the store of `state_file`.
    pub fn options(state_file: impl AsRef<Path>) -> ReadOptions {
        ReadOptions {
            state_file: state_file.as_ref().to_owned(),
            limits: Limits::default(),
            vfs: Arc::new(OsVfs),
            attempts: ATTEMPTS,
        }
    }

    /// The state that an opening would recover. What has expired is still in it.
    #[must_use]
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// What an opening would find. Nothing was set aside.
    #[must_use]
    pub const fn report(&self) -> &RecoveryReport {
        &self.recovered.report
    }

    /// The store's name; `None` for a version 1 file.
    #[must_use]
    pub const fn store_id(&self) -> Option<StoreId> {
        self.recovered.store_id
    }

    /// When the snapshot that was used, or the version 1 file, was written; the UNIX epoch if there
    /// is none.
    #[must_use]
    pub const fn saved_at(&self) -> DateTime<Utc> {
        self.recovered.saved_at
    }

    /// The snapshot that the state starts from; `None` for a version 1 file, or if there is none.
    #[must_use]
    pub fn snapshot(&self) -> Option<SnapshotInfo> {
        let lsn = self.recovered.snapshot_lsn?;
        let places = self.places();
        let path = if self.recovered.snapshot_in_place {
            places.state_file.clone()
        } else {
            places.journal_dir.join(fallback_name(lsn))
        };
        let bytes = self.vfs().metadata(&path).map_or(0, |entry| entry.len);
        Some(SnapshotInfo { path, lsn, bytes, saved_at: self.recovered.saved_at })
    }

    /// The state file.
    #[must_use]
    pub fn state_file(&self) -> &Path {
        &self.places().state_file
    }

    /// The folder of the journal; it need not exist.
    #[must_use]
    pub fn journal_dir(&self) -> &Path {
        &self.places().journal_dir
    }

    /// Bytes of journal behind the snapshot: what an opening replays.
    #[must_use]
    pub const fn journal_bytes(&self) -> u64 {
        self.recovered.journal_bytes
    }

    /// The records alone, for as long as you like.
    #[must_use]
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// As [`Journal::log`].
    ///
    /// # Errors
    /// As for [`Journal::log`].
    pub fn log(&self, range: impl RangeBounds<Lsn>) -> Result<Log, Error> {
        self.journal.log(range)
    }

    /// As [`Journal::follow`], from the last record of [`view`](Self::view) on.
    #[must_use]
    pub fn follow(&self) -> Follow {
        self.journal.follow(self.view.lsn())
    }

    /// Who has the store open, or had it open last; `None` if there is no `LOCK` file. The lock is
    /// not touched, so a node that starts meanwhile gets it.
    ///
    /// # Errors
    /// `Io` if the file cannot be read.
    pub fn holder(&self) -> Result<Option<Holder>, Error> {
        holder::look(self.vfs(), self.places())
    }

    pub(crate) fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    pub(crate) fn places(&self) -> &Places {
        &self.journal.source().places
    }

    fn vfs(&self) -> &dyn Vfs {
        self.journal.source().vfs.as_ref()
    }
}

/// What `newer` has that `older` has not, what is gone, and what is different, by kind of row.
///
/// # Example
/// ```
/// # fn main() -> Result<(), peer_journal::Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = peer_journal::P2PStatePersistence::open(dir.path().join("p2p-state.json"))?;
/// let before = store.view()?;
/// store.dht_put("key", b"value")?;
/// let difference = peer_journal::diff(&before, &store.view()?);
/// assert_eq!(&*difference.dht_entries.added[0].0, "key");
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn diff(older: &View, newer: &View) -> Difference {
    older.state().difference(newer.state())
}
