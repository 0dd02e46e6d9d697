//! Moving what two snapshots cover into the history, and pruning it.
//!
//! Everything it is given may be deleted, so no step of it can cost a record that recovery needs:
//! a crash leaves each file in one folder or in the other. Snapshots are moved before the segments
//! behind them, so that segments without a snapshot below them are leftovers of a pruning.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use chrono::{DateTime, Utc};

use super::{
    History, HistoryStatus, caps,
    policy::{Held, HeldSegment, HeldSnapshot, Stretch},
};
use crate::{
    Error, Lsn, StoreId,
    journal::{
        format::{HEADER_BYTES, SegmentHeader},
        name::SegmentName,
        scan::{Scan, scan},
    },
    recovery::inventory::{read_header, read_segment},
    snapshot::{
        name::{fallback_name, parse_fallback},
        publish::Places,
    },
    vfs::{EntryKind, Vfs},
};

/// The history of one store, while it is open. Nobody else touches the folder.
#[derive(Debug)]
pub(crate) struct Keeper {
    vfs: Arc<dyn Vfs>,
    places: Places,
    dir: PathBuf,
    store_id: StoreId,
    /// What the program asked for; without that, what the store remembers holds.
    asked: Option<History>,
    /// What the folder holds; `None` until somebody looked, and after a failure.
    held: Option<Held>,
    caps: History,
    /// The caps are written down.
    is_remembered: bool,
    failures: u64,
    oldest_at: Option<DateTime<Utc>>,
}

/// Files that two published snapshots cover.
#[derive(Debug, Default)]
pub(crate) struct Covered {
    /// Segments under their true names, sorted.
    pub(crate) segments: Vec<(SegmentName, PathBuf)>,
    /// Snapshots older than the fallback, sorted.
    pub(crate) snapshots: Vec<Lsn>,
    /// When the first segment was made that is not covered.
    pub(crate) behind: Option<DateTime<Utc>>,
}

impl Keeper {
    pub(crate) fn new(
        vfs: Arc<dyn Vfs>,
        places: Places,
        store_id: StoreId,
        asked: Option<History>,
    ) -> Self {
        let dir = super::dir(&places);
        Self {
            vfs,
            places,
            dir,
            store_id,
            asked,
            held: None,
            caps: History::OFF,
            is_remembered: false,
            failures: 0,
            oldest_at: None,
        }
    }

    /// Looks at the folder, unless that was done. A failure is counted and tried again.
    pub(crate) fn look(&mut self) -> Result<(), Error> {
        let looked = self.try_look();
        self.count(&looked);
        looked
    }

    /// Moves what is covered into the history, or removes it where it is not wanted there, and
    /// prunes. Gives false if no history is kept: the caller removes what is covered.
    pub(crate) fn keep(&mut self, covered: &Covered, now: DateTime<Utc>) -> Result<bool, Error> {
        let kept = self.try_keep(covered, now);
        self.count(&kept);
        kept
    }

    /// How the history is; `None` if none is kept.
    pub(crate) fn status(&self) -> Option<HistoryStatus> {
        if !self.caps.is_on() && self.failures == 0 {
            return None;
        }
        let held = self.held.as_ref();
        Some(HistoryStatus {
            caps: self.caps,
            bytes: held.map_or(0, Held::bytes),
            oldest: held.and_then(|held| held.snapshots.first()).map(|snapshot| snapshot.lsn),
            oldest_at: self.oldest_at,
            failures: self.failures,
        })
    }

    fn count<T>(&mut self, result: &Result<T, Error>) {
        if result.is_ok() {
            self.failures = 0;
        } else {
            self.failures = self.failures.saturating_add(1);
            self.held = None;
        }
    }

    fn try_look(&mut self) -> Result<(), Error> {
        if self.held.is_some() {
            return Ok(());
        }
        let remembered = caps::read(self.vfs.as_ref(), &self.dir)?;
        self.caps = self.asked.or(remembered).unwrap_or(History::OFF);
        self.is_remembered = remembered.is_some();
        let held = self.list()?;
        if self.caps.is_on() && remembered != Some(self.caps) {
            self.create_dir()?;
            caps::write(self.vfs.as_ref(), &self.dir, self.caps)?;
            self.is_remembered = true;
        }
        self.oldest_at = held.segments.first().and_then(|segment| self.began(segment.name));
        self.held = Some(held);
        Ok(())
    }

    fn list(&self) -> Result<Held, Error> {
        let mut held = Held::default();
        let entries = match self.vfs.list(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(held),
            entries => entries
                .map_err(|error| Error::io("cannot list the history folder", &self.dir, error))?,
        };
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
            let Some(name) = entry.name.to_str() else { continue };
            let bytes = entry.len;
            if let Some(lsn) = parse_fallback(name) {
                held.snapshots.push(HeldSnapshot { lsn, bytes });
            } else if let Some(name) = SegmentName::parse(name) {
                held.segments.push(HeldSegment { name, bytes });
            }
        }
        held.snapshots.sort_unstable_by_key(|snapshot| snapshot.lsn);
        held.segments.sort_unstable_by_key(|segment| segment.name);
        Ok(held)
    }

    fn try_keep(&mut self, covered: &Covered, now: DateTime<Utc>) -> Result<bool, Error> {
        self.try_look()?;
        if !self.caps.is_on() {
            self.end()?;
            return Ok(false);
        }
        let mut held = self.held.take().unwrap_or_default();
        self.create_dir()?;
        self.take_snapshots(&mut held, &covered.snapshots)?;
        self.take_segments(&mut held, &covered.segments)?;
        while let Some(stretch) =
            held.excess(self.caps, now, covered.behind, |name| self.began(name))
        {
            self.drop_stretch(&mut held, stretch)?;
        }
        let began = held.segments.first().and_then(|segment| self.began(segment.name));
        self.oldest_at = began.or(covered.behind);
        self.held = Some(held);
        Ok(true)
    }

    fn create_dir(&self) -> Result<(), Error> {
        self.vfs
            .create_dir_all(&self.dir)
            .map_err(|error| Error::io("cannot create the history folder", &self.dir, error))
    }

    /// No history is wanted: removes what there is. The caps go last, so that a crash before that
    /// leaves a history to end again.
    fn end(&mut self) -> Result<(), Error> {
        let mut held = self.held.take().unwrap_or_default();
        let is_empty = held.segments.is_empty() && held.snapshots.is_empty();
        if self.is_remembered || (self.asked.is_some() && !is_empty) {
            while let Some(stretch) = held.excess(self.caps, DateTime::UNIX_EPOCH, None, |_| None) {
                self.drop_stretch(&mut held, stretch)?;
            }
            caps::forget(self.vfs.as_ref(), &self.dir)?;
            self.is_remembered = false;
        }
        self.held = Some(held);
        Ok(())
    }

    fn take_snapshots(&self, held: &mut Held, lsns: &[Lsn]) -> Result<(), Error> {
        let mut moved = false;
        for &lsn in lsns {
            let name = fallback_name(lsn);
            let from = self.places.journal_dir.join(&name);
            if !held.wants(lsn, self.is_recorded(held, lsn)?) {
                caps::remove(self.vfs.as_ref(), &from)?;
                continue;
            }
            let bytes = match self.vfs.metadata(&from) {
                Ok(entry) => entry.len,
                Err(error) => return Err(Error::io("cannot look at a snapshot", &from, error)),
            };
            self.rename(&from, &self.dir.join(&name))?;
            held.snapshots.retain(|snapshot| snapshot.lsn != lsn);
            held.snapshots.push(HeldSnapshot { lsn, bytes });
            held.snapshots.sort_unstable_by_key(|snapshot| snapshot.lsn);
            moved = true;
        }
        if moved { self.sync() } else { Ok(()) }
    }

    /// True if a record has this LSN. The segment that would hold it was moved before.
    fn is_recorded(&self, held: &Held, lsn: Lsn) -> Result<bool, Error> {
        let segment = held.segments.iter().rev().find(|segment| segment.name.first_lsn <= lsn);
        let Some(segment) = segment else { return Ok(false) };
        let Some((_, scan)) = self.scan(&self.dir.join(segment.name.to_string()))? else {
            return Ok(false);
        };
        Ok(scan.runs.iter().any(|run| (run.first..=run.last).contains(&lsn)))
    }

    fn take_segments(
        &self,
        held: &mut Held,
        segments: &[(SegmentName, PathBuf)],
    ) -> Result<(), Error> {
        let mut moved = false;
        for (name, path) in segments {
            let mut content = None;
            if let Some((len, scan)) = self.scan(path)? {
                if scan.runs.is_empty() && scan.damage.is_empty() {
                    caps::remove(self.vfs.as_ref(), path)?;
                    continue;
                }
                content = Some(scan.content_end()).filter(|content| *content < len);
            }
            let bytes = self.cut(path, content)?;
            self.rename(path, &self.dir.join(name.to_string()))?;
            held.segments.retain(|segment| segment.name != *name);
            held.segments.push(HeldSegment { name: *name, bytes });
            held.segments.sort_unstable_by_key(|segment| segment.name);
            moved = true;
        }
        if moved { self.sync() } else { Ok(()) }
    }

    /// Length and content of a segment; `None` if its header does not verify as one of this store.
    fn scan(&self, path: &Path) -> Result<Option<(usize, Scan)>, Error> {
        let bytes = read_segment(self.vfs.as_ref(), path)
            .map_err(|error| Error::io("cannot read a journal segment", path, error))?;
        let header = SegmentHeader::decode(&bytes).ok();
        let header = header.filter(|header| header.store_id == self.store_id);
        Ok(header.map(|header| {
            (bytes.len(), scan(&bytes, HEADER_BYTES, header.seed(), header.first_lsn))
        }))
    }

    /// Cuts a segment to its content and gives its length.
    fn cut(&self, path: &Path, content: Option<usize>) -> Result<u64, Error> {
        let failed = |error| Error::io("cannot cut a segment to its content", path, error);
        let Some(content) = content else {
            return self.vfs.metadata(path).map(|entry| entry.len).map_err(failed);
        };
        let file = self.vfs.open(path).map_err(failed)?;
        file.set_len(content as u64).and_then(|()| file.sync()).map_err(failed)?;
        Ok(content as u64)
    }

    /// The snapshot goes first: segments without one below them are recognised and go later.
    fn drop_stretch(&self, held: &mut Held, stretch: Stretch) -> Result<(), Error> {
        let vfs = self.vfs.as_ref();
        if stretch.has_snapshot && !held.snapshots.is_empty() {
            let snapshot = held.snapshots.remove(0);
            caps::remove(vfs, &self.dir.join(fallback_name(snapshot.lsn)))?;
            self.sync_dir(&self.dir)?;
        }
        for segment in held.segments.drain(..stretch.segments.min(held.segments.len())) {
            caps::remove(vfs, &self.dir.join(segment.name.to_string()))?;
        }
        self.sync_dir(&self.dir)
    }

    /// When a segment of the history was made.
    fn began(&self, name: SegmentName) -> Option<DateTime<Utc>> {
        let path = self.dir.join(name.to_string());
        let header = read_header(self.vfs.as_ref(), &path).ok()?.ok()?;
        DateTime::from_timestamp_millis(header.created_ms)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        self.vfs
            .rename(from, to)
            .map_err(|error| Error::io("cannot move a file into the history", from, error))
    }

    fn sync(&self) -> Result<(), Error> {
        self.sync_dir(&self.dir)?;
        self.sync_dir(&self.places.journal_dir)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), Error> {
        self.vfs.sync_dir(dir).map_err(|error| Error::io("cannot sync the folder", dir, error))
    }
}
