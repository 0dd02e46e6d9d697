//! Mending the history. Recovery never looks there, so an opening leaves its damage as it is.
//!
//! A damaged snapshot moves to quarantine: what it was for is reached from the one before it. Of a
//! damaged segment the damaged bytes are copied there, and it is written anew without them. What
//! was lost stays lost, and the log tells so; but from then on every file verifies.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};

use super::rewrite::put;
use crate::{
    Error, ErrorKind, FileKind, FileReport, Lsn, StoreId, Verdict,
    journal::{
        format::{
            HEADER_BYTES, Previous, RecordKind, Seed, SegmentHeader, encode_record, seal_payload,
        },
        name::SegmentName,
        scan::{Scan, scan},
    },
    recovery::{
        inventory::{read_header, read_segment},
        quarantine::Quarantine,
        report::Finding,
        steps::{RepairAction, RepairStep},
    },
    snapshot::publish::Places,
    vfs::Vfs,
};

/// The history of a store that nobody else holds.
pub(super) struct Past<'a> {
    pub(super) vfs: &'a dyn Vfs,
    pub(super) places: &'a Places,
    pub(super) store_id: Option<StoreId>,
    pub(super) now: DateTime<Utc>,
}

/// What becomes of a damaged file.
enum Cure {
    /// Nothing in it can be used.
    Move,
    /// These bytes are damaged, and the rest is sound.
    Rewrite(Vec<Range<usize>>),
}

/// What mending the history comes to; `files` are all of the store.
pub(super) fn steps(files: &[FileReport]) -> Vec<RepairStep> {
    let mut steps = Vec::new();
    for file in files {
        let mut add = |action, offset: usize, bytes: u64| {
            let (path, offset) = (file.path.clone(), offset as u64);
            steps.push(RepairStep { action, path, offset, bytes, verdict: Some(file.verdict) });
        };
        match cure(file) {
            None => {}
            Some(Cure::Move) => add(RepairAction::MoveToQuarantine, 0, file.bytes),
            Some(Cure::Rewrite(ranges)) => {
                for range in ranges {
                    add(RepairAction::CopyToQuarantine, range.start, range.len() as u64);
                }
                add(RepairAction::Rewrite, 0, file.bytes);
            }
        }
    }
    steps
}

fn cure(file: &FileReport) -> Option<Cure> {
    match (file.kind, file.verdict) {
        (FileKind::HistorySnapshot, verdict) if verdict.is_damage() => Some(Cure::Move),
        (FileKind::HistorySegment, Verdict::BrokenRecord | Verdict::BadHeader) => {
            if file.records == 0 {
                return Some(Cure::Move);
            }
            let header = (file.verdict == Verdict::BadHeader).then_some(0..HEADER_BYTES);
            let damage = file.damage.iter().filter_map(|damage| {
                let start = usize::try_from(damage.offset).ok()?;
                Some(start..start.checked_add(usize::try_from(damage.bytes).ok()?)?)
            });
            Some(Cure::Rewrite(header.into_iter().chain(damage).collect()))
        }
        _ => None,
    }
}

impl Past<'_> {
    /// Mends what is damaged, each file durably before the next, and tells of it. Whatever is cut
    /// off, the next run finds the same damage or none.
    pub(super) fn mend(&self, files: &[FileReport]) -> Result<Vec<Finding>, Error> {
        let quarantine = Quarantine { vfs: self.vfs, places: self.places, now: self.now };
        let needs_one = files.iter().any(|file| file.verdict == Verdict::BadHeader);
        let sound = if needs_one { self.headers(files)? } else { Vec::new() };
        let mut findings = Vec::new();
        for file in files {
            let (kept, detail) = match cure(file) {
                None => continue,
                Some(Cure::Move) => {
                    let kept = quarantine.move_whole(&file.path, file.verdict)?;
                    (Some(kept), "in the history; moved to quarantine".to_owned())
                }
                Some(Cure::Rewrite(ranges)) => {
                    let bytes = read(self.vfs, &file.path)?;
                    let segment = called(&file.path)?;
                    let (path, verdict) = (&file.path, file.verdict);
                    let kept = quarantine.keep(segment, path, &bytes, &ranges, verdict)?;
                    self.write_anew(file, segment, &bytes, &sound)?;
                    let sound = file.records;
                    (kept, format!("in the history; written anew with its {sound} sound records"))
                }
            };
            let (verdict, path) = (file.verdict, file.path.clone());
            findings.push(Finding { verdict, path, detail, quarantined: kept });
        }
        Ok(findings)
    }

    /// Puts a header, the sound records side by side, and a seal in the place of a segment. Records
    /// verify wherever they stand.
    fn write_anew(
        &self,
        file: &FileReport,
        called: SegmentName,
        bytes: &[u8],
        sound: &[SegmentHeader],
    ) -> Result<(), Error> {
        let mut header = match SegmentHeader::decode(bytes) {
            Ok(header) => header,
            Err(_) => self.header(called, sound)?,
        };
        let found = scan(bytes, HEADER_BYTES, header.seed(), header.first_lsn);
        let mut path = file.path.clone();
        if let Some(first) = found.runs.first()
            && found.damage.first().is_some_and(|damage| damage.start < first.start)
        {
            // Numbers without a record in front of the first one would tell of large updates. So
            // they are no longer this segment's, and are missing behind the one before it.
            header.first_lsn = first.first;
            path = self.rename(&path, SegmentName { first_lsn: first.first, ..called })?;
        }
        let mut anew = header.encode().to_vec();
        for run in &found.runs {
            anew.extend_from_slice(bytes.get(run.start..run.end).unwrap_or_default());
        }
        seal(&mut anew, header.seed(), &found);
        put(self.vfs, &path, &anew)
    }

    /// Until the file is written anew, its header counts where the two differ.
    fn rename(&self, path: &Path, name: SegmentName) -> Result<PathBuf, Error> {
        let to = path.with_file_name(name.to_string());
        let dir = path.parent().unwrap_or(Path::new("."));
        self.vfs
            .rename(path, &to)
            .and_then(|()| self.vfs.sync_dir(dir))
            .map_err(|error| Error::io("cannot rename a segment", path, error))?;
        Ok(to)
    }

    /// What the header said, as far as the name and the segment before it tell.
    fn header(&self, called: SegmentName, sound: &[SegmentHeader]) -> Result<SegmentHeader, Error> {
        let SegmentName { segment, first_lsn } = called;
        let store_id = self.store_id.ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "nothing tells the id of the store")
                .at(&self.places.journal_dir)
                .next("restore a backup")
        })?;
        let before = sound.iter().filter(|header| header.segment < segment);
        let before = before.max_by_key(|header| header.segment);
        let previous = Previous {
            segment: before.map_or(0, |before| before.segment),
            last_lsn: first_lsn.previous(),
            ..Previous::default()
        };
        // It was made no earlier. Where a record has no time of its own, the log shows this one.
        let created_ms = before.map_or(0, |before| before.created_ms);
        Ok(SegmentHeader { store_id, segment, first_lsn, created_ms, previous })
    }

    /// The headers of the history that verify.
    fn headers(&self, files: &[FileReport]) -> Result<Vec<SegmentHeader>, Error> {
        let mut headers = Vec::new();
        for file in files.iter().filter(|file| file.kind == FileKind::HistorySegment) {
            let header = read_header(self.vfs, &file.path);
            headers.extend(header.map_err(|error| {
                Error::io("cannot read the header of a segment", &file.path, error)
            })?);
        }
        Ok(headers)
    }
}

fn seal(anew: &mut Vec<u8>, seed: Seed, found: &Scan) {
    let last = found.last_lsn().unwrap_or(Lsn::ZERO);
    let payload = seal_payload(found.record_count, anew.len() as u64);
    encode_record(anew, seed, RecordKind::Seal, last, last, &payload);
}

fn called(path: &Path) -> Result<SegmentName, Error> {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(SegmentName::parse);
    name.ok_or_else(|| Error::invalid("not the name of a segment").at(path))
}

fn read(vfs: &dyn Vfs, path: &Path) -> Result<Vec<u8>, Error> {
    read_segment(vfs, path).map_err(|error| Error::io("cannot read a segment", path, error))
}
