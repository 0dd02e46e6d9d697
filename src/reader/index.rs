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
    /// `None` if it does not verify; the numbers are those of the file name then.
    pub(super) header: Option<SegmentHeader>,
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
    /// Lists the folders and reads the headers.
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
                    found.extend(read_head(vfs, &path, called, is_history)?);
                }
            }
        }
        snapshots.sort_unstable_by_key(|snapshot| snapshot.lsn);
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

    /// True if an update too large for a record became durable as a snapshot of this LSN.
    pub(super) fn has_snapshot(&self, lsn: Lsn) -> bool {
        self.snapshots.binary_search_by_key(&lsn, |snapshot| snapshot.lsn).is_ok()
    }
}

/// By number; of several files of one number the one in the history counts, since it was seen last,
/// and one whose header verifies before one that goes by its name.
fn in_order(mut segments: Vec<SegmentRef>) -> Vec<SegmentRef> {
    segments.sort_by_key(|segment| {
        (segment.name.segment, segment.header.is_none(), !segment.is_history)
    });
    segments.dedup_by_key(|segment| segment.name.segment);
    let mut limit = Lsn::new(u64::MAX);
    let mut until = None;
    for segment in segments.iter_mut().rev() {
        segment.limit = limit;
        segment.until = until;
        if segment.header.is_some() {
            limit = limit.min(segment.name.first_lsn.previous());
            until = segment.created();
        }
    }
    segments
}

/// `None` if compaction removed the file since the folder was listed.
fn read_head(
    vfs: &dyn Vfs,
    path: &Path,
    called: SegmentName,
    is_history: bool,
) -> Result<Option<SegmentRef>, Error> {
    let mut bytes = [0; HEADER_BYTES];
    let file = match vfs.open_read_only(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|error| Error::io("cannot read a journal segment", path, error))?,
    };
    if let Err(error) = read_full(file.as_ref(), 0, &mut bytes) {
        // A bad sector costs what is in it; reading the segment will tell.
        tracing::debug!(%error, path = %path.display(), "cannot read the header of a segment");
    }
    let header = match SegmentHeader::decode(&bytes) {
        Ok(header) => Some(header),
        Err(HeaderError::Bad) => None,
        Err(HeaderError::Newer(version)) => {
            let what = format!("written by a newer version: version={version}");
            return Err(Error::new(ErrorKind::NewerVersion, what)
                .at(path)
                .next("upgrade peer-journal; nothing was altered"));
        }
    };
    let name = header.map_or(called, |header| SegmentName {
        segment: header.segment,
        first_lsn: header.first_lsn,
    });
    Ok(Some(SegmentRef {
        name,
        path: path.into(),
        header,
        is_history,
        limit: Lsn::new(u64::MAX),
        until: None,
        span: Span::Unknown,
    }))
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
