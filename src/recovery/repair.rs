//! The only code that changes old files. It copies to quarantine before it cuts, and syncs each
//! step before the next, so that a crash in between finds the same verdict or its own finished
//! work.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};

use super::{
    inventory::{Header, Inventory, SEGMENT_FILE_BYTES_MAX, SegmentFile, read_segment},
    plan::{Judged, Plan},
    quarantine::Quarantine,
    report::RecoveryReport,
    verdict::Verdict,
};
use crate::{
    Error, Lsn,
    journal::{
        format::{HEADER_BYTES, Previous, RecordKind, encode_record, seal_payload},
        name::prepared_name,
    },
    snapshot::publish::{Places, renew},
    vfs::{Vfs, read_file},
};

pub(super) struct Repair<'a> {
    pub(super) vfs: &'a dyn Vfs,
    pub(super) places: &'a Places,
    pub(super) now: DateTime<Utc>,
}

impl Repair<'_> {
    /// Removes leftovers, and puts what is damaged into the quarantine.
    pub(super) fn set_aside(
        &self,
        inventory: &Inventory,
        plan: &Plan,
        report: &mut RecoveryReport,
    ) -> Result<(), Error> {
        for path in &inventory.leftovers {
            self.vfs
                .remove(path)
                .map_err(|error| Error::io("cannot remove a temporary file", path, error))?;
        }
        for bad in &inventory.bad_snapshots {
            let kept = self.quarantine().move_whole(&bad.path, bad.verdict)?;
            report.set_quarantined(&bad.path, kept);
        }
        for (segment, judged) in inventory.segments.iter().zip(&plan.segments) {
            if judged.moved_whole && self.is_there(segment)? {
                let kept = self.quarantine().move_whole(&segment.path, judged.verdict)?;
                report.set_quarantined(&segment.path, kept);
            } else if let Some(kept) = self.copy_damage(segment, judged)? {
                report.set_quarantined(&segment.path, kept);
            }
        }
        Ok(())
    }

    /// Makes the names of the snapshots again if they are in doubt. True if they still are: a node
    /// must start, though the disk has no room for the copies.
    pub(super) fn renew_names(&self, inventory: &Inventory) -> Result<bool, Error> {
        if was_closed(inventory) {
            return Ok(false);
        }
        match renew(self.vfs, self.places) {
            Err(error) if is_without_room(&error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "no room to make the names of the snapshots again");
                Ok(true)
            }
            renewed => renewed.map(|_| false),
        }
    }

    /// False if somebody took the file away since the inventory.
    fn is_there(&self, segment: &SegmentFile) -> Result<bool, Error> {
        match self.vfs.metadata(&segment.path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("cannot look at a segment", &segment.path, error)),
        }
    }

    /// Cuts what stands behind the last record that counts, and seals.
    pub(super) fn close_newest(
        &self,
        inventory: &Inventory,
        plan: &Plan,
    ) -> Result<Previous, Error> {
        let Some(Ending { segment, close }) = ending(inventory, plan) else {
            let superseded = plan.supersedes;
            return Ok(Previous { last_lsn: plan.end, superseded, ..Previous::default() });
        };
        let unproven = segment.scan.runs.iter().any(|run| run.last > plan.vouched);
        if unproven && !is_followed(inventory, plan, segment) {
            let cut = if let Close::Seal { cut } = close { cut } else { None };
            self.write_anew(segment, cut.unwrap_or(segment.content_end()))?;
        }
        let seal = match close {
            Close::Sealed(crc) => Some(crc),
            Close::Leave => None,
            Close::Seal { cut } => Some(self.cut_and_seal(segment, cut, plan.end)?),
        };
        Ok(Previous {
            segment: segment.name.segment,
            last_lsn: plan.end,
            seal,
            superseded: plan.supersedes,
        })
    }

    /// Puts a fresh copy of a segment in its place. What nothing vouches for may be in the page
    /// cache only, marked clean by a sync that failed before the process died; no sync writes it
    /// then. It is not written again in place: that could tear what was acknowledged.
    fn write_anew(&self, segment: &SegmentFile, end: usize) -> Result<(), Error> {
        let failed = |error| Error::io("cannot write a segment anew", &segment.path, error);
        let bytes = match read_file(self.vfs, &segment.path, SEGMENT_FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) => {
                // A bad sector: better the old file than one with a hole.
                tracing::warn!(%error, path = %segment.path.display(), "a segment stays as it is");
                return Ok(());
            }
        };
        let temporary = self.places.journal_dir.join(prepared_name(0));
        let file = self.vfs.create(&temporary).map_err(failed)?;
        file.write_at(0, bytes.get(..end).unwrap_or(&bytes))
            .and_then(|()| file.sync())
            .and_then(|()| self.vfs.rename(&temporary, &segment.path))
            .map_err(failed)?;
        self.sync_dir(&self.places.journal_dir)
    }

    fn cut_and_seal(
        &self,
        segment: &SegmentFile,
        cut: Option<usize>,
        end: Lsn,
    ) -> Result<u32, Error> {
        let failed = |error| Error::io("cannot close a segment", &segment.path, error);
        let file = self.vfs.open(&segment.path).map_err(failed)?;
        let last_end = segment.scan.runs.last().map_or(0, |run| run.end);
        let offset = cut.unwrap_or(last_end) as u64;
        if cut.is_some() {
            file.set_len(offset).and_then(|()| file.sync()).map_err(failed)?;
        }
        let mut bytes = Vec::new();
        let payload = seal_payload(segment.scan.record_count, offset);
        let crc = encode_record(&mut bytes, segment.seed, RecordKind::Seal, end, end, &payload);
        file.write_at(offset, &bytes).and_then(|()| file.sync()).map_err(failed)?;
        Ok(crc)
    }

    /// Copies each damaged range, and all behind the cut, and says where the copies are.
    fn copy_damage(
        &self,
        segment: &SegmentFile,
        judged: &Judged,
    ) -> Result<Option<PathBuf>, Error> {
        if !is_copied(judged) {
            return Ok(None);
        }
        let bytes = read_segment(self.vfs, &segment.path)
            .map_err(|error| Error::io("cannot read a journal segment", &segment.path, error))?;
        let ranges = copied_ranges(segment, judged, segment.content_end());
        self.quarantine().keep(segment.name, &segment.path, &bytes, &ranges, judged.verdict)
    }

    fn quarantine(&self) -> Quarantine<'_> {
        Quarantine { vfs: self.vfs, places: self.places, now: self.now }
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), Error> {
        self.vfs.sync_dir(dir).map_err(|error| Error::io("cannot sync the folder", dir, error))
    }
}

/// True if the journal ends as a close ends it, which leaves no name in doubt. Else a sync of a
/// folder may have failed before the process died, and have marked the names of snapshots clean.
fn was_closed(inventory: &Inventory) -> bool {
    let sealed = inventory.segments.last().is_some_and(|newest| newest.scan.seal.is_some());
    // A version 1 file is not ours to write anew.
    sealed || inventory.store_id.is_none()
}

fn is_without_room(error: &Error) -> bool {
    use io::ErrorKind as Io;
    matches!(error.io_kind(), Some(Io::StorageFull | Io::QuotaExceeded))
}

/// How the newest segment that counts is ended.
pub(super) struct Ending<'a> {
    pub(super) segment: &'a SegmentFile,
    pub(super) close: Close,
}

/// See [`Ending`].
pub(super) enum Close {
    /// It has a seal with this checksum.
    Sealed(u32),
    /// It is followed by others and stays as it is.
    Leave,
    /// It gets a seal, behind the cut if there is one.
    Seal { cut: Option<usize> },
}

/// The newest segment that counts; `None` if none does.
pub(super) fn ending<'a>(inventory: &'a Inventory, plan: &Plan) -> Option<Ending<'a>> {
    let mut segments = inventory.segments.iter().zip(&plan.segments).rev();
    let (segment, judged) =
        segments.find(|(segment, judged)| !judged.moved_whole && !segment.scan.runs.is_empty())?;
    let close = match (segment.scan.seal, judged.cut) {
        (Some(seal), None) => Close::Sealed(seal.crc),
        (None, None)
            if judged.verdict != Verdict::Whole || is_followed(inventory, plan, segment) =>
        {
            Close::Leave
        }
        (_, cut) => Close::Seal { cut },
    };
    Some(Ending { segment, close })
}

/// True if damaged bytes of the segment are worth a copy.
pub(super) fn is_copied(judged: &Judged) -> bool {
    let worth_it = judged.cut.is_some() || judged.verdict.is_damage();
    worth_it && judged.verdict != Verdict::Covered
}

/// The bytes of a segment that are copied to quarantine; `end` is where its content ends.
pub(super) fn copied_ranges(
    segment: &SegmentFile,
    judged: &Judged,
    end: usize,
) -> Vec<Range<usize>> {
    let mut ranges = segment.scan.damage.clone();
    if let Some(cut) = judged.cut {
        ranges.retain(|range| range.start < cut);
        ranges.push(cut..end);
    }
    if segment.header == Header::Bad {
        ranges.push(0..HEADER_BYTES);
    }
    ranges
}

/// True if a later segment with a sound header stays. What is followed is not written to: a crash
/// in the middle of that would look like damage.
fn is_followed(inventory: &Inventory, plan: &Plan, segment: &SegmentFile) -> bool {
    inventory.segments.iter().zip(&plan.segments).any(|(later, judged)| {
        let stays = !judged.moved_whole && judged.verdict != Verdict::Unborn;
        let follows = later.name.segment > segment.name.segment;
        follows && stays && matches!(later.header, Header::Good(_))
    })
}
