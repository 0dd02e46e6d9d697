//! Every option of a store, its default and its reason.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};

use super::P2PStatePersistence;
use crate::{
    Error, ErrorKind,
    history::History,
    journal::format::PAYLOAD_BYTES_MAX,
    recovery::{
        OnDamage,
        inventory::{file_names, is_ours},
    },
    snapshot::publish::Places,
    state::Limits,
    vfs::{OsVfs, Vfs},
};

/// Tells the time; a test gives its own.
pub(super) type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// How to open a store. Made by [`P2PStatePersistence::builder`].
///
/// Every option has a default that is safe; most programs set none.
#[derive(Clone)]
#[must_use = "an options value does nothing until `open` is called"]
pub struct Builder {
    pub(super) state_file: PathBuf,
    pub(super) sync_within: Duration,
    pub(super) unsynced_bytes_max: usize,
    pub(super) update_bytes_max: usize,
    pub(super) segment_bytes: u64,
    pub(super) journal_bytes_max: u64,
    pub(super) auto_save_every: Duration,
    pub(super) amortise_above_bytes: u64,
    pub(super) history: Option<History>,
    pub(super) limits: Limits,
    pub(super) on_damage: OnDamage,
    pub(super) must_exist: bool,
    pub(super) vfs: Arc<dyn Vfs>,
    pub(super) clock: Clock,
}

impl Builder {
    pub(super) fn new(state_file: PathBuf) -> Self {
        Self {
            state_file,
            sync_within: Duration::from_millis(100),
            unsynced_bytes_max: 64 << 20,
            update_bytes_max: PAYLOAD_BYTES_MAX,
            segment_bytes: 8 << 20,
            journal_bytes_max: 256 << 20,
            auto_save_every: Duration::from_secs(60),
            amortise_above_bytes: 16 << 20,
            history: None,
            limits: Limits::default(),
            on_damage: OnDamage::default(),
            must_exist: false,
            vfs: Arc::new(OsVfs),
            clock: Arc::new(Utc::now),
        }
    }

    /// Longest time that a change which nobody waits for stays in memory only (default 100 ms). It
    /// is the loss window of changes whose [`Ack`](crate::Ack) is not awaited.
    pub fn sync_within(mut self, sync_within: Duration) -> Self {
        self.sync_within = sync_within;
        self
    }

    /// Most bytes of records that wait for the disk (default 64 MiB, at most 512 MiB). Past it
    /// `append` returns [`ErrorKind::Full`](crate::ErrorKind::Full).
    pub fn max_unsynced_bytes(mut self, bytes: usize) -> Self {
        self.unsynced_bytes_max = bytes;
        self
    }

    /// Size of a prepared segment in bytes (default 8 MiB, at least 4 KiB). Larger ones mean fewer
    /// rotations; each is filled with zeros ahead of time.
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Journal size in bytes from which a compaction starts even if no auto-save runs (default
    /// 256 MiB).
    pub fn max_journal_bytes(mut self, bytes: u64) -> Self {
        self.journal_bytes_max = bytes;
        self
    }

    /// Time between two auto-saves (default 60 s). They run once
    /// [`start_auto_save`](P2PStatePersistence::start_auto_save) was called.
    pub fn auto_save_every(mut self, every: Duration) -> Self {
        self.auto_save_every = every;
        self
    }

    /// Snapshot size in bytes above which an auto-save waits until the journal has grown to a tenth
    /// of the snapshot (default 16 MiB), so that the volume written stays in proportion to what
    /// changed.
    pub fn amortise_above_bytes(mut self, bytes: u64) -> Self {
        self.amortise_above_bytes = bytes;
        self
    }

    /// Keeps the past: what compaction would delete is moved to the folder `history` beside the
    /// journal, with as few snapshots as make every LSN in it restorable. Then
    /// [`Reader::log`](crate::Reader::log) and [`Reader::state_at`](crate::Reader::state_at) reach
    /// back as far as the caps allow. Off by default.
    ///
    /// The store remembers the caps: a program that opens it without this option keeps to them, so
    /// that a tool which appends one change does not end the history. [`History::OFF`] ends it.
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), peer_journal::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("p2p-state.json");
    /// use peer_journal::{History, P2PStatePersistence};
    /// use std::time::Duration;
    ///
    /// let week = History { bytes_max: 256 << 20, age_max: Duration::from_secs(7 * 86_400) };
    /// let store = P2PStatePersistence::builder(&path).keep_history(week).open()?;
    /// # drop(store);
    /// # Ok(())
    /// # }
    /// ```
    pub fn keep_history(mut self, history: History) -> Self {
        self.history = Some(history);
        self
    }

    /// The store's limits. They hold at append, at replay and at load.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What to do when the files are damaged (default [`OnDamage::Salvage`]).
    pub fn on_damage(mut self, on_damage: OnDamage) -> Self {
        self.on_damage = on_damage;
        self
    }

    /// Opens a store that is there, and makes none: without one, opening is
    /// [`NoStore`](crate::ErrorKind::NoStore). For tools, to which a mistyped path is a mistake and
    /// no first run.
    pub fn must_exist(mut self) -> Self {
        self.must_exist = true;
        self
    }

    /// Another disk than the operating system's: for tests and fault injection.
    pub fn vfs(mut self, vfs: Arc<dyn Vfs>) -> Self {
        self.vfs = vfs;
        self
    }

    /// Another clock than the system's: for tests of what expires. It is read at save and at load,
    /// and by the typed helpers.
    pub fn clock(mut self, clock: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Largest difference in bytes that [`update_state`](P2PStatePersistence::update_state) writes
    /// as one record (default and at most 16 MiB); a larger one becomes durable by a snapshot. For
    /// tests of that way, which would move many megabytes otherwise.
    #[cfg(feature = "testing")]
    pub fn max_update_record_bytes(mut self, bytes: usize) -> Self {
        self.update_bytes_max = bytes.min(PAYLOAD_BYTES_MAX);
        self
    }

    /// Opens the store: locks it, recovers what is there, and starts its threads. A first run makes
    /// a new store. Blocks for a few milliseconds with a thousand peers, longer with more.
    ///
    /// # Errors
    /// [`ErrorKind`](crate::ErrorKind)`::Locked` if another handle holds it, `Io` if the disk
    /// refuses, `Corrupt` under [`OnDamage::Refuse`], `NewerVersion`, `Invalid` for options that
    /// cannot work, and `NoStore` after [`must_exist`](Self::must_exist).
    pub fn open(self) -> Result<P2PStatePersistence, Error> {
        let store = self.open_on_first_use()?;
        store.shared().engine()?;
        Ok(store)
    }

    /// What its clock says.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }

    /// Where the store is.
    pub(crate) fn disk(&self) -> (Arc<dyn Vfs>, Places) {
        (Arc::clone(&self.vfs), Places::new(&self.state_file))
    }

    /// A handle that opens the store on its first use. Creates the parent folder.
    pub(super) fn open_on_first_use(self) -> Result<P2PStatePersistence, Error> {
        self.check()?;
        if self.must_exist {
            self.refuse_first_run()?;
        }
        let parent = self.state_file.parent().unwrap_or(Path::new(""));
        self.vfs.create_dir_all(parent).map_err(|error| {
            Error::io("cannot create the folder of the state file", parent, error)
        })?;
        Ok(P2PStatePersistence::from_builder(self))
    }

    /// Before the folder and the lock file are made.
    fn refuse_first_run(&self) -> Result<(), Error> {
        let places = Places::new(&self.state_file);
        let state_file = self.vfs.metadata(&places.state_file);
        let is_absent = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
        let is_there = !state_file.is_err_and(is_absent)
            || file_names(self.vfs.as_ref(), &places.journal_dir)?.iter().any(|n| is_ours(n));
        if is_there { Ok(()) } else { Err(no_store(&places)) }
    }

    fn check(&self) -> Result<(), Error> {
        if self.state_file.file_name().is_none() {
            return Err(Error::invalid("the state file needs a file name").at(&self.state_file));
        }
        let wrong = [
            (self.segment_bytes < 4096, "segment_bytes must be at least 4096"),
            (self.segment_bytes > 512 << 20, "segment_bytes must be at most 512 MiB"),
            (self.unsynced_bytes_max == 0, "max_unsynced_bytes must be more than 0"),
            // All of it may have to fit into one segment that recovery reads.
            (self.unsynced_bytes_max > 512 << 20, "max_unsynced_bytes must be at most 512 MiB"),
            (self.sync_within.is_zero(), "sync_within must be more than 0"),
            (self.auto_save_every.is_zero(), "auto_save_every must be more than 0"),
        ];
        match wrong.iter().find(|(holds, _)| *holds) {
            Some((_, message)) => Err(Error::invalid(*message)),
            None => Ok(()),
        }
    }
}

/// The error of whoever looks for a store where there is none.
pub(crate) fn no_store(places: &Places) -> Error {
    Error::new(ErrorKind::NoStore, "there is no store here")
        .at(&places.state_file)
        .next("name the state file of a store, such as p2p-state.json")
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("state_file", &self.state_file)
            .field("sync_within", &self.sync_within)
            .field("max_unsynced_bytes", &self.unsynced_bytes_max)
            .field("max_update_record_bytes", &self.update_bytes_max)
            .field("segment_bytes", &self.segment_bytes)
            .field("max_journal_bytes", &self.journal_bytes_max)
            .field("auto_save_every", &self.auto_save_every)
            .field("amortise_above_bytes", &self.amortise_above_bytes)
            .field("history", &self.history)
            .field("limits", &self.limits)
            .field("on_damage", &self.on_damage)
            .field("must_exist", &self.must_exist)
            .field("vfs", &self.vfs)
            .finish_non_exhaustive()
    }
}
