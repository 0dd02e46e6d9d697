//! Which segments there are, in the journal folder and in the history, and which LSNs each holds.

use std::{io, path::Path, path::PathBuf, sync::Arc};

use chrono::{DateTime, Utc};

use crate::{
    Error, ErrorKind, Lsn, StoreId, history,
    journal::{
        format::{HEADER_BYTES, HeaderError, SegmentHeader},
        name::SegmentName,
    },
    recovery::inventory::{common_id, file_names},
    snapshot::{
        name::parse_fallback,
        publish::Places,
        read::{Check, SNAPSHOT_BYTES_MAX, check},
    },
    vfs::{Vfs, read_file, read_full},
};

/// One segment file.
#[derive(Clone, Debug)]
pub(super) struct SegmentRef {
    pub(super) name: SegmentName,
    pub(super) path: Arc<Path>,
    /// `None` if it does not verify, or if nobody has read it; the numbers are those of the file
    /// name then.
    pub(super) header: Option<SegmentHeader>,
    /// It bounds what counts in the segments before it.
    is_sound: bool,
    pub(super) is_history: bool,
    /// The last number that counts here: a later segment counts from its first number on.
    pub(super) limit: Lsn,
    /// When the next segment was made.
    pub(super) until: Option<DateTime<Utc>>,
    pub(super) span: Span,
}

/// The numbers of the records in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// Nobody has looked.
    Unknown,
    Empty,
    /// The first and the last.
    Records(Lsn, Lsn),
}

impl SegmentRef {
    /// When it was made.
    pub(super) fn created(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_millis(self.header?.created_ms)
    }

    fn named(name: SegmentName, path: &Path, is_history: bool) -> Self {
        Self {
            name,
            path: path.into(),
            header: None,
            is_sound: is_history,
            is_history,
            limit: Lsn::new(u64::MAX),
            until: None,
            span: Span::Unknown,
        }
    }

    /// Reads the header. False if compaction removed the file since the folder was listed.
    pub(super) fn read_head(&mut self, vfs: &dyn Vfs) -> Result<bool, Error> {
        let path = Arc::clone(&self.path);
        let mut bytes = [0; HEADER_BYTES];
        let file = match vfs.open_read_only(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => {
                file.map_err(|error| Error::io("cannot read a journal segment", &path, error))?
            }
        };
        if let Err(error) = read_full(file.as_ref(), 0, &mut bytes) {
            // A bad sector costs what is in it; reading the segment will tell.
            tracing::debug!(%error, path = %path.display(), "cannot read the header of a segment");
        }
        match SegmentHeader::decode(&bytes) {
            Ok(header) => {
                let SegmentHeader { segment, first_lsn, .. } = header;
                self.name = SegmentName { segment, first_lsn };
                self.header = Some(header);
                self.is_sound = true;
            }
            Err(HeaderError::Bad) => {}
            Err(HeaderError::Newer(version)) => {
                let what = format!("written by a newer version: version={version}");
                return Err(Error::new(ErrorKind::NewerVersion, what)
                    .at(&path)
                    .next("upgrade peer-journal; nothing was altered"));
            }
        }
        Ok(true)
    }
}

/// One snapshot file, by its name or its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SnapshotRef {
    pub(super) lsn: Lsn,
    pub(super) path: PathBuf,
}

/// The files of a store by what they hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    pub(super) store_id: Option<StoreId>,
    /// Sorted by number.
    pub(super) segments: Vec<SegmentRef>,
    /// Those that are named after their LSN: fallbacks and those of the history, sorted by LSN.
    pub(super) snapshots: Vec<SnapshotRef>,
}

impl Index {
    /// Lists the folders, and reads the headers in the journal folder. In the history the names
    /// have to do: compaction has looked at each file, and there may be tens of thousands.
    pub(super) fn take(vfs: &dyn Vfs, places: &Places) -> Result<Self, Error> {
        let mut found: Vec<SegmentRef> = Vec::new();
        let mut snapshots: Vec<SnapshotRef> = Vec::new();
        let history = history::dir(places);
        // The journal first: a segment on its way into the history is then seen at least once.
        for (dir, is_history) in [(&places.journal_dir, false), (&history, true)] {
            for name in file_names(vfs, dir)? {
                let path = dir.join(&name);
                if let Some(lsn) = parse_fallback(&name) {
                    snapshots.retain(|snapshot| snapshot.lsn != lsn);
                    snapshots.push(SnapshotRef { lsn, path });
                } else if let Some(called) = SegmentName::parse(&name) {
                    let mut segment = SegmentRef::named(called, &path, is_history);
                    if is_history || segment.read_head(vfs)? {
                        found.push(segment);
                    }
                }
            }
        }
        snapshots.sort_unstable_by_key(|snapshot| snapshot.lsn);
        if found.iter().all(|segment| segment.header.is_none())
            && let Some(last) = found.last_mut()
        {
            last.read_head(vfs)?;
        }
        let headers = || found.iter().filter_map(|segment| segment.header);
        let store_id = match common_id(headers()) {
            Some(id) => Some(id),
            None => snapshot_id(vfs, places, &snapshots),
        };
        let ours = |segment: &SegmentRef| {
            segment.header.is_none_or(|header| Some(header.store_id) == store_id)
        };
        found.retain(ours);
        Ok(Self { store_id, segments: in_order(found), snapshots })
    }

    /// Reads the headers in the history too.
    pub(super) fn read_heads(&mut self, vfs: &dyn Vfs) -> Result<(), Error> {
        for segment in &mut self.segments {
            if segment.header.is_none() {
                segment.read_head(vfs)?;
            }
        }
        let mut until = None;
        for segment in self.segments.iter_mut().rev() {
            segment.until = until;
            until = segment.created().or(until);
        }
        Ok(())
    }

    /// The segment after this one.
    pub(super) fn after(&self, segment: &SegmentRef) -> Option<&SegmentRef> {
        let number = segment.name.segment;
        self.segments.get(self.segments.partition_point(|other| other.name.segment <= number))
    }

    /// True if an update too large for a record became durable as a snapshot of this LSN.
    pub(super) fn has_snapshot(&self, lsn: Lsn) -> bool {
        self.snapshots.binary_search_by_key(&lsn, |snapshot| snapshot.lsn).is_ok()
    }
}

/// By number; of several files of one number the one in the history counts, since it was seen last,
/// and one whose header verifies before one that goes by its name.
fn in_order(mut segments: Vec<SegmentRef>) -> Vec<SegmentRef> {
    segments.sort_by_key(|segment| (segment.name.segment, !segment.is_sound, !segment.is_history));
    segments.dedup_by_key(|segment| segment.name.segment);
    let mut limit = Lsn::new(u64::MAX);
    let mut until = None;
    for segment in segments.iter_mut().rev() {
        segment.limit = limit;
        segment.until = until;
        if segment.is_sound {
            limit = limit.min(segment.name.first_lsn.previous());
            until = segment.created();
        }
    }
    segments
}

/// The store's name from a snapshot, where no header of a segment tells it.
fn snapshot_id(vfs: &dyn Vfs, places: &Places, snapshots: &[SnapshotRef]) -> Option<StoreId> {
    let in_place = std::iter::once(places.state_file.as_path());
    let others = snapshots.iter().rev().map(|snapshot| snapshot.path.as_path());
    in_place.chain(others).find_map(|path| {
        match check(&read_file(vfs, path, SNAPSHOT_BYTES_MAX).ok()?) {
            Check::Whole(meta) => Some(meta.store_id),
            _ => None,
        }
    })
}
