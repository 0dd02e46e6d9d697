//! Recovery: all of opening, from the files on disk to a state and a report.
//!
//! Reading order: [`inventory`] (what is there), [`verdict`] (the labelled table, pure), [`plan`]
//! (what to replay, what is lost, where to cut; pure), [`replay`] (records into the state),
//! [`repair`] (the only code that changes old files), [`steps`] (what it would do), [`report`]
//! (what was found and done).
//!
//! Replay comes before repair, so that a record of a newer version is met while nothing has been
//! altered yet. Recovery may crash at any point: quarantine copies come before cuts, cuts before
//! the new segment, and each step finds its own work done.

mod block;
mod crew;
pub(crate) mod inventory;
pub(crate) mod plan;
pub(crate) mod quarantine;
pub(crate) mod repair;
pub(crate) mod replay;
pub(crate) mod report;
pub(crate) mod steps;
pub(crate) mod verdict;

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use crate::{
    Error, ErrorKind, Lsn, StoreId,
    journal::{format::Previous, scan::Scan},
    snapshot::publish::Places,
    state::{Limits, State},
    vfs::Vfs,
};

use inventory::{Inventory, SnapshotChoice};
use plan::Plan;
use report::RecoveryReport;
use verdict::Verdict;

/// What to do with files that are damaged (a torn tail after a crash is not damage).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDamage {
    /// Keep everything that verifies, move the rest to quarantine, report exactly what is lost, and
    /// start: a node must always start.
    #[default]
    Salvage,
    /// Stop with [`ErrorKind::Corrupt`] and alter nothing.
    Refuse,
}

/// Everything that recovery works out before it changes a file.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) state: State,
    /// `None` for a first run.
    pub(crate) store_id: Option<StoreId>,
    /// The state holds every record up to this number that was not lost.
    pub(crate) last_lsn: Lsn,
    /// LSN of the snapshot that was used, if one of the current version was.
    pub(crate) snapshot_lsn: Option<Lsn>,
    /// True if the snapshot in place is sound, so that it may become the fallback of the next one.
    pub(crate) snapshot_in_place: bool,
    /// When that snapshot, or the version 1 file, was written; the UNIX epoch if there was none.
    pub(crate) saved_at: DateTime<Utc>,
    /// True for a version 1 file, which has to be migrated before the first record is written.
    pub(crate) migrate: bool,
    /// Largest segment number ever seen.
    pub(crate) last_segment: u64,
    /// Bytes of records that the snapshot does not cover.
    pub(crate) journal_bytes: u64,
    /// A power cut may take the names of snapshots: the repair had no room to make them again.
    pub(crate) names_in_doubt: bool,
    pub(crate) report: RecoveryReport,
    pub(crate) state_file: PathBuf,
    pub(crate) inventory: Inventory,
    pub(crate) plan: Plan,
}

/// What becomes of the snapshot's state when records are replayed onto it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// It becomes the recovered state, without a copy.
    Taken,
    /// It is kept beside it, for a reader that goes back in time.
    Kept,
}

/// Reads what is on disk and works out the state. Changes nothing, locks nothing.
pub(crate) fn examine(
    vfs: &dyn Vfs,
    places: &Places,
    limits: Limits,
    on_damage: OnDamage,
    base: Base,
) -> Result<Recovered, Error> {
    let mut inventory = Inventory::take(vfs, places, limits)?;
    refuse_newer(&inventory)?;
    let base_lsn = inventory.snapshot.lsn();
    let scans: Vec<_> = inventory.segments.iter().map(|segment| segment.facts()).collect();
    let plan = Plan::make(&scans, base_lsn);
    let mut report = RecoveryReport::new(&inventory, &plan, places);
    if on_damage == OnDamage::Refuse && report.is_damaged() {
        return Err(Error::new(ErrorKind::Corrupt, format!("the store is damaged: {report}"))
            .at(&places.state_file)
            .next(
                "open it with OnDamage::Salvage to keep all that verifies, or restore a backup",
            ));
    }
    let (mut state, mut skipped) = inventory.snapshot.state(limits, base);
    report.replayed = replay::replay(vfs, &mut inventory, &plan, &mut state, &mut skipped)?;
    inventory.forget_bytes();
    report.skipped = skipped.count;
    report.first_skipped = skipped.first;
    Ok(Recovered {
        state,
        store_id: inventory.store_id,
        last_lsn: plan.end,
        snapshot_lsn: inventory.snapshot.whole_lsn(),
        snapshot_in_place: inventory.snapshot.is_in_place(),
        saved_at: inventory.snapshot.saved_at(),
        migrate: matches!(inventory.snapshot, SnapshotChoice::Version1(_)),
        last_segment: inventory.last_segment(),
        journal_bytes: journal_bytes(&inventory, &plan),
        names_in_doubt: false,
        report,
        state_file: places.state_file.clone(),
        inventory,
        plan,
    })
}

impl Recovered {
    /// Changes what has to be changed on disk: quarantine, cut, seal. Afterwards a segment that
    /// starts behind `last_lsn` may be created; its header cites what this returns.
    pub(crate) fn repair(
        &mut self,
        vfs: &dyn Vfs,
        places: &Places,
        now: DateTime<Utc>,
    ) -> Result<Previous, Error> {
        let repair = repair::Repair { vfs, places, now };
        repair.set_aside(&self.inventory, &self.plan, &mut self.report)?;
        self.names_in_doubt = repair.renew_names(&self.inventory)?;
        repair.close_newest(&self.inventory, &self.plan)
    }

    /// True if there is neither a snapshot of the current version nor a segment.
    pub(crate) fn starts_from_nothing(&self) -> bool {
        self.snapshot_lsn.is_none() && self.inventory.segments.is_empty()
    }

    /// Removes segments that never held a record. Run when the new segment exists, so that a number
    /// is never used twice.
    pub(crate) fn remove_unborn(&self, vfs: &dyn Vfs) -> Result<(), Error> {
        for (segment, judged) in self.inventory.segments.iter().zip(&self.plan.segments) {
            if judged.verdict == Verdict::Unborn && !judged.moved_whole {
                vfs.remove(&segment.path).map_err(|error| {
                    Error::io("cannot remove an empty segment", &segment.path, error)
                })?;
            }
        }
        Ok(())
    }

    /// True if a fresh snapshot should be written soon, so that damage found now is not read again.
    pub(crate) fn wants_snapshot(&self) -> bool {
        self.report.is_damaged()
    }
}

/// Makes durable what a process that died left in the page cache, before anything is read: a record
/// that is only in memory must not be trusted, compacted and then lost.
pub(crate) fn sync_before_reading(vfs: &dyn Vfs, places: &Places) -> Result<(), Error> {
    let synced = |path: &Path| -> std::io::Result<()> {
        match vfs.open(path).and_then(|file| file.sync()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    };
    for name in inventory::file_names(vfs, &places.journal_dir)? {
        if inventory::is_ours(&name) {
            let path = places.journal_dir.join(&name);
            synced(&path).map_err(|error| Error::io("cannot sync before reading", &path, error))?;
        }
    }
    synced(&places.state_file)
        .map_err(|error| Error::io("cannot sync before reading", &places.state_file, error))?;
    for dir in [&*places.journal_dir, places.parent()] {
        vfs.sync_dir(dir).map_err(|error| Error::io("cannot sync the folder", dir, error))?;
    }
    Ok(())
}

fn journal_bytes(inventory: &Inventory, plan: &Plan) -> u64 {
    let segments = inventory.segments.iter().zip(&plan.segments);
    segments
        .filter(|(_, judged)| judged.verdict != Verdict::Covered)
        .filter_map(|(segment, _)| segment.scan.runs.last())
        .fold(0, |sum, run| sum.saturating_add(run.end as u64))
}

fn refuse_newer(inventory: &Inventory) -> Result<(), Error> {
    let newer = |path: &Path, version: u32| {
        Error::new(
            ErrorKind::NewerVersion,
            format!("written by a newer version: version={version}"),
        )
        .at(path)
        .next("upgrade peer-journal; nothing was altered")
    };
    if let Some((path, version)) = &inventory.newer_snapshot {
        return Err(newer(path, *version));
    }
    for segment in &inventory.segments {
        if let inventory::Header::Newer(version) = segment.header {
            return Err(newer(&segment.path, version));
        }
        if segment.scan.unknown_kind {
            let what = "a record of a kind that only a newer version knows";
            return Err(Error::new(ErrorKind::NewerVersion, what)
                .at(&segment.path)
                .next("upgrade peer-journal; nothing was altered"));
        }
    }
    Ok(())
}

/// What the plan needs to know of one segment.
#[derive(Clone, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) name: crate::journal::name::SegmentName,
    pub(crate) header: inventory::Header,
    pub(crate) scan: &'a Scan,
}
