//! Mending a damaged store: what a repair would do, and doing it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::past::{self, Past};
use crate::{
    Builder, Error, FileKind, FileReport, OnDamage, P2PStatePersistence, Reader, RecoveryReport,
    Verdict, history,
    recovery::{
        report::Finding,
        steps::{RepairAction, RepairStep, steps},
    },
    snapshot::publish::Places,
    state::Limits,
    vfs::Vfs,
};

/// What mending a store comes to. Made by [`Repair::plan`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairPlan {
    /// What an opening would find: the findings, and the LSNs that are lost whatever is done.
    pub report: RecoveryReport,
    /// What it would do, in order. That a new segment is made is not listed: each opening makes
    /// one.
    pub steps: Vec<RepairStep>,
}

impl RepairPlan {
    /// True if files are damaged, be it only a reserve or one of the history. What a crash leaves
    /// behind is mended too, and is no damage.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        use RepairAction::{MoveToQuarantine, Renew, Rewrite};
        let cures = |step: &RepairStep| matches!(step.action, MoveToQuarantine | Renew | Rewrite);
        self.report.is_damaged() || self.steps.iter().any(cures)
    }
}

/// Mends a store that nobody holds: as any opening with [`OnDamage::Salvage`] does, and beyond that
/// what no opening reads unless it must: the reserves, and the history.
///
/// # Example
/// ```
/// # fn main() -> Result<(), peer_journal::Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("p2p-state.json");
/// # drop(peer_journal::P2PStatePersistence::open(&path)?);
/// use peer_journal::{P2PStatePersistence, Repair};
///
/// let repair = Repair::new(P2PStatePersistence::builder(&path));
/// let plan = repair.plan()?;
/// for step in &plan.steps {
///     println!("{}: {} bytes at {}", step.action.as_str(), step.bytes, step.offset);
/// }
/// if plan.is_needed() {
///     println!("{}", repair.apply()?);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Repair {
    builder: Builder,
    vfs: Arc<dyn Vfs>,
    places: Places,
}

impl Repair {
    /// Of the store that the builder would open. Of its options those count that say where and how
    /// to write; limits do not: those that the store's own program has raised are no reason to drop
    /// anything.
    #[must_use]
    pub fn new(builder: Builder) -> Self {
        let builder = builder.must_exist().on_damage(OnDamage::Salvage).limits(Limits::UNBOUNDED);
        let (vfs, places) = builder.disk();
        Self { builder, vfs, places }
    }

    /// What [`apply`](Self::apply) would do. Takes no lock and changes nothing. On a live store the
    /// end of the newest segment looks like a write that was cut off.
    ///
    /// # Errors
    /// As for [`Reader::open`].
    pub fn plan(&self) -> Result<RepairPlan, Error> {
        let reader = self.reader()?;
        let len = |path: &Path| self.vfs.metadata(path).map_or(0, |entry| entry.len);
        let mut steps = steps(reader.recovered(), len);
        let touched: Vec<PathBuf> = steps.iter().map(|step| step.path.clone()).collect();
        let files = reader.files()?;
        for file in files.iter().filter(|file| is_bad_reserve(file)) {
            if !touched.contains(&file.path) {
                steps.push(RepairStep {
                    action: RepairAction::Renew,
                    path: file.path.clone(),
                    offset: 0,
                    bytes: file.bytes,
                    verdict: Some(file.verdict),
                });
            }
        }
        steps.extend(past::steps(&files));
        Ok(RepairPlan { report: reader.report().clone(), steps })
    }

    /// Opens the store, and closes it again. What does not verify is in quarantine afterwards; the
    /// report says where, and which LSNs are lost. If anything was damaged, fresh snapshots take
    /// the place of all that is read, so that the damage is not read again; the second of them
    /// takes an LSN, as a large update does. Then the history is mended, with all that went there
    /// now.
    ///
    /// # Errors
    /// [`NoStore`](crate::ErrorKind::NoStore), [`Locked`](crate::ErrorKind::Locked) while somebody
    /// has it open, `NewerVersion`, `Io` if the disk refuses. [`Limit`](crate::ErrorKind::Limit) if
    /// a row breaks one of the fixed [limits](crate::state::limits): the snapshot would drop it.
    /// Nothing is altered then.
    pub fn apply(&self) -> Result<RecoveryReport, Error> {
        let reader = self.reader()?;
        let is_needed = reader.report().is_damaged() || reader.files()?.iter().any(is_bad_reserve);
        if let Some(first) = &reader.report().first_skipped {
            return Err(Error::limit(format!("a repair would drop what breaks a limit: {first}"))
                .at(&self.places.state_file)
                .next("restore a backup, or open it with a program that may drop it"));
        }
        drop(reader);
        let store = self.builder.clone().open()?;
        let mut report = store.recovery()?.clone();
        store.compact_now()?;
        if is_needed {
            store.replace_now(|state| Ok(state.clone()))?;
        }
        report.findings.extend(self.mend_past()?);
        store.close_now()?;
        Ok(report)
    }

    fn mend_past(&self) -> Result<Vec<Finding>, Error> {
        let (vfs, places) = (self.vfs.as_ref(), &self.places);
        if vfs.metadata(&history::dir(places)).is_err() {
            return Ok(Vec::new());
        }
        let reader = self.reader()?;
        let past = Past { vfs, places, store_id: reader.store_id(), now: self.builder.now() };
        past.mend(&reader.files()?)
    }

    fn reader(&self) -> Result<Reader, Error> {
        Reader::options(&self.places.state_file)
            .limits(Limits::UNBOUNDED)
            .vfs(Arc::clone(&self.vfs))
            .open()
    }
}

/// What [`repair`] would do: [`Repair::plan`] with the options that every store has.
///
/// # Errors
/// As for [`Repair::plan`].
pub fn repair_plan(state_file: impl AsRef<Path>) -> Result<RepairPlan, Error> {
    Repair::new(P2PStatePersistence::builder(state_file)).plan()
}

/// Mends the store: [`Repair::apply`] with the options that every store has.
///
/// # Errors
/// As for [`Repair::apply`].
pub fn repair(state_file: impl AsRef<Path>) -> Result<RecoveryReport, Error> {
    Repair::new(P2PStatePersistence::builder(state_file)).apply()
}

/// A file of the journal folder that recovery does not read as long as others are sound, and that
/// is not sound itself.
fn is_bad_reserve(file: &FileReport) -> bool {
    match file.kind {
        FileKind::Fallback => file.verdict.is_damage(),
        FileKind::Segment => {
            let is_damaged = !file.damage.is_empty() || file.format_version.is_none();
            file.verdict == Verdict::Covered && is_damaged
        }
        _ => false,
    }
}
