//! Records that count, in order, into the state.

use super::{
    inventory::{Inventory, read_segment},
    plan::Plan,
};
use crate::{
    Error, ErrorKind,
    journal::{format::Seed, scan::records},
    snapshot::read::Skipped,
    state::{self, Change, State},
    vfs::Vfs,
};

/// Applies every piece of the plan and returns the number of records. A record that a limit keeps
/// out is counted, not an error.
pub(super) fn replay(
    vfs: &dyn Vfs,
    inventory: &mut Inventory,
    plan: &Plan,
    state: &mut State,
    skipped: &mut Skipped,
) -> Result<u64, Error> {
    let mut replayed: u64 = 0;
    let mut loaded: Option<(usize, Vec<u8>, Option<Seed>)> = None;
    let mut changes: Vec<Change> = Vec::new();
    for piece in &plan.pieces {
        let Some(segment) = inventory.segments.get_mut(piece.segment) else { continue };
        let kept = segment.take_bytes();
        let failed = |error| Error::io("cannot read a journal segment", &segment.path, error);
        let (bytes, seed) = match loaded.take() {
            Some((index, bytes, seed)) if index == piece.segment => (bytes, seed),
            _ => match kept {
                Some(bytes) => (bytes, None),
                None => (read_segment(vfs, &segment.path).map_err(failed)?, Some(segment.seed)),
            },
        };
        for record in records(&bytes, piece.run, seed) {
            let record = record.ok_or_else(|| {
                Error::new(ErrorKind::Io, "a record that was sound a moment ago is not any more")
                    .at(&segment.path)
                    .next("check the disk and the memory of this machine, then open again")
            })?;
            if record.lsn < piece.range.first || record.lsn > piece.range.last {
                continue;
            }
            changes.clear();
            for change in state::decode(record.payload) {
                changes.push(change.map_err(|error| {
                    let what = format!("record lsn={} is of a newer version: {error}", record.lsn);
                    Error::new(ErrorKind::NewerVersion, what)
                        .at(&segment.path)
                        .next("upgrade peer-journal; nothing was altered")
                })?);
            }
            if let Err(error) = state.apply_all(&changes) {
                skipped.add(format_args!("lsn {}: {error}", record.lsn));
            }
            replayed = replayed.saturating_add(1);
        }
        loaded = Some((piece.segment, bytes, seed));
    }
    Ok(replayed)
}
