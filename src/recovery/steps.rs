//! What an opening would change on disk, without changing it. Uses the decisions of [`repair`].
//!
//! [`repair`]: super::repair

use std::path::{Path, PathBuf};

use super::{
    Recovered,
    inventory::SnapshotChoice,
    repair::{Close, copied_ranges, ending, is_copied},
    verdict::Verdict,
};
use crate::journal::format::SEAL_BYTES;

/// What one step of a repair does to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RepairAction {
    /// The whole file moves to quarantine.
    MoveToQuarantine,
    /// A copy of the bytes goes to quarantine; the file stays as it is.
    CopyToQuarantine,
    /// The bytes are cut off the end of the file, after they were copied.
    Cut,
    /// A seal is written at the offset.
    Seal,
    /// A leftover of a process that died, or a segment without a record, is removed.
    Remove,
    /// A version 1 file is taken over; the original is kept.
    Migrate,
    /// The file, one of the history, is written anew without its damaged bytes, after they were
    /// copied.
    Rewrite,
    /// The file is a reserve that nothing reads unless another one is damaged: it gives way to
    /// fresh snapshots.
    Renew,
}

impl RepairAction {
    /// The action as one lower-case phrase.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MoveToQuarantine => "move to quarantine",
            Self::CopyToQuarantine => "copy to quarantine",
            Self::Cut => "cut",
            Self::Seal => "seal",
            Self::Remove => "remove",
            Self::Migrate => "migrate",
            Self::Rewrite => "rewrite",
            Self::Renew => "renew",
        }
    }
}

/// One step of a repair. Offsets and sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairStep {
    /// What is done.
    pub action: RepairAction,
    /// To which file.
    pub path: PathBuf,
    /// Where in the file it begins.
    pub offset: u64,
    /// How many bytes it concerns.
    pub bytes: u64,
    /// The label of the recovery table that it follows from; `None` for a leftover.
    pub verdict: Option<Verdict>,
}

/// Every step, in the order in which an opening takes them.
pub(crate) fn steps(recovered: &Recovered, len: impl Fn(&Path) -> u64) -> Vec<RepairStep> {
    let (inventory, plan) = (&recovered.inventory, &recovered.plan);
    let whole = |action, path: &Path, verdict| RepairStep {
        action,
        path: path.to_owned(),
        offset: 0,
        bytes: len(path),
        verdict,
    };
    let mut steps = Vec::new();
    for path in &inventory.leftovers {
        steps.push(whole(RepairAction::Remove, path, None));
    }
    for bad in &inventory.bad_snapshots {
        steps.push(whole(RepairAction::MoveToQuarantine, &bad.path, Some(bad.verdict)));
    }
    for (segment, judged) in inventory.segments.iter().zip(&plan.segments) {
        let verdict = Some(judged.verdict);
        if judged.moved_whole {
            steps.push(whole(RepairAction::MoveToQuarantine, &segment.path, verdict));
        } else if is_copied(judged) {
            let ranges = copied_ranges(segment, judged, segment.content_end());
            steps.extend(ranges.into_iter().filter(|range| !range.is_empty()).map(|range| {
                RepairStep {
                    action: RepairAction::CopyToQuarantine,
                    path: segment.path.clone(),
                    offset: range.start as u64,
                    bytes: range.len() as u64,
                    verdict,
                }
            }));
        }
    }
    if let Some(end) = ending(inventory, plan)
        && let Close::Seal { cut } = end.close
    {
        let (segment, mut step) = (end.segment, whole(RepairAction::Cut, &end.segment.path, None));
        let records_end = segment.scan.runs.last().map_or(0, |run| run.end);
        let offset = cut.unwrap_or(records_end);
        step.offset = offset as u64;
        if cut.is_some() {
            step.bytes = segment.content_end().saturating_sub(offset) as u64;
            step.verdict = Some(Verdict::TornTail);
            steps.push(step.clone());
        }
        steps.push(RepairStep { action: RepairAction::Seal, bytes: SEAL_BYTES as u64, ..step });
    }
    if let SnapshotChoice::Version1(_) = inventory.snapshot {
        let path = &recovered.state_file;
        steps.push(whole(RepairAction::Migrate, path, Some(Verdict::OldVersion)));
    }
    for (segment, judged) in inventory.segments.iter().zip(&plan.segments) {
        if judged.verdict == Verdict::Unborn && !judged.moved_whole {
            steps.push(whole(RepairAction::Remove, &segment.path, Some(judged.verdict)));
        }
    }
    steps
}
