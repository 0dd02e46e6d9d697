//! Mending a store that nobody holds: what a repair would do, and doing it; and taking a peer out
//! of all its files ([`redact`], [`rewrite`]).
//!
//! Everything here goes through an ordinary opening, with its lock and its crash safety.

mod redact;
mod rewrite;

use std::path::{Path, PathBuf};

use crate::{
    Error, FileKind, FileReport, P2PStatePersistence, Reader, RecoveryReport, Verdict,
    recovery::steps::{RepairAction, RepairStep, steps},
    state::Limits,
    vfs::{OsVfs, Vfs},
};

pub use redact::{Redaction, RedactionAction, RedactionPlan, RedactionStep};

/// What opening a store would change, made by [`repair_plan`].
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
    /// True if the files are damaged, be it only a reserve. What a crash leaves behind is mended
    /// too, and is no damage.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        let renews = |step: &RepairStep| step.action == RepairAction::Renew;
        self.report.is_damaged() || self.steps.iter().any(renews)
    }
}

/// What [`repair`] would change. Any opening with [`OnDamage::Salvage`](crate::OnDamage::Salvage)
/// does the same, but for reserves, which no opening reads unless it must. Takes no lock
/// and changes nothing. On a live store the end of the newest segment looks like a write that was
/// cut off.
///
/// # Errors
/// As for [`Reader::open`].
///
/// # Example
/// ```
/// # fn main() -> Result<(), peer_journal::Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("p2p-state.json");
/// # drop(peer_journal::P2PStatePersistence::open(&path)?);
/// let plan = peer_journal::repair_plan(&path)?;
/// for step in &plan.steps {
///     println!("{}: {} bytes at {}", step.action.as_str(), step.bytes, step.offset);
/// }
/// if plan.is_needed() {
///     println!("{}", peer_journal::repair(&path)?);
/// }
/// # Ok(())
/// # }
/// ```
pub fn repair_plan(state_file: impl AsRef<Path>) -> Result<RepairPlan, Error> {
    let reader = Reader::options(state_file).limits(Limits::UNBOUNDED).open()?;
    let len = |path: &Path| OsVfs.metadata(path).map_or(0, |entry| entry.len);
    let mut steps = steps(reader.recovered(), len);
    let touched: Vec<PathBuf> = steps.iter().map(|step| step.path.clone()).collect();
    for file in reader.files()?.iter().filter(|file| is_bad_reserve(file)) {
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
    Ok(RepairPlan { report: reader.report().clone(), steps })
}

/// A file of the journal folder that recovery does not read as long as others are sound, and that
/// is not sound itself.
fn is_bad_reserve(file: &FileReport) -> bool {
    match file.kind {
        FileKind::Fallback => file.verdict.is_damage(),
        FileKind::Segment => file.verdict == Verdict::Covered && !file.damage.is_empty(),
        _ => false,
    }
}

/// Opens the store with [`OnDamage::Salvage`](crate::OnDamage::Salvage) and closes it again. What
/// does not verify is in quarantine afterwards; the report says where, and which LSNs are lost. If
/// anything was damaged, fresh snapshots take the place of all that is read, so that the damage is
/// not read again; the second of them takes an LSN, as a large update does.
///
/// Limits that the store's own program has raised are no reason to drop anything.
///
/// # Errors
/// [`NoStore`](crate::ErrorKind::NoStore), [`Locked`](crate::ErrorKind::Locked) while somebody has
/// it open, `NewerVersion`, `Io` if the disk refuses. [`Limit`](crate::ErrorKind::Limit) if a row
/// breaks one of the fixed [limits](crate::state::limits): the snapshot would drop it. Nothing is
/// altered then.
pub fn repair(state_file: impl AsRef<Path>) -> Result<RecoveryReport, Error> {
    let builder = P2PStatePersistence::builder(&state_file).limits(Limits::UNBOUNDED).must_exist();
    let reader = Reader::options(&state_file).limits(Limits::UNBOUNDED).open()?;
    let is_needed = reader.report().is_damaged() || reader.files()?.iter().any(is_bad_reserve);
    if let Some(first) = &reader.report().first_skipped {
        return Err(Error::limit(format!("a repair would drop what breaks a limit: {first}"))
            .at(state_file.as_ref())
            .next("restore a backup, or open it with a program that may drop it"));
    }
    drop(reader);
    let store = builder.open()?;
    let report = store.recovery()?.clone();
    store.compact_now()?;
    if is_needed {
        store.replace_now(|state| Ok(state.clone()))?;
    }
    store.close_now()?;
    Ok(report)
}
