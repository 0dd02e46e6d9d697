//! The log: the records of a store in the order of their numbers, from either end.

use std::{
    collections::VecDeque,
    fmt,
    ops::{Bound, RangeBounds, RangeInclusive},
    path::Path,
    sync::Arc,
};

use super::{
    follow::Follow,
    index::{Index, SegmentRef},
    segment::{Entry, LogRecord, Source, Wanted},
};
use crate::{
    Error, ErrorKind, Lsn,
    persistence::options::no_store,
    snapshot::{
        publish::Places,
        read::{Check, SNAPSHOT_BYTES_MAX, check},
    },
    state::Change,
    vfs::{OsVfs, Vfs, read_file},
};

/// The records of a store, without its state: opening it reads no more than the first bytes of each
/// segment, and a snapshot only where there is no journal.
///
/// It takes no lock and writes nothing; the store may be live. With a history
/// ([`keep_history`](crate::Builder::keep_history)) the log reaches back as far as that.
#[derive(Clone, Debug)]
pub struct Journal {
    source: Source,
}

impl Journal {
    /// The journal of the store of `state_file`.
    ///
    /// # Errors
    /// [`NoStore`](crate::ErrorKind::NoStore) if there is none, `NewerVersion` if a newer version
    /// wrote it, `Io` if its folders cannot be read.
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), peer_journal::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("p2p-state.json");
    /// # let store = peer_journal::P2PStatePersistence::open(&path)?;
    /// # store.dht_put("key", b"value")?.wait()?;
    /// use peer_journal::Journal;
    ///
    /// // The last twenty records, newest first.
    /// for record in Journal::open(&path)?.log(..)?.rev().take(20) {
    ///     let record = record?;
    ///     println!("{} {:?} {:?}", record.lsn, record.at, record.changes);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(state_file: impl AsRef<Path>) -> Result<Self, Error> {
        Self::on(Arc::new(OsVfs), state_file)
    }

    /// As [`open`](Self::open), on another disk than the operating system's.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn on(vfs: Arc<dyn Vfs>, state_file: impl AsRef<Path>) -> Result<Self, Error> {
        let source = Source { vfs, places: Places::new(state_file.as_ref()) };
        let index = source.index()?;
        if index.is_nothing() {
            source.look_at_lone_snapshot()?;
        }
        Ok(Self { source })
    }

    pub(super) fn of(vfs: Arc<dyn Vfs>, places: Places) -> Self {
        Self { source: Source { vfs, places } }
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// The records whose numbers are in the range, in order, or with `rev()` newest first. One
    /// segment is in memory at a time. Records may be there that are written but not synced yet.
    ///
    /// Where records are missing in between, the log yields an error of kind
    /// [`Corrupt`](crate::ErrorKind::Corrupt) that names their LSNs, and goes on behind them. A
    /// record that is just being written is not there yet. A segment that is removed meanwhile
    /// gives an error of kind [`Compacted`](crate::ErrorKind::Compacted).
    ///
    /// # Errors
    /// `Io` if the folders cannot be read, `NewerVersion`.
    pub fn log(&self, range: impl RangeBounds<Lsn>) -> Result<Log, Error> {
        let range = bounds(&range);
        let index = self.source.index()?;
        let segments = index
            .segments
            .iter()
            .filter(|segment| segment.name.first_lsn <= *range.end())
            .filter(|segment| segment.limit >= *range.start())
            .cloned()
            .collect();
        let source = self.source.clone();
        let (front, back) = (VecDeque::new(), VecDeque::new());
        Ok(Log { source, index, range, wanted: None, segments, front, back })
    }

    /// Follows the journal from another process: every record after `lsn`, as it is written.
    #[must_use]
    pub fn follow(&self, lsn: Lsn) -> Follow {
        Follow::new(self.source.clone(), lsn)
    }
}

impl Source {
    pub(super) fn index(&self) -> Result<Index, Error> {
        Index::take(self.vfs.as_ref(), &self.places)
    }

    /// Without a journal there is still a store if there is a snapshot, whose version no header
    /// has told.
    fn look_at_lone_snapshot(&self) -> Result<(), Error> {
        let path = &self.places.state_file;
        if self.vfs.metadata(path).is_err() {
            return Err(no_store(&self.places));
        }
        let bytes = read_file(self.vfs.as_ref(), path, SNAPSHOT_BYTES_MAX)
            .map_err(|error| Error::io("cannot read the snapshot", path, error))?;
        match check(&bytes) {
            Check::Newer(version) => {
                let what = format!("written by a newer version: version={version}");
                Err(Error::new(ErrorKind::NewerVersion, what)
                    .at(path)
                    .next("upgrade peer-journal; nothing was altered"))
            }
            _ => Ok(()),
        }
    }
}

impl Index {
    fn is_nothing(&self) -> bool {
        self.segments.is_empty() && self.snapshots.is_empty()
    }
}

fn bounds(range: &impl RangeBounds<Lsn>) -> RangeInclusive<Lsn> {
    let first = match range.start_bound() {
        Bound::Included(lsn) => *lsn,
        Bound::Excluded(lsn) => lsn.next(),
        Bound::Unbounded => Lsn::ZERO,
    };
    match range.end_bound() {
        Bound::Included(lsn) => first..=*lsn,
        // Nothing is below zero; an inverted range is empty.
        Bound::Excluded(&Lsn::ZERO) => Lsn::new(1)..=Lsn::ZERO,
        Bound::Excluded(lsn) => first..=lsn.previous(),
        Bound::Unbounded => first..=Lsn::new(u64::MAX),
    }
}

/// The records of a range, made by [`Journal::log`]; an iterator from either end.
pub struct Log {
    source: Source,
    index: Index,
    range: RangeInclusive<Lsn>,
    wanted: Option<Wanted>,
    /// Segments that neither end has read yet.
    segments: VecDeque<SegmentRef>,
    front: VecDeque<Entry>,
    back: VecDeque<Entry>,
}

impl Log {
    /// Leaves out the records without a change that is `wanted`, before they take memory: a few in
    /// a large journal are found sooner than by filtering the iterator. A record stays whole; large
    /// updates and errors stay too.
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), peer_journal::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("p2p-state.json");
    /// # let store = peer_journal::P2PStatePersistence::open(&path)?;
    /// # store.dht_put("key", b"value")?;
    /// # store.dht_remove("key")?.wait()?;
    /// use peer_journal::{Change, Journal};
    ///
    /// let log = Journal::open(&path)?.log(..)?;
    /// let puts = log.only(|change| matches!(change, Change::DhtPut { .. }));
    /// assert_eq!(puts.count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn only(mut self, wanted: impl Fn(&Change) -> bool + Send + Sync + 'static) -> Self {
        self.wanted = Some(Arc::new(wanted));
        self
    }

    fn read(&self, segment: &SegmentRef) -> VecDeque<Entry> {
        let entries =
            self.source.wanted_entries(&self.index, segment, &self.range, self.wanted.as_ref());
        entries.unwrap_or_else(|error| [Err(error)].into())
    }
}

impl Iterator for Log {
    type Item = Result<LogRecord, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.front.pop_front() {
                return Some(entry);
            }
            match self.segments.pop_front() {
                Some(segment) => self.front = self.read(&segment),
                None => return self.back.pop_front(),
            }
        }
    }
}

impl DoubleEndedIterator for Log {
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.back.pop_back() {
                return Some(entry);
            }
            match self.segments.pop_back() {
                Some(segment) => self.back = self.read(&segment),
                None => return self.front.pop_back(),
            }
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("range", &self.range).finish_non_exhaustive()
    }
}
