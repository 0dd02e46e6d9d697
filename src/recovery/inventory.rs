//! What is on disk: the snapshots and the segments, read and scanned. Changes nothing.

mod snapshots;

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use super::Facts;
use crate::{
    Error, Lsn, StoreId,
    journal::{
        format::{HEADER_BYTES, HeaderError, Seed, SegmentHeader},
        name::{self as segment_name, SegmentName},
        scan::{Scan, scan},
    },
    snapshot::{name as snapshot_name, publish::Places},
    state::Limits,
    vfs::{EntryKind, Vfs, VfsFile, read_file, read_full},
};

pub(crate) use snapshots::SnapshotChoice;
use snapshots::{BadSnapshot, Chooser};

/// Largest segment file that is read; a larger one is nothing that a store writes.
pub(super) const SEGMENT_FILE_BYTES_MAX: u64 = 1 << 30;
/// Segments of up to this many bytes together stay in memory until they are replayed; of more,
/// each is read again.
const KEPT_BYTES_MAX: usize = 256 << 20;
/// Where the disk refuses to read, it is asked again in pieces of this size.
const READ_PIECE_BYTES: usize = 4096;

/// What a segment's header turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    Good(SegmentHeader),
    /// It does not verify; the numbers come from the file name.
    Bad,
    /// It is sound, but of another store, of another history of this one, or of a segment that is
    /// there under its own name.
    Foreign,
    Newer(u32),
}

/// One segment file, under the name that its header gives it where that is sound.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub(crate) name: SegmentName,
    pub(crate) path: PathBuf,
    pub(crate) header: Header,
    pub(crate) seed: Seed,
    pub(crate) scan: Scan,
    /// What the file is called.
    pub(crate) called: SegmentName,
    /// Length of the file.
    pub(crate) bytes: usize,
    /// The bytes that were scanned, if they are kept for the replay.
    kept: Option<Bytes>,
}

/// What a file holds.
struct Bytes(Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl SegmentFile {
    /// The file has another segment's name.
    pub(crate) fn is_misnamed(&self) -> bool {
        self.name != self.called
    }

    /// Where the bytes end that are a record, a seal or damage: behind it are only zeros.
    pub(crate) fn content_end(&self) -> usize {
        self.scan.content_end().min(self.bytes)
    }

    /// The very bytes that were scanned, once, if they were kept.
    pub(super) fn take_bytes(&mut self) -> Option<Vec<u8>> {
        self.kept.take().map(|bytes| bytes.0)
    }

    pub(super) fn facts(&self) -> Facts<'_> {
        Facts { name: self.name, header: self.header, scan: &self.scan }
    }
}

/// Everything on disk.
#[derive(Debug)]
pub(crate) struct Inventory {
    pub(crate) store_id: Option<StoreId>,
    pub(crate) snapshot: SnapshotChoice,
    pub(crate) bad_snapshots: Vec<BadSnapshot>,
    pub(crate) newer_snapshot: Option<(PathBuf, u32)>,
    /// Sorted by number.
    pub(crate) segments: Vec<SegmentFile>,
    /// Temporary files of a process that died.
    pub(crate) leftovers: Vec<PathBuf>,
    /// The LSNs in the names of the fallback snapshots, newest first.
    pub(crate) fallbacks: Vec<Lsn>,
    /// Largest segment number that a snapshot speaks of.
    snapshot_segment: u64,
}

impl Inventory {
    pub(super) fn take(vfs: &dyn Vfs, places: &Places, limits: Limits) -> Result<Self, Error> {
        let names = file_names(vfs, &places.journal_dir)?;
        let raw = read_segments(vfs, places, &names)?;
        let mut fallbacks: Vec<Lsn> =
            names.iter().filter_map(|name| snapshot_name::parse_fallback(name)).collect();
        fallbacks.sort_unstable_by(|a, b| b.cmp(a));
        let headers = || raw.iter().filter_map(|raw| raw.header.ok());
        let journal_ids: Vec<StoreId> = headers().map(|header| header.store_id).collect();
        let has_history = !journal_ids.is_empty() || !fallbacks.is_empty();
        let mut chooser = Chooser {
            vfs,
            places,
            limits,
            journal_ids,
            bad_snapshots: Vec::new(),
            newer_snapshot: None,
        };
        let snapshot = chooser.choose(&fallbacks, has_history)?;
        let whole = snapshot.whole_lsn().and(snapshot.loaded());
        // A snapshot and a segment that agree decide: segments copied in do not outvote them.
        let store_id = whole.map(|loaded| loaded.meta.store_id).or_else(|| common_id(headers()));
        let snapshot_segment = whole.map_or(0, |loaded| loaded.meta.segment);
        let together = raw.iter().map(|raw| raw.bytes.len()).fold(0, usize::saturating_add);
        let keep = together <= KEPT_BYTES_MAX;
        let segments = in_order(raw.into_iter().map(|raw| raw.scan(store_id, keep)).collect());
        let mut leftovers: Vec<PathBuf> = names
            .iter()
            .filter(|name| segment_name::is_prepared(name) || snapshot_name::is_temporary(name))
            .map(|name| places.journal_dir.join(name))
            .collect();
        let temporary = snapshot_name::temporary(&places.state_file);
        if vfs.metadata(&temporary).is_ok() {
            leftovers.push(temporary);
        }
        Ok(Self {
            store_id,
            snapshot,
            bad_snapshots: chooser.bad_snapshots,
            newer_snapshot: chooser.newer_snapshot,
            segments,
            leftovers,
            fallbacks,
            snapshot_segment,
        })
    }

    /// Gives back the memory of segments that were not replayed.
    pub(super) fn forget_bytes(&mut self) {
        for segment in &mut self.segments {
            segment.kept = None;
        }
    }

    pub(super) fn last_segment(&self) -> u64 {
        let numbers = |segment: &SegmentFile| segment.name.segment.max(segment.called.segment);
        let last = self.segments.iter().map(numbers).max().unwrap_or(0);
        last.max(self.snapshot_segment)
    }
}

/// True for the name of a file that the store writes into the journal folder and reads again.
pub(crate) fn is_ours(name: &str) -> bool {
    SegmentName::parse(name).is_some() || snapshot_name::parse_fallback(name).is_some()
}

/// The names of the files in the journal folder; none if there is no such folder.
pub(crate) fn file_names(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<String>, Error> {
    let entries = match vfs.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => {
            entries.map_err(|error| Error::io("cannot list the journal folder", dir, error))?
        }
    };
    Ok(entries
        .into_iter()
        .filter(|entry| entry.kind == EntryKind::File)
        .filter_map(|entry| entry.name.into_string().ok())
        .collect())
}

/// Sorted by the numbers in their headers. Of several files with one number the one of that name
/// counts, and the others do not.
fn in_order(mut segments: Vec<SegmentFile>) -> Vec<SegmentFile> {
    let is_ours = |segment: &SegmentFile| matches!(segment.header, Header::Good(_) | Header::Bad);
    segments.sort_by_key(|segment| (segment.name, !is_ours(segment), segment.is_misnamed()));
    let mut before = None;
    for segment in &mut segments {
        if is_ours(segment) && before == Some(segment.name.segment) {
            segment.header = Header::Foreign;
        } else if is_ours(segment) {
            before = Some(segment.name.segment);
        }
    }
    segments
}

/// A segment whose header has been read, before it is known whose store it is.
struct RawSegment {
    name: SegmentName,
    path: PathBuf,
    bytes: Vec<u8>,
    header: Result<SegmentHeader, HeaderError>,
}

impl RawSegment {
    fn scan(self, store_id: Option<StoreId>, keep: bool) -> SegmentFile {
        let Self { name, path, bytes, header } = self;
        let header = match header {
            Err(HeaderError::Newer(version)) => Header::Newer(version),
            Err(HeaderError::Bad) => Header::Bad,
            Ok(good) if Some(good.store_id) == store_id => Header::Good(good),
            Ok(_) => Header::Foreign,
        };
        // What a file holds counts, not what it is called.
        let called = name;
        let name = match header {
            Header::Good(good) => SegmentName { segment: good.segment, first_lsn: good.first_lsn },
            _ => called,
        };
        let id = store_id.unwrap_or(StoreId::from_bytes([0; 16]));
        let seed = Seed::new(&id, name.segment);
        let readable =
            matches!(header, Header::Good(_)) || (header == Header::Bad && store_id.is_some());
        let scan = if readable {
            scan(&bytes, HEADER_BYTES, seed, name.first_lsn)
        } else {
            let mut unreadable = Scan::default();
            if bytes.iter().any(|&byte| byte != 0) {
                unreadable.damage.push(0..bytes.len());
            }
            unreadable
        };
        let len = bytes.len();
        let kept = keep.then_some(Bytes(bytes));
        SegmentFile { name, path, header, seed, scan, called, bytes: len, kept }
    }
}

fn read_segments(
    vfs: &dyn Vfs,
    places: &Places,
    names: &[String],
) -> Result<Vec<RawSegment>, Error> {
    let mut names: Vec<_> = names.iter().filter_map(|name| SegmentName::parse(name)).collect();
    names.sort_unstable();
    let mut segments = Vec::with_capacity(names.len());
    for name in names {
        let path = places.journal_dir.join(name.to_string());
        let bytes = match read_segment(vfs, &path) {
            Ok(bytes) => bytes,
            // Compaction removed it since the folder was listed: only a reader without a lock sees
            // that.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("cannot read a journal segment", &path, error)),
        };
        let header = SegmentHeader::decode(&bytes);
        segments.push(RawSegment { name, path, bytes, header });
    }
    Ok(segments)
}

/// A segment's bytes. Where the disk cannot read a piece, bytes that never verify stand in for it:
/// a bad sector costs the records in it, not the store.
pub(crate) fn read_segment(vfs: &dyn Vfs, path: &Path) -> io::Result<Vec<u8>> {
    match read_file(vfs, path, SEGMENT_FILE_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Ok(vec![u8::MAX; HEADER_BYTES])
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
        Err(_) => read_around_bad_sectors(vfs.open_read_only(path)?.as_ref()),
        bytes => bytes,
    }
}

/// What a segment's header says.
pub(crate) fn read_header(
    vfs: &dyn Vfs,
    path: &Path,
) -> io::Result<Result<SegmentHeader, HeaderError>> {
    let mut bytes = [0; HEADER_BYTES];
    read_full(vfs.open_read_only(path)?.as_ref(), 0, &mut bytes)?;
    Ok(SegmentHeader::decode(&bytes))
}

fn read_around_bad_sectors(file: &dyn VfsFile) -> io::Result<Vec<u8>> {
    let len = usize::try_from(file.len()?.min(SEGMENT_FILE_BYTES_MAX)).map_err(io::Error::other)?;
    let mut bytes = vec![u8::MAX; len];
    let mut unreadable = None;
    let mut readable = false;
    for (index, piece) in bytes.chunks_mut(READ_PIECE_BYTES).enumerate() {
        let offset = (index as u64).saturating_mul(READ_PIECE_BYTES as u64);
        match read_full(file, offset, piece) {
            Ok(_) => readable = true,
            Err(error) => {
                piece.fill(u8::MAX);
                unreadable = Some(error);
            }
        }
    }
    match unreadable {
        Some(error) if !readable => Err(error),
        _ => Ok(bytes),
    }
}

/// The store id that most headers carry; the earliest wins a tie.
pub(crate) fn common_id(headers: impl Iterator<Item = SegmentHeader>) -> Option<StoreId> {
    let mut counts: Vec<(StoreId, usize)> = Vec::new();
    for header in headers {
        match counts.iter_mut().find(|(id, _)| *id == header.store_id) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => counts.push((header.store_id, 1)),
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max()?;
    counts.into_iter().find(|(_, count)| *count == most).map(|(id, _)| id)
}
