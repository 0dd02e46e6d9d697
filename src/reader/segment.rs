//! One segment as log records: what stands in it, what a large update took, what is missing.

use std::{
    collections::VecDeque,
    io,
    ops::{Range, RangeInclusive},
    path::Path,
    sync::Arc,
};

use chrono::{DateTime, Utc};

use super::index::{Index, SegmentRef};
use crate::{
    Error, ErrorKind, Lsn, LsnRange, StoreId, history,
    journal::{
        format::{HEADER_BYTES, Record, RecordKind, Seed, SegmentHeader},
        scan::{Scan, records, scan},
    },
    recovery::inventory::read_segment,
    snapshot::{
        publish::Places,
        read::{Check, SNAPSHOT_BYTES_MAX, check},
    },
    state::{self, Change},
    vfs::{Vfs, read_file},
};

/// Most LSNs without a record at the start of a segment that are taken for large updates.
const LARGE_UPDATES_MAX: u64 = 1024;

/// One record of the journal, with where it stands and when it was written.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LogRecord {
    /// The record's number.
    pub lsn: Lsn,
    /// Its changes, in order. Empty for a large update.
    pub changes: Vec<Change>,
    /// When it was written, as far as the files tell: a record has no time of its own. If one of
    /// its changes carries a time, that is it. Others have the latest time seen before them in
    /// their segment, which begins with the time when the segment was made.
    pub at: Option<DateTime<Utc>>,
    /// True if a change of the record carries the time.
    pub at_is_exact: bool,
    /// An update too large for one record: no record holds it, a snapshot of this LSN does.
    pub is_large_update: bool,
    /// Number of the segment that it stands in, or would.
    pub segment: u64,
    /// The segment's file. Compaction may have moved or removed it since.
    pub file: Arc<Path>,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// Its length in the file, in bytes; 0 for a large update.
    pub bytes: u64,
}

/// Something that comes next in the log.
pub(super) type Entry = Result<LogRecord, Error>;

/// Where segments are read from.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) vfs: Arc<dyn Vfs>,
    pub(super) places: Places,
}

/// A segment in memory.
pub(super) struct Loaded {
    pub(super) bytes: Vec<u8>,
    pub(super) seed: Seed,
    pub(super) scan: Scan,
}

impl Source {
    /// Reads a segment; from the history, if compaction has moved it there meanwhile. `None` if it
    /// is gone.
    pub(super) fn load(
        &self,
        segment: &SegmentRef,
        store_id: Option<StoreId>,
    ) -> Result<Option<Loaded>, Error> {
        let moved = history::dir(&self.places).join(segment.name.to_string());
        for path in [&*segment.path, &*moved] {
            match read_segment(self.vfs.as_ref(), path) {
                Ok(bytes) => return Ok(Some(loaded(bytes, segment, store_id))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("cannot read a journal segment", path, error)),
            }
        }
        Ok(None)
    }

    /// Everything in one segment that lies in the range, in order. What is missing up to the next
    /// segment is an error among the records.
    pub(super) fn entries(
        &self,
        index: &Index,
        segment: &SegmentRef,
        range: &RangeInclusive<Lsn>,
    ) -> Result<VecDeque<Entry>, Error> {
        self.wanted_entries(index, segment, range, None)
    }

    /// As [`entries`](Self::entries), without the records of which no change is wanted.
    pub(super) fn wanted_entries(
        &self,
        index: &Index,
        segment: &SegmentRef,
        range: &RangeInclusive<Lsn>,
        wanted: Option<&Wanted>,
    ) -> Result<VecDeque<Entry>, Error> {
        let Some(loaded) = self.load(segment, index.store_id)? else {
            let gone = Error::new(
                ErrorKind::Compacted,
                format!("{} was removed while it was being read", segment.name),
            );
            return Ok([Err(gone.next("read the log again"))].into());
        };
        let mut segment = segment.clone();
        segment.header = segment.header.or_else(|| SegmentHeader::decode(&loaded.bytes).ok());
        if segment.until.is_none()
            && let Some(mut next) = index.after(&segment).cloned()
        {
            next.read_head(self.vfs.as_ref())?;
            segment.until = next.created();
        }
        let segment = &segment;
        let mut reading =
            Reading { source: self, index, segment, range, wanted, out: VecDeque::new() };
        reading.read(&loaded);
        Ok(reading.out)
    }

    /// LSN of the snapshot in place.
    fn in_place(&self) -> Option<Lsn> {
        let bytes = read_file(self.vfs.as_ref(), &self.places.state_file, SNAPSHOT_BYTES_MAX);
        match check(&bytes.ok()?) {
            Check::Whole(meta) => Some(meta.lsn),
            _ => None,
        }
    }
}

fn loaded(bytes: Vec<u8>, segment: &SegmentRef, store_id: Option<StoreId>) -> Loaded {
    let id = store_id.unwrap_or(StoreId::from_bytes([0; 16]));
    let seed = Seed::new(&id, segment.name.segment);
    let scan = scan(&bytes, HEADER_BYTES, seed, segment.name.first_lsn);
    Loaded { bytes, seed, scan }
}

/// The times of the records of one segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    latest: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
}

impl Times {
    pub(super) fn of(segment: &SegmentRef) -> Self {
        let latest = segment.created();
        // A clock that was set back proves nothing.
        Self { latest, until: segment.until.filter(|until| Some(*until) >= latest) }
    }

    /// The latest time so far.
    pub(super) const fn latest(&self) -> Option<DateTime<Utc>> {
        self.latest
    }

    /// When a record of these changes was written, and whether one of them says so.
    pub(super) fn tell(&mut self, changes: &[Change]) -> (Option<DateTime<Utc>>, bool) {
        match changes.iter().filter_map(Change::at).max() {
            Some(at) => {
                let at: DateTime<Utc> = at.into();
                // One time far ahead must not make all that follow late.
                let told = self.until.map_or(at, |until| at.min(until));
                self.latest = self.latest.max(Some(told));
                (Some(at), true)
            }
            None => (self.latest, false),
        }
    }
}

/// Which changes somebody wants to see.
pub(super) type Wanted = Arc<dyn Fn(&Change) -> bool + Send + Sync>;

/// A record of the journal as one of the log; `None` if none of its changes is wanted.
pub(super) fn entry(
    segment: &SegmentRef,
    times: &mut Times,
    record: &Record<'_>,
    offset: u64,
    wanted: Option<&Wanted>,
) -> Option<Entry> {
    let changes = match changes(segment, record) {
        Ok(changes) => changes,
        Err(error) => return Some(Err(error)),
    };
    // What is left out has its time too, and that counts for what follows.
    let (at, at_is_exact) = times.tell(&changes);
    let is_wanted = wanted.is_none_or(|wanted| changes.iter().any(|change| wanted(change)));
    is_wanted.then(|| {
        Ok(LogRecord {
            lsn: record.lsn,
            changes,
            at,
            at_is_exact,
            is_large_update: false,
            segment: segment.name.segment,
            file: Arc::clone(&segment.path),
            offset,
            bytes: record.bytes() as u64,
        })
    })
}

fn changes(segment: &SegmentRef, record: &Record<'_>) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::with_capacity(1);
    let newer = |what: String| {
        Error::new(ErrorKind::NewerVersion, what)
            .at(&segment.path)
            .next("upgrade peer-journal; nothing was altered")
    };
    if record.kind == RecordKind::Unknown {
        return Err(newer(format!("record lsn={} is of an unknown kind", record.lsn)));
    }
    for change in state::decode(record.payload) {
        changes.push(change.map_err(|error| newer(format!("record lsn={}: {error}", record.lsn)))?);
    }
    Ok(changes)
}

struct Reading<'a> {
    source: &'a Source,
    index: &'a Index,
    segment: &'a SegmentRef,
    range: &'a RangeInclusive<Lsn>,
    wanted: Option<&'a Wanted>,
    out: VecDeque<Entry>,
}

impl Reading<'_> {
    fn read(&mut self, loaded: &Loaded) {
        let mut times = Times::of(self.segment);
        let mut expected = self.segment.name.first_lsn;
        let mut behind = HEADER_BYTES;
        for run in &loaded.scan.runs {
            if run.first > self.segment.limit {
                break;
            }
            self.hole(expected, run.first.previous(), loaded, behind..run.start, times);
            let mut offset = run.start as u64;
            for record in records(&loaded.bytes, *run, None).flatten() {
                if record.lsn > self.segment.limit {
                    break;
                }
                // Before the range too: its times count for what follows.
                let found = entry(self.segment, &mut times, &record, offset, self.wanted);
                offset = offset.saturating_add(record.bytes() as u64);
                if self.range.contains(&record.lsn) {
                    self.out.extend(found);
                }
            }
            expected = run.last.next();
            behind = run.end;
        }
        // Behind the last record of the newest segment nothing is missing yet.
        if self.segment.limit < Lsn::new(u64::MAX) {
            self.hole(expected, self.segment.limit, loaded, behind..loaded.bytes.len(), times);
        }
    }

    /// No record has these numbers, between two that stand at the ends of these bytes: a large
    /// update took them, or they are missing.
    fn hole(&mut self, first: Lsn, last: Lsn, loaded: &Loaded, at: Range<usize>, times: Times) {
        let end = at.end;
        let damage = loaded.scan.damage.iter().find(|damage| at.contains(&damage.start));
        // A large update leaves no bytes, so this number is that of the damaged record, be there a
        // snapshot of it or not.
        let is_damaged = first == last && damage.is_some();
        let (first, last) = (first.max(*self.range.start()), last.min(*self.range.end()));
        if first > last {
            return;
        }
        let range = LsnRange { first, last };
        // Nothing stands before the first record: whoever wrote it had used these numbers.
        let led = end < loaded.bytes.len()
            && first >= self.segment.name.first_lsn
            && loaded.scan.runs.first().is_some_and(|run| run.start == end)
            && damage.is_none();
        let in_place = if led { None } else { self.source.in_place() };
        let mut missing: Option<Lsn> = None;
        let mut lsn = first;
        while lsn <= last {
            let known = range.count() <= LARGE_UPDATES_MAX
                && !is_damaged
                && (led || in_place == Some(lsn) || self.index.has_snapshot(lsn));
            if known {
                self.missing(missing.take(), lsn.previous(), loaded, end);
                self.out.push_back(Ok(self.large_update(lsn, times)));
            } else {
                missing.get_or_insert(lsn);
                if range.count() > LARGE_UPDATES_MAX {
                    break;
                }
            }
            lsn = lsn.next();
        }
        self.missing(missing, last, loaded, end);
    }

    fn large_update(&self, lsn: Lsn, times: Times) -> LogRecord {
        LogRecord {
            lsn,
            changes: Vec::new(),
            at: times.latest,
            at_is_exact: false,
            is_large_update: true,
            segment: self.segment.name.segment,
            file: Arc::clone(&self.segment.path),
            offset: HEADER_BYTES as u64,
            bytes: 0,
        }
    }

    fn missing(&mut self, first: Option<Lsn>, last: Lsn, loaded: &Loaded, end: usize) {
        let Some(first) = first else { return };
        let range = LsnRange { first, last };
        let damage = loaded.scan.damage.iter().rev().find(|damage| damage.start < end);
        let what = match damage {
            Some(damage) => format!(
                "{range} cannot be read: {} damaged bytes at offset {}",
                damage.len(),
                damage.start
            ),
            None => format!("{range} is not in the journal: it was lost, or removed"),
        };
        self.out.push_back(Err(Error::new(ErrorKind::Corrupt, what)
            .at(&self.segment.path)
            .next("look at the recovery report; what can be read follows")));
    }
}
