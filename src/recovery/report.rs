//! What recovery found and did, for people and for tests.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::{
    inventory::{Inventory, SnapshotChoice},
    plan::{LsnRange, Plan},
    verdict::Verdict,
};
use crate::{Lsn, snapshot::publish::Places};

/// How an opening went, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// There was no store: a new one was made.
    FirstRun,
    /// A version 1 file was taken over.
    Migrated,
    /// Everything verified.
    Clean,
    /// A write was cut off before it was acknowledged; everything acknowledged is there.
    TornTail,
    /// Something was damaged. Everything that verifies was kept; see [`RecoveryReport::lost`].
    Salvaged,
}

impl Outcome {
    /// The outcome as one lower-case phrase.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FirstRun => "first run",
            Self::Migrated => "migrated",
            Self::Clean => "clean",
            Self::TornTail => "torn tail",
            Self::Salvaged => "salvaged",
        }
    }
}

/// One thing that recovery found, with its label.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The label of the recovery table.
    pub verdict: Verdict,
    /// The file that it is about.
    pub path: PathBuf,
    /// What was found, for people.
    pub detail: String,
    /// Where the bytes were put, if any were set aside.
    pub quarantined: Option<PathBuf>,
}

/// The report of one recovery.
///
/// A damaged store is not an error: the store opens with everything that verifies, and this says
/// what was lost. [`Display`](fmt::Display) gives one line; with findings one more for each, and
/// one that names the page about them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// How it went.
    pub outcome: Outcome,
    /// LSN of the snapshot that was used.
    pub snapshot_lsn: Option<Lsn>,
    /// Number of records replayed from the journal.
    pub replayed: u64,
    /// Number of the last record in the recovered state.
    pub last_lsn: Lsn,
    /// Records that were durable once and are gone. Empty unless something was damaged.
    pub lost: Vec<LsnRange>,
    /// True if the newest segment could not be read at all: records after `last_lsn` may be lost,
    /// and nothing tells how many.
    pub end_unknown: bool,
    /// What was found, in order of the files.
    pub findings: Vec<Finding>,
    /// Rows and records that a limit of the store kept out.
    pub skipped: u64,
    /// Why the first of them was kept out.
    pub first_skipped: Option<String>,
}

impl RecoveryReport {
    pub(super) fn new(inventory: &Inventory, plan: &Plan, places: &Places) -> Self {
        let mut findings = snapshot_findings(inventory, places);
        for (segment, judged) in inventory.segments.iter().zip(&plan.segments) {
            let told = match judged.verdict {
                Verdict::Whole | Verdict::Covered => false,
                // Left by a close or a crash between two steps: nothing to tell unless bytes are
                // there.
                Verdict::Unborn => judged.moved_whole,
                _ => true,
            };
            if segment.is_misnamed() && judged.verdict != Verdict::Foreign {
                findings.push(Finding {
                    verdict: Verdict::Misnamed,
                    path: segment.path.clone(),
                    detail: format!("it is {} by its header and counts as that", segment.name),
                    quarantined: None,
                });
            }
            if told {
                findings.push(Finding {
                    verdict: judged.verdict,
                    path: segment.path.clone(),
                    detail: segment_detail(segment, judged.cut),
                    quarantined: None,
                });
            }
        }
        let fresh = inventory.segments.is_empty() && inventory.bad_snapshots.is_empty();
        let damaged = !plan.lost.is_empty() || findings.iter().any(|f| f.verdict.is_damage());
        let outcome = match inventory.snapshot {
            _ if damaged => Outcome::Salvaged,
            SnapshotChoice::Version1(_) => Outcome::Migrated,
            SnapshotChoice::None if fresh => Outcome::FirstRun,
            _ if findings
                .iter()
                .any(|f| matches!(f.verdict, Verdict::TornTail | Verdict::Unborn)) =>
            {
                Outcome::TornTail
            }
            _ => Outcome::Clean,
        };
        Self {
            outcome,
            snapshot_lsn: inventory.snapshot.whole_lsn(),
            replayed: 0,
            last_lsn: plan.end,
            lost: plan.lost.clone(),
            end_unknown: plan.end_unknown,
            findings,
            skipped: 0,
            first_skipped: None,
        }
    }

    /// True if something was damaged; a torn tail after a crash is not damage.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.outcome == Outcome::Salvaged
    }

    /// Number of records that were durable once and are gone.
    #[must_use]
    pub fn lost_records(&self) -> u64 {
        self.lost.iter().fold(0, |sum, range| sum.saturating_add(range.count()))
    }

    pub(super) fn set_quarantined(&mut self, path: &Path, kept: PathBuf) {
        if let Some(finding) = self.findings.iter_mut().find(|finding| finding.path == path) {
            finding.quarantined = Some(kept);
        }
    }
}

fn snapshot_findings(inventory: &Inventory, places: &Places) -> Vec<Finding> {
    let mut findings: Vec<_> = inventory
        .bad_snapshots
        .iter()
        .map(|bad| Finding {
            verdict: bad.verdict,
            path: bad.path.clone(),
            detail: match bad.verdict {
                Verdict::UnsealedSnapshot => format!(
                    "{}; if it was edited on purpose, stop the node, edit the snapshot that is in \
                     place now, and run `peer-journal seal` on it before the next start",
                    bad.reason
                ),
                _ => bad.reason.clone(),
            },
            quarantined: None,
        })
        .collect();
    let path = places.state_file.clone();
    match &inventory.snapshot {
        // A store that has never been saved has only the snapshot that was made with it.
        SnapshotChoice::Fallback(loaded) if loaded.meta.lsn == Lsn::ZERO && findings.is_empty() => {
        }
        SnapshotChoice::Fallback(loaded) => findings.push(Finding {
            verdict: Verdict::StaleSnapshot,
            path,
            detail: format!(
                "the older snapshot lsn={} and its segments were used",
                loaded.meta.lsn
            ),
            quarantined: None,
        }),
        SnapshotChoice::None if !inventory.segments.is_empty() => findings.push(Finding {
            verdict: Verdict::StaleSnapshot,
            path,
            detail: "there is no sound snapshot; the segments alone were used".into(),
            quarantined: None,
        }),
        SnapshotChoice::Version1(_) => findings.push(Finding {
            verdict: Verdict::OldVersion,
            path,
            detail: "a version 1 file, taken over; the original is kept beside the journal".into(),
            quarantined: None,
        }),
        _ => {}
    }
    findings
}

fn segment_detail(segment: &super::inventory::SegmentFile, cut: Option<usize>) -> String {
    let damaged: usize = segment.scan.damage.iter().map(ExactSizeIterator::len).sum();
    match (cut, segment.scan.damage.first()) {
        (Some(cut), _) => format!("bytes behind offset {cut} were never acknowledged"),
        (None, Some(first)) => {
            format!("{damaged} damaged bytes, the first at offset {}", first.start)
        }
        (None, None) => match (segment.scan.runs.first(), segment.scan.last_lsn()) {
            (Some(run), Some(last)) => format!("holds lsn {}..={last}", run.first),
            _ => "holds no record".into(),
        },
    }
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.outcome.as_str())?;
        match self.snapshot_lsn {
            Some(lsn) => write!(f, "snapshot of lsn {lsn}, ")?,
            None => f.write_str("no snapshot, ")?,
        }
        write!(f, "{} records replayed, state as of lsn {}", self.replayed, self.last_lsn)?;
        if !self.lost.is_empty() {
            write!(f, ", {} records lost (", self.lost_records())?;
            for (index, range) in self.lost.iter().enumerate() {
                let separator = if index == 0 { "" } else { ", " };
                write!(f, "{separator}{range}")?;
            }
            f.write_str(")")?;
        }
        if self.end_unknown {
            f.write_str(", records after it may be lost: the newest segment is unreadable")?;
        }
        if self.skipped > 0 {
            let first = self.first_skipped.as_deref().unwrap_or_default();
            write!(f, ", {} kept out by a limit (the first: {first})", self.skipped)?;
        }
        for finding in &self.findings {
            write!(f, "\n  {}: {} ({})", finding.verdict, finding.detail, finding.path.display())?;
            if let Some(kept) = &finding.quarantined {
                write!(f, ", kept in {}", kept.display())?;
            }
        }
        if !self.findings.is_empty() {
            f.write_str("\n  docs/troubleshooting.md says what each label means and what to do")?;
        }
        Ok(())
    }
}
