//! Mending a store that nobody holds: what a repair would do, and doing it.
//!
//! Everything here goes through an ordinary opening, with its lock and its crash safety.

use std::path::Path;

use crate::{
    Error, P2PStatePersistence, Reader, RecoveryReport,
    recovery::steps::{RepairStep, steps},
    vfs::{OsVfs, Vfs},
};

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
    /// True if the files are damaged. What a crash leaves behind is mended too, and is no damage.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        self.report.is_damaged()
    }
}

/// What [`repair`], or any opening with [`OnDamage::Salvage`](crate::OnDamage::Salvage), would
/// change. Takes no lock and changes nothing. On a live store the end of the newest segment looks
/// like a write that was cut off.
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
    let reader = Reader::open(state_file)?;
    let len = |path: &Path| OsVfs.metadata(path).map_or(0, |entry| entry.len);
    Ok(RepairPlan { report: reader.report().clone(), steps: steps(reader.recovered(), len) })
}

/// Opens the store with [`OnDamage::Salvage`](crate::OnDamage::Salvage), writes a snapshot so that
/// the damage is not read again, and closes it. What does not verify is in quarantine afterwards;
/// the report says where, and which LSNs are lost.
///
/// # Errors
/// [`NoStore`](crate::ErrorKind::NoStore), [`Locked`](crate::ErrorKind::Locked) while somebody has
/// it open, `NewerVersion`, `Io` if the disk refuses. [`Limit`](crate::ErrorKind::Limit) if the
/// store holds more than the default [`Limits`](crate::state::Limits) allow: the snapshot would
/// drop it. Nothing is altered then.
pub fn repair(state_file: impl AsRef<Path>) -> Result<RecoveryReport, Error> {
    // An opening would make a store where there is none.
    let reader = Reader::open(&state_file)?;
    if reader.report().skipped > 0 {
        let first = reader.report().first_skipped.as_deref().unwrap_or_default();
        let what = format!("a repair would drop what is past the default limits: {first}");
        return Err(Error::limit(what)
            .at(state_file.as_ref())
            .next("open it with the program's own limits, and compact"));
    }
    drop(reader);
    let store = P2PStatePersistence::builder(state_file).open()?;
    let report = store.recovery()?.clone();
    store.compact_now()?;
    store.close_now()?;
    Ok(report)
}
