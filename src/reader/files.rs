//! Each file of a store: what it is, what it holds, and where it is damaged.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    Reader,
    index::{Index, SegmentRef, SnapshotRef},
};
use crate::{
    Error, Lsn, Verdict,
    journal::{
        format::{FORMAT_VERSION, HEADER_BYTES, suspect_record},
        scan::Scan,
    },
    recovery::inventory::{Header, SegmentFile, read_segment},
    snapshot::{
        name::{VERSION_1_NAME, fallback_name},
        read::{Check, SNAPSHOT_BYTES_MAX, check},
    },
    state::P2PState,
    vfs::read_file,
};

/// What a file of a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileKind {
    /// The newest snapshot, in its place.
    Snapshot,
    /// A snapshot that is kept as fallback.
    Fallback,
    /// The version 1 file that the store was migrated from; never read again.
    Original,
    /// A segment of the journal.
    Segment,
    /// A snapshot of the history.
    HistorySnapshot,
    /// A segment of the history.
    HistorySegment,
}

impl FileKind {
    /// The kind as one lower-case phrase.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Fallback => "fallback snapshot",
            Self::Original => "version 1 original",
            Self::Segment => "segment",
            Self::HistorySnapshot => "history snapshot",
            Self::HistorySegment => "history segment",
        }
    }
}

/// One file of a store. Sizes and offsets are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// What it is.
    pub kind: FileKind,
    /// Its size.
    pub bytes: u64,
    /// The version of its format, where it can be told.
    pub format_version: Option<u32>,
    /// The first record that it holds; `None` for a snapshot.
    pub first_lsn: Option<Lsn>,
    /// The last record that it holds; for a snapshot, the record up to which it holds all.
    pub last_lsn: Option<Lsn>,
    /// Number of sound records; 0 for a snapshot.
    pub records: u64,
    /// A seal ends it: nothing will be written to it any more. True for a whole snapshot.
    pub is_sealed: bool,
    /// Zeros behind its content: the rest of a prepared segment.
    pub zero_bytes: u64,
    /// The label of the recovery table. A damaged segment that a snapshot covers is `covered`: its
    /// damage does not matter, and stands in `damage` all the same.
    pub verdict: Verdict,
    /// More about it, for people.
    pub detail: Option<String>,
    /// Bytes that are neither records nor zeros.
    pub damage: Vec<Damage>,
    /// Sound records behind the first damage.
    pub records_behind_damage: u64,
}

/// A range of bytes that do not verify.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// Where it begins in the file.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// Nothing vouches for what stood here: a write that was cut off, or one in flight.
    pub is_torn_tail: bool,
    /// The LSN and the checksums, if a record seems to begin here: what its bytes say, which may be
    /// what is damaged.
    pub record: Option<Checksums>,
}

/// What a damaged record says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checksums {
    /// The LSN that stands there.
    pub lsn: Lsn,
    /// The checksum that stands there.
    pub written: u32,
    /// The checksum that the bytes have.
    pub computed: u32,
}

impl Reader {
    /// Each file of the store, checked from end to end: the snapshot, the fallbacks, the segments
    /// by number, then snapshots and segments of the history. A file that compaction removes
    /// meanwhile is left out.
    ///
    /// # Errors
    /// `Io` if a file cannot be read, `NewerVersion`.
    pub fn files(&self) -> Result<Vec<FileReport>, Error> {
        let mut files = Vec::new();
        let places = self.places();
        files.extend(self.snapshot_file(&places.state_file, FileKind::Snapshot)?);
        for lsn in &self.recovered().inventory.fallbacks {
            let path = places.journal_dir.join(fallback_name(*lsn));
            files.extend(self.snapshot_file(&path, FileKind::Fallback)?);
        }
        let original = places.journal_dir.join(VERSION_1_NAME);
        files.extend(self.snapshot_file(&original, FileKind::Original)?);
        let recovered = self.recovered();
        let segments = recovered.inventory.segments.iter().zip(&recovered.plan.segments);
        for (segment, judged) in segments {
            files.push(self.segment_file(segment, judged.verdict, judged.cut)?);
        }
        let mut index = self.journal().source().index()?;
        index.read_heads(self.vfs())?;
        let history = crate::history::dir(places);
        for SnapshotRef { path, .. } in &index.snapshots {
            if path.starts_with(&history) {
                files.extend(self.snapshot_file(path, FileKind::HistorySnapshot)?);
            }
        }
        for segment in index.segments.iter().filter(|segment| segment.is_history) {
            files.extend(self.history_segment(&index, segment)?);
        }
        Ok(files)
    }

    fn snapshot_file(&self, path: &Path, kind: FileKind) -> Result<Option<FileReport>, Error> {
        let inventory = &self.recovered().inventory;
        let bytes = match read_file(self.vfs(), path, SNAPSHOT_BYTES_MAX) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // Recovery has met it and says why.
            Err(_) => None,
        };
        let mut report = blank(path, kind, bytes.as_ref().map_or(0, |bytes| bytes.len() as u64));
        let (verdict, detail) = match bytes.as_deref().map(check) {
            Some(Check::Whole(meta)) => {
                report.last_lsn = Some(meta.lsn);
                report.format_version = Some(P2PState::CURRENT_VERSION);
                report.is_sealed = true;
                let is_ours = self.store_id().is_none_or(|id| id == meta.store_id);
                (if is_ours { Verdict::Whole } else { Verdict::Foreign }, None)
            }
            Some(Check::Version1) => {
                report.format_version = Some(1);
                (Verdict::OldVersion, None)
            }
            Some(Check::Newer(version)) => {
                report.format_version = Some(version);
                (Verdict::NewerVersion, None)
            }
            Some(Check::Unsealed(reason)) => (Verdict::UnsealedSnapshot, Some(reason)),
            Some(Check::Broken(reason)) => (Verdict::BrokenSnapshot, Some(reason)),
            None => (Verdict::BrokenSnapshot, Some("it cannot be read".to_owned())),
        };
        report.verdict = verdict;
        report.detail = detail;
        // What recovery thought of it counts more: it has seen it among the others.
        if let Some(bad) = inventory.bad_snapshots.iter().find(|bad| bad.path == path) {
            report.verdict = bad.verdict;
            report.detail = Some(bad.reason.clone());
        }
        Ok(Some(report))
    }

    fn segment_file(
        &self,
        segment: &SegmentFile,
        verdict: Verdict,
        cut: Option<usize>,
    ) -> Result<FileReport, Error> {
        let mut report = blank(&segment.path, FileKind::Segment, segment.bytes as u64);
        report.verdict = verdict;
        report.format_version = matches!(segment.header, Header::Good(_)).then_some(FORMAT_VERSION);
        if segment.is_misnamed() {
            report.detail = Some(format!("it is {} by its header", segment.name));
        }
        fill(&mut report, &segment.scan);
        report.zero_bytes = segment.bytes.saturating_sub(segment.content_end()) as u64;
        if segment.scan.damage.is_empty() {
            return Ok(report);
        }
        let bytes = match read_segment(self.vfs(), &segment.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            bytes => bytes.map_err(|error| {
                Error::io("cannot read a journal segment", &segment.path, error)
            })?,
        };
        for (damage, range) in report.damage.iter_mut().zip(&segment.scan.damage) {
            damage.is_torn_tail = cut.is_some_and(|cut| range.start >= cut);
            damage.record = bytes
                .get(range.start..)
                .and_then(|bytes| suspect_record(bytes, segment.seed))
                .map(|suspect| Checksums {
                    lsn: suspect.lsn,
                    written: suspect.written,
                    computed: suspect.computed,
                });
        }
        Ok(report)
    }

    fn history_segment(
        &self,
        index: &Index,
        segment: &SegmentRef,
    ) -> Result<Option<FileReport>, Error> {
        let Some(loaded) = self.journal().source().load(segment, index.store_id)? else {
            return Ok(None);
        };
        let kind = FileKind::HistorySegment;
        let mut report = blank(&segment.path, kind, loaded.bytes.len() as u64);
        report.format_version = segment.header.map(|_| FORMAT_VERSION);
        fill(&mut report, &loaded.scan);
        for (damage, range) in report.damage.iter_mut().zip(&loaded.scan.damage) {
            damage.record = loaded
                .bytes
                .get(range.start..)
                .and_then(|bytes| suspect_record(bytes, loaded.seed))
                .map(|suspect| Checksums {
                    lsn: suspect.lsn,
                    written: suspect.written,
                    computed: suspect.computed,
                });
        }
        let all = Lsn::ZERO..=Lsn::new(u64::MAX);
        let entries = self.journal().source().entries(index, segment, &all)?;
        let missing = entries.into_iter().find_map(Result::err);
        report.verdict = if segment.header.is_none() {
            Verdict::BadHeader
        } else if !loaded.scan.damage.is_empty() {
            Verdict::BrokenRecord
        } else if missing.is_some() {
            Verdict::Gap
        } else if loaded.scan.last_lsn().is_some_and(|last| last > segment.limit) {
            Verdict::Superseded
        } else {
            Verdict::Whole
        };
        report.detail = missing.map(|error| error.to_string());
        Ok(Some(report))
    }
}

fn blank(path: &Path, kind: FileKind, bytes: u64) -> FileReport {
    FileReport {
        path: path.to_owned(),
        kind,
        bytes,
        format_version: None,
        first_lsn: None,
        last_lsn: None,
        records: 0,
        is_sealed: false,
        zero_bytes: 0,
        verdict: Verdict::Whole,
        detail: None,
        damage: Vec::new(),
        records_behind_damage: 0,
    }
}

/// What a scan tells of a segment.
fn fill(report: &mut FileReport, scan: &Scan) {
    report.first_lsn = scan.runs.first().map(|run| run.first);
    report.last_lsn = scan.last_lsn();
    report.records = scan.record_count;
    report.is_sealed = scan.seal.is_some();
    report.damage = scan
        .damage
        .iter()
        .map(|range| Damage {
            offset: range.start as u64,
            bytes: range.len() as u64,
            is_torn_tail: false,
            record: None,
        })
        .collect();
    let first_damage = scan.damage.first().map_or(usize::MAX, |range| range.start);
    let behind = scan.runs.iter().filter(|run| run.start > first_damage.max(HEADER_BYTES));
    report.records_behind_damage = behind
        .map(|run| run.last.get().saturating_sub(run.first.get()).saturating_add(1))
        .fold(0, u64::saturating_add);
}
